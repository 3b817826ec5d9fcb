import numpy as np
import pytest

from affwild_omg.scoring import aggregation
from affwild_omg.scoring.frames import Frames


def split(videos, values, masks):
    """Makes frames of one target, in sequences of two."""
    return Frames(
        keys=[f"{video}/{i}" for i, video in enumerate(videos)],
        targets=("valence",),
        values=[np.array(x, float)[:, np.newaxis] for x in values],
        mask=[np.array(x, bool) for x in masks],
        labels=[np.zeros((len(x), 1)) for x in values],
        fps=[25.0] * len(videos),
        sequence_length=2,
    )


def test_sequence_estimates_by_hand():
    values = [[1, 10], [2, 20], [9, 60], [5, 0]]
    mask = [True, True, True, False]
    median = aggregation.sequence_estimate(values, mask)
    np.testing.assert_array_equal(median, [2, 20])
    mean = aggregation.sequence_estimate(values, mask, by="mean")
    np.testing.assert_array_equal(mean, [4, 30])
    assert aggregation.sequence_estimate(values, [False] * 4) is None


def test_utterance_is_the_mean_of_its_sequences():
    # Sequences 1, 3 and 9: 2 and 9; the one without a face does not count.
    frames = split("a", [[1, 3, 5, 5, 9]], [[1, 1, 0, 0, 1]])
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames), [[5.5]]
    )


def test_unseen_utterances_take_their_videos_mean_else_the_splits():
    frames = split("aaab", [[1], [7], [3], [9]], [[1], [0], [1], [0]])
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames, "mean"), [[1], [2], [3], [2]]
    )
    with pytest.raises(ValueError, match="no utterance"):
        aggregation.utterance_estimates(split("a", [[1]], [[0]]))
