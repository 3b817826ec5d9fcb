"""From values per frame to values per sequence and per utterance."""

from collections.abc import Sequence

import numpy as np

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


def utterance_estimate(sequences: Sequence):
    """Averages the estimates of an utterance's sequences (section 5).

    Args:
        sequences: what `sequence_estimate` gave, each [targets] or None.

    Returns:
        [targets], or None where no sequence has an estimate.
    """
    known = [estimate for estimate in sequences if estimate is not None]
    return np.mean(known, axis=0) if known else None


def fill_unseen(videos: Sequence[str], estimates: Sequence) -> np.ndarray:
    """Gives an estimate to the utterances in which no face was seen.

    No utterance may be lost: one without an estimate takes the mean of its
    video's others, else the mean of all.

    Args:
        videos: the video of each utterance.
        estimates: [targets] or None, each.

    Returns:
        [utterances, targets].

    Raises:
        ValueError: no utterance has an estimate.
    """
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        raise ValueError("no utterance has an estimate to start from")
    by_video = {}
    for video, estimate in zip(videos, estimates, strict=True):
        if estimate is not None:
            by_video.setdefault(video, []).append(estimate)
    overall = [np.mean(known, axis=0)]
    return np.stack(
        [
            np.mean(by_video.get(video, overall), axis=0)
            if estimate is None
            else estimate
            for video, estimate in zip(videos, estimates, strict=True)
        ]
    )
