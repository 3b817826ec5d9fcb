import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import afewva
from affwild_omg.corpora.problems import Problems

NAN = float("nan")


def write(folder, rows, pictures=None, actor="ANN"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in rows if pictures is None else pictures:
        (folder / f"{name}.png").touch()
    frames = {
        name: {"landmarks": [[1, 2]], "valence": valence, "arousal": arousal}
        for name, (valence, arousal) in rows.items()
    }
    content = {"actor": actor, "frames": frames, "video_id": folder.name}
    path = folder / f"{folder.name}.json"
    path.write_text(json.dumps(content))
    return path


def test_values_are_tenths(tmp_path):
    folder = tmp_path / "01" / "001"
    write(folder, {"00000": (10, -10.0), "00001": (5, -5), "00002": (0, 2.5)})
    write(tmp_path / "02" / "101", {"00000": (0, 0)}, actor="BOB")
    (tmp_path / "02" / "notes").mkdir()
    first, second = afewva.read(str(tmp_path))
    assert (first.split, first.key, first.path) == ("train", "001/001", folder)
    assert (first.person, second.person) == ("ANN", "BOB")
    assert list(first.pictures) == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_allclose(
        np.transpose(first.frame_labels), [[1, -1], [0.5, -0.5], [0, 0.25]]
    )


@pytest.mark.parametrize(
    ("actor", "person"), [(7, "7"), ("", None), (None, None)]
)
def test_a_person_has_a_name(tmp_path, actor, person):
    write(tmp_path / "001", {"00000": (1, 1)}, actor=actor)
    (clip,) = afewva.read(tmp_path)
    assert clip.person == person


def test_pictures_without_labels_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    write(tmp_path / "001", {"00000": (1, 1)})
    write(tmp_path / "002", {"00000": (1, 1)}).unlink()
    assert [clip.video for clip in afewva.read(tmp_path)] == ["001"]
    assert caplog.messages == [
        "1 picture folder without a good annotation, such as "
        f"{tmp_path}/002: not used"
    ]


def test_frames_without_labels_or_pictures_keep_their_place(tmp_path):
    rows = {"00001": (1, 1), "00003": (3, 3), "00004": (11, 0)}
    path = write(tmp_path / "001", rows, ["00001", "00002", "00004", "00005"])
    problems = Problems()
    (clip,) = afewva.read(tmp_path, problems)
    assert list(clip.pictures) == [
        *("00001.png", "00002.png", "", "00004.png", "00005.png")
    ]
    np.testing.assert_allclose(clip.frame_labels[0], [0.1, NAN, 0.3, NAN, NAN])
    labels, pictures, bad = problems.lines
    assert labels.startswith(
        f"{path}: 2 frames of 5 without labels, such as 00002; each needs both"
    )
    assert pictures.startswith(f"{path}: 1 frame of 5 without picture, such as")
    assert "frame 4: valence and arousal must lie in [-10, 10], not" in bad


def test_no_picture_is_no_clip(tmp_path):
    write(tmp_path / "001", {"00000": (0, 0)}, [])
    (clip,) = afewva.read(tmp_path)
    assert not clip.found


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "{}",
        '{"frames": {}}',
        '{"frames": {"00000": {"valence": 1}}}',
        '{"frames": {"x": {"valence": 1, "arousal": 1}}}',
        '{"frames": {"0": {"valence": 1, "arousal": 1},'
        ' "99999999": {"valence": 1, "arousal": 1}}}',
        '{"frames": {"0": {"valence": 1, "arousal": 1},'
        ' "00": {"valence": 2, "arousal": 1}}}',
        '{"frames": {"0": {"valence": 1, "valence": 2, "arousal": 1}}}',
    ],
)
def test_a_foreign_file_is_left_out(tmp_path, text):
    write(tmp_path / "001", {"00000": (0, 0)})
    path = write(tmp_path / "002", {"00000": (0, 0)})
    path.write_text(text)
    problems = Problems()
    (clip,) = afewva.read(tmp_path, problems)
    assert clip.video == "001"
    (line,) = problems.lines
    assert line.startswith(f"{path} is not an annotation of AFEW-VA (")
    assert problems.left_out == {"train": 1}
    assert "\n" not in line


def test_what_is_there_twice_is_told(tmp_path):
    write(tmp_path / "001", {"00000": (0, 0)})
    path = write(tmp_path / "copy" / "001", {"00000": (1, 1)})
    (tmp_path / "copy" / "002").mkdir()
    (tmp_path / "copy" / "002" / "002.json").touch()
    problems = Problems()
    (clip,) = afewva.read(tmp_path, problems)
    assert clip.path == tmp_path / "001"
    assert f"{path}: {tmp_path}/001 is of the same name" in problems.lines[0]
    assert "002.json is empty" in problems.lines[1]


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no clip of AFEW-VA; put"):
        afewva.read(tmp_path)
    with pytest.raises(UserError, match="--frames=crops does not go with"):
        afewva.read(tmp_path, frames="crops")
