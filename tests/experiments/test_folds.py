"""Folds over a manifest that is written by hand."""

import collections
import json

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.experiments import folds


def entry(video, utterance, **facts):
    label = {"frames": 1, "frames_with_face": 1, "mean": 0.5}
    return {
        "video": video,
        "utterance": utterance,
        "frames": 3,
        "labels": {"valence": label, "arousal": label},
        "chunks": [[10, 0]],
        **facts,
    }


@pytest.fixture
def records(tmp_path):
    """Four videos of training, two of validation, two utterances each.

    Videos a and b have one link, and b and e one person, who is f's as well.
    """
    links = {"a": "x", "b": "x", "c": "y", "d": "z", "e": "u", "f": "w"}
    people = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "2", "f": "2"}
    videos = {"train": "abcd", "validation": "ef", "test": "t"}
    splits = {}
    for split, names in videos.items():
        entries = [
            entry(x, u, source=links.get(x), person=people.get(x))
            for x in names
            for u in ("u1", "u2")
        ]
        splits[split] = {
            **dict.fromkeys(("expected", "found", "prepared"), len(entries)),
            "frames": 3 * len(entries),
            "utterances": entries,
        }
    folder = tmp_path / "records"
    folder.mkdir()
    content = {"schema_version": 2, "corpus": "omg", "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def held_out(output, count):
    """Returns the videos that each fold validates on."""
    found = []
    for number in range(count):
        of_split = manifest.read(output / str(number)).splits
        keys = {x: {c.key for c in clips} for x, clips in of_split.items()}
        assert not keys["train"] & keys["validation"]
        assert len(keys["train"] | keys["validation"]) == 12
        assert keys.keys() == {"train", "validation"}
        clips = of_split["validation"]
        for clip in clips:  # its records stay where they are
            split = "train" if clip.video in "abcd" else "validation"
            own = output.parent / "records" / split / clip.video
            own.mkdir(parents=True, exist_ok=True)
            (own / f"{clip.utterance}.tfrecord").touch()
            assert clip.path.samefile(own / f"{clip.utterance}.tfrecord")
        found.append("".join(sorted({clip.video for clip in clips})))
        assert len(clips) == 2 * len(found[-1])
    return found


@pytest.mark.parametrize(
    ("by", "count", "together"),
    [
        ("video", 3, []),
        ("video", 6, []),
        ("source", 5, ["ab"]),
        ("person", 4, ["bef"]),
    ],
)
def test_each_utterance_is_held_out_once(
    records, tmp_path, by, count, together
):
    folds.write(records, tmp_path / "out", by=by, count=count)
    found = held_out(tmp_path / "out", count)
    assert sorted("".join(found)) == list("abcdef")
    for videos in together:
        assert [x for x in found if set(videos) & set(x)] == [videos]
    if by == "video":
        assert collections.Counter(map(len, found)) == {6 // count: count}


def test_folds_are_the_same_wherever_the_records_lie(records, tmp_path):
    out = tmp_path / "out"
    folds.write(records, out, by="source", count=2)
    before = [manifest.read(out / x).digest for x in "01"]
    moved = records.rename(tmp_path / "moved")
    folds.write(moved, out, by="source", count=2)
    assert [manifest.read(out / x).digest for x in "01"] == before
    assert (out / "1" / "records").samefile(moved)
    # Other records are other folds, even of the same utterances.
    path = moved / "manifest.json"
    path.write_text(path.read_text().replace("0.5", "0.25"))
    with pytest.raises(UserError, match="out holds folds of other records"):
        folds.write(moved, out, by="source", count=2)
    assert [manifest.read(out / x).digest for x in "01"] == before
    folds.write(moved, out, by="source", count=2, overwrite=True)
    assert manifest.read(out / "0").digest != before[0]


@pytest.mark.parametrize(
    ("by", "count", "message"),
    [
        ("source", 6, "--folds_by=source parts .* into 5 groups, .* 6 folds"),
        ("person", 2, "2 utterances .* have no person in .* those of c; give"),
    ],
)
def test_what_cannot_be_parted_is_told(records, tmp_path, by, count, message):
    path = records / "manifest.json"
    path.write_text(path.read_text().replace('"person": "3"', '"person": null'))
    with pytest.raises(UserError, match=message):
        folds.write(records, tmp_path / "out", by=by, count=count)
    assert not (tmp_path / "out").exists()
