"""tf.data pipelines: from records to batches of windows."""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from affwild_omg.data import records as records_lib
from affwild_omg.data.windows import cut

SHUFFLE_WINDOWS = 256  # among which training shuffles, images still encoded
INTERLEAVED_FILES = 16  # read at a time, to mix the videos of a batch


def windows(
    records: pathlib.Path,
    split: str,
    *,
    sequence_length: int,
    shuffle_seed: int | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Builds the dataset of a split's windows.

    Args:
        records: folder that prepare wrote.
        split: "train", "validation" or "test".
        sequence_length: T, frames a window.
        shuffle_seed: None keeps the order of the records; a number shuffles
            files and windows, the same for the same number.
        labels: replaces the labels of the records: key to [2].

    Returns:
        A dataset of {"key": "<video>/<utterance>", "fps": frames a second,
        "start": the window's first frame, "length": its frames that are not
        padding, "frames": uint8 [T, 96, 96, 3], "landmarks": float32 [T, 68,
        2], "mask": bool [T], True where there is a face, "labels": float32
        [T, 2]}; padding is zero.

    Raises:
        UserError: the records cannot be used.
    """
    files = records_lib.list_files(records, split)
    dataset = tf.data.Dataset.from_tensor_slices(files)
    if shuffle_seed is None:
        dataset = dataset.flat_map(tf.data.TFRecordDataset)
    else:
        dataset = dataset.shuffle(len(files), seed=shuffle_seed)
        dataset = dataset.interleave(
            tf.data.TFRecordDataset,
            cycle_length=INTERLEAVED_FILES,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    dataset = dataset.map(
        records_lib.parse, num_parallel_calls=tf.data.AUTOTUNE
    )
    if labels is not None:
        dataset = _relabelled(dataset, labels)
    dataset = dataset.flat_map(lambda clip: _cut(clip, sequence_length))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(SHUFFLE_WINDOWS, seed=shuffle_seed)
    options = tf.data.Options()
    # In a long run autotuning wakes every ten seconds, and the end of an epoch
    # waits for it. Without it there is a thread a core.
    options.autotune.enabled = False
    return dataset.map(
        _decode, num_parallel_calls=tf.data.AUTOTUNE
    ).with_options(options)


def batches(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches windows, the last batch filled up with empty ones.

    An empty window has key "" and no frame that counts. It keeps every batch
    of one shape, which replicas need, without dropping a window.
    """

    def fill(values):
        missing = batch_size - tf.shape(values)[0]
        paddings = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
        shape = (batch_size, *values.shape[1:])
        return tf.ensure_shape(tf.pad(values, paddings), shape)

    return (
        dataset.batch(batch_size)
        .map(
            lambda batch: {name: fill(x) for name, x in batch.items()},
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
    )


def count_windows(
    records: pathlib.Path, split: str, sequence_length: int
) -> int:
    """Returns the number of a split's windows, from the manifest."""
    return sum(
        -(-clip["frames"] // sequence_length)
        for clip in records_lib.read_utterances(records, split)
    )


def read_labels(records: pathlib.Path, split: str) -> dict[str, np.ndarray]:
    """Reads the mean label of each clip of a split.

    Returns:
        key to float32 [2], valence and arousal; NaN where there is none.
    """
    dataset = tf.data.TFRecordDataset(
        records_lib.list_files(records, split)
    ).map(records_lib.parse, num_parallel_calls=tf.data.AUTOTUNE)
    with records_lib.reading(records, split):
        return {
            clip["key"].decode(): clip["labels"].mean(axis=0)
            for clip in dataset.as_numpy_iterator()
        }


def _relabelled(dataset, labels):
    keys = tf.constant(list(labels))
    values = tf.constant(np.stack(list(labels.values())), tf.float32)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(labels))),
        default_value=-1,
    )

    def relabel(clip):
        label = tf.gather(values, table.lookup(clip["key"]))
        shape = tf.shape(clip["labels"])
        return clip | {"labels": tf.broadcast_to(label, shape)}

    return dataset.map(relabel, num_parallel_calls=tf.data.AUTOTUNE)


def _cut(clip, sequence_length):
    frames = {name: clip[name] for name in ("image", "landmarks", "labels")}
    windows_of_clip = cut(frames | {"mask": clip["face"]}, sequence_length)
    return tf.data.Dataset.from_tensor_slices(windows_of_clip).map(
        lambda window: window | {"key": clip["key"], "fps": clip["fps"]}
    )


def _decode(window):
    image = window.pop("image")
    return window | {"frames": records_lib.decode(image)}
