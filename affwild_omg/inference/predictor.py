"""Loaded models that predict, whatever they were loaded from."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from affwild_omg.cli.errors import UserError
from affwild_omg.data.records import as_kept
from affwild_omg.faces.video import Video
from affwild_omg.inference import runtimes
from affwild_omg.inference.precision import choose
from affwild_omg.inference.stream import Answer, Stream
from affwild_omg.nets import models, parts
from affwild_omg.paper.task import TARGETS
from affwild_omg.paper.treatment import Treatment
from affwild_omg.scoring.conformal import HalfWidths
from affwild_omg.storage import files, remote
from affwild_omg.weights import model_file
from affwild_omg.weights.model_file import Card


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded model that predicts.

    Attributes:
        card: the network and its window length; None for a SavedModel from
            elsewhere that has the signature but no card.
        targets: what the last axis of the predictions holds.
        predict: from {"frames": uint8 [batch, time, 96, 96, 3], as records or
            `as_learned` give them, "landmarks": float32 [batch, time, 68, 2],
            "mask": bool [batch, time]} to float32 [batch, time, targets].
        step: from these inputs and a state, float32 [batch, state_size], to
            the same predictions and the state after the last frame. The state
            is zeros at the start of a video. Frames whose mask is False leave
            it, and their predictions are meaningless. Pieces of any length
            give what one call of `predict` does.
        state_size: numbers of a state; 0 without recurrence.
        signatures: of a SavedModel, by name; they last as long as this does.
    """

    card: Card | None
    targets: tuple[str, ...]
    predict: Callable[[dict], np.ndarray]
    step: Callable[[dict, np.ndarray], tuple[np.ndarray, np.ndarray]]
    state_size: int
    signatures: Mapping[str, Callable] = dataclasses.field(default_factory=dict)

    @property
    def half_widths(self) -> HalfWidths | None:
        """How far the truth may lie from what it predicts, where known."""
        return self.card.half_widths if self.card else None

    @property
    def treatment(self) -> Treatment:
        """Of films, as of those it was trained on where that is known."""
        return (self.card and self.card.treatment) or Treatment()

    def as_learned(self, crops: np.ndarray) -> np.ndarray:
        """Returns crops, uint8 [..., 96, 96, 3], as its records kept them."""
        return as_kept(crops, self.treatment.crop_format)

    @classmethod
    def from_saved_model(cls, path: os.PathLike | str) -> "Predictor":
        """Loads a SavedModel of export.

        Raises:
            UserError: it is damaged or something else.
        """
        path = pathlib.Path(path)
        if not model_file.is_saved_model(path):
            raise UserError(
                f"--model={path} is not a SavedModel; give a folder that "
                "export.py wrote with --format=saved_model"
            )
        return load_predictor(path)

    def stream(self, **settings: object) -> Stream:
        """Opens a stream of frames, with a state for each person.

        Args:
            **settings: those of `Stream`, such as faces=2.
        """
        return Stream(self, **settings)

    def video(
        self, path: os.PathLike | str, **settings: object
    ) -> Iterator[tuple[float, list[Answer]]]:
        """Predicts a video file as a stream that waits for the detector.

        The same file gives the same values each time.

        Args:
            path: a local video file.
            **settings: those of `Stream`.

        Yields:
            The time in seconds and what `Stream.step` gives, for each frame.

        Raises:
            UserError: the file cannot be read, or the model cannot step.
        """
        with Video(path) as video:
            settings = {"fps": video.fps, "wait": True} | settings
            with self.stream(**settings) as stream:
                frames = ((video.number, *timed) for timed in video)
                with contextlib.closing(stream.video(frames)) as found:
                    for _, time_s, answers in found:
                        yield time_s, answers


def load_predictor(
    path: os.PathLike | str,
    *,
    precision: str = "float32",
    runtime: str = "auto",
    strategy: tf.distribute.Strategy | None = None,
) -> Predictor:
    """Loads a workdir, a model file or what export wrote, for prediction.

    Args:
        path: of the model.
        precision: one of `precision.PRECISIONS`. What TensorFlow's models hold
            stays float32.
        runtime: one of `precision.RUNTIMES`, or "auto" for the first of them
            that the model is there for.
        strategy: where a workdir or a model file predicts, see
            `keras_predictor`; what export wrote takes one device.

    Raises:
        UserError: it is none of these, or does not have the inputs and
            outputs of this project, or cannot be had in that precision or
            for that runtime.
    """
    # TensorFlow would round products on a GPU to it, unasked.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    path = remote.path(path)
    runtime = runtimes.choose(path, runtime)
    precision = choose(precision, runtime)
    if not model_file.is_exported(path):
        return _load(path, runtime, precision, strategy)
    with files.local(path) as here:
        return _load(here, runtime, precision, strategy)


def _load(path, runtime, precision, strategy):
    if runtime != "tensorflow":
        return _load_other(path, runtime, precision)
    lower = precision == "bfloat16"
    if model_file.is_saved_model(path):
        predictor, weights = _load_saved_model(path)
        if not lower:
            return predictor
        if predictor.card is None or weights is None:
            raise UserError(
                f"--precision={precision}: --model={path} was exported by an "
                "earlier version, and runs in float32 alone; export it again, "
                "or leave the flag out"
            )
        card, strategy = predictor.card, None
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        if not model_file.is_saved_model(path):
            model, card = model_file.load_model(path, stateful=True)
            weights = parts.named_weights(model)
        if lower:
            model = models.build(
                card.architecture, seed=None, stateful=True, dtype="bfloat16"
            )
            for name, weight in parts.named_weights(model).items():
                weight.assign(weights[name])
    return keras_predictor(model, card, strategy)


