"""Scores of groups of utterances.

Labels and predictions are [utterances, targets]; a label is NaN where there is
none, and its utterance does not count in that target.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.scoring import significance
from affwild_omg.scoring.concordance import Moments

EDGES = (2, 4, 8, 16, 32)  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How predictions and labels of one target agree.

    CCC is Pearson's r times an accuracy C_b = 2 / (v + 1/v + u^2), where v is
    the ratio of the standard deviations and u the distance of the means over
    the root of their product (Lin, Biometrics 45, 1989): a wrong mean or range
    lowers C_b alone.

    Attributes:
        label_mean: mean of the labels.
        label_std: their standard deviation (1/N).
        prediction_mean: mean of the predictions.
        prediction_std: their standard deviation.
        ccc: 0 where labels or predictions are constant.
        pearson: Pearson's r, likewise.
        mse: mean squared error.
        interval: of the CCC, see `significance.interval`; None where there is
            none, or none was asked for.
    """

    label_mean: float
    label_std: float
    prediction_mean: float
    prediction_std: float
    ccc: float
    pearson: float
    mse: float
    interval: significance.Interval | None = None

    @classmethod
    def of(cls, labels, predictions, interval=None) -> "Agreement":
        """Computes the scores of [rows] and [rows]."""
        moments = Moments.of(labels, predictions)
        varies = moments.vary  # whatever rounding leaves of a constant's std
        return cls(
            label_mean=float(moments.mean[0]),
            label_std=float(np.std(labels)) if varies[0] else 0.0,
            prediction_mean=float(moments.mean[1]),
            prediction_std=float(np.std(predictions)) if varies[1] else 0.0,
            ccc=moments.concordance,
            pearson=moments.pearson,
            mse=moments.mean_squared_error,
            interval=interval,
        )

    @property
    def varies(self) -> bool:
        """Whether neither labels nor predictions are constant."""
        return self.label_std > 0 and self.prediction_std > 0

    @property
    def bias(self) -> float:
        """The mean prediction less the mean label."""
        return self.prediction_mean - self.label_mean

    @property
    def range_ratio(self) -> float | None:
        """prediction_std over label_std; None where labels are constant."""
        return self.prediction_std / self.label_std if self.label_std else None

    @property
    def accuracy(self) -> float | None:
        """C_b, 1 at best; None where a side is constant."""
        product = self.label_std * self.prediction_std
        squares = self.label_std**2 + self.prediction_std**2 + self.bias**2
        return 2 * product / squares if product else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A group of utterances and how it is predicted.

    Attributes:
        name: of the group.
        utterances: how many it has, 1 or more.
        videos: how many videos they are of.
        scores: of each target that some of them have a label of.
    """

    name: str
    utterances: int
    videos: int
    scores: Mapping[str, Agreement]

    def to_row(self) -> dict:
        """Returns the group as a row of a table."""
        row = {
            "group": self.name,
            "utterances": self.utterances,
            "videos": self.videos,
        }
        for target, score in self.scores.items():
            row |= {
                f"{target}_ccc": score.ccc,
                f"{target}_ccc_low": score.interval and score.interval.low,
                f"{target}_ccc_high": score.interval and score.interval.high,
                f"{target}_mse": score.mse,
                f"{target}_bias": score.bias,
            }
        return row


def agreements(
    labels, predictions, targets: Sequence[str], videos=None
) -> dict[str, Agreement]:
    """Computes the agreement in each target.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        targets: the names of the columns.
        videos: the video of each utterance, for intervals; None for none.

    Returns:
        {target: `Agreement`} of those that an utterance has a label of.
    """
    found = {}
    for target, x, y in zip(targets, labels.T, predictions.T, strict=True):
        known = np.isfinite(x)
        if known.any():
            ends = None
            if videos is not None:
                ends = significance.interval(x, y, videos)
            found[target] = Agreement.of(x[known], y[known], ends)
    return found


def by_group(
    labels,
    predictions,
    videos: Sequence[str],
    groups: Mapping[str, Sequence[bool]],
    targets: Sequence[str],
    clusters: Sequence[str] | None = None,
) -> list[Group]:
    """Scores groups of utterances one by one.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        videos: the video of each utterance, [utterances].
        groups: which utterances each has, bool [utterances]; they may overlap.
        targets: the names of the columns.
        clusters: what intervals draw as a whole, [utterances]; by default the
            videos.

    Returns:
        The groups that have an utterance, in their order.
    """
    videos, found = np.asarray(videos), []
    clusters = videos if clusters is None else np.asarray(clusters)
    for name, mask in groups.items():
        own = videos[mask]
        if len(own):
            data = labels[mask], predictions[mask]
            scores = agreements(*data, targets, clusters[mask])
            found.append(
                Group(
                    name=name,
                    utterances=len(own),
                    videos=len(np.unique(own)),
                    scores=scores,
                )
            )
    return found


def by_length(seconds) -> dict[str, np.ndarray]:
    """Groups utterances by their length.

    Args:
        seconds: of each utterance, [utterances].

    Returns:
        {"under 2 s": bool [utterances], "2 to 4 s": ..., "32 s and more":
        ...}; 2 s is in the second group. Some may be empty.
    """
    names = [f"{low} to {high} s" for low, high in itertools.pairwise(EDGES)]
    names = [f"under {EDGES[0]} s", *names, f"{EDGES[-1]} s and more"]
    group = np.digitize(seconds, EDGES)
    return {name: group == i for i, name in enumerate(names)}


def by_video(videos: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups utterances by video, in the order in which videos appear.

    Returns:
        {video: bool [utterances]}.
    """
    names = np.asarray(videos)
    return {video: names == video for video in dict.fromkeys(videos)}
