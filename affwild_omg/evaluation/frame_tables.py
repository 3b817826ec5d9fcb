"""Tables with a row for each frame of a video, and the labels of its frames.

Predictions may be ours (`predict`), py-feat's or OpenFace's: the columns say
whose, and from which number on frames count. The labels are a text as
Aff-Wild2's, `valence,arousal` and a line for each frame.
"""

import pathlib

import numpy as np
import pandas as pd
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import annotations
from affwild_omg.corpora.problems import Problems
from affwild_omg.evaluation.csv_tables import KEY, Table
from affwild_omg.paper.task import TARGETS

# Of each kind: columns by which it is known, its number of the first frame, and
# the column that tells where there is no face: 0, or empty.
KINDS = {
    "predict": ({"frame", "time_s", "face"}, 0, "face"),
    "py-feat": ({"frame", "FaceScore"}, 0, "FaceScore"),
    "OpenFace": ({"frame", "timestamp", "success"}, 1, "success"),
}
FEX = "_fex.csv"  # beside the tables of predict, and of the same values


def is_of_frames(path: pathlib.Path, flag: str) -> bool:
    """Returns whether a table, or those of a folder, have a row a frame."""
    if not path.is_file():
        return path.is_dir()
    header = set(Table.read(path, flag).text.columns)
    return "frame" in header and not set(KEY) <= header


def read(
    predictions: pathlib.Path, truth: pathlib.Path
) -> dict[str, pd.DataFrame]:
    """Reads predictions of frames, and their labels.

    Args:
        predictions: a table, or a folder with one for each video.
        truth: a text of labels, or a folder with one for each video; of two
            folders, or a table and a folder, those of one stem match.

    Returns:
        By flag and path, columns of `TARGETS` that are there; the index holds
        "<video>/<frame>", counted from 0. Frames without a face, and without
        any label, are left out.

    Raises:
        UserError: a table cannot be read, has no value, or shows several
            faces in a frame.
    """
    flag, label_flag = "--predictions", "--annotations"
    if predictions.is_dir() and not truth.is_dir():
        raise UserError(
            f"{flag}={predictions} is a folder and {label_flag}={truth} is "
            "not; give the labels' folder, or one table"
        )
    tables = [
        x for x in _files(predictions, ".csv") if not x.name.endswith(FEX)
    ]
    texts = _files(truth, ".txt", ".csv")
    for paths, given, place in (
        (tables, flag, predictions),
        (texts, label_flag, truth),
    ):
        if not paths:
            raise UserError(f"{given}={place} holds no table; name another")
        stems = [x.stem for x in paths]
        if doubled := {x for x in stems if stems.count(x) > 1}:
            raise UserError(
                f"{given}={place} holds several tables of {min(doubled)}; keep "
                "one"
            )
    # Of two files, both are of one video, whatever they are called.
    alone = None if truth.is_dir() else predictions.stem
    return {
        f"{flag}={predictions}": pd.concat(
            [_predictions(x, flag) for x in tables]
        ),
        f"{label_flag}={truth}": pd.concat(
            [_labels(x, alone or x.stem, label_flag) for x in texts]
        ),
    }


def _files(path, *endings):
    if not path.is_dir():
        return [path]
    return sorted(x for x in path.iterdir() if x.suffix in endings)


def _predictions(path, flag):
    """Reads one table."""
    table = Table.read(path, flag)
    header = set(table.text.columns)
    kind = next((x for x in KINDS if header >= KINDS[x][0]), None)
    if kind is None:
        columns = "; ".join(
            f"{name}: {', '.join(sorted(x[0]))}" for name, x in KINDS.items()
        )
        raise UserError(
            f"{table.where} has rows of frames, but is no table of predict, "
            f"py-feat or OpenFace, which are known by columns ({columns})"
        )
    targets = [name for name in TARGETS if name in header]
    if not targets:
        raise UserError(
            f"{table.where} is a table of {kind} without valence and arousal, "
            "and nothing else in it stands for these; add them as columns"
        )
    _, first, face = KINDS[kind]
    frames = table.numbers("frame")
    table.refuse(
        (frames < first) | (frames != np.round(frames)),
        f"frame must be a whole number from {first} on",
    )
    seen = np.nan_to_num(table.numbers(face, empty=True)) > 0
    values = np.stack([table.numbers(x, empty=True) for x in targets], axis=1)
    table.refuse(
        seen & np.isnan(values).any(axis=1),
        f"{' and '.join(targets)} must be given where there is a face",
    )
    table.refuse(
        seen & pd.Series(np.where(seen, frames, np.nan)).duplicated(),
        "a frame must show one face: keep the rows of one person (predict "
        "--faces=1)",
    )
    names = [f"{path.stem}/{int(x) - first}" for x in frames[seen]]
    return pd.DataFrame(values[seen], columns=targets, index=names)


def _labels(path, name, flag):
    """Reads the labels of one video; what is wrong in them is told."""
    problems = Problems()
    lines = annotations.read_lines(path, problems)
    header = ",".join(TARGETS)
    if lines is None or lines[0].replace(" ", "").strip() != header:
        raise UserError(
            f"{flag}={path} is no text of labels: its first line must be "
            f"{header}, and each other the two numbers of a frame"
        )
    rows = [line.split(",") for line in lines[1:]]
    columns = annotations.columns(rows, path, problems, first=2)
    for line in problems.lines:
        logging.warning("%s", line)
    labels = pd.DataFrame(dict(zip(TARGETS, columns, strict=True)))
    return labels.set_axis([f"{name}/{i}" for i in labels.index]).dropna()
