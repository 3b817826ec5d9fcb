import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import csv_tables
from affwild_omg.scoring.frames import Frames

NAN = float("nan")
UTTERANCES = """\
video,utterance,arousal,valence
v,u1.mp4,0.5,0.25
v.1,u1.mp4,0.75,-0.5
"""
FRAMES = """\
video,utterance,frame,time_s,face,arousal,valence,true_arousal,true_valence
v.1,u 1.mp4,0,0.0,1,0.5,-0.25,1.0,0.338
v.1,u 1.mp4,1,0.033367,0,,,1.0,
v.1,u 1.mp4,2,0.1,1,0.75,0.5,,-0.25
"w, x",u.mp4,0,0.0,1,1e-06,2.0,,
"""


def read(path, text=None, **how):
    if text is not None:
        path.write_bytes(text.encode("latin1"))
    return csv_tables.read_utterances(path, "--test", **how)


def read_frames(path, text):
    path.write_text(text)
    return csv_tables.read_frames(
        path, "--test", sequence_length=80, tail="pad"
    )


def test_utterances_by_hand(tmp_path):
    path = tmp_path / "x.csv"
    csv_tables.write_utterances(
        path,
        ("valence", "arousal"),
        ["v/u1.mp4", "v.1/u1.mp4"],
        np.array([[0.25, 0.5], [-0.5, 0.75]]),
    )
    assert path.read_text() == UTTERANCES
    found = read(path)
    assert list(found.columns) == ["valence", "arousal"]
    assert found.index.tolist() == ["v/u1.mp4", "v.1/u1.mp4"]
    np.testing.assert_array_equal(found, [[0.25, 0.5], [-0.5, 0.75]])


def test_columns_are_found_by_name_and_marks_overlooked(tmp_path):
    text = (
        "valence,note,utterance, arousal,video\n\n"
        '0.25,,u1.mp4 ,0.5,v\n-0.5,"a, b",u1.mp4,0.75,v.1\n'
    )
    found = read(tmp_path / "x.csv", "\xef\xbb\xbf" + text)
    assert found.equals(read(tmp_path / "y.csv", UTTERANCES))


def test_names_and_digits_stay_as_they_are(tmp_path):
    # What tables are fond of taking for a number, a date, or for nothing.
    videos = ["NA", "007", "1e5", "null", "True", "2018-01-01", "a b/c, d"]
    keys = [f"{video}/{name}" for video in videos for name in ("NA", "0")]
    values = np.random.default_rng(0).normal(size=(len(keys), 2))
    values[0] = 0.1 + 0.2, 5e-324
    targets = ("valence", "arousal")
    path = tmp_path / "x.csv"
    csv_tables.write_utterances(path, targets, keys, values)
    found = read(path)
    assert found.index.tolist() == keys
    np.testing.assert_array_equal(found, values)
    count = len(keys)
    frames = Frames(
        keys=keys,
        targets=targets,
        values=values[:, None],
        mask=np.ones((count, 1), bool),
        labels=values[:, None].astype(np.float32).astype(float),
        times=np.zeros((count, 1)),
        sequence_length=80,
        tail="pad",
    )
    csv_tables.write_frames(path, frames)
    again = read_frames(path, path.read_text())
    assert again.keys == keys
    np.testing.assert_array_equal(again.values, frames.values)
    np.testing.assert_allclose(again.labels, frames.labels, rtol=5e-8)


