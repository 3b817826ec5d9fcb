"""Reproduction: trains, evaluates and tabulates the rows of a table.

Everything of a run lies at `<output>/<row's folder>/seed_<n>/`: the workdirs
`pretrained` and `workdir`, the results folders `validation` and `test`, and
`stages.json`, by which a later call knows what is done (see
`affwild_omg.storage.stages`). A row that several tables share is one folder.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import manifest
from affwild_omg.evaluation import evaluator, fusion, results
from affwild_omg.evaluation.options import EvaluationOptions, FusionOptions
from affwild_omg.experiments import tabulation
from affwild_omg.experiments.options import ReproductionOptions, TableOptions
from affwild_omg.experiments.runs import (
    FAILED,
    NOT_RUN,
    PRETRAINED,
    TEST,
    VALIDATION,
    WORKDIR,
    Runs,
)
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Fusion
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.storage import files
from affwild_omg.storage.stages import Stage
from affwild_omg.training import loop, resumption
from affwild_omg.training.options import OVERRIDES, TrainingOptions
from affwild_omg.weights import workdir as workdirs


class Outcome(NamedTuple):
    """What came of it: the table, and {folder of a row that failed: why}."""

    tabulated: tabulation.Tabulated
    failed: Mapping[str, str]

    def require_all(self) -> None:
        """Raises UserError, which names them, if a row failed."""
        if self.failed:
            raise UserError(
                f"{len(self.failed)} row(s) failed: "
                + "; ".join(f"{key}: {why}" for key, why in self.failed.items())
            )


class Job(NamedTuple):
    """A row that is to be run with a seed, by these stages in their order."""

    row: Row
    seed: int
    stages: Sequence[Stage]

    def __str__(self):
        return f"{self.row.folder}/seed_{self.seed}"


def reproduce(
    options: ReproductionOptions, *, overwrite: bool = False
) -> Outcome:
    """Runs the rows of a table and writes the table.

    What is done, with these options, is kept; an interrupted training is
    resumed after its last complete epoch; the rest runs. A row that fails by a
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
    _check_records(options)
    jobs, absent = list_jobs(options, runs)
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


def _check_records(options):
    for flag in ("records", "affwild_records", "affwild2_records"):
        folder = getattr(options, flag)
        if folder is None:
            continue
        try:
            for split in ("train", "validation"):
                manifest.check(folder, split, labels=TARGETS)
            if flag == "records":
                manifest.check(folder, "test")
        except UserError as error:
            raise UserError(
                str(error).replace("--records=", f"--{flag}=")
            ) from error


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


def list_jobs(
    options: ReproductionOptions, runs: Runs
) -> tuple[list[Job], list[tuple[Row, str]]]:
    """Lists what is to be run, in order, and the rows that cannot be and why.

    Args:
        options: what to reproduce.
        runs: where to; its root is an absolute path.

    Raises:
        UserError: an option is out of range.
    """
    rows = options.selected()
    if options.pretraining == "none":
        if options.table == 4:  # it has rows of its own for that
            rows = [row for row in rows if row.pretraining == tables.SCRATCH]
        rows = [row.without_pretraining() for row in rows]
    jobs, absent = {}, []
    # What a row fuses is run before it.
    for row in [part for one in rows for part in (*one.fused, one)]:
        corpora = {WORKDIR: options.records}
        if row.pretraining != tables.SCRATCH:
            flag = f"{row.pretraining}_records"
            corpora = {PRETRAINED: getattr(options, flag)} | corpora
            if corpora[PRETRAINED] is None:
                absent.append((row, f"{NOT_RUN}: corpus absent (--{flag})"))
                continue
        trainings = {}
        if row.network:
            trainings = {
                name: _settings(options, row, pretraining=name == PRETRAINED)
                | {"records": _absolute(folder)}
                for name, folder in corpora.items()
            }
            weights = _weights(options, row, next(iter(trainings.values())))
        for seed in options.seed_numbers():
            place = runs.place(row.folder, seed)
            if row.network:
                stages = _train_and_evaluate(place, trainings, weights, seed)
            else:
                members = [runs.place(x.folder, seed) for x in row.fused]
                stages = [_fuse(place, members)]
            jobs.setdefault((row.folder, seed), Job(row, seed, stages))
    return list(jobs.values()), absent


def _settings(options, row, *, pretraining):
    """Returns the flags of train.py of one of a row's trainings.

    Raises:
        UserError: one is out of range.
    """
    network = networks.named(row.network, **row.overrides)
    overrides = options.overrides()
    if pretraining:
        overrides |= options.pretrain_overrides()
    own = {k: v for k, v in overrides.items() if _has(network, k)}
    if len(own) < len(overrides) and not pretraining:
        logging.info(
            "%s: without %s, which its network does not have",
            row.key,
            ", ".join(overrides.keys() - own.keys()),
        )
    flags = tables.to_flags(row, options.strategy, pretraining=pretraining)
    settings = flags | own
    try:
        TrainingOptions(**settings, records="", workdir="").network()
    except UserError as error:
        flag = "pretrain_options" if pretraining else "options"
        message = str(error).removeprefix("--")
        raise UserError(f"--{flag}: {row.key}: {message}") from error
    return settings


