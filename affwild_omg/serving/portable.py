"""ONNX and LiteRT: the network for programs without TensorFlow.

`sequence.onnx` takes a video in pieces of any length, as the SavedModel's
signature `step` does:

    frames      uint8 [batch, time, 96, 96, 3], aligned RGB crops
    landmarks   float32 [batch, time, 68, 2], in crop pixels
    mask        bool [batch, time], False where there is no face
    state       float32 [batch, size], zeros at the start of a video

and gives

    valence, arousal    float32 [batch, time], 0 where the mask is False
    next_state          float32 [batch, size], the state of the next piece

`step.onnx` and `step.tflite` take one frame with a face, by which they need no
loop, which not every runtime has: frames [batch, 96, 96, 3], landmarks [batch,
68, 2] and state; they give valence and arousal [batch] and next_state. Frames
without a face are to be passed over. The batch of `step.tflite` is 1. What a
network does not have, such as landmarks or a state, is missing.

The ONNX files share their weights, in `weights.bin`. Files named `_int8` have
weights of eight bits, and those of ONNX compute in them.
"""

import hashlib
import importlib
import pathlib
import tempfile
import types
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest, pipeline
from affwild_omg.inference import runtimes
from affwild_omg.inference.predictor import Predictor, load_predictor
from affwild_omg.inference.runtimes import FRAME, LITE, SEQUENCE, WEIGHTS, int8
from affwild_omg.nets import models
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS, TARGETS
from affwild_omg.scoring.concordance import concordance
from affwild_omg.serving import saved_model
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage import files

FILES = (
    *(SEQUENCE, FRAME, WEIGHTS, LITE),
    *(int8(name) for name in (SEQUENCE, FRAME, LITE)),
)

# What each format needs, and runs what it wrote in.
_PACKAGES = {
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}
_RUN = {SEQUENCE: "onnxruntime", FRAME: "onnxruntime", LITE: "litert"}
_OPSET = 18
_SHARED = 1024  # bytes of a tensor from which on it is among the shared weights
_PAGE = 4096  # bytes, at whose multiples they begin, to be mapped

# The difference that another order of sums makes.
_ALLOWED = 1e-4

# What int8 is calibrated by: a range of each tensor is sought. Frame by frame,
# the first ones of each window, in which the state moves most.
_WINDOWS, _FRAMES = 24, 20


def require(options: ExportOptions) -> None:
    """Checks that what the formats need is there, before anything is done.

    Raises:
        UserError: a package is not installed, or there are no records to
            calibrate by.
    """
    for name in options.format:
        for package in _PACKAGES.get(name, ()):
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise UserError(
                    f"--format={name} needs {package}: pip install "
                    f"'affwild_omg[{name}]'"
                ) from error
    if options.int8:
        try:
            manifest.read(options.int8).clips("train")
        except UserError as error:
            raise UserError(f"--int8 calibrates by records: {error}") from error


def write(
    network: keras.Model,
    predictor: Predictor,
    folder: pathlib.Path,
    options: ExportOptions,
) -> None:
    """Writes the files of the formats, each of which is run once.

    Args:
        network: of `models.build`, stateful.
        predictor: the network's, which is traced already.
        folder: of what export writes, with a card.
        options: of the export.

    Raises:
        UserError: a file does not do what the network does, or the records to
            calibrate by cannot be used.
    """
    card = predictor.card
    records = manifest.read(options.int8) if options.int8 else None
    if records:
        records.compare(
            *(card.treatment, f"--model={options.model}"),
            flag="--int8",
            other_landmarks=None,
        )
    if "onnx" in options.format:
        functions = {
            SEQUENCE: _sequence(network, card),
            FRAME: _frame(network, card, batch=None),
        }
        _write_onnx(network, functions, folder)
        for name, function in functions.items():
            _check(folder / name, function)
        if records:
            _write_int8_onnx(folder, card, records)
    if "litert" in options.format:
        function = _frame(network, card, batch=1)
        _write_lite(network, function, folder, smaller=bool(records))
        _check(folder / LITE, function)
    written = [folder / name for name in FILES if (folder / name).exists()]
    if written:
        sums = {path.name: files.digest(path) for path in written}
        files.write_json(folder / runtimes.SUMS, sums)
    if records:
        _compare(predictor, folder, records, options.format)


def _specification(network, names, *, batch, time=()):
    """Returns what the network takes of some inputs."""
    shapes = {
        "frames": (*time, CROP_SIZE, CROP_SIZE, 3),
        "landmarks": (*time, LANDMARKS, 2),
        "mask": time,
    }
    given = {tensor.name: tensor for tensor in network.inputs}
    shapes["state"] = given["state"].shape[1:]
    return {
        name: tf.TensorSpec((batch, *shapes[name]), given[name].dtype, name)
        for name in names
        # There is no tensor of size 0 in some runtimes.
        if name in given and 0 not in shapes[name]
    }


def _outputs(outputs, values, targets, taken):
    by_target = dict(zip(targets, tf.unstack(values, axis=-1), strict=True))
    after = {"next_state": outputs["state"]} if "state" in taken else {}
    return by_target | after


