"""Post-processing: what comes between the frames' values and the scores.

Section 6.3: (i) median filtering of the values per frame within a sequence,
(ii) smoothing of the estimates per utterance. A step is kept only if it raises
CCC on the validation set, and then is applied to the test set as it is. The
paper gives no formula of (ii): `smooth_utterances` is this project's.
"""

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import aggregation, concordance
from affwild_omg.scoring.frames import Frames

# What is tried, in frames. The paper ended at 81 for valence and 3 for
# arousal, with sequences of 80.
MEDIAN_WINDOWS = (1, 3, 5, 9, 15, 25, 41, 81)
SMOOTHING_STRENGTHS = (0, 5, 10, 20, 40, 80, 160)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """What is done to one target.

    Attributes:
        median_window: frames, odd; 1 filters nothing.
        smoothing_strength: frames, 0 or more; 0 smooths nothing.

    Raises:
        UserError: one is out of range.
    """

    median_window: int = 1
    smoothing_strength: float = 0

    def __post_init__(self):
        if not _is_window(self.median_window):
            raise UserError(
                "median_window must be an odd number of frames, 1 or more, "
                f"not {self.median_window!r}"
            )
        if not _is_strength(self.smoothing_strength):
            raise UserError(
                "smoothing_strength must be a number of frames, 0 or more, "
                f"not {self.smoothing_strength!r}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What `choose` found and `apply` does.

    Attributes:
        estimate: "median" or "mean" of each sequence's frames.
        targets: what is done to each target.

    Raises:
        UserError: the estimate is neither.
    """

    estimate: str = "median"
    targets: Mapping[str, Steps]

    def __post_init__(self):
        if self.estimate not in tuple(aggregation.ESTIMATES):
            raise UserError(
                f"estimate must be one of {', '.join(aggregation.ESTIMATES)}, "
                f"not {self.estimate!r}"
            )

    @classmethod
    def nothing(
        cls, targets: Sequence[str], estimate: str = "median"
    ) -> "Settings":
        """Returns settings that leave the predictions as they are."""
        return cls(estimate=estimate, targets=dict.fromkeys(targets, Steps()))

    def to_dict(self) -> dict:
        """Returns the settings as JSON knows them, for `from_dict`."""
        return {
            "estimate": self.estimate,
            "targets": {
                name: {
                    "median_window": int(steps.median_window),
                    "smoothing_strength": float(steps.smoothing_strength),
                }
                for name, steps in self.targets.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping) -> "Settings":
        """Reads what `to_dict` returned.

        Raises:
            UserError: it did not return this, or a value is out of range.
        """
        targets = _fields(content, cls, "the settings")["targets"]
        if not isinstance(targets, Mapping) or not targets:
            raise UserError(
                f"targets must hold the steps of each target, not {targets!r}"
            )
        steps = {}
        for name, fields in targets.items():
            try:
                steps[name] = Steps(**_fields(fields, Steps, "its steps"))
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
        return cls(estimate=content["estimate"], targets=steps)


def median_filter(values, mask, window: int) -> np.ndarray:
    """Filters a sequence by the median about each frame (section 6.3, i).

    Only frames that count do so, in their order, as if there were no others.
    Beyond the ends they are mirrored, (d c b a | a b c d | d c b a), as often
    as the window needs: that is scipy.ndimage's default. scipy's own filter is
    not taken: where half the window is four times the sequence or more it may
    read memory beside the array (seen in 1.17.1: a window of 81 over 2 or 10
    frames), and 1.15.0 to 1.15.2 may crash (scipy/scipy#22250).

    Args:
        values: [time].
        mask: [time], bool; other frames keep their values, NaN among them.
        window: frames, odd; may be longer than the sequence.

    Returns:
        [time], float64.

    Raises:
        ValueError: window is not odd and at least 1, the shapes don't fit, or
            a frame that counts has no finite value.
    """
    if not _is_window(window):
        raise ValueError(f"window must be odd, 1 or more, not {window!r}")
    filtered = np.array(values, np.float64)
    mask = np.asarray(mask, bool)
    if filtered.ndim != 1 or filtered.shape != mask.shape:
        raise ValueError(
            f"values and mask must be [time], not {filtered.shape} and "
            f"{mask.shape}"
        )
    counted = filtered[mask]
    if not np.isfinite(counted).all():
        raise ValueError("values must be finite where the mask is True")
    if window == 1 or not len(counted):
        return filtered
    half = window // 2
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(counted, half, "symmetric"), window
    )
    filtered[mask] = np.partition(around, half, axis=1)[:, half]
    return filtered


def smooth_utterances(
    estimates, frames, videos: Sequence[str], strength: float
) -> np.ndarray:
    """Draws utterances towards their neighbours (section 6.3, ii).

    An utterance of n frames becomes (n own + k neighbours) / (n + k), where k
    is the strength and `neighbours` the mean of the utterances before and
    after it in its video, each weighing as many frames as it has: the fewer
    frames an utterance has itself, the more it gives way. All are drawn at
    once, towards what their neighbours were before. An utterance without
    frames becomes its neighbours' mean; one whose neighbours have no frames,
    or that has none, stays.

    Args:
        estimates: [utterances] or [utterances, targets].
        frames: frames that count, [utterances].
        videos: [utterances]; the order in each video is that of time, others
            may lie between.
        strength: k, in frames, 0 or more; 0 changes nothing.

    Returns:
        The estimates' shape, float64.

    Raises:
        ValueError: the lengths differ, an estimate is not finite, or frames
            or strength are negative or not finite.
    """
    estimates = np.array(estimates, np.float64)
    frames = np.asarray(frames, np.float64)
    if not _is_strength(strength):
        raise ValueError(f"strength must be 0 or more, not {strength!r}")
    if not len(estimates) == len(frames) == len(videos):
        raise ValueError(
            "estimates, frames and videos must be one for each utterance, not "
            f"{len(estimates)}, {len(frames)} and {len(videos)}"
        )
    if not (np.isfinite(estimates).all() and np.isfinite(frames).all()):
        raise ValueError("estimates and frames must be finite")
    if (frames < 0).any():
        raise ValueError("frames must not be negative")
    if strength == 0:
        return estimates
    _, video = np.unique(videos, return_inverse=True)
    order = np.argsort(video, kind="stable")
    # Time last, so that frames multiply either shape.
    own, weights = estimates[order].T, frames[order]
    adjacent = video[order][1:] == video[order][:-1]
    before = np.where(adjacent, weights[:-1], 0)
    after = np.where(adjacent, weights[1:], 0)
    beside = np.zeros_like(weights)
    beside[1:] += before
    beside[:-1] += after
    neighbours = np.zeros_like(own)
    neighbours[..., 1:] += before * own[..., :-1]
    neighbours[..., :-1] += after * own[..., 1:]
    neighbours /= np.where(beside > 0, beside, 1)
    share = np.where(beside > 0, strength / (weights + strength), 0)
    estimates[order] = (own + share * (neighbours - own)).T
    return estimates


def apply(settings: Settings, frames: Frames) -> np.ndarray:
    """Computes the utterances' estimates of a split, post-processed.

    Args:
        settings: what `choose` returned, of whatever split.
        frames: the split.

    Returns:
        [utterances, targets], in the order of the frames' own; an utterance
        without a frame that counts starts from its video's others, see
        `aggregation.fill_unseen`.

    Raises:
        UserError: the settings don't have all targets.
        ValueError: not one frame counts, or one that counts is not finite.
    """
    _check_targets(settings, frames)
    columns = []
    for column, name in enumerate(frames.targets):
        steps = settings.targets[name]
        filtered = _filtered(
            frames, column, steps.median_window, settings.estimate
        )
        columns.append(_smoothed(frames, filtered, steps.smoothing_strength))
    return np.stack(columns, axis=1)


def filter_frames(settings: Settings, frames: Frames) -> Frames:
    """Applies the median filters alone: what there is before any estimate.

    Raises:
        UserError: the settings don't have all targets.
        ValueError: a frame that counts is not finite.
    """
    _check_targets(settings, frames)
    filtered = []
    for utterance, values in enumerate(frames.values):
        values = np.array(values, np.float64)
        for column, name in enumerate(frames.targets):
            for part in frames.sequences(utterance):
                values[part, column] = median_filter(
                    values[part, column],
                    frames.mask[utterance][part],
                    settings.targets[name].median_window,
                )
        filtered.append(values)
    return dataclasses.replace(frames, values=filtered)


def _check_targets(settings, frames):
    missing = [name for name in frames.targets if name not in settings.targets]
    if missing:
        raise UserError(
            f"the settings were chosen for {', '.join(settings.targets)}, not "
            f"for {', '.join(missing)}; choose them again on the validation "
            "set"
        )


def choose(
    validation: Frames,
    *,
    estimate: str = "median",
    windows: Sequence[int] = MEDIAN_WINDOWS,
    strengths: Sequence[float] = SMOOTHING_STRENGTHS,
) -> tuple[Settings, dict]:
    """Searches the steps that raise CCC on the validation set (section 6.3).

    Each target by itself: first the median window, then, with that, the
    smoothing's strength. The best is kept if its CCC is above that without
    the step; of equal ones, the first. Estimates and CCC are made as `apply`
    and the evaluation make them.

    Args:
        validation: the validation set; every utterance is smoothed, and
            scored if all its labels are finite.
        estimate: "median" or "mean" of each sequence.
        windows: odd numbers of frames to try.
        strengths: to try, in frames.

    Returns:
        The settings, and for each target what was seen, as JSON knows it:
        "ccc" without any step, "ccc_filtered" with the window that was
        chosen, "ccc_smoothed" with both, and [setting, CCC] of all that was
        tried as "median_windows" and "smoothing_strengths".

    Raises:
        UserError: a window, a strength or the estimate is out of range.
        ValueError: no utterance is labelled, or as `apply`.
    """
    labels = validation.utterance_labels
    if not np.isfinite(labels).all(axis=1).any():
        raise ValueError("no utterance of the validation set has labels")
    for window in windows:
        Steps(median_window=window)
    for strength in strengths:
        Steps(smoothing_strength=strength)
    nothing = Steps()
    settings = Settings.nothing(validation.targets, estimate)
    chosen, trace = {}, {}
    for column, name in enumerate(validation.targets):
        filtered = {
            window: _filtered(validation, column, window, settings.estimate)
            for window in (nothing.median_window, *windows)
        }
        by_window = _scores(filtered, labels, column)
        window = _best(by_window)
        smoothed = {
            strength: _smoothed(validation, filtered[window], strength)
            for strength in (nothing.smoothing_strength, *strengths)
        }
        by_strength = _scores(smoothed, labels, column)
        strength = _best(by_strength)
        chosen[name] = Steps(median_window=window, smoothing_strength=strength)
        trace[name] = {
            "ccc": by_window[nothing.median_window],
            "ccc_filtered": by_window[window],
            "ccc_smoothed": by_strength[strength],
            "median_windows": [[int(x), y] for x, y in by_window.items()],
            "smoothing_strengths": [
                [float(x), y] for x, y in by_strength.items()
            ],
        }
    return dataclasses.replace(settings, targets=chosen), trace


def _filtered(frames, column, window, estimate):
    """Returns one target of each utterance after the median filter."""

    def sequence_estimate(utterance, part):
        mask = frames.mask[utterance][part]
        values = median_filter(
            frames.values[utterance][part, column], mask, window
        )
        return aggregation.sequence_estimate(
            values[:, np.newaxis], mask, by=estimate
        )

    estimates = [
        aggregation.utterance_estimate(
            [
                sequence_estimate(utterance, part)
                for part in frames.sequences(utterance)
            ]
        )
        for utterance in range(len(frames.keys))
    ]
    return aggregation.fill_unseen(frames.videos, estimates)[:, 0]


def _smoothed(frames, filtered, strength):
    return smooth_utterances(filtered, frames.seen, frames.videos, strength)


def _scores(estimates, labels, column):
    """Computes CCC of each [utterances], where all targets have labels."""
    known = np.isfinite(labels).all(axis=1)
    return {
        setting: concordance.concordance(labels[known, column], values[known])
        for setting, values in estimates.items()
    }


def _best(scores):
    # The first of equals: what comes first is to do nothing.
    return max(scores, key=scores.get)


def _is_window(value):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and value >= 1 and value % 2 == 1


def _is_strength(value):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and value >= 0 and math.isfinite(value)


def _fields(content, kind, what):
    """Checks that content has the fields of a dataclass and no others."""
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(content, Mapping) or set(content) != set(names):
        arrived = (
            ", ".join(map(str, content)) or "nothing"
            if isinstance(content, Mapping)
            else repr(content)
        )
        raise UserError(f"{what} must hold {', '.join(names)}, not {arrived}")
    return content
