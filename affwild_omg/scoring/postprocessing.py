"""Post-processing (section 6.3).

(i) A median filter over the frames of a sequence, (ii) smoothing of the
utterances' estimates. A step is kept only if it raises CCC on the validation
set, and is applied to the test set unchanged. The paper gives no formula for
(ii): `smooth_utterances` is this project's.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import aggregation, concordance
from affwild_omg.scoring.frames import Frames

# What is tried, in frames; the first of each changes nothing. The paper chose
# 81 for valence and 3 for arousal, with sequences of 80.
MEDIAN_WINDOWS = (1, 3, 5, 9, 15, 25, 41, 81)
SMOOTHING_STRENGTHS = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps for one target.

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
        weights: of an utterance's sequences, one of `aggregation.WEIGHTS`.
        targets: the steps for each target.

    Raises:
        UserError: the estimate or the weights are something else.
    """

    estimate: str = "median"
    weights: str = "equal"
    targets: Mapping[str, Steps]

    def __post_init__(self):
        for name, choices in (
            ("estimate", aggregation.ESTIMATES),
            ("weights", aggregation.WEIGHTS),
        ):
            if getattr(self, name) not in list(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(choices)}, not "
                    f"{getattr(self, name)!r}"
                )

    @classmethod
    def nothing(
        cls,
        targets: Sequence[str],
        estimate: str = "median",
        weights: str = "equal",
    ) -> "Settings":
        """Returns settings that leave the predictions as they are."""
        steps = dict.fromkeys(targets, Steps())
        return cls(estimate=estimate, weights=weights, targets=steps)

    @property
    def change_nothing(self) -> bool:
        """Whether no target has a step that does anything."""
        return all(steps == Steps() for steps in self.targets.values())

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


Rows = Callable[[Settings], tuple[np.ndarray, np.ndarray]]


def median_filter(values, mask, window: int) -> np.ndarray:
    """Filters a sequence by the median about each frame (section 6.3, i).

    Frames that do not count are skipped, as if they were not there. Beyond
    the ends, values are mirrored, (d c b a | a b c d | d c b a), as by
    default in scipy.ndimage. SciPy's own filter is not used: with a window of
    eight sequences or more it may read memory beside the array (seen in
    1.17.1), and 1.15.0 to 1.15.2 may crash (scipy/scipy#22250).

    Args:
        values: [time].
        mask: [time], bool; frames that do not count keep their values.
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
    after it in its video, weighted by their frames. One whose neighbours have
    no frames, or that has none, stays.

    Args:
        estimates: of one target, [utterances].
        frames: frames that count, [utterances].
        videos: [utterances]; those of one video in the order of time, with
            others between them or not.
        strength: k, in frames, 0 or more; 0 changes nothing.

    Returns:
        [utterances], float64.
    """
    own, weights = (np.array(x, np.float64) for x in (estimates, frames))
    if strength == 0:
        return own
    sums = pd.DataFrame({"frames": weights, "values": weights * own})
    # In a list of their own, or pandas may take videos for names of columns.
    of_video = sums.groupby([list(videos)])
    beside = of_video.shift(1, fill_value=0) + of_video.shift(-1, fill_value=0)
    drawn = beside["frames"].to_numpy() > 0
    mean = (beside["values"] / beside["frames"])[drawn]
    share = strength / (weights[drawn] + strength)
    own[drawn] += share * (mean - own[drawn])
    return own


def apply(settings: Settings, frames: Frames) -> np.ndarray:
    """Computes the post-processed estimates of a split's utterances.

    Args:
        settings: what `choose` returned.
        frames: the split.

    Returns:
        [utterances, targets]; for an utterance without a frame that counts,
        see `aggregation.utterance_estimates`.

    Raises:
        UserError: the settings lack a target.
        ValueError: not one frame counts, or one that counts is not finite.
    """
    estimates = aggregation.utterance_estimates(
        filter_frames(settings, frames), settings.estimate, settings.weights
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
    """Applies the median filters alone.

    Raises:
        UserError: the settings lack a target.
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
    validation: Frames,
    *,
    rows: Rows | None = None,
    estimate: str = "median",
    weights: str = "equal",
) -> tuple[Settings, dict]:
    """Chooses the steps that raise CCC on the validation set (section 6.3).

    For each target first the median window, none longer than the least odd
    number that covers a sequence, and with it the smoothing's strength. The
    best of each is kept; of equals, the first, which changes nothing.

    Args:
        validation: the validation set; every utterance is smoothed. A target
            without any label gets no step.
        rows: gives labels and predictions, [rows, targets], by settings: what
            CCC is to compare. None for the utterances.
        estimate: "median" or "mean" of each sequence.
        weights: of an utterance's sequences, one of `aggregation.WEIGHTS`.

    Returns:
        The settings, and for each target with labels its CCC without any
        step, "ccc", with the median filter, "ccc_filtered", and with both
        steps, "ccc_smoothed".

    Raises:
        UserError: nothing has a label.
        ValueError: as `apply`.
    """

    def utterances(settings):
        labels = aggregation.utterance_labels(validation)
        return labels, apply(settings, validation)

    def settings_of(windows, strength=0.0):
        steps = {
            name: Steps(
                median_window=windows.get(name, 1), smoothing_strength=strength
            )
            for name in validation.targets
        }
        return Settings(estimate=estimate, weights=weights, targets=steps)

    def cccs(settings):
        labels, predictions = (rows or utterances)(settings)
        found, known = {}, np.isfinite(labels)
        for column in np.flatnonzero(known.any(axis=0)):
            own = known[:, column], column
            found[validation.targets[column]] = concordance.concordance(
                labels[own], predictions[own]
            )
        return found

    # An even sequence is covered by a window of one frame more.
    longest = validation.sequence_length | 1
    by_window = {
        window: cccs(settings_of(dict.fromkeys(validation.targets, window)))
        for window in MEDIAN_WINDOWS
        if window <= longest
    }
    if not by_window[1]:
        raise UserError(
            "no utterance of the validation set has labels; choose "
            "post-processing on records of a split that has them"
        )
    windows = {
        name: max(by_window, key=lambda x, name=name: by_window[x][name])
        for name in by_window[1]
    }
    by_strength = {
        strength: cccs(settings_of(windows, strength))
        for strength in SMOOTHING_STRENGTHS
    }
    chosen, search = settings_of(windows), {}
    for name, window in windows.items():
        strength = max(
            by_strength, key=lambda x, name=name: by_strength[x][name]
        )
        chosen.targets[name] = Steps(
            median_window=window, smoothing_strength=strength
        )
        search[name] = {
            "ccc": by_window[1][name],
            "ccc_filtered": by_window[window][name],
            "ccc_smoothed": by_strength[strength][name],
        }
    return chosen, search
