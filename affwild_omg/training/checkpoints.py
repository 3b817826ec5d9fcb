"""Checkpoints: one file holds all that a training needs to go on.

`last.keras` is the newest checkpoint: a model file with the optimizer's state
and one more member, `training.json`, which holds the history, how far the epoch
has come and the dropout's noise. It alone is the truth: the best model,
`history.json` and the rest of a workdir follow from it, and are brought to what
it says when a training goes on. `checkpoints/` has those before it, and the
best models that they knew.
"""

import dataclasses
import json
import os
import pathlib
import zipfile
import zlib

import keras

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files
from affwild_omg.weights import model_file
from affwild_omg.weights import workdir as workdirs
from affwild_omg.weights.model_file import Card
from affwild_omg.weights.workdir import BEST, CHECKPOINTS, LAST

STATE = "training.json"
# What a reader must understand; to be raised when it changes.
VERSION = 2

# What is raised on a damaged file; an OSError says nothing about what it holds.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError, KeyError, ValueError),
)


@dataclasses.dataclass
class Progress:
    """How far an epoch has come.

    Attributes:
        batches: of the data that were seen, up to the last one of a step.
        steps: that were taken; batches with nothing to compare have none.
        overflows: those among them whose gradient did not fit into float16,
            so that they moved nothing.
        loss_sum: of the steps.
        frames: that counted in them.
        seconds: that they took.
    """

    batches: int = 0
    steps: int = 0
    overflows: int = 0
    loss_sum: float = 0.0
    frames: float = 0.0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, int | float]:
        """Returns it as JSON has it, whether of numbers or of tensors."""
        return {
            field.name: field.type(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One that was read: where it lies, and its `training.json`."""

    path: pathlib.Path
    state: dict


def write(
    workdir: pathlib.Path,
    model: keras.Model,
    card: Card,
    state: dict,
    *,
    before: int | None,
    keep: int,
) -> None:
    """Writes a checkpoint, whole or not at all, and removes the oldest.

    Args:
        workdir: of the training.
        model: compiled with its optimizer.
        card: of the model.
        state: all else that the training needs.
        before: step of the training's checkpoint before; None for none, where
            an earlier training gives way.
        keep: how many stay.
    """
    last = workdir / LAST
    state = {"version": VERSION} | state
    with files.whole(last) as unfinished:
        model_file.write_model(
            *(model, card, unfinished),
            include_optimizer=True,
            members={STATE: json.dumps(state)},
        )
        files.sync(unfinished)  # before the one before gives way
        if before is None:
            workdirs.clear(workdir)
        elif keep > 1:
            _set_aside(last, f"step_{before:09}.keras")
    _prune(workdir, "step_*.keras", keep - 1)


def newest(workdir: pathlib.Path) -> Checkpoint | None:
    """Returns a workdir's newest checkpoint that is whole, if it has one.

    Raises:
        UserError: all that are there are damaged.
        OSError: one cannot be read, which may pass.
    """
    kept = sorted((workdir / CHECKPOINTS).glob("step_*.keras"), reverse=True)
    paths = [path for path in (workdir / LAST, *kept) if path.is_file()]
    for path in paths:
        state = _read(path, lambda x: None if x.testzip() else _state_of(x))
        if state is None:
            continue
        if not state["version"]:
            raise UserError(
                f"--resume: {path} is of an earlier version, which does not "
                "state how far it had come; train in another --workdir, or "
                "give --overwrite instead to start again"
            )
        if state["version"] > VERSION:
            raise UserError(
                f"--resume: {path} is of a newer version of affwild_omg; "
                "install that one, or train in another --workdir"
            )
        return Checkpoint(path, state)
    if paths:
        raise UserError(
            f"--resume: {', '.join(map(str, paths))} "
            f"{'is' if len(paths) == 1 else 'are'} damaged; give --overwrite "
            "instead to start again"
        )
    return None


def set_best(
    workdir: pathlib.Path,
    model: keras.Model,
    card: Card,
    epoch: int | None,
    *,
    current: bool,
    keep: int,
) -> None:
    """Makes `best.keras` the model of the best epoch.

    Args:
        workdir: of the training.
        model: as the newest checkpoint has it.
        card: of the model.
        epoch: the best one; None where none was validated.
        current: whether the model is of the end of that epoch.
        keep: how many checkpoints stay: each knows one best model, so that
            they need as many of these.

    Raises:
        UserError: it is lost.
    """
    best = workdir / BEST
    there = None
    if best.is_file():
        there = _read(best, lambda x: json.loads(x.read(STATE))["epoch"])
    kept = workdir / CHECKPOINTS / f"best_{epoch or 0:09}.keras"
    if epoch is None:
        best.unlink(missing_ok=True)
    elif there == epoch:
        return
    elif current:
        member = {STATE: json.dumps({"epoch": epoch})}
        with files.whole(best) as unfinished:
            model_file.write_model(model, card, unfinished, members=member)
            files.sync(unfinished)
            if keep > 1 and there is not None:
                _set_aside(best, f"best_{there:09}.keras")
        _prune(workdir, "best_*.keras", keep - 1)
    elif kept.is_file():
        kept.replace(best)
    else:
        raise UserError(
            f"--resume: {best} is not the model of epoch {epoch}, the best so "
            "far, which is not here; give --overwrite instead to start again"
        )


def _read(path, what):
    """Returns what is read of a model file, None if it is damaged."""
    try:
        with files.archive(path) as archive:
            return what(archive)
    except _DAMAGE:
        return None


def _state_of(archive):
    if STATE not in archive.namelist():
        return {"version": 0}
    return json.loads(archive.read(STATE))


def _set_aside(path, name):
    """Keeps a file, which is about to be replaced, under another name too."""
    if not path.is_file():
        return
    aside = path.parent / CHECKPOINTS / name
    aside.parent.mkdir(exist_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # no links there; then it is gone for a moment
        path.replace(aside)


def _prune(workdir, pattern, keep):
    kept = sorted((workdir / CHECKPOINTS).glob(pattern), reverse=True)
    for path in kept[keep:]:
        path.unlink()
