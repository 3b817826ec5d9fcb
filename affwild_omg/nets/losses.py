"""The concordance loss (equations 2 and 3) in `keras.ops`."""

from collections.abc import Callable

from keras import ops


def _unchanged(sums):
    return sums


def concordance(labels, predictions, weights, reduce: Callable = _unchanged):
    """Computes the concordance correlation coefficient of each column.

    ccc = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2) with biased
    (1/N) moments (equation 2), over the rows that count in that column. CCC and
    its gradient are 0 where none does, and where the denominator is 0 up to
    rounding (no variance on either side and equal means).

    CCC is not a sum over examples: the gradient of each replica's own CCC
    points elsewhere than that of the whole batch. `reduce` therefore sums the
    moments over replicas. Means are reduced first, so that second moments are
    taken about them and lose no digits.

    Args:
        labels: [rows, columns].
        predictions: [rows, columns].
        weights: [rows, columns]; values of weight 0 do not count, even if NaN.
        reduce: sums a tensor over all replicas.

    Returns:
        [columns], in [-1, 1].

    Raises:
        ValueError: the shapes differ or are not [rows, columns].
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

    def mean(values, total):
        return reduce(ops.sum(counts * values, axis=0)) / total

    total = ops.maximum(reduce(ops.sum(counts, axis=0)), 1)
    label_mean = mean(labels, total)
    prediction_mean = mean(predictions, total)
    label_rest = labels - label_mean
    prediction_rest = predictions - prediction_mean
    covariance = mean(label_rest * prediction_rest, total)
    denominator = (
        mean(label_rest**2, total)
        + mean(prediction_rest**2, total)
        + (label_mean - prediction_mean) ** 2
    )
    # The variance of equal values is a rounding error, and its gradient would
    # be large and meaningless.
    squares = mean(labels**2, total) + mean(predictions**2, total)
    defined = denominator > 1e-10 * squares
    return ops.where(
        defined, 2 * covariance / ops.where(defined, denominator, 1), 0
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
    reduce: Callable = _unchanged,
):
    """Computes 1 - the mean CCC over the targets (equation 3).

    A target counts in the frames that have a label of it; one that has none in
    the whole batch is left out of the mean.

    Args:
        labels: [batch, time, targets], NaN where there is none.
        predictions: [batch, time, targets].
        mask: [batch, time], bool: which frames count.
        level: "sequence" computes CCC over the means of the batch's
            sequences, as the authors' code does; "frame" over all frames.
        reduce: sums a tensor over all replicas, see `concordance`.

    Returns:
        A scalar in [0, 2], the same on every replica; 1 without any label.

    Raises:
        ValueError: `level` is something else.
    """
    counts = counted(labels, mask)
    if level == "sequence":
        labels = sequence_means(labels, counts)
        predictions = sequence_means(predictions, counts)
        weights = ops.any(counts, axis=1)
    elif level == "frame":
        labels, predictions, weights = (
            ops.reshape(x, (-1, labels.shape[-1]))
            for x in (labels, predictions, counts)
        )
    else:
        raise ValueError(f"level must be 'sequence' or 'frame', not {level!r}")
    rows = reduce(ops.sum(ops.cast(weights, predictions.dtype), axis=0))
    known = ops.cast(rows > 0, predictions.dtype)
    # CCC is 0 where there is no row.
    ccc = ops.sum(concordance(labels, predictions, weights, reduce))
    return 1 - ccc / ops.maximum(ops.sum(known), 1)
