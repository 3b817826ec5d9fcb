"""Where predictions are good and where they are not.

Everything here takes labels and predictions [utterances, targets], both
finite, and returns rows for tables. A score that has no meaning is None; CCC
and Pearson's r are 0 where a side is constant, as in `concordance`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.scoring import significance
from affwild_omg.scoring.concordance import Moments

EDGES = (2, 4, 8, 16, 32)  # seconds
TAILS = {"q05": 0.05, "q95": 0.95}


def breakdown(
    labels,
    predictions,
    videos: Sequence[str],
    groups: Mapping[str, Sequence[bool]],
    targets: Sequence[str],
) -> list[dict]:
    """Scores groups of utterances one by one.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        videos: the video of each utterance, [utterances].
        groups: which utterances each has, bool [utterances]; they may overlap.
        targets: the names of the columns.

    Returns:
        One dict for each group that has an utterance, in their order: "group",
        "utterances", "videos", and for each target "<target>_ccc",
        "<target>_ccc_low" and "<target>_ccc_high" (a 95 % interval, see
        `significance.interval`; None with fewer than two videos, or
        where labels or predictions are constant), "<target>_varies" (whether
        neither is), "<target>_mse", and "<target>_bias": the mean prediction
        less the mean label.

    Raises:
        ValueError: the shapes don't fit, or a value is not finite.
    """
    labels, predictions = _checked(labels, predictions, targets)
    videos = np.asarray(videos)
    _check_length(videos, labels, "videos")
    rows = []
    for group, mask in groups.items():
        mask = np.asarray(mask, bool)
        _check_length(mask, labels, f"the mask of {group!r}")
        if not mask.any():
            continue
        own = videos[mask]
        row = {
            "group": group,
            "utterances": int(np.count_nonzero(mask)),
            "videos": len(np.unique(own)),
        }
        for column, target in enumerate(targets):
            row |= _scores(
                target, labels[mask, column], predictions[mask, column], own
            )
        rows.append(row)
    return rows


def _scores(target, labels, predictions, videos):
    moments = Moments.of(labels, predictions)
    interval = significance.interval(labels, predictions, videos)
    return {
        f"{target}_ccc": moments.concordance,
        f"{target}_ccc_low": interval and interval.low,
        f"{target}_ccc_high": interval and interval.high,
        f"{target}_varies": moments.labels_vary and moments.predictions_vary,
        f"{target}_mse": moments.mean_squared_error,
        f"{target}_bias": moments.mean_y - moments.mean_x,
    }


def by_length(seconds, edges: Sequence[float] = EDGES) -> dict:
    """Groups utterances by how long they last.

    Args:
        seconds: of each utterance, [utterances].
        edges: where a group ends and the next one begins, with that very
            length; ascending, one or more.

    Returns:
        {"under 2 s": bool [utterances], "2 to 4 s": ..., "32 s and more":
        ...}, in this order: each utterance is in one of them, and some may be
        empty.

    Raises:
        ValueError: a length is negative or not finite, or the edges don't
            ascend.
    """
    seconds = np.asarray(seconds, np.float64)
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ValueError("seconds must be finite and not negative")
    if not len(edges) or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges must ascend, not {tuple(edges)}")
    names = [
        f"under {edges[0]:g} s",
        *(
            f"{low:g} to {high:g} s"
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ),
        f"{edges[-1]:g} s and more",
    ]
    group = np.digitize(seconds, edges)
    return {name: group == i for i, name in enumerate(names)}


def by_video(videos: Sequence[str]) -> dict:
    """Groups utterances by video: {video: bool [utterances]}.

    The videos stand in the order in which they first appear.
    """
    names = np.asarray(videos)
    return {video: names == video for video in dict.fromkeys(videos)}


def calibration(labels, predictions, targets: Sequence[str]) -> list[dict]:
    """Compares the means and ranges of predictions and labels.

    CCC is Pearson's r times an accuracy C_b = 2 / (v + 1/v + u^2), where v is
    the ratio of the standard deviations and u the distance of the means over
    the root of their product (Lin, Biometrics 45, 1989): r says how well the
    two move together, C_b how much of it is lost by a wrong mean or range.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        targets: the names of the columns.

    Returns:
        One dict for each target: "target", "label_mean", "label_std",
        "prediction_mean", "prediction_std" (1/N), "range_ratio" (the
        predictions' standard deviation over the labels'; None where labels
        are constant), "bias" (prediction_mean less label_mean), "pearson",
        "accuracy" (C_b, 1 at best; None where a side is constant), "ccc",
        "slope" and "intercept" of the line label = slope * prediction +
        intercept of least squares (1 and 0 where calibrated; None where
        predictions are constant), and the quantiles "label_q05", "label_q95",
        "prediction_q05" and "prediction_q95".

    Raises:
        ValueError: the shapes don't fit, or a value is not finite.
    """
    labels, predictions = _checked(labels, predictions, targets)
    return [
        {"target": target}
        | _calibration(labels[:, column], predictions[:, column])
        for column, target in enumerate(targets)
    ]


def _calibration(labels, predictions):
    moments = Moments.of(labels, predictions)
    # Of constants no variance is left, however their mean is rounded.
    label_std, prediction_std = (
        float(np.sqrt(square / moments.count)) if varies else 0.0
        for square, varies in (
            (moments.xx, moments.labels_vary),
            (moments.yy, moments.predictions_vary),
        )
    )
    bias = moments.mean_y - moments.mean_x
    ratio = accuracy = slope = intercept = None
    if label_std:
        ratio = prediction_std / label_std
    if label_std and prediction_std:
        # The same without a division by what may be next to nothing.
        accuracy = (
            2
            * label_std
            * prediction_std
            / (label_std**2 + prediction_std**2 + bias**2)
        )
    if prediction_std:
        slope = moments.xy / moments.yy if label_std else 0.0
        intercept = moments.mean_x - slope * moments.mean_y
    quantiles = {
        f"{side}_{name}": float(np.quantile(values, tail))
        for side, values in (("label", labels), ("prediction", predictions))
        for name, tail in TAILS.items()
    }
    return {
        "label_mean": moments.mean_x,
        "label_std": label_std,
        "prediction_mean": moments.mean_y,
        "prediction_std": prediction_std,
        "range_ratio": ratio,
        "bias": bias,
        "pearson": moments.pearson,
        "accuracy": accuracy,
        "ccc": moments.concordance,
        "slope": slope,
        "intercept": intercept,
        **quantiles,
    }


def reliability(
    labels, predictions, targets: Sequence[str], bins: int = 10
) -> list[dict]:
    """Compares mean prediction and mean label from low to high predictions.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        targets: the names of the columns.
        bins: into how many parts of equal count (but for one) the utterances
            are cut, ordered by prediction; fewer where there are fewer
            utterances.

    Returns:
        One dict for each target and bin, low ones first: "target", "low" and
        "high" (the least and the greatest prediction in it), "utterances",
        "mean_prediction", "mean_label".

    Raises:
        ValueError: the shapes don't fit, a value is not finite, or there is
            less than one bin.
    """
    labels, predictions = _checked(labels, predictions, targets)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    rows = []
    for column, target in enumerate(targets):
        order = np.argsort(predictions[:, column], kind="stable")
        for part in np.array_split(order, min(bins, len(order))):
            predicted = predictions[part, column]
            rows.append(
                {
                    "target": target,
                    "low": float(predicted[0]),
                    "high": float(predicted[-1]),
                    "utterances": len(part),
                    "mean_prediction": float(predicted.mean()),
                    "mean_label": float(labels[part, column].mean()),
                }
            )
    return rows


def worst(labels, predictions, count: int) -> np.ndarray:
    """Finds the utterances that were predicted worst.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        count: how many, if there are as many.

    Returns:
        Their numbers, int [count or fewer]: the one whose prediction is
        farthest from its label in the plane first, of equal ones the earlier.

    Raises:
        ValueError: the shapes don't fit, a value is not finite, or the count
            is negative.
    """
    labels, predictions = _checked(labels, predictions)
    if count < 0:
        raise ValueError(f"count must not be negative, but is {count}")
    distance = np.sum((predictions - labels) ** 2, axis=1)
    return np.argsort(-distance, kind="stable")[:count]


def _checked(labels, predictions, targets=None):
    labels = np.asarray(labels, np.float64)
    predictions = np.asarray(predictions, np.float64)
    columns = labels.shape[-1:] if targets is None else (len(targets),)
    if (
        labels.ndim != 2
        or not len(labels)
        or labels.shape != predictions.shape
        or labels.shape[1:] != columns
    ):
        raise ValueError(
            "labels and predictions must be [utterances, targets] of one "
            f"shape with a row at least, not {labels.shape} and "
            f"{predictions.shape}"
            + ("" if targets is None else f" for targets {tuple(targets)}")
        )
    if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
        raise ValueError("labels and predictions must be finite")
    return labels, predictions


def _check_length(values, labels, name):
    if values.shape != (len(labels),):
        raise ValueError(
            f"{name} must be one for each of {len(labels)} utterances, not "
            f"{values.shape}"
        )
