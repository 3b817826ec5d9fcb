"""The evaluation protocols: from predicted frames to scores.

The paper's: frame predictions are reduced to an estimate per sequence (median
or mean), those are averaged over the utterance, and CCC is pooled over all
utterances of the split (sections 5 and 6.1). Others are in use: the authors'
code scores frames, trains on sequences, and the organisers' first script took
the mean of the videos' own CCCs. Here each has a name.
"""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.tables import Table
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import (
    aggregation,
    concordance,
    postprocessing,
    significance,
)
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.significance import Interval

# What a batch has beside the inputs of a network.
_BESIDE = ("number", "key", "start", "skip", "length", "time_us", "labels")
MEAN = "mean"  # of the targets' CCCs
INTERVAL_NAME = f"{significance.LEVEL:.0%} interval"
FEW = 20  # clusters; in simulations intervals of as many held the truth in 91 %
HEADER = ("CCC", "Pearson", "MSE", f"{INTERVAL_NAME} of CCC", "p of Pearson")


def predict_frames(
    predict: Callable[[dict], np.ndarray],
    batches: Iterable[Mapping],
    targets: Sequence[str],
    sequence_length: int,
    tail: str,
) -> Frames:
    """Predicts every frame of a split.

    Args:
        predict: see `affwild_omg.inference.predictor.Predictor.predict`.
        batches: numpy batches of windows, see `affwild_omg.data.pipeline`;
            in order, so that a clip's windows follow each other.
        targets: what is predicted.
        sequence_length: frames of the windows.
        tail: how they were cut, see `paper.windows.cut`.

    Raises:
        UserError: no utterance has a frame with a face.
    """
    columns = [TARGETS.index(name) for name in targets]
    clips = {}
    for batch in batches:
        # Labels are never passed to the network.
        inputs = {k: x for k, x in batch.items() if k not in _BESIDE}
        predictions = predict(inputs)
        for i, key in enumerate(batch["key"]):
            if not key:  # an empty window that fills the last batch
                continue
            part = slice(batch["skip"][i], batch["length"][i])
            window = (
                predictions[i][part].astype(np.float64),
                batch["mask"][i][part],
                batch["labels"][i][part, columns].astype(np.float64),
                batch["time_us"][i][part] / 1e6,
            )
            clips.setdefault(key.decode(), []).append(window)
    values, mask, labels, times = zip(
        *(zip(*windows, strict=True) for windows in clips.values()),
        strict=True,
    )
    found = Frames(
        keys=list(clips),
        targets=tuple(targets),
        values=[np.concatenate(x) for x in values],
        mask=[np.concatenate(x) for x in mask],
        labels=[np.concatenate(x) for x in labels],
        times=[np.concatenate(x) for x in times],
        sequence_length=sequence_length,
        tail=tail,
    )
    if not found.seen.any():
        raise UserError(
            "not one frame has a face; prepare the records again from other "
            "videos"
        )
    return found


class Rows(typing.NamedTuple):
    """What is scored, a row each: utterances, sequences or frames.

    Attributes:
        videos: the video of each row, [rows].
        predictions: [rows, targets]; without meaning where there is no label.
        labels: [rows, targets], NaN where there is none; a row has one of
            some target.
        clusters: what is drawn as a whole for intervals, [rows]: the source of
            each row where it is known, else its video.
    """

    videos: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray


def labelled(
    videos: Sequence[str],
    predictions: np.ndarray,
    labels: np.ndarray,
    clusters: Sequence[str] | None = None,
) -> Rows:
    """Keeps the rows that have a label of some target.

    Args:
        videos: as in `Rows`, like what follows.
        predictions: of each row.
        labels: of each row.
        clusters: of each row; by default the videos.
    """
    known = np.isfinite(labels).any(axis=1)
    whole = videos, videos if clusters is None else clusters
    own, clusters = (np.asarray(x)[known] for x in whole)
    return Rows(own, predictions[known], labels[known], clusters)


