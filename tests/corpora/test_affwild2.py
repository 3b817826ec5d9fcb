"""ABAW's layout, with the faults that downloads of it have."""

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import affwild2
from affwild_omg.corpora.problems import Problems

NAN = float("nan")


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(*pairs):
    return "valence,arousal\n" + "".join(f"{v},{a}\n" for v, a in pairs)


def labels(clip):
    return np.transpose(clip.frame_labels)


@pytest.fixture
def source(tmp_path):
    """A download: annotations, films and crops in folders of their own."""
    there = tmp_path / "va" / "Annotations" / "VA_Set"
    write(there / "Train_Set" / "12-24-1920x1080.txt", rows((0.5, -0.25)))
    write(
        there / "Train_Set" / "video2_left.txt",
        rows((-1, 1), (-5, 0.5), (5, 5), (0.125, -5), (0, 0)),
    )
    write(there / "Validation_Set" / "video2_right.txt", rows((0.25, 0.5)))
    write(there / "Validation_Set" / "._video2_right.txt", "\0\5\x16")
    write(there / "Train_Set" / "readme.md", "not an annotation")
    write(there.parent / "AU_Set" / "Train_Set" / "a.txt", "AU1,AU2\n0,1\n")
    write(tmp_path / "batch1" / "12-24-1920x1080.mp4")
    write(tmp_path / "new" / "batch2" / "video2.avi")
    return tmp_path


def test_clips_and_labels(source):
    first, second, third = affwild2.read(str(source))
    assert [x.key for x in (first, second, third)] == [
        "12-24-1920x1080/12-24-1920x1080",
        "video2_left/video2_left",
        "video2_right/video2_right",
    ]
    # Two people are no neighbours in time, but not independent either.
    assert [x.source for x in (first, second, third)] == [
        *("12-24-1920x1080", "video2", "video2")
    ]
    assert [x.split for x in (first, second, third)] == [
        *("train", "train", "validation")
    ]
    assert [x.side for x in (first, second, third)] == [None, "left", "right"]
    assert first.path == source / "batch1" / "12-24-1920x1080.mp4"
    assert second.path == third.path == source / "new" / "batch2" / "video2.avi"
    np.testing.assert_array_equal(labels(first), [[0.5, -0.25]])
    # Either value says that a frame is not annotated.
    np.testing.assert_array_equal(
        labels(second), [[-1, 1], [NAN, NAN], [NAN, NAN], [NAN, NAN], [0, 0]]
    )


@pytest.mark.parametrize("layout", ["cropped_aligned", "batch1/aligned"])
def test_crops_are_found_with_their_gaps(source, layout):
    for name in ("00001.jpg", "00004.jpg", "00003.jpg"):
        write(source / layout / "video2_left" / name)
    # Of the same names, not aligned.
    write(source / "cropped" / "video2_left" / "00002.jpg")
    first, left, _ = affwild2.read(source, frames="crops")
    assert not first.found and not first.pictures
    assert (left.source, left.utterance) == ("video2", "video2_left")
    assert left.path == source / layout / "video2_left"
    assert list(left.pictures) == ["00001.jpg", "", "00003.jpg", "00004.jpg"]
    assert left.found and left.side is None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("b.txt", "valence\n0\n", "b.txt: the first line must be valence,arou"),
        ("b.txt", "valence,valence\n0,0\n", "not 'valence,valence'"),
        ("b.txt", "0.5,0.5\n0,0\n", "not '0.5,0.5'; the file is left out"),
        ("b.txt", "", "b.txt is empty; a text in UTF-8 is needed"),
        ("b.txt", rows() + "\n", "b.txt has a header alone; a line for each"),
        ("b.txt", "\0\1\2", "b.txt is no text"),
        ("12-24-1920x1080.txt", rows((0, 0)), "is of the same video"),
    ],
)
def test_a_bad_file_is_left_out(source, name, text, told):
    write(source / "va" / "Validation_Set" / name, text)
    problems = Problems()
    clips = affwild2.read(source, problems)
    assert [clip.utterance for clip in clips] == [
        *("12-24-1920x1080", "video2_left", "video2_right")
    ]
    (line,) = problems.lines
    assert told in line and str(source / "va") in line
    # A doubled file is of no other clip.
    lost = {} if "same" in told else {"validation": 1}
    assert problems.left_out == lost
    with pytest.raises(UserError, match="left out|is needed"):
        affwild2.read(source)


def test_a_bad_row_keeps_its_place(source):
    write(
        source / "va" / "Train_Set" / "video3_left.txt",
        rows(("0.1", "x"), (0.5, 0.5), (1.5, 0), ("nan", 0), (0, "0,1"))
        + "\n0.25,0.25\n\n",
    )
    problems = Problems()
    clip = affwild2.read(source, problems)[2]
    assert clip.utterance == "video3_left"
    np.testing.assert_array_equal(
        labels(clip),
        [[NAN] * 2, [0.5, 0.5], *[[NAN] * 2] * 4, [0.25, 0.25]],
    )
    path = source / "va" / "Train_Set" / "video3_left.txt"
    starts = [f"{path}, line {line}: valence and" for line in (2, 4, 5, 6, 7)]
    for line, start in zip(problems.lines, starts, strict=True):
        assert line.startswith(start)
        assert line.endswith("; its frame counts as not annotated")
    assert "must lie in [-1, 1], not '1.5,0'" in problems.lines[1]