def test_rows_without_names_are_numbered(tmp_path):
    text = "arousal\n0.5\n0.25\n"
    found = read(tmp_path / "x.csv", text, named=False)
    assert found.index.tolist() == [0, 1]
    assert found["arousal"].tolist() == [0.5, 0.25]
    named = read(tmp_path / "x.csv", UTTERANCES, named=False)
    assert named.index[0] == "v/u1.mp4"
    with pytest.raises(UserError, match="columns x; they must be one or both"):
        read(tmp_path / "x.csv", "x\n0.5\n", named=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (UTTERANCES, "", " has columns none; they must be video, utterance"),
        (UTTERANCES, "\xff", " is not a CSV table"),
        (UTTERANCES, '"v\n', " is not a CSV table"),
        (UTTERANCES, UTTERANCES[:32], " has no rows; correct"),
        (",arousal,valence", ",x,y", " has columns video, utterance, x, y; "),
        ("utterance,", "name,", " has columns video, name, .*; they must be"),
        ("utterance,arousal", "utterance,valence", " has column valence twice"),
        ("video,utterance", "link,link", " has column link twice"),
        ("0.75", "0_5", ", line 3: arousal must be a finite number, but"),
        ("0.75", "nan", ", line 3: arousal must be a finite number, but"),
        ("-0.5", "x", ", line 3: valence must .*'v.1,u1.mp4,0.75,x'"),
        ("0.25", "", ", line 2: valence must be a finite .*; correct"),
        (",0.25", "", ", line 2 has 3 fields, the header 4; correct"),
        ("v.1", "v", ", line 3: each utterance must occur once"),
        ("v.1,", ",", ", line 3: video and utterance must not be empty"),
        ("v.1,u1.mp4", "v,1/u1.mp4", ", line 3: .* must hold no /"),
        # Lines are counted as an editor counts them.
        ("\nv.1,u1.mp4,0.75", '\n\n"v\n1",u,x', ", line 5: arousal must"),
    ],
)
def test_tables_of_utterances_that_are_wrong(tmp_path, old, new, message):
    path = tmp_path / "x.csv"
    assert UTTERANCES.count(old) == 1
    with pytest.raises(UserError, match=f"--test={path}{message}") as raised:
        read(path, UTTERANCES.replace(old, new))
    assert "\n" not in str(raised.value)


def test_frames_by_hand(tmp_path):
    frames = Frames(
        keys=["v.1/u 1.mp4", "w, x/u.mp4"],
        targets=("valence", "arousal"),
        values=[
            np.array([[-0.25, 0.5], [9, 9], [0.5, 0.75]]),
            np.array([[2, 1e-6]]),
        ],
        mask=[np.array([True, False, True]), np.array([True])],
        labels=[
            np.float64(np.float32([[0.338, 1], [NAN, 1], [-0.25, NAN]])),
            np.full((1, 2), NAN),
        ],
        # Not evenly spaced: the first time is that of 29.97 frames a second.
        times=[np.array([0, 1001 / 30000, 0.1]), np.zeros(1)],
        sequence_length=80,
        tail="pad",
    )
    path = tmp_path / "frames.csv"
    csv_tables.write_frames(path, frames)
    assert path.read_text() == FRAMES
    found = read_frames(path, FRAMES)
    assert found.keys == frames.keys
    assert found.targets == frames.targets
    assert found.sequence_length == 80
    np.testing.assert_array_equal(
        found.values[0], [[-0.25, 0.5], [NAN, NAN], [0.5, 0.75]]
    )
    np.testing.assert_array_equal(found.values[1], [[2, 1e-6]])
    np.testing.assert_array_equal(
        found.labels[0], [[0.338, 1], [NAN, 1], [-0.25, NAN]]
    )
    assert np.isnan(found.labels[1]).all()
    assert [x.tolist() for x in found.mask] == [[True, False, True], [True]]
    assert [x.tolist() for x in found.times] == [[0, 0.033367, 0.1], [0]]


def test_frames_of_one_target(tmp_path):
    found = read_frames(
        tmp_path / "frames.csv",
        "video,utterance,frame,time_s,face,arousal,true_arousal\n"
        "v,u,0,0,1,0.5,\n",
    )
    assert found.targets == ("arousal",)
    assert found.values[0] == [[0.5]]
    assert np.isnan(found.labels[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",face", ",seen", " has columns video, .*seen, .*they must be video,"),
        ("1,0.5,", "1,,", ", line 2: frames must count from 0"),
        ("367,0,,", "367,2,,", ", line 3: frames must count"),
        ("1,0.033", "2,0.033", ", line 3: frames must count"),
        ("0.033367", "0", ", line 3: frames must count .* time_s rise from 0"),
        ("1.mp4,0,0.0", "1.mp4,0,0.01", ", line 2: frames must count"),
        ("0.338\n", "nan\n", ", line 2: true_valence must be"),
        ("0.033367", "inf", ", line 3: time_s must be a finite"),
        ('"w, x",u.mp4', "v.1,u 1.mp4", ", line 5: frames must count"),
        ("1e-06,2.0,,\n", "1,2,,\nv.1,u 1.mp4,0,0,0,,,,\n", ", line 6: frames"),
        ("1e-06,2.0,,\n", "1,2,,\nv.1,u 1.mp4,3,1,0,,,,\n", ", line 6: frames"),
    ],
)
def test_tables_of_frames_that_are_wrong(tmp_path, old, new, message):
    path = tmp_path / "frames.csv"
    assert FRAMES.count(old) == 1
    with pytest.raises(UserError, match=f"--test={path}.*{message}"):
        read_frames(path, FRAMES.replace(old, new))
