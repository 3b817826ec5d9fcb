import numpy as np
import pytest
from scipy import stats

from affwild_omg.scoring import breakdown as insight
from affwild_omg.scoring import significance
from affwild_omg.scoring.concordance import concordance

TARGETS = ("valence", "arousal")


@pytest.fixture
def utterances():
    """Labels and predictions [60, 2], seconds and videos of 60 utterances."""
    random = np.random.default_rng(0)
    labels = random.uniform([-1, 0], 1, (60, 2))
    predictions = 0.5 * labels + random.normal(0.1, 0.2, (60, 2))
    videos = [f"video {i}" for i in random.integers(0, 7, 60)]
    return labels, predictions, random.gamma(2, 4, 60), videos


def test_breakdown_by_hand():
    labels = [[1, 0.5], [2, 0.5], [3, 0.5], [9, 0.1], [7, 0.3]]
    predictions = [[2, 0.1], [3, 0.5], [4, 0.6], [8, 0.2], [8, 0.3]]
    groups = {
        "first": [True, True, True, False, False],
        "none": [False] * 5,
        "alone": [False, False, False, True, False],
        "two": [False, False, False, True, True],
    }
    first, alone, two = insight.breakdown(
        labels, predictions, list("aabcc"), groups, TARGETS
    )
    # Valence: all is 1 higher, CCC 4/7. The arousal labels are constant.
    assert first == {
        "group": "first",
        "utterances": 3,
        "videos": 2,
        "valence_ccc": pytest.approx(4 / 7),
        "valence_ccc_low": pytest.approx(0),  # one video twice, or the other
        "valence_ccc_high": pytest.approx(4 / 7),
        "valence_varies": True,
        "valence_mse": pytest.approx(1),
        "valence_bias": pytest.approx(1),
        "arousal_ccc": 0,
        "arousal_ccc_low": None,  # though there are two videos
        "arousal_ccc_high": None,
        "arousal_varies": False,
        "arousal_mse": pytest.approx((0.16 + 0 + 0.01) / 3),
        "arousal_bias": pytest.approx(-0.1),
    }
    for group, count in ((alone, 1), (two, 2)):
        assert (group["utterances"], group["videos"]) == (count, 1)
        for target in TARGETS:
            assert group[f"{target}_ccc_low"] is None
            assert group[f"{target}_ccc_high"] is None
    assert alone["valence_ccc"] == 0
    assert alone["valence_mse"] == pytest.approx(1)
    assert alone["valence_bias"] == pytest.approx(-1)
    assert two["valence_ccc"] == 0  # constant predictions
    assert [
        (group["valence_varies"], group["arousal_varies"])
        for group in (alone, two)
    ] == [(False, False), (False, True)]
    # Arousal .1, .3 and .2, .3: covariance .1 * .05, variances .01 and .0025.
    assert two["arousal_ccc"] == pytest.approx(0.01 / 0.015)
    assert list(two) == list(first)


def test_breakdown_has_the_intervals_of_its_groups(utterances):
    labels, predictions, _, videos = utterances
    mask = labels[:, 0] > 0
    (row,) = insight.breakdown(
        labels, predictions, videos, {"x": mask}, TARGETS
    )
    interval = significance.bootstrap_interval(
        labels[mask, 1], predictions[mask, 1], np.array(videos)[mask]
    )
    assert row["arousal_ccc_low"] == interval.low < row["arousal_ccc"]
    assert row["arousal_ccc_high"] == interval.high > row["arousal_ccc"]
    assert row["arousal_ccc"] == concordance(
        labels[mask, 1], predictions[mask, 1]
    )


def test_no_utterance_is_lost_between_groups(utterances):
    labels, predictions, seconds, videos = utterances
    for groups in (insight.by_length(seconds), insight.by_video(videos)):
        assert (np.sum(list(groups.values()), axis=0) == 1).all()
        rows = insight.breakdown(labels, predictions, videos, groups, TARGETS)
        assert sum(row["utterances"] for row in rows) == 60
        # MSE over all is the groups' own, by their counts.
        for column, target in enumerate(TARGETS):
            together = sum(
                row["utterances"] * row[f"{target}_mse"] for row in rows
            )
            assert together / 60 == pytest.approx(
                np.mean((labels - predictions)[:, column] ** 2)
            )
    assert [row["videos"] for row in rows] == [1] * 7
    assert [row["group"] for row in rows] == list(dict.fromkeys(videos))


