"""Augmentation that keeps labels true: other pictures of the same expression.

A window is changed by one draw for all of its frames, so that nothing moves or
flickers that did not before; image and landmarks are changed together. Frames
without a face stay as they are. Keras' own random layers draw anew for each
image of a batch, and leave landmarks behind; its warp is used here.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from affwild_omg.data import windows
from affwild_omg.paper.task import CROP_SIZE
from affwild_omg.paper.windows import AUGMENTATIONS

SHIFT = 4.0  # pixels, at most, as the other bounds here
SCALE = 0.08
ROTATION = np.radians(8.0)
BRIGHTNESS = 32.0  # of 255
CONTRAST = 0.25
QUALITY = 40, 95  # of JPEG
STEP = 2  # from one frame that is kept to the next

# By which point of the 68 each one is replaced in a mirror: jaw, brows, bridge
# and tip of the nose, eyes (with lids), outer and inner lip.
MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)


class Draw(NamedTuple):
    """What is done to a window; each is a scalar but for the matrix.

    Attributes:
        mirror: bool, whether left and right change places.
        matrix: float32 [2, 3], from where a point (x, y, 1) is to where it
            comes, in pixels, after the mirror.
        brightness: float32, what is added to intensities of 0 to 255.
        contrast: float32, factor of their distance from the mean.
        quality: int32, of JPEG.
        step: int32, from one frame that is kept to the next.
    """

    mirror: tf.Tensor
    matrix: tf.Tensor
    brightness: tf.Tensor
    contrast: tf.Tensor
    quality: tf.Tensor
    step: tf.Tensor


def draw(seed: tf.Tensor) -> Draw:
    """Draws what is done to a window, the same for the same seed.

    Args:
        seed: int [2].
    """
    unit = tf.random.stateless_uniform([9], seed)  # in [0, 1)
    mirror, step, quality, *centred = tf.unstack(unit)
    x, y, scale, angle, brightness, contrast = (2 * u - 1 for u in centred)
    size = 1 + SCALE * scale
    cosine = size * tf.cos(ROTATION * angle)
    sine = size * tf.sin(ROTATION * angle)
    middle = (CROP_SIZE - 1) / 2
    low, high = QUALITY
    return Draw(
        mirror=mirror < 0.5,
        matrix=tf.stack(
            [
                tf.stack([cosine, -sine, SHIFT * x + middle]),
                tf.stack([sine, cosine, SHIFT * y + middle]),
            ]
        )
        @ tf.constant([[1, 0, -middle], [0, 1, -middle], [0, 0, 1]]),
        brightness=BRIGHTNESS * brightness,
        contrast=1 + CONTRAST * contrast,
        quality=low + tf.cast((high + 1 - low) * quality, tf.int32),
        step=1 + tf.cast(STEP * step, tf.int32),
    )


def apply(
    window: Mapping, drawn: Draw, kinds: Collection[str] = AUGMENTATIONS
) -> dict:
    """Changes a window, eagerly or within tf.data.

    Args:
        window: of `pipeline.windows`: at least frames, landmarks, mask,
            start, length and skip.
        drawn: what is done.
        kinds: of it, of `AUGMENTATIONS`.

    Returns:
        The window, whose "time_us", "labels" and "mask" are as they were, but
        for frames that are dropped: those that are kept move to the front, with
        their times and labels, and padding follows.
    """
    window = dict(window)
    if "rate" in kinds:
        window = _dropped(window, drawn.step)
    # Padding costs as much as frames would.
    own = {
        name: window[name][: window["length"]]
        for name in ("mask", "frames", "landmarks")
    }
    seen, frames = own["mask"], own["frames"]
    points = tf.cast(own["landmarks"], tf.float32)
    if "mirror" in kinds:
        frames, points = _mirrored(frames, points, drawn.mirror)
    if "place" in kinds:
        frames, points = _placed(frames, points, drawn.matrix)
    if "light" in kinds:
        frames = _lit(frames, seen, drawn.brightness, drawn.contrast)
    if "jpeg" in kinds:
        # By default, TensorFlow decodes coarsely, which costs a fifth more.
        frames = tf.map_fn(
            lambda image: tf.image.adjust_jpeg_quality(
                image, drawn.quality, dct_method="INTEGER_ACCURATE"
            ),
            frames,
        )
    # Frame by frame: `tf.where`, which broadcasts, takes four times as long.
    choose = tf.compat.v1.where
    changed = {
        "frames": choose(seen, frames, own["frames"]),
        "landmarks": choose(seen, points, own["landmarks"]),
    }
    return window | windows.pad(changed, window["mask"].shape[0])


def augment(
    dataset: tf.data.Dataset,
    kinds: Collection[str],
    seed: int,
) -> tf.data.Dataset:
    """Changes the windows of a dataset, each by the draw of its number.

    Args:
        dataset: of `pipeline.windows`.
        kinds: of `AUGMENTATIONS`.
        seed: another one for every pass over the data.

    Raises:
        ValueError: a kind is not known.
    """
    if unknown := set(kinds) - set(AUGMENTATIONS):
        raise ValueError(f"{unknown} is not among {AUGMENTATIONS}")
    return dataset.map(
        lambda window: apply(
            window, draw(tf.stack([np.int64(seed), window["number"]])), kinds
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _dropped(window, step):
    """Keeps one frame of so many, as a slower camera."""
    length = tf.convert_to_tensor(window["length"])
    step = tf.cast(step, length.dtype)
    start = tf.convert_to_tensor(window["start"])
    skip = tf.cast(window["skip"], length.dtype)
    # Of few frames that count, none may be left otherwise.
    first = skip % step
    kept = tf.range(first, length, step)
    of_frames = ("time_us", "frames", "landmarks", "mask", "labels")
    frames = {
        name: tf.gather(window[name], kept)
        for name in of_frames
        if name in window
    }
    return (
        window
        | windows.pad(frames, window["mask"].shape[0])
        | {"length": tf.size(kept, length.dtype), "skip": skip // step}
        | {"start": start + tf.cast(first, start.dtype)}
    )


def _mirrored(frames, points, mirror):
    other = tf.gather(points, MIRRORED, axis=1)
    other = tf.stack([CROP_SIZE - 1 - other[..., 0], other[..., 1]], axis=-1)
    return (
        tf.cond(mirror, lambda: tf.reverse(frames, [2]), lambda: frames),
        tf.where(mirror, other, points),
    )


def _placed(frames, points, matrix):
    """Warps images and points; what comes in from beyond is black."""
    linear, offset = matrix[:, :2], matrix[:, 2]
    back = tf.linalg.inv(linear)
    start = -tf.linalg.matvec(back, offset)
    # Where each pixel comes from, as Keras takes it.
    transform = tf.concat(
        [back[0], start[:1], back[1], start[1:], tf.zeros(2)], axis=0
    )
    warped = keras.ops.image.affine_transform(
        tf.cast(frames, tf.float32), transform, data_format="channels_last"
    )
    return (
        tf.cast(tf.round(warped), tf.uint8),
        points @ tf.transpose(linear) + offset,
    )


def _lit(frames, seen, brightness, contrast):
    """Changes the distance from the mean of all faces, then adds."""
    values = tf.cast(frames, tf.float32)
    means = tf.reduce_mean(values, axis=(1, 2, 3))
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(tf.where(seen, means, 0.0)),
        tf.reduce_sum(tf.cast(seen, tf.float32)),
    )
    values = contrast * (values - mean) + mean + brightness
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 255)), tf.uint8)
