import json

import numpy as np
import pytest
from scipy import stats

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol
from affwild_omg.evaluation.options import POOLINGS
from affwild_omg.scoring import postprocessing

BOTH = ("valence", "arousal")


def batch(keys, values, mask, labels, length=None, fps=30):
    """Makes a batch whose first landmark holds what is to be predicted."""
    values, mask = np.array(values, float), np.array(mask, bool)
    landmarks = np.zeros((*mask.shape, 68, 2), np.float32)
    landmarks[:, :, 0] = values
    return {
        "key": np.array([key.encode() for key in keys], object),
        "fps": np.full(len(keys), fps, np.float32),
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
            fps=25,
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


def predict(batches=None, targets=BOTH):
    return protocol.predict_frames(
        lambda inputs: read_landmarks(inputs)[
            ..., [BOTH.index(name) for name in targets]
        ],
        by_hand() if batches is None else batches,
        targets,
        4,
    )


def nothing(estimate="median", targets=BOTH):
    return postprocessing.Settings.nothing(targets, estimate)


def test_frames_are_those_of_the_clips():
    found = predict()
    assert found.keys == ["v/a", "v/b", "v/c"]
    assert found.lengths.tolist() == [6, 4, 3]
    assert found.seen.tolist() == [5, 3, 0]
    assert found.fps == [25, 30, 30]
    np.testing.assert_array_equal(
        found.values[0], [[0, 9], [1, 8], [5, 1], [9, 0], [3, 3], [4, 4]]
    )
    np.testing.assert_array_equal(found.labels[1], [[1, 0]] * 4)
    assert np.isnan(found.labels[2]).all()


@pytest.mark.parametrize(
    ("estimate", "first"),
    [
        # Medians (1, 8) and (3.5, 3.5); means (2, 6) and (3.5, 3.5).
        ("median", [2.25, 5.75]),
        ("mean", [2.75, 4.75]),
    ],
)
def test_frames_become_utterances(estimate, first):
    rows = protocol.rows_of(predict(), nothing(estimate), "utterance")
    # c has no labels.
    assert list(rows.videos) == ["v", "v"]
    np.testing.assert_allclose(rows.predictions, [first, [2, 2]])
    np.testing.assert_allclose(rows.labels, [[0.5, 1], [1, 0]])


@pytest.mark.parametrize(
    ("estimate", "first"), [("median", [1, 8]), ("mean", [2, 6])]
)
def test_frames_become_sequences(estimate, first):
    rows = protocol.rows_of(predict(), nothing(estimate), "sequence")
    np.testing.assert_allclose(rows.predictions, [first, [3.5, 3.5], [2, 2]])
    np.testing.assert_allclose(rows.labels, [[0.5, 1], [0.5, 1], [1, 0]])
    assert list(rows.videos) == ["v"] * 3


def test_frames_without_a_face_or_a_label_are_no_rows():
    rows = protocol.rows_of(predict(), nothing(), "frame")
    np.testing.assert_array_equal(
        rows.predictions,
        [[0, 9], [1, 8], [5, 1], [3, 3], [4, 4], [2, 2], [2, 2], [2, 2]],
    )
    np.testing.assert_array_equal(rows.labels, [[0.5, 1]] * 5 + [[1, 0]] * 3)


def test_labels_that_vary_count_where_a_face_is():
    nan = float("nan")
    varying = batch(
        ["v/a"],
        [[[0, 9], [1, 8], [5, 1], [9, 0]]],
        [[1, 1, 0, 1]],
        [[[0, 0], [0.5, 1], [99, 99], [1, 0.5]]],
    )
    rows = protocol.rows_of(predict([varying]), nothing(), "sequence")
    np.testing.assert_allclose(rows.labels, [[0.5, 0.5]])
    rows = protocol.rows_of(predict([varying]), nothing(), "frame")
    np.testing.assert_allclose(rows.labels, [[0, 0], [0.5, 1], [1, 0.5]])
    varying["labels"][0, 1] = nan
    rows = protocol.rows_of(predict([varying]), nothing(), "frame")
    np.testing.assert_allclose(rows.labels, [[0, 0], [1, 0.5]])


def test_post_processing_acts_where_it_belongs():
    settings = postprocessing.Settings(
        estimate="mean",
        targets={
            "valence": postprocessing.Steps(median_window=3),
            "arousal": postprocessing.Steps(smoothing_strength=3),
        },
    )
    frames = predict()
    # Valence 0 1 5 without the frame that has no face: filtered 0 1 5; 3 4
    # stays; arousal is as it was.
    rows = protocol.rows_of(frames, settings, "frame")
    plain = protocol.rows_of(frames, nothing("mean"), "frame")
    np.testing.assert_array_equal(rows.predictions, plain.predictions)
    wide = postprocessing.Settings(
        estimate="mean",
        targets={
            "valence": postprocessing.Steps(median_window=5),
            "arousal": postprocessing.Steps(smoothing_strength=3),
        },
    )
    # Mirrored: 1 0 | 0 1 5 | 5 1: the medians of five are 1, 1, 1.
    rows = protocol.rows_of(frames, wide, "frame")
    np.testing.assert_array_equal(rows.predictions[:3, 0], [1, 1, 1])
    rows = protocol.rows_of(frames, wide, "sequence")
    np.testing.assert_allclose(rows.predictions[0], [1, 6])
    # Arousal of a is 4.75 of 5 frames, of b 2 of 3; c has no frames.
    rows = protocol.rows_of(frames, wide, "utterance")
    np.testing.assert_allclose(
        rows.predictions[:, 1],
        [(5 * 4.75 + 3 * 2) / 8, (3 * 2 + 3 * 4.75) / 6],
    )


def test_one_target_takes_its_own_labels():
    rows = protocol.rows_of(
        predict(targets=("arousal",)),
        nothing(targets=("arousal",)),
        "utterance",
    )
    np.testing.assert_allclose(rows.predictions, [[5.75], [2]])
    np.testing.assert_allclose(rows.labels, [[1], [0]])


def test_nothing_seen_is_told():
    unseen = batch(["v/a"], [[[1, 1]]], [[0]], [[[0, 0]]])
    with pytest.raises(UserError, match="not one frame"):
        predict([unseen])


def utterances(predictions, labels, videos=None):
    return protocol.of_utterances(
        [f"{video}/u" for video in videos or ["v"] * len(labels)],
        np.array(predictions, float),
        np.array(labels, float),
    )


NAN = float("nan")
ROWS = utterances(
    [[0, 1], [1, 0], [50, 50], [2, 2]],
    [[0, 1], [2, 0], [NAN, NAN], [4, 2]],
)


def test_scores_are_pooled_over_labelled_utterances():
    scores = protocol.score(ROWS, BOTH)
    # By hand, valence: means 1 and 2, variances 2/3 and 8/3, covariance 4/3,
    # so ccc = (8/3) / (10/3 + 1) = 8/13; errors 0, 1, 2. That r is 1.
    assert scores["valence"] == {
        "ccc": pytest.approx(8 / 13),
        "pearson": pytest.approx(1),
        "pearson_p_value": pytest.approx(0, abs=1e-7),
        "mse": pytest.approx(5 / 3),
    }
    assert scores["arousal"]["ccc"] == pytest.approx(1)
    assert scores["mean_ccc"] == pytest.approx((8 / 13 + 1) / 2)


def test_scores_of_the_videos_are_averaged():
    rows = utterances(
        [[0], [1], [2], [3], [5], [7]],
        [[0], [2], [4], [5], [3], [9]],
        ["v", "v", "v", "w", "w", "x"],
    )
    scores = protocol.score(rows, ("valence",), "per_video")
    # v is the case above; w contradicts: covariance -1, variances 1, equal
    # means: -1; x is alone: 0. Squared errors 5/3, 4 and 4.
    assert scores == {
        "valence": {
            "ccc": pytest.approx((8 / 13 - 1 + 0) / 3),
            "pearson": pytest.approx((1 - 1 + 0) / 3),
            "mse": pytest.approx((5 / 3 + 4 + 4) / 3),
        },
        "mean_ccc": pytest.approx((8 / 13 - 1) / 3),
    }
    found = protocol.intervals(rows, ("valence",), "per_video")
    # Of three videos' draws more than 1 in 27 has the worst thrice, and the
    # best thrice.
    assert found["valence"] == [pytest.approx(-1), pytest.approx(8 / 13)]
    assert found["videos"] == 3


def test_p_values_are_scipys():
    random = np.random.default_rng(0)
    labels = random.normal(size=(40, 1))
    predictions = labels + 2 * random.normal(size=(40, 1))
    scores = protocol.score(utterances(predictions, labels), ("arousal",))
    expected = stats.pearsonr(labels[:, 0], predictions[:, 0])
    assert scores["arousal"]["pearson"] == pytest.approx(expected.statistic)
    assert scores["arousal"]["pearson_p_value"] == pytest.approx(
        expected.pvalue
    )


def test_a_p_value_too_small_for_a_float_is_not_shown_as_0():
    labels = np.arange(3000)[:, None] / 3000
    noise = 0.01 * np.sin(np.arange(3000))[:, None]
    found = protocol.assess(utterances(labels + noise, labels), ("arousal",))
    assert stats.pearsonr(labels[:, 0], (labels + noise)[:, 0]).pvalue == 0
    assert protocol.table(found)[1].split()[-1] == "<1e-99"


def test_what_does_not_vary_is_told():
    rows = utterances([[0.3, 1], [0.3, 2]], [[1, 5], [2, 5]], ["v", "w"])
    found = protocol.assess(rows, BOTH)
    assert found["valence"]["constant"] == "predictions"
    assert found["arousal"]["constant"] == "labels"
    assert found["valence"]["ccc"] == found["mean_ccc"] == 0
    assert found["valence"]["pearson_p_value"] is None
    # That of no CCC but 0 would look like certainty.
    assert found["intervals"].keys() == {"level", "samples", "videos"}
    assert protocol.table(found)[3].split() == [
        *("mean", "0.000", "none", "(constant)")
    ]
    assert protocol.table(found)[4:] == [
        "valence: predictions do not vary, so CCC is 0 by definition",
        "arousal: labels do not vary, so CCC is 0 by definition",
    ]
    json.dumps(found, allow_nan=False)
    # One that varies has an interval; the mean, half of it a 0, has none.
    varied = utterances([[0.3, 1], [0.3, 2]], [[1, 5], [2, 6]], ["v", "w"])
    found = protocol.intervals(varied, BOTH)
    assert "arousal" in found and not {"valence", "mean"} & found.keys()
    found = protocol.assess(rows, BOTH, "per_video")
    assert found["valence"]["constant"] == "predictions"
    assert protocol.warnings(found)[0].startswith("valence: predictions do")


def test_one_row_alone():
    found = protocol.assess(utterances([[0.3]], [[1]]), ("valence",))
    assert found["valence"] == {
        "ccc": 0,
        "pearson": 0,
        "mse": pytest.approx(0.49),
        "pearson_p_value": None,
        "constant": "labels and predictions",
    }
    assert found["intervals"] == {}
    header, line, warning = protocol.table(found)
    assert line.split()[:4] == ["valence", "0.000", "0.000", "0.490"]
    assert "none (needs two videos)" in line
    assert warning.startswith("one row alone")


def test_intervals_draw_whole_videos():
    some = utterances(
        [[0.0], [1], [0], [1], [9]],
        [[0.0], [1], [1], [0], [NAN]],
        ["a", "a", "b", "b", "c"],
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
    assert protocol.intervals(one, BOTH) == {}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_mean_has_an_interval_of_its_own(pooling):
    # Arousal agrees where valence contradicts: whatever is drawn, their CCCs
    # cancel.
    labels = np.array([[0.0, 0], [1, 1], [0, 0], [1, 1]])
    predictions = np.array([[0.0, 1], [1, 0], [1, 0], [0, 1]])
    rows = utterances(predictions, labels, ["a", "a", "b", "b"])
    found = protocol.intervals(rows, BOTH, pooling)
    assert found["valence"] == found["arousal"] == [-1, 1]
    assert found["mean"] == pytest.approx([0, 0], abs=1e-12)
    alike = utterances(
        predictions[:, [0, 0]], labels[:, [0, 0]], ["a", "a", "b", "b"]
    )
    assert protocol.intervals(alike, BOTH, pooling)["mean"] == [-1, 1]
    line = protocol.table(protocol.assess(alike, BOTH, pooling))[3]
    assert line == f"mean{'0.000':>14}{'':20}-1.000 to 1.000"
    near = {"intervals": {"mean": [-0.25, -1e-4]}}
    assert protocol.interval_text(near, "mean") == "-0.250 to 0.000"
    one = protocol.intervals(rows, ("valence",), pooling)
    assert "mean" not in one


@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_labels_no_scores(pooling):
    rows = utterances([[0, 1]], [[NAN, NAN]])
    assert protocol.assess(rows, BOTH, pooling) == {"intervals": {}, "rows": 0}
