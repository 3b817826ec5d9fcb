import numpy as np
import pytest

from affwild_omg.paper.windows import TAILS, cut, overlapping
from affwild_omg.scoring.frames import Frames


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("pad", [(0, 0, 4), (4, 4, 8), (8, 8, 9)]),
        ("overlap", [(0, 0, 4), (4, 4, 8), (5, 8, 9)]),
        ("spread", [(0, 0, 3), (3, 3, 6), (6, 6, 9)]),
    ],
)
def test_windows_by_hand(tail, expected):
    assert cut(9, 4, tail) == expected


@pytest.mark.parametrize("tail", TAILS)
def test_each_frame_is_scored_once(tail):
    for frames in range(1, 14):
        windows = cut(frames, 4, tail)
        assert len(windows) == -(-frames // 4)
        scored = [range(x.scored, x.stop) for x in windows]
        assert [i for part in scored for i in part] == list(range(frames))
        sizes = [x.stop - x.start for x in windows]
        assert max(sizes) <= 4
        # The last window is the stub, is full, or is like the others.
        assert (
            sizes[-1]
            == {
                "pad": (frames - 1) % 4 + 1,
                "overlap": min(frames, 4),
                "spread": frames // len(windows),
            }[tail]
        )
        assert max(sizes) - min(sizes) <= 1 or tail == "pad"
        sequences = Frames(
            keys=["v/u"],
            targets=(),
            values=[],
            mask=[np.ones(frames, bool)],
            labels=[],
            times=[],
            sequence_length=4,
            tail=tail,
        ).sequences(0)
        assert [range(x.start, x.stop) for x in sequences] == scored


@pytest.mark.parametrize(
    ("frames", "tail", "expected"),
    [
        (9, "pad", [(0, 0, 4), (3, 3, 7), (6, 6, 9)]),
        (9, "overlap", [(0, 0, 4), (3, 3, 7), (5, 5, 9)]),
        (9, "spread", [(0, 0, 4), (3, 3, 7), (5, 5, 9)]),
        (7, "pad", [(0, 0, 4), (3, 3, 7)]),
        (3, "overlap", [(0, 0, 3)]),
    ],
)
def test_strided_windows_by_hand(frames, tail, expected):
    assert cut(frames, 4, tail, stride=3) == expected
    assert cut(frames, 4, tail, stride=4) == cut(frames, 4, tail)


def test_overlapping_windows_by_hand():
    assert overlapping(11, 4) == [
        (0, 0, 4),
        (2, 4, 6),
        (4, 6, 8),
        (6, 8, 10),
        (8, 10, 11),
    ]
    assert overlapping(8, 5) == [(0, 0, 5), (3, 5, 8)]
    assert overlapping(3, 4) == [(0, 0, 3)]
    assert overlapping(2, 1) == [(0, 0, 1), (1, 1, 2)]


def test_the_window_with_the_most_history_scores_a_frame():
    for length in (1, 2, 3, 4, 7):
        step = (length + 1) // 2
        for frames in range(1, 25):
            windows = overlapping(frames, length)
            scored = [i for x in windows for i in range(x.scored, x.stop)]
            assert scored == list(range(frames))
            for start, first, stop in windows:
                assert stop - start <= length
                for frame in range(first, stop):
                    # Of all starts whose window would hold it, the earliest.
                    holds = [
                        s
                        for s in range(0, frames, step)
                        if s <= frame < s + length
                    ]
                    assert start == min(holds)
