"""How far a CCC, or the difference of two, can be trusted.

Utterances of one video share a face, a scene and a light: they are not
independent. Whole videos are, so they are what is drawn or swapped here
(Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8;
Field & Welsh, JRSS B 69, 2007). With one video there is nothing to draw from:
every function refuses it rather than answer with NaN.

Where labels and predictions have columns, targets or runs of several seeds,
what is examined is the mean of the columns' CCCs: a sample has the same videos
in all of them.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.special

from affwild_omg.scoring import concordance

# A CCC is known no better: two that are nearer to each other count as equal.
ROUNDING = 1e-12
# Samples times videos that are held at a time, some 8 MB in float64.
CHUNK = 2**20
STATISTICS = ("concordance", "mean_squared_error")


@dataclasses.dataclass(frozen=True)
class Interval:
    """A confidence interval: of CCCs within [-1, 1], of MSEs from 0 on."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """How two runs on the same utterances compare.

    Attributes:
        difference: CCC of the first less that of the second, in [-2, 2].
        low: the lower end of the difference's confidence interval.
        high: the upper end.
        p_value: two-sided, of no difference, in (0, 1].
    """

    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    labels,
    predictions,
    clusters: Sequence,
    *,
    statistic: str = "concordance",
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Computes a confidence interval of CCC or MSE, by drawing whole videos.

    The percentile interval (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13): the quantiles (1 - level) / 2 and
    (1 + level) / 2 of the statistic of samples of as many videos as there are,
    drawn with replacement. CCC is that of `concordance.concordance`, 0 where
    it has no meaning.

    With few videos it is too narrow. In 1,500 and more simulations each (4 to
    12 utterances a video, 64 to 80 % of the variance between videos),
    intervals of 95 % held the true CCC in 94 % of cases with 50 to 204 videos,
    in 91 % with 20, in 85 % with 10 and in 77 % with 5.

    Args:
        labels: [utterances] or [utterances, columns].
        predictions: of the same shape.
        clusters: the video of each utterance, [utterances].
        statistic: of what: "concordance" or "mean_squared_error".
        samples: how many are drawn.
        level: share of such intervals that hold the truth, in (0, 1).
        seed: the same one gives the same interval.

    Raises:
        ValueError: labels and predictions are not of one such shape and
            finite, clusters are others than theirs or fewer than two, or
            statistic, samples or level is out of range.
    """
    _check_level(level)
    if statistic not in STATISTICS:
        raise ValueError(
            f"statistic must be {' or '.join(STATISTICS)}, not {statistic!r}"
        )
    index, count = _checked(clusters, labels, predictions)
    moments = _Moments.of(labels, predictions, index, count)
    values = [
        getattr(moments, f"{statistic}s")(counts)
        for counts in _resamples(count, samples, seed)
    ]
    return Interval(*_percentiles(np.concatenate(values), level))


def find_interval(
    labels,
    predictions,
    clusters: Sequence,
    *,
    statistic: str = "concordance",
    **how,
) -> Interval | None:
    """Computes `bootstrap_interval` where there is one.

    There is none of one video, and none of CCC where labels or predictions of
    a column are constant: what is 0 by definition is no estimate, and [0, 0]
    would look like certainty.

    Args:
        labels: as for `bootstrap_interval`, like all that follows.
        predictions: likewise.
        clusters: one or more.
        statistic: of what.
        how: samples, level and seed.

    Returns:
        The interval or None.
    """
    if len(np.unique(clusters)) < 2:
        return None
    if statistic == "concordance" and not concordance.vary(labels, predictions):
        return None
    return bootstrap_interval(
        labels, predictions, clusters, statistic=statistic, **how
    )


