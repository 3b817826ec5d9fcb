"""Folders of results: written by evaluate and fuse, read back by others.

A folder holds `metrics.json`, `predictions.csv`, where there are labels
`labels.csv`, and pictures of the two; where post-processing was applied,
`unprocessed.csv` with the predictions before it, and the steps in
`postprocessing.json`; and of an evaluation `frames.csv`, see
`evaluation.frame_tables`. The other tables have one row an utterance: video,
utterance, and what the network predicts of arousal and valence, in the order
of the organisers' tables.
"""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg import figures
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import frame_tables
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import concordance
from affwild_omg.scoring.frames import Frames

METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
LABELS = "labels.csv"
SCATTER = "scatter.png"
HISTOGRAMS = "histograms.png"
UNPROCESSED = "unprocessed.csv"
FRAMES = "frames.csv"
POSTPROCESSING = "postprocessing.json"
FILES = (
    METRICS,
    PREDICTIONS,
    LABELS,
    SCATTER,
    HISTOGRAMS,
    UNPROCESSED,
    FRAMES,
    POSTPROCESSING,
)

KEY = ("video", "utterance")
DECIMALS = 6  # of predictions
LABEL_FORM = ".8g"  # what float32 knows, not the digits of its rounding
_ORIGIN = "give a folder that evaluate.py wrote"
_REMEDY = "write the folder again with evaluate.py --overwrite"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What a results folder holds.

    Attributes:
        keys: "<video>/<utterance>", [utterances].
        targets: what was predicted, in the order of `TARGETS`.
        predictions: [utterances, targets].
        labels: [utterances, targets], NaN where there is none.
        metrics: what metrics.json says.
        unprocessed: predictions without post-processing, [utterances,
            targets]; None where there was none.
    """

    keys: list[str]
    targets: tuple[str, ...]
    predictions: np.ndarray
    labels: np.ndarray
    metrics: dict
    unprocessed: np.ndarray | None = None


def as_written(predictions: np.ndarray) -> np.ndarray:
    """Rounds predictions to what predictions.csv will hold.

    Whoever scores these finds the same scores from the file.
    """
    return np.round(predictions, DECIMALS)


def write(
    directory: pathlib.Path,
    results: Results,
    frames: Frames | None = None,
    *,
    exact: bool = False,
) -> None:
    """Writes the files of a results folder.

    An utterance stands in `labels.csv` if all its targets have labels. If none
    does, there is neither that file nor a picture.

    Args:
        directory: an empty folder.
        results: what to write.
        frames: before post-processing, in the order of the utterances.
        exact: write every digit, where the scores are of values that have not
            been rounded.
    """
    predicted_form, label_form = (
        ("", "") if exact else (f".{DECIMALS}f", LABEL_FORM)
    )
    write_metrics(directory, results.metrics)
    _write_table(
        directory / PREDICTIONS,
        results.keys,
        results.targets,
        results.predictions,
        predicted_form,
    )
    if results.unprocessed is not None:
        _write_table(
            directory / UNPROCESSED,
            results.keys,
            results.targets,
            results.unprocessed,
            predicted_form,
        )
    if frames is not None:
        frame_tables.write(directory / FRAMES, frames, DECIMALS)
    labelled = np.isfinite(results.labels).all(axis=1)
    if not labelled.any():
        return
    _write_table(
        directory / LABELS,
        [
            key
            for key, known in zip(results.keys, labelled, strict=True)
            if known
        ],
        results.targets,
        results.labels[labelled],
        label_form,
    )
    draw(directory, results)


def write_metrics(directory: pathlib.Path, metrics: dict) -> None:
    """Writes metrics.json of a results folder."""
    (directory / METRICS).write_text(
        json.dumps(metrics, indent=2) + "\n", encoding="utf-8"
    )


def draw(directory: pathlib.Path, results: Results) -> None:
    """Draws the pictures of a results folder; for arguments see `write`."""
    labelled = np.isfinite(results.labels).all(axis=1)
    labels = results.labels[labelled]
    predictions = results.predictions[labelled]
    draw_scatter(directory / SCATTER, labels, predictions, results.targets)
    if results.targets == TARGETS:
        figures.plane_histograms(directory / HISTOGRAMS, labels, predictions)


def draw_scatter(
    path: pathlib.Path, labels, predictions, targets: Sequence[str]
) -> None:
    """Draws predicted against true values, with the CCC of these very points.

    Whatever protocol the metrics are of.

    Args:
        path: PNG to write.
        labels: [utterances, targets], finite.
        predictions: [utterances, targets].
        targets: names of the columns.
    """
    cccs = {
        target: concordance.concordance(*columns)
        for target, *columns in zip(
            targets, labels.T, predictions.T, strict=True
        )
    }
    figures.scatter(path, labels, predictions, targets, cccs)


def _write_table(path, keys, targets, values, form):
    # Arousal before valence, as in the organisers' tables.
    columns = [name for name in reversed(TARGETS) if name in targets]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*KEY, *columns])
        for key, row in zip(keys, values, strict=True):
            video, _, utterance = key.rpartition("/")
            numbers = (
                format(row[targets.index(name)], form) for name in columns
            )
            writer.writerow([video, utterance, *numbers])


def read(directory: os.PathLike | str, *, flag: str) -> Results:
    """Reads a results folder.

    Args:
        directory: what `write` made.
        flag: that named it, for messages.

    Returns:
        The results, in the order of predictions.csv; columns are found by
        name, labels by video and utterance.

    Raises:
        UserError: the folder or a file is missing, a table lacks a column or
            has no row, a row has no finite number where one belongs, an
            utterance stands twice, or the files contradict one another.
    """
    directory = pathlib.Path(directory)
    metrics = read_metrics(directory, flag=flag)
    if not (directory / PREDICTIONS).is_file():
        raise UserError(
            f"{flag}={directory} holds no {PREDICTIONS}; "
            + (
                _ORIGIN
                if metrics.get("named", True)
                else "it was scored from tables without names: give one of "
                "them columns video and utterance, and score again"
            )
        )
    where = f"{flag}={directory / PREDICTIONS}"
    targets, rows = read_table(directory / PREDICTIONS, flag)
    scored = tuple(name for name in TARGETS if name in metrics)
    if scored and scored != targets:
        raise UserError(
            f"{where} has columns of {', '.join(targets)}, but {METRICS} "
            f"beside it scores {', '.join(scored)}; {_REMEDY}"
        )
    labels = _read_labels(directory / LABELS, flag, targets, rows)
    if len(labels) != metrics["utterances"]:
        raise UserError(
            f"{flag}={directory / LABELS} has {len(labels) or 'no'} "
            f"utterances, but {METRICS} beside it scores "
            f"{metrics['utterances']}; {_REMEDY}"
        )
    unknown = np.full(len(targets), np.nan)
    unprocessed = _read_unprocessed(
        directory / UNPROCESSED, flag, targets, rows
    )
    return Results(
        keys=list(rows),
        targets=targets,
        predictions=np.array(list(rows.values())),
        labels=np.array([labels.get(key, unknown) for key in rows]),
        metrics=metrics,
        unprocessed=unprocessed,
    )


def read_frames(directory: os.PathLike | str, *, flag: str) -> Frames | None:
    """Reads the frames of a results folder, before post-processing.

    Args:
        directory: what `write` made.
        flag: that named it, for messages.

    Returns:
        The frames, or None where there are none: fused results, and scores
        of anyone's predictions.

    Raises:
        UserError: there is no such folder, or a row is not as it must be.
    """
    directory = pathlib.Path(directory)
    metrics = read_metrics(directory, flag=flag)
    if not (directory / FRAMES).is_file():
        return None
    length = metrics.get("sequence_length")
    if not isinstance(length, int) or length < 1:
        raise UserError(
            f"{flag}={directory / METRICS}: sequence_length is {length}, but "
            f"the sequences of {FRAMES} beside it must be of at least one "
            f"frame; {_REMEDY}"
        )
    return frame_tables.read(
        directory / FRAMES, flag=flag, sequence_length=length
    )


def _read_unprocessed(path, flag, targets, predicted):
    """Returns [utterances, targets], None without such a file."""
    if not path.exists():
        return None
    columns, rows = read_table(path, flag)
    if columns != targets or rows.keys() != predicted.keys():
        raise UserError(
            f"{flag}={path} has not the columns and utterances of "
            f"{PREDICTIONS} beside it; {_REMEDY}"
        )
    return np.array([rows[key] for key in predicted])


def read_metrics(directory: os.PathLike | str, *, flag: str) -> dict:
    """Reads what metrics.json of a results folder says.

    Raises:
        UserError: there is no such folder or file, or it says nothing of
            utterances.
    """
    if not pathlib.Path(directory).is_dir():
        raise UserError(f"{flag}={directory} is no folder; {_ORIGIN}")
    path = pathlib.Path(directory, METRICS)
    if not path.is_file():
        raise UserError(f"{flag}={directory} holds no {METRICS}; {_ORIGIN}")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{flag}={path} is no JSON: {error}; {_REMEDY}") from (
            error
        )
    if not isinstance(metrics, dict) or not isinstance(
        metrics.get("utterances"), int
    ):
        raise UserError(
            f"{flag}={path} does not say how many utterances were scored; "
            f"{_ORIGIN}"
        )
    return metrics


def _read_labels(path, flag, targets, predicted):
    """Returns {key: [targets]}, {} without such a file."""
    if not path.exists():
        return {}
    columns, labels = read_table(path, flag)
    if columns != targets:
        raise UserError(
            f"{flag}={path} has columns of {', '.join(columns)}, but "
            f"{PREDICTIONS} beside it has {', '.join(targets)}; {_REMEDY}"
        )
    strangers = [key for key in labels if key not in predicted]
    if strangers:
        raise UserError(
            f"{flag}={path}: {strangers[0]} is not in {PREDICTIONS} beside "
            f"it; {_REMEDY}"
        )
    return labels


def read_table(
    path: pathlib.Path, flag: str, *, remedy: str = _REMEDY, keyed: bool = True
) -> tuple[tuple[str, ...], dict]:
    """Reads a table of utterances.

    Args:
        path: CSV with a header; columns are found by name.
        flag: that named it, for messages.
        remedy: what to do about a table that is wrong, for messages.
        keyed: whether columns video and utterance are required; without them
            rows are known by their number, from 0.

    Returns:
        The targets among the columns, and {key: [targets]}.

    Raises:
        UserError: as `read`.
    """
    where = f"{flag}={path}"
    try:
        # utf-8-sig also reads tables that a spreadsheet saved with a mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, ())]
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where} is no CSV table in UTF-8: {error}; {remedy}"
        ) from error
    keyed = keyed or set(KEY) <= set(header)
    targets = _targets(header, where, KEY if keyed else ())
    columns = [header.index(name) for name in targets]
    table, lines = {}, {}
    for line, row in rows:
        here = f"{where}, line {line}"
        if len(row) != len(header):
            raise UserError(
                f"{here} has {len(row)} fields, the header {len(header)}; "
                f"{remedy}"
            )
        key = len(table)
        if keyed:
            # One published table has a space behind some utterances.
            key = _key(*(row[header.index(x)].strip() for x in KEY), here)
        if key in lines:
            raise UserError(
                f"{here}: {key} stands in line {lines[key]} already; each "
                "utterance may stand once"
            )
        lines[key] = line
        table[key] = [_number(row[i], header[i], here, remedy) for i in columns]
    if not table:
        raise UserError(f"{where} has no rows; {remedy}")
    return targets, table


def _targets(header, where, keys):
    targets = tuple(name for name in TARGETS if name in header)
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
    return targets


def _key(video, utterance, here):
    if not video or not utterance or "/" in utterance:
        raise UserError(
            f"{here}: video {video!r} and utterance {utterance!r} must not be "
            "empty, and the second must hold no /; correct the row or leave "
            "it out"
        )
    return f"{video}/{utterance}"


def _number(text, name, here, remedy):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(
            f"{here}: {name} {text!r} must be a finite number; {remedy}"
        )
    return value
