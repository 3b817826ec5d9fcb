"""Agreement of predictions with labels: CCC, Pearson's r, MSE."""

import dataclasses
import math

import numpy as np


def _filled(shape, value):
    return dataclasses.field(default_factory=lambda: np.full(shape, value))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What the scores need to know of some rows, in float64.

    Moments of parts add up to those of all rows:

        total = sum((Moments.of(x, y) for x, y in clips), Moments())

    Sums of squares are kept about the mean and combined pairwise (Chan, Golub
    & LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", COMPSTAT 1982): far from zero, E[x^2] - E[x]^2 would be nothing
    but rounding errors.

    Attributes:
        count: rows; `Moments()` has none.
        mean: of the labels and of the predictions, [2].
        low: the least of each, [2].
        high: the greatest of each, [2].
        products: sums of the products of distances from the means, [2, 2].
        errors: sum of (label - prediction)^2.
    """

    count: int = 0
    mean: np.ndarray = _filled(2, 0.0)
    low: np.ndarray = _filled(2, math.inf)
    high: np.ndarray = _filled(2, -math.inf)
    products: np.ndarray = _filled((2, 2), 0.0)
    errors: float = 0.0

    @classmethod
    def of(cls, labels, predictions) -> "Moments":
        """Computes the moments of [rows] and [rows]; there may be no row.

        Raises:
            ValueError: the two are not one-dimensional, of one length, and
                finite.
        """
        x, y = (np.asarray(z, np.float64) for z in (labels, predictions))
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                "labels and predictions must be [rows] of one length, not "
                f"{x.shape} and {y.shape}"
            )
        values = np.stack([x, y])
        if not np.isfinite(values).all():
            raise ValueError("labels and predictions must be finite")
        if not x.size:
            return cls()
        mean = values.mean(axis=1)
        apart = values - mean[:, np.newaxis]
        # The distances' sums, 0 but for rounding, correct for the means'
        # rounding (equation 1.7 there).
        rest = apart.sum(axis=1)
        # Not a matrix product, which does not add pairwise.
        products = (apart[:, np.newaxis] * apart).sum(axis=2)
        return cls(
            count=x.size,
            mean=mean,
            low=values.min(axis=1),
            high=values.max(axis=1),
            products=products - np.outer(rest, rest) / x.size,
            errors=float(np.sum((x - y) ** 2)),
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of the rows of both."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + apart * share,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            products=self.products
            + other.products
            + np.outer(apart, apart) * self.count * share,
            errors=self.errors + other.errors,
        )

    @property
    def vary(self) -> tuple[bool, bool]:
        """Whether there are two labels that differ, and two predictions."""
        # Not by the variances: the mean of equal values is rounded.
        return tuple((self.low < self.high).tolist())

    # The scores raise ValueError where there are no rows.
    @property
    def concordance(self) -> float:
        """CCC, see `concordance`."""
        # sum (x - y)^2 = xx + yy - 2 xy + count (mean_x - mean_y)^2, so this
        # is equation 2, and does not depend on how the means are rounded.
        agreement = 2 * self.products[0, 1]
        return self._ratio(agreement, self.errors + agreement)

    @property
    def pearson(self) -> float:
        """Pearson's r, 0 where one side is constant."""
        deviations = np.sqrt(np.maximum(np.diag(self.products), 0))
        return self._ratio(self.products[0, 1], np.prod(deviations))

    @property
    def mean_squared_error(self) -> float:
        """The mean of (label - prediction)^2."""
        self._check_rows()
        return self.errors / self.count

    def _ratio(self, numerator, denominator):
        self._check_rows()
        # Squares of differences below 1e-162 are 0.
        if not all(self.vary) or not denominator:
            return 0.0
        return float(np.clip(numerator / denominator, -1, 1))

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
        In [-1, 1]; 0 where either side is constant, as in a single row, even
        if the formula is 0/0.

    Raises:
        ValueError: the two are not one-dimensional, of one length of at least
            1, and finite.
    """
    return Moments.of(labels, predictions).concordance
