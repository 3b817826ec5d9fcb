"""Agreement of predictions with labels: CCC, Pearson's r, MSE."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """What the scores need of some rows, in float64, to be added to others'.

    `Moments.of` one part of the rows after the other and `+` give the scores
    of all of them, where they are too many to be held at a time:

        total = sum((Moments.of(x, y) for x, y in clips), Moments())

    Sums of squares are kept about the mean and brought together pairwise
    (Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", COMPSTAT 1982): far from zero, E[x^2] - E[x]^2
    would leave nothing but rounding.

    Attributes:
        count: rows; `Moments()` has none and adds nothing.
        mean_x: of the labels.
        mean_y: of the predictions.
        xx: sum of the labels' squared distances from their mean.
        yy: sum of the predictions' from theirs.
        xy: sum of the products of the two distances.
        errors: sum of (x - y)^2.
        low_x: the least label.
        high_x: the greatest label.
        low_y: the least prediction.
        high_y: the greatest prediction.
    """

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    errors: float = 0.0
    low_x: float = math.inf
    high_x: float = -math.inf
    low_y: float = math.inf
    high_y: float = -math.inf

    @classmethod
    def of(cls, labels, predictions) -> "Moments":
        """Computes the moments of [rows] and [rows], which may be none.

        Raises:
            ValueError: the two are not one-dimensional, of one length, and
                finite.
        """
        x, y = _checked(labels, predictions)
        if not x.size:
            return cls()
        mean_x, mean_y = x.mean(), y.mean()
        dx, dy = x - mean_x, y - mean_y
        # Means are rounded: what is left of the distances' sums corrects for
        # it (equation 1.7 there).
        rest_x, rest_y = dx.sum(), dy.sum()
        return cls(
            count=x.size,
            mean_x=float(mean_x),
            mean_y=float(mean_y),
            xx=max(0.0, float(np.sum(dx * dx) - rest_x**2 / x.size)),
            yy=max(0.0, float(np.sum(dy * dy) - rest_y**2 / x.size)),
            xy=float(np.sum(dx * dy) - rest_x * rest_y / x.size),
            errors=float(np.sum((x - y) ** 2)),
            low_x=float(x.min()),
            high_x=float(x.max()),
            low_y=float(y.min()),
            high_y=float(y.max()),
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of the rows of both."""
        if not isinstance(other, Moments):
            return NotImplemented
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        share = other.count / count
        dx = other.mean_x - self.mean_x
        dy = other.mean_y - self.mean_y
        between = self.count * share
        return Moments(
            count=count,
            mean_x=self.mean_x + dx * share,
            mean_y=self.mean_y + dy * share,
            xx=self.xx + other.xx + dx * dx * between,
            yy=self.yy + other.yy + dy * dy * between,
            xy=self.xy + other.xy + dx * dy * between,
            errors=self.errors + other.errors,
            low_x=min(self.low_x, other.low_x),
            high_x=max(self.high_x, other.high_x),
            low_y=min(self.low_y, other.low_y),
            high_y=max(self.high_y, other.high_y),
        )

    # Not by the variances: the mean of equal values is rounded.
    @property
    def labels_vary(self) -> bool:
        """Whether there are two labels that differ."""
        return self.low_x < self.high_x

    @property
    def predictions_vary(self) -> bool:
        """Whether there are two predictions that differ."""
        return self.low_y < self.high_y

    @property
    def concordance(self) -> float:
        """CCC, see `concordance`.

        Raises:
            ValueError: there are no rows.
        """
        # sum (x - y)^2 = xx + yy - 2 xy + count (mean_x - mean_y)^2, so this
        # is equation 2, and does not depend on how the means are rounded.
        return self._ratio(2 * self.xy, self.errors + 2 * self.xy)

    @property
    def pearson(self) -> float:
        """Pearson's r, see `pearson`.

        Raises:
            ValueError: there are no rows.
        """
        return self._ratio(self.xy, math.sqrt(self.xx) * math.sqrt(self.yy))

    @property
    def mean_squared_error(self) -> float:
        """The mean of (x - y)^2.

        Raises:
            ValueError: there are no rows.
        """
        self._check_rows()
        return self.errors / self.count

    def _ratio(self, numerator, denominator):
        self._check_rows()
        # Squares of differences below 1e-162 are 0.
        varies = self.labels_vary and self.predictions_vary and denominator
        if not varies:
            return 0.0
        return min(1.0, max(-1.0, numerator / denominator))

    def _check_rows(self):
        if not self.count:
            raise ValueError("labels and predictions must have a row at least")


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
    return Moments.of(labels, predictions).concordance


def pearson(labels, predictions) -> float:
    """Computes Pearson's r of [rows] and [rows]; 0 where one is constant.

    Raises:
        ValueError: as `concordance`.
    """
    return Moments.of(labels, predictions).pearson


def mean_squared_error(labels, predictions) -> float:
    """Computes the mean of (x - y)^2 over [rows].

    Raises:
        ValueError: as `concordance`.
    """
    return Moments.of(labels, predictions).mean_squared_error


def vary(labels, predictions) -> bool:
    """Tells whether nothing is constant, which makes CCC 0 by definition.

    Args:
        labels: [rows] or [rows, columns], of one row at least.
        predictions: likewise.

    Returns:
        Whether both have two values that differ, in every column.
    """
    return all(
        bool(np.all(np.min(side, axis=0) < np.max(side, axis=0)))
        for side in (labels, predictions)
    )


def _checked(labels, predictions):
    x = np.asarray(labels, np.float64)
    y = np.asarray(predictions, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            "labels and predictions must be [rows] of one length, not "
            f"{x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("labels and predictions must be finite")
    return x, y
