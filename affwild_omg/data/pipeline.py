"""tf.data pipelines: from records to batches of windows."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from affwild_omg.data import records as records_lib
from affwild_omg.data import service
from affwild_omg.data import windows as windows_lib
from affwild_omg.data.features import Cache
from affwild_omg.data.manifest import Clip
from affwild_omg.data.records import CHUNK
from affwild_omg.paper.windows import cut
from affwild_omg.storage import memory, parallel


def count(
    clips: Sequence[Clip], sequence_length: int, tail: str, stride: int = 0
) -> int:
    """Returns how many windows `windows` has of some clips."""
    return sum(
        len(cut(clip.frames, sequence_length, tail, stride)) for clip in clips
    )


def windows(
    clips: Sequence[Clip],
    *,
    sequence_length: int,
    tail: str,
    stride: int = 0,
    order: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
    features: Cache | None = None,
    elsewhere: bool = False,
) -> tf.data.Dataset:
    """Builds the dataset of some clips' windows.

    Args:
        clips: of a split.
        sequence_length: T, frames a window.
        tail: how clips are cut, see `paper.windows.cut`.
        stride: likewise.
        order: numbers of the windows that the dataset has, from 0, in its
            order; None for all, in that of the clips. A training leaves out
            those that it has seen, and those of others.
        labels: replaces the labels of the records: key to [2].
        features: of the clips; the windows have them, float16 [T, features]
            of each tap, in the place of "frames".
        elsewhere: it is for other processes, see `service`: it reads by
            TensorFlow's own ops, and does not know its length.

    Returns:
        A dataset of {"number": int64, "key": "<video>/<utterance>", "start":
        the window's first frame, "skip": of its frames, how many at its
        beginning are scored in the window before, "length": its frames that are
        not padding, "time_us": int64 [T], microseconds since the clip's first
        frame, "frames": uint8 [T, 96, 96, 3], "landmarks": float32 [T, 68, 2],
        "mask": bool [T], "labels": float32 [T, 2], NaN where there is none, and
        where another window is scored}. mask is True where there is a frame
        with a face; padding is zero. It knows its length. Reading it raises
        errors that `Manifest.reading` tells.
    """
    memory.return_large_blocks()
    places = [
        (number, *window)
        for number, clip in enumerate(clips)
        for window in cut(clip.frames, sequence_length, tail, stride)
    ]
    if order is not None:
        places = [places[i] for i in order]
    if numbers is None:
        numbers = range(len(places))
    places = [
        (number, *place) for number, place in zip(numbers, places, strict=True)
    ]
    keys = tf.constant([clip.key for clip in clips])
    others = None
    if labels is not None:
        others = np.stack([labels[clip.key] for clip in clips])
        others = tf.constant(others, tf.float32)

    def read_here(clip, start, stop):
        return np.array(clips[clip].read(start, stop), object)

    def read(*place):
        return tf.numpy_function(read_here, place, tf.string)

    if elsewhere:
        read = service.reader(clips)

    def read_features(clip, start, stop):
        return features.read(clips[clip], start, stop)

    def window(place):
        number, clip, start, scored, stop = tf.unstack(place)
        serialised = tf.ensure_shape(read(clip, start, stop), [None])
        length, skip = stop - start, scored - start
        skipped = start % CHUNK  # of the first record
        frames = {
            name: values[skipped : skipped + length]
            for name, values in records_lib.parse(serialised).items()
        }
        images = frames.pop("image")
        if others is not None:
            # A frame without a label stays without one.
            own = frames["labels"]
            frames["labels"] = tf.where(tf.math.is_nan(own), own, others[clip])
        own = tf.range(length)[:, tf.newaxis] >= skip
        frames["labels"] = tf.where(own, frames["labels"], float("nan"))
        if features is not None:
            sizes = features.sizes
            values = tf.numpy_function(
                read_features, [clip, start, stop], tf.float16
            )
            values = tf.ensure_shape(values, [None, sum(sizes.values())])
            taps = tf.split(values, list(sizes.values()), axis=1)
            frames |= dict(zip(sizes, taps, strict=True))
        return windows_lib.pad(frames, sequence_length) | {
            "number": number,
            "key": keys[clip],
            "start": start,
            "skip": skip,
            "length": length,
            "frames": images,
        }

    def decoded(window):
        """Makes a dataset of the window with its images decoded.

        Image by image in tf.data, which costs half of a loop in a function,
        and without the padding.
        """
        if features is not None:
            del window["frames"]
            return tf.data.Dataset.from_tensors(window)
        return (
            tf.data.Dataset.from_tensor_slices(window["frames"])
            .map(records_lib.decode)
            .batch(sequence_length)
            .map(
                lambda images: (
                    window
                    | windows_lib.pad({"frames": images}, sequence_length)
                )
            )
        )

    options = tf.data.Options()
    # The thread that tunes wakes every ten seconds in a long run, and the end
    # of an epoch waits for it; cores are a good number without it.
    options.autotune.enabled = False
    # A window a core: more would only take memory. Elsewhere, of its own.
    cores = tf.data.AUTOTUNE if elsewhere else max(2, parallel.cores())
    dataset = (
        tf.data.Dataset.from_tensor_slices(
            np.array(places, np.int64).reshape(-1, 5)
        )
        .map(window, num_parallel_calls=tf.data.AUTOTUNE)
        .interleave(
            decoded,
            cycle_length=cores,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .with_options(options)
    )
    if elsewhere:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(len(places)))


def windows_before(batch: int, windows: int, batch_size: int) -> int:
    """Returns how many windows the batches before one hold, shared evenly.

    The windows of some of them, one after the other, make the same batches as
    all windows do: what full batches would hold beyond the windows is less than
    a batch, of any number of them.

    Args:
        batch: number of the batch, from 0.
        windows: of all batches.
        batch_size: windows in a batch, at most.
    """
    size, larger = divmod(windows, -(-windows // batch_size))
    return batch * size + min(batch, larger)


def batches(
    dataset: tf.data.Dataset,
    batch_size: int,
    *,
    evenly: bool = False,
    replicas: int = 1,
    at_once: int = 1,
) -> tf.data.Dataset:
    """Batches windows; what a batch lacks is filled up with empty ones.

    An empty window has key "" and no frame that counts. It keeps every batch
    of one shape, which replicas need, without dropping a window.

    Args:
        dataset: of windows.
        batch_size: windows in a batch, at most.
        evenly: as many batches as are needed share the windows as evenly as
            they can, so that CCC has something to compare in the last one,
            too; else all batches but the last are full.
        replicas: that share a batch, each an equal part of its first
            dimension, which is filled up for that; the windows are dealt out to
            them in turn, so that none has two more than another.
        at_once: windows that a replica takes at once: its part is filled up to
            a multiple of them.
    """
    rows = replicas * at_once * -(-batch_size // (replicas * at_once))
    dealt = np.arange(rows).reshape(-1, replicas).T.ravel()

    def fill(values):
        missing = rows - tf.shape(values)[0]
        nothing = tf.zeros([missing, *values.shape[1:]], values.dtype)
        values = tf.concat([values, nothing], axis=0)
        if replicas > 1:
            values = tf.gather(values, dealt)
        return tf.ensure_shape(values, (rows, *values.shape[1:]))

    if evenly:
        number = -(-len(dataset) // batch_size)
        size, larger = divmod(len(dataset), number)  # the first, by one
        border = larger * (size + 1)
        dataset = (
            dataset.enumerate()
            .group_by_window(
                lambda index, _: tf.where(
                    index < border,
                    index // (size + 1),
                    larger + (index - border) // size,
                ),
                lambda _, windows: windows.batch(batch_size),
                window_size_func=lambda batch: (
                    size + tf.cast(batch < larger, tf.int64)
                ),
            )
            .map(lambda _, batch: batch)
        )
    else:
        dataset = dataset.batch(batch_size)
    # AUTOTUNE would hold more batches the more often it was waited for.
    return dataset.map(
        lambda batch: {name: fill(x) for name, x in batch.items()}
    ).prefetch(2)


def deal(
    windows: int,
    batch_size: int,
    replicas: int,
    own: Sequence[int],
    at_once: int = 1,
) -> np.ndarray:
    """Returns which windows of each batch some of the replicas have.

    They are dealt out as `batches` does it with `evenly`.

    Args:
        windows: of all batches.
        batch_size: windows in a batch, at most.
        replicas: that share a batch.
        own: numbers of the replicas that are asked for.
        at_once: as `batches` has it.

    Returns:
        Numbers of windows, int64 [batches, own, rows]; -1 for an empty one.
    """
    count = -(-windows // batch_size)
    starts = np.array(
        [windows_before(i, windows, batch_size) for i in range(count + 1)]
    )
    rows = np.arange(at_once * -(-batch_size // (replicas * at_once)))
    places = np.array(own)[:, np.newaxis] + replicas * rows
    numbers = starts[:-1, np.newaxis, np.newaxis] + places
    ends = starts[1:, np.newaxis, np.newaxis]
    return np.where(numbers < ends, numbers, -1)


def shares(dataset: tf.data.Dataset, dealt: np.ndarray) -> tf.data.Dataset:
    """Batches the windows of some replicas, one of them after the other.

    Args:
        dataset: of the windows that were dealt, in the order of `dealt`.
        dealt: a part of what `deal` returns.
    """
    nothing = {
        name: tf.zeros(spec.shape, spec.dtype)
        for name, spec in dataset.element_spec.items()
    }
    empty = (dealt < 0).ravel().astype(np.int64)
    return (
        tf.data.Dataset.choose_from_datasets(
            [dataset, tf.data.Dataset.from_tensors(nothing).repeat()],
            tf.data.Dataset.from_tensor_slices(empty),
        )
        .batch(dealt.shape[-1], drop_remainder=True)
        .prefetch(2)
    )
