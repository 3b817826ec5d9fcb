"""The evaluation protocols: from predicted frames to scores.

The paper's: frame predictions are reduced to an estimate per sequence (median
or mean), those are averaged over the utterance, and CCC is pooled over all
utterances of the split (sections 5 and 6.1). Others are in use: the authors'
code scores frames, trains on sequences, and the organisers' first script took
the mean of the videos' own CCCs. Here each has a name.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import (
    aggregation,
    concordance,
    postprocessing,
    significance,
)
from affwild_omg.scoring.frames import Frames, video_of

INPUTS = ("frames", "landmarks", "mask")
LEVELS = ("utterance", "sequence", "frame")
POOLINGS = ("pooled", "per_video")
MOMENTS = "1/N"
SAMPLES = significance.SAMPLES
LEVEL = significance.LEVEL
MEAN = "mean"  # of the targets' CCCs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """What is scored, a row each: utterances, sequences or frames.

    Attributes:
        videos: the video of each row, [rows].
        predictions: [rows, targets].
        labels: [rows, targets], finite.
    """

    videos: Sequence[str]
    predictions: np.ndarray
    labels: np.ndarray

    @classmethod
    def labelled(cls, videos, predictions, labels) -> "Rows":
        """Keeps the rows all of whose labels are finite."""
        known = np.isfinite(labels).all(axis=1)
        return cls(
            videos=np.asarray(videos)[known],
            predictions=predictions[known],
            labels=labels[known],
        )


def predict_frames(
    predict: Callable[[dict], np.ndarray],
    batches: Iterable[Mapping],
    targets: Sequence[str],
    sequence_length: int,
) -> Frames:
    """Predicts every frame of a split.

    Args:
        predict: see `affwild_omg.inference.predictor.Predictor.predict`.
        batches: numpy batches of windows, see `affwild_omg.data.pipeline`;
            in order, so that a clip's windows follow each other.
        targets: what is predicted.
        sequence_length: frames of the windows.

    Raises:
        UserError: no utterance has a frame with a face.
    """
    columns = [TARGETS.index(name) for name in targets]
    clips = {}
    for batch in batches:
        # Not the labels, which are no business of the network's.
        predictions = predict({name: batch[name] for name in INPUTS})
        for i, raw_key in enumerate(batch["key"]):
            if not raw_key:  # an empty window that fills the last batch
                continue
            frames = slice(batch["length"][i])
            values, mask, labels, fps = clips.setdefault(
                raw_key.decode(), ([], [], [], [])
            )
            values.append(predictions[i][frames])
            mask.append(batch["mask"][i][frames])
            labels.append(batch["labels"][i][frames][:, columns])
            fps.append(float(batch["fps"][i]))
    values, mask, labels, fps = zip(*clips.values(), strict=True)
    found = Frames(
        keys=list(clips),
        targets=tuple(targets),
        values=[np.concatenate(x, dtype=np.float64) for x in values],
        mask=[np.concatenate(x) for x in mask],
        labels=[np.concatenate(x, dtype=np.float64) for x in labels],
        fps=[x[0] for x in fps],
        sequence_length=sequence_length,
    )
    if not found.seen.any():
        raise UserError(
            "not one frame has a face; prepare the records again from other "
            "videos"
        )
    return found


def rows_of(
    frames: Frames, settings: postprocessing.Settings, level: str
) -> Rows:
    """Brings a split's predictions to the level at which they are scored.

    Frames without a face and frames, sequences or utterances without labels
    are no rows. A sequence's label is the mean over its frames with a face, as
    in the loss, an utterance's that over all its frames. An utterance without
    any face has an estimate, see `postprocessing.apply`.

    Args:
        frames: the split.
        settings: post-processing, and how a sequence is estimated. Median
            filters act at all levels, smoothing at "utterance".
        level: one of `LEVELS`.
    """
    if level == "utterance":
        return Rows.labelled(
            frames.videos,
            postprocessing.apply(settings, frames),
            frames.utterance_labels,
        )
    filtered = postprocessing.filter_frames(settings, frames)
    videos, predictions, labels = [], [], []
    for i, video in enumerate(frames.videos):
        values, mask = filtered.values[i], frames.mask[i]
        for part in frames.sequences(i):
            seen = values[part][mask[part]]
            truth = frames.labels[i][part][mask[part]]
            if level == "sequence" and len(seen):
                estimate = aggregation.ESTIMATES[settings.estimate]
                seen = estimate(seen, axis=0, keepdims=True)
                truth = truth.mean(axis=0, keepdims=True)
            videos.extend([video] * len(seen))
            predictions.append(seen)
            labels.append(truth)
    return Rows.labelled(
        videos, np.concatenate(predictions), np.concatenate(labels)
    )


def score(rows: Rows, targets: Sequence[str], pooling: str = "pooled") -> dict:
    """Scores rows.

    Args:
        rows: what is scored.
        targets: names of the columns.
        pooling: "pooled" over all rows (section 6.1), or "per_video": each
            video's own score, and of these the mean. A video in which labels
            or predictions are constant, such as one of a single row, has CCC 0
            there.

    Returns:
        {target: {"ccc", "pearson", "mse"}, ..., "mean_ccc"}, or {} where
        there is no row. "constant" is added where over all rows that is so:
        "labels", "predictions" or both, which makes CCC 0; and by "pooled"
        "pearson_p_value" (None below three rows).
    """
    if not len(rows.labels):
        return {}
    scores = {}
    for column, target in enumerate(targets):
        parts = _moments(rows, column, pooling)
        found = [
            {
                "ccc": moments.concordance,
                "pearson": moments.pearson,
                "mse": moments.mean_squared_error,
            }
            for moments in parts
        ]
        scores[target] = {
            name: float(np.mean([one[name] for one in found]))
            for name in found[0]
        }
        if pooling == "pooled":
            scores[target]["pearson_p_value"] = _p_value(rows, column)
        scores[target] |= _constant(sum(parts, concordance.Moments()))
    scores["mean_ccc"] = float(
        np.mean([scores[target]["ccc"] for target in targets])
    )
    return scores


def _moments(rows, column, pooling):
    """Returns the moments of all rows, or of each video's."""
    labels, predictions = rows.labels[:, column], rows.predictions[:, column]
    if pooling == "pooled":
        return [concordance.Moments.of(labels, predictions)]
    names, video = np.unique(rows.videos, return_inverse=True)
    # Sorted once: a comparison for each video is slow where there are many.
    order = np.argsort(video, kind="stable")
    ends = np.cumsum(np.bincount(video, minlength=len(names)))[:-1]
    return [
        concordance.Moments.of(*part)
        for part in zip(
            np.split(labels[order], ends),
            np.split(predictions[order], ends),
            strict=True,
        )
    ]


