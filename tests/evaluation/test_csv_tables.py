import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import frame_tables
from affwild_omg.scoring.frames import Frames

NAN = float("nan")
TABLE = """\
video,utterance,frame,time_s,fps,face,arousal,valence,true_arousal,true_valence
v.1,u 1.mp4,0,0.000,25,1,0.500000,-0.250000,1,0.338
v.1,u 1.mp4,1,0.040,25,0,,,1,0.338
"w, x",u.mp4,0,0.000,29.97003,1,0.000000,2.000000,,
"""


def frames():
    return Frames(
        keys=["v.1/u 1.mp4", "w, x/u.mp4"],
        targets=("valence", "arousal"),
        values=[np.array([[-0.25, 0.5], [9, 9]]), np.array([[2, 1e-9]])],
        mask=[np.array([True, False]), np.array([True])],
        labels=[np.array([[0.338, 1]] * 2), np.full((1, 2), NAN)],
        fps=[25.0, float(np.float32(30000 / 1001))],
        sequence_length=80,
    )


def read(path):
    return frame_tables.read(path, flag="--test", sequence_length=80)


def test_a_table_by_hand(tmp_path):
    frame_tables.write(tmp_path / "frames.csv", frames(), 6)
    assert (tmp_path / "frames.csv").read_text() == TABLE
    found = read(tmp_path / "frames.csv")
    assert found.keys == ["v.1/u 1.mp4", "w, x/u.mp4"]
    assert found.targets == ("valence", "arousal")
    assert found.sequence_length == 80
    np.testing.assert_array_equal(found.values[0], [[-0.25, 0.5], [NAN, NAN]])
    np.testing.assert_array_equal(found.values[1], [[2, 0]])
    np.testing.assert_array_equal(found.labels[0], [[0.338, 1]] * 2)
    assert np.isnan(found.labels[1]).all()
    assert [x.tolist() for x in found.mask] == [[True, False], [True]]
    assert found.fps == (25, 29.97003)


def test_one_target(tmp_path):
    path = tmp_path / "frames.csv"
    path.write_text(
        "video,utterance,frame,time_s,fps,face,arousal,true_arousal\n"
        "v,u,0,0,25,1,0.5,0.25\n"
    )
    found = read(path)
    assert found.targets == ("arousal",)
    assert (found.values[0], found.labels[0]) == ([[0.5]], [[0.25]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",face", ",seen", "has columns video, .*seen, .*they must be video,"),
        ("0.500000", "", "line 2: frames must count from 0"),
        ("25,0,,", "25,2,,", "line 3: frames must count"),
        ("1,0.040,25", "2,0.040,25", "line 3: frames must count"),
        ("1,0.040,25", "1,0.040,0", "line 3: frames must count"),
        ("-0.250000", "low", "line 2: frames must count"),
        ("-0.250000", "inf", "line 2: frames must count"),
        ("0.338\nv.1", "\nv.1", None),
        ("0.338\nv.1", "inf\nv.1", "line 2: frames must count"),
        ("0.338\nv.1", "nan\nv.1", "line 2: frames must count"),
        ("0.000,25,", "0.000,inf,", "line 2: frames must count"),
        ("25,0,,,1", "25,0,,,1,1", "line 3 has 11 fields, the header 10"),
        ('"w, x",u.mp4', "v.1,u 1.mp4", "line 4: frames must count"),
        (TABLE[TABLE.index("v.1") :], "", "has no rows"),
    ],
)
def test_tables_that_are_not_whole_are_told(tmp_path, old, new, message):
    path = tmp_path / "frames.csv"
    assert TABLE.count(old) == 1
    path.write_text(TABLE.replace(old, new))
    if message is None:  # a frame without a label is none
        assert np.isnan(read(path).labels[0][0, 0])
        return
    with pytest.raises(UserError, match=f"--test={path}.*{message}"):
        read(path)


def test_the_frames_of_an_utterance_stand_together(tmp_path):
    path = tmp_path / "frames.csv"
    path.write_text(TABLE + "v.1,u 1.mp4,0,0.000,25,0,,,,\n")
    with pytest.raises(UserError, match="v.1/u 1.mp4 do not stand together"):
        read(path)
