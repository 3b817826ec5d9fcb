"""The CSV tables of a results folder: a row per utterance, or per frame.

Columns of numbers stand in the order of the organisers' tables, arousal before
valence. A table of frames has video, utterance, frame (from 0), time_s (since
the first frame, to the microsecond) and face (1 where one was found), then what
is predicted, empty without a face, and the truth, empty where there is none.
"""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.frames import Frames

KEY = ("video", "utterance")
LINK = "link"  # the organisers' column of an utterance's source
FRAME = (*KEY, "frame", "time_s", "face")
TRUE = "true_"
REMEDY = (
    "correct it, or if evaluate.py wrote it, write its folder again with "
    "--overwrite"
)


def write_utterances(
    path: pathlib.Path,
    targets: Sequence[str],
    keys: Sequence[str],
    values: np.ndarray,
) -> None:
    """Writes a table of utterances, each number with all of its digits.

    Args:
        path: CSV to write.
        targets: names of the columns.
        keys: "<video>/<utterance>", [utterances].
        values: [utterances, targets]; NaN leaves a field empty.
    """
    _write(
        path,
        keys,
        {name: values[:, targets.index(name)] for name in _ordered(targets)},
    )


def write_frames(path: pathlib.Path, frames: Frames) -> None:
    """Writes the frames of a split, before post-processing."""
    mask, values, labels, times = (
        np.concatenate(x)
        for x in (frames.mask, frames.values, frames.labels, frames.times)
    )
    values = np.where(mask[:, np.newaxis], values, np.nan)
    columns = {x: frames.targets.index(x) for x in _ordered(frames.targets)}
    numbers = {
        "frame": np.concatenate([np.arange(x) for x in frames.lengths]),
        "time_s": np.round(times, 6),
        "face": mask.astype(int),
        **{name: values[:, i] for name, i in columns.items()},
        # Records hold float32: more digits would be those of rounding.
        **{TRUE + x: np.float32(labels[:, i]) for x, i in columns.items()},
    }
    _write(path, np.repeat(frames.keys, frames.lengths), numbers)


def write_facts(
    path: pathlib.Path, keys: Sequence[str], columns: Mapping[str, Sequence]
) -> None:
    """Writes a table of what is known of utterances.

    Args:
        path: CSV to write.
        keys: "<video>/<utterance>", [utterances].
        columns: by name, [utterances] each; what is missing leaves its field
            empty.
    """
    _write(path, keys, {name: list(x) for name, x in columns.items()})


def read_facts(
    path: pathlib.Path, flag: str, names: Sequence[str], numbers: Sequence[str]
) -> pd.DataFrame:
    """Reads what `write_facts` wrote.

    Args:
        path: CSV.
        flag: that named its folder, for messages.
        names: columns of text.
        numbers: columns of numbers, which may be missing.

    Returns:
        The columns; the index holds "<video>/<utterance>".

    Raises:
        UserError: it is not such a table, or a row is not as it must be.
    """
    table = Table.read(path, flag)
    table.require([*KEY, *names, *numbers])
    found = table.text[list(names)].assign(
        **{name: table.numbers(name, empty=True) for name in numbers}
    )
    return found.set_axis(table.keys())


def _ordered(targets):
    return [name for name in reversed(TARGETS) if name in targets]


def _write(path, keys, numbers):
    names = pd.DataFrame([key.rsplit("/", 1) for key in keys], columns=KEY)
    names.assign(**numbers).to_csv(path, index=False, lineterminator="\n")


def read_utterances(
    path: pathlib.Path, flag: str, *, named: bool = True, empty: bool = False
) -> pd.DataFrame:
    """Reads a table of utterances.

    Args:
        path: CSV with a header; columns are found by name, others ignored.
        flag: that named it, for messages.
        named: whether columns video and utterance are required.
        empty: whether a number may be missing.

    Returns:
        A column of float64 for each of `TARGETS` that is there, NaN where a
        number is missing. The index holds "<video>/<utterance>", or numbers
        where nothing is named.

    Raises:
        UserError: it is not such a table, a row does not have as many fields
            as the header or has no finite number where one belongs, or an
            utterance occurs twice.
    """
    table = Table.read(path, flag)
    header = table.text.columns.tolist()
    keys = KEY if named or set(KEY) <= set(header) else ()
    targets = [name for name in TARGETS if name in header]
    if not targets or not set(keys) <= set(header):
        raise UserError(
            f"{table.where} has columns {', '.join(header)[:200] or 'none'}; "
            f"they must be {''.join(f'{key}, ' for key in keys)}one or both of "
            f"{' and '.join(_ordered(TARGETS))}, separated by commas"
        )
    numbers = {name: table.numbers(name, empty=empty) for name in targets}
    return pd.DataFrame(numbers, index=table.keys() if keys else None)


def read_keys(path: pathlib.Path, flag: str) -> list[str]:
    """Reads which utterances a table names, "<video>/<utterance>" each.

    Args:
        path: CSV with columns video and utterance; others are ignored.
        flag: that named it, for messages.

    Raises:
        UserError: it is not such a table, or an utterance occurs twice.
    """
    table = Table.read(path, flag)
    table.require(KEY)
    return table.keys()


def read_links(path: pathlib.Path, flag: str) -> list[str] | None:
    """Reads the organisers' column link, row by row; None without one."""
    text = Table.read(path, flag).text
    return text[LINK].str.strip().tolist() if LINK in text else None


