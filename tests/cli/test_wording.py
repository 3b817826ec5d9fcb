"""Numbers in words: what is shown of them, and what is not."""

import numpy as np
import pytest

from affwild_omg.cli import wording

NAN = float("nan")


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0625, "0.062"),
        (-0.0005001, "-0.001"),
        (-0.0004999, "0.000"),
        (-0.0, "0.000"),
        (np.float32(-1.25), "-1.250"),
        (12, "12.000"),
        (None, "-"),
        (NAN, "-"),
        (float("inf"), "-"),
    ],
)
def test_a_number_has_its_digits_and_no_sign_of_zero(value, text):
    assert wording.number(value) == text


def test_an_interval_has_its_digits():
    assert wording.interval((-0.004, 0.126), digits=2) == "0.00 to 0.13"
    assert wording.interval([-0.004, 0.126]) == "-0.004 to 0.126"
    assert wording.interval(None, none="?") == "?"


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (1.0, "1"),
        (0.034, "0.034"),
        (1.2e-98, "1.2e-98"),
        (9e-100, "<1e-99"),
    ],
)
def test_a_p_value_is_never_0(value, text):
    assert wording.p_value(value) == text


def test_things_are_counted():
    numbers = 0, 1, np.int64(1), np.int64(2229)
    found = [wording.count(number, "label") for number in numbers]
    assert found == ["0 labels", "1 label", "1 label", "2,229 labels"]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (59.7, "1 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (11_100, "3 h 5 min"),
        (86_400 * 2 + 3600 * 5.2, "2 d 5 h"),
    ],
)
def test_a_time_has_two_units_at_most(seconds, text):
    assert wording.duration(seconds) == text
