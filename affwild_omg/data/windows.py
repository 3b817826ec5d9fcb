"""Windows: the consecutive frames of one clip that a network sees at a time.

Training, evaluation and prediction cut their clips here. A window never
crosses clips, and every frame is in exactly one. The last window of a clip is
padded; its mask leaves the padding out.
"""

from collections.abc import Iterable, Mapping

import numpy as np
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


def join(values: Iterable[np.ndarray], lengths: Iterable[int]) -> np.ndarray:
    """Lays the windows of a clip end to end, without padding; undoes `cut`.

    Args:
        values: [T, ...] of each window, in order.
        lengths: frames of each window that are not padding.

    Returns:
        [time, ...].
    """
    return np.concatenate(
        [x[:length] for x, length in zip(values, lengths, strict=True)]
    )
