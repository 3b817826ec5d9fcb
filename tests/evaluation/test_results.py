import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results

NAN = float("nan")
PREDICTIONS = """\
video,utterance,arousal,valence
v,u1.mp4,0.500000,0.250000
v.1,u1.mp4,0.750000,-0.500000
"""
LABELS = """\
video,utterance,arousal,valence
v.1,u1.mp4,0.338,-1
"""


def write_folder(folder, predictions, labels=None, **metrics):
    """Writes a results folder by hand.

    Args:
        folder: to make.
        predictions: text of predictions.csv.
        labels: text of labels.csv, None for no such file.
        metrics: for metrics.json.
    """
    folder.mkdir()
    (folder / "predictions.csv").write_text(predictions)
    count = 0
    if labels is not None:
        (folder / "labels.csv").write_text(labels)
        count = len(labels.splitlines()) - 1
    metrics = {"utterances": count} | metrics
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def read(folder):
    return results.read(folder, flag="--test")


def test_a_folder_by_hand(tmp_path):
    folder = write_folder(tmp_path / "x", PREDICTIONS, LABELS, split="test")
    found = read(folder)
    assert found.keys == ["v/u1.mp4", "v.1/u1.mp4"]
    assert found.targets == ("valence", "arousal")
    np.testing.assert_array_equal(
        found.predictions, [[0.25, 0.5], [-0.5, 0.75]]
    )
    np.testing.assert_array_equal(found.labels, [[NAN, NAN], [-1, 0.338]])
    assert found.metrics == {"utterances": 1, "split": "test"}


def test_columns_are_found_by_name_and_marks_overlooked(tmp_path):
    text = (
        "\ufeffvalence,note,utterance, arousal,video\n\n"
        '0.25,,u1.mp4,0.5,v\n-0.5,"a, b",u1.mp4,0.75,v.1\n'
    )
    found = read(write_folder(tmp_path / "x", text, LABELS))
    expected = read(write_folder(tmp_path / "y", PREDICTIONS, LABELS))
    assert found.keys == expected.keys
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_folder_without_labels_or_with_one_target(tmp_path):
    text = "video,utterance,arousal\nv,u1.mp4,0.5\n"
    found = read(write_folder(tmp_path / "x", text))
    assert found.targets == ("arousal",)
    np.testing.assert_array_equal(found.predictions, [[0.5]])
    np.testing.assert_array_equal(found.labels, [[NAN]])


@pytest.fixture
def drawn(monkeypatch):
    """What would have been drawn, in the place of pictures."""
    calls = []

    def scatter(path, labels, predictions, targets, metrics):
        calls.append(
            (path.name, labels.tolist(), predictions.tolist(), targets, metrics)
        )

    def histograms(path, labels, predictions):
        calls.append((path.name, labels.tolist(), predictions.tolist()))

    monkeypatch.setattr(results.drawing, "scatter", scatter)
    monkeypatch.setattr(results.drawing, "plane_histograms", histograms)
    return calls


def write(folder, **changes):
    folder.mkdir()
    fields = {
        "keys": ["v/u1.mp4", "v.1/u1.mp4", "w, x/u.mp4"],
        "targets": ("valence", "arousal"),
        "predictions": np.array([[0.25, 0.5], [-0.5, 0.75], [1e-7, -0.1]]),
        "labels": np.array([[NAN, NAN], [-1, 0.338], [0.5, NAN]]),
        "metrics": {"utterances": 1},
    }
    written = results.Results(**fields | changes)
    results.write(folder, written)
    return written


def test_what_is_written(tmp_path, drawn):
    written = write(tmp_path / "x")
    files = {path.name: path.read_text() for path in (tmp_path / "x").iterdir()}
    assert files == {
        "predictions.csv": PREDICTIONS + '"w, x",u.mp4,-0.100000,0.000000\n',
        "labels.csv": LABELS,
        "metrics.json": '{\n  "utterances": 1\n}\n',
    }
    assert drawn == [
        (
            "scatter.png",
            [[-1, 0.338]],
            [[-0.5, 0.75]],
            written.targets,
            # Of one utterance; see the next test for others.
            {"valence": {"ccc": 0}, "arousal": {"ccc": 0}},
        ),
        ("histograms.png", [[-1, 0.338]], [[-0.5, 0.75]]),
    ]
    found = read(tmp_path / "x")
    assert (found.keys, found.targets) == (written.keys, written.targets)
    np.testing.assert_array_equal(
        found.predictions, results.as_written(written.predictions)
    )
    np.testing.assert_array_equal(
        found.labels, [[NAN, NAN], [-1, 0.338], [NAN, NAN]]
    )


def test_the_picture_has_the_ccc_of_its_points(tmp_path, drawn):
    # Metrics may be of another protocol.
    write(
        tmp_path / "x",
        predictions=np.array([[1.0, 3], [2, 2], [9, 9]]),
        labels=np.array([[1.0, 2], [2, 3], [NAN, NAN]]),
        metrics={"valence": {"ccc": 0.25}, "utterances": 2},
    )
    assert drawn[0][-1] == {"valence": {"ccc": 1}, "arousal": {"ccc": -1}}


