"""Workdirs: what a training leaves on disk.

A workdir holds `best.keras` and `last.keras` (the second with all that training
needs to go on, see `training.checkpoints`; `checkpoints/` has those before),
`history.json` (the options, the records' digest and all epochs),
`flags.cfg` (the options as a flagfile that starts the same training again),
TensorBoard's event files, `postprocessing.json` once an evaluation has chosen
steps for the best model, `half_widths.json` once one has measured its errors on
validation, and `initialisation.json` where weights were taken from elsewhere:
which, what was left out there and what was initialised anew.
"""

import contextlib
import json
import os
import pathlib

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files, remote

BEST = "best.keras"
LAST = "last.keras"
HISTORY = "history.json"
POSTPROCESSING = "postprocessing.json"
HALF_WIDTHS = "half_widths.json"
EVENTS = "tensorboard"
EVENT_FILES = "events.out.tfevents.*"
CHECKPOINTS = "checkpoints"
FLAGFILE = "flags.cfg"
INITIALISATION = "initialisation.json"
# What a training states of itself that has no checkpoint yet, and will replace
# what lies there.
BEGUN = f"{files.PARTIAL}begun.json"


def of(model: os.PathLike | str) -> pathlib.Path:
    """Returns the workdir of a model: itself, or that of its best or last."""
    place = remote.path(model)
    return place.parent if place.name in (BEST, LAST) else place


def read_history(workdir: os.PathLike | str) -> dict | None:
    """Returns what `training.loop.train` wrote; None where there is nothing.

    Raises:
        UserError: the file is damaged.
    """
    return _read(workdir, HISTORY, lambda history: history["epochs"])


def read_initialisation(workdir: os.PathLike | str) -> list[dict]:
    """Returns what `training.loop.train` took from elsewhere, if anything.

    Raises:
        UserError: the file is damaged.
    """
    return _read(workdir, INITIALISATION, _taken) or []


def read_begun(workdir: os.PathLike | str) -> dict | None:
    """Returns what a training states of itself that has no checkpoint yet.

    None where there is none, or no other file that it would replace.

    Raises:
        UserError: the file is damaged.
    """
    return _read(workdir, BEGUN, lambda begun: begun["options"])


def _taken(reports):
    return [report["taken"] for report in reports]


def _read(workdir, name, check):
    path = remote.path(workdir) / name
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check(content)  # raises unless it is such a file
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); restore it, or train again"
        ) from error
    return content


def clear(workdir: pathlib.Path) -> None:
    """Removes the files of a training, and leaves alone what else is there."""
    files.remove(workdir / EVENTS / "plugins")  # profiles
    # Then what a training could go on from, or half of one would be left.
    for folder, pattern in (
        (CHECKPOINTS, "step_*.keras"),
        (CHECKPOINTS, "best_*.keras"),
        (EVENTS, EVENT_FILES),
    ):
        for file in (workdir / folder).glob(pattern):
            file.unlink()
        with contextlib.suppress(OSError):  # there is none, or others' files
            (workdir / folder).rmdir()
    for name in (
        *(LAST, BEST, HISTORY, FLAGFILE, INITIALISATION),
        *(POSTPROCESSING, HALF_WIDTHS, BEGUN),
    ):
        (workdir / name).unlink(missing_ok=True)
