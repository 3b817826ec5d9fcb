"""Face crops of single utterances: to look at, and what they are like."""

from collections.abc import Sequence

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data.manifest import Clip, Manifest
from affwild_omg.data.records import CHUNK, decode, parse
from affwild_omg.faces import quality

# What training crops are known by: at most so many clips, and frames of each.
CLIPS, FRAMES = 500, 9

# Clips without which nothing is told: one in twenty would be told in vain.
LEAST = 39


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


def ranges(clips: Sequence[Clip]) -> dict[str, tuple[float, float]] | None:
    """Finds where the crops of a further clip like these are to be expected.

    Each clip stands for its group (person, source or video), and is known by
    the medians of `quality.measure_crop` over some of its faces. Of n such
    medians in order, the range is from the kth to the (n + 1 - k)th with k =
    max(1, (n + 1) // 100). That of one more clip is as likely to take any of
    the n + 1 places among them, so that it lies outside with a probability of
    2 k / (n + 1): at most 2 % from 99 groups on, 5 % of 39.

    Args:
        clips: of a split.

    Returns:
        {"brightness", "contrast", "blur": (lowest, highest)}, None of fewer
        groups with a face than LEAST.

    Raises:
        Damaged: a record is, see `Manifest.reading`.
    """
    groups = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    chosen = [group[len(group) // 2] for group in groups.values()]
    if len(chosen) > CLIPS:
        places = np.random.default_rng(0).permutation(len(chosen))[:CLIPS]
        chosen = [chosen[place] for place in places]
    found = []
    for clip in chosen if len(chosen) >= LEAST else ():
        images, face = _pick(clip, FRAMES)
        seen = [quality.measure_crop(image) for image in images[face]]
        if seen:
            found.append({x: np.median([y[x] for y in seen]) for x in seen[0]})
    if len(found) < LEAST:
        return None
    rank = max(1, (len(found) + 1) // 100)
    ordered = {x: sorted(float(y[x]) for y in found) for x in found[0]}
    return {x: (y[rank - 1], y[-rank]) for x, y in ordered.items()}


def _pick(clip, count):
    last = clip.frames - 1
    images, face = [], []
    for frame in np.unique(np.linspace(0, last, count).round().astype(int)):
        parsed = parse(clip.read(frame, frame + 1))
        images.append(decode(parsed["image"][frame % CHUNK]).numpy())
        face.append(bool(parsed["mask"][frame % CHUNK]))
    return np.stack(images), np.array(face)
