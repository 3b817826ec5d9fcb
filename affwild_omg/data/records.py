"""Prepared clips on disk: the TFRecord schema, written and parsed here.

A records folder holds `manifest.json` and, for each split, a folder with one
TFRecord file a video: `<split>/<video>.tfrecord`. A record is one utterance,
a `tf.train.Example` with these features (T frames):

    schema_version  int64 [1]
    video           bytes [1]
    utterance       bytes [1]
    fps             float [1]        frames a second
    image           bytes [T]        PNG, RGB, 96x96; black without a face
    landmarks       float [T * 136]  x, y of 68 points in crop pixels
    face            int64 [T]        1 where a face was found
    valence         float [0 | 1 | T]  none, one for the clip, or one a frame
    arousal         float [0 | 1 | T]

PNG keeps the crops bit for bit: what is evaluated from records is what is
predicted from the video itself.
"""

import contextlib
import dataclasses
import errno
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS
from affwild_omg.storage import files

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_REMEDY = (
    "make the records again with python -m affwild_omg.prepare --overwrite"
)


def _frames_of(shape, kind):
    return tf.io.FixedLenSequenceFeature(shape, kind, allow_missing=True)


_FEATURES = {
    "schema_version": tf.io.FixedLenFeature([], tf.int64),
    "video": tf.io.FixedLenFeature([], tf.string),
    "utterance": tf.io.FixedLenFeature([], tf.string),
    "fps": tf.io.FixedLenFeature([], tf.float32),
    "image": _frames_of([], tf.string),
    "landmarks": _frames_of([LANDMARKS, 2], tf.float32),
    "face": _frames_of([], tf.int64),
    "valence": _frames_of([], tf.float32),
    "arousal": _frames_of([], tf.float32),
}


