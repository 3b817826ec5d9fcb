"""From values per frame to values per sequence and per utterance."""

import numpy as np

from affwild_omg.scoring.frames import Frames

ESTIMATES = {"median": np.median, "mean": np.mean}


def sequence_estimate(values, mask, by: str = "median"):
    """Reduces one sequence to one estimate (section 5.1).

    Args:
        values: [time, targets].
        mask: [time], bool; other frames do not count.
        by: "median" (best in the paper) or "mean".

    Returns:
        [targets], or None where no frame counts.
    """
    valid = np.asarray(values, np.float64)[np.asarray(mask, bool)]
    return ESTIMATES[by](valid, axis=0) if len(valid) else None


def utterance_estimates(frames: Frames, by: str = "median") -> np.ndarray:
    """Averages the estimates of each utterance's sequences (section 5).

    Args:
        frames: the split.
        by: "median" or "mean" of each sequence.

    Returns:
        [utterances, targets]. An utterance in which no frame counts takes the
        mean of the others in its video, else of all.

    Raises:
        ValueError: not one frame counts.
    """
    estimates = np.full((len(frames.keys), len(frames.targets)), np.nan)
    for i, (values, mask) in enumerate(
        zip(frames.values, frames.mask, strict=True)
    ):
        sequences = [
            estimate
            for part in frames.sequences(i)
            if (estimate := sequence_estimate(values[part], mask[part], by))
            is not None
        ]
        if sequences:
            estimates[i] = np.mean(sequences, axis=0)
    seen = frames.seen > 0
    if not seen.any():
        raise ValueError("no utterance has an estimate to start from")
    videos = np.array(frames.videos)
    for i in np.flatnonzero(~seen):
        others = seen & (videos == videos[i])
        estimates[i] = estimates[others if others.any() else seen].mean(axis=0)
    return estimates
