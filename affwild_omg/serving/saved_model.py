"""SavedModels: what they compute, and how they are written."""

import pathlib

import keras
import tensorflow as tf
from absl import logging

from affwild_omg.data.records import decode
from affwild_omg.nets import models, parts
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS
from affwild_omg.weights.model_file import Card


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


def write(
    network: keras.Model, computed: dict, directory: pathlib.Path
) -> None:
    """Writes a SavedModel of signatures that holds each weight once."""
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
