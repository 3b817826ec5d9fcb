import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import affwild
from affwild_omg.corpora.problems import Problems

NAN = float("nan")


def write(source, video, valence, arousal, split="train", scale=1):
    for target, values in (("valence", valence), ("arousal", arousal)):
        path = source / "annotations" / split / target / f"{video}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if values is not None:
            path.write_text("".join(f"{scale * x:g}\n" for x in values))


def labels(clip):
    return np.transpose(clip.frame_labels)


@pytest.fixture
def source(tmp_path):
    write(tmp_path, "105", [0.5, -1, 0.874], [-0.25, 1, 0])
    write(tmp_path, "98", [0, -5], [0.5, 0.5])
    (tmp_path / "videos" / "train").mkdir(parents=True)
    (tmp_path / "videos" / "train" / "105.avi").touch()
    # The download has folders of the same names for other things.
    for place, name in (("bboxes", "0001.pts"), ("landmarks", "0001.txt")):
        (tmp_path / place / "train" / "105").mkdir(parents=True)
        (tmp_path / place / "train" / "105" / name).touch()
    return tmp_path


def test_two_files_are_one_clip(source):
    first, second = affwild.read(str(source))
    assert (first.split, first.key) == ("train", "105/105")
    assert first.path == source / "videos" / "train" / "105.avi"
    np.testing.assert_array_equal(
        labels(first), [[0.5, -0.25], [-1, 1], [0.874, 0]]
    )
    assert not second.found
    np.testing.assert_array_equal(labels(second), [[0, 0.5], [NAN, NAN]])


def test_a_video_is_of_one_split(source):
    write(source, "105", [0.5, -1, 0.874], [-0.25, 1, 0], split="test")
    problems = Problems()
    clips = affwild.read(source, problems)
    assert [(x.split, x.video) for x in clips] == [
        ("train", "105"),
        ("train", "98"),
    ]
    (told,) = problems.lines
    assert "test/valence/105.txt: 105 is of train already" in told
    assert problems.left_out == {"test": 1}


def test_a_header_shifts_no_label(source):
    path = source / "annotations" / "train" / "arousal" / "105.txt"
    path.write_text(f"Arousal\n{path.read_text()}")
    problems = Problems()
    assert [x.video for x in affwild.read(source, problems)] == ["98"]
    header, alone = problems.lines
    assert header.startswith(f"{path}: the first line must be the value of")
    assert "valence/105.txt: there is no good file of arousal" in alone


def test_whole_numbers_are_thousandths(tmp_path):
    write(tmp_path, "105", [0.5, -1, 0.874], [-0.25, 1, 0.001], scale=1000)
    write(tmp_path, "98", [0, -5, 0.003], [0.001] * 3, scale=1000)
    write(tmp_path, "99", [NAN], [0], scale=1000)
    problems = Problems()
    first, second, _ = affwild.read(tmp_path, problems)
    assert "must lie in [-1000, 1000], not 'nan,0'" in problems.lines[0]
    np.testing.assert_allclose(
        labels(first), [[0.5, -0.25], [-1, 1], [0.874, 0.001]]
    )
    np.testing.assert_allclose(
        labels(second), [[0, 0.001], [NAN, NAN], [0.003, 0.001]]
    )


def test_few_whole_numbers_are_units(tmp_path):
    write(tmp_path, "1", [0, 1, -1, 5], [0, 0, 1, -5])
    (clip,) = affwild.read(tmp_path)
    np.testing.assert_array_equal(
        labels(clip), [[0, 0], [1, 0], [-1, 1], [NAN, NAN]]
    )


def test_crops_count_from_one(source):
    folder = source / "cropped" / "105"
    folder.mkdir(parents=True)
    for name in ("1.jpg", "3.jpg"):
        (folder / name).touch()
    first, second = affwild.read(source, frames="crops")
    assert first.path == folder
    assert list(first.pictures) == ["1.jpg", "", "3.jpg"]
    assert not second.found


def test_files_of_different_lengths_are_told(source):
    write(source, "105", [0.5, 0.5, 0.5], [0.25])
    problems = Problems()
    first, _ = affwild.read(source, problems)
    np.testing.assert_array_equal(
        labels(first), [[0.5, 0.25], [NAN, NAN], [NAN, NAN]]
    )
    (line,) = problems.lines
    place = source / "annotations" / "train"
    assert line.startswith(
        f"{place}/valence/105.txt has 3 lines, but {place}/arousal/105.txt "
        "has 1;"
    )


@pytest.mark.parametrize("missing", ["valence", "arousal"])
@pytest.mark.parametrize("empty", [True, False])
def test_both_files_are_needed(source, missing, empty):
    path = source / "annotations" / "train" / missing / "105.txt"
    path.unlink()
    if empty:
        path.touch()
    problems = Problems()
    (clip,) = affwild.read(source, problems)
    assert clip.video == "98"
    if empty:
        assert (
            f"{path} is empty; a text in UTF-8 is needed" in problems.lines[0]
        )
    assert f"there is no good file of {missing} for" in problems.lines[-1]
    assert len(problems.lines) == 1 + empty
    assert problems.left_out == {"train": 1}


def test_bad_lines_and_doubled_files_are_told(source):
    write(source, "98", [0.5, 1.25, NAN], [0, 0, 0])
    write(source / "copy", "98", [0.1], [0.1])
    problems = Problems()
    _, second = affwild.read(source, problems)
    np.testing.assert_array_equal(
        labels(second), [[0.5, 0], [NAN, NAN], [NAN, NAN]]
    )
    told = [line.removeprefix(f"{source}/") for line in problems.lines]
    assert [line.split(":")[0] for line in told] == [
        "copy/annotations/train/arousal/98.txt",
        "copy/annotations/train/valence/98.txt",
        "annotations/train/valence/98.txt, line 2",
        "annotations/train/valence/98.txt, line 3",
    ]


def test_an_empty_source_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no annotation of Aff-Wild; p"):
        affwild.read(tmp_path)