def rows_of(
    frames: Frames,
    settings: postprocessing.Settings,
    level: str,
    clusters: Sequence[str] | None = None,
) -> Rows:
    """Brings a split's predictions to the level at which they are scored.

    Frames without a face and frames, sequences or utterances without labels
    are not rows. A sequence's label is the mean over its frames with a face
    and a label, as in the loss, an utterance's that over all its frames with a
    label. An utterance without any face has an estimate, see
    `postprocessing.apply`.

    Args:
        frames: the split.
        settings: post-processing, and how a sequence is estimated. Median
            filters act at all levels, smoothing at "utterance".
        level: one of `LEVELS`.
        clusters: of each utterance, see `Rows`; by default its video.
    """
    if level == "utterance":
        predictions = postprocessing.apply(settings, frames)
        labels = aggregation.utterance_labels(frames)
        return labelled(frames.videos, predictions, labels, clusters)
    filtered = postprocessing.filter_frames(settings, frames)
    utterances, predictions, labels = [], [], []
    for i in range(len(frames.keys)):
        for part in frames.sequences(i):
            mask = frames.mask[i][part]
            seen, truth = filtered.values[i][part][mask], frames.labels[i][part]
            truth = truth[mask]
            if level == "sequence":
                known = np.isfinite(truth)
                seen, truth = (
                    aggregation.sequence_estimate(x, known, by)[np.newaxis]
                    for x, by in ((seen, settings.estimate), (truth, "mean"))
                )
            utterances.extend([i] * len(seen))
            predictions.append(seen)
            labels.append(truth)
    whole = frames.videos, frames.videos if clusters is None else clusters
    videos, clusters = (np.asarray(x)[utterances] for x in whole)
    data = np.concatenate(predictions), np.concatenate(labels)
    return labelled(videos, *data, clusters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How well one target is predicted.

    Attributes:
        ccc: concordance correlation coefficient (equation 2).
        pearson: Pearson's r.
        mse: mean squared error.
        rows: how many have a label of the target.
        videos: of how many videos these are.
        pearson_p_value: two-sided p-value of r, which takes the rows for
            independent. None for a mean of several videos, for fewer than
            three rows, and where something is constant.
        sources: of how many sources they are, if `Rows.clusters` has sources.
        constant: "labels", "predictions" or "labels and predictions" if those
            are constant over all rows, which makes CCC 0; else None.
    """

    ccc: float
    pearson: float
    mse: float
    rows: int
    videos: int
    pearson_p_value: float | None = None
    sources: int | None = None
    constant: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a split by one protocol.

    Attributes:
        level: one of `LEVELS`.
        pooling: one of `POOLINGS`.
        rows: how many rows have a label of some target.
        videos: of how many videos these are.
        targets: {target: score} of those that some row has a label of.
        unlabelled: the other targets.
        intervals: {target or `MEAN`: confidence interval of its CCC}, without
            those whose labels or predictions are constant or of fewer than two
            clusters, and empty for "per_video"; None if not asked for.
        sources: of how many sources the rows are, see `Score`.
    """

    level: str
    pooling: str
    rows: int
    videos: int
    targets: Mapping[str, Score]
    unlabelled: Sequence[str] = ()
    intervals: Mapping[str, Interval] | None = None
    sources: int | None = None

    @property
    def clusters(self) -> str:
        """What intervals draw as a whole, "video" or "source"."""
        return "video" if self.sources is None else "source"

    @property
    def fewest(self) -> int:
        """Of how many clusters the target is that has the fewest."""
        name = f"{self.clusters}s"
        return min(getattr(score, name) for score in self.targets.values())

    @property
    def mean_ccc(self) -> float | None:
        """The mean of the targets' CCCs; None without any."""
        cccs = [score.ccc for score in self.targets.values()]
        return float(np.mean(cccs)) if cccs else None

    @property
    def cccs(self) -> dict[str, float]:
        """{target: CCC}, and if there are several targets, of `MEAN`."""
        cccs = {name: score.ccc for name, score in self.targets.items()}
        return cccs | ({MEAN: self.mean_ccc} if len(cccs) > 1 else {})

    def to_dict(self) -> dict:
        """Returns the scores as metrics.json states them."""
        found = {
            name: {
                field: value
                for field, value in dataclasses.asdict(score).items()
                if value is not None
            }
            for name, score in self.targets.items()
        }
        if self.rows:
            found["mean_ccc"] = self.mean_ccc
        if self.intervals is not None:
            found["intervals"] = {
                "samples": significance.SAMPLES,
                "level": significance.LEVEL,
                f"{self.clusters}s": getattr(self, f"{self.clusters}s"),
                **{name: list(ends) for name, ends in self.intervals.items()},
            }
        return found | {"rows": self.rows}

    def ccc_text(self, name: str) -> str:
        """Returns the CCC of a target or `MEAN`, and if it is 0 why."""
        own = [self.targets[name]] if name in self.targets else None
        constant = all(x.constant for x in own or self.targets.values())
        text = wording.number(self.cccs.get(name))
        return f"{text} (constant)" if name in self.cccs and constant else text

    def interval_text(self, name: str) -> str:
        """Returns the interval of a target or `MEAN`, or why it has none."""
        if self.intervals is None:
            return "not computed"
        why = "constant" if self.pooling == "pooled" else "of pooled CCC alone"
        own = self.targets.get(name)
        alone = dataclasses.replace(self, targets={name: own}) if own else self
        if alone.fewest < 2:
            why = f"needs two {self.clusters}s"
        return wording.interval(self.intervals.get(name), none=f"none ({why})")

    def warnings(self) -> list[str]:
        """Returns where labels lack, and which CCCs are 0 by definition."""
        if not self.rows:
            return []
        lines = [f"{name}: no row has a label" for name in self.unlabelled]
        lines += [
            f"{name}: {score.rows:,} of {self.rows:,} rows have a label"
            for name, score in self.targets.items()
            if score.rows < self.rows
        ]
        if self.rows == 1:
            alone = "one row alone: nothing varies, so CCC is 0 by definition"
            return [*lines, alone]
        return lines + [
            f"{name}: {score.constant} do not vary, so CCC is 0 by definition"
            for name, score in self.targets.items()
            if score.constant
        ]

    def caution(self) -> list[str]:
        """Returns in a line, if so, that intervals are of too few clusters."""
        if not self.intervals or self.fewest >= FEW:
            return []
        return [
            f"{INTERVAL_NAME}s drawn from "
            f"{wording.count(self.fewest, self.clusters)} alone are too "
            f"narrow: {FEW} are needed"
        ]

    def cells(self, name: str) -> list[str]:
        """Returns what stands under `HEADER` of a target or `MEAN`."""
        own = self.targets.get(name)  # the mean has a CCC alone
        numbers = [self.cccs[name], own and own.pearson, own and own.mse]
        return [
            *(wording.number(number, none="") for number in numbers),
            self.interval_text(name),
            wording.p_value(own.pearson_p_value) if own else "",
        ]

    def table(self) -> list[str]:
        """Returns the scores, and what to beware of, as lines for a console."""
        rows = [[name, *self.cells(name)] for name in self.cccs]
        lines = Table(("", *HEADER), rows).lines() if rows else []
        return lines + self.warnings() + self.caution()


def score(
    rows: Rows,
    targets: Sequence[str],
    *,
    level: str = "utterance",
    pooling: str = "pooled",
    intervals: bool = False,
) -> Scores:
    """Scores rows, each for the targets that it has a label of.

    Args:
        rows: what is scored.
        targets: names of the columns.
        level: what the rows are, one of `LEVELS`.
        pooling: "pooled" over all rows (section 6.1), or "per_video": each
            video's own score, and of these the mean. A video in which labels
            or predictions are constant, such as one of a single row, has CCC 0
            there.
        intervals: compute confidence intervals as well, by drawing whole
            clusters, see `affwild_omg.scoring.significance`; "per_video" has
            none.
    """
    known = np.isfinite(rows.labels).any(axis=0)
    scored, found = np.flatnonzero(known), {}
    if intervals and pooling == "pooled":
        for name, columns in columns_of([targets[i] for i in scored]).items():
            own = [scored[i] for i in columns]
            data = rows.labels[:, own], rows.predictions[:, own]
            if ends := significance.interval(*data, rows.clusters):
                found[name] = ends
    sourced = bool((rows.clusters != rows.videos).any())
    return Scores(
        level=level,
        pooling=pooling,
        rows=len(rows.labels),
        videos=len(set(rows.videos)),
        targets={targets[i]: _score(rows, i, pooling, sourced) for i in scored},
        unlabelled=[targets[i] for i in np.flatnonzero(~known)],
        intervals=found if intervals else None,
        sources=len(set(rows.clusters)) if sourced else None,
    )


def _score(rows, column, pooling, sourced):
    """Scores a target: the mean over videos, or one score of all rows."""
    known = np.isfinite(rows.labels[:, column])
    videos = rows.videos[known]
    labels, predictions = (
        x[known, column] for x in (rows.labels, rows.predictions)
    )
    parts = [slice(None)]
    if pooling == "per_video":
        numbers = pd.Series(range(len(videos)))
        parts = list(numbers.groupby(videos).indices.values())
    moments = [concordance.Moments.of(labels[x], predictions[x]) for x in parts]
    total, p_value = sum(moments, concordance.Moments()), None
    sides = zip(("labels", "predictions"), total.vary, strict=True)
    constant = " and ".join(name for name, varies in sides if not varies)
    if len(parts) == 1 and total.count > 2 and not constant:
        p_value = float(stats.pearsonr(labels, predictions).pvalue)
    return Score(
        ccc=float(np.mean([x.concordance for x in moments])),
        pearson=float(np.mean([x.pearson for x in moments])),
        mse=float(np.mean([x.mean_squared_error for x in moments])),
        rows=total.count,
        videos=len(set(videos)),
        pearson_p_value=p_value,
        sources=len(set(rows.clusters[known])) if sourced else None,
        constant=constant or None,
    )


def columns_of(targets: Sequence[str]) -> dict[str, list[int]]:
    """Returns {target: [column], ...} and, of several, {`MEAN`: all}."""
    columns = {target: [column] for column, target in enumerate(targets)}
    if len(targets) > 1:
        columns[MEAN] = list(range(len(targets)))
    return columns
