"""Windows: consecutive frames of one clip, which a network sees at a time.

Every frame is in exactly one window. The last window of a clip is padded; its
mask leaves the padding out.
"""

from collections.abc import Mapping

import tensorflow as tf


def cut(frames: Mapping, sequence_length: int) -> dict:
    """Cuts the frames of a clip into windows, eagerly or within tf.data.

    Args:
        frames: {name: [time, ...]}, arrays or tensors of at least one frame.
        sequence_length: T, frames of a window.

    Returns:
        {name: [windows, T, ...]} as tensors, padded with zeros (of strings,
        with empty ones), and for each window "start", its first frame, and
        "length", its frames that are not padding: int64 [windows].
    """
    frames = {name: tf.convert_to_tensor(x) for name, x in frames.items()}
    time = tf.shape(next(iter(frames.values())), out_type=tf.int64)[0]
    start = tf.range(0, time, sequence_length)
    missing = -time % sequence_length

    def windows_of(values):
        paddings = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
        return tf.reshape(
            tf.pad(values, paddings), [-1, sequence_length, *values.shape[1:]]
        )

    return {name: windows_of(values) for name, values in frames.items()} | {
        "start": start,
        "length": tf.minimum(time - start, sequence_length),
    }
