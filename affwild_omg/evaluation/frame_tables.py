"""Tables of a split's frames: what was predicted before any other step.

One row a frame: video, utterance, frame (from 0), time_s, fps, face (1 where
one was found), then what is predicted of arousal and valence, empty where
there is no face, and the truth of the same, empty where there is none.
"""

import csv
import itertools
import math
import pathlib

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.frames import Frames

PLACE = ("video", "utterance", "frame", "time_s", "fps", "face")
TRUE = "true_"
_REMEDY = "write the folder again with evaluate.py --overwrite"


def write(path: pathlib.Path, frames: Frames, decimals: int) -> None:
    """Writes the frames of a split.

    Args:
        path: CSV to write.
        frames: the split.
        decimals: of predictions.
    """
    # Arousal before valence, as in the organisers' tables.
    names = [name for name in reversed(TARGETS) if name in frames.targets]
    columns = [frames.targets.index(name) for name in names]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PLACE, *names, *(f"{TRUE}{name}" for name in names)])
        for i, key in enumerate(frames.keys):
            video, _, utterance = key.rpartition("/")
            fps = float(frames.fps[i])
            for frame, (face, values, labels) in enumerate(
                zip(
                    frames.mask[i].tolist(),
                    frames.values[i][:, columns].tolist(),
                    frames.labels[i][:, columns].tolist(),
                    strict=True,
                )
            ):
                predicted = (
                    [f"{value:.{decimals}f}" for value in values]
                    if face
                    else [""] * len(values)
                )
                truth = ["" if x != x else f"{x:.8g}" for x in labels]
                writer.writerow(
                    [video, utterance, frame, f"{frame / fps:.3f}"]
                    + [f"{fps:.8g}", int(face), *predicted, *truth]
                )


def read(path: pathlib.Path, *, flag: str, sequence_length: int) -> Frames:
    """Reads what `write` wrote.

    Args:
        path: CSV.
        flag: that named its folder, for messages.
        sequence_length: frames of the windows.

    Raises:
        UserError: it is no such table, or a row is not as it must be.
    """
    where = f"{flag}={path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            targets = _targets(header, where)
            clips = [
                _clip(key, list(rows), targets, header, where)
                for key, rows in itertools.groupby(
                    _rows(reader, header, where), key=lambda row: row[0]
                )
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where} is no CSV table in UTF-8: {error}; {_REMEDY}"
        ) from error
    keys = [key for key, *_ in clips]
    if not keys:
        raise UserError(f"{where} has no rows; {_REMEDY}")
    if len(set(keys)) < len(keys):
        double = next(key for key in keys if keys.count(key) > 1)
        raise UserError(
            f"{where}: the frames of {double} do not stand together; {_REMEDY}"
        )
    _, values, mask, labels, fps = zip(*clips, strict=True)
    return Frames(
        keys=keys,
        targets=targets,
        values=values,
        mask=mask,
        labels=labels,
        fps=fps,
        sequence_length=sequence_length,
    )


def _targets(header, where):
    targets = tuple(name for name in TARGETS if name in header)
    names = [name for name in reversed(TARGETS) if name in targets]
    if not targets or header != [
        *PLACE,
        *names,
        *(f"{TRUE}{x}" for x in names),
    ]:
        raise UserError(
            f"{where} has columns {', '.join(header) or 'none'}; they must be "
            f"{', '.join(PLACE)}, then arousal and valence, then {TRUE}arousal "
            f"and {TRUE}valence; {_REMEDY}"
        )
    return targets


def _rows(reader, header, where):
    """Yields (key, line, fields) of each row."""
    for row in reader:
        if len(row) != len(header):
            raise UserError(
                f"{where}, line {reader.line_num} has {len(row)} fields, the "
                f"header {len(header)}; {_REMEDY}"
            )
        yield f"{row[0]}/{row[1]}", reader.line_num, row


def _clip(key, rows, targets, header, where):
    """Returns key, values, mask, labels and fps of an utterance's rows."""
    places = [
        header.index(name)
        for name in (
            *("frame", "fps", "face"),
            *targets,
            *(f"{TRUE}{name}" for name in targets),
        )
    ]
    table = []
    for frame, (_, line, fields) in enumerate(rows):
        try:
            row = [_number(fields[i]) for i in places]
        except ValueError:
            row = None
        if row is None or not _fits(frame, *row[:3], row[3 : 3 + len(targets)]):
            raise UserError(
                f"{where}, line {line}: frames must count from 0, fps be above "
                "0, face 0 or 1, and all else numbers, given where face is 1; "
                f"{_REMEDY}"
            )
        table.append(row)
    _, fps, face, *columns = np.transpose(table)
    values, labels = np.split(np.transpose(columns), 2, axis=1)
    return key, values, face == 1, labels, fps[0]


def _number(text):
    """Returns a field's number, NaN where it is empty."""
    value = float(text or "nan")
    if text and not math.isfinite(value):
        raise ValueError(text)
    return value


def _fits(expected, frame, fps, face, predicted):
    known = all(map(math.isfinite, predicted))
    return frame == expected and fps > 0 and (face == 0 or face == 1 and known)
