"""OMG-Emotion: the organisers' tables and the clips beside them.

Layout: the CSV tables lie in the source folder, the clips at
`<source>/<video>/<utterance>`, as the organisers' script cuts them.
"""

import csv
import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip

# In order of preference for each split.
TABLES = {
    "train": ("omg_TrainVideos.csv",),
    "validation": ("omg_ValidationVideos.csv",),
    "test": (
        "omg_TestVideos_WithLabels.csv",
        "omg_TestVideos_WithoutLabels.csv",
    ),
}
# Lies beside tables and clips that affwild_omg.synthetic drew.
DEMO = "demo.json"
COLUMNS = ("link", "start", "end", "video", "utterance")
# Arousal stands before valence in the organisers' tables: read by name.
LABEL_RANGES = {"arousal": (0.0, 1.0), "valence": (-1.0, 1.0)}


def read(source: pathlib.Path | str) -> list[Clip]:
    """Reads the tables of OMG-Emotion.

    Args:
        source: folder with at least one of `TABLES` and the clips.

    Returns:
        The clips of all splits in the tables' order. Their files need not
        exist: many of the corpus' videos are no longer online.

    Raises:
        UserError: the folder or every table is missing, a table lacks a
            column, a key is unsafe or doubled, or a label is outside its
            range.
    """
    source = pathlib.Path(source)
    if not source.is_dir():
        raise UserError(
            f"--source={source} is not a folder; give the one that holds the "
            "tables (omg_TrainVideos.csv, ...) and the clips"
        )
    clips = []
    for split, names in TABLES.items():
        table = next(
            (source / name for name in names if (source / name).is_file()), None
        )
        if table is not None:
            clips.extend(_read_table(table, split, source))
    if not clips:
        raise UserError(
            f"--source={source} holds no rows of OMG-Emotion; put at least "
            f"one of {', '.join(sum(TABLES.values(), ()))} there"
        )
    return clips


def _read_table(table, split, source):
    labelled = "WithoutLabels" not in table.name
    columns = COLUMNS + tuple(LABEL_RANGES) * labelled
    try:
        # utf-8-sig also reads tables that a spreadsheet saved with a mark.
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            missing = [name for name in columns if name not in header]
            if missing:
                raise UserError(
                    f"{table} lacks {', '.join(missing)}; the columns "
                    f"must be {', '.join(columns)}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{table} is not a CSV table in UTF-8: {error}"
        ) from error
    clips, lines = [], {}
    for line, row in rows:
        clip = _read_row(row, f"{table}, line {line}", split, source, labelled)
        if clip.key in lines:
            raise UserError(
                f"{table}, line {line}: {clip.key} stands in line "
                f"{lines[clip.key]} already; each utterance may stand once"
            )
        lines[clip.key] = line
        clips.append(clip)
    return clips


def _read_row(row, where, split, source, labelled):
    # One published version of the tables ends a key in a space.
    video, utterance = (
        (row[name] or "").strip() for name in ("video", "utterance")
    )
    for name, value in (("video", video), ("utterance", utterance)):
        if not value or value in (".", "..") or set(value) & set("/\\\0"):
            raise UserError(
                f"{where}: {name} {value!r} must be a plain, non-empty file "
                "name"
            )
    labels = {}
    if labelled:
        labels = {
            name: _read_label(row[name], name, where) for name in LABEL_RANGES
        }
    return Clip(
        split=split,
        video=video,
        utterance=utterance,
        path=source / video / utterance,
        source=(row["link"] or "").strip() or None,
        **labels,
    )


def _read_label(text, name, where):
    low, high = LABEL_RANGES[name]
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not low <= value <= high:
        raise UserError(
            f"{where}: {name} {text!r} must be a number in [{low:g}, "
            f"{high:g}]; correct the row or leave it out"
        )
    return value
