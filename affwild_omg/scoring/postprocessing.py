"""Post-processing: what comes between the frames' values and the scores.

Section 6.3: (i) median filtering of the values per frame within a sequence,
(ii) smoothing of the estimates per utterance. A step is kept only if it raises
CCC on the validation set, and then is applied to the test set as it is. The
paper gives no formula of (ii): `smooth_utterances` is this project's.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import aggregation, concordance
from affwild_omg.scoring.frames import Frames

# What is tried, in frames; the first of each changes nothing. The paper ended
# at 81 for valence and 3 for arousal, with sequences of 80.
MEDIAN_WINDOWS = (1, 3, 5, 9, 15, 25, 41, 81)
SMOOTHING_STRENGTHS = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


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
    smoothing_strength: float = 0.0

    def __post_init__(self):
        window, strength = self.median_window, self.smoothing_strength
        if type(window) is not int or window < 1 or window % 2 == 0:
            raise UserError(
                "median_window must be an odd number of frames, 1 or more, "
                f"not {window!r}"
            )
        if type(strength) not in (int, float) or not 0 <= strength < math.inf:
            raise UserError(
                "smoothing_strength must be a number of frames, 0 or more, "
                f"not {strength!r}"
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
        if self.estimate not in list(aggregation.ESTIMATES):
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
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping) -> "Settings":
        """Reads what `to_dict` returned.

        Raises:
            UserError: a field is missing, unknown or out of range.
        """
        try:
            targets = {
                name: Steps(**steps)
                for name, steps in content["targets"].items()
            }
            return cls(**{**content, "targets": targets})
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                "post-processing must hold estimate and, for each of its "
                f"targets, median_window and smoothing_strength: {error}"
            ) from error


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
        ValueError: a frame that counts has no finite value.
    """
    filtered = np.array(values, np.float64)
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
        estimates: of one target, [utterances].
        frames: frames that count, [utterances].
        videos: [utterances]; the order in each video is that of time, others
            may lie between.
        strength: k, in frames, 0 or more; 0 changes nothing.

    Returns:
        [utterances], float64.
    """
    smoothed = np.array(estimates, np.float64)
    if strength == 0:
        return smoothed
    _, video = np.unique(videos, return_inverse=True)
    order = np.argsort(video, kind="stable")
    own, weights = smoothed[order], np.asarray(frames, np.float64)[order]
    adjacent = video[order][1:] == video[order][:-1]
    before, after = adjacent * weights[:-1], adjacent * weights[1:]
    beside, neighbours = np.zeros_like(own), np.zeros_like(own)
    beside[1:] += before
    beside[:-1] += after
    neighbours[1:] += before * own[:-1]
    neighbours[:-1] += after * own[1:]
    drawn = beside > 0
    mean = neighbours[drawn] / beside[drawn]
    share = strength / (weights[drawn] + strength)
    own[drawn] += share * (mean - own[drawn])
    smoothed[order] = own
    return smoothed


def apply(settings: Settings, frames: Frames) -> np.ndarray:
    """Computes the utterances' estimates of a split, post-processed.

    Args:
        settings: what `choose` returned, of whatever split.
        frames: the split.

    Returns:
        [utterances, targets]; an utterance without a frame that counts starts
        from its video's others, see `aggregation.utterance_estimates`.

    Raises:
        UserError: the settings do not have all targets.
        ValueError: not one frame counts, or one that counts is not finite.
    """
    estimates = aggregation.utterance_estimates(
        filter_frames(settings, frames), settings.estimate
    )
    for column, name in enumerate(frames.targets):
        estimates[:, column] = smooth_utterances(
            estimates[:, column],
            frames.seen,
            frames.videos,
            settings.targets[name].smoothing_strength,
        )
    return estimates


def filter_frames(settings: Settings, frames: Frames) -> Frames:
    """Applies the median filters alone: what there is before any estimate.

    Raises:
        UserError: the settings do not have all targets.
        ValueError: a frame that counts is not finite.
    """
    missing = [name for name in frames.targets if name not in settings.targets]
    if missing:
        raise UserError(
            f"the settings were chosen for {', '.join(settings.targets)}, not "
            f"for {', '.join(missing)}; choose them again on the validation "
            "set"
        )
    filtered = [np.array(values, np.float64) for values in frames.values]
    for utterance, values in enumerate(filtered):
        for part in frames.sequences(utterance):
            for column, name in enumerate(frames.targets):
                values[part, column] = median_filter(
                    values[part, column],
                    frames.mask[utterance][part],
                    settings.targets[name].median_window,
                )
    return dataclasses.replace(frames, values=filtered)


def choose(
    validation: Frames, *, estimate: str = "median"
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

    Returns:
        The settings, and for each target what was seen, as JSON knows it:
        "ccc" without any step, "ccc_filtered" with the window that was
        chosen, "ccc_smoothed" with both, and [setting, CCC] of all that was
        tried as "median_windows" and "smoothing_strengths".

    Raises:
        UserError: no utterance is labelled.
        ValueError: as `apply`.
    """
    labels = validation.utterance_labels
    known = np.isfinite(labels).all(axis=1)
    if not known.any():
        raise UserError(
            "no utterance of the validation set has labels; choose "
            "post-processing on records of a split that has them"
        )
    chosen, trace, filtered = {}, {}, {}
    for window in MEDIAN_WINDOWS:
        steps = dict.fromkeys(validation.targets, Steps(median_window=window))
        settings = Settings(estimate=estimate, targets=steps)
        filtered[window] = apply(settings, validation)
    for column, name in enumerate(validation.targets):

        def score(estimates, truth=labels[known, column]):
            return concordance.concordance(truth, estimates[known])

        by_window = {x: score(y[:, column]) for x, y in filtered.items()}
        # The first of equals: what comes first is to do nothing.
        window = max(by_window, key=by_window.get)
        own = filtered[window][:, column], validation.seen, validation.videos
        by_strength = {
            strength: score(smooth_utterances(*own, strength))
            for strength in SMOOTHING_STRENGTHS
        }
        strength = max(by_strength, key=by_strength.get)
        chosen[name] = Steps(median_window=window, smoothing_strength=strength)
        trace[name] = {
            "ccc": by_window[MEDIAN_WINDOWS[0]],
            "ccc_filtered": by_window[window],
            "ccc_smoothed": by_strength[strength],
            "median_windows": [[x, y] for x, y in by_window.items()],
            "smoothing_strengths": [[x, y] for x, y in by_strength.items()],
        }
    return Settings(estimate=estimate, targets=chosen), trace
