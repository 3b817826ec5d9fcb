"""Tables with a row for each frame of a video, and the labels of its frames.

Predictions may be ours (`predict`), py-feat's or OpenFace's: the columns say
whose, and from which number on frames count. The labels are a text as
Aff-Wild2's, `valence,arousal` and a line for each frame; or those of the
utterances that the tables are of.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.corpora import annotations
from affwild_omg.corpora.problems import Problems
from affwild_omg.evaluation.csv_tables import KEY, Table
from affwild_omg.paper.task import TARGETS
from affwild_omg.published.tables import SEQUENCE_LENGTH
from affwild_omg.scoring import aggregation
from affwild_omg.scoring.frames import Frames, video_of

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


_MOST_FRAMES = 1_000_000  # of a clip; some ten hours


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
            "neither one nor a table of utterances; give the labels' folder, "
            "or one table"
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


def estimate(
    predictions: pathlib.Path, keys: Sequence[str]
) -> tuple[pd.DataFrame, dict]:
    """Estimates utterances from tables of their frames, as the paper does.

    Each sequence of 80 frames has the median of those with a face, and an
    utterance the mean of its sequences; one without any face that of the others
    in its video, else of all.

    Args:
        predictions: folder of `<video>/<utterance>.csv`, one of each clip; the
            utterance's name with or without its own ending.
        keys: "<video>/<utterance>" of those that are known.

    Returns:
        Columns of `TARGETS` that are there; the index holds the keys, and of
        tables that are of none the names that they have. And more of the
        results' provenance.

    Raises:
        UserError: as `read`; or it is not clear of which utterance a table is,
            tables have different columns, or none shows a face.
    """
    flag = "--predictions"
    known = {}
    for key in keys:
        for name in {key, f"{video_of(key)}/{pathlib.Path(key).stem}"}:
            known.setdefault(name, []).append(key)
    found = {}
    for path in sorted(predictions.glob("*/*.csv")):
        if path.name.endswith(FEX):
            continue
        name = f"{path.parent.name}/{path.stem}"
        own = known.get(name, [name])
        if len(own) > 1 or own[0] in found:
            raise UserError(
                f"{flag}={path}: it is not clear whose it is, because "
                f"{listed(own)} would have it, or another table is of the "
                "same; name it by the whole name of its clip"
            )
        found[own[0]] = _read(path, flag)
    if not found:
        raise UserError(
            f"{flag}={predictions} holds no <video>/<utterance>.csv, as the "
            "annotations name their clips; name the folder of such folders"
        )
    targets = [targets for targets, *_ in found.values()]
    if any(x != targets[0] for x in targets):
        raise UserError(
            f"{flag}={predictions}: some tables have valence and arousal, "
            "others one of these alone; give those of one model"
        )
    for name, (_, numbers, *_) in found.items():
        if len(numbers) and numbers.max() > _MOST_FRAMES:
            raise UserError(
                f"{flag}={predictions}: {name} has frame "
                f"{numbers.max():.0f}, and a clip at most {_MOST_FRAMES}; give "
                "the tables of clips, whose frames count from the first"
            )
    clips = [_by_frame(*rows) for _, *rows in found.values()]
    frames = Frames(
        keys=list(found),
        targets=tuple(targets[0]),
        values=[values for values, _ in clips],
        mask=[seen for _, seen in clips],
        labels=[np.full(values.shape, np.nan) for values, _ in clips],
        times=[np.arange(len(seen)) for _, seen in clips],
        sequence_length=SEQUENCE_LENGTH,
        tail="pad",
    )
    if not frames.seen.any():
        raise UserError(f"{flag}={predictions}: not one frame has a face")
    table = pd.DataFrame(
        aggregation.utterance_estimates(frames),
        columns=targets[0],
        index=frames.keys,
    )
    return table, {
        "utterances_without_face": sum(
            not seen and key in keys
            for key, seen in zip(frames.keys, frames.seen, strict=True)
        ),
        "frames": int(frames.lengths.sum()),
        "frames_with_face": int(frames.seen.sum()),
        "sequence_estimate": "median",
        "sequence_weights": "equal",
        "sequence_length": frames.sequence_length,
        "tail": frames.tail,
    }


def _by_frame(frames, seen, values):
    """Returns values [frames, targets] and seen [frames], by their numbers.

    A frame that the table leaves out has no face.
    """
    places, length = frames.astype(int), int(frames.max(initial=-1)) + 1
    ordered = np.full((length, values.shape[1]), np.nan)
    ordered[places[seen]] = values[seen]
    return ordered, np.bincount(places[seen], minlength=length) > 0


def _files(path, *endings):
    if not path.is_dir():
        return [path]
    return sorted(x for x in path.iterdir() if x.suffix in endings)


def _predictions(path, flag):
    """Reads the frames of a table that show a face."""
    targets, frames, seen, values = _read(path, flag)
    names = [f"{path.stem}/{int(x)}" for x in frames[seen]]
    return pd.DataFrame(values[seen], columns=targets, index=names)


def _read(path, flag):
    """Reads a table.

    Returns:
        Its targets; of each row the frame, counted from 0, and whether it shows
        a face; and the values, [rows, targets].
    """
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
    return targets, frames - first, seen, values


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
