import numpy as np
import pytest

from affwild_omg.paper.windows import TAILS, cut
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
