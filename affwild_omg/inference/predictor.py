"""Loaded models that predict, whatever they were loaded from."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.weights import model_file
from affwild_omg.weights.model_file import Card


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded model that predicts.

    Attributes:
        card: the network and its window length; None for a SavedModel from
            elsewhere that has the signature but no card.
        targets: what the last axis of the predictions holds.
        predict: from {"frames": uint8 [batch, time, 96, 96, 3], "landmarks":
            float32 [batch, time, 68, 2], "mask": bool [batch, time]} to
            float32 [batch, time, targets].
    """

    card: Card | None
    targets: tuple[str, ...]
    predict: Callable[[dict], np.ndarray]


def load_predictor(path: os.PathLike | str) -> Predictor:
    """Loads a workdir, a model file or a SavedModel for prediction.

    Raises:
        UserError: it is none of these, or does not have the inputs and
            outputs of this project.
    """
    path = pathlib.Path(path)
    if model_file.is_saved_model(path):
        return _load_saved_model(path)
    model, card = model_file.load_model(path)
    return keras_predictor(model, card)


def keras_predictor(model: keras.Model, card: Card) -> Predictor:
    """Wraps a Keras model; it is traced once for all sizes."""
    specification = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for tensor in model.inputs
    }

    @tf.function(input_signature=[specification])
    def predict(inputs):
        return model(inputs, training=False)

    return Predictor(
        card=card,
        targets=card.architecture.targets,
        predict=lambda inputs: predict(
            {name: inputs[name] for name in specification}
        ).numpy(),
    )


def _load_saved_model(path):
    try:
        saved = tf.saved_model.load(str(path))
        outputs = saved.signatures["masked"].structured_outputs
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(
            f"--model={path} is damaged, or not a SavedModel of export.py"
        ) from error
    card_path = path / model_file.SAVED_MODEL_CARD
    card = None
    if card_path.is_file():
        try:
            card = Card.from_json(card_path.read_text(encoding="utf-8"))
        except ValueError as error:  # a UserError, or not text
            raise UserError(f"--model={path}: {error}") from error
    targets = tuple(target for target in TARGETS if target in outputs)

    def predict(inputs):
        # By way of `saved`: a signature alone does not keep its variables.
        result = saved.signatures["masked"](
            frames=tf.constant(inputs["frames"]),
            landmarks=tf.constant(inputs["landmarks"], tf.float32),
            mask=tf.constant(inputs["mask"], tf.bool),
        )
        return np.stack([result[name].numpy() for name in targets], axis=-1)

    return Predictor(card=card, targets=targets, predict=predict)
