"""ONNX and LiteRT files, run in their runtimes beside the network in Keras."""

import pathlib
import re
import shutil

import numpy as np
import pytest
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ExportOptions
from tests.serving.test_saved_model import make_inputs

onnx = pytest.importorskip("onnx", reason="needs pip install -e .[onnx]")
pytest.importorskip("ai_edge_litert", reason="needs pip install -e .[litert]")

NUMBERS = re.compile(r"[+-]?[0-9]+[.][0-9]+")
RUNTIMES = ("onnxruntime", "openvino", "litert")


@pytest.fixture(scope="module")
def exported(tf, small_run, tmp_path_factory):
    """The short run in all formats, with files of eight bits."""
    from affwild_omg.serving import exporting

    options, _ = small_run
    return exporting.export(
        ExportOptions(
            model=options.workdir,
            output=str(tmp_path_factory.mktemp("portable") / "model"),
            format=("onnx", "litert"),
            int8=options.records,
        )
    )


@pytest.fixture(scope="module")
def of_keras(small_run):
    """The short run's predictor in Keras."""
    from affwild_omg.inference.predictor import load_predictor

    return load_predictor(small_run[0].workdir)


@pytest.fixture
def load(exported):
    def load(runtime, precision="float32", path=exported):
        from affwild_omg.inference.predictor import load_predictor

        if runtime == "openvino":
            pytest.importorskip(
                "openvino", reason="needs pip install -e .[openvino]"
            )
        return load_predictor(path, runtime=runtime, precision=precision)

    return load


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_gives_what_keras_does(load, of_keras, runtime):
    inputs = make_inputs(3, 7)
    mask = inputs["mask"]
    predictor = load(runtime)
    assert predictor.targets == ("valence", "arousal")
    np.testing.assert_allclose(
        predictor.predict(inputs)[mask],
        of_keras.predict(inputs)[mask],
        atol=1e-4,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pieces_with_their_state_are_one_video(load, of_keras, runtime):
    inputs = make_inputs(2, 9, seed=1)
    mask = inputs["mask"]
    predictor = load(runtime)
    state = np.zeros((2, predictor.state_size), np.float32)
    found = []
    for place in (slice(4), slice(4, 5), slice(5, 9)):
        piece = {name: x[:, place] for name, x in inputs.items()}
        values, state = predictor.step(piece, state)
        found.append(values)
    np.testing.assert_allclose(
        np.concatenate(found, axis=1)[mask],
        of_keras.predict(inputs)[mask],
        atol=1e-4,
    )
    # A person who was never there has the state of the start.
    assert not state[0].any() and state[1].all()


def test_frames_one_by_one_in_onnx_are_one_video(exported, of_keras):
    import onnxruntime

    inputs = make_inputs(3, 5, seed=2) | {"mask": np.ones((3, 5), bool)}
    session = onnxruntime.InferenceSession(exported / "step.onnx")
    state, found = np.zeros((3, 24), np.float32), []
    for time in range(5):
        given = {x: inputs[x][:, time] for x in ("frames", "landmarks")}
        *values, state = session.run(
            ["valence", "arousal", "next_state"], given | {"state": state}
        )
        found.append(np.stack(values, axis=-1))
    np.testing.assert_allclose(
        np.stack(found, axis=1), of_keras.predict(inputs), atol=1e-4
    )


def test_a_step_needs_no_loop_and_no_foreign_operation(exported):
    from ai_edge_litert.interpreter import Interpreter

    model = onnx.load(exported / "step.onnx", load_external_data=False)
    assert not {node.op_type for node in model.graph.node} & {"Loop", "Scan"}
    assert {x.domain for x in model.graph.node} == {""}
    lite = Interpreter(model_path=str(exported / "step.tflite"))
    names = {x["op_name"] for x in lite._get_ops_details()}
    assert "CONV_2D" in names
    assert not [x for x in names if x.startswith(("WHILE", "Flex", "CUSTOM"))]


def test_dimensions_have_names(exported):
    def shapes(name):
        graph = onnx.load(exported / name, load_external_data=False).graph
        return {
            x.name: [
                d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim
            ]
            for x in (*graph.input, *graph.output)
        }

    assert shapes("sequence.onnx") == {
        "frames": ["batch", "time", 96, 96, 3],
        "landmarks": ["batch", "time", 68, 2],
        "mask": ["batch", "time"],
        "state": ["batch", 24],
        "valence": ["batch", "time"],
        "arousal": ["batch", "time"],
        "next_state": ["batch", 24],
    }
    assert shapes("step.onnx") == {
        "frames": ["batch", 96, 96, 3],
        "landmarks": ["batch", 68, 2],
        "state": ["batch", 24],
        "valence": ["batch"],
        "arousal": ["batch"],
        "next_state": ["batch", 24],
    }


def test_two_onnx_files_share_their_weights(exported):
    def places(name):
        graph = onnx.load(exported / name, load_external_data=False).graph
        for tensor in graph.initializer:
            shape, entries = tuple(tensor.dims), tensor.external_data
            at = {entry.key: entry.value for entry in entries}
            if at:
                assert at["location"] == "weights.bin"
                yield shape, int(at["offset"]), int(at["length"])

    whole, step = set(places("sequence.onnx")), set(places("step.onnx"))
    assert step and step <= whole
    # No two lie over each other, and nothing else is in the file.
    spans = sorted({(start, start + size) for _, start, size in whole})
    for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
        assert 0 <= start - end < 4096
    assert (exported / "weights.bin").stat().st_size == spans[-1][1]


@pytest.fixture(scope="module")
def window(small_run):
    """A window of what the files of eight bits were not calibrated by."""
    from affwild_omg.data import manifest, pipeline

    clips = manifest.read(small_run[0].records).clips("test")
    dataset = pipeline.windows(clips, sequence_length=20, tail="pad")
    return next(pipeline.batches(dataset, 2).as_numpy_iterator())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_bits_are_near(load, of_keras, window, runtime):
    mask = window["mask"]
    values = load(runtime, "int8").predict(window)[mask]
    apart = np.abs(values - of_keras.predict(window)[mask])
    # Those of float32 would be nearer.
    assert 1e-5 < apart.max() < 0.02


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:  # the body of a loop
            yield from nodes_of(attribute.g)


def test_products_of_states_stay_exact(exported):
    for name in ("sequence_int8.onnx", "step_int8.onnx"):
        nodes = list(nodes_of(onnx.load(exported / name).graph))
        quantized = {
            node.output[0]
            for node in nodes
            if node.op_type == "DequantizeLinear"
        }
        products = [
            (node.name, all(x in quantized for x in node.input))
            for node in nodes
            if node.op_type in ("Conv", "MatMul")
        ]
        assert [lower for name, lower in products if "/step" in name] == (
            [False] * 12  # two of each layer
        )
        others = {
            name: lower for name, lower in products if "/step" not in name
        }
        assert [x for x, lower in others.items() if not lower] == [
            x for x in others if "/output" in x
        ]
        assert len(others) == 13 + 1 + 6 + 1  # VGG-16's, fc, inputs, output


def test_what_int8_changes_is_told(small_run, exported, tmp_path, caplog):
    from affwild_omg.serving import exporting

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)  # as commands do
    options, _ = small_run
    exporting.export(
        ExportOptions(
            model=options.workdir,
            output=str(tmp_path / "lite"),
            format=("litert",),
            int8=options.records,
        )
    )
    logging.set_verbosity(verbosity)
    (line,) = [x for x in caplog.messages if "step_int8.tflite" in x]
    apart, *changes = (float(x) for x in NUMBERS.findall(line))
    assert 0 <= apart < 0.02 and len(changes) == 4
    assert all(abs(x) < 0.01 for x in changes[::2])  # the change; then CCC
    names = {x.name for x in (tmp_path / "lite").iterdir()}
    assert names == {
        *("README.md", "assets.extra", "step.tflite", "step_int8.tflite")
    }


