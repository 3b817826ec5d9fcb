"""Reproduction: trains, evaluates and tabulates the rows of a table.

Everything of a run lies at `<output>/<row's folder>/seed_<n>/`: the workdirs
`pretrained` and `workdir`, the results folders `validation` and `test`, and
`stages.json`, by which a later call knows what is done (see
`affwild_omg.storage.stages`). A row that several tables share is one folder.
"""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import keras
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import manifest
from affwild_omg.experiments import folds, tabulation
from affwild_omg.experiments.jobs import folds_of, list_jobs
from affwild_omg.experiments.options import ReproductionOptions, TableOptions
from affwild_omg.experiments.runs import FAILED, PRETRAINED, Runs
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.storage import files
from affwild_omg.training import validation


class Outcome(NamedTuple):
    """What came of it: the table, and {folder of a row that failed: why}."""

    tabulated: tabulation.Tabulated
    failed: Mapping[str, str]

    def require_all(self) -> None:
        """Raises UserError, which names them, if a row failed."""
        if self.failed:
            raise UserError(
                f"{wording.count(len(self.failed), 'row')} failed: "
                + "; ".join(f"{key}: {why}" for key, why in self.failed.items())
            )


def reproduce(
    options: ReproductionOptions, *, overwrite: bool = False
) -> Outcome:
    """Runs the rows of a table and writes the table.

    What is done, with these options, is kept; an interrupted training is
    resumed from its last checkpoint; the rest runs. A row that fails by a
    fault that a user can mend does not stop the others.

    Args:
        options: what and where.
        overwrite: replace trainings of other options, records or weights, and
            results that this function did not write.

    Raises:
        UserError: the options or the records cannot be used; or the output
            holds what only `overwrite` may replace.
    """
    runs = Runs(pathlib.Path(options.output).resolve())
    files.check_output(runs.root, flag="--output", overwrite=True)
    jobs, absent = list_jobs(options, runs, _read_records(options))
    if any(job.row.fold is not None for job in jobs):
        folds.write(
            pathlib.Path(options.records).resolve(),
            folds_of(options, runs),
            by=options.folds_by,
            count=tables.FOLDS,
            overwrite=overwrite,
        )
    if not overwrite:
        _check_kept(options, jobs, runs)
    for row, state in absent:
        logging.info("%s: %s", row.folder, state)
        runs.write_state(row, state)
    failed = {}
    for index, job in enumerate(jobs, start=1):
        logging.info("\n%d of %d: %s", index, len(jobs), job)
        folder = job.row.folder
        try:
            _run(job, runs)
        except UserError as error:
            failed[folder] = " ".join(str(error).split())
            logging.error("%s failed: %s", folder, failed[folder])
            runs.write_state(job.row, f"{FAILED}: {failed[folder]}")
        else:
            if folder not in failed:
                runs.write_state(job.row, None)
        # A network is large, and Keras remembers all that it ever built.
        keras.utils.clear_session()
    output = str(runs.root)
    table = TableOptions(table=options.table, runs=output, output=output)
    return Outcome(tabulation.make(table, overwrite=True), failed)


def _read_records(options):
    """Returns the manifests by flag, of records that are as they must be."""
    found = {}
    for flag in ("records", "affwild_records", "affwild2_records"):
        folder = getattr(options, flag)
        if folder is None:
            continue
        try:
            records = found[flag] = manifest.read(folder)
            records.check("train", labels=TARGETS)
            own = flag == "records"
            # A part of train serves where a corpus to pre-train on has none.
            if own or "validation" in records.splits:
                records.check("validation", labels=TARGETS)
            if own:
                records.check("test")
        except UserError as error:
            raise UserError(
                str(error).replace("--records=", f"--{flag}=")
            ) from error
    own = found["records"].treatment
    for flag, records in found.items():
        # Networks go from these to --records.
        if own.landmarks != records.treatment.landmarks:
            raise UserError(
                f"--{flag}={records.folder} has landmarks by "
                f"{records.treatment.landmarks}, and --records="
                f"{options.records} by {own.landmarks}; prepare all with the "
                "same --landmarks"
            )
    return found


def _check_kept(options, jobs, runs):
    """Refuses to lose trainings, which may take days, and others' results."""
    lost = []
    for job in jobs:
        known, intact = runs.stages(job.row.folder, job.seed), True
        for stage in _needed(job, known):
            exists = any(path.exists() for path in stage.outputs)
            kept = known.path.is_file() and not known.is_changed(stage.name)
            if stage.resume:  # a training, which starts from the one before
                wanted = stage.name, stage.options, stage.inputs
                whole = known.is_begun(*wanted) or known.is_done(*wanted)
                kept = intact and whole
                intact = exists
            if exists and not kept:
                lost.append(f"{job}/{stage.name}")
    if lost:
        raise UserError(
            f"--output={options.output} holds what is of other options, "
            "records or weights, lacks its pre-training, was changed, or is "
            f"not of this command ({listed(lost)}); name another folder, or "
            "give --overwrite to replace it"
        )


def _needed(job, known):
    """Leaves out a pre-training that was removed after it had served.

    Its workdir is as large as that of the training which started from it.
    """
    before, after, *_ = job.stages * 2  # a fusion has one stage
    served = (
        before.name == PRETRAINED
        and not any(path.exists() for path in before.outputs)
        and known.is_same(before.name, before.options, before.inputs)
        and known.is_done(after.name, after.options, after.inputs)
    )
    return job.stages[1:] if served else job.stages


def _run(job, runs):
    """Runs what is not done of a job."""
    failed = [
        member.folder
        for member, seed in job.members
        if not runs.is_finished(member, seed)
    ]
    if failed:
        raise UserError(f"it fuses {listed(failed)}, which failed")
    known = runs.stages(job.row.folder, job.seed)
    stages = _needed(job, known)
    if stages[0].name == PRETRAINED:  # days before the training itself would
        after = stages[1].options
        validation.check(after, validation.read(after))
    for stage in stages:
        known.run(**stage._asdict())
