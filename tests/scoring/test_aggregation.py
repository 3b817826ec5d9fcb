import dataclasses

import numpy as np
import pytest

from affwild_omg.scoring import aggregation
from affwild_omg.scoring.frames import Frames

NAN = float("nan")


def split(videos, values, masks):
    """Makes frames of one target, in sequences of two."""
    return Frames(
        keys=[f"{video}/{i}" for i, video in enumerate(videos)],
        targets=("valence",),
        values=[np.array(x, float)[:, np.newaxis] for x in values],
        mask=[np.array(x, bool) for x in masks],
        labels=[np.zeros((len(x), 1)) for x in values],
        times=[np.arange(len(x)) / 25 for x in values],
        sequence_length=2,
        tail="pad",
    )


def test_sequence_estimates_by_hand():
    values = [[1, 10], [2, 20], [9, 60], [5, 0]]
    counts = np.array([[1, 0], [1, 1], [1, 1], [0, 0]], bool)
    median = aggregation.sequence_estimate(values, counts)
    np.testing.assert_array_equal(median, [2, 40])
    mean = aggregation.sequence_estimate(values, counts, by="mean")
    np.testing.assert_array_equal(mean, [4, 40])
    counts[:, 0] = False
    one = aggregation.sequence_estimate(values, counts)
    np.testing.assert_array_equal(one, [NAN, 40])


def test_utterance_is_the_mean_of_its_sequences():
    # Sequences 1, 3 and 9: 2 and 9; the one without a face does not count.
    frames = split("a", [[1, 3, 5, 5, 9]], [[1, 1, 0, 0, 1]])
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames), [[5.5]]
    )
    # Of frames 0, 2 and 3 with labels, the first has a face.
    labels = [np.array([[0.5], [NAN], [0], [1], [NAN]])]
    frames = dataclasses.replace(frames, labels=labels)
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames), [[1]]
    )
    np.testing.assert_array_equal(aggregation.utterance_labels(frames), [[0.5]])
    # Without any label it has an estimate all the same.
    frames = dataclasses.replace(frames, labels=[np.full((5, 1), NAN)])
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames), [[5.5]]
    )
    assert np.isnan(aggregation.utterance_labels(frames))


def test_sequences_may_weigh_as_much_as_their_frames_that_count():
    # Sequences 2 (two frames), 7 (one) and none.
    frames = split("a", [[1, 3, 7, 5, 9]], [[1, 1, 1, 0, 0]])
    np.testing.assert_allclose(
        aggregation.utterance_estimates(frames, weights="frames"), [[11 / 3]]
    )
    # With a label of frames 1 and 2 alone: 3 and 7, of a frame each.
    labels = [np.array([[NAN], [1], [1], [NAN], [NAN]])]
    frames = dataclasses.replace(frames, labels=labels)
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames, weights="frames"), [[5]]
    )


def test_unseen_utterances_take_their_videos_mean_else_the_splits():
    frames = split(
        "aaabc", [[1], [7], [3], [9], [8]], [[1], [0], [1], [0], [1]]
    )
    np.testing.assert_array_equal(
        aggregation.utterance_estimates(frames), [[1], [2], [3], [4], [8]]
    )
    with pytest.raises(ValueError, match="no utterance"):
        aggregation.utterance_estimates(split("a", [[1]], [[0]]))