def _sequence(network, card):
    taken = _specification(
        network,
        ("frames", "landmarks", "mask", "state"),
        batch=None,
        time=(None,),
    )

    @tf.function(input_signature=list(taken.values()))
    def sequence(*given):
        given = dict(zip(taken, given, strict=True))
        mask = given["mask"]
        none = {"state": tf.zeros((tf.shape(mask)[0], 0))}
        outputs = network(none | given, training=False)
        values = tf.where(mask[..., tf.newaxis], outputs["values"], 0)
        return _outputs(outputs, values, card.architecture.targets, taken)

    return sequence


def _frame(network, card, *, batch):
    taken = _specification(
        network, ("frames", "landmarks", "state"), batch=batch
    )

    @tf.function(input_signature=list(taken.values()))
    def frame(*given):
        given = dict(zip(taken, given, strict=True))
        size = batch or tf.shape(given["frames"])[0]
        inputs = {
            name: x if name == "state" else x[:, tf.newaxis]
            for name, x in given.items()
        }
        inputs["mask"] = tf.ones((size, 1), tf.bool)
        none = {"state": tf.zeros((size, 0))}
        outputs = network(none | inputs, training=False)
        values = outputs["values"][:, 0]
        return _outputs(outputs, values, card.architecture.targets, taken)

    return frame


def _write_onnx(network, functions, folder):
    """Writes ONNX files that share their weights."""
    from onnx import external_data_helper

    places = {}  # SHA-256 of the bytes -> where they begin
    with (folder / WEIGHTS).open("wb") as shared:
        for name, function in functions.items():
            model = _convert(network, function)
            for tensor in model.graph.initializer:
                content = tensor.raw_data
                if len(content) < _SHARED:
                    continue
                key = hashlib.sha256(content).digest()
                if key not in places:
                    shared.write(bytes(-shared.tell() % _PAGE))
                    places[key] = shared.tell()
                    shared.write(content)
                external_data_helper.set_external_data(
                    tensor, WEIGHTS, places[key], len(content)
                )
                tensor.ClearField("raw_data")
            (folder / name).write_bytes(model.SerializeToString())