def read_groups(path: pathlib.Path, flag: str) -> tuple[str, pd.DataFrame]:
    """Reads a table of groups, see `evaluation.groups`.

    Args:
        path: CSV.
        flag: that named it, for messages.

    Returns:
        "name" or "video", what the rows are named by; and the other columns'
        texts, whose index holds those names. Columns video and utterance are a
        name together.

    Raises:
        UserError: it is not such a table, or a name occurs twice.
    """
    table = Table.read(path, flag)
    header = table.text.columns
    by = [name for name in ("name", "video") if name in header]
    own = set(header) - {*KEY, "name"}
    if len(by) != 1 or not own or header.has_duplicates:
        raise UserError(
            f"{table.where} has columns {', '.join(header) or 'none'}; they "
            "must be name (<video>/<utterance>), video and utterance, or "
            "video alone, and one or more others, each of another name, such "
            "as age"
        )
    text = table.text.apply(lambda column: column.str.strip())
    names = text.pop(by[0])
    if by == ["video"] and "utterance" in header:
        by = ["name"]
        names = names + "/" + text.pop("utterance")
    table.refuse(
        names.eq("") | names.duplicated(), f"each {by[0]} must occur once"
    )
    return by[0], text.set_axis(names)


def read_frames(
    path: pathlib.Path, flag: str, *, sequence_length: int, tail: str
) -> Frames:
    """Reads what `write_frames` wrote.

    Args:
        path: CSV.
        flag: that named its folder, for messages.
        sequence_length: frames of the windows.
        tail: how they were cut, see `paper.windows.cut`.

    Raises:
        UserError: it is not such a table, or a row is not as it must be.
    """
    table = Table.read(path, flag)
    header = list(table.text.columns)
    targets = [name for name in TARGETS if name in header]
    truth = [TRUE + name for name in targets]
    if not targets or header != [*FRAME, *targets[::-1], *truth[::-1]]:
        raise UserError(
            f"{table.where} has columns {', '.join(header) or 'none'}; they "
            f"must be {', '.join(FRAME)}, then arousal and valence, then "
            f"{TRUE}arousal and {TRUE}valence; {REMEDY}"
        )
    keys = table.text["video"] + "/" + table.text["utterance"]
    first = keys.ne(keys.shift())
    frame, time, face = (table.numbers(x) for x in ("frame", "time_s", "face"))
    values, labels = (
        np.stack([table.numbers(x, empty=True) for x in names], axis=1)
        for names in (targets, truth)
    )
    table.refuse(
        (frame != keys.groupby(keys).cumcount())
        | (first != (frame == 0))
        | np.where(first, time != 0, np.diff(time, prepend=0) <= 0)
        | ~np.isin(face, (0, 1))
        | (face == 1) & np.isnan(values).any(axis=1),
        "frames must count from 0, those of an utterance together, time_s "
        "rise from 0, face be 0 or 1, and predictions given where it is 1",
    )
    starts = np.flatnonzero(first)
    values, mask, labels, times = (
        np.split(x, starts[1:]) for x in (values, face == 1, labels, time)
    )
    return Frames(
        keys=keys[first].tolist(),
        targets=tuple(targets),
        values=values,
        mask=mask,
        labels=labels,
        times=times,
        sequence_length=sequence_length,
        tail=tail,
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV table before its fields are understood.

    Attributes:
        text: all fields as they stand there; the index is the line.
        where: the flag and file, for messages.
    """

    text: pd.DataFrame
    where: str

    @classmethod
    def read(cls, path, flag):
        where = f"{flag}={path}"
        # Not with pandas.read_csv: it fills up rows that are too short, takes
        # the first field for an index if rows are too long, and loses lines.
        try:
            # utf-8-sig also reads what a spreadsheet saved with a mark.
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                header = [name.strip() for name in next(reader, ())]
                rows = [(reader.line_num, row) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"{where} is not a CSV table in UTF-8: {error}; {REMEDY}"
            ) from error
        for line, row in rows:
            if len(row) != len(header):
                raise UserError(
                    f"{where}, line {line} has {len(row)} fields, the header "
                    f"{len(header)}; {REMEDY}"
                )
        if header and not rows:
            raise UserError(f"{where} has no rows; {REMEDY}")
        lines, fields = zip(*rows, strict=True) if rows else ((), ())
        text = pd.DataFrame(fields, index=lines, columns=header, dtype=str)
        table = cls(text, where)
        table._require_once((*KEY, *TARGETS, LINK))
        return table

    def require(self, columns):
        """Raises UserError if one of these columns is not there."""
        if missing := [name for name in columns if name not in self.text]:
            raise UserError(
                f"{self.where} lacks {', '.join(missing)}; {REMEDY}"
            )
        self._require_once(columns)

    def _require_once(self, columns):
        header = self.text.columns.tolist()
        for name in columns:
            if header.count(name) > 1:
                raise UserError(
                    f"{self.where} has column {name} twice; leave out one of "
                    "them"
                )

    def refuse(self, wrong, rule):
        """Raises UserError about the first line where wrong is True."""
        if np.any(wrong):
            row = np.argmax(wrong)
            raise UserError(
                f"{self.where}, line {self.text.index[row]}: {rule}, but it is "
                f"{','.join(self.text.iloc[row])!r}; {REMEDY}"
            )

    def keys(self):
        # One published table has a space behind some utterances.
        video, utterance = (self.text[name].str.strip() for name in KEY)
        self.refuse(
            video.eq("") | utterance.eq("") | utterance.str.contains("/"),
            "video and utterance must not be empty, and the second must hold "
            "no /",
        )
        keys = video + "/" + utterance
        self.refuse(keys.duplicated(), "each utterance must occur once")
        return keys.tolist()

    def numbers(self, name, *, empty=False):
        """Returns the finite numbers of a column, NaN where it may be empty."""
        values = np.array([_number(text) for text in self.text[name]])
        wrong = ~np.isfinite(values)
        if empty:
            wrong &= self.text[name].ne("").to_numpy()
        self.refuse(wrong, f"{name} must be a finite number")
        return values


def _number(text):
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
