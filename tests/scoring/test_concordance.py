import fractions
import math

import numpy as np
import pytest

from affwild_omg.scoring import concordance
from affwild_omg.scoring.concordance import Moments

SCORES = ("concordance", "pearson", "mean_squared_error")


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


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([1, 2], [1]), ([], []), ([[1]], [[1]]), ([1, np.nan], [1, 2])],
)
def test_unusable_input_is_refused(labels, predictions):
    with pytest.raises(ValueError, match="labels and predictions must"):
        concordance.concordance(labels, predictions)


def draw(seed, rows=200, mean=0.0, deviation=0.3):
    """Draws labels and predictions that agree more or less."""
    random = np.random.default_rng(seed)
    slope, shift, noise = random.uniform([-1, -0.5, 0.1], [1.5, 0.5, 1])
    x = random.normal(mean, deviation, rows)
    y = mean + slope * (x - mean) + deviation * shift
    return x, y + random.normal(0, deviation * noise, rows)


def exact(labels, predictions):
    """Computes (CCC, Pearson's r squared, MSE) in fractions."""
    x, y = ([fractions.Fraction(v) for v in z] for z in (labels, predictions))
    rows = len(x)
    mean_x, mean_y = sum(x) / rows, sum(y) / rows
    xx = sum((a - mean_x) ** 2 for a in x) / rows
    yy = sum((b - mean_y) ** 2 for b in y) / rows
    xy = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xy /= rows
    return (
        2 * xy / (xx + yy + (mean_x - mean_y) ** 2),
        xy * xy / (xx * yy),
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / rows,
    )


# The last differ by a few roundings alone, and their means are rounded too.
@pytest.mark.parametrize(
    ("mean", "deviation"),
    [(0, 0.3), (0.4, 0.3), (1e6, 0.3), (-1e8, 0.3), (1e8, 1e-7)],
)
def test_scores_have_12_digits_of_exact_arithmetic(mean, deviation):
    x, y = draw(0, 200, mean, deviation)
    ccc, r_squared, mse = exact(x, y)
    expected = ccc, math.copysign(float(r_squared) ** 0.5, ccc), mse
    found = [getattr(Moments.of(x, y), name) for name in SCORES]
    assert found == pytest.approx([*map(float, expected)], rel=1e-12)


def test_ccc_is_1_for_equals_alone():
    x, _ = draw(0, mean=0.1)
    assert concordance.concordance(x, x.copy()) == 1
    assert concordance.concordance(x, 2 * x.mean() - x) == pytest.approx(-1)
    one_apart = x + 1e-4 * (np.arange(len(x)) == 7)
    assert concordance.concordance(x, one_apart) < 1


def test_differences_too_small_to_be_squared_count_0():
    moments = Moments.of([1e-200, 2e-200], [1e-200, 3e-200])
    assert moments.concordance == moments.pearson == 0


def chunks(rows):
    """Yields slices of uneven sizes, 0 and 1 among them, of all the rows."""
    start, sizes = 0, (0, 1, 1, 7, 100, 1, 0, 3000, 13, 25_000)
    while start < rows:
        for size in sizes:
            yield slice(start, start + size)
            start += size


def test_a_million_rows_far_from_zero_by_parts():
    rows, mean = 1_000_000, 1e6
    x, y = draw(2, rows, mean)
    # Both less 10^6 are exact in float64, and fsum rounds its sum but once.
    dx, dy = x - mean, y - mean
    mean_x, mean_y = math.fsum(dx) / rows, math.fsum(dy) / rows
    xx = math.fsum((dx - mean_x) ** 2) / rows
    yy = math.fsum((dy - mean_y) ** 2) / rows
    xy = math.fsum((dx - mean_x) * (dy - mean_y)) / rows
    expected = (
        2 * xy / (xx + yy + (mean_x - mean_y) ** 2),
        xy / (xx * yy) ** 0.5,
        math.fsum((dx - dy) ** 2) / rows,
    )
    parts = [Moments.of(x[part], y[part]) for part in chunks(rows)]
    total = sum(parts, Moments())
    assert total.count == rows
    for moments, digits in ((Moments.of(x, y), 1e-13), (total, 1e-11)):
        found = [getattr(moments, name) for name in SCORES]
        assert found == pytest.approx(expected, rel=digits)
        assert moments.mean[0] - mean == pytest.approx(mean_x, abs=1e-9)
    assert (*total.low, *total.high) == (x.min(), y.min(), x.max(), y.max())


def test_parts_by_hand():
    # Labels 1, 3 and 8; predictions 2, 2 and 5.
    total = Moments.of([1, 3], [2, 2]) + Moments.of([8], [5])
    assert total.count == 3
    assert total.mean == pytest.approx([4, 3])
    assert total.products == pytest.approx(
        np.array([[9 + 1 + 16, 3 + 1 + 8], [3 + 1 + 8, 1 + 1 + 4]])
    )
    assert total.errors == 1 + 1 + 9
    assert (*total.low, *total.high) == (1, 2, 8, 5)
    assert total.concordance == pytest.approx(24 / (26 + 6 + 3))
    assert total.pearson == pytest.approx(12 / (26 * 6) ** 0.5)
    assert total.mean_squared_error == pytest.approx(11 / 3)


def test_no_rows_are_neutral_but_have_no_score():
    some = Moments.of([1, 2], [3, 5])
    assert some + Moments.of([], []) is some
    assert Moments() + some is some
    for name in SCORES:
        with pytest.raises(ValueError, match="must have a row"):
            getattr(Moments(), name)


def test_a_side_stays_constant_by_parts():
    # The mean of some 0.1s is not 0.1.
    rows = np.random.default_rng(3).normal(size=1001)
    constant = np.full(1001, 0.1)
    for x, y in ((rows, constant), (constant, rows), (constant, constant)):
        total = sum(
            (Moments.of(x[part], y[part]) for part in chunks(1001)), Moments()
        )
        assert total.concordance == total.pearson == 0
        assert total.vary == (x is rows, y is rows)
    # Two constants that differ are no constant.
    total = Moments.of([0.1, 0.1], [0, 1]) + Moments.of([0.2, 0.2], [0, 1])
    assert total.vary == (True, True)