@pytest.mark.parametrize(
    ("name", "runtime", "precision"),
    [
        ("weights.bin", "onnxruntime", "float32"),
        ("sequence.onnx", "onnxruntime", "float32"),
        ("sequence_int8.onnx", "onnxruntime", "int8"),
        ("step.tflite", "litert", "float32"),
    ],
)
def test_a_changed_byte_is_told(
    exported, load, tmp_path, name, runtime, precision
):
    path = tmp_path / "copy"
    shutil.copytree(exported, path)
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(UserError, match=f": {name} is damaged"):
        load(runtime, precision, path=path)


def test_a_missing_file_is_told_if_it_is_needed(exported, load, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(exported, path)
    (path / "weights.bin").unlink()
    with pytest.raises(UserError, match=": weights.bin is damaged or missing"):
        load("onnxruntime", path=path)
    assert load("litert", path=path).state_size == 24
    (path / "assets.extra" / "sha256.json").unlink()
    with pytest.raises(UserError, match="sha256.json is damaged or missing"):
        load("litert", path=path)


def test_a_step_of_eight_bits_is_near(exported, of_keras, window):
    from affwild_omg.inference import runtimes

    run = runtimes.start(exported / "step_int8.onnx", "onnxruntime", "int8")
    mask = window["mask"]
    values, _ = runtimes.frame_by_frame(
        run, window, np.zeros((2, 24), np.float32), of_keras.targets
    )
    apart = np.abs(values - of_keras.predict(window))[mask]
    assert 1e-5 < apart.max() < 0.02


@pytest.mark.parametrize(
    ("runtime", "precision", "words"),
    [
        ("tensorflow", "float32", "--format=saved_model"),
        ("onnxruntime", "bfloat16", "has float32 and int8"),
        ("litert", "bfloat16", "has float32 and int8"),
    ],
)
def test_what_does_not_run_is_refused(load, runtime, precision, words):
    with pytest.raises(UserError, match=words):
        load(runtime, precision)


def test_a_workdir_runs_in_tensorflow_alone(small_run, load):
    workdir = pathlib.Path(small_run[0].workdir)
    with pytest.raises(UserError, match="--format=onnx"):
        load("openvino", path=workdir)
    with pytest.raises(UserError, match="float32 and bfloat16"):
        load("auto", "int8", path=workdir)


def test_without_calibration_there_is_no_int8(exported, load, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(exported, path)
    (path / "step_int8.tflite").unlink()
    with pytest.raises(UserError, match="--int8=RECORDS"):
        load("litert", "int8", path=path)


def test_a_missing_package_is_told(exported, load, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'affwild_omg\[onnx\]'"):
        load("onnxruntime")


def test_an_evaluation_of_the_files_is_that_of_the_workdir(
    small_run, exported, tmp_path
):
    from affwild_omg.evaluation import evaluator
    from affwild_omg.evaluation.options import EvaluationOptions

    options, _ = small_run
    found = [
        evaluator.evaluate(
            EvaluationOptions(
                model=str(model),
                records=options.records,
                output=str(tmp_path / runtime),
                runtime=runtime,
            )
        )
        for model, runtime in (
            (options.workdir, "auto"),
            (exported, "onnxruntime"),
            (exported, "litert"),
        )
    ]
    for other in found[1:]:
        np.testing.assert_allclose(
            other.predictions, found[0].predictions, atol=1e-4
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"format": ("tflite",)}, "--format must be some of"),
        ({"format": ()}, "--format must be some of"),
        ({"format": ("onnx",), "warmup": True}, "--warmup is for TensorFlow"),
        ({"int8": "."}, "--int8 has no effect"),
    ],
)
def test_options_that_contradict_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        ExportOptions(model=".", output="x", **settings)


def test_records_that_are_none_are_told_at_once(small_run, tmp_path):
    from affwild_omg.serving import exporting

    options = ExportOptions(
        model=small_run[0].workdir,
        output=str(tmp_path / "model"),
        format=("litert",),
        int8=str(tmp_path),
    )
    with pytest.raises(UserError, match="--int8 calibrates.*manifest.json"):
        exporting.export(options)
    assert list(tmp_path.iterdir()) == []
