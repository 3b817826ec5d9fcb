"""Records: prepared clips on disk, written and parsed here.

A records folder holds `manifest.json`, see `affwild_omg.data.manifest`, and a
TFRecord file for each clip, `<split>/<video>/<utterance>.tfrecord`. A record is
a chunk of a clip: `CHUNK` consecutive frames, the last one what is left. It is
a `tf.train.Example` with these features (F frames):

    schema_version  int64 [1]
    video           bytes [1]
    utterance       bytes [1]
    start           int64 [1]        the clip's frames before it
    time_us         int64 [F]        microseconds since the clip's first frame
    image           bytes [F]        PNG or JPEG, RGB, 96x96; black without a
                                     face
    landmarks       float [F * 136]  x, y of 68 points in crop pixels
    face            int64 [F]        1 where a face was found
    valence         float [F]        NaN where a frame has no label
    arousal         float [F]

PNG keeps the crops bit for bit, and JPEG does not. What is evaluated from
records is what is predicted from the video itself even so, because a model that
learned from JPEG has its crops pass through `as_kept`. Chunks keep memory
constant in the length of a clip, and windows of any length can be cut from
them.
"""

import dataclasses
import errno
import itertools
import pathlib
import zlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from affwild_omg.paper.task import CROP_SIZE, LANDMARKS, TARGETS
from affwild_omg.paper.treatment import JPEG, JPEG_QUALITY, PNG
from affwild_omg.storage import files

SCHEMA_VERSION = 2
SUFFIX = ".tfrecord"
CHUNK = 20  # frames of a record: the paper's 80 are four

FRAMING = 12, 4  # bytes of TFRecord before and behind a record

_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
_NAN = float("nan")


def _frames_of(shape, kind, default=None):
    return tf.io.FixedLenSequenceFeature(
        shape, kind, allow_missing=True, default_value=default
    )


