"""OMG-Emotion: the organisers' tables and the clips beside them.

Layout: the CSV tables lie in the source folder, the clips at
`<source>/<video>/<utterance>`, as the organisers' script cuts them.
"""

import csv
import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.folders import CROPS, VIDEO
from affwild_omg.corpora.problems import STRICT, Problems
from affwild_omg.storage import remote

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


def read(
    source: pathlib.Path | str,
    problems: Problems = STRICT,
    frames: str = VIDEO,
) -> list[Clip]:
    """Reads the tables of OMG-Emotion.

    Args:
        source: folder with at least one of `TABLES` and the clips.
        problems: takes a table that lacks a column or has one twice, and a row
            whose key is unsafe or doubled, or whose label is outside its range;
            they are left out.
        frames: `VIDEO`; there are no crops.

    Returns:
        The clips of all splits in the tables' order. Their files need not
        exist: many of the corpus' videos are no longer online.

    Raises:
        UserError: the folder or every table is missing, or crops are asked for.
    """
    if frames == CROPS:
        raise UserError(
            "--frames=crops does not go with --corpus=omg, which has clips only"
        )
    source = remote.path(source)
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
            clips.extend(_read_table(table, split, source, problems))
    if not clips:
        raise UserError(
            f"--source={source} holds no rows of OMG-Emotion; put at least "
            f"one of {', '.join(sum(TABLES.values(), ()))} there"
        )
    return clips


def _read_table(table, split, source, problems):
    labelled = "WithoutLabels" not in table.name
    columns = COLUMNS + tuple(LABEL_RANGES) * labelled
    try:
        # utf-8-sig also reads tables that a spreadsheet saved with a mark.
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            doubled = [name for name in columns if header.count(name) > 1]
            missing = [name for name in columns if name not in header]
            if missing or doubled:
                what = "lacks" if missing else "has more than once"
                problems.add(
                    f"{table} {what} {', '.join(missing or doubled)}; the "
                    f"columns must be {', '.join(columns)}: the table is left "
                    "out"
                )
                return []
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        problems.add(
            f"{table} is not a CSV table in UTF-8 ({error}): it is left out"
        )
        return []
    clips, lines = [], {}
    for line, row in rows:
        where = f"{table}, line {line}"
        # None has the cells that are too many.
        taken = sum(str(x).count("\n") for x in row.values())
        try:
            if None in row:
                raise UserError(
                    f"{where}: there are more cells than columns; numbers have "
                    "points, and a text with commas quotation marks"
                )
            if taken:
                problems.left_out[split] += taken
                raise UserError(
                    f"{where}: a quotation mark makes {taken + 1} lines one "
                    "row; each row must be a line"
                )
            clip = _read_row(row, where, split, source, labelled)
            if clip.key in lines:
                raise UserError(
                    f"{where}: {clip.key} stands in line {lines[clip.key]} "
                    "already; each utterance may stand once"
                )
        except UserError as error:
            problems.add(f"{error}: the row is left out", split=split)
            continue
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
            f"{where}: {name} {text!r} must be a number in [{low:g}, {high:g}]"
        )
    return value
