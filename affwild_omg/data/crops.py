"""Face crops of single utterances, to look at."""

from collections.abc import Sequence

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data.manifest import Manifest
from affwild_omg.data.records import CHUNK, decode, parse


def read(
    records: Manifest, split: str, keys: Sequence[str], count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads evenly spaced crops of some utterances, and nothing else.

    Args:
        records: that are there.
        split: that holds the utterances.
        keys: "<video>/<utterance>" each.
        count: frames of each; all of a shorter one.

    Returns:
        {key: (images, face)} in the order of the keys: uint8 [frames, 96, 96,
        3], black without a face, and bool [frames].

    Raises:
        UserError: the records lack the split or an utterance, or are damaged.
    """
    clips = {clip.key: clip for clip in records.clips(split)}
    missing = [key for key in keys if key not in clips]
    if missing:
        raise UserError(
            f"--records={records.folder} has no utterance {missing[0]} in "
            f"{split}; give the records that were evaluated"
        )
    with records.reading(split):
        return {key: _pick(clips[key], count) for key in keys}


def find_split(records: Manifest, keys: Sequence[str]) -> str:
    """Returns the split of the records that holds some utterances.

    Args:
        records: that are there.
        keys: "<video>/<utterance>" each.

    Raises:
        UserError: no split holds them all.
    """
    for split, clips in records.splits.items():
        if {clip.key for clip in clips}.issuperset(keys):
            return split
    raise UserError(
        f"--records={records.folder}: none of {', '.join(records.splits)} has "
        f"all of {listed(keys)}; give the records of these utterances, or "
        "leave --records out"
    )


def _pick(clip, count):
    last = clip.frames - 1
    images, face = [], []
    for frame in np.unique(np.linspace(0, last, count).round().astype(int)):
        parsed = parse(clip.read(frame, frame + 1))
        images.append(decode(parsed["image"][frame % CHUNK]).numpy())
        face.append(bool(parsed["mask"][frame % CHUNK]))
    return np.stack(images), np.array(face)
