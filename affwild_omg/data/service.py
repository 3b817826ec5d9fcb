"""The data service: windows that other processes read, decode and augment.

A dispatcher of `tf.data.experimental.service` deals windows out to workers,
whichever is free. Both are TensorFlow's own and know nothing of this package,
so that records must be read by ops of TensorFlow alone. What the workers send
comes in no order, and what one of them had when it ended never comes, of which
TensorFlow says nothing: here each window has a number, they are put in order,
and those that are late are read in this process.
"""

import contextlib
import queue
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

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
        here: makes a dataset of some of them in this process; if a worker
            fails, of the next `MOST`, whose own error is rather told.

    Returns:
        The same windows, each once and in order. Those that are late when
        `MOST` wait, and the rest, at most `MOST`, when none came for
        `PATIENCE_S`, are read here, which is logged. It knows its length.
        Reading it raises errors that `Manifest.reading` tells: nobody answers
        within `CONNECT_S`; none came, or more are left; or a worker fails.
    """
    flag = f"--data_service={address}"
    numbers = [int(number) for number in numbers]

    def ordered() -> Iterator[dict]:
        _connect(address)
        found, waiting, ended = queue.Queue(1), {}, threading.Event()
        due, late = set(numbers), None  # to come; read here
        # Nothing ends TensorFlow's waiting for a worker that is gone.
        args = windows, address, len(numbers), found, ended
        threading.Thread(target=_fetch, args=args, daemon=True).start()
        try:
            for at, number in enumerate(numbers):
                while number in due:
                    full, end = len(waiting) >= MOST, len(numbers)
                    item = None
                    if not full:
                        with contextlib.suppress(queue.Empty):
                            item = found.get(timeout=PATIENCE_S)
                    if isinstance(item, dict):
                        if (came := int(item["number"])) in due:
                            due.remove(came)
                            waiting[came] = item
                        continue
                    while full and numbers[end - 1] not in waiting:
                        end -= 1  # the others are not late
                    left = [x for x in numbers[at:end] if x in due]
                    if item is not None:
                        _fail(flag, item, here, left[:MOST])
                    count = wording.count(len(left), "window")
                    if not full and (len(left) > MOST or not (at or waiting)):
                        raise UserError(
                            f"{flag}: {count} of this pass did not come: "
                            "workers or the dispatcher ended or hang, or there "
                            "is no worker; start them and give the same "
                            "command (with --resume if it left a checkpoint)"
                        )
                    logging.warning(
                        f"{flag}: {count} did not come in time and will be "
                        "read here; did a worker end, or does it hang?"
                    )
                    due.difference_update(left)
                    late = iter(here(left))
                # All of `late` are taken before there are others.
                yield waiting.pop(number, None) or next(late)
        finally:
            ended.set()

    return tf.data.Dataset.from_generator(
        ordered, output_signature=windows.element_spec
    ).apply(tf.data.experimental.assert_cardinality(len(numbers)))


def _connect(address):
    at = urllib.parse.urlsplit(address)
    try:
        socket.create_connection((at.hostname, at.port), CONNECT_S).close()
    except OSError as error:
        raise UserError(
            f"--data_service={address}: nobody answers there "
            f"({error.strerror or error}); start a dispatcher, see "
            "docs/training.md"
        ) from error


def _fetch(windows, address, count, found, ended):
    """Puts windows as they come, then None or an error."""

    def put(item):
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                return found.put(item, timeout=1)

    service = tf.data.experimental.service
    try:
        elsewhere = service.distribute(
            service.ShardingPolicy.DYNAMIC, address, compression=None
        )
        for window in windows.apply(elsewhere).take(count):
            put(window)
            if ended.is_set():
                return
        put(None)
    except Exception as error:
        put(error)


def _fail(flag, error, here, left):
    """Raises what tells an error; a worker's, after reading what is left."""
    if not isinstance(error, tf.errors.OpError):
        raise error
    line, *_ = error.message.strip().splitlines() or [""]
    found = re.search(r"from worker (\S+): (?:.*Iterator::\S+: )?(.*)", line)
    if not found:
        raise UserError(
            f"{flag}: the dispatcher says: {line}; it must be one of "
            f"TensorFlow {tf.__version__}, see docs/training.md"
        ) from error
    for _ in here(left):
        pass
    raise UserError(
        f"{flag}: worker {found[1]} fails ({found[2]}), and this process read "
        f"the next {wording.count(len(left), 'window')}; records must be the "
        "same, at the same path, for all workers"
    ) from error