_FEATURES = {
    "time_us": _frames_of([], tf.int64),
    "image": _frames_of([], tf.string),
    "landmarks": _frames_of([LANDMARKS, 2], tf.float32),
    "face": _frames_of([], tf.int64),
    "valence": _frames_of([], tf.float32, _NAN),
    "arousal": _frames_of([], tf.float32, _NAN),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A frame as it goes into a record.

    Attributes:
        time_s: seconds since the clip's first frame.
        image: uint8 [96, 96, 3], RGB, aligned; black without a face.
        landmarks: float32 [68, 2], in crop pixels.
        face: whether a face was found.
        labels: valence and arousal, NaN where there is none.
    """

    time_s: float
    image: np.ndarray
    landmarks: np.ndarray
    face: bool
    labels: tuple[float, float] = (_NAN, _NAN)


def write_clip(
    path: pathlib.Path,
    video: str,
    utterance: str,
    frames: Iterable[Frame],
    crop_format: str = PNG,
) -> dict:
    """Writes a clip's file as its frames come, whole or not at all.

    Args:
        path: the file.
        video: id of the video.
        utterance: name of the utterance.
        frames: one or more, in order; one chunk at a time is held.
        crop_format: of `paper.treatment.CROP_FORMATS`.

    Returns:
        What the manifest says of the clip, see `affwild_omg.data.manifest`.

    Raises:
        ValueError: there is no frame, a frame's arrays do not have the shapes
            of `Frame`, or its time is not above that of the frame before, in
            microseconds.
        OSError: the file cannot be written, for lack of space among others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frames, chunks, time_s = iter(frames), [], -1.0
    count = found = 0
    sums, *counts = np.zeros((3, len(TARGETS)))
    low = high = np.full(len(TARGETS), _NAN)
    try:
        # Of a clip, a worker that was given up may be at work still.
        with files.whole(path, contended=True) as partial:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                while chunk := list(itertools.islice(frames, CHUNK)):
                    for frame in chunk:
                        _check(frame, time_s)
                        time_s = frame.time_s
                    record = _to_example(
                        video, utterance, count, chunk, crop_format
                    )
                    writer.write(record)
                    chunks.append([len(record), zlib.crc32(record)])
                    labels = np.array([frame.labels for frame in chunk], float)
                    faces = np.array([bool(frame.face) for frame in chunk])
                    known = np.isfinite(labels)
                    sums += np.where(known, labels, 0).sum(axis=0)
                    counts[0] += known.sum(axis=0)
                    counts[1] += known[faces].sum(axis=0)
                    for row in labels[faces]:
                        low, high = np.fmin(low, row), np.fmax(high, row)
                    count += len(chunk)
                    found += faces.sum()
            if not count:
                raise ValueError(f"{video}/{utterance} has no frame")
    except tf.errors.OpError as error:
        # TensorFlow's own name for a full disk, among others.
        raise OSError(errno.EIO, error.message, str(path)) from error
    return {
        "video": video,
        "utterance": utterance,
        "frames": count,
        "frames_without_face": int(count - found),
        "labels": {
            name: {
                "frames": int(labelled),
                "frames_with_face": int(seen),
                # More digits would be those of rounding.
                "mean": round(total / labelled, 9) if labelled else None,
                # Of frames with a face; left out where one label is of all.
                **({"varies": True} if differ else {}),
            }
            for name, total, labelled, seen, differ in zip(
                TARGETS, sums, *counts, low < high, strict=True
            )
        },
        "chunks": chunks,
    }


def _microseconds(time_s):
    return round(1e6 * time_s)


def _check(frame, before_s):
    for name, shape in (("image", _SHAPE), ("landmarks", (LANDMARKS, 2))):
        if np.shape(getattr(frame, name)) != shape:
            raise ValueError(
                f"{name} must be {list(shape)}, not "
                f"{list(np.shape(getattr(frame, name)))}"
            )
    if not _microseconds(frame.time_s) > _microseconds(before_s):
        raise ValueError(
            f"times must rise, but {frame.time_s} s follows {before_s} s"
        )


def _to_example(video, utterance, start, chunk, crop_format):
    train = tf.train

    def integers(values):
        return train.Feature(int64_list=train.Int64List(value=values))

    def floats(values):
        return train.Feature(float_list=train.FloatList(value=values))

    def strings(values):
        return train.Feature(bytes_list=train.BytesList(value=values))

    features = {
        "schema_version": integers([SCHEMA_VERSION]),
        "video": strings([video.encode()]),
        "utterance": strings([utterance.encode()]),
        "start": integers([start]),
        "time_us": integers([_microseconds(x.time_s) for x in chunk]),
        "image": strings(
            [_encode(frame.image, crop_format).numpy() for frame in chunk]
        ),
        "landmarks": floats(np.ravel([frame.landmarks for frame in chunk])),
        "face": integers([int(frame.face) for frame in chunk]),
    } | {
        name: floats([frame.labels[column] for frame in chunk])
        for column, name in enumerate(TARGETS)
    }
    example = train.Example(features=train.Features(feature=features))
    return example.SerializeToString()


def _encode(image, crop_format):
    if crop_format == JPEG:
        return tf.io.encode_jpeg(image, quality=JPEG_QUALITY)
    return tf.io.encode_png(image)


def parse(serialised) -> dict:
    """Parses consecutive records of a clip, eagerly or within tf.data.

    Images stay encoded: a window decodes only its own, see `decode`.

    Args:
        serialised: string [records]; all but the last hold `CHUNK` frames, or
            there is only one.

    Returns:
        {"time_us": int64 [F], "image": string [F], "landmarks": float32
        [F, 68, 2], "mask": bool [F], where a face was found, "labels": float32
        [F, 2], valence and arousal, NaN where there is none}, where F counts
        `CHUNK` frames for each of several records: what the last one lacks is
        zero, an empty string, or no label.
    """
    parsed = tf.io.parse_example(serialised, _FEATURES)
    flat = {
        name: tf.reshape(values, [-1, *values.shape[2:]])
        for name, values in parsed.items()
    }
    return {
        "time_us": flat["time_us"],
        "image": flat["image"],
        "landmarks": flat["landmarks"],
        "mask": flat["face"] > 0,
        "labels": tf.stack([flat[name] for name in TARGETS], axis=-1),
    }


def decode(image):
    """Decodes a crop, PNG or JPEG: a scalar string to uint8 [96, 96, 3]."""
    # Of whichever of the two it is. By default, JPEG is decoded coarsely, which
    # puts half as much again between the crop and what it was.
    image = tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, _SHAPE)


def as_kept(crops: np.ndarray, crop_format: str) -> np.ndarray:
    """Returns crops as records of a format give them back.

    Args:
        crops: uint8 [..., 96, 96, 3].
        crop_format: of `paper.treatment.CROP_FORMATS`.
    """
    if crop_format == PNG:
        return crops
    kept = np.empty_like(crops)
    for place in np.ndindex(crops.shape[:-3]):
        kept[place] = decode(_encode(crops[place], crop_format)).numpy()
    return kept
