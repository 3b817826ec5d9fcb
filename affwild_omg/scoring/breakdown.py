"""Where predictions are good and where they are not.

Everything here takes labels and predictions [utterances, targets], finite.
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
    the root of their product (Lin, Biometrics 45, 1989): r says how well the
    two move together, C_b how much of it is lost by a wrong mean or range.

    Attributes:
        label_mean: mean of the labels.
        label_std: their standard deviation (1/N).
        prediction_mean: likewise of the predictions.
        prediction_std: likewise.
        ccc: 0 where labels or predictions are constant.
        pearson: Pearson's r, likewise.
        mse: mean squared error.
        varies: whether neither labels nor predictions are constant.
        interval: of the CCC, see `significance.interval`; None where there is
            none, or where none was asked for.
    """

    label_mean: float
    label_std: float
    prediction_mean: float
    prediction_std: float
    ccc: float
    pearson: float
    mse: float
    varies: bool
    interval: significance.Interval | None = None

    @classmethod
    def of(cls, labels, predictions, interval=None) -> "Agreement":
        """Computes the scores of [rows] and [rows]."""
        moments = Moments.of(labels, predictions)
        return cls(
            label_mean=float(moments.mean[0]),
            label_std=moments.deviation(0),
            prediction_mean=float(moments.mean[1]),
            prediction_std=moments.deviation(1),
            ccc=moments.concordance,
            pearson=moments.pearson,
            mse=moments.mean_squared_error,
            varies=moments.labels_vary and moments.predictions_vary,
            interval=interval,
        )

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
        # The same without a division by what may be next to nothing.
        return 2 * product / squares if product else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A group of utterances and how it is predicted.

    Attributes:
        name: of the group.
        utterances: how many it has, 1 or more.
        videos: how many videos they are of.
        scores: of each target.
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


def by_group(
    labels,
    predictions,
    videos: Sequence[str],
    groups: Mapping[str, Sequence[bool]],
    targets: Sequence[str],
) -> list[Group]:
    """Scores groups of utterances one by one.

    Args:
        labels: [utterances, targets].
        predictions: [utterances, targets].
        videos: the video of each utterance, [utterances].
        groups: which utterances each has, bool [utterances]; they may overlap.
        targets: the names of the columns.

    Returns:
        The groups that have an utterance, in their order.
    """
    videos, found = np.asarray(videos), []
    for name, mask in groups.items():
        own = videos[mask]
        if not len(own):
            continue
        scores = {
            target: Agreement.of(x, y, significance.interval(x, y, own))
            for target, x, y in zip(
                targets, labels[mask].T, predictions[mask].T, strict=True
            )
        }
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
    """Groups utterances by how long they last.

    Args:
        seconds: of each utterance, [utterances].

    Returns:
        {"under 2 s": bool [utterances], "2 to 4 s": ..., "32 s and more":
        ...}, in this order; 2 s is in the second group. Each utterance is in
        one of them, and some may be empty.
    """
    names = [f"{low} to {high} s" for low, high in itertools.pairwise(EDGES)]
    names = [f"under {EDGES[0]} s", *names, f"{EDGES[-1]} s and more"]
    group = np.digitize(seconds, EDGES)
    return {name: group == i for i, name in enumerate(names)}


def by_video(videos: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups utterances by video: {video: bool [utterances]}.

    The videos stand in the order in which they first appear.
    """
    names = np.asarray(videos)
    return {video: names == video for video in dict.fromkeys(videos)}


def calibration(
    labels, predictions, targets: Sequence[str]
) -> dict[str, Agreement]:
    """Returns the agreement in each target, without an interval."""
    columns = zip(targets, labels.T, predictions.T, strict=True)
    return {target: Agreement.of(x, y) for target, x, y in columns}


def worst(labels, predictions, count: int) -> np.ndarray:
    """Finds the utterances that were predicted worst.

    Returns:
        Their numbers, int [count or fewer]: the one whose prediction is
        farthest from its label in the plane first, of equal ones the earlier.
    """
    distance = np.sum((predictions - labels) ** 2, axis=1)
    return np.argsort(-distance, kind="stable")[:count]
