"""Which frames are kept, by times that were worked out by hand."""

import pytest

from affwild_omg.faces.thinning import Thinning


def kept(times, max_fps):
    """Returns the numbers of the frames that are kept."""
    thinning = Thinning(max_fps)
    numbers = [n for n, time_s in enumerate(times) if thinning.keeps(time_s)]
    assert thinning.left_out == len(times) - len(numbers)
    return numbers


def film(fps, frames, digits=6):
    return [round(n / fps, digits) for n in range(frames)]


@pytest.mark.parametrize("digits", [3, 6])  # as in Matroska, and in MP4
@pytest.mark.parametrize(
    ("fps", "max_fps", "expected"),
    [
        # In 25ths of a second: 0, 0.83, 1.67, 2.5, 3.33, 4.17, 5, ...; the
        # fourth of six is as near to 2 as to 3, and the third is of 2.
        (30, 25, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]),
        # 0, 0.42, 0.83, 1.25, 1.67, 2.08, 2.5, 2.92, 3.33, 3.75, 4.17, 4.58, 5
        (60, 25, [0, 2, 4, 7, 9, 11, 14, 16, 19, 21, 23]),
        (50, 25, [0, 2, 4, 6, 8, 10]),
        # In seconds, 0.5 is of the first.
        (30, 1, [0, 16, 46, 76]),
        # 0, 0.93, 1.85, 2.78, 3.7, 4.63, 5.56, 6.48, which is of 6, 7.41, ...
        (27, 25, [*range(7), *range(8, 16)]),
        # 0, 1.04, 2.08, ...: no two of one 25th.
        (24, 25, list(range(60))),
        (12.5, 25, list(range(60))),
        (25, 25, list(range(60))),
        # Near the 500th, a half comes close, and times are rounded.
        (29.97, 30, list(range(2000))),
        (30, 29.97, list(range(2000))),
        (60, 59.94, list(range(2000))),
    ],
)
def test_constant_rates(fps, max_fps, expected, digits):
    times = film(fps, expected[-1] + 1, digits)
    assert kept(times, max_fps) == expected


def test_a_variable_rate_goes_by_its_times():
    # 25ths: 0, 0.5, 1, 1.25, a pause, 50, 50.25, 50.5, 50.75, 51.5, 52.75; the
    # nearest: 0, 0, 1, 1, 50, 50, 50, 51, 51, 53.
    times = [0.0, 0.02, 0.04, 0.05, 2.0, 2.01, 2.02, 2.03, 2.06, 2.11]
    assert kept(times, 25) == [0, 2, 4, 7, 9]


@pytest.mark.parametrize("fps", [30, 59.94, 60, 240, 1000])
@pytest.mark.parametrize("max_fps", [5, 12.5, 24, 25])
def test_each_step_has_the_first_frame_near_it(fps, max_fps):
    times = film(fps, int(20 * fps))
    places = [time_s * max_fps for time_s in times]
    numbers = kept(times, max_fps)
    for step, number in enumerate(numbers):
        assert -0.5 - 1e-4 < places[number] - step <= 0.5 + 1e-4
        assert not number or places[number - 1] <= step - 0.5 + 1e-4
    assert len(numbers) == pytest.approx(20 * max_fps, abs=1)


def test_all_are_kept_unless_asked():
    assert kept([0.0, 1e-6, 2e-6], None) == [0, 1, 2]
