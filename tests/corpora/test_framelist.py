import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import framelist
from affwild_omg.corpora.problems import Problems

NAN = float("nan")


def write(folder, text, name="train.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def read(source):
    problems = Problems()
    return framelist.read(source, problems), problems.lines


def test_folders_are_clips_and_valence_comes_first(tmp_path):
    text = "a/00001.jpg,0.5,-0.25\na/00004.jpg,-5,-5\nb/x.jpg,1,-1\n"
    write(tmp_path / "lists", text)
    write(tmp_path, "b/x.jpg,0,0\n", "test.txt")
    (first, second, third), lines = read(tmp_path)
    assert lines == []
    assert (first.split, first.key) == ("train", "lists%2Fa/lists%2Fa")
    assert first.path == tmp_path
    assert list(first.pictures) == ["lists/a/00001.jpg", "lists/a/00004.jpg"]
    np.testing.assert_array_equal(
        np.transpose(first.frame_labels), [[0.5, -0.25], [NAN, NAN]]
    )
    assert list(second.pictures) == ["lists/b/x.jpg"]
    assert (third.split, third.utterance) == ("test", "b")


def test_a_clip_is_there_with_one_of_its_pictures(tmp_path):
    write(tmp_path, "a/1.jpg,0,0\na/2.jpg,0,0\n")
    (clip,), _ = read(tmp_path)
    assert not clip.found
    write(tmp_path / "a", "", "2.jpg")
    assert clip.found


def test_a_column_may_name_the_clip(tmp_path):
    write(
        tmp_path,
        "path,valence,arousal,clip\np/1.jpg,0,0,u/1\np/2.jpg,0.5,0.5,v\n"
        f"{tmp_path}/p/3.jpg,1,1,u/1\n",
    )
    (first, second), lines = read(tmp_path)
    assert lines == []
    assert (first.utterance, second.utterance) == ("u%2F1", "v")
    assert list(first.pictures) == ["p/1.jpg", "p/3.jpg"]
    assert list(first.frame_labels[0]) == [0, 1]


def test_clips_of_two_lists_are_not_joined(tmp_path):
    write(tmp_path / "A", "p/1.jpg,0,0,1\n")
    write(tmp_path / "B", "p/1.jpg,1,1,1\np/2.jpg,1,1,2\n")
    write(tmp_path / "B", "p/3.jpg,1,1,1\n", "test.csv")  # another split
    clips, (line,) = read(tmp_path)
    assert [(x.split, x.utterance, *x.pictures) for x in clips] == [
        ("train", "1", "A/p/1.jpg"),
        ("train", "2", "B/p/2.jpg"),
        ("test", "1", "B/p/3.jpg"),
    ]
    assert line == (
        f"{tmp_path}/B/train.csv, line 1: the clip '1' belongs to "
        f"{tmp_path}/A/train.csv; each list needs names of its own; the line "
        "is left out"
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("../x.jpg,0,0", "'../x.jpg' must be a path to a picture below --so"),
        ("a/../../x.jpg,0,0", "must be a path to a picture below --source"),
        ("/etc/x.jpg,0,0", "'/etc/x.jpg' must be a path"),
        (",0,0", "'' must be a path"),
        ("a/1.jpg,0,0", "a/1.jpg stands in {}, line 1 already"),
        ("a/2.jpg,0", "'a/2.jpg,0' must be path,valence,arousal or"),
        ("", "'' must be path,valence,arousal or"),
        ("a/2.jpg,0,0,..", "the clip '..' must have a name"),
        (f"a/2.jpg,0,0,{'ä' * 101}", "ä' must have a name, of at most 200 byt"),
    ],
)
def test_a_bad_row_is_left_out(tmp_path, row, told):
    write(tmp_path, f"a/1.jpg,0,0\n{row}\na/3.jpg,0,0\n")
    (clip,), (line,) = read(tmp_path)
    assert list(clip.pictures) == ["a/1.jpg", "a/3.jpg"]
    path = tmp_path / "train.csv"
    assert line.startswith(f"{path}, line 2: ")
    assert told.format(path) in line and line.endswith("the line is left out")
    with pytest.raises(UserError, match="line 2"):
        framelist.read(tmp_path)


@pytest.mark.parametrize("label", ["2,0", "nan,0", "0,x"])
def test_a_frame_with_a_bad_label_stays(tmp_path, label):
    write(tmp_path, f"a/1.jpg,0,0\na/2.jpg,{label}\na/3.jpg,1,1\n")
    (clip,), (line,) = read(tmp_path)
    assert list(clip.pictures) == ["a/1.jpg", "a/2.jpg", "a/3.jpg"]
    np.testing.assert_array_equal(clip.frame_labels[1], [0, NAN, 1])
    assert "line 2: valence and arousal must " in line


def test_a_header_in_another_order_is_refused(tmp_path):
    write(tmp_path, "path,arousal,valence\na/1.jpg,0,0\n")
    write(tmp_path, "a/1.jpg,0,0\n", "test.csv")
    (clip,), (line,) = read(tmp_path)
    assert clip.split == "test"
    assert "line 1: the columns must be path,valence,arousal,clip, not" in line


def test_a_list_of_another_name_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    write(tmp_path, "a/1.jpg,0,0\n")
    write(tmp_path, "a/2.jpg,0,0\n", "val.csv")
    (clip,), _ = read(tmp_path)
    assert list(clip.pictures) == ["a/1.jpg"]
    (told,) = caplog.messages
    assert told.endswith(f"such as {tmp_path}/val.csv: not used")


def test_no_list_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no list of frames; put train"):
        framelist.read(tmp_path)
