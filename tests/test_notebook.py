"""The notebook runs on what the demo leaves, and says what it promises."""

import json

import cv2
import matplotlib
import numpy as np
import pytest
import skimage.data

from affwild_omg.serving.options import ExportOptions
from tests.conftest import ROOT

FRAMES = 24


@pytest.fixture
def demo(tf, tmp_path):
    """A folder like the demo's: a model of windows of 20 frames, and a clip."""
    from affwild_omg.nets import models
    from affwild_omg.published import networks
    from affwild_omg.serving import exporting
    from affwild_omg.weights import model_file

    card = model_file.Card(
        architecture=networks.named("cnn_3rnn", width=1 / 16, units=8),
        sequence_length=20,
    )
    model = models.build(card.architecture, seed=0)
    model_file.save_model(model, card, tmp_path / "model.keras")
    folder = tmp_path / "checkpoints" / "demo"
    clip = folder / "corpus" / "video" / "utterance_1.mp4"
    clip.parent.mkdir(parents=True)
    exporting.export(
        ExportOptions(
            model=str(tmp_path / "model.keras"),
            output=str(folder / "saved_model"),
        )
    )
    portrait = skimage.data.astronaut()[:256, 96:352, ::-1]
    fourcc = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(clip), fourcc, 10, (256, 256))
    for frame in range(FRAMES):
        writer.write(np.roll(portrait, 2 * frame, axis=1))
    writer.release()
    return folder


@pytest.mark.slow
def test_the_notebook_runs(demo, tmp_path, monkeypatch, capsys):
    notebook = ROOT / "docs" / "from_video_to_values.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(x["source"]) for x in cells if x["cell_type"] == "code"]
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    with matplotlib.rc_context({"backend": "agg"}):
        names = {}
        for cell in code:
            exec(compile(cell, notebook.name, "exec"), names)
    shown = capsys.readouterr().out
    assert f"{FRAMES} of {FRAMES} frames show a face" in shown
    assert names["result"]["valence"].shape == (1, 20)
    assert names["table"]["valence"].notna().all()
    # The table's values are rounded to six decimals.
    assert np.nanmax(names["difference"]) < 1e-6
    assert [[x.track for x in y] for y in names["answers"]] == [[1]] * FRAMES
    assert np.max(names["apart"]) < 1e-5
