"""Describes a corpus before hours are spent on it."""

import itertools
from collections.abc import Sequence

import numpy as np

from affwild_omg.cli import wording
from affwild_omg.cli.tables import Table
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.corpora.folders import CROPS
from affwild_omg.storage import parallel

ALL = "all"
# Section 3 of the paper: videos, clips, and frames by corpus and split.
PAPER = {
    "omg": {
        "train": {"videos": 231, "clips": 2442},
        "validation": {"videos": 60, "clips": 617},
        "test": {"videos": 204, "clips": 2229},
        ALL: {"videos": 495},
    },
    "affwild": {ALL: {"videos": 298, "frames": 1_224_100}},
    "affwild2": {ALL: {"videos": 558, "frames": 2_786_201}},
}
# Of OMG-Emotion's utterances, whose lengths only their files tell: 8 s, at 25
# frames a second.
FRAMES_OF_UTTERANCE = 200
# Frames that a core prepares in a second: see docs/faces.md. Of ready crops 70.
RATE = 60
KB = 17  # of a frame in a record
KB_UNTIL_DONE = 28  # of a frame with a face, until its clip is done


def by_split(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Returns the clips of each split that has any."""
    parts = {x: [clip for clip in clips if clip.split == x] for x in SPLITS}
    return {split: part for split, part in parts.items() if part}


def labels(clips: Sequence[Clip]) -> np.ndarray:
    """Returns all labels, valence and arousal, NaN for none: [labels, 2]."""
    found = [
        np.transpose(clip.frame_labels)
        if clip.frame_labels
        else [[clip.valence, clip.arousal]]
        for clip in clips
    ]
    return np.concatenate(found).astype(float)


def lines(
    clips: Sequence[Clip], corpus: str, frames: str, problems: int
) -> list[str]:
    """Describes a corpus in lines for a console.

    Args:
        clips: of the reader, one or more.
        corpus: its name, by which the paper's counts are found.
        frames: one of `folders.FRAMES`.
        problems: how many the reader told.

    Returns:
        A table of each split, in which "(paper)" follows what the paper counts;
        what splits share; and what preparation will take.
    """
    parts = by_split(clips)
    rows = [
        _row(split, part, PAPER.get(corpus, {}).get(split, {}))
        for split, part in [*parts.items(), (ALL, clips)]
    ]
    table = Table(
        [
            *("", "videos", "(paper)", "clips", "(paper)", "there", "frames"),
            *("(paper)", "not annotated", "without picture"),
        ],
        rows,
    )
    return [
        *table.lines(),
        "",
        *_shared(parts),
        _effort(clips, frames),
        f"{wording.count(problems, 'problem')} in the annotations",
    ]


def _row(split, clips, paper):
    known = np.isfinite(labels(clips)).all(axis=1)
    listed = [clip for clip in clips if clip.pictures is not None]
    return [
        split,
        f"{len({clip.video for clip in clips}):,}",
        _or_none(paper.get("videos")),
        f"{len(clips):,}",
        _or_none(paper.get("clips")),
        f"{sum(clip.found for clip in clips):,}",
        _or_none(sum(map(_frames, clips))),
        _or_none(paper.get("frames")),
        f"{1 - known.mean():.1%}",
        f"{sum(map(_gaps, listed)):,}" if listed else wording.NONE,
    ]


def _or_none(number):
    return f"{number:,}" if number else wording.NONE


def _frames(clip):
    """Returns how many frames are known of, 0 if only the file tells."""
    return max(clip.rows, len(clip.pictures or ()))


def _gaps(clip):
    return _frames(clip) - sum(map(bool, clip.pictures))


def _shared(parts):
    """Yields what stands in two splits, or that nothing does."""
    for one, other in itertools.combinations(parts, 2):
        shared = []
        for what in ("video", "source", "person"):
            first, second = (
                {getattr(clip, what) for clip in parts[x]} - {None}
                for x in (one, other)
            )
            if first and second:
                shared.append(wording.count(len(first & second), what))
        yield f"{one} and {other} share {', '.join(shared)}"


def _effort(clips, frames):
    found = [clip for clip in clips if clip.found]
    lengths = [_frames(clip) or FRAMES_OF_UTTERANCE for clip in found]
    total, cores = sum(lengths), parallel.cores()
    guessed = any(not _frames(clip) for clip in found)
    hours, size = total / (RATE * cores) / 3600, total * KB / 1e6
    text = (
        f"preparing what is there will take about {hours:.1f} hours, at {RATE} "
        f"frames a second on each of {wording.count(cores, 'core')}, and "
        f"{size:.1f} GB, at {KB} KB a frame"
    )
    if frames != CROPS and found:
        longest = sum(sorted(lengths)[-cores:])
        text += f", and {longest * KB_UNTIL_DONE / 1e6:.1f} GB meanwhile"
    return text + f" ({FRAMES_OF_UTTERANCE} frames a clip)" * guessed
