"""Export: a trained model becomes a SavedModel that stands alone."""

import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.nets import models, parts
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS
from affwild_omg.serving import card as model_card
from affwild_omg.serving import golden, warmup
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage import files
from affwild_omg.weights import model_file
from affwild_omg.weights.model_file import Card

_PARTS = (  # of a SavedModel, whoever wrote it, and the model card
    model_card.TEXT,
    "saved_model.pb",
    "fingerprint.pb",
    "variables",
    "assets",
    "assets.extra",
)


def export(
    options: ExportOptions,
    *,
    overwrite: bool = False,
    metrics: Mapping | None = None,
) -> pathlib.Path:
    """Writes the SavedModel of a workdir's best model or of a model file.

    It runs where there is TensorFlow alone, and holds each weight once. See
    `signatures` for its inputs and outputs. `inference.golden` tells what it
    carries to be checked by elsewhere.

    Args:
        options: what and where.
        overwrite: replace a SavedModel that is there.
        metrics: what the evaluation in `options.results` found.

    Returns:
        The folder of the SavedModel.

    Raises:
        UserError: the model cannot be loaded, the output cannot be used, the
            results are of another model, or what writes warm-up requests is
            not installed.
    """
    if bool(options.results) != (metrics is not None):
        raise ValueError("metrics: those of options.results are needed")
    if options.warmup:
        warmup.require()
    output = pathlib.Path(options.output)
    version = str(options.version) if options.version else None
    if version:
        if model_file.is_saved_model(output):
            raise UserError(
                f"--output={output} is a SavedModel itself; name another "
                "folder for its versions"
            )
        files.check_output(
            output / version, flag="--output", overwrite=overwrite
        )
    with files.atomic_directory(
        output,
        flag="--output",
        # Beside other versions; the one of this number was checked.
        overwrite=overwrite or bool(version),
        owned=() if version else _PARTS,
    ) as directory:
        network, card = model_file.load_model(options.model, stateful=True)
        known = model_card.facts(
            pathlib.Path(options.model), card, network.count_params(), metrics
        )
        # A version moves into place as one folder: a server that watches
        # never sees a part of it.
        place = directory / (version or ".")
        computed = signatures(network, card)
        _write(network, computed, place)
        extra = place / model_file.SAVED_MODEL_CARD
        extra.parent.mkdir()
        extra.write_text(card.to_json(), encoding="utf-8")
        model_card.write(place, known)
        golden.write(place, lambda inputs: _predict(computed, inputs, card))
        if options.warmup:
            warmup.write(place, computed, card.sequence_length)
    return output / (version or ".")


def _write(network, computed, directory):
    module = tf.Module()
    module.weights = {
        name: weight.value
        for name, weight in parts.named_weights(network).items()
    }
    # TensorFlow tells of the temporary folder, which nobody will find.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        tf.saved_model.save(module, str(directory), signatures=computed)
    finally:
        logging.set_verbosity(verbosity)


def _predict(computed, inputs, card):
    """Predicts by a signature, which is traced already."""
    outputs = computed["masked"](**inputs)
    targets = card.architecture.targets
    return np.stack([outputs[target] for target in targets], axis=-1)


