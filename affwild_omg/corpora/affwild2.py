"""Aff-Wild2 as the ABAW competitions give it.

Annotations are `<set>/<name>.txt`, see `SETS`, with the header
`valence,arousal` and a line for each frame; films `<name>.mp4` or `.avi` in
batch1 and batch2, crops `cropped_aligned/<name>/00001.jpg`, of which those are
missing in which no face was found. Where a film shows two people, annotations
and crops of each end in `_left` or `_right`.
"""

import pathlib

from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.corpora import annotations, folders
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.corpora.problems import STRICT, Problems

SETS = {
    "train_set": "train",
    "training_set": "train",
    "validation_set": "validation",
    "test_set": "test",
}
SIDES = ("left", "right")
HEADER = ["valence", "arousal"]
# How the headers of the competitions' other tasks begin.
OTHER_TASKS = ("au1", "neutral")


def read(
    source: pathlib.Path | str,
    problems: Problems = STRICT,
    frames: str = folders.VIDEO,
) -> list[Clip]:
    """Reads Aff-Wild2's annotations, as `corpora.readers` says."""
    media, texts, others = folders.Media(source, frames), {}, []
    for folder, names in folders.walk(source, problems):
        media.add(folder, names)
        if folder.name.lower() in SETS:
            for name in names:
                _enter(texts, folder / name, others, problems)
    clips = []
    for name, (split, _, labels) in texts.items():
        video, found, side = _of_one_person(name, media, texts)
        if frames == folders.CROPS:  # which are of one person already
            found, side = name, None
        clips.append(
            Clip(
                split=split,
                # Not the film: two people are no neighbours in time.
                video=name,
                utterance=name,
                source=video,
                frame_labels=labels,
                side=side,
                **media.of(found, problems),
            )
        )
    if not clips:
        raise UserError(
            f"--source={source} holds no annotation of Aff-Wild2; put "
            "Train_Set/<name>.txt, with the header valence,arousal, anywhere "
            "below it"
        )
    media.tell_rest()
    folders.tell_unused(others, "annotation", "of other tasks")
    if bare := [x.key for x in clips if x.side and x.utterance == x.source]:
        logging.warning(
            "%s: of a film in which one person alone has a side; taken for the "
            "person on the other",
            listed(bare),
        )
    return sorted(clips, key=lambda x: (SPLITS.index(x.split), x.utterance))


def _of_one_person(name, media, texts):
    """Returns the video and the film of an annotation, and its side if any."""
    stem, _, ending = name.rpartition("_")
    if ending in SIDES:
        alone = name in media  # a film of that very name
        return stem, *((name, None) if alone else (stem, ending))
    taken = {
        side
        for side in SIDES
        if f"{name}_{side}" in texts and f"{name}_{side}" not in media
    }
    # Two annotations of a film are of two people.
    (side,) = set(SIDES) - taken if len(taken) == 1 else (None,)
    return name, name, side


def _enter(texts, path, others, problems):
    """Enters an annotation: its split, path and labels by its name."""
    if path.suffix != ".txt":
        return
    split = SETS[path.parent.name.lower()]
    lines = annotations.read_lines(path, problems, split)
    if lines is None:
        return
    header = [cell.strip().lower() for cell in lines[0].split(",")]
    if header[0] in OTHER_TASKS:
        others.append(path)
        return
    if sorted(header) != sorted(HEADER):
        problems.add(
            f"{path}: the first line must be valence,arousal, not "
            f"{lines[0][:40]!r}; the file is left out",
            split=split,
        )
        return
    if len(lines) == 1:
        problems.add(
            f"{path} has a header alone; a line for each frame is needed: get "
            "the file again; it is left out",
            split=split,
        )
        return
    if path.stem in texts:
        problems.add(
            f"{path}: {texts[path.stem][1]} is of the same video; each may "
            "have one: it is left out"
        )
        return
    rows = (line.split(",") for line in lines[1:])
    if header != HEADER:
        rows = (row[::-1] for row in rows)
    labels = annotations.columns(rows, path, problems, first=2)
    texts[path.stem] = split, path, labels
