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

from affwild_omg.cli.errors import UserError
from affwild_omg.data import records
from affwild_omg.training.options import TrainingOptions
from affwild_omg.weights import model_file
from affwild_omg.weights.model_file import HISTORY

EVENTS = "tensorboard"
FLAGFILE = "flags.cfg"
INITIALISATION = "initialisation.json"


def read_history(workdir: pathlib.Path) -> dict:
    """Returns what `affwild_omg.training.loop.train` found, from its run."""
    return json.loads((workdir / HISTORY).read_text(encoding="utf-8"))


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
        history = read_history(workdir)
        before, digest = history["options"], history["records_sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        # Those of earlier versions hold the epochs alone.
        raise UserError(
            f"--resume: {workdir / HISTORY} does not state the options of its "
            "run, like those of earlier versions; train in another --workdir, "
            "or give --overwrite instead to start again"
        ) from error
    changed = options.changes_from(before)
    if digest != records.digest(options.records):
        changed.append("other records")
    if changed:
        raise UserError(
            f"--resume: {workdir} is a run of other flags "
            f"({'; '.join(changed)}); give them as they were, or train in "
            "another --workdir"
        )


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
