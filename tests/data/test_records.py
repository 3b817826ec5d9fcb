import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from tests.conftest import make_clip, write_records_folder


@pytest.fixture(scope="module")
def records(tf):
    from affwild_omg.data import records

    return records


def assert_same(tf, records, clip, parsed):
    np.testing.assert_array_equal(records.decode(parsed["image"]), clip.images)
    np.testing.assert_array_equal(parsed["landmarks"], clip.landmarks)
    np.testing.assert_array_equal(parsed["face"], clip.face)
    assert parsed["key"].numpy().decode() == f"{clip.video}/{clip.utterance}"
    assert float(parsed["fps"]) == clip.fps


def test_round_trip_eagerly_and_in_a_pipeline(tf, records, tmp_path):
    clips = [make_clip("v", f"utterance_{i}.mp4", 3 + i, i) for i in (1, 2)]
    records.write_records(tmp_path / "v.tfrecord", clips)
    dataset = tf.data.TFRecordDataset(str(tmp_path / "v.tfrecord"))
    for serialised, clip in zip(dataset, clips, strict=True):
        parsed = records.parse(serialised)
        assert_same(tf, records, clip, parsed)
        labels = [[clip.valence[0], clip.arousal[0]]] * len(clip.images)
        np.testing.assert_allclose(parsed["labels"], labels, rtol=1e-6)
    for parsed, clip in zip(dataset.map(records.parse), clips, strict=True):
        assert_same(tf, records, clip, parsed)


def test_labels_of_a_frame_each_and_of_none(records):
    valence, arousal = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    clip = make_clip("v", "u", 3, 0, valence=valence, arousal=arousal)
    parsed = records.parse(records.to_example(clip))
    expected = np.stack([valence, arousal], axis=1)
    np.testing.assert_allclose(parsed["labels"], expected, rtol=1e-6)
    clip = make_clip("v", "u", 3, 0, valence=[], arousal=[])
    parsed = records.parse(records.to_example(clip))
    assert np.isnan(parsed["labels"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": np.zeros((2, 68, 2))}, r"landmarks must be \(3, 68, 2"),
        ({"valence": [0.0, 0.1]}, "valence must hold 0, 1 or 3"),
    ],
)
def test_clips_that_break_the_schema_are_refused(records, change, message):
    with pytest.raises(ValueError, match=message):
        records.to_example(make_clip("v", "u", 3, 0, **change))


@pytest.fixture
def folder(tf, tmp_path):
    return write_records_folder(tmp_path / "records")


def test_files_come_in_the_manifests_order(records, folder):
    files = records.list_files(folder, "train")
    assert [file.rsplit("/", 1)[1] for file in files] == [
        "ann.tfrecord",
        "bob.tfrecord",
    ]


def test_other_schema_versions_are_refused(records, folder, monkeypatch):
    monkeypatch.setattr(records, "SCHEMA_VERSION", 99)
    records.write_records(
        folder / "train" / "bob.tfrecord", [make_clip("bob", "u", 2, 0)]
    )
    monkeypatch.undo()
    with pytest.raises(UserError, match="bob.tfrecord has schema version 99"):
        records.check_files(folder, "train")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["schema_version"] = 7
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="manifest.json has schema version 7"):
        records.check_files(folder, "test")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "holds no mani"),
        (
            lambda folder: (folder / "manifest.json").write_text("{"),
            "not a manifest",
        ),
        (
            lambda folder: (folder / "train" / "bob.tfrecord").unlink(),
            "bob.tfrecord is missing",
        ),
        (
            lambda folder: (folder / "train" / "bob.tfrecord").write_text(
                "x" * 99
            ),
            "bob.tfrecord is damaged",
        ),
        (
            lambda folder: (folder / "train" / "bob.tfrecord").write_bytes(b""),
            "bob.tfrecord holds no record",
        ),
    ],
)
def test_damaged_folders_are_named(records, folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        records.check_files(folder, "train")


def test_a_record_that_is_no_example_is_refused(records, tf, folder):
    path = folder / "train" / "bob.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff no example")
    with pytest.raises(UserError, match="bob.tfrecord is damaged"):
        records.check_files(folder, "train")


def test_damage_behind_the_first_record_is_told_while_reading(
    records, tf, folder
):
    from affwild_omg.data import pipeline

    path = folder / "train" / "ann.tfrecord"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="a file of train is damaged"):
        pipeline.read_labels(folder, "train")


def test_a_disk_that_is_full_is_an_operating_systems_error(records):
    with pytest.raises(OSError, match="/dev/full"):
        records.write_records("/dev/full", [make_clip("v", "u", 9, 0)])


def test_unknown_split_lists_the_known(records, folder):
    with pytest.raises(UserError, match="'dev'; it has train, validation, te"):
        records.check_files(folder, "dev")


def test_unlabelled_utterances_cannot_be_trained_on(records, tf, tmp_path):
    folder = write_records_folder(tmp_path / "bare", valence=[], arousal=[])
    with pytest.raises(UserError, match="3 of 3 utterances of train have no"):
        records.require_labels(folder, "train")