def test_many_bad_rows_are_a_few_lines(source):
    write(source / "Train_Set" / "b.txt", rows(*[(9, 9)] * 25))
    problems = Problems()
    affwild2.read(source, problems)
    assert len(problems.lines) == 11
    assert problems.lines[-1].endswith("b.txt: 15 more like these")


def test_columns_are_found_by_name(source):
    write(source / "Train_Set" / "b.txt", "arousal, valence\n0.75,-0.5\n")
    clip = affwild2.read(source)[1]
    np.testing.assert_array_equal(labels(clip), [[-0.5, 0.75]])


def test_links_that_lead_back_are_not_followed(source):
    (source / "va" / "again").symlink_to(source)
    (source / "Train_Set").mkdir()
    (source / "Train_Set" / "self.txt").symlink_to("self.txt")
    elsewhere = source.parent / f"{source.name}-more"
    write(elsewhere / "c.mp4")
    (source / "batch2").symlink_to(elsewhere)
    write(source / "Train_Set" / "c.txt", rows((0, 0)))
    problems = Problems()
    clips = affwild2.read(source, problems)
    assert clips[1].path == source / "batch2" / "c.mp4" and clips[1].found
    loop, broken = sorted(problems.lines, reverse=True)
    assert f"{source}/va/again: a link to a folder that it lies in" in loop
    assert "self.txt: Too many levels of symbolic links" in broken


def test_two_films_of_a_name_are_told(source):
    write(source / "batch3" / "video2.mp4")
    problems = Problems()
    clips = affwild2.read(source, problems)
    assert clips[1].path == source / "batch3" / "video2.mp4"
    assert len(problems.lines) == 2  # for each of the two people
    assert "new/batch2/video2.avi: " in problems.lines[0]


def test_a_film_may_end_in_a_side_itself(source):
    write(source / "batch1" / "video2_left.mp4")
    left, right = affwild2.read(source)[1:]
    assert left.path == source / "batch1" / "video2_left.mp4"
    assert (left.side, right.side) == (None, "right")


def test_odd_crops_are_told(source):
    for name in ("00001.jpg", "1.png", "00000.jpg", "face.jpg"):
        write(source / "aligned" / "video2_left" / name)
    problems = Problems()
    clip = affwild2.read(source, problems, "crops")[1]
    assert list(clip.pictures) == ["00001.jpg"]
    assert [
        x.split("video2_left/")[1].split(":")[0] for x in problems.lines
    ] == [*("00000.jpg", "1.png", "face.jpg")]


def test_an_empty_source_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no annotation of Aff-Wild2"):
        affwild2.read(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        affwild2.read(tmp_path / "nowhere")


def test_the_other_of_a_person_on_a_side(source, caplog):
    """Two annotations of a film are of two people."""
    for name in ("12-24-1920x1080_right", "video2"):  # which has both
        write(source / "Train_Set" / f"{name}.txt", rows((0, 0)))
    clips = affwild2.read(source)
    assert {clip.utterance: clip.side for clip in clips} == {
        "12-24-1920x1080": "left",
        "12-24-1920x1080_right": "right",
        "video2": None,
        "video2_left": "left",
        "video2_right": "right",
    }
    assert "12-24-1920x1080/12-24-1920x1080: of a film in" in caplog.text
    write(source / "batch1" / "12-24-1920x1080_right.mp4")  # of its own
    assert affwild2.read(source)[0].side is None
    for name in ("12-24-1920x1080", "12-24-1920x1080_right"):
        write(source / "aligned" / name / "00001.jpg")
    assert affwild2.read(source, frames="crops")[0].side is None


@pytest.mark.parametrize("frames", ["video", "crops"])
def test_what_is_not_annotated_is_counted(source, caplog, frames):
    caplog.set_level("INFO")
    write(source / "va" / "AU_Set" / "Train_Set" / "b.txt", "AU1\n0\n")
    for name in ("test2", "test1"):
        write(source / "batch2" / f"{name}.mp4")
        write(source / "aligned" / name / "00001.jpg")
    affwild2.read(source, frames=frames)
    kind, first = {
        "video": ("film", source / "batch2" / "test1.mp4"),
        "crops": ("picture folder", source / "aligned" / "test1"),
    }[frames]
    assert [record.getMessage() for record in caplog.records] == [
        f"2 {kind}s without a good annotation, such as {first}: not used",
        "2 annotations of other tasks, such as "
        f"{source}/va/AU_Set/Train_Set/b.txt: not used",
    ]
