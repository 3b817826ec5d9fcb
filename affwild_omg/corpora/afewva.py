"""AFEW-VA: clips of films, a picture for each frame, and a JSON file each.

`<clip>/<clip>.json` beside the pictures `<clip>/00000.png`, and so on:

    {"actor": "...", "frames": {"00000": {"valence": 3, "arousal": -2}, ...}}

Values are -10 to 10; here they are divided by 10. There are no splits: all
clips are of train.
"""

import json
import pathlib

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import annotations, folders
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.problems import STRICT, Problems

SPLIT = "train"
SCALE = 10.0
MOST_FRAMES = 10**6  # of a clip, which have about 150


def read(
    source: pathlib.Path | str,
    problems: Problems = STRICT,
    frames: str = folders.VIDEO,
) -> list[Clip]:
    """Reads AFEW-VA, as `corpora.readers` says; there are no crops."""
    if frames == folders.CROPS:
        raise UserError(
            "--frames=crops does not go with --corpus=afewva, which has whole "
            "pictures only"
        )
    clips, others = {}, folders.Media(source, folders.CROPS)
    for folder, names in folders.walk(source, problems):
        if f"{folder.name}.json" not in names:
            others.add(folder, names)
            continue
        path = folder / f"{folder.name}.json"
        clip = _read_clip(path, names, problems)
        if clip and clip.utterance in clips:
            problems.add(
                f"{path}: {clips[clip.utterance].path} is of the same name; "
                "each may be there once: it is left out"
            )
        elif clip:
            clips[clip.utterance] = clip
    if not clips:
        raise UserError(
            f"--source={source} holds no clip of AFEW-VA; put "
            "<clip>/<clip>.json, and its pictures, anywhere below it"
        )
    others.tell_rest()
    return [clips[name] for name in sorted(clips)]


def _read_clip(path, names, problems):
    lines = annotations.read_lines(path, problems, SPLIT)
    if lines is None:
        return None
    try:
        content = json.loads("\n".join(lines), object_pairs_hook=_once)
        rows = _once(
            (int(name), [str(row["valence"]), str(row["arousal"])])
            for name, row in content["frames"].items()
        )
        pictures = _once(
            (int(stem), f"{stem}.{suffix}")
            for stem, _, suffix in (name.rpartition(".") for name in names)
            if f".{suffix}".lower() in folders.PICTURES and stem.isdecimal()
        )
        numbers = rows.keys() | pictures.keys()
        first, end = min(numbers), max(numbers) + 1
        if not rows or end - first > MOST_FRAMES:
            raise ValueError(f"{len(rows)} of frames {first} to {end - 1}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.add(
            f"{path} is not an annotation of AFEW-VA ({error!r}): each frame, "
            "once and by its number, with valence and arousal is needed; it is "
            "left out",
            split=SPLIT,
        )
        return None
    for what, known in (("labels", rows), ("picture", pictures)):
        lacking = [x for x in range(first, end) if x not in known]
        if lacking and known:
            count = wording.count(len(lacking), "frame")
            problems.add(
                f"{path}: {count} of {end - first} without {what}, such as "
                f"{lacking[0]:05}; each needs both, and stays without"
            )
    none = [str(annotations.NONE * SCALE)] * 2
    labels = annotations.columns(
        (rows.get(number, none) for number in range(first, end)),
        path,
        problems,
        first=first,
        scale=SCALE,
        unit="frame",
    )
    return Clip(
        split=SPLIT,
        video=path.stem,
        utterance=path.stem,
        path=path.parent,
        pictures=[pictures.get(number, "") for number in range(first, end)],
        frame_labels=labels,
        person=str(content.get("actor") or "") or None,
    )


def _once(pairs):
    """Returns pairs as a dictionary in which no key stands twice."""
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the same key twice")
    return found
