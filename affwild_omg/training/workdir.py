"""Workdirs: what a training run leaves on disk.

A workdir holds `best.keras` and `last.keras` (the second with the optimizer's
state), `history.json` (the options, the records' digest and all epochs),
`flags.cfg` (the options as a flagfile that starts the same run again),
TensorBoard's event files, and `initialisation.json` where weights were taken
from elsewhere: which, what was left there and what stayed fresh.
"""

import contextlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import tensorflow as tf

from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.data import records
from affwild_omg.storage import files
from affwild_omg.training.options import FLAGFILE, TrainingOptions
from affwild_omg.weights import model_file
from affwild_omg.weights.model_file import HISTORY

EVENTS = "tensorboard"
INITIALISATION = "initialisation.json"


def digest_of(folder: str) -> str:
    """Returns the SHA-256 of the manifest of a records folder."""
    return files.digest(pathlib.Path(folder, records.MANIFEST))


def read_epochs(workdir: pathlib.Path) -> list[dict]:
    """Returns the entries of the epochs of a run."""
    return _read_history(workdir)["epochs"]


def check_resumable(workdir: pathlib.Path, options: TrainingOptions) -> None:
    """Checks that a workdir's run is one of these options and records.

    Raises:
        UserError: it holds no run, or another.
    """
    if not (workdir / HISTORY).is_file():
        raise UserError(
            f"--resume: {workdir} holds no run with a finished epoch; leave "
            "--resume out to start one"
        )
    try:
        history = _read_history(workdir)
        before, digest = history["options"], history["records_sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        # Those of earlier versions hold the epochs alone.
        raise UserError(
            f"--resume: {workdir / HISTORY} does not state the options of its "
            "run; train in another --workdir, or give --overwrite instead to "
            "start again"
        ) from error
    changed = options.changes_from(before)
    if digest != digest_of(options.records):
        changed.append("other records")
    if changed:
        raise UserError(
            f"--resume: {workdir} is a run of other flags "
            f"({'; '.join(changed)}); give them as they were, or train in "
            "another --workdir"
        )


def write(
    workdir: pathlib.Path,
    history: Mapping,
    options: TrainingOptions,
    initialisation: Sequence[Mapping],
) -> None:
    """Writes all of a run but its models and events, the history last."""
    flags = "".join(f"{flag}\n" for flag in to_flags(options))
    files.write_text(workdir / FLAGFILE, flags)
    if initialisation:
        _write_json(workdir / INITIALISATION, initialisation)
    _write_json(workdir / HISTORY, history)


def clear(workdir: pathlib.Path) -> None:
    """Removes the files of a run, and leaves alone what else is there."""
    for name in (
        model_file.BEST,
        model_file.LAST,
        HISTORY,
        FLAGFILE,
        INITIALISATION,
        model_file.POSTPROCESSING,
    ):
        (workdir / name).unlink(missing_ok=True)
    for file in (workdir / EVENTS).glob("events.out.tfevents.*"):
        file.unlink()
    with contextlib.suppress(OSError):  # there is none, or others' files
        (workdir / EVENTS).rmdir()


class Events:
    """TensorBoard's event files, which begin with the first scalars."""

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / EVENTS
        self._writer = None

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes {name: value} of a step."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._path))
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()


def _read_history(workdir):
    return json.loads((workdir / HISTORY).read_text(encoding="utf-8"))


def _write_json(path, content):
    files.write_text(path, json.dumps(content, indent=2) + "\n")
