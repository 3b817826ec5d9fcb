"""Agreement of predictions with labels: CCC, Pearson's r, MSE."""

import numpy as np


def concordance(labels, predictions) -> float:
    """Computes Lin's concordance correlation coefficient (equation 2).

    ccc = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2) with biased
    (1/N) moments, in float64.

    Args:
        labels: [rows].
        predictions: [rows].

    Returns:
        In [-1, 1]; 0 where either side is constant, a single row among them,
        also where the formula is 0/0. Without variance there is nothing to
        agree on.

    Raises:
        ValueError: the two are not one-dimensional, of one length of at least
            1, and finite.
    """
    x, y = _checked(labels, predictions)
    if _constant(x) or _constant(y):
        return 0.0
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    denominator = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * covariance / denominator)


def pearson(labels, predictions) -> float:
    """Computes Pearson's r of [rows] and [rows]; 0 where one is constant.

    Raises:
        ValueError: as `concordance`.
    """
    x, y = _checked(labels, predictions)
    if _constant(x) or _constant(y):
        return 0.0
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(covariance / (x.std() * y.std()))


def mean_squared_error(labels, predictions) -> float:
    """Computes the mean of (x - y)^2 over [rows].

    Raises:
        ValueError: as `concordance`.
    """
    x, y = _checked(labels, predictions)
    return float(np.mean((x - y) ** 2))


def _constant(values):
    # Not by the variance: the mean of equal values is rounded.
    return np.ptp(values) == 0


def _checked(labels, predictions):
    x = np.asarray(labels, np.float64)
    y = np.asarray(predictions, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(
            "labels and predictions must be [rows] of one length of at least "
            f"1, not {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("labels and predictions must be finite")
    return x, y