def test_no_labels_no_file_and_one_target_no_plane(tmp_path, drawn):
    write(tmp_path / "x", labels=np.full((3, 2), NAN))
    assert drawn == []
    assert not (tmp_path / "x" / "labels.csv").exists()
    values = {
        "targets": ("arousal",),
        "predictions": np.array([[0.5], [0.25], [0.75]]),
        "labels": np.array([[0.5], [NAN], [1]]),
        "metrics": {"utterances": 2},
    }
    write(tmp_path / "y", **values)
    assert [name for name, *_ in drawn] == ["scatter.png"]
    found = read(tmp_path / "y")
    assert found.targets == ("arousal",)
    np.testing.assert_array_equal(found.labels, values["labels"])


def test_numbers_survive_the_files(tmp_path, drawn):
    random = np.random.default_rng(0)
    predictions = results.as_written(random.normal(size=(500, 2)))
    labels = random.uniform(-1, 1, (500, 2)).astype(np.float32).astype(float)
    write(
        tmp_path / "x",
        keys=[f"v/{i}" for i in range(500)],
        predictions=predictions,
        labels=labels,
        metrics={"utterances": 500},
    )
    found = read(tmp_path / "x")
    np.testing.assert_array_equal(found.predictions, predictions)
    np.testing.assert_allclose(found.labels, labels, atol=1e-8)


def without(name):
    return lambda folder: (folder / name).unlink()


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content.encode("latin1"))


def row(name, before, after):
    def change(folder):
        content = (folder / name).read_text()
        assert before in content
        (folder / name).write_text(content.replace(before, after))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("metrics.json"), "x holds no metrics.json; give a folder"),
        (without("predictions.csv"), "x holds no predictions.csv; give a"),
        (
            without("labels.csv"),
            "labels.csv has no utterances, but .* 1; write",
        ),
        (text("metrics.json", "{"), "metrics.json is no JSON: .*; write"),
        (text("metrics.json", "[1]"), "metrics.json does not say how many"),
        (text("metrics.json", "{}"), "metrics.json does not say how many"),
        (
            text("metrics.json", '{"utterances": "2"}'),
            "metrics.json does not say how many",
        ),
        (
            text("metrics.json", '{"utterances": 2}'),
            "labels.csv has 1 utterances, but metrics.json .* scores 2; write",
        ),
        (
            text("metrics.json", '{"utterances": 1, "arousal": {}}'),
            "predictions.csv has columns of valence, arousal, but .* arousal;",
        ),
        (text("predictions.csv", ""), "lacks column video, utterance, arousal"),
        (text("predictions.csv", "\xff"), "predictions.csv is no CSV table"),
        (text("predictions.csv", '"v\n'), "predictions.csv is no CSV table"),
        (
            text("predictions.csv", "video,utterance,arousal\n"),
            "predictions.csv has no rows",
        ),
        (
            text("predictions.csv", "video,utterance\nv,u\n"),
            "predictions.csv lacks column arousal or valence, but has video,",
        ),
        (row("predictions.csv", "utterance,", "name,"), "lacks column utt.*;"),
        (
            row("predictions.csv", "utterance,arousal", "utterance,valence"),
            "predictions.csv has column valence twice",
        ),
        (
            row("predictions.csv", "0.750000", "nan"),
            "predictions.csv, line 3: arousal 'nan' must be a finite number;",
        ),
        (
            row("predictions.csv", "-0.500000", "high"),
            "predictions.csv, line 3: valence 'high' must be a finite",
        ),
        (
            row("predictions.csv", "0.250000", ""),
            "predictions.csv, line 2: valence '' must be a finite number",
        ),
        (row("predictions.csv", ",0.250000", ""), "line 2 has 3 fields, the"),
        (
            row("predictions.csv", "v.1", "v"),
            "line 3: v/u1.mp4 stands in line 2 already",
        ),
        (row("predictions.csv", "v.1,", ","), "line 3: video '' and utterance"),
        (row("predictions.csv", "v.1,", "v,1/"), "line 3: .* must hold no /"),
        (
            row("labels.csv", "0.338", "inf"),
            "labels.csv, line 2: arousal 'inf'",
        ),
        (
            row("labels.csv", "v.1", "w"),
            "labels.csv: w/u1.mp4 is not in predictions.csv",
        ),
        (
            text("labels.csv", "video,utterance,valence\nv,u1.mp4,0\n"),
            "labels.csv has columns of valence, but predictions.csv .* has "
            "valence, arousal",
        ),
    ],
)
def test_bad_folders_are_told(tmp_path, change, message):
    folder = write_folder(tmp_path / "x", PREDICTIONS, LABELS)
    change(folder)
    with pytest.raises(UserError, match=f"--test=.*{message}") as raised:
        read(folder)
    assert "\n" not in str(raised.value)


def test_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(UserError, match=f"--test=.*{name} is no folder"):
            read(tmp_path / name)


@pytest.mark.parametrize("length", [None, 0, "80"])
def test_frames_need_the_length_of_their_sequences(tmp_path, length):
    folder = write_folder(tmp_path / "x", PREDICTIONS, sequence_length=length)
    assert results.read_frames(folder, flag="--test") is None
    (folder / "frames.csv").write_text(
        "video,utterance,frame,time_s,fps,face,arousal,true_arousal\n"
        "v,u,0,0,25,1,0.5,0.25\n"
    )
    with pytest.raises(
        UserError, match=f"--test=.*metrics.json: sequence_length is {length},"
    ):
        results.read_frames(folder, flag="--test")
