"""The CSV tables of a results folder: a row an utterance, or a row a frame.

Columns of numbers stand in the order of the organisers' tables, arousal before
valence. A table of frames has video, utterance, frame (from 0), time_s, fps
and face (1 where one was found), then what is predicted, empty without a face,
and the truth, empty where there is none.
"""

import csv
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.frames import Frames

KEY = ("video", "utterance")
FRAME = (*KEY, "frame", "time_s", "fps", "face")
TRUE = "true_"
DECIMALS = 6  # of predictions
PREDICTION_FORM = f".{DECIMALS}f"
LABEL_FORM = ".8g"  # all that float32 knows, without the digits of rounding
REMEDY = "write the folder again with evaluate.py --overwrite"


def write_utterances(
    path: pathlib.Path,
    keys: Sequence[str],
    targets: Sequence[str],
    values: np.ndarray,
    form: str,
) -> None:
    """Writes a table of utterances.

    Args:
        path: CSV to write.
        keys: "<video>/<utterance>", [utterances].
        targets: names of the columns.
        values: [utterances, targets].
        form: format of the numbers; "" keeps every digit.
    """
    table = _names(keys)
    for name in _columns(targets):
        table[name] = _texts(values[:, targets.index(name)], form)
    _write(path, table)


def write_frames(path: pathlib.Path, frames: Frames) -> None:
    """Writes the frames of a split, before post-processing."""
    mask, values, labels = (
        np.concatenate(x) for x in (frames.mask, frames.values, frames.labels)
    )
    number = np.concatenate([np.arange(x) for x in frames.lengths])
    fps = np.repeat(frames.fps, frames.lengths)
    columns = [frames.targets.index(name) for name in _columns(frames.targets)]
    table = _names(np.repeat(frames.keys, frames.lengths))
    table["frame"] = number
    table["time_s"] = _texts(number / fps, ".3f")
    table["fps"] = _texts(fps, LABEL_FORM)
    table["face"] = mask.astype(int)
    for i in columns:
        seen = np.where(mask, values[:, i], np.nan)
        table[frames.targets[i]] = _texts(seen, PREDICTION_FORM)
    for i in columns:
        table[TRUE + frames.targets[i]] = _texts(labels[:, i], LABEL_FORM)
    _write(path, table)


def _columns(targets):
    return [name for name in reversed(TARGETS) if name in targets]


def _names(keys):
    return pd.DataFrame([key.rsplit("/", 1) for key in keys], columns=KEY)


def _texts(values, form):
    return ["" if math.isnan(x) else format(x, form) for x in values.tolist()]


def _write(path, table):
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def read_utterances(
    path: pathlib.Path, flag: str, *, remedy: str = REMEDY, named: bool = True
) -> pd.DataFrame:
    """Reads a table of utterances.

    Args:
        path: CSV with a header; columns are found by name, others ignored.
        flag: that named it, for messages.
        remedy: what to do about a table that is wrong, for messages.
        named: whether columns video and utterance are required.

    Returns:
        A column of float64 for each of `TARGETS` that is there. The index
        holds "<video>/<utterance>", or numbers where nothing is named.

    Raises:
        UserError: it is not such a table, a row does not have as many fields
            as the header or has no finite number where one belongs, or an
            utterance occurs twice.
    """
    where = f"{flag}={path}"
    table = _read(path, where, remedy)
    header = list(table.columns)
    keys = KEY if named or set(KEY) <= set(header) else ()
    targets = [name for name in TARGETS if name in header]
    missing = [name for name in keys if name not in header]
    if not targets:
        missing.append("arousal or valence")
    if missing:
        raise UserError(
            f"{where} lacks column {', '.join(missing)}, but has "
            f"{', '.join(header)[:200] or 'none'}; the columns must be "
            f"{', '.join(keys)}{' and ' if keys else ''}at least one of "
            f"{', '.join(reversed(TARGETS))}, separated by commas"
        )
    for name in (*keys, *targets):
        if header.count(name) > 1:
            raise UserError(
                f"{where} has column {name} twice; leave out one of them"
            )
    _check_rows(table, where, remedy)
    numbers = {name: _numbers(table, name, where, remedy) for name in targets}
    index = _keys(table, where) if keys else None
    return pd.DataFrame(numbers, index=index)