def test_lengths_by_hand():
    groups = insight.by_length([0, 1.9, 2, 3.99, 32, 40, 8, 31.9])
    found = {name: list(np.flatnonzero(x)) for name, x in groups.items()}
    assert list(found.items()) == [
        ("under 2 s", [0, 1]),
        ("2 to 4 s", [2, 3]),
        ("4 to 8 s", []),
        ("8 to 16 s", [6]),
        ("16 to 32 s", [7]),
        ("32 s and more", [4, 5]),
    ]
    groups = insight.by_length([0.2, 0.5], edges=[0.5])
    assert [*groups] == ["under 0.5 s", "0.5 s and more"]
    assert [list(x) for x in groups.values()] == [[True, False], [False, True]]


def test_videos_in_the_order_of_their_first_utterance():
    groups = insight.by_video(["b", "a", "b"])
    assert [(name, list(mask)) for name, mask in groups.items()] == [
        ("b", [True, False, True]),
        ("a", [False, True, False]),
    ]


def test_calibration_by_hand():
    # Valence: the label is twice the prediction, less 0.4.
    labels = [[0.0, 0.5], [0.2, 0.5], [0.4, 0.5]]
    predictions = [[0.2, 0.1], [0.3, 0.2], [0.4, 0.6]]
    valence, arousal = insight.calibration(labels, predictions, TARGETS)
    deviation = (0.04 * 2 / 3) ** 0.5
    # Covariance 0.02 * 2/3, variances 0.04 and 0.01 * 2/3, means 0.1 apart.
    ccc = (0.04 * 2 / 3) / (0.05 * 2 / 3 + 0.01)
    assert valence == pytest.approx(
        {
            "target": "valence",
            "label_mean": 0.2,
            "label_std": deviation,
            "prediction_mean": 0.3,
            "prediction_std": deviation / 2,
            "range_ratio": 0.5,
            "bias": 0.1,
            "pearson": 1,
            "accuracy": ccc,
            "ccc": ccc,
            "slope": 2,
            "intercept": -0.4,
            # Linear between 0 and 0.2, a tenth of the way.
            "label_q05": 0.02,
            "label_q95": 0.38,
            "prediction_q05": 0.21,
            "prediction_q95": 0.39,
        }
    )
    assert list(arousal) == list(valence)
    assert arousal["label_std"] == 0
    assert arousal["range_ratio"] is None
    assert arousal["accuracy"] is None
    assert (arousal["pearson"], arousal["ccc"]) == (0, 0)
    # Of labels that are always 0.5 the line is level.
    assert arousal["slope"] == 0
    assert arousal["intercept"] == pytest.approx(0.5)


def test_calibration_against_scipy(utterances):
    labels, predictions, *_ = utterances
    rows = insight.calibration(labels, predictions, TARGETS)
    for column, row in enumerate(rows):
        line = stats.linregress(predictions[:, column], labels[:, column])
        assert row["slope"] == pytest.approx(line.slope)
        assert row["intercept"] == pytest.approx(line.intercept)
        assert row["pearson"] == pytest.approx(line.rvalue)
        assert row["accuracy"] * row["pearson"] == pytest.approx(row["ccc"])
        assert row["ccc"] == pytest.approx(
            concordance(labels[:, column], predictions[:, column])
        )
        assert row["label_std"] == pytest.approx(labels[:, column].std())


@pytest.mark.parametrize("constant", [0.1, 0.5])
def test_calibration_of_constant_predictions(constant):
    labels = np.linspace(0, 1, 7)[:, None]
    (row,) = insight.calibration(labels, np.full((7, 1), constant), ["arousal"])
    assert row["prediction_std"] == row["range_ratio"] == 0
    for name in ("slope", "intercept", "accuracy"):
        assert row[name] is None
    assert row["ccc"] == row["pearson"] == 0
    assert row["bias"] == pytest.approx(constant - 0.5)


