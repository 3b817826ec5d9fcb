"""Windows: the consecutive frames of one clip that a network sees at a time.

Training, evaluation and prediction cut their clips by these rules. A window
never crosses clips, and every frame is in exactly one. The last window of a
clip is padded; its mask leaves the padding out.
"""

from collections.abc import Mapping

import tensorflow as tf


def starts(frames: int, sequence_length: int) -> range:
    """Returns the first frame of each window of a clip."""
    return range(0, frames, sequence_length)


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
