"""Lists of frames, as the authors' own code reads them.

`train.csv`, `validation.csv` and `test.csv` (or `.txt`), anywhere below the
source, have a line for each frame: `path,valence,arousal` or
`path,valence,arousal,clip`, in the order of time and without a header. Paths
are relative to the list's folder. Without a clip column, the pictures of a
folder are a clip.
"""

import os
import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import annotations, folders
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.corpora.problems import STRICT, Problems
from affwild_omg.storage import remote

COLUMNS = ["path", "valence", "arousal", "clip"]
SUFFIXES = {".csv", ".txt"}
MOST_BYTES = 200  # of a clip's name, which has endings as a file


def read(
    source: pathlib.Path | str,
    problems: Problems = STRICT,
    frames: str = folders.VIDEO,
) -> list[Clip]:
    """Reads lists of frames, as `corpora.readers` says."""
    source, clips, seen, others = remote.path(source), {}, {}, []
    for folder, names in folders.walk(source, problems):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix in SUFFIXES and stem in SPLITS:
                _read_list(folder / name, source, clips, seen, problems)
            elif suffix in SUFFIXES:
                others.append(folder / name)
    folders.tell_unused(others, "text", "not named after a split")
    if not clips:
        raise UserError(
            f"--source={source} holds no list of frames; put train.csv, with "
            "lines path,valence,arousal, anywhere below it"
        )
    return [
        Clip(
            split=split,
            video=name,
            utterance=name,
            path=source,
            pictures=pictures,
            frame_labels=labels,
        )
        for (split, name), (_, pictures, labels) in sorted(
            clips.items(), key=lambda x: SPLITS.index(x[0][0])
        )
    ]


def _read_list(path, source, clips, seen, problems):
    lines = annotations.read_lines(path, problems) or []
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if set(header) & set(COLUMNS[:3]) and header not in (COLUMNS, COLUMNS[:3]):
        problems.add(
            f"{path}, line 1: the columns must be {','.join(COLUMNS)}, not "
            f"{lines[0]!r}; the list is left out"
        )
        return
    for line, row in enumerate(rows, 1):
        if line == 1 and row[0].lower() == COLUMNS[0]:
            continue
        where = f"{path}, line {line}"
        try:
            picture, clip = _read_names(row, path.parent, source)
            if picture in seen:
                raise UserError(
                    f"{picture} stands in {seen[picture]} already; each "
                    "picture may stand once"
                )
            # Or two films would be one.
            other, *_ = clips.get((path.stem, clip), [path])
            if other != path:
                raise UserError(
                    f"the clip {clip!r} belongs to {other}; each list needs "
                    "names of its own"
                )
        except UserError as error:
            problems.add(f"{where}: {error}; the line is left out", path)
            continue
        seen[picture] = where
        _, pictures, labels = clips.setdefault(
            (path.stem, clip),
            (path, [], annotations.columns([], path, problems)),
        )
        pictures.append(picture)
        label = annotations.columns([row[1:3]], path, problems, first=line)
        for column, value in zip(labels, label, strict=True):
            column.extend(value)


def _read_names(row, folder, source):
    """Returns a row's picture, relative to the source, and its clip."""
    if len(row) not in (3, 4):
        raise UserError(
            f"{','.join(row)!r} must be path,valence,arousal or "
            "path,valence,arousal,clip"
        )
    source = os.path.abspath(source)
    picture = os.path.relpath(
        os.path.join(os.path.abspath(folder), row[0]), source
    )
    if not row[0] or picture.split(os.sep)[0] in (".", ".."):
        raise UserError(
            f"{row[0]!r} must be a path to a picture below --source"
        )
    clip = row[3] if len(row) == 4 else os.path.dirname(picture) or "clip"
    # Clips are files of records: a name may hold no slash.
    name = clip.replace("%", "%25").replace("/", "%2F")
    if name in ("", ".", "..") or len(name.encode()) > MOST_BYTES:
        raise UserError(
            f"the clip {clip!r} must have a name, of at most {MOST_BYTES} bytes"
        )
    return picture, name