def test_a_calibrated_run_is_said_to_be(utterances):
    labels, *_ = utterances
    for row in insight.calibration(labels, labels, TARGETS):
        found = [row[name] for name in ("slope", "range_ratio", "accuracy")]
        assert found == pytest.approx([1, 1, 1])
        assert [row["intercept"], row["bias"]] == pytest.approx([0, 0])


def test_reliability_by_hand():
    predictions = [[0.5], [0.1], [0.3], [0.4], [0.2]]
    labels = [[1.0], [0.0], [0.2], [0.8], [0.4]]
    rows = insight.reliability(labels, predictions, ["valence"], bins=2)
    assert rows == [
        {
            "target": "valence",
            "low": 0.1,
            "high": 0.3,
            "utterances": 3,
            "mean_prediction": pytest.approx(0.2),
            "mean_label": pytest.approx(0.2),
        },
        {
            "target": "valence",
            "low": 0.4,
            "high": 0.5,
            "utterances": 2,
            "mean_prediction": pytest.approx(0.45),
            "mean_label": pytest.approx(0.9),
        },
    ]
    rows = insight.reliability(labels, predictions, ["valence"])
    assert [row["utterances"] for row in rows] == [1] * 5
    assert [row["mean_label"] for row in rows] == [0, 0.4, 0.2, 0.8, 1]


def test_reliability_counts_every_utterance_once(utterances):
    labels, predictions, *_ = utterances
    rows = insight.reliability(labels, predictions, TARGETS, bins=7)
    for column, target in enumerate(TARGETS):
        own = [row for row in rows if row["target"] == target]
        counts = [row["utterances"] for row in own]
        assert len(own) == 7 and sum(counts) == 60
        assert max(counts) - min(counts) == 1
        for name, values in (("label", labels), ("prediction", predictions)):
            total = sum(row["utterances"] * row[f"mean_{name}"] for row in own)
            assert total / 60 == pytest.approx(values[:, column].mean())
        ends = [end for row in own for end in (row["low"], row["high"])]
        assert ends == sorted(ends)


def test_worst_by_hand():
    labels = np.zeros((5, 2))
    predictions = [[3, 4], [0, 1], [-6, 0], [5, 0], [0, 0]]
    # Distances 5, 1, 6, 5 and 0.
    assert list(insight.worst(labels, predictions, 3)) == [2, 0, 3]
    assert list(insight.worst(labels, predictions, 9)) == [2, 0, 3, 1, 4]
    assert list(insight.worst(labels, predictions, 0)) == []
    assert list(insight.worst([[1], [1]], [[0.5], [2]], 1)) == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: insight.worst(x, x[:2], 1), "of one shape"),
        (lambda x: insight.worst(x, x, -1), "count must not be negative"),
        (lambda x: insight.worst(x[:0], x[:0], 1), "with a row at least"),
        (lambda x: insight.worst(x[0], x[0], 1), r"not \(2,\) and \(2,\)"),
        (lambda x: insight.worst(x, x * np.nan, 1), "must be finite"),
        (lambda x: insight.calibration(x, x, ["valence"]), "for targets"),
        (lambda x: insight.reliability(x, x, TARGETS, 0), "bins must be at"),
        (
            lambda x: insight.breakdown(x, x, ["a"], {}, TARGETS),
            "videos must be one for each of 3",
        ),
        (
            lambda x: insight.breakdown(
                x, x, list("abc"), {"long": [True]}, TARGETS
            ),
            "the mask of 'long' must be one for each of 3",
        ),
        (lambda x: insight.by_length([1, np.nan]), "seconds must be finite"),
        (lambda x: insight.by_length([-1]), "seconds must be finite"),
        (lambda x: insight.by_length([1], edges=[2, 2]), "edges must ascend"),
        (lambda x: insight.by_length([1], edges=[]), "edges must ascend"),
    ],
)
def test_unusable_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(6.0).reshape(3, 2))
