"""Face crops of some utterances."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import records


def read(
    folder: pathlib.Path | str, split: str, keys: Sequence[str], count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads evenly spaced crops of some utterances.

    Only the files of their videos are read, and only those crops decoded.

    Args:
        folder: of the records.
        split: that holds the utterances.
        keys: "<video>/<utterance>" each.
        count: frames of each; all of a shorter one.

    Returns:
        {key: (crops, uint8 [count, 96, 96, 3] RGB; whether each has a face,
        bool [count])} in the order of the keys.

    Raises:
        UserError: the records cannot be used, or lack an utterance.
    """
    records.check_files(folder, split)
    clips = records.read_utterances(folder, split)
    videos = {f"{clip['video']}/{clip['utterance']}": clip for clip in clips}
    missing = [key for key in keys if key not in videos]
    if missing:
        raise UserError(
            f"--records={folder} has no utterance {missing[0]} in {split}; "
            "give the records that were evaluated"
        )
    found = {}
    with records.reading(folder, split):
        for video in dict.fromkeys(videos[key]["video"] for key in keys):
            file = pathlib.Path(folder) / split / f"{video}.tfrecord"
            for serialised in tf.data.TFRecordDataset(str(file)):
                record = records.parse(serialised)
                key = record["key"].numpy().decode()
                if key in keys:
                    found[key] = _pick(record, count)
    return {key: found[key] for key in keys}


def find_split(folder: pathlib.Path | str, keys: Sequence[str]) -> str:
    """Returns the split that holds some utterances, "<video>/<utterance>".

    Raises:
        UserError: the records cannot be used, or no split holds them all.
    """
    splits = records.read_manifest(folder)["splits"]
    for split, part in splits.items():
        held = {f"{x['video']}/{x['utterance']}" for x in part["utterances"]}
        if held.issuperset(keys):
            return split
    raise UserError(
        f"--records={folder}: none of {', '.join(splits)} has all of "
        f"{listed(keys)}; give the records of these utterances, or leave "
        "--records out"
    )


def _pick(record, count):
    last = len(record["face"]) - 1
    frames = np.unique(np.linspace(0, last, count).round().astype(int))
    images = records.decode(tf.gather(record["image"], frames)).numpy()
    return images, record["face"].numpy()[frames]
