import numpy as np
import pytest

from affwild_omg.scoring import breakdown, significance
from affwild_omg.scoring.concordance import concordance

NAN = float("nan")
TARGETS = ("valence", "arousal")


@pytest.fixture
def utterances():
    """Labels and predictions [60, 2], seconds and videos of 60 utterances."""
    random = np.random.default_rng(0)
    labels = random.uniform([-1, 0], 1, (60, 2))
    predictions = 0.5 * labels + random.normal(0.1, 0.2, (60, 2))
    videos = [f"video {i}" for i in random.integers(0, 7, 60)]
    return labels, predictions, random.gamma(2, 4, 60), videos


def test_groups_by_hand():
    labels = np.array([[1, 0.5], [2, 0.5], [3, 0.5], [9, 0.1], [7, 0.3]])
    predictions = np.array([[2, 0.1], [3, 0.5], [4, 0.6], [8, 0.2], [8, 0.3]])
    groups = {
        "first": [True, True, True, False, False],
        "none": [False] * 5,
        "alone": [False, False, False, True, False],
        "two": [False, False, False, True, True],
    }
    first, alone, two = breakdown.by_group(
        labels, predictions, list("aabcc"), groups, TARGETS
    )
    # Valence: all is 1 higher, CCC 4/7. The arousal labels are constant.
    assert first.to_row() == {
        "group": "first",
        "utterances": 3,
        "videos": 2,
        "valence_ccc": pytest.approx(4 / 7),
        "valence_ccc_low": pytest.approx(0),  # one video twice, or the other
        "valence_ccc_high": pytest.approx(4 / 7),
        "valence_mse": pytest.approx(1),
        "valence_bias": pytest.approx(1),
        "arousal_ccc": 0,
        "arousal_ccc_low": None,  # though there are two videos
        "arousal_ccc_high": None,
        "arousal_mse": pytest.approx((0.16 + 0 + 0.01) / 3),
        "arousal_bias": pytest.approx(-0.1),
    }
    for group, count in ((alone, 1), (two, 2)):
        assert (group.utterances, group.videos) == (count, 1)
        assert [x.interval for x in group.scores.values()] == [None, None]
    assert alone.scores["valence"].ccc == 0
    assert alone.scores["valence"].mse == pytest.approx(1)
    assert alone.scores["valence"].bias == pytest.approx(-1)
    assert two.scores["valence"].ccc == 0  # constant predictions
    varies = [
        [score.varies for score in group.scores.values()]
        for group in (first, alone, two)
    ]
    assert varies == [[True, False], [False, False], [False, True]]
    # Arousal .1, .3 and .2, .3: covariance .1 * .05, variances .01 and .0025.
    assert two.scores["arousal"].ccc == pytest.approx(0.01 / 0.015)


def test_groups_have_their_own_intervals_of_what_has_a_label(utterances):
    labels, predictions, _, videos = utterances
    groups = {"x": labels[:, 0] > 0, "y": labels[:, 0] < 0}
    labels[::3, 1] = labels[groups["y"], 0] = NAN
    labels[5] = NAN
    found = breakdown.by_group(labels, predictions, videos, groups, TARGETS)
    for group in found:
        mask = groups[group.name] & ~np.isnan(labels[:, 1])
        score = group.scores["arousal"]
        assert score.ccc == concordance(labels[mask, 1], predictions[mask, 1])
        assert score.prediction_mean == np.mean(predictions[mask, 1])
        assert score.interval == significance.interval(
            labels[mask, 1], predictions[mask, 1], np.array(videos)[mask]
        )
        assert score.interval.low < score.ccc < score.interval.high
    # None of the second has a valence label.
    assert [list(x.scores) for x in found] == [[*TARGETS], ["arousal"]]
    assert found[1].to_row().keys().isdisjoint(["valence_ccc", "valence_mse"])


def test_no_utterance_is_lost_between_groups(utterances):
    labels, predictions, seconds, videos = utterances
    for masks in (breakdown.by_length(seconds), breakdown.by_video(videos)):
        assert (np.sum(list(masks.values()), axis=0) == 1).all()
        groups = breakdown.by_group(labels, predictions, videos, masks, TARGETS)
        assert sum(group.utterances for group in groups) == 60
        # MSE over all is the groups' own, by their counts.
        for column, target in enumerate(TARGETS):
            together = sum(
                group.utterances * group.scores[target].mse for group in groups
            )
            assert together / 60 == pytest.approx(
                np.mean((labels - predictions)[:, column] ** 2)
            )
    assert [group.videos for group in groups] == [1] * 7
    assert [group.name for group in groups] == list(dict.fromkeys(videos))


def test_lengths_by_hand():
    groups = breakdown.by_length([0, 1.9, 2, 3.99, 32, 40, 8, 31.9])
    found = {name: list(np.flatnonzero(x)) for name, x in groups.items()}
    assert list(found.items()) == [
        ("under 2 s", [0, 1]),
        ("2 to 4 s", [2, 3]),
        ("4 to 8 s", []),
        ("8 to 16 s", [6]),
        ("16 to 32 s", [7]),
        ("32 s and more", [4, 5]),
    ]


def test_agreement_by_hand():
    # Valence: the label is twice the prediction, less 0.4.
    labels = np.array([[0.0, 0.5], [0.2, 0.5], [0.4, 0.5]])
    predictions = np.array([[0.2, 0.1], [0.3, 0.2], [0.4, 0.6]])
    found = breakdown.agreements(labels, predictions, TARGETS)
    valence, arousal = found["valence"], found["arousal"]
    assert (valence.label_mean, valence.prediction_mean) == pytest.approx(
        (0.2, 0.3)
    )
    deviation = (0.04 * 2 / 3) ** 0.5
    assert (valence.label_std, valence.prediction_std) == pytest.approx(
        (deviation, deviation / 2)
    )
    assert (valence.range_ratio, valence.bias, valence.pearson) == (
        pytest.approx((0.5, 0.1, 1))
    )
    # Covariance 0.02 * 2/3, variances 0.04 and 0.01 * 2/3, means 0.1 apart.
    ccc = (0.04 * 2 / 3) / (0.05 * 2 / 3 + 0.01)
    assert (valence.ccc, valence.accuracy) == pytest.approx((ccc, ccc))
    assert valence.interval is None
    assert arousal.label_std == arousal.pearson == arousal.ccc == 0
    assert arousal.range_ratio is arousal.accuracy is None


def test_agreement_of_constant_predictions():
    labels = np.linspace(0, 1, 7)[:, None]
    constant = np.full((7, 1), 0.1)  # whose mean is rounded
    score = breakdown.agreements(labels, constant, ["arousal"])["arousal"]
    assert score.prediction_std == score.range_ratio == 0
    assert score.accuracy is None
    assert score.bias == pytest.approx(0.1 - 0.5)