def _p_value(rows, column):
    """Returns the p-value of Pearson's r, None of a constant or two rows."""
    labels, predictions = rows.labels[:, column], rows.predictions[:, column]
    if len(labels) < 3 or not concordance.vary(labels, predictions):
        return None
    return float(stats.pearsonr(labels, predictions).pvalue)


def _constant(moments):
    constant = [
        name
        for name, varies in (
            ("labels", moments.labels_vary),
            ("predictions", moments.predictions_vary),
        )
        if not varies
    ]
    return {"constant": " and ".join(constant)} if constant else {}


def columns_of(targets: Sequence[str]) -> dict[str, list[int]]:
    """Returns {target: [column], ...} and, of several, {`MEAN`: all}."""
    columns = {target: [column] for column, target in enumerate(targets)}
    if len(targets) > 1:
        columns[MEAN] = list(range(len(targets)))
    return columns


def intervals(
    rows: Rows, targets: Sequence[str], pooling: str = "pooled"
) -> dict:
    """Says how far the CCCs of `score` can be trusted.

    Returns:
        {target: [low, high], ..., "mean", "level", "samples", "videos"},
        confidence intervals by drawing whole videos, see
        `affwild_omg.scoring.significance`; "mean" is of the CCCs' mean, where
        there are several. Where labels or predictions of a target are
        constant, its CCC of 0 is no estimate: neither it nor the mean has an
        interval. {} where the rows are of fewer than two videos.
    """
    names, videos = np.unique(rows.videos, return_inverse=True)
    if len(names) < 2:
        return {}
    how = {"samples": SAMPLES, "level": LEVEL}
    found = {**how, "videos": len(names)}
    for name, own in columns_of(targets).items():
        labels, predictions = rows.labels[:, own], rows.predictions[:, own]
        if not concordance.vary(labels, predictions):
            continue
        if pooling == "pooled":
            interval = significance.interval(labels, predictions, videos, **how)
        else:
            of_videos = [
                [moments.concordance for moments in _moments(rows, i, pooling)]
                for i in own
            ]
            interval = significance.mean_interval(
                np.mean(of_videos, axis=0), **how
            )
        found[name] = [interval.low, interval.high]
    return found


def assess(rows: Rows, targets: Sequence[str], pooling: str = "pooled") -> dict:
    """Returns `score`, and beside it "intervals" and the number of "rows"."""
    return score(rows, targets, pooling) | {
        "intervals": intervals(rows, targets, pooling),
        "rows": len(rows.labels),
    }


def of_utterances(
    keys: Sequence[str], predictions: np.ndarray, labels: np.ndarray
) -> Rows:
    """Returns the rows of utterances, "<video>/<utterance>" each."""
    return Rows.labelled([video_of(key) for key in keys], predictions, labels)


def table(metrics: dict) -> list[str]:
    """Returns what `assess` found as lines for a console.

    Args:
        metrics: what `assess` returned, or more.
    """
    lines = []
    shown = [target for target in TARGETS if target in metrics]
    if shown:
        level = f"{LEVEL:.0%} interval of CCC"
        lines.append(
            f"{'':<10}{'CCC':>8}{'Pearson':>10}{'MSE':>8}  {level:<24}"
            "p of Pearson"
        )
    for target in shown:
        scores = metrics[target]
        ccc, pearson, mse = (
            wording.number(scores[name]) for name in ("ccc", "pearson", "mse")
        )
        lines.append(
            f"{target:<10}{ccc:>8}{pearson:>10}{mse:>8}  "
            f"{interval_text(metrics, target):<24}"
            f"{wording.p_value(scores.get('pearson_p_value'))}"
        )
    if len(shown) > 1:
        lines.append(
            f"{'mean':<10}{wording.number(metrics['mean_ccc']):>8}{'':>18}  "
            f"{interval_text(metrics, 'mean')}"
        )
    return lines + warnings(metrics)


def interval_text(metrics: dict, name: str) -> str:
    """Returns a CCC's interval for a console, or why there is none.

    Args:
        metrics: what `assess` returned, or more.
        name: a target, or "mean".
    """
    found = metrics["intervals"]
    if name in found:
        return wording.interval(found[name])
    return "none (constant)" if found else "none (needs two videos)"


def warnings(metrics: dict) -> list[str]:
    """Returns what makes a CCC 0 by definition, a line a target.

    Args:
        metrics: what `assess` returned, or more.
    """
    if metrics.get("rows") == 1:
        return ["one row alone: nothing varies, so CCC is 0 by definition"]
    return [
        f"{target}: {metrics[target]['constant']} do not vary, so CCC is 0 "
        "by definition"
        for target in TARGETS
        if "constant" in metrics.get(target, {})
    ]