_LISTS = {
    tf.int64: ("int64_list", tf.train.Int64List),
    tf.float32: ("float_list", tf.train.FloatList),
    tf.string: ("bytes_list", tf.train.BytesList),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedClip:
    """One utterance as it goes into a record.

    Attributes:
        video: id of the video.
        utterance: name of the utterance.
        fps: frames a second.
        images: uint8 [T, 96, 96, 3], RGB.
        landmarks: float32 [T, 68, 2], in crop pixels.
        face: bool [T].
        valence: no value, one for the clip, or T.
        arousal: likewise.
    """

    video: str
    utterance: str
    fps: float
    images: np.ndarray
    landmarks: np.ndarray
    face: np.ndarray
    valence: Sequence[float] = ()
    arousal: Sequence[float] = ()


def to_example(clip: PreparedClip) -> bytes:
    """Serialises a clip.

    Raises:
        ValueError: a field does not have its shape in `PreparedClip`, or there
            is no frame.
    """
    frames = len(clip.images)
    for name, shape in {
        "images": (frames, CROP_SIZE, CROP_SIZE, 3),
        "landmarks": (frames, LANDMARKS, 2),
        "face": (frames,),
    }.items():
        if not frames or np.shape(getattr(clip, name)) != shape:
            raise ValueError(
                f"{name} must be {shape} with at least one frame, not "
                f"{np.shape(getattr(clip, name))}"
            )
    for name in ("valence", "arousal"):
        labels = getattr(clip, name)
        if len(labels) not in (0, 1, frames):
            raise ValueError(
                f"{name} must hold 0, 1 or {frames} values, not {len(labels)}"
            )
    values = {
        "schema_version": [SCHEMA_VERSION],
        "video": [clip.video.encode()],
        "utterance": [clip.utterance.encode()],
        "fps": [clip.fps],
        "image": [tf.io.encode_png(image).numpy() for image in clip.images],
        "landmarks": np.ravel(clip.landmarks),
        "face": np.asarray(clip.face, np.int64),
        "valence": clip.valence,
        "arousal": clip.arousal,
    }
    features = {}
    for name, value in values.items():
        field, kind = _LISTS[_FEATURES[name].dtype]
        features[name] = tf.train.Feature(**{field: kind(value=value)})
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


def write_records(path: pathlib.Path, clips: Iterable[PreparedClip]) -> None:
    """Writes the clips of one video.

    Raises:
        OSError: the file cannot be written, for example to a full disk.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for clip in clips:
                writer.write(to_example(clip))
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message, str(path)) from error


def parse(serialised) -> dict:
    """Parses a record, eagerly or in tf.data. Images stay encoded.

    Args:
        serialised: scalar string.

    Returns:
        key ("<video>/<utterance>") and fps: scalars; image: string [T];
        landmarks: float32 [T, 68, 2]; face: bool [T]; labels: float32 [T, 2],
        valence and arousal, NaN where there is none.
    """
    parsed = tf.io.parse_single_example(serialised, _FEATURES)
    frames = tf.shape(parsed["image"])

    def labels(name):
        return tf.cond(
            tf.size(parsed[name]) > 0,
            lambda: tf.broadcast_to(parsed[name], frames),
            lambda: tf.fill(frames, np.float32(np.nan)),
        )

    return {
        "key": parsed["video"] + "/" + parsed["utterance"],
        "fps": parsed["fps"],
        "image": parsed["image"],
        "landmarks": parsed["landmarks"],
        "face": parsed["face"] > 0,
        "labels": tf.stack([labels("valence"), labels("arousal")], axis=-1),
    }


def decode(images):
    """Decodes PNG crops: string [T] to uint8 [T, 96, 96, 3].

    An empty string, which pads a window, becomes black.
    """
    shape = (CROP_SIZE, CROP_SIZE, 3)
    return tf.map_fn(
        lambda image: tf.cond(
            image == b"",
            lambda: tf.zeros(shape, tf.uint8),
            lambda: tf.ensure_shape(tf.io.decode_png(image, channels=3), shape),
        ),
        images,
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def read_manifest(records: pathlib.Path | str) -> dict:
    """Reads and checks the manifest of a records folder.

    Raises:
        UserError: there is none, it cannot be read, or its schema is another.
    """
    path = pathlib.Path(records) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except FileNotFoundError as error:
        raise UserError(
            f"--records={records} holds no {MANIFEST}; make records with "
            "python -m affwild_omg.prepare"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{path} is not a manifest of records ({error!r}); {_REMEDY}"
        ) from error
    _check_version(path, version)
    return manifest


def read_utterances(records: pathlib.Path | str, split: str) -> list[dict]:
    """Returns the manifest's utterances of a split, in the records' order.

    Raises:
        UserError: the manifest cannot be used, or has no such split.
    """
    splits = read_manifest(records)["splits"]
    prepared = [name for name in splits if splits[name]["prepared"]]
    if split not in prepared:
        raise UserError(
            f"--records={records} has no utterance of split {split!r}; it "
            f"has {', '.join(prepared) or 'none at all'}"
        )
    return splits[split]["utterances"]


def list_files(records: pathlib.Path | str, split: str) -> list[str]:
    """Returns a split's TFRecord files in the manifest's order.

    Raises:
        UserError: as `read_utterances`.
    """
    clips = read_utterances(records, split)
    return [
        str(pathlib.Path(records) / split / f"{video}.tfrecord")
        for video in dict.fromkeys(clip["video"] for clip in clips)
    ]


def check_files(records: pathlib.Path | str, split: str) -> None:
    """Checks that a split's files are there, by the first record of each.

    Raises:
        UserError: as `list_files`; or a file is missing, damaged, or of
            another schema version.
    """
    for file in list_files(records, split):
        try:
            first = next(iter(tf.data.TFRecordDataset(file).take(1)), None)
            if first is None:
                raise UserError(f"{file} holds no record; {_REMEDY}")
            feature = tf.train.Example.FromString(
                first.numpy()
            ).features.feature
        except tf.errors.NotFoundError as error:
            raise UserError(
                f"{file} is missing although the manifest lists it; {_REMEDY}"
            ) from error
        except (tf.errors.DataLossError, message.DecodeError) as error:
            raise UserError(
                f"{file} is damaged or not a TFRecord file; {_REMEDY}"
            ) from error
        _check_version(file, *feature["schema_version"].int64_list.value)


def require_labels(records: pathlib.Path | str, split: str) -> None:
    """Checks that each utterance of a split has its labels.

    Raises:
        UserError: some have none, or the records cannot be used.
    """
    check_files(records, split)
    clips = read_utterances(records, split)
    bare = [clip for clip in clips if not clip["labelled"]]
    if bare:
        raise UserError(
            f"--records={records}: {len(bare)} of {len(clips)} utterances of "
            f"{split} have no labels, {bare[0]['video']}/"
            f"{bare[0]['utterance']} the first; prepare them from a table "
            "with arousal and valence"
        )


def digest(records: pathlib.Path | str) -> str:
    """Returns the SHA-256 of the manifest, by which results name records."""
    return files.digest(pathlib.Path(records, MANIFEST))


@contextlib.contextmanager
def reading(records: pathlib.Path | str, split: str) -> Iterator[None]:
    """Names the folder and the split in errors of the block that reads it.

    Raises:
        UserError: a record is cut off or not of the schema, or the block
            raised one.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"--records={records}, {split}: {error}") from error
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise UserError(
            f"--records={records}: a file of {split} is damaged or cut off "
            f"({error.message.splitlines()[0][:120]}); {_REMEDY}"
        ) from error


def _check_version(path, version=None):
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}: {_REMEDY}"
        )