def _weights(options, row, first):
    """Returns where the weights of a row's first training come from.

    Raises:
        UserError: they come from nowhere, and the CNN does not learn either.
    """
    network = networks.named(row.network, **row.overrides)
    if isinstance(network, Fusion):  # its members share a backbone
        network, *_ = network.members
    weights = options.initial_weights().get(network.backbone)
    if not weights and first["train"] != "all":
        raise UserError(
            f"{row.key}: a CNN that is fixed in its first training must have "
            f"weights; give --weights={network.backbone}=FILE, --strategy="
            "end_to_end, or rows that are pre-trained"
        )
    return weights and _absolute(weights)


def _absolute(path):
    """Returns a path that means the same wherever the command is started."""
    return str(pathlib.Path(path).resolve())


def _has(network, option):
    """Returns whether an option of train.py has an effect on a network."""
    if option not in OVERRIDES:
        return True
    if isinstance(network, Fusion):
        members = (_has(member, option) for member in network.members)
        return option == "fusion_units" or any(members)
    rules = {
        "fusion_units": False,
        "landmark_units": network.sees_landmarks,
        "width": architectures.BACKBONES[network.backbone].scalable,
    }
    return rules.get(option, network.uses(option))


def _train_and_evaluate(place, trainings, weights, seed):
    """Lists the stages of a run that trains.

    Args:
        place: its folder.
        trainings: {workdir's name: flags}, in order; each starts from the one
            before it.
        weights: what the first starts from; None for random weights.
        seed: of all trainings.
    """
    stages, source, inputs = [], weights, []
    if weights:
        best = pathlib.Path(weights, workdirs.BEST)
        inputs = [best if best.is_file() else pathlib.Path(weights)]
    for name, flags in trainings.items():
        workdir = place / name
        training = TrainingOptions(
            **flags, workdir=str(workdir), seed=seed, init_from=source
        )
        listing = pathlib.Path(training.records, manifest.MANIFEST)
        best = workdir / workdirs.BEST
        stages.append(
            Stage(
                name,
                _train,
                training,
                command="python train.py",
                inputs=[listing, *inputs],
                outputs=[best, workdir / workdirs.HISTORY],
                resume=_resume,
            )
        )
        source, inputs = str(workdir), [best]
    chosen = workdir / workdirs.POSTPROCESSING
    for split, inputs, outputs in (
        (VALIDATION, [listing, best], [chosen]),
        (TEST, [listing, best, chosen], []),
    ):
        evaluation = EvaluationOptions(
            model=training.workdir,
            records=training.records,
            output=str(place / split),
            split=split,
            choose_postprocessing=split == VALIDATION,
        )
        stages.append(
            Stage(
                split,
                evaluator.evaluate,
                evaluation,
                command="python evaluate.py",
                inputs=inputs,
                outputs=[*outputs, *_scored(place / split)],
            )
        )
    return stages


def _fuse(place, members):
    """Returns the stage that fuses the results of a row's members."""
    validation, test = (
        [str(member / split) for member in members]
        for split in (VALIDATION, TEST)
    )
    return Stage(
        TEST,
        fusion.fuse,
        FusionOptions(
            validation=validation, test=test, output=str(place / TEST)
        ),
        command="python -m affwild_omg.fuse",
        inputs=[
            pathlib.Path(folder, results.PREDICTIONS)
            for folder in (*validation, *test)
        ],
        outputs=_scored(place / TEST),
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


def _scored(folder):
    return [folder / name for name in (results.METRICS, results.PREDICTIONS)]


def _run(job, runs):
    """Runs what is not done of a job."""
    failed = [
        member.folder
        for member in job.row.fused
        if not runs.is_finished(member, job.seed)
    ]
    if failed:
        raise UserError(f"it fuses {listed(failed)}, which failed")
    known = runs.stages(job.row.folder, job.seed)
    for stage in _needed(job, known):
        known.run(**stage._asdict())


def _train(options, *, overwrite):
    # Or a call that is interrupted in its first epoch would seem to be the
    # earlier run, which training leaves in place that long.
    history = pathlib.Path(options.workdir, workdirs.HISTORY)
    history.unlink(missing_ok=True)
    loop.train(options, overwrite=overwrite)


def _resume(options):
    """Goes on with a training, which the stages file knows to be the same."""
    workdir = pathlib.Path(options.workdir)
    try:
        # Where its first weights lie may be another place by now.
        begun = (workdirs.read_history(workdir) or {}).get("options", {})
        same = dataclasses.replace(options, init_from=begun.get("init_from"))
        resumption.check(workdir, same)
    except UserError as error:
        # Without the way out, which is for train.py.
        why, *_ = str(error).removeprefix("--resume: ").split("; ")
        logging.warning("%s starts anew: %s", workdir.name, why)
        _train(options, overwrite=True)
    else:
        logging.info("%s resumes after its last complete epoch", workdir.name)
        loop.train(same, resume=True)
