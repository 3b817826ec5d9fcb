import numpy as np
import pytest

from affwild_omg import protocol
from affwild_omg.errors import UserError


def batch(keys, values, mask, labels, length=None):
    """Makes a batch whose first landmark holds what is to be predicted."""
    values, mask = np.array(values, float), np.array(mask, bool)
    landmarks = np.zeros((*mask.shape, 68, 2), np.float32)
    landmarks[:, :, 0] = values
    return {
        "key": np.array([key.encode() for key in keys], object),
        "length": np.array(length or [mask.shape[1]] * len(keys)),
        "frames": np.zeros((*mask.shape, 96, 96, 3), np.uint8),
        "landmarks": landmarks,
        "mask": mask,
        "labels": np.array(labels, np.float32),
    }


def read_landmarks(inputs):
    assert set(inputs) == {"frames", "landmarks", "mask"}  # and no labels
    return inputs["landmarks"][:, :, 0]


def by_hand():
    """Three utterances: two windows each for a, one for b, c unseen."""
    nan = float("nan")
    return [
        batch(
            ["v/a", "v/a"],
            [
                [[0, 9], [1, 8], [5, 1], [9, 0]],
                [[3, 3], [4, 4], [99, 99], [99, 99]],
            ],
            [[1, 1, 1, 0], [1, 1, 0, 0]],  # one without a face; padding
            [[[0.5, 1]] * 4, [[0.5, 1]] * 2 + [[0, 0]] * 2],
            [4, 2],
        ),
        batch(
            ["v/b", "v/c"],
            [[[2, 2]] * 4, [[77, 77]] * 4],
            [[1, 1, 0, 1], [0, 0, 0, 0]],
            [[[1, 0]] * 4, [[nan, nan]] * 4],
            [4, 3],
        ),
        # An empty window that fills a batch.
        batch([""], [[[50, 50]] * 4], [[0] * 4], [[[0, 0]] * 4], [0]),
    ]


@pytest.mark.parametrize(
    ("estimate", "first"),
    [
        # Medians (1, 8) and (3.5, 3.5); means (2, 6) and (3.5, 3.5).
        ("median", [2.25, 5.75]),
        ("mean", [2.75, 4.75]),
    ],
)
def test_frames_become_utterances(estimate, first):
    found = protocol.predict_utterances(
        read_landmarks, by_hand(), [0, 1], estimate=estimate
    )
    assert found.keys == ["v/a", "v/b", "v/c"]
    np.testing.assert_allclose(found.predictions[:2], [first, [2, 2]])
    # Unseen: the mean of the same video's others.
    np.testing.assert_allclose(
        found.predictions[2], np.mean([first, [2, 2]], axis=0)
    )
    np.testing.assert_allclose(found.labels[:2], [[0.5, 1], [1, 0]])
    assert np.isnan(found.labels[2]).all()
    assert found.frames.tolist() == [6, 4, 3]
    assert found.seen.tolist() == [5, 3, 0]


def test_one_target_takes_its_own_labels():
    found = protocol.predict_utterances(
        lambda inputs: read_landmarks(inputs)[..., 1:], by_hand(), [1]
    )
    np.testing.assert_allclose(found.predictions[:2], [[5.75], [2]])
    np.testing.assert_allclose(found.labels[:2], [[1], [0]])


def test_nothing_seen_is_told():
    unseen = batch(["v/a"], [[[1, 1]]], [[0]], [[[0, 0]]])
    with pytest.raises(UserError, match="not one frame"):
        protocol.predict_utterances(read_landmarks, [unseen], [0, 1])


def utterances(predictions, labels):
    return protocol.Utterances(
        keys=[f"v/{i}" for i in range(len(labels))],
        predictions=np.array(predictions, float),
        labels=np.array(labels, float),
        frames=np.ones(len(labels), int),
        seen=np.ones(len(labels), int),
    )


def test_scores_are_pooled_over_labelled_utterances():
    nan = float("nan")
    scores = protocol.score(
        utterances(
            [[0, 1], [1, 0], [50, 50], [2, 2]],
            [[0, 1], [2, 0], [nan, nan], [4, 2]],
        ),
        ("valence", "arousal"),
    )
    # By hand, valence: means 1 and 2, variances 2/3 and 8/3, covariance 4/3,
    # so ccc = (8/3) / (10/3 + 1) = 8/13; errors 0, 1, 2.
    assert scores["valence"] == {
        "ccc": pytest.approx(8 / 13),
        "pearson": pytest.approx(1),
        "mse": pytest.approx(5 / 3),
    }
    assert scores["arousal"]["ccc"] == pytest.approx(1)
    assert scores["mean_ccc"] == pytest.approx((8 / 13 + 1) / 2)


def test_intervals_draw_whole_videos():
    nan = float("nan")
    some = protocol.Utterances(
        keys=["a/1", "a/2", "b/1", "b/2", "c/1"],
        predictions=np.array([[0.0], [1], [0], [1], [9]]),
        labels=np.array([[0.0], [1], [1], [0], [nan]]),
        frames=np.ones(5, int),
        seen=np.ones(5, int),
    )
    found = protocol.intervals(some, ("arousal",))
    # Of the two labelled videos one agrees and one contradicts: samples of
    # either alone have CCC 1 and -1, and make up a quarter each.
    assert found == {
        "arousal": [-1, 1],
        "level": 0.95,
        "samples": 2000,
        "videos": 2,
    }
    one = utterances([[0, 1], [1, 0]], [[0, 1], [1, 0]])
    assert protocol.intervals(one, ("valence", "arousal")) == {}


def test_no_labels_no_scores():
    nan = float("nan")
    nothing = utterances([[0, 1]], [[nan, nan]])
    assert protocol.score(nothing, ("valence", "arousal")) == {}


def test_video_of_a_key():
    assert protocol.video_of("v.1/utterance_1.mp4") == "v.1"
