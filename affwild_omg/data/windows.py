"""Padding: windows of fewer frames than others get frames that do not count."""

from collections.abc import Mapping

import tensorflow as tf


def pad(window: Mapping, sequence_length: int) -> dict:
    """Pads the frames of a window at their end, eagerly or within tf.data.

    Args:
        window: {name: [frames, ...]}, arrays or tensors, at most T frames.
        sequence_length: T, frames of a window.

    Returns:
        {name: [T, ...]} as tensors, padded with zeros, or empty strings.
    """

    def padded(values):
        values = tf.convert_to_tensor(values)
        missing = sequence_length - tf.shape(values)[0]
        values = tf.pad(
            values, [[0, missing], *[[0, 0]] * (values.shape.rank - 1)]
        )
        return tf.ensure_shape(values, [sequence_length, *values.shape[1:]])

    return {name: padded(values) for name, values in window.items()}