@functools.cache
def default_strategy() -> tf.distribute.Strategy:
    """Returns MirroredStrategy where there are several GPUs.

    One for the whole process: a second would number its sums over the replicas
    as the first did, and TensorFlow takes them for the same.
    """
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def keras_predictor(
    model: keras.Model,
    card: Card,
    strategy: tf.distribute.Strategy | None = None,
) -> Predictor:
    """Wraps a Keras model; it is traced once for all sizes.

    Args:
        model: of `models.build`; only one that is stateful can `step`.
        card: the model's.
        strategy: of whose scope the model is. `predict` shares a batch among
            its replicas, and is traced once for each size; `step` takes one
            device. None for that of the caller.
    """
    specification = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for tensor in model.inputs
    }
    size = models.state_size(card.architecture)

    @tf.function(input_signature=[specification])
    def run(inputs):
        return model(inputs, training=False)

    def step(inputs, state):
        given = inputs | {"state": state}
        outputs = run({name: given[name] for name in specification})
        return outputs["values"].numpy(), outputs["state"].numpy()

    def predict(inputs):
        if "state" in specification:
            return step(inputs, _zeros(inputs, size))[0]
        return run({name: inputs[name] for name in specification}).numpy()

    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync

    @tf.function
    def run_shared(inputs):
        outputs = strategy.run(
            lambda own: model(own, training=False), args=(inputs,)
        )
        values = outputs["values"] if "state" in specification else outputs
        parts = strategy.experimental_local_results(values)
        if len(parts) < replicas:  # the others are on other machines
            parts = [strategy.gather(values, axis=0)]
        return parts

    def predict_shared(inputs):
        rows = len(inputs["mask"])
        given = inputs | {"state": _zeros(inputs, size)}
        # The last row stands in for those that would make the parts equal.
        places = np.minimum(np.arange(rows + -rows % replicas), rows - 1)
        shares = np.split(places, replicas)

        def share(context):
            own = shares[context.replica_id_in_sync_group]
            return {
                name: tf.constant(given[name][own]) for name in specification
            }

        parts = run_shared(
            strategy.experimental_distribute_values_from_function(share)
        )
        return np.concatenate([x.numpy() for x in parts])[:rows]

    return Predictor(
        card=card,
        targets=card.architecture.targets,
        predict=predict if replicas == 1 else predict_shared,
        step=step,
        state_size=size,
    )


def _zeros(inputs, size):
    return np.zeros((len(inputs["mask"]), size), np.float32)


def _read_card(path):
    """Returns the card of what export wrote; None without one."""
    card = path / model_file.EXPORTED_CARD
    if not card.is_file():
        return None
    try:
        return Card.from_json(card.read_text(encoding="utf-8"))
    except ValueError as error:  # a UserError, or not text
        raise UserError(f"--model={path}: {error}") from error


def _load_other(path, runtime, precision):
    """Returns the predictor of another runtime than TensorFlow."""
    card = _read_card(path)
    if card is None:
        raise UserError(
            f"--model={path} holds no {model_file.EXPORTED_CARD}; export the "
            "model again"
        )
    targets = card.architecture.targets
    size = models.state_size(card.architecture)
    step = runtimes.load(path, runtime, precision, targets)
    return Predictor(
        card=card,
        targets=targets,
        predict=lambda inputs: step(inputs, _zeros(inputs, size))[0],
        step=step,
        state_size=size,
    )


def _load_saved_model(path):
    """Returns a predictor, and the weights by their names or None."""
    try:
        # Of a damaged one TensorFlow would show a traceback, and go on.
        with contextlib.suppress(FileNotFoundError):
            tf.saved_model.experimental.read_fingerprint(str(path))
        saved = tf.saved_model.load(str(path))
        outputs = saved.signatures["masked"].structured_outputs
    except (
        OSError,
        ValueError,
        LookupError,  # also what a cut file of variables ends in
        RuntimeError,  # also an operation that TensorFlow does not know
        tf.errors.OpError,
    ) as error:
        raise UserError(
            f"--model={path} is damaged, or not a SavedModel of export.py"
        ) from error
    card = _read_card(path)
    targets = tuple(target for target in TARGETS if target in outputs)

    size = None
    if "step" in saved.signatures:
        _, given = saved.signatures["step"].structured_input_signature
        size = given["state"].shape[1]

    def run(signature, inputs):
        # By way of `saved`: a signature alone does not keep its variables.
        function = saved.signatures[signature]
        _, given = function.structured_input_signature
        outputs = function(
            **{
                name: tf.constant(inputs[name], spec.dtype)
                for name, spec in given.items()
            }
        )
        values = [outputs[target].numpy() for target in targets]
        return np.stack(values, axis=-1), outputs

    def step(inputs, state):
        if size is None:
            raise UserError(
                f"--model={path} was exported by an earlier version, without "
                "its state; export it again"
            )
        batch, time = np.shape(inputs["mask"])
        whole = {"length": np.full(batch, time), "state": state}
        values, outputs = run("step", inputs | whole)
        return values, outputs["state"].numpy()

    predictor = Predictor(
        card=card,
        targets=targets,
        predict=lambda inputs: run("masked", inputs)[0],
        step=step,
        state_size=size or 0,
        signatures=saved.signatures,
    )
    return predictor, getattr(saved, "weights", None)
