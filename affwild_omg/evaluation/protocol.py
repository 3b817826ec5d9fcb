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
from affwild_omg.scoring.significance import Interval

INPUTS = ("frames", "landmarks", "mask")
LEVELS = ("utterance", "sequence", "frame")
POOLINGS = ("pooled", "per_video")
MOMENTS = "1/N"
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


def of_utterances(
    keys: Sequence[str], predictions: np.ndarray, labels: np.ndarray
) -> Rows:
    """Returns the rows of utterances, "<video>/<utterance>" each."""
    return Rows.labelled([video_of(key) for key in keys], predictions, labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How well one target is predicted.

    Attributes:
        ccc: concordance correlation coefficient (equation 2).
        pearson: Pearson's r.
        mse: mean squared error.
        pearson_p_value: two-sided p-value of r, which takes the rows for
            independent. None for "per_video", for fewer than three rows, and
            where something is constant.
        constant: "labels", "predictions" or "labels and predictions" where
            those are constant over all rows, which makes CCC 0; else "".
    """

    ccc: float
    pearson: float
    mse: float
    pearson_p_value: float | None = None
    constant: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a split by one protocol.

    Attributes:
        level: one of `LEVELS`.
        pooling: one of `POOLINGS`.
        rows: how many rows were scored.
        videos: how many videos these are of.
        targets: {target: score}; empty if there is no row.
        intervals: {target or `MEAN`: confidence interval of its CCC}, of the
            mean CCC if there are several targets. A target whose labels or
            predictions are constant has none, and neither has the mean: its
            CCC of 0 is not an estimate. Empty if there are fewer than two
            videos; None if intervals were not computed.
    """

    level: str
    pooling: str
    rows: int
    videos: int
    targets: Mapping[str, Score]
    intervals: Mapping[str, Interval] | None = None

    @property
    def mean_ccc(self) -> float | None:
        """The mean of the targets' CCCs; None without any row."""
        if not self.targets:
            return None
        return float(np.mean([score.ccc for score in self.targets.values()]))

    @property
    def cccs(self) -> dict[str, float]:
        """{target: CCC}, and if there are several targets, of `MEAN`."""
        cccs = {name: score.ccc for name, score in self.targets.items()}
        return cccs | ({MEAN: self.mean_ccc} if len(cccs) > 1 else {})

    def to_dict(self) -> dict:
        """Returns the scores as metrics.json states them."""
        found = {}
        for name, score in self.targets.items():
            found[name] = dataclasses.asdict(score)
            if self.pooling != "pooled":
                del found[name]["pearson_p_value"]
            if not score.constant:
                del found[name]["constant"]
        if found:
            found["mean_ccc"] = self.mean_ccc
        if self.intervals is not None:
            found["intervals"] = {}
            if self.videos > 1:
                found["intervals"] = {
                    "samples": significance.SAMPLES,
                    "level": significance.LEVEL,
                    "videos": self.videos,
                    **{x: [y.low, y.high] for x, y in self.intervals.items()},
                }
        return found | {"rows": self.rows}

    def interval_text(self, name: str) -> str:
        """Returns the interval of a CCC for a console, or why it has none.

        Args:
            name: a target, or `MEAN`.
        """
        if interval := (self.intervals or {}).get(name):
            return wording.interval((interval.low, interval.high))
        if self.videos < 2:
            return "none (needs two videos)"
        return "none (constant)"

    def warnings(self) -> list[str]:
        """Returns which CCCs are 0 by definition, and why, a line each."""
        if self.rows == 1:
            return ["one row alone: nothing varies, so CCC is 0 by definition"]
        return [
            f"{name}: {score.constant} do not vary, so CCC is 0 by definition"
            for name, score in self.targets.items()
            if score.constant
        ]

    def table(self) -> list[str]:
        """Returns the scores, and what to beware of, as lines for a console."""
        lines = []
        if self.targets:
            level = f"{significance.LEVEL:.0%} interval of CCC"
            lines.append(
                f"{'':<10}{'CCC':>8}{'Pearson':>10}{'MSE':>8}  {level:<24}"
                "p of Pearson"
            )
        for name, score in self.targets.items():
            ccc, pearson, mse = map(
                wording.number, (score.ccc, score.pearson, score.mse)
            )
            lines.append(
                f"{name:<10}{ccc:>8}{pearson:>10}{mse:>8}  "
                f"{self.interval_text(name):<24}"
                f"{wording.p_value(score.pearson_p_value)}"
            )
        if len(self.targets) > 1:
            lines.append(
                f"{MEAN:<10}{wording.number(self.mean_ccc):>8}{'':>18}  "
                f"{self.interval_text(MEAN)}"
            )
        return lines + self.warnings()


def score(
    rows: Rows,
    targets: Sequence[str],
    *,
    level: str = "utterance",
    pooling: str = "pooled",
    intervals: bool = False,
) -> Scores:
    """Scores rows.

    Args:
        rows: what is scored.
        targets: names of the columns.
        level: what the rows are, one of `LEVELS`.
        pooling: "pooled" over all rows (section 6.1), or "per_video": each
            video's own score, and of these the mean. A video in which labels
            or predictions are constant, such as one of a single row, has CCC 0
            there.
        intervals: compute confidence intervals as well, by drawing whole
            videos, see `affwild_omg.scoring.significance`.
    """
    videos = len(set(rows.videos))
    by_target, found = {}, {}
    if len(rows.labels):
        parts = [
            _moments(rows, column, pooling) for column in range(len(targets))
        ]
        by_target = {
            target: _score(rows, column, parts[column], pooling)
            for column, target in enumerate(targets)
        }
    if intervals and videos > 1:
        for name, columns in columns_of(targets).items():
            if not any(by_target[targets[i]].constant for i in columns):
                found[name] = _interval(rows, columns, parts, pooling)
    return Scores(
        level=level,
        pooling=pooling,
        rows=len(rows.labels),
        videos=videos,
        targets=by_target,
        intervals=found if intervals else None,
    )


def columns_of(targets: Sequence[str]) -> dict[str, list[int]]:
    """Returns {target: [column], ...} and, of several, {`MEAN`: all}."""
    columns = {target: [column] for column, target in enumerate(targets)}
    if len(targets) > 1:
        columns[MEAN] = list(range(len(targets)))
    return columns


def _moments(rows, column, pooling):
    """Returns the moments of all rows, or of each video's."""
    labels, predictions = rows.labels[:, column], rows.predictions[:, column]
    if pooling == "pooled":
        return [concordance.Moments.of(labels, predictions)]
    # Sorted once: a comparison for each video is slow if there are many.
    order = np.argsort(rows.videos, kind="stable")
    ends = np.unique(np.asarray(rows.videos)[order], return_index=True)[1][1:]
    return [
        concordance.Moments.of(*part)
        for part in zip(
            np.split(labels[order], ends),
            np.split(predictions[order], ends),
            strict=True,
        )
    ]


def _score(rows, column, parts, pooling):
    """Scores one target; parts: the moments of all rows or of each video."""
    total = sum(parts, concordance.Moments())
    constant = [
        name
        for name, varies in (
            ("labels", total.labels_vary),
            ("predictions", total.predictions_vary),
        )
        if not varies
    ]
    p_value = None
    if pooling == "pooled" and total.count > 2 and not constant:
        p_value = float(
            stats.pearsonr(
                rows.labels[:, column], rows.predictions[:, column]
            ).pvalue
        )
    return Score(
        ccc=float(np.mean([part.concordance for part in parts])),
        pearson=float(np.mean([part.pearson for part in parts])),
        mse=float(np.mean([part.mean_squared_error for part in parts])),
        pearson_p_value=p_value,
        constant=" and ".join(constant),
    )


def _interval(rows, columns, parts, pooling):
    if pooling == "pooled":
        return significance.interval(
            rows.labels[:, columns], rows.predictions[:, columns], rows.videos
        )
    cccs = [[part.concordance for part in parts[i]] for i in columns]
    return significance.mean_interval(np.mean(cccs, axis=0))