def read_frames(
    path: pathlib.Path, flag: str, *, sequence_length: int
) -> Frames:
    """Reads what `write_frames` wrote.

    Args:
        path: CSV.
        flag: that named its folder, for messages.
        sequence_length: frames of the windows.

    Raises:
        UserError: it is not such a table, or a row is not as it must be.
    """
    where = f"{flag}={path}"
    table = _read(path, where, REMEDY)
    targets = [name for name in TARGETS if name in table]
    truth = [TRUE + name for name in targets]
    header = [*FRAME, *reversed(targets), *reversed(truth)]
    if not targets or list(table.columns) != header:
        raise UserError(
            f"{where} has columns {', '.join(table.columns) or 'none'}; they "
            f"must be {', '.join(FRAME)}, then arousal and valence, then "
            f"{TRUE}arousal and {TRUE}valence; {REMEDY}"
        )
    _check_rows(table, where, REMEDY)
    keys = table["video"] + "/" + table["utterance"]
    first = keys.ne(keys.shift())
    again = keys[first].duplicated()
    if again.any():
        raise UserError(
            f"{where}: the frames of {keys[again.idxmax()]} do not stand "
            f"together; {REMEDY}"
        )
    frame, fps, face = (
        _numbers(table, name, where, REMEDY)
        for name in FRAME[2:]
        if name != "time_s"
    )
    values, labels = (
        np.stack(
            [_numbers(table, x, where, REMEDY, empty=True) for x in names],
            axis=1,
        )
        for names in (targets, truth)
    )
    wrong = (
        (frame != keys.groupby(first.cumsum()).cumcount())
        | (fps <= 0)
        | ~np.isin(face, (0, 1))
        | (face == 1) & np.isnan(values).any(axis=1)
    )
    if wrong.any():
        raise UserError(
            f"{where}, line {wrong.idxmax()}: frames must count from 0, fps be "
            "above 0, face 0 or 1, and predictions given where it is 1; "
            f"{REMEDY}"
        )
    starts = np.flatnonzero(first)
    values, mask, labels = (
        np.split(x, starts[1:]) for x in (values, face == 1, labels)
    )
    return Frames(
        keys=keys[first].tolist(),
        targets=tuple(targets),
        values=values,
        mask=mask,
        labels=labels,
        fps=fps[starts].tolist(),
        sequence_length=sequence_length,
    )


def _read(path, where, remedy):
    """Reads all fields as the text that they are; the index is the line.

    Not with pandas.read_csv: it fills up rows that are too short, drops what
    is too long or takes it for an index, and loses digits and lines.
    """
    try:
        # utf-8-sig also reads tables that a spreadsheet saved with a mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, ())]
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where} is not a CSV table in UTF-8: {error}; {remedy}"
        ) from error
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"{where}, line {line} has {len(row)} fields, the header "
                f"{len(header)}; {remedy}"
            )
    return pd.DataFrame(
        [row for _, row in rows],
        index=[line for line, _ in rows],
        columns=header,
        dtype=str,
    )


def _check_rows(table, where, remedy):
    if table.empty:
        raise UserError(f"{where} has no rows; {remedy}")


def _keys(table, where):
    # One published table has a space behind some utterances.
    video, utterance = (table[name].str.strip() for name in KEY)
    wrong = (video == "") | (utterance == "")
    wrong |= utterance.str.contains("/", regex=False)
    if wrong.any():
        line = wrong.idxmax()
        raise UserError(
            f"{where}, line {line}: video {video[line]!r} and utterance "
            f"{utterance[line]!r} must not be empty, and the second must hold "
            "no /; correct the row or leave it out"
        )
    keys = video + "/" + utterance
    again = keys.duplicated()
    if again.any():
        line = again.idxmax()
        raise UserError(
            f"{where}, line {line}: {keys[line]} stands in line "
            f"{(keys == keys[line]).idxmax()} already; each utterance may "
            "stand once"
        )
    return keys.tolist()


def _numbers(table, name, where, remedy, *, empty=False):
    """Returns the finite numbers of a column, NaN where it may be empty."""
    values = np.array([_number(text) for text in table[name]])
    wrong = ~np.isfinite(values)
    if empty:
        wrong &= table[name].ne("").to_numpy()
    if wrong.any():
        row = wrong.argmax()
        raise UserError(
            f"{where}, line {table.index[row]}: {name} "
            f"{table[name].iloc[row]!r} must be a finite number; {remedy}"
        )
    return values


def _number(text):
    try:
        return float(text)
    except ValueError:
        return math.nan
