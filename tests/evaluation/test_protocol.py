import json

import numpy as np
import pytest
from scipy import stats

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol
from affwild_omg.scoring import postprocessing, significance
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.significance import Interval
from tests.evaluation.test_results import ccc_by_hand

BOTH = ("valence", "arousal")
NAN = float("nan")


def batch(keys, values, mask, labels, length=None, times=(0, 40, 90, 120)):
    """Makes a batch whose first landmark holds what is to be predicted.

    Times, of each window or of all, are milliseconds.
    """
    values, mask = np.array(values, float), np.array(mask, bool)
    landmarks = np.zeros((*mask.shape, 68, 2), np.float32)
    landmarks[:, :, 0] = values
    return {
        "key": np.array([key.encode() for key in keys], object),
        "time_us": 1000 * np.resize(times, mask.shape),
        "skip": np.zeros(len(keys), int),
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
            times=[[0, 40, 90, 120], [170, 200, 0, 0]],
        ),
        batch(
            ["v/b", "v/c"],
            [[[2, 2]] * 4, [[77, 77]] * 4],
            [[1, 1, 0, 1], [0, 0, 0, 0]],
            [[[1, 0]] * 4, [[NAN, NAN]] * 4],
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
        "pad",
    )


def nothing(estimate="median", targets=BOTH):
    return postprocessing.Settings.nothing(targets, estimate)


def test_frames_are_those_of_the_clips():
    found = predict()
    assert found.keys == ["v/a", "v/b", "v/c"]
    assert found.lengths.tolist() == [6, 4, 3]
    assert found.seen.tolist() == [5, 3, 0]
    times = [x.tolist() for x in found.times]
    assert times == [
        [0, 0.04, 0.09, 0.12, 0.17, 0.2],
        [0, 0.04, 0.09, 0.12],
        [0, 0.04, 0.09],
    ]
    np.testing.assert_array_equal(
        found.values[0], [[0, 9], [1, 8], [5, 1], [9, 0], [3, 3], [4, 4]]
    )
    np.testing.assert_array_equal(found.labels[1], [[1, 0]] * 4)
    assert np.isnan(found.labels[2]).all()


@pytest.mark.parametrize(
    ("estimate", "first", "utterance"),
    [
        # Of the second sequence both are (3.5, 3.5).
        ("median", [1, 8], [2.25, 5.75]),
        ("mean", [2, 6], [2.75, 4.75]),
    ],
)
def test_frames_become_sequences_and_utterances(estimate, first, utterance):
    rows = protocol.rows_of(predict(), nothing(estimate), "sequence")
    np.testing.assert_allclose(rows.predictions, [first, [3.5, 3.5], [2, 2]])
    np.testing.assert_allclose(rows.labels, [[0.5, 1], [0.5, 1], [1, 0]])
    assert list(rows.videos) == ["v"] * 3
    rows = protocol.rows_of(predict(), nothing(estimate), "utterance")
    # c has no labels.
    np.testing.assert_allclose(rows.predictions, [utterance, [2, 2]])
    np.testing.assert_allclose(rows.labels, [[0.5, 1], [1, 0]])


def test_frames_without_a_face_or_a_label_are_no_rows():
    rows = protocol.rows_of(predict(), nothing(), "frame")
    np.testing.assert_array_equal(
        rows.predictions,
        [[0, 9], [1, 8], [5, 1], [3, 3], [4, 4], [2, 2], [2, 2], [2, 2]],
    )
    np.testing.assert_array_equal(rows.labels, [[0.5, 1]] * 5 + [[1, 0]] * 3)


def test_labels_that_vary_count_where_a_face_is():
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


def with_gaps(random):
    """Draws nine utterances of four videos, with gaps in their labels.

    Of the second video no frame has a valence label, of the fourth one none
    with a face.
    """
    lengths = random.integers(5, 14, 9)
    videos = [f"v{i}" for i in np.sort(np.arange(9) % 4)]
    mask, labels = (
        [random.random((n, *shape)) for n in lengths] for shape in ((), (2,))
    )
    mask = [x > 0.3 for x in mask]
    for video, seen, own in zip(videos, mask, labels, strict=True):
        own[random.random(own.shape) < 0.4] = NAN
        own[(video == "v1") | ((video == "v3") & seen), 0] = NAN
    labels[0][:] = NAN
    return Frames(
        keys=[f"{video}/{i}" for i, video in enumerate(videos)],
        targets=BOTH,
        values=[random.normal(size=(n, 2)) for n in lengths],
        mask=mask,
        labels=labels,
        times=[np.arange(n) / 25 for n in lengths],
        sequence_length=4,
        tail="pad",
    )


