"""Resumption: whether an interrupted training may go on in its workdir."""

import pathlib

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data.manifest import Manifest
from affwild_omg.training import checkpoints
from affwild_omg.training.options import TrainingOptions
from affwild_omg.weights import workdir as workdirs


def read(workdir: pathlib.Path) -> dict | None:
    """Returns what a workdir's training states of itself; None for none.

    Raises:
        UserError: it cannot be read.
    """
    return _stated(workdir, checkpoints.newest(workdir))


def changes(
    before: dict, options: TrainingOptions, records: Manifest
) -> list[str]:
    """Returns in what a training differs from what another states of itself."""
    changed = options.changes_from(before["options"])
    digests = [before.get("records_sha256"), *before.get("added_sha256", ())]
    if digests != [x.digest for x in (records, *records.added)]:
        changed.append("other records")
    return changed


def check(
    workdir: pathlib.Path, options: TrainingOptions, records: Manifest
) -> checkpoints.Checkpoint | None:
    """Checks that a workdir's training has these options and records.

    Args:
        workdir: of the training.
        options: of what is to go on.
        records: that it is to read.

    Returns:
        Its checkpoint; None if it has none.

    Raises:
        UserError: it holds no training, another, or more epochs than are asked
            for, the last of them not validated.
    """
    found = checkpoints.newest(workdir)
    before = _stated(workdir, found)
    if before is None:
        raise nothing(workdir)
    if "options" not in before:
        raise UserError(
            f"--resume: {workdir} holds a training of an earlier version, "
            "which does not state its options; train in another --workdir, or "
            "give --overwrite instead to start again"
        )
    if changed := changes(before, options, records):
        raise UserError(
            f"--resume: {workdir} holds a training with other flags "
            f"({'; '.join(changed)}); give them as they were, or train in "
            "another --workdir"
        )
    done = len(epochs := before["epochs"])
    if done >= options.epochs and "validation" not in epochs[-1]:
        raise UserError(
            f"--resume: {workdir} holds {wording.count(done, 'epoch')}, the "
            "last of them not validated, and "
            f"--epochs={options.epochs} would end the training there; give "
            f"{done + 1} or more"
        )
    return found


def nothing(workdir: pathlib.Path) -> UserError:
    """Returns what to tell where there is nothing to go on with."""
    return UserError(
        f"--resume: {workdir} holds no training; leave --resume out to start "
        "one"
    )


def _stated(workdir, found):
    return found.state if found else workdirs.read_history(workdir)
