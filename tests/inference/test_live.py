"""`predict --mode=stream`, of a file and of what stands for a camera."""

import csv
import dataclasses
import json
import os
import pathlib
import signal

import av
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.faces import camera
from affwild_omg.inference import sources
from affwild_omg.inference.options import PredictionOptions
from tests.inference.test_video import (
    FACE,
    loaded,
    models,
    options,
    portrait_corpus,
    predicting,
)

__all__ = ["loaded", "models", "options", "portrait_corpus", "predicting"]


@pytest.fixture
def streaming(options):
    return dataclasses.replace(options, mode="stream")


def read(options, stem):
    """Returns the rows of the table, and what the JSON holds."""
    folder = pathlib.Path(options.output)
    assert {x.name for x in folder.iterdir()} == {
        f"{stem}{ending}" for ending in (".csv", ".json", ".png")
    }
    rows = list(csv.DictReader((folder / f"{stem}.csv").open()))
    return rows, json.loads((folder / f"{stem}.json").read_text())


def test_a_file_has_the_values_of_one_pass(
    predicting, streaming, loaded, models, small_run
):
    from affwild_omg.faces.live import LiveTracker
    from affwild_omg.faces.video import Video
    from affwild_omg.weights import model_file

    (summary,) = predicting.predict(streaming)
    rows, content = read(streaming, "utterance_1")
    tracker = LiveTracker(
        detector=models[0], landmarker=models[1], fps=10.0, faces=1
    )
    with Video(streaming.video) as video:
        seen = [list(tracker.step(rgb).values()) for _, rgb in video]
    assert [row["face"] for row in rows] == [str(len(x)) for x in seen]
    # As FACE has it: seen again at once, because it is sought.
    assert [len(x) for x in seen] == [int(face) for face in FACE]
    faces = [face for faces in seen for face in faces]
    model, _ = model_file.load_model(small_run[0].workdir)
    inputs = {
        "frames": np.stack([face.crop for face in faces])[np.newaxis],
        "landmarks": np.stack([face.landmarks for face in faces])[np.newaxis],
        "mask": np.ones((1, len(faces)), bool),
    }
    expected = model(inputs, training=False).numpy()[0]
    shown = [row for row in rows if row["face"] == "1"]
    found = [[float(row[x]) for x in ("valence", "arousal")] for row in shown]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert {row["track"] for row in shown} == {"1"}
    assert {row["reason"] for row in rows if row["face"] == "0"} == {
        "no face detected"
    }
    # In chunks, no frame has a latency.
    assert "latency" not in content["clip"] and "latency" not in summary


@pytest.fixture
def device(monkeypatch, tmp_path):
    """Makes a film, played again and again at its pace, a camera."""

    def device(path):
        (tmp_path / "video0").touch()
        monkeypatch.setattr(camera, "DEVICE", f"{tmp_path}/video{{}}")
        film = f"movie={path}:loop=0,setpts=N/(10*TB),realtime"
        monkeypatch.setattr(
            camera, "_open", lambda *_: av.open(film, format="lavfi")
        )

    return device


def test_a_camera_runs_until_it_is_stopped(
    predicting, streaming, loaded, device, monkeypatch
):
    from affwild_omg.inference.stream import Stream

    step, seen = Stream.step, []

    def stopping(stream, *given):
        answers = step(stream, *given)
        seen.append(bool(answers))
        if sum(seen) == 3 or len(seen) == 500:
            os.kill(os.getpid(), signal.SIGINT)
        return answers

    monkeypatch.setattr(Stream, "step", stopping)
    device(streaming.video)
    options = dataclasses.replace(streaming, video="0")
    handler = signal.getsignal(signal.SIGINT)
    (summary,) = predicting.predict(options)
    assert signal.getsignal(signal.SIGINT) is handler
    rows, content = read(options, "video0")
    numbers = [int(row["frame"]) for row in rows]
    assert numbers[0] == 0 and (np.diff(numbers) > 0).all()
    assert [bool(row["valence"]) for row in rows] == seen
    assert summary["frames"] == len(seen) and summary["frames_with_face"] == 3
    times = np.array([float(row["time_s"]) for row in rows])
    np.testing.assert_allclose(times, np.array(numbers) / 10, atol=0.02)
    passed = numbers[-1] + 1 - len(rows)
    assert (summary["damage"] or "0 ").startswith(f"{passed} ")
    assert content["made_by"]["video"] == {"path": camera.DEVICE.format(0)}
    assert "sha256" in content["made_by"]["model"]
    latency = content["clip"]["latency"]
    assert summary["latency"] == latency
    for part in ("network", "frame"):  # of other frames: half show nobody
        assert 0 < latency[part]["p50_ms"] <= latency[part]["p99_ms"]


def test_a_camera_that_is_stopped_at_once_leaves_nothing(
    predicting, streaming, loaded, device, monkeypatch
):
    device(streaming.video)
    monkeypatch.setattr(camera.Camera, "__iter__", lambda self: iter(()))
    options = dataclasses.replace(streaming, video="0")
    with pytest.raises(UserError, match="stopped before its first frame"):
        predicting.predict(options)
    assert not pathlib.Path(options.output).exists()


def test_a_camera_leaves_nothing_to_draw_on(predicting, streaming, device):
    device("any")
    options = dataclasses.replace(streaming, video="0", annotate=True)
    with pytest.raises(UserError, match="--annotate draws on a film"):
        predicting.predict(options)


def test_a_camera_needs_a_stream(device, tmp_path):
    with pytest.raises(UserError, match="--video=41: .*no such device"):
        sources.find("41", live=True)
    device("any")
    path = tmp_path / "video0"
    for text in ("0", str(path)):
        assert sources.find(text, live=True) == [path]
        with pytest.raises(UserError, match="is a camera.*--mode=stream"):
            sources.find(text)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match="is a camera.*give it alone"):
        sources.find(f"{path},{tmp_path}/a.mp4", live=True)


def test_a_stream_has_no_windows_and_no_main_person():
    with pytest.raises(UserError, match="--format=abaw has the main person"):
        PredictionOptions(
            model="m", video="v", output="o", mode="stream", format=["abaw"]
        )
    with pytest.raises(UserError, match="--sequence_length has no effect"):
        PredictionOptions(
            model="m", video="v", output="o", mode="stream", sequence_length=9
        )