def what_is_left(frames, level, column):
    """Drops what has no label of a target: its videos, labels, predictions."""
    found = []
    for video, values, seen, labels in zip(
        frames.videos, frames.values, frames.mask, frames.labels, strict=True
    ):
        y, x = values[:, column], labels[:, column]
        known, number = np.isfinite(x), np.arange(len(x)) // 4
        if level == "frame":
            rows = zip(x[seen & known], y[seen & known], strict=True)
        else:
            used = seen & known
            if level == "utterance" and not used.any():
                used = seen
            parts = [used & (number == i) for i in range(4)]
            parts = [part for part in parts if part.any()]
            rows = [(x[part].mean(), np.median(y[part])) for part in parts]
            if level == "utterance":
                estimate = np.mean([y for _, y in rows])
                rows = [(x[known].mean(), estimate)] if known.any() else []
        found += [(video, *row) for row in rows]
    videos, labels, predictions = zip(*found, strict=True)
    return np.array(videos), np.array(labels), np.array(predictions)


@pytest.mark.parametrize("level", ["frame", "sequence", "utterance"])
def test_what_has_no_label_is_not_scored(level):
    frames = with_gaps(np.random.default_rng(0))
    rows = protocol.rows_of(frames, nothing(), level)
    pooled, per_video = (
        protocol.score(rows, BOTH, level=level, pooling=pooling, intervals=True)
        for pooling in ("pooled", "per_video")
    )
    # The last video has valence labels for the utterance alone.
    videos_of = {"valence": 3 if level == "utterance" else 2, "arousal": 4}
    for column, name in enumerate(BOTH):
        videos, x, y = what_is_left(frames, level, column)
        score = pooled.targets[name]
        assert (score.rows, score.videos) == (len(x), videos_of[name])
        assert score.ccc == pytest.approx(ccc_by_hand(x, y))
        r = stats.pearsonr(x, y)
        assert score.pearson == pytest.approx(r.statistic)
        assert score.pearson_p_value == pytest.approx(r.pvalue)
        assert score.mse == pytest.approx(np.mean((x - y) ** 2))
        assert pooled.intervals[name] == pytest.approx(
            significance.interval(x, y, videos)
        )
        own = [videos == video for video in np.unique(videos)]
        cccs = [ccc_by_hand(x[i], y[i]) if i.sum() > 1 else 0 for i in own]
        score = per_video.targets[name]
        assert score.ccc == pytest.approx(np.mean(cccs))
        assert score.rows == len(x)
    low, high = pooled.intervals["mean"]
    assert low < pooled.mean_ccc < high
    json.dumps(pooled.to_dict(), allow_nan=False)


def test_a_target_without_a_label_has_no_score_and_one_video_no_interval():
    labels = [[NAN, 1], [NAN, 2], [NAN, 4]]
    rows = utterances([[0, 1], [1, 3], [2, 2]], labels, ["v", "w", "w"])
    found = protocol.score(rows, BOTH, intervals=True)
    assert found.cccs.keys() == found.intervals.keys() == {"arousal"}
    assert (found.rows, found.mean_ccc) == (3, found.cccs["arousal"])
    assert found.table()[2:] == [
        "valence: no row has a label",
        "95% intervals drawn from 2 videos alone are too narrow: 20 are needed",
    ]
    for videos, warned in ((19, True), (20, False)):
        values = np.random.default_rng(0).normal(size=(2, videos, 1))
        rows = utterances(*values, [f"v{i}" for i in range(videos)])
        found = protocol.score(rows, ("valence",), intervals=True)
        assert bool(found.caution()) == warned
    # Valence labels of one video alone.
    labels[1][0], labels[2][0] = 3, 5
    rows = utterances([[0, 1], [1, 3], [2, 2]], labels, ["v", "w", "w"])
    found = protocol.score(rows, BOTH, intervals=True)
    assert found.intervals.keys() == {"arousal"}
    for name in ("valence", "mean"):
        assert found.interval_text(name) == "none (needs two videos)"
    labels[1][0] = NAN
    rows = utterances([[0, 1], [1, 3], [2, 2]], labels, ["v", "w", "w"])
    assert protocol.score(rows, BOTH).warnings() == [
        "valence: 1 of 3 rows have a label",
        "valence: labels and predictions do not vary, so CCC is 0 by "
        "definition",
    ]