def signatures(network: keras.Model, card: Card) -> dict:
    """Returns what a SavedModel computes, by name.

    `serving_default`, for frames that all show a face:

        frames      uint8 [batch, time, 96, 96, 3], aligned RGB crops
        landmarks   float32 [batch, time, 68, 2], in crop pixels

    `masked`, with one input more:

        mask        bool [batch, time], False where there is no face

    `padded`, for sequences that differ in length, with one more:

        length      int32 [batch], the frames of each; what stands behind them
                    has no effect, whatever it is

    `encoded`, as `padded` but in place of the frames:

        images      string [batch, time], the crops as PNG or JPEG files; not
                    looked at where the mask is False

    These give, for the targets that the network has,

        valence, arousal                      float32 [batch, time], 0 where
                                              not valid
        valid                                 bool [batch, time], whether the
                                              frame counts: it has a face and
                                              stands within the length
        sequence_valence, sequence_arousal    float32 [batch], the median over
                                              the valid frames; 0 without any
        sequence_valid                        bool [batch], whether there is
                                              any

    `step`, for a video that comes piece by piece: as `padded`, and

        state       float32 [batch, size], zeros at the start of a video

    It gives valence, arousal and valid, and the state after the last frame,
    with which the next piece is to be called. Batch and time are free, and
    the normalisation is inside.

    Args:
        network: of `models.build`, stateful.
        card: the network's.
    """
    targets = card.architecture.targets
    size = models.state_size(card.architecture)
    taken = {tensor.name for tensor in network.inputs}

    def spec(name, shape, dtype):
        return tf.TensorSpec((None, *shape), dtype, name)

    frames = spec("frames", (None, CROP_SIZE, CROP_SIZE, 3), tf.uint8)
    landmarks = spec("landmarks", (None, LANDMARKS, 2), tf.float32)
    mask = spec("mask", (None,), tf.bool)
    length = spec("length", (), tf.int32)
    state = spec("state", (size,), tf.float32)
    images = spec("images", (None,), tf.string)

    # Each calls the one above it, so that the network is traced once.
    @tf.function(input_signature=[frames, landmarks, mask, length, state])
    def step(frames, landmarks, mask, length, state):
        valid = _valid(mask, length)
        features = {"frames": frames, "landmarks": landmarks, "mask": valid}
        features["state"] = state
        outputs = network(
            {name: features[name] for name in taken}, training=False
        )
        values = tf.where(valid[..., tf.newaxis], outputs["values"], 0)
        by_target = zip(targets, tf.unstack(values, axis=-1), strict=True)
        return dict(by_target) | {"valid": valid, "state": outputs["state"]}

    @tf.function(input_signature=[frames, landmarks, mask, length])
    def padded(frames, landmarks, mask, length):
        start = tf.zeros((tf.shape(mask)[0], size))
        outputs = step(frames, landmarks, mask, length, start)
        del outputs["state"]
        valid = outputs["valid"]
        medians = {
            f"sequence_{target}": masked_median(outputs[target], valid)
            for target in targets
        }
        seen = {"sequence_valid": tf.reduce_any(valid, axis=1)}
        return outputs | medians | seen

    @tf.function(input_signature=[images, landmarks, mask, length])
    def encoded(images, landmarks, mask, length):
        frames = decode_crops(images, _valid(mask, length))
        return padded(frames, landmarks, mask, length)

    @tf.function(input_signature=[frames, landmarks, mask])
    def masked(frames, landmarks, mask):
        batch, time = tf.unstack(tf.shape(mask))
        return padded(frames, landmarks, mask, tf.fill([batch], time))

    @tf.function(input_signature=[frames, landmarks])
    def serving_default(frames, landmarks):
        return masked(frames, landmarks, tf.ones(tf.shape(frames)[:2], tf.bool))

    return {
        "serving_default": serving_default,
        "masked": masked,
        "padded": padded,
        "encoded": encoded,
        "step": step,
    }


def _valid(mask, length):
    return mask & tf.sequence_mask(length, tf.shape(mask)[1])


def decode_crops(images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Decodes crops.

    Args:
        images: string [batch, time], each a PNG or JPEG file of 96x96 pixels.
        valid: bool [batch, time]; others are not looked at.

    Returns:
        uint8 [batch, time, 96, 96, 3], RGB; black where not valid.

    Raises:
        tf.errors.InvalidArgumentError: an image is none, or of another size.
    """
    shape = (CROP_SIZE, CROP_SIZE, 3)

    def decode(image):
        decoded = tf.io.decode_image(image, channels=3, expand_animations=False)
        return tf.ensure_shape(decoded, shape)

    crops = tf.map_fn(
        lambda frame: tf.cond(
            frame[1],
            lambda: decode(frame[0]),
            lambda: tf.zeros(shape, tf.uint8),
        ),
        (tf.reshape(images, [-1]), tf.reshape(valid, [-1])),
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )
    return tf.reshape(crops, tf.concat([tf.shape(images), shape], axis=0))


def masked_median(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Computes the median of each row over the columns that count.

    Args:
        values: float [rows, columns].
        mask: bool [rows, columns].

    Returns:
        [rows]; 0 where nothing counts.
    """
    last = tf.constant(float("inf"), values.dtype)
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    ordered = tf.sort(tf.where(mask, values, last), axis=1)

    def at(index):
        return tf.gather(ordered, tf.maximum(index, 0), batch_dims=1)

    middle = (at((counts - 1) // 2) + at(counts // 2)) / 2
    return tf.where(counts > 0, middle, 0)
