"""How sure a prediction is: conformal half-widths, clustered by video.

A half-width holds the errors of validation; if a new video is like one more of
validation's, its errors lie within it, too, as often as promised, whatever
their distribution. Values of one video are not independent, so that whole
videos are what is exchanged (Lee, Barber & Willett, Distribution-free inference
with hierarchical data, 2023, section 3).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.scoring import aggregation
from affwild_omg.scoring.frames import Frames

COVERAGE = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfWidths:
    """How far the truth may lie from a network's values, on either side.

    Attributes:
        coverage: the share of values for which that holds, in (0, 1).
        clusters: sources, or videos, that it was measured on.
        frame: {target: half-width} of the value of a frame; None where there
            are too few clusters.
        utterance: the same of the estimate of an utterance, without
            post-processing.
    """

    coverage: float
    clusters: int
    frame: Mapping[str, float | None]
    utterance: Mapping[str, float | None]

    def __post_init__(self):
        for widths in (self.frame, self.utterance):
            for target, width in widths.items():
                if width is not None and not float(width) >= 0:
                    raise ValueError(f"{target}: {width!r} is no half-width")

    @classmethod
    def measure(
        cls, frames: Frames, clusters: Sequence[str], **estimate: str
    ) -> "HalfWidths":
        """Measures them on a split that the network did not learn from.

        Args:
            frames: the split; its values are before post-processing.
            clusters: of each utterance, what is independent of the others.
            estimate: for `aggregation.utterance_estimates`.
        """
        found = {}
        for level, errors, own in _errors(frames, clusters, estimate):
            found[level] = {}
            for i, target in enumerate(frames.targets):
                known = np.isfinite(errors[:, i])
                width = half_width(errors[known, i], own[known])
                found[level][target] = width if width < math.inf else None
        return cls(coverage=COVERAGE, clusters=len(set(clusters)), **found)

    def inside(
        self, frames: Frames, clusters: Sequence[str], **estimate: str
    ) -> dict[str, dict[str, float | None]]:
        """Returns how often labels lie within them, each cluster alike.

        Args:
            frames: another split; and so on, see `measure`.

        Returns:
            {"frame" or "utterance": {target: share in [0, 1]}}, None where
            there is no half-width or no label.
        """
        found = {}
        for level, errors, own in _errors(frames, clusters, estimate):
            found[level] = {}
            for i, target in enumerate(frames.targets):
                width = getattr(self, level).get(target)
                known = np.isfinite(errors[:, i])
                share = None
                if width is not None and known.any():
                    within = np.abs(errors[known, i]) <= width
                    share = float(
                        np.average(within, weights=_weights(own[known]))
                    )
                found[level][target] = share
        return found


def _errors(frames, clusters, estimate):
    """Yields the level, errors [values, targets] (NaN: none), and clusters."""
    # Numbers, because a split has millions of frames.
    _, clusters = np.unique(clusters, return_inverse=True)
    yield (
        "frame",
        np.concatenate(
            [
                np.where(mask[:, None], values - labels, np.nan)
                for values, labels, mask in zip(
                    frames.values, frames.labels, frames.mask, strict=True
                )
            ]
        ),
        np.repeat(clusters, frames.lengths),
    )
    seen = frames.seen > 0
    frames = frames.subset(seen)
    yield (
        "utterance",
        aggregation.utterance_estimates(frames, **estimate)
        - aggregation.utterance_labels(frames),
        clusters[seen],
    )


def _weights(clusters):
    """Returns a weight for each value, 1 in sum for each cluster."""
    _, index, sizes = np.unique(
        clusters, return_inverse=True, return_counts=True
    )
    return 1 / sizes[index]


def half_width(
    errors: np.ndarray, clusters: Sequence[str], coverage: float = COVERAGE
) -> float:
    """Computes how far the truth may lie from a prediction.

    It is the least w such that

        sum over clusters k of share_k(|error| <= w) >= coverage (K + 1)

    with K clusters, so that each counts alike, however many values it has. A
    value drawn from a further cluster is off by at most w with a probability of
    at least `coverage`.

    Args:
        errors: [values], of predictions that nothing was fitted to.
        clusters: of each value, such as its video.
        coverage: in (0, 1).

    Returns:
        The half-width, in units of the errors; infinite where there are fewer
        clusters than can promise that: 9 for 0.9.
    """
    errors, weights = np.abs(np.asarray(errors, float)), _weights(clusters)
    order = np.argsort(errors)
    mass = np.cumsum(weights[order])
    count = len(np.unique(clusters))
    # Less than any value's share, so that rounding does not decide.
    needed = coverage * (count + 1) - 1e-9
    if not count or needed > count:
        return math.inf
    place = min(np.searchsorted(mass, needed), len(mass) - 1)
    return float(errors[order][place])