def test_post_processing_acts_where_it_belongs():
    settings = postprocessing.Settings(
        estimate="mean",
        targets={
            "valence": postprocessing.Steps(median_window=5),
            "arousal": postprocessing.Steps(smoothing_strength=3),
        },
    )
    frames = predict()
    # Valence 0 1 5 without the frame that has no face, mirrored: 1 0 | 0 1 5 |
    # 5 1; the medians of five are 1, 1, 1. Arousal is as it was.
    rows = protocol.rows_of(frames, settings, "frame")
    np.testing.assert_array_equal(
        rows.predictions[:3], [[1, 9], [1, 8], [1, 1]]
    )
    rows = protocol.rows_of(frames, settings, "sequence")
    np.testing.assert_allclose(rows.predictions[0], [1, 6])
    # Arousal of a is 4.75 of 5 frames, of b 2 of 3; c has no frames.
    rows = protocol.rows_of(frames, settings, "utterance")
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


def test_a_frame_that_a_window_reaches_back_to_is_scored_once():
    """Utterance a has six frames: its last window begins at the third."""
    first, last = (
        batch(
            ["v/a"], [np.array(x)[:, None] * [1, 2]], [[1] * 4], [[[0, 1]] * 4]
        )
        for x in ([1, 2, 3, 4], [70, 80, 5, 6])
    )
    last["skip"][:] = 2
    last["labels"][:, :2] = NAN
    frames = protocol.predict_frames(
        read_landmarks, [first, last], BOTH, 4, "overlap"
    )
    (values,), (labels,) = frames.values, frames.labels
    np.testing.assert_array_equal(values[:, 0], [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(labels, [[0, 1]] * 6)
    rows = protocol.rows_of(frames, nothing(), "utterance")
    np.testing.assert_array_equal(rows.predictions, [[4, 8]])  # of 2.5 and 5.5


def test_nothing_seen_is_told():
    unseen = batch(["v/a"], [[[1, 1]]], [[0]], [[[0, 0]]])
    with pytest.raises(UserError, match="not one frame"):
        predict([unseen])


def utterances(predictions, labels, videos=None):
    return protocol.labelled(
        videos or ["v"] * len(labels),
        np.array(predictions, float),
        np.array(labels, float),
    )


def test_scores_are_pooled_over_labelled_utterances():
    rows = utterances(
        [[0, 1], [1, 0], [50, 50], [2, 2]],
        [[0, 1], [2, 0], [NAN, NAN], [4, 2]],
    )
    scores = protocol.score(rows, BOTH)
    # By hand, valence: means 1 and 2, variances 2/3 and 8/3, covariance 4/3,
    # so ccc = (8/3) / (10/3 + 1) = 8/13; errors 0, 1, 2. That r is 1.
    assert scores.targets["valence"] == protocol.Score(
        ccc=pytest.approx(8 / 13),
        pearson=pytest.approx(1),
        pearson_p_value=pytest.approx(0, abs=1e-7),
        mse=pytest.approx(5 / 3),
        rows=3,
        videos=1,
    )
    assert scores.cccs == {
        "valence": pytest.approx(8 / 13),
        "arousal": pytest.approx(1),
        "mean": pytest.approx((8 / 13 + 1) / 2),
    }
    assert (scores.rows, scores.videos, scores.intervals) == (3, 1, None)
    assert scores.interval_text("valence") == "not computed"


def test_scores_of_the_videos_are_averaged():
    # The rows of a video need not stand together.
    rows = utterances(
        [[3], [0], [1], [7], [2], [5]],
        [[5], [0], [2], [9], [4], [3]],
        ["w", "v", "v", "x", "v", "w"],
    )
    scores = protocol.score(
        rows, ("valence",), pooling="per_video", intervals=True
    )
    # v is the case above; w contradicts: covariance -1, variances 1, equal
    # means: -1; x is alone: 0. Squared errors 5/3, 4 and 4.
    ccc = pytest.approx((8 / 13 - 1 + 0) / 3)
    assert scores.to_dict() == {
        "valence": {
            "ccc": ccc,
            "pearson": pytest.approx((1 - 1 + 0) / 3, abs=1e-9),
            "mse": pytest.approx((5 / 3 + 4 + 4) / 3),
            "rows": 6,
            "videos": 3,
        },
        "mean_ccc": ccc,
        "intervals": {"samples": 2000, "level": 0.95, "videos": 3},
        "rows": 6,
    }
    assert scores.interval_text("valence") == "none (of pooled CCC alone)"


def test_what_does_not_vary_is_told():
    values = [[0.3, 1], [0.3, 2], [0.3, 4]], [[1, 5], [2, 5], [3, 5]]
    rows = utterances(*values, ["v", "w", "w"])
    found = protocol.score(rows, BOTH, intervals=True)
    assert found.targets["valence"].constant == "predictions"
    assert found.targets["arousal"].constant == "labels"
    assert set(found.cccs.values()) == {0}
    assert found.targets["valence"].pearson_p_value is None
    # That of no CCC but 0 would look like certainty.
    assert found.intervals == {}
    assert found.table()[3].split() == ["mean", "0.000", "none", "(constant)"]
    warnings = [
        "valence: predictions do not vary, so CCC is 0 by definition",
        "arousal: labels do not vary, so CCC is 0 by definition",
    ]
    assert found.table()[4:] == warnings
    json.dumps(found.to_dict(), allow_nan=False)
    found = protocol.score(rows, BOTH, pooling="per_video")
    assert found.warnings() == warnings
    # One that varies has an interval; the mean, half of it a 0, has none.
    varied = utterances([[0.3, 1], [0.3, 2]], [[1, 5], [2, 6]], ["v", "w"])
    found = protocol.score(varied, BOTH, intervals=True)
    assert found.intervals.keys() == {"arousal"}
    # Two rows correlate by 1 or -1, which says nothing.
    assert found.targets["arousal"].pearson_p_value is None


def test_one_row_alone():
    one = utterances([[0.3]], [[1]])
    found = protocol.score(one, ("valence",), intervals=True)
    assert found.targets["valence"] == protocol.Score(
        ccc=0,
        pearson=0,
        mse=pytest.approx(0.49),
        rows=1,
        videos=1,
        constant="labels and predictions",
    )
    _, line, warning = found.table()
    assert line.split()[:4] == ["valence", "0.000", "0.000", "0.490"]
    assert "none (needs two videos)" in line
    assert warning.startswith("one row alone")


def test_intervals_draw_whole_videos():
    some = utterances(
        [[0.0], [1], [0], [1], [9]],
        [[0.0], [1], [1], [0], [NAN]],
        ["a", "a", "b", "b", "c"],
    )
    found = protocol.score(some, ("arousal",), intervals=True)
    # Of the two labelled videos one agrees and one contradicts: samples of
    # either alone have CCC 1 and -1, and make up a quarter each.
    assert found.intervals == {"arousal": Interval(-1, 1)}
    assert found.videos == 2
    one = utterances([[0, 1], [1, 0]], [[0, 1], [1, 0]])
    assert protocol.score(one, BOTH, intervals=True).intervals == {}


@pytest.mark.parametrize("pooling", ["pooled", "per_video"])
def test_no_labels_no_scores(pooling):
    rows = utterances([[0, 1]], [[NAN, NAN]])
    found = protocol.score(rows, BOTH, pooling=pooling, intervals=True)
    assert (found.rows, found.targets, found.mean_ccc) == (0, {}, None)
    assert found.table() == []
    assert "mean_ccc" not in found.to_dict()
