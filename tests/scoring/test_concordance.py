import numpy as np
import pytest
from scipy import stats

from affwild_omg.scoring import concordance


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3], [2, 3, 4], 4 / 7),
        ([1, 2, 3], [2, 4, 6], 4 / 11),
        ([1, 2, 3], [5, 5, 5], 0),
        ([2, 2, 2], [2, 2, 2], 0),
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], 0),
        ([0.1, 0.1, 0.1], [0.7, 0.7, 0.7], 0),
        ([4], [4], 0),
        ([4], [1], 0),
    ],
)
def test_ccc_hand_worked_cases(labels, predictions, expected):
    value = concordance.concordance(labels, predictions)
    assert value == pytest.approx(expected, abs=1e-15)


def test_ccc_against_its_definition_by_squared_differences():
    # CCC is also 1 - E(x-y)^2 / (var x + var y + (mean x - mean y)^2).
    random = np.random.default_rng(0)
    x = random.normal(3, 0.5, 500)
    y = 0.6 * x + random.normal(1, 0.3, 500)
    expected = 1 - np.mean((x - y) ** 2) / (
        np.var(x) + np.var(y) + (np.mean(x) - np.mean(y)) ** 2
    )
    assert concordance.concordance(x, y) == pytest.approx(expected, abs=1e-12)


def test_pearson_against_scipy():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 50))
    expected = stats.pearsonr(x, y).statistic
    assert concordance.pearson(x, y) == pytest.approx(expected, abs=1e-12)
    assert concordance.pearson(x, np.ones(50)) == 0


def test_mse_by_hand():
    value = concordance.mean_squared_error([1, 2, 4], [1, 4, 1])
    assert value == pytest.approx((0 + 4 + 9) / 3)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([1, 2], [1]), ([], []), ([[1]], [[1]]), ([1, np.nan], [1, 2])],
)
def test_unusable_input_is_refused(labels, predictions):
    for score in (
        concordance.concordance,
        concordance.pearson,
        concordance.mean_squared_error,
    ):
        with pytest.raises(ValueError, match="labels and predictions must"):
            score(labels, predictions)
