"""The data service: windows that other processes read, decode and augment.

A dispatcher of `tf.data.experimental.service` deals windows out to workers,
whichever is free. Both are TensorFlow's own and know nothing of this package,
so that records must be read by ops of TensorFlow alone. What the workers send
comes in no order, and what one of them had when it ended never comes, of which
TensorFlow says nothing: here each window has a number, they are put in order,
and one that is missing ends the pass with an error.
"""

import queue
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data.manifest import Clip
from affwild_omg.data.records import CHUNK, FRAMING
from affwild_omg.storage import remote

PATIENCE_S = 60.0  # for the next window, whichever it is
CONNECT_S = 10.0
MOST = 1024  # windows that came before their turn

# Of a gzip stream: its beginning, the most bytes of a block that is stored as
# it is, and what stands before one of these.
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_BLOCK = 2**16 - 1
_FULL = b"\0\xff\xff\0\0"


def reader(
    clips: Sequence[Clip],
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns what `Clip.read` does, by ops that a worker has.

    No op of TensorFlow computes a CRC-32 but the one that unpacks gzip. So a
    record is checked by packing it, without compression, with the checksum of
    the manifest, and unpacking it. A frame took 45 microseconds of a core, in
    the place of 24 of `Clip.read`, and 340 to decode.

    Args:
        clips: of a split, whose files workers find at the same paths.

    Returns:
        A function of the number of a clip, its first frame and the one behind
        the last, int64 []; it returns strings [records].
    """
    before, behind = FRAMING
    sizes = np.concatenate([clip.sizes for clip in clips])
    checksums = np.concatenate([clip.checksums for clip in clips])
    places = np.cumsum([0, *(sizes + before + behind)])
    firsts = np.cumsum([0, *(len(clip.sizes) for clip in clips)])
    rests = (sizes - 1) % _BLOCK + 1
    lasts = [
        b"\1" + _bytes(rest, 2) + _bytes(_BLOCK - rest, 2) for rest in rests
    ]
    ends = [
        _bytes(checksum, 4) + _bytes(size, 4)
        for checksum, size in zip(checksums, sizes, strict=True)
    ]
    paths = [
        str(path if isinstance(path, remote.Path) else path.absolute())
        for path in (clip.path for clip in clips)
    ]
    paths, lasts, ends = map(tf.constant, (paths, lasts, ends))
    sizes, places, firsts = map(tf.constant, (sizes, places, firsts))

    def read(clip, start, stop):
        zero = firsts[clip]
        first, end = zero + start // CHUNK, zero + (stop - 1) // CHUNK + 1
        length = places[end] - places[first]
        skipped = places[first] - places[zero]
        left = places[firsts[clip + 1]] - places[end]
        data = tf.data.FixedLengthRecordDataset(
            paths[clip], length, skipped, left
        ).get_single_element()

        def checked(number):
            size = sizes[number]
            at = places[number] - places[first] + before
            record = tf.strings.substr(data, at, size)
            full = (size - 1) // _BLOCK
            blocks = tf.strings.substr(
                record,
                _BLOCK * tf.range(full + 1),
                tf.fill([full + 1], np.int64(_BLOCK)),
            )
            heads = tf.concat([tf.fill([full], _FULL), [lasts[number]]], 0)
            parts = tf.reshape(tf.stack([heads, blocks], axis=1), [-1])
            packed = tf.concat([[_HEAD], parts, [ends[number]]], 0)
            return tf.io.decode_compressed(
                tf.strings.reduce_join(packed), "GZIP"
            )

        return tf.map_fn(
            checked, tf.range(first, end), fn_output_signature=tf.string
        )

    return read


def _bytes(number, count):
    return int(number).to_bytes(count, "little")


def collected(
    windows: tf.data.Dataset,
    address: str,
    numbers: Sequence[int],
    here: Callable[[Sequence[int]], tf.data.Dataset],
) -> tf.data.Dataset:
    """Lets the workers of a dispatcher make a dataset of windows.

    Args:
        windows: with "number"; of `pipeline.windows` for elsewhere.
        address: of the dispatcher, grpc://host:port.
        numbers: of the windows, in order.
        here: makes a dataset of some of them in this process; it is asked for
            those that are missing when a worker fails, and its error is told
            rather than the worker's.

    Returns:
        The same windows, each once and in order, however the workers make
        them. It knows its length. Reading it raises errors that
        `Manifest.reading` tells: nobody answers within `CONNECT_S`; no window
        comes for `PATIENCE_S`, or one not while `MOST` others do; or a worker
        cannot read a record.
    """
    numbers = [int(number) for number in numbers]

    def lost(how, missing):
        return UserError(
            f"--data_service={address}: {how}, and "
            f"{wording.count(missing, 'window')} of this pass did not come: a "
            "worker or the dispatcher ended or hangs, or there is no worker; "
            "once they run again, the same command with --resume goes on from "
            "the last checkpoint, if there is one"
        )

    def ordered() -> Iterator[dict]:
        _connect(address)
        found, waiting, ended = queue.Queue(1), {}, threading.Event()
        # Nothing ends TensorFlow's waiting for a worker that is gone.
        threading.Thread(
            target=_fetch,
            args=(windows, address, len(numbers), found, ended),
            daemon=True,
        ).start()
        try:
            for yielded, number in enumerate(numbers):
                while number not in waiting:
                    missing = len(numbers) - yielded - len(waiting)
                    if len(waiting) >= MOST:
                        raise lost(f"{MOST} windows came before one", missing)
                    try:
                        window = found.get(timeout=PATIENCE_S)
                    except queue.Empty:
                        why = f"no window came for {PATIENCE_S:g} s"
                        raise lost(why, missing) from None
                    if window is None:
                        raise lost("its workers ended", missing)
                    if isinstance(window, tf.errors.OpError):
                        left = [
                            x for x in numbers[yielded:] if x not in waiting
                        ]
                        for _ in here(left[:MOST]):
                            pass
                        raise UserError(
                            f"--data_service={address}: {_told(window)}"
                        ) from window
                    waiting[int(window["number"])] = window
                yield waiting.pop(number)
        finally:
            ended.set()

    return tf.data.Dataset.from_generator(
        ordered, output_signature=windows.element_spec
    ).apply(tf.data.experimental.assert_cardinality(len(numbers)))


def _connect(address):
    place = urllib.parse.urlsplit(address)
    try:
        socket.create_connection(
            (place.hostname, place.port), CONNECT_S
        ).close()
    except OSError as error:
        raise UserError(
            f"--data_service={address}: nobody answers there "
            f"({error.strerror or error}); start a dispatcher, see "
            "docs/training.md"
        ) from error


def _fetch(windows, address, count, found, ended):
    """Puts windows as they come, then None, or the error in their place."""

    def put(item):
        while not ended.is_set():
            try:
                return found.put(item, timeout=1)
            except queue.Full:
                continue

    try:
        # Its end takes a second to come.
        for window in windows.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC,
                address,
                compression=None,
            )
        ).take(count):
            put(window)
            if ended.is_set():
                return
        put(None)
    except tf.errors.OpError as error:
        put(error)


def _told(error):
    """Returns what a worker, or the dispatcher, says is wrong."""
    line, *_ = error.message.strip().splitlines() or [""]
    found = re.search(r"from worker (\S+): (?:.*Iterator::\S+: )?(.*)", line)
    if not found:
        return f"that is not a dispatcher of TensorFlow's data service ({line})"
    worker, why = found.groups()
    return (
        f"worker {worker} cannot read what this process can ({why}); records "
        "must be the same, at the same path, for all workers"
    )
