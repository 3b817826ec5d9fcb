"""Aff-Wild2 as the ABAW competitions give it.

Annotations are `<set>/<name>.txt`, see `SETS`, with the header
`valence,arousal` and a line for each frame; films `<name>.mp4` or `.avi` in
batch1 and batch2, crops `cropped_aligned/<name>/00001.jpg`, of which those are
missing in which no face was found. Where a film shows two people, annotations
and crops of each end in `_left` or `_right`.
"""

import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import annotations, folders
from affwild_omg.corpora.clips import Clip
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
    """Reads Aff-Wild2's annotations.

    Args:
        source: folder that holds all, at any depth.
        problems: takes what is left out.
        frames: whether clips are films or crops.

    Returns:
        The clips by their names, those of train first.

    Raises:
        UserError: there is no annotation.
    """
    media, texts = folders.Media(source, frames), {}
    for folder, names in folders.walk(source, problems):
        media.add(folder, names)
        if folder.name.lower() in SETS:
            for name in names:
                _enter(texts, folder / name, problems)
    clips = []
    for name, (split, _, labels) in texts.items():
        stem, _, side = name.rpartition("_")
        two = side in SIDES and name not in media
        video = stem if side in SIDES else name
        # Crops are of one person already.
        found = stem if two and frames == folders.VIDEO else name
        clips.append(
            Clip(
                split=split,
                video=video,
                utterance=name,
                frame_labels=labels,
                side=side if two and frames == folders.VIDEO else None,
                **media.of(found, problems),
            )
        )
    if not clips:
        raise UserError(
            f"--source={source} holds no annotation of Aff-Wild2; put "
            "Train_Set/<name>.txt, with the header valence,arousal, anywhere "
            "below it"
        )
    order = list(SETS.values())
    return sorted(clips, key=lambda x: (order.index(x.split), x.utterance))


def _enter(texts, path, problems):
    """Enters an annotation: its split, path and labels by its name."""
    if path.suffix != ".txt":
        return
    lines = annotations.read_lines(path, problems)
    if lines is None:
        return
    header = [cell.strip().lower() for cell in lines[0].split(",")]
    if header[0] in OTHER_TASKS:
        return
    if sorted(header) != sorted(HEADER):
        problems.add(
            f"{path}: the first line must be valence,arousal, not "
            f"{lines[0][:40]!r}; the file is left out"
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
    texts[path.stem] = SETS[path.parent.name.lower()], path, labels
