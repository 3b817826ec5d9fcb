import numpy as np
import pytest

from affwild_omg.scoring import aggregation


def test_sequence_estimates_by_hand():
    values = [[1, 10], [2, 20], [9, 60], [5, 0]]
    mask = [True, True, True, False]
    median = aggregation.sequence_estimate(values, mask)
    np.testing.assert_array_equal(median, [2, 20])
    mean = aggregation.sequence_estimate(values, mask, by="mean")
    np.testing.assert_array_equal(mean, [4, 30])
    assert aggregation.sequence_estimate(values, [False] * 4) is None


def test_utterance_is_the_mean_of_its_sequences():
    sequences = [np.array([1.0, 2.0]), None, np.array([3.0, 6.0])]
    estimate = aggregation.utterance_estimate(sequences)
    np.testing.assert_array_equal(estimate, [2, 4])
    assert aggregation.utterance_estimate([None]) is None


def test_unseen_utterances_take_their_videos_mean_else_the_splits():
    filled = aggregation.fill_unseen(
        ["a", "a", "a", "b"],
        [np.array([1.0]), None, np.array([3.0]), None],
    )
    np.testing.assert_array_equal(filled, [[1], [2], [3], [2]])
    with pytest.raises(ValueError, match="no utterance"):
        aggregation.fill_unseen(["a"], [None])
