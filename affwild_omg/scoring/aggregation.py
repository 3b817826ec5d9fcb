"""From values per frame to values per sequence and per utterance."""

import numpy as np

from affwild_omg.scoring.frames import Frames

ESTIMATES = {"median": np.median, "mean": np.mean}
WEIGHTS = ("equal", "frames")


def sequence_estimate(values, counts, by: str = "median") -> np.ndarray:
    """Reduces one sequence to one estimate (section 5.1).

    Args:
        values: [time, targets].
        counts: [time, targets], bool; other frames do not count.
        by: "median" (best in the paper) or "mean".

    Returns:
        [targets], float64; NaN where no frame counts.
    """
    columns = zip(np.transpose(values), np.transpose(counts), strict=True)
    return np.array(
        [
            ESTIMATES[by](column[own]) if own.any() else np.nan
            for column, own in columns
        ]
    )


def utterance_estimates(
    frames: Frames, by: str = "median", weights: str = "equal"
) -> np.ndarray:
    """Averages the estimates of each utterance's sequences (section 5).

    Args:
        frames: the split.
        by: "median" or "mean" of each sequence's frames that count, see
            `Frames.counted`.
        weights: of the sequences: one of `WEIGHTS`, "frames" for as many as
            count.

    Returns:
        [utterances, targets]. An utterance without any face takes the mean of
        the others in its video, else of all.

    Raises:
        ValueError: not one frame has a face.
    """
    estimates = np.full((len(frames.keys), len(frames.targets)), np.nan)
    seen = frames.seen > 0
    if not seen.any():
        raise ValueError("no utterance has an estimate to start from")
    for i in np.flatnonzero(seen):
        values, counted = frames.values[i], frames.counted[i]
        parts = frames.sequences(i)
        sequences = np.array(
            [sequence_estimate(values[x], counted[x], by) for x in parts]
        )
        if weights == "frames":
            counts = np.array([counted[x].sum(axis=0) for x in parts])
            total = np.nansum(sequences * counts, axis=0)
            estimates[i] = total / counts.sum(axis=0)
        else:
            estimates[i] = np.nanmean(sequences, axis=0)
    videos = np.array(frames.videos)
    for i in np.flatnonzero(~seen):
        others = seen & (videos == videos[i])
        estimates[i] = estimates[others if others.any() else seen].mean(axis=0)
    return estimates


def utterance_labels(frames: Frames) -> np.ndarray:
    """Averages the labels of each utterance's frames that have one.

    Returns:
        [utterances, targets]; NaN where no frame has a label.
    """
    return np.stack(
        [sequence_estimate(x, np.isfinite(x), "mean") for x in frames.labels]
    )
