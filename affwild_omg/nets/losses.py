"""The concordance loss (equations 2 and 3) in `keras.ops`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras import ops


def _unchanged(sums):
    return sums


class _Moments(NamedTuple):
    """Biased (1/N) moments of labels and predictions, [columns] each."""

    label_mean: Any
    prediction_mean: Any
    covariance: Any
    label_variance: Any
    prediction_variance: Any

    def concordance(self):
        # The variance of equal values is a rounding error, and its gradient
        # would be large and meaningless.
        squares = (
            (self.label_variance + self.label_mean**2)
            + self.prediction_variance
            + self.prediction_mean**2
        )
        denominator = (
            self.label_variance
            + self.prediction_variance
            + (self.label_mean - self.prediction_mean) ** 2
        )
        defined = denominator > 1e-10 * squares
        return ops.where(
            defined, 2 * self.covariance / ops.where(defined, denominator, 1), 0
        )

    def squared_error(self):
        """Returns the mean of (x - y)^2."""
        return (
            self.label_variance
            + self.prediction_variance
            - 2 * self.covariance
            + (self.label_mean - self.prediction_mean) ** 2
        )

    def comparable(self):
        # The variance of equal values is a rounding error.
        return self.label_variance > 1e-10 * (
            self.label_variance + self.label_mean**2
        )


def _moments(labels, predictions, weights, reduce):
    """Computes moments by two sums over replicas.

    Means come first, so that second moments are taken about them and lose no
    digits.
    """
    sizes = [tuple(x.shape) for x in (labels, predictions, weights)]
    if any(len(x) != 2 for x in sizes) or any(
        len(set(known) - {None}) > 1 for known in zip(*sizes, strict=True)
    ):
        raise ValueError(
            "labels, predictions and weights must all be [rows, columns], of "
            f"the same shape, not {', '.join(map(str, sizes))}"
        )
    counts = ops.cast(weights, predictions.dtype)
    # Values without weight may be NaN, and 0 times NaN is NaN.
    labels = ops.where(counts > 0, labels, 0)
    predictions = ops.where(counts > 0, predictions, 0)

    def sums(*values):
        own = [ops.sum(counts * x, axis=0) for x in values]
        return ops.unstack(reduce(ops.stack(own)), len(own))

    total, *means = sums(ops.ones_like(labels), labels, predictions)
    total = ops.maximum(total, 1)
    label_mean, prediction_mean = (mean / total for mean in means)
    label_rest = labels - label_mean
    prediction_rest = predictions - prediction_mean
    second = sums(
        label_rest * prediction_rest, label_rest**2, prediction_rest**2
    )
    return _Moments(
        label_mean, prediction_mean, *(moment / total for moment in second)
    )


def concordance(labels, predictions, weights, reduce: Callable = _unchanged):
    """Computes the concordance correlation coefficient of each column.

    ccc = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2) with biased
    (1/N) moments (equation 2), over the rows that count in that column. CCC and
    its gradient are 0 where none does, and where the denominator is 0 up to
    rounding (no variance on either side and equal means).

    CCC is not a sum over examples: the gradient of each replica's own CCC
    points elsewhere than that of the whole batch. `reduce` therefore sums the
    moments over replicas.

    Args:
        labels: [rows, columns].
        predictions: [rows, columns].
        weights: [rows, columns]; values of weight 0 do not count, even if NaN.
        reduce: sums a tensor over all replicas; called twice.

    Returns:
        [columns], in [-1, 1].

    Raises:
        ValueError: the shapes differ or are not [rows, columns].
    """
    return _moments(labels, predictions, weights, reduce).concordance()


def comparable(labels, weights, reduce: Callable = _unchanged):
    """Tells of which columns CCC can be raised: those whose labels differ.

    Where all labels are equal, CCC is 0 whatever the predictions are, and so
    is its gradient.

    Args:
        labels: [rows, columns].
        weights: [rows, columns]; values of weight 0 do not count, even if NaN.
        reduce: sums a tensor over all replicas, see `concordance`.

    Returns:
        [columns], bool.
    """
    return _moments(labels, labels, weights, reduce).comparable()


def rows(values, counts, level: str):
    """Returns what CCC compares.

    Args:
        values: [batch, time, columns].
        counts: [batch, time, columns], bool: which of them count.
        level: see `concordance_loss`.

    Returns:
        [rows, columns], and which of them count, or how much.

    Raises:
        ValueError: `level` is not known.
    """
    if level in ("sequence", "weighted_sequence"):
        weights = ops.any(counts, axis=1)
        if level == "weighted_sequence":
            weights = ops.sum(ops.cast(counts, values.dtype), axis=1)
        return sequence_means(values, counts), weights
    if level == "frame":
        columns = values.shape[-1]
        return ops.reshape(values, (-1, columns)), ops.reshape(
            counts, (-1, columns)
        )
    raise ValueError(
        "level must be 'sequence', 'weighted_sequence' or 'frame', not "
        f"{level!r}"
    )


def counted(labels, mask):
    """Tells which frames count for each target: those that have its label.

    Args:
        labels: [batch, time, targets], NaN where there is none.
        mask: [batch, time], bool: which frames may count at all.

    Returns:
        [batch, time, targets], bool.
    """
    return ops.logical_and(mask[..., None], ops.isfinite(labels))


def sequence_means(values, mask):
    """Averages each sequence over the frames that count.

    Args:
        values: [batch, time, columns].
        mask: [batch, time, columns], bool.

    Returns:
        [batch, columns]; 0 for a sequence in which no frame counts.
    """
    counts = ops.cast(mask, values.dtype)
    values = ops.where(mask, values, 0)
    return ops.sum(values, axis=1) / ops.maximum(ops.sum(counts, axis=1), 1)


def concordance_loss(
    labels,
    predictions,
    mask,
    *,
    level: str = "sequence",
    ccc_weight: float = 1.0,
    mse_weight: float = 0.0,
    target_weights: Sequence[float] | None = None,
    reduce: Callable = _unchanged,
):
    """Computes 1 - the mean CCC over the targets (equation 3).

    A target counts in the frames that have a label of it; one that cannot be
    compared (see `comparable`) in the whole batch is left out of the mean.
    Other weights add the mean squared error, or put it in CCC's place.

    Args:
        labels: [batch, time, targets], NaN where there is none.
        predictions: [batch, time, targets].
        mask: [batch, time], bool: which frames count.
        level: "sequence" computes CCC over the means of the batch's
            sequences, as the authors' code does; "weighted_sequence" gives
            each the weight of its frames that count; "frame" is over all
            frames. The squared error is of the same.
        ccc_weight: of a target's 1 - CCC.
        mse_weight: of its mean squared error.
        target_weights: of each target in the mean, above 0; None for 1.
        reduce: sums a tensor over all replicas, see `concordance`.

    Returns:
        A scalar, by CCC alone in [0, 2], the same on every replica; 1 without
        any target that can be compared.

    Raises:
        ValueError: `level` is something else.
    """
    counts = counted(labels, mask)
    labels, weights = rows(labels, counts, level)
    predictions, _ = rows(predictions, counts, level)
    moments = _moments(labels, predictions, weights, reduce)
    known = ops.cast(moments.comparable(), predictions.dtype)
    if target_weights:
        known = known * ops.convert_to_tensor(target_weights, known.dtype)
    own = ccc_weight * (1 - moments.concordance())
    if mse_weight:
        own = own + mse_weight * moments.squared_error()
    total = ops.sum(known)
    some = total > 0
    return ops.where(some, ops.sum(known * own) / ops.where(some, total, 1), 1)