def bootstrap_mean_interval(
    values,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Computes a confidence interval of a mean over videos.

    For the mean of the videos' own CCCs, of which `bootstrap_interval` knows
    nothing: that of the CCC of all their utterances together. It draws as that
    does, and is too narrow with few videos just as well.

    Args:
        values: one of each video, [videos].
        samples: how many are drawn.
        level: share of such intervals that hold the true mean, in (0, 1).
        seed: the same one gives the same interval.

    Raises:
        ValueError: the values are not [videos], two or more and finite, or
            samples or level is out of range.
    """
    _check_level(level)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            "values must be [videos], of at least 2 and finite, not "
            f"{values.shape} with {np.count_nonzero(~np.isfinite(values))} "
            "that are not finite"
        )
    means = [
        counts @ values / len(values)
        for counts in _resamples(len(values), samples, seed)
    ]
    return Interval(*_percentiles(np.concatenate(means), level))


def paired_bootstrap(
    labels,
    first,
    second,
    clusters: Sequence,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Compares two runs' CCC, by drawing whole videos, the same for both.

    p = 2 (1 + n) / (samples + 1), at most 1. n is the smaller of two counts:
    of the samples whose difference is not above 0, and not below it (Efron &
    Tibshirani, 1993, section 15.4, for both sides; the 1 as in Phipson &
    Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010: no p-value from samples is
    0). With few videos it is too small: between runs that do not differ it
    was below 0.05 in 10 % of simulations with 10 videos, in 9 % with 20, in
    5 to 6 % with 50 to 204. `permutation_test` has no such fault.

    Args:
        labels: [utterances] or [utterances, columns].
        first: predictions of one run, of the same shape.
        second: predictions of the other, likewise.
        clusters: as for `bootstrap_interval`, like what follows.
        samples: how many are drawn; no p-value is below 2 / (samples + 1).
        level: of the interval of the difference.
        seed: the same one gives the same answer.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    _check_level(level)
    index, count = _checked(clusters, labels, first, second)
    runs = [
        _Moments.of(labels, predictions, index, count)
        for predictions in (first, second)
    ]
    values = []
    for counts in _resamples(count, samples, seed):
        one, other = (moments.concordances(counts) for moments in runs)
        values.append(one - other)
    values = np.concatenate(values)
    beyond = min(
        np.count_nonzero(values <= ROUNDING),
        np.count_nonzero(values >= -ROUNDING),
    )
    low, high = _percentiles(values, level)
    return Paired(
        difference=_mean_ccc(labels, first) - _mean_ccc(labels, second),
        low=low,
        high=high,
        p_value=min(1.0, 2 * (1 + beyond) / (samples + 1)),
    )


def permutation_test(
    labels,
    first,
    second,
    clusters: Sequence,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> float:
    """Tests whether two runs' CCC differ, by swapping them in whole videos.

    If it made no difference which run predicted a video, the runs could be
    swapped in any set of videos. p is the share of such swaps whose difference
    of CCC is at least as large, in either direction, as the one that was
    found: of all 2^videos sets if those are not more than `samples`, else of
    random ones, as (1 + n) / (samples + 1) (Phipson & Smyth, 2010).

    Args:
        labels: [utterances] or [utterances, columns].
        first: predictions of one run, of the same shape.
        second: predictions of the other, likewise.
        clusters: the video of each utterance, [utterances].
        samples: how many sets of videos are tried.
        seed: the same one gives the same p-value.

    Returns:
        The two-sided p-value, in (0, 1]; at least 2 / 2^videos of all sets,
        1 / (samples + 1) of random ones.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    index, count = _checked(clusters, labels, first, second)
    values = _swapped(labels, first, second, index, count, samples, seed)
    return float(np.mean(values >= values[0] - ROUNDING))


def permutation_tests(
    labels,
    runs: Sequence,
    clusters: Sequence,
    *,
    reference: int = 0,
    samples: int = 2000,
    seed: int = 0,
) -> list[float]:
    """Tests which of several runs' CCC differ from one of them, all at once.

    `permutation_test` of every two of the runs, in the same swaps, and of
    their p-values those that allow for there being many (min P of Westfall &
    Young, Resampling-Based Multiple Testing, 1993, section 2.3): the share of
    swaps in which the least p of any pair is at most this pair's. Where
    nothing differs, one of them is below 0.05 in 5 % of cases, however many
    runs there are, and though the reference was picked for being the best. Of
    two runs it is `permutation_test`.

    Args:
        labels: [utterances] or [utterances, columns].
        runs: predictions of each, of the same shape.
        clusters: the video of each utterance, [utterances].
        reference: number of the run that the others are compared with.
        samples: as for `permutation_test`. Of n runs no p-value is much below
            n (n - 1) / 2 / samples.
        seed: the same one gives the same p-values.

    Returns:
        The two-sided p-value of each run, in (0, 1]; the reference's is 1.

    Raises:
        ValueError: as `bootstrap_interval`, or there are fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run(s) can't be compared; 2 are needed")
    index, count = _checked(clusters, labels, *runs)
    p_values = {
        pair: _p_of_each(
            _swapped(
                labels, *(runs[i] for i in pair), index, count, samples, seed
            )
        )
        for pair in itertools.combinations(range(len(runs)), 2)
    }
    least = np.min(list(p_values.values()), axis=0)
    found = np.ones(len(runs))
    for pair, (own, *_) in p_values.items():
        if reference in pair:
            (run,) = set(pair) - {reference}
            found[run] = np.mean(least <= own)
    return found.tolist()


def _swapped(labels, first, second, index, count, samples, seed):
    """Returns |difference| as it is, and in each set of swapped videos."""
    # Each video counts twice, as the first run and as the second have it.
    moments = _Moments.of(
        np.concatenate([labels, labels]),
        np.concatenate([first, second]),
        np.concatenate([index, index + count]),
        2 * count,
    )
    return np.abs(
        np.concatenate(
            [moments.differences(swap) for swap in _swaps(count, samples, seed)]
        )
    )


def _p_of_each(values):
    """Returns for each value the share of all that are as large or larger."""
    ranks = np.searchsorted(np.sort(values), values - ROUNDING)
    return 1 - ranks / len(values)


def pearson_p_value(r: float, count: int) -> float:
    """Computes the two-sided p-value of Pearson's r, as papers quote it.

    The probability of a larger |r| where there is no correlation: that of
    |t| > |r| sqrt((count - 2) / (1 - r^2)) in Student's t with count - 2
    degrees of freedom, which is the regularised incomplete beta function
    I(1 - r^2; count / 2 - 1, 1 / 2).

    It assumes independent pairs of which one side is normal. Utterances of
    one video are not independent: with some ten to a video, p is far too
    small, by orders of magnitude. It says that r is not 0 and nothing of how
    two runs compare; for that take `permutation_test`.

    Args:
        r: Pearson's correlation, in [-1, 1].
        count: pairs, at least 3.

    Returns:
        In [0, 1]; 0 where it is below the smallest float.

    Raises:
        ValueError: r or count is out of range.
    """
    if not abs(r) <= 1 + ROUNDING:
        raise ValueError(f"r must be in [-1, 1], not {r}")
    if count < 3:
        raise ValueError(f"r of {count} pairs has no p-value; 3 are needed")
    unexplained = max(0.0, (1 - r) * (1 + r))
    return float(scipy.special.betainc(count / 2 - 1, 0.5, unexplained))


@dataclasses.dataclass(frozen=True)
class _Moments:
    """What CCC and MSE need of each group of rows.

    Attributes:
        sums: [columns, groups, 6], of 1, x, y, x^2, y^2 and xy, x being labels
            and y predictions less their means over all rows: about centres
            near the data the sums lose no digits.
        shifts: mean of the labels less that of the predictions, [columns, 1].
    """

    sums: np.ndarray
    shifts: np.ndarray

    @classmethod
    def of(cls, labels, predictions, index, groups):
        """Sums the rows of each group; index: [rows], in [0, groups)."""
        sums, shifts = [], []
        for x, y in _columns(labels, predictions):
            shifts.append([x.mean() - y.mean()])
            x, y = x - x.mean(), y - y.mean()
            powers = (np.ones_like(x), x, y, x * x, y * y, x * y)
            sums.append(
                np.stack(
                    [np.bincount(index, power, groups) for power in powers],
                    axis=1,
                )
            )
        return cls(sums=np.array(sums), shifts=np.array(shifts))

    def _means(self, counts):
        """Returns the mean of each power but the first, [columns, n] each."""
        totals = counts.astype(np.float64) @ self.sums
        rows, *sums = np.moveaxis(totals, -1, 0)
        return [total / rows for total in sums]

    def concordances(self, counts):
        """Computes CCC of groups taken so many times: [n, groups] to [n].

        Every row takes at least one group. Where the formula's denominator is
        nothing but rounding, neither side varies: 0.
        """
        x, y, xx, yy, xy = self._means(counts)
        distance = (x - y + self.shifts) ** 2
        denominator = (xx - x * x) + (yy - y * y) + distance
        varies = denominator > ROUNDING * (xx + yy + self.shifts**2)
        ccc = np.zeros(denominator.shape)
        np.divide(2 * (xy - x * y), denominator, out=ccc, where=varies)
        return np.clip(ccc, -1, 1).mean(axis=0)

    def mean_squared_errors(self, counts):
        """Computes MSE of groups taken so many times: [n, groups] to [n]."""
        x, y, xx, yy, xy = self._means(counts)
        errors = xx - 2 * xy + yy + self.shifts * (2 * (x - y) + self.shifts)
        return np.maximum(errors, 0).mean(axis=0)

    def differences(self, swaps):
        """Computes CCC of the first run less the second: [n, videos] to [n].

        The groups are the videos as the first run has them, then as the
        second; where a swap is True they change places.
        """
        first = self.concordances(np.hstack([~swaps, swaps]))
        return first - self.concordances(np.hstack([swaps, ~swaps]))


def _columns(labels, predictions):
    """Yields labels and predictions of each column, [rows] float64 each."""
    x, y = (np.asarray(z, np.float64) for z in (labels, predictions))
    if x.shape != y.shape:
        raise ValueError(
            "labels and predictions must be of one length and have the same "
            f"columns, not {x.shape} and {y.shape}"
        )
    if x.ndim == 1:
        x, y = x[:, np.newaxis], y[:, np.newaxis]
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            "labels and predictions must be [utterances] or [utterances, "
            f"columns], not {x.shape}"
        )
    yield from zip(x.T, y.T, strict=True)


def _mean_ccc(labels, predictions):
    columns = _columns(labels, predictions)
    return float(np.mean([concordance.concordance(*pair) for pair in columns]))


def _checked(clusters, labels, *runs):
    """Returns the number of each utterance's video, and how many there are."""
    for predictions in runs:
        _mean_ccc(labels, predictions)  # refuses what is unfit
    names, index = np.unique(clusters, return_inverse=True)
    if index.shape != np.shape(labels)[:1]:
        raise ValueError(
            f"clusters must be one for each of {len(labels)} labels, not "
            f"{index.shape}"
        )
    if len(names) < 2:
        raise ValueError(
            "utterances of one video alone say nothing of others; clusters "
            "must be at least 2"
        )
    return index, len(names)


def _check_level(level):
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")


def _chunks(clusters, samples):
    """Yields numbers of samples that fit into memory together."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    most = max(1, CHUNK // clusters)
    for start in range(0, samples, most):
        yield min(most, samples - start)


def _resamples(clusters, samples, seed) -> Iterator[np.ndarray]:
    """Yields how often each sample has each cluster, int [some, clusters]."""
    random = np.random.default_rng(seed)
    equal = np.full(clusters, 1 / clusters)
    for some in _chunks(clusters, samples):
        yield random.multinomial(clusters, equal, size=some)


def _swaps(clusters, samples, seed):
    """Yields bool [some, clusters]: first no swap at all, then all or random.

    All sets of clusters, if those are not more than the samples.
    """
    # Python's own integers: 2^clusters may have hundreds of bits.
    if 2**clusters <= samples:
        sets = np.arange(2**clusters)[:, np.newaxis]
        yield (sets >> np.arange(clusters)) % 2 == 1
        return
    yield np.zeros((1, clusters), bool)
    random = np.random.default_rng(seed)
    for some in _chunks(clusters, samples):
        yield random.random((some, clusters)) < 0.5


def _percentiles(values, level):
    return map(float, np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
