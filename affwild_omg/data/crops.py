"""Face crops of single utterances, to look at."""

import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import manifest, records
from affwild_omg.data.records import CHUNK


def read(
    folder: pathlib.Path | str, split: str, keys: Sequence[str], count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads evenly spaced crops of some utterances, and nothing else.

    Args:
        folder: of the records.
        split: that holds the utterances.
        keys: "<video>/<utterance>" each.
        count: frames of each; all of a shorter one.

    Returns:
        {key: (images, face)} in the order of the keys: uint8 [frames, 96, 96,
        3], black without a face, and bool [frames].

    Raises:
        UserError: the records cannot be used, or lack an utterance.
    """
    clips = {clip.key: clip for clip in manifest.clips(folder, split)}
    missing = [key for key in keys if key not in clips]
    if missing:
        raise UserError(
            f"--records={folder} has no utterance {missing[0]} in {split}; "
            "give the records that were evaluated"
        )
    with manifest.reading(folder, split):
        return {key: _pick(clips[key], count) for key in keys}


def find_split(folder: pathlib.Path | str, keys: Sequence[str]) -> str:
    """Returns the split of the records that holds some utterances.

    Args:
        folder: of the records.
        keys: "<video>/<utterance>" each.

    Raises:
        UserError: the records cannot be used, or no split holds them all.
    """
    splits = manifest.splits(folder)
    for split, clips in splits.items():
        if {clip.key for clip in clips}.issuperset(keys):
            return split
    raise UserError(
        f"--records={folder}: none of {', '.join(splits)} has all of "
        f"{listed(keys)}; give the records of these utterances, or leave "
        "--records out"
    )


def _pick(clip, count):
    last = clip.frames - 1
    images, face = [], []
    for frame in np.unique(np.linspace(0, last, count).round().astype(int)):
        parsed = records.parse(clip.read(frame, frame + 1))
        images.append(records.decode(parsed["image"][frame % CHUNK]).numpy())
        face.append(bool(parsed["mask"][frame % CHUNK]))
    return np.stack(images), np.array(face)