def _convert(network, function):
    """Returns what a function computes as an ONNX model.

    The converter is given the weights as inputs: of constants of 0.26 GB it
    makes copies of 12 GB and more.
    """
    import tf2onnx

    weights = {f"weight{i}": x for i, x in enumerate(network.variables)}
    signature = [
        *(tf.TensorSpec(x.shape, x.dtype, name) for name, x in weights.items()),
        *function.input_signature,
    ]

    @tf.function(input_signature=signature)
    def stateless(*given):
        values, inputs = given[: len(weights)], given[len(weights) :]
        mapping = list(zip(network.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function.python_function(*inputs)

    with progress.quiet():
        model, _ = tf2onnx.convert.from_function(
            stateless, signature, opset=_OPSET
        )
    _fold(model.graph, {name: x.numpy() for name, x in weights.items()})
    _name_dimensions(model.graph)
    return model


def _fold(graph, known):
    """Makes inputs constants, and constants what is computed of those alone.

    Args:
        graph: of an ONNX model.
        known: the values of some of its inputs, by name.
    """
    from onnx import numpy_helper, reference

    known = known | {
        x.name: numpy_helper.to_array(x) for x in graph.initializer
    }
    nodes = []
    for node in graph.node:
        if set(node.input) <= set(known) and node.op_type not in ("Loop", "If"):
            given = {name: known[name] for name in node.input}
            values = reference.ReferenceEvaluator(node).run(None, given)
            known |= zip(node.output, values, strict=True)
        else:
            nodes.append(node)
    inputs = [x for x in graph.input if x.name not in known]
    used = _names(nodes) | {x.name for x in graph.output}
    initializers = [
        numpy_helper.from_array(np.array(known[x], order="C"), x)
        for x in sorted(used & set(known))
    ]
    for field, values in (
        ("node", nodes),
        ("input", inputs),
        ("initializer", initializers),
    ):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def _names(nodes):
    """Returns what nodes read, those of loops' bodies, too."""
    return {
        name
        for node in nodes
        for name in (
            *node.input,
            *(x for y in node.attribute for x in _names(y.g.node)),
        )
    }


def _name_dimensions(graph):
    """Gives the free dimensions names that tell what they are."""
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        for name, dimension in zip(("batch", "time"), dimensions, strict=False):
            if not dimension.dim_value:
                dimension.dim_param = name


def _check(path, function):
    """Runs what was written, which may be read, and yet fail or differ."""
    random = np.random.default_rng(0)
    inputs = {}
    for spec in function.input_signature:
        shape = [2 if size is None else size for size in spec.shape]
        if spec.dtype == tf.uint8:
            inputs[spec.name] = random.integers(0, 256, shape, np.uint8)
        elif spec.dtype == tf.bool:
            inputs[spec.name] = np.ones(shape, bool)
        else:
            high = CROP_SIZE if spec.name == "landmarks" else 1
            values = random.uniform(0, high, shape)
            inputs[spec.name] = values.astype(np.float32)
    runtime = _RUN[path.name]
    found = runtimes.start(path, runtime, "float32")(inputs)
    for name, expected in function(*map(tf.constant, inputs.values())).items():
        difference = np.abs(found[name] - expected.numpy()).max()
        if not difference <= _ALLOWED:
            raise UserError(
                f"{path.name}: its {name} differs from the network's by "
                f"{difference:.2g} in {runtime}, and nothing was written; "
                "install the versions of requirements.lock"
            )


def _windows(card, records, split) -> Iterator[dict]:
    """Yields the frames with a face of some windows, drawn by a seed."""
    clips, cut = records.clips(split), (card.sequence_length, card.tail)
    number = pipeline.count(clips, *cut)
    dataset = pipeline.windows(
        clips,
        sequence_length=card.sequence_length,
        tail=card.tail,
        order=np.random.default_rng(0).permutation(number),
    )
    dataset = dataset.filter(lambda x: tf.reduce_any(x["mask"])).take(_WINDOWS)
    with records.reading(split):
        for window in dataset.as_numpy_iterator():
            seen = window["mask"]
            yield {
                name: window[name][np.newaxis, seen]
                for name in ("frames", "landmarks", "mask", "labels")
            }


def _write_int8_onnx(folder, card, records):
    """Writes what computes convolutions and products in eight bits.

    The products of the states stay in float32: they are small, and what they
    lose would add up from frame to frame.
    """
    import onnx
    from onnxruntime import quantization

    start = np.zeros((1, models.state_size(card.architecture)), np.float32)

    def sequences():
        for window in _windows(card, records, "train"):
            yield window | {"state": start}

    def frames():
        run = runtimes.start(folder / FRAME, "onnxruntime", "float32")
        for window in _windows(card, records, "train"):
            state = start
            for index in range(min(_FRAMES, window["mask"].size)):
                inputs = {
                    "frames": window["frames"][:, index],
                    "landmarks": window["landmarks"][:, index],
                    "state": state,
                }
                yield inputs
                state = run(inputs).get("next_state", state)

    for name, given in ((SEQUENCE, sequences()), (FRAME, frames())):
        graph = onnx.load(folder / name, load_external_data=False).graph
        taken = [value.name for value in graph.input]
        given = ({x: inputs[x] for x in taken} for inputs in given)
        with progress.quiet():
            quantization.quantize_static(
                folder / name,
                folder / int8(name),
                types.SimpleNamespace(get_next=lambda x=given: next(x, None)),
                per_channel=True,
                op_types_to_quantize=["Conv", "MatMul"],
                nodes_to_exclude=[
                    node.name
                    for node in graph.node
                    if "/step" in node.name or "/output" in node.name
                ],
            )


def _write_lite(network, function, folder, *, smaller):
    """Writes LiteRT files.

    Weights of eight bits need no records: what is calibrated, the states, too,
    differs more.
    """
    with tempfile.TemporaryDirectory() as temporary, progress.quiet():
        saved_model.write(network, {"step": function}, pathlib.Path(temporary))
        for name in (LITE, *[int8(LITE)] * smaller):
            converter = tf.lite.TFLiteConverter.from_saved_model(
                temporary, signature_keys=["step"]
            )
            if name != LITE:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            (folder / name).write_bytes(converter.convert())


def _compare(predictor, folder, records, formats):
    """Tells what int8 changes on windows of validation."""
    split = "validation" if "validation" in records.splits else "train"
    targets = predictor.targets
    columns = [TARGETS.index(target) for target in targets]
    start = np.zeros((1, predictor.state_size), np.float32)

    def by_frame(name):
        run = runtimes.start(folder / int8(name), _RUN[name], "int8")
        return lambda window: runtimes.frame_by_frame(
            run, window, start, targets
        )[0]

    found = {"float32": predictor.predict}
    if "onnx" in formats:
        found[int8(SEQUENCE)] = load_predictor(
            folder, precision="int8", runtime="onnxruntime"
        ).predict
        found[int8(FRAME)] = by_frame(FRAME)
    if "litert" in formats:
        found[int8(LITE)] = by_frame(LITE)
    values, labels = {name: [] for name in found}, []
    for window in _windows(predictor.card, records, split):
        labels.append(window["labels"][0][:, columns])
        for name, predict in found.items():
            values[name] += [*predict(window)]
    windows = wording.count(len(labels), "window")
    labels = np.concatenate(labels)
    values = {name: np.concatenate(x) for name, x in values.items()}
    full = values.pop("float32")
    for name, lower in values.items():
        told = [f"values differ by up to {np.abs(lower - full).max():.3f}"]
        for column, target in enumerate(targets):
            known = np.isfinite(labels[:, column])
            if known.any():
                before, after = (
                    concordance(labels[known, column], x[known, column])
                    for x in (full, lower)
                )
                told.append(
                    f"CCC of {target} by {after - before:+.4f} to {after:.4f}"
                )
        logging.info(
            "%s beside float32, on the frames of %s of %s: %s",
            *(name, windows, split, ", ".join(told)),
        )
