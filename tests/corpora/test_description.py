import array
import pathlib

import numpy as np
import pytest

from affwild_omg.corpora import description
from affwild_omg.corpora.clips import Clip
from affwild_omg.storage import parallel

NAN = float("nan")


def clip(split, video, name, labels, pictures=None, path="nowhere", **facts):
    columns = tuple(
        array.array("d", column) for column in zip(*labels, strict=True)
    )
    return Clip(
        split=split,
        video=video,
        utterance=name,
        path=pathlib.Path(path),
        frame_labels=columns,
        pictures=pictures,
        **facts,
    )


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)


def test_counts_gaps_and_what_is_shared(two_cores, tmp_path):
    labelled, none = (0.5, -0.5), (NAN, NAN)
    (tmp_path / "3").touch()
    clips = [
        clip(
            *("train", "a", "a_left", [labelled] * 6, ["1", "", "3", "4"]),
            path=tmp_path,
        ),
        clip("train", "b", "b", [none] * 4, [], person="Ann"),
        clip("validation", "a", "a_right", [labelled] * 9 + [none]),
        clip("validation", "c", "c", [labelled], person="Ann"),
    ]
    header, train, validation, both, empty, *rest = description.lines(
        clips, "affwild2", "crops", 3
    )
    assert header.split("  ")[0] == "" and empty == ""
    assert train.split() == [
        *("train", "2", "-", "2", "-", "1", "10", "-", "40.0%", "7")
    ]
    assert validation.split() == [
        *("validation", "2", "-", "2", "-", "0", "11", "-", "9.1%", "-")
    ]
    assert both.split() == [
        *("all", "3", "558", "4", "-", "1", "21", "2,786,201", "23.8%", "7")
    ]
    shared, effort, problems = rest
    assert shared == "train and validation share 1 video, 1 person"
    assert "at 60 frames a second on each of 2 cores" in effort
    assert problems == "3 problems in the annotations"


def test_what_preparation_takes(two_cores, tmp_path):
    films = []
    for name, frames in (("a", 600_000), ("b", 200_000), ("c", 64_000)):
        (tmp_path / name).touch()
        film = clip("train", name, name, [(0, 0)])
        labels = tuple(array.array("d", bytes(8 * frames)) for _ in "va")
        films.append(
            Clip(
                **vars(film) | {"path": tmp_path / name, "frame_labels": labels}
            )
        )
    *_, effort, problems = description.lines(films, "affwild", "video", 0)
    # 864,000 / 120 / 3600 h, 864,000 x 17 KB, and 800,000 x 28 KB.
    assert "about 2.0 hours, at 60 frames a second on each of 2 " in effort
    assert "and 14.7 GB, at 17 KB a frame, and 22.4 GB meanwhile" in effort
    assert problems == "0 problems in the annotations"


def test_labels_of_utterances(two_cores, tmp_path):
    path = tmp_path / "u.mp4"
    path.touch()
    clips = [
        Clip(
            split=split,
            video="v",
            utterance=f"{split}.mp4",
            path=path,
            valence=valence,
            arousal=valence,
            source=f"link of {split}",
        )
        for split, valence in (("train", 0.5), ("test", None))
    ]
    np.testing.assert_array_equal(
        description.labels(clips), [[0.5, 0.5], [NAN, NAN]]
    )
    lines = description.lines(clips, "omg", "video", 1)
    assert lines[1].split()[:6] == ["train", "1", "231", "1", "2,442", "1"]
    assert "train and test share 1 video, 0 sources" in lines
    assert lines[-2].endswith("(200 frames a clip)")
    assert lines[-1] == "1 problem in the annotations"
