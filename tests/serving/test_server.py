"""What TensorFlow Serving does with a SavedModel, as far as it goes without.

No server can be installed beside the tests. `saved_model_cli run` and
TensorFlow 1's loader run a SavedModel by its signatures, as the server does,
and tensorflow-serving-api reads what the server would read.
"""

import re
import subprocess
import sys

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ExportOptions
from tests.conftest import ROOT
from tests.serving.test_saved_model import call, make_inputs

SIGNATURES = ["encoded", "masked", "padded", "serving_default", "step"]


def cli(*arguments):
    tool = "tensorflow.python.tools.saved_model_cli"
    return subprocess.Popen(
        [sys.executable, "-m", tool, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_tensorflows_tool_shows_it_as_documented_and_runs_it(
    small_saved_model, saved, tmp_path
):
    inputs = make_inputs(2, 3) | {
        "length": np.array([3, 2], np.int32),
        "state": np.random.default_rng(0).normal(size=(2, 24)).astype("f"),
    }
    np.savez(tmp_path / "x.npz", **inputs)
    place = ["--dir", str(small_saved_model), "--tag_set", "serve"]
    place += ["--signature_def", "step"]
    given = ";".join(f"{name}={tmp_path}/x.npz[{name}]" for name in inputs)
    shown = cli("show", *place)
    ran = cli("run", *place, "--inputs", given, "--outdir", str(tmp_path))
    answer, errors = shown.communicate(timeout=300)
    assert shown.returncode == 0, errors
    documented = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    # At full size two layers of 128 units on three taps.
    assert answer.replace("(-1, 24)", "(-1, 768)").strip() in documented
    _, errors = ran.communicate(timeout=300)
    assert ran.returncode == 0, errors
    for name, expected in call(saved.signatures["step"], inputs).items():
        found = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_session_of_tensorflow_1_runs_it(tf, small_saved_model, saved):
    v1 = tf.compat.v1
    inputs = make_inputs(2, 4) | {"length": np.array([4, 3], np.int32)}
    with v1.Graph().as_default(), v1.Session() as session:
        graph = v1.saved_model.load(session, ["serve"], str(small_saved_model))
        assert SIGNATURES == sorted(
            name for name in graph.signature_def if name[0] != "_"
        )
        signature = graph.signature_def["padded"]
        found = session.run(
            {name: info.name for name, info in signature.outputs.items()},
            {signature.inputs[name].name: x for name, x in inputs.items()},
        )
    expected = call(saved.signatures["padded"], inputs)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_warm_up_needs_the_messages_of_the_server(
    tf, small_run, tmp_path, monkeypatch
):
    from affwild_omg.serving import exporting

    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    options = ExportOptions(
        model=small_run[0].workdir, output=str(tmp_path / "out"), warmup=True
    )
    major, minor, _ = tf.__version__.split(".")
    needed = f"pip install 'tensorflow-serving-api~={major}.{minor}.0'"
    with pytest.raises(UserError, match=re.escape(needed)):
        exporting.export(options)
    assert not (tmp_path / "out").exists()


def test_each_warm_up_request_runs(tf, small_run, tmp_path):
    pytest.importorskip(
        "tensorflow_serving.apis",
        reason="needs pip install 'affwild_omg[serving]'",
    )
    from tensorflow_serving.apis import prediction_log_pb2

    from affwild_omg.serving import exporting

    path = exporting.export(
        ExportOptions(
            model=small_run[0].workdir,
            output=str(tmp_path),
            version=7,
            warmup=True,
        )
    )
    assert path == tmp_path / "7"
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    saved = tf.saved_model.load(str(path))
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {
            name: tf.make_ndarray(tensor)
            for name, tensor in request.inputs.items()
        }
        name = request.model_spec.signature_name
        found[name] = call(saved.signatures[name], inputs)
    assert sorted(found) == SIGNATURES
    for name, outputs in found.items():
        # Windows of 4 frames, and one frame of a stream.
        assert outputs["valid"].tolist() == [[True] * (4, 1)[name == "step"]]
    for name in ("padded", "encoded"):
        np.testing.assert_allclose(
            found[name]["valence"], found["masked"]["valence"], atol=1e-6
        )
