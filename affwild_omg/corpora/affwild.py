"""Aff-Wild: a text file of valence, and one of arousal, for each video.

Annotations are `<split>/valence/<video>.txt` and `<split>/arousal/<video>.txt`
without a header; line i, from 1 on, is that of frame i. One copy in circulation
has whole numbers, in thousandths. Films are `<video>.mp4` or `.avi`, crops
`<video>/<number>.jpg`, of which those without a face are missing.
"""

import contextlib
import itertools
import math
import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import annotations, folders
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.corpora.problems import STRICT, Problems
from affwild_omg.paper.task import TARGETS

THOUSANDTHS = 1000.0
# Beyond what stands for "not annotated", whole numbers are thousandths.
MOST_UNITS = 5.0


def read(
    source: pathlib.Path | str,
    problems: Problems = STRICT,
    frames: str = folders.VIDEO,
) -> list[Clip]:
    """Reads Aff-Wild's annotations, as `corpora.readers` says."""
    media, texts = folders.Media(source, frames), {}
    for folder, names in folders.walk(source, problems):
        media.add(folder, names)
        target, split = folder.name.lower(), folder.parent.name.lower()
        if target in TARGETS and split in SPLITS:
            for path in map(folder.joinpath, names):
                if path.suffix == ".txt":
                    _enter(texts, (split, path.stem), target, path, problems)
    scale = _scale(texts)
    clips, seen = [], {}
    for (split, video), both in sorted(
        texts.items(), key=lambda x: (SPLITS.index(x[0][0]), x[0][1])
    ):
        labels = _labels(both, scale, problems)
        if labels and video in seen:
            problems.add(
                f"{both[TARGETS[0]][0]}: {video} is of {seen[video]} already; "
                "each video may be of one split: it is left out"
            )
            labels = None
        seen.setdefault(video, split)
        if not labels:
            problems.left_out[split] += 1
        else:
            clips.append(
                Clip(
                    split=split,
                    video=video,
                    utterance=video,
                    frame_labels=labels,
                    **media.of(video, problems),
                )
            )
    if not clips:
        raise UserError(
            f"--source={source} holds no annotation of Aff-Wild; put "
            "train/valence/<video>.txt and train/arousal/<video>.txt anywhere "
            "below it"
        )
    media.tell_rest()
    return clips


def _enter(texts, key, target, path, problems):
    both = texts.setdefault(key, {})
    if target in both:
        problems.add(
            f"{path}: {both[target][0]} is of the same video; each may have "
            "one: it is left out"
        )
    elif (lines := annotations.read_lines(path, problems)) is not None:
        if lines[0].strip().lower() in TARGETS:
            problems.add(
                f"{path}: the first line must be the value of frame 1, not "
                f"{lines[0]!r}; the file is left out: remove that line"
            )
        else:
            both[target] = path, lines


def _scale(texts):
    """Returns what all values are divided by."""
    largest = 0.0
    for _, lines in itertools.chain(*(x.values() for x in texts.values())):
        for line in lines:
            with contextlib.suppress(ValueError):  # a bad line says nothing
                if math.isfinite(value := float(line)):
                    if not value.is_integer():
                        return 1.0
                    largest = max(largest, abs(value))
    return THOUSANDTHS if largest > MOST_UNITS else 1.0


def _labels(both, scale, problems):
    """Returns the labels of a video's two files; None if one is missing."""
    for here, missing in (TARGETS, TARGETS[::-1]):
        if here in both and missing not in both:
            problems.add(
                f"{both[here][0]}: there is no good file of {missing} for the "
                "same video; both are needed: it is left out"
            )
    if both.keys() != set(TARGETS):
        return None
    (path, valence), (other, arousal) = (both[target] for target in TARGETS)
    if len(valence) != len(arousal):
        problems.add(
            f"{path} has {len(valence)} lines, but {other} has {len(arousal)}; "
            "each frame needs both: those beyond are not annotated"
        )
    none = str(annotations.NONE * scale)
    rows = itertools.zip_longest(valence, arousal, fillvalue=none)
    return annotations.columns(rows, path, problems, scale=scale)
