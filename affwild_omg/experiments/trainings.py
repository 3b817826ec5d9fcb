"""Trainings of runs: begun, resumed, or taken from a run that has the same."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.storage import files
from affwild_omg.storage.stages import FILE, Stages
from affwild_omg.training import loop, resumption
from affwild_omg.training.options import TrainingOptions
from affwild_omg.weights import workdir as workdirs


def begin(
    options: TrainingOptions,
    *,
    inputs: Sequence[pathlib.Path],
    others: Sequence[pathlib.Path],
    overwrite: bool,
) -> None:
    """Trains, or takes a training that is the same but for its place.

    Args:
        options: of the training, in `<folder of the run>/<name of the stage>`.
        inputs: what it depends on, see `storage.stages`.
        others: folders of runs that may have the same.
        overwrite: replace what is in the workdir.
    """
    if not _take(options, inputs, others):
        _train(options, overwrite=overwrite)


def resume(
    options: TrainingOptions,
    *,
    inputs: Sequence[pathlib.Path],
    others: Sequence[pathlib.Path],
) -> None:
    """Goes on with a training, which the stages file knows to be the same."""
    if _take(options, inputs, others):
        return
    workdir = pathlib.Path(options.workdir)
    try:
        # Where its first weights lie may be another place by now.
        begun = (resumption.read(workdir) or {}).get("options", {})
        same = dataclasses.replace(options, init_from=begun.get("init_from"))
        records = manifest.read(same.records)
        resumption.check(workdir, same, records)
    except UserError as error:
        # Without the way out, which is for train.py.
        why, *_ = str(error).removeprefix("--resume: ").split("; ")
        logging.warning("%s starts anew: %s", workdir.name, why)
        _train(options, overwrite=True)
    else:
        logging.info("%s resumes from its last checkpoint", workdir.name)
        loop.train(same, resume=True)


def _take(options, inputs, others):
    """Returns whether a run had the training, finished, to take."""
    own = pathlib.Path(options.workdir)
    for place in others:
        theirs = dataclasses.replace(options, workdir=str(place / own.name))
        known = Stages(place / FILE, root=place.parents[1])
        if not known.is_done(own.name, theirs, inputs):
            continue
        logging.info("taken from %s, which is the same", theirs.workdir)
        with loop.kept_from_others(own):
            workdirs.clear(own)
            for name in (workdirs.BEST, workdirs.HISTORY):
                source = pathlib.Path(theirs.workdir, name)
                try:  # models are large
                    os.link(source, own / name)
                except OSError:  # another file system, or one that cannot
                    shutil.copy2(source, own / name)
        return True
    return False


def _train(options, *, overwrite):
    # Or a call that is interrupted before its first checkpoint would seem to
    # be the earlier run, which training leaves in place that long.
    workdir = pathlib.Path(options.workdir)
    with loop.kept_from_others(workdir):
        for name in (workdirs.CHECKPOINTS, workdirs.LAST, workdirs.HISTORY):
            files.remove(workdir / name)
    loop.train(options, overwrite=overwrite)
