"""Runtimes other than TensorFlow, and the files that they read.

`serving.portable` writes these, and describes their inputs and outputs. All
runtimes are imported only where they are asked for.
"""

import json
import logging
import os
import pathlib
from collections.abc import Callable

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files, parallel, remote

SEQUENCE, FRAME, WEIGHTS = "sequence.onnx", "step.onnx", "weights.bin"
LITE = "step.tflite"
# SHA-256 of each of these files: a changed weight would go unnoticed.
SUMS = pathlib.Path("assets.extra") / "sha256.json"

# Of each runtime the file that tells that a model is there for it, the format
# of export that writes this, and the extra that installs the runtime.
_NEEDS = {
    "tensorflow": ("saved_model.pb", "saved_model", ""),
    "onnxruntime": (SEQUENCE, "onnx", "onnx"),
    "openvino": (SEQUENCE, "onnx", "openvino"),
    "litert": (LITE, "litert", "litert"),
}

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def int8(name: str) -> str:
    """Returns the name of the file with weights of eight bits."""
    path = pathlib.Path(name)
    return f"{path.stem}_int8{path.suffix}"


def choose(model: os.PathLike | str, runtime: str) -> str:
    """Returns the runtime of a model.

    Args:
        model: workdir, model file, or what export wrote.
        runtime: "auto" for the first one that the model is there for.

    Raises:
        UserError: the model is not there for the runtime.
    """
    path = remote.path(model)
    ready = [x for x, (file, *_) in _NEEDS.items() if (path / file).is_file()]
    ready = ready or ["tensorflow"]  # a workdir or a model file
    if runtime == "auto":
        return ready[0]
    if runtime not in ready:
        raise UserError(
            f"--runtime={runtime}: --model={path} is not there for it; export "
            f"the model with --format={_NEEDS[runtime][1]}, or leave the flag "
            "out"
        )
    return runtime


def load(
    path: pathlib.Path, runtime: str, precision: str, targets: tuple[str, ...]
) -> Callable[[dict, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Loads a model that export wrote for another runtime than TensorFlow.

    Args:
        path: folder of the model.
        runtime: one that it is there for.
        precision: that the runtime has.
        targets: of the model.

    Returns:
        What `Predictor.step` does.

    Raises:
        UserError: the runtime is not installed, or the model is damaged or
            not there in that precision.
    """
    name = _NEEDS[runtime][0]
    if precision == "int8":
        name = int8(name)
        if not (path / name).is_file():
            raise UserError(
                f"--precision=int8: --model={path} holds no {name}; export "
                "the model with --int8=RECORDS, or leave the flag out"
            )
    shared = [WEIGHTS] if name == SEQUENCE else []
    _require_whole(path, [name, *shared])
    run = start(path / name, runtime, precision)
    if runtime == "litert":
        return lambda inputs, state: frame_by_frame(run, inputs, state, targets)

    def step(inputs, state):
        outputs = run(inputs | {"state": state})
        values = np.stack([outputs[x] for x in targets], axis=-1)
        return values, outputs.get("next_state", state)

    return step


def _require_whole(path, names):
    """Checks that files are those that were exported."""
    part = str(SUMS)
    try:
        sums = json.loads((path / SUMS).read_text(encoding="utf-8"))
        expected = {name: sums[name] for name in names}
        for part, digest in expected.items():
            if files.digest(path / part) != digest:
                raise ValueError
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"--model={path}: {part} is damaged or missing; export the model "
            "again"
        ) from error


def start(path: pathlib.Path, runtime: str, precision: str) -> Run:
    """Loads a file; what the result does not know of its inputs is left out.

    Raises:
        UserError: the runtime is not installed, or cannot read the file.
    """
    try:
        return _START[runtime](path, precision)
    except ImportError as error:
        raise UserError(
            f"{runtime} is not installed: pip install "
            f"'affwild_omg[{_NEEDS[runtime][2]}]'"
        ) from error
    except Exception as error:  # each runtime has errors of its own
        line = str(error).strip().splitlines() or [repr(error)]
        raise UserError(
            f"{path}: {runtime} cannot read it ({line[0]}); try the version of "
            "requirements.lock"
        ) from error


def _onnxruntime(path, precision):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads that spin while they wait take the cores from the face detector.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        path, options, providers=onnxruntime.get_available_providers()
    )
    taken = {x.name for x in session.get_inputs()}
    names = [x.name for x in session.get_outputs()]

    def run(inputs):
        given = {name: x for name, x in inputs.items() if name in taken}
        return dict(zip(names, session.run(names, given), strict=True))

    return run


def _openvino(path, precision):
    handlers = logging.root.handlers[:]
    import openvino

    logging.root.handlers[:] = handlers  # of which it adds one of its own

    hint = "bf16" if precision == "bfloat16" else "f32"
    model = openvino.Core().compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": hint}
    )
    taken = {x.any_name for x in model.inputs}

    def run(inputs):
        outputs = model({k: x for k, x in inputs.items() if k in taken})
        return {x.any_name: outputs[x] for x in model.outputs}

    return run


def _litert(path, precision):
    from ai_edge_litert import interpreter

    runner = interpreter.Interpreter(
        model_path=str(path), num_threads=parallel.cores()
    ).get_signature_runner()
    taken = runner.get_input_details()

    def run(inputs):
        return runner(**{k: x for k, x in inputs.items() if k in taken})

    return run


_START = {"onnxruntime": _onnxruntime, "openvino": _openvino, "litert": _litert}


def frame_by_frame(
    run: Run, inputs: dict, state: np.ndarray, targets: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Does by one frame at a time what `Predictor.step` does."""
    mask, state = inputs["mask"], np.array(state)
    values = np.zeros((*mask.shape, len(targets)), np.float32)
    for row, time in np.argwhere(mask):
        outputs = run(
            {
                "frames": inputs["frames"][row, time][np.newaxis],
                "landmarks": inputs["landmarks"][row, time][np.newaxis],
                "state": state[row][np.newaxis],
            }
        )
        values[row, time] = [outputs[target][0] for target in targets]
        if "next_state" in outputs:
            state[row] = outputs["next_state"][0]
    return values, state
