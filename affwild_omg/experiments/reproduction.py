"""Reproduction: trains, evaluates and tabulates the rows of a table.

Everything of a row lies at `<output>/<row's folder>/seed_<n>/`: the workdirs
`pretrained` and `workdir`, the results folders `validation` and `test`, and
`stages.json`, by which a later call knows what is done (see
`affwild_omg.storage.stages`). A row that several tables share is one folder.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import keras
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import records
from affwild_omg.evaluation import evaluator, fusion, results
from affwild_omg.evaluation.options import EvaluationOptions, FusionOptions
from affwild_omg.experiments import runs, tabulation
from affwild_omg.experiments.options import ReproductionOptions, TableOptions
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Fusion
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.storage import files
from affwild_omg.storage.stages import FILE, Stages
from affwild_omg.training import loop, resumption
from affwild_omg.training.options import OVERRIDES, TrainingOptions
from affwild_omg.weights import workdir as workdirs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        tabulated: the table.
        failed: {row's folder: what went wrong, a line}.
    """

    tabulated: tabulation.Tabulated
    failed: Mapping[str, str]

    def require_all(self) -> None:
        """Raises UserError, which names them, if a row failed."""
        if self.failed:
            raise UserError(
                f"{len(self.failed)} row(s) failed: "
                + "; ".join(f"{key}: {why}" for key, why in self.failed.items())
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """A row that is to be run with a seed.

    Attributes:
        row: the row, with the pre-training that it is to have.
        root: folder of all rows.
        seed: its seed.
        trainings: {name of the stage: options}: of the pre-training, if there
            is one, and of the training on the records; empty for
            decision-level fusion.
    """

    row: Row
    root: pathlib.Path
    seed: int
    trainings: Mapping[str, TrainingOptions]

    @property
    def name(self) -> str:
        """The row and the seed."""
        return str(self.place.relative_to(self.root))

    @property
    def place(self) -> pathlib.Path:
        """The folder of the row and the seed."""
        return runs.place(self.root, self.row.folder, self.seed)

    def stages(self) -> Stages:
        """Returns what is done of it."""
        return Stages(self.place / FILE, root=self.root)


def reproduce(
    options: ReproductionOptions, *, overwrite: bool = False
) -> Outcome:
    """Runs the rows of a table and writes the table after each.

    What is done, with these options, is kept; an interrupted training is
    resumed after its last complete epoch; the rest runs. A row that fails by a
    fault that a user can mend does not stop the others.

    Args:
        options: what and where.
        overwrite: replace trainings of other options, records or weights.

    Raises:
        UserError: the options or the records cannot be used; or the output
            holds trainings of others and `overwrite` is False.
    """
    output = pathlib.Path(options.output).resolve()
    files.check_output(output, flag="--output", overwrite=True)
    _check_records(options)
    jobs, absent = _plan(options, output)
    if not overwrite:
        _check_trained(options, jobs)
    for folder, state in absent.items():
        logging.info("%s: %s", folder, state)
        runs.write_state(output / folder, state)
    failed, broken = {}, set()
    for index, job in enumerate(jobs, start=1):
        logging.info("\n%d of %d: %s", index, len(jobs), job.name)
        folder = job.row.folder
        try:
            _run(job, broken)
        except UserError as error:
            failed[folder] = " ".join(str(error).split())
            broken.add(job.name)
            logging.error("%s failed: %s", folder, failed[folder])
            runs.write_state(
                output / folder, f"{runs.FAILED}: {failed[folder]}"
            )
        else:
            if folder not in failed:
                (output / folder / runs.STATUS).unlink(missing_ok=True)
        # A network is large, and Keras remembers all that it ever built.
        keras.utils.clear_session()
        if index == len(jobs):
            break
        try:
            for line in tabulation.lines(_tabulate(options.table, output)):
                logging.info("%s", line)
        except UserError as error:  # unreadable results stop no training
            logging.error("no table yet: %s", error)
    return Outcome(tabulated=_tabulate(options.table, output), failed=failed)


def _check_records(options):
    for flag in ("records", "affwild_records", "affwild2_records"):
        folder = getattr(options, flag)
        if folder is None:
            continue
        try:
            for split in ("train", "validation"):
                records.require_labels(folder, split)
            if flag == "records":
                records.check_files(folder, "test")
        except UserError as error:
            raise UserError(
                str(error).replace("--records=", f"--{flag}=")
            ) from error


def _check_trained(options, jobs):
    """Refuses to lose a training, done or begun, which may have taken days."""
    lost = [
        f"{job.name}/{name}"
        for job in jobs
        for name, wanted in job.trainings.items()
        if any(path.exists() for path in _trained(wanted))
        and not job.stages().is_same(name, wanted, _sources(wanted))
    ]
    if lost:
        raise UserError(
            f"--output={options.output} holds {len(lost)} training(s) of other "
            f"options, records or weights ({listed(lost)}); name another "
            "folder, or give --overwrite to replace them"
        )


def _tabulate(number, output):
    return tabulation.make(
        TableOptions(table=number, runs=str(output), output=str(output)),
        overwrite=True,
    )


def _plan(options, output):
    """Returns the jobs, in order, and {folder: why} of rows without one.

    Raises:
        UserError: an option is out of range.
    """
    rows = options.selected()
    if options.pretraining == "none":
        if options.table == 4:  # it has rows of its own for that
            rows = [row for row in rows if row.pretraining == "scratch"]
        rows = [tables.without_pretraining(row) for row in rows]
    jobs, absent = {}, {}
    for row in rows:
        # What a row fuses is run before it.
        for one in (*map(tables.find_run, row.members), row):
            settings = {} if one.members else _settings(options, one)
            flag = f"{one.pretraining}_records"
            if one.pretraining != "scratch" and not getattr(options, flag):
                state = f"{runs.NOT_RUN}: corpus absent (--{flag})"
                absent[one.folder] = state
                continue
            for seed in options.seed_numbers():
                job = _Job(row=one, root=output, seed=seed, trainings={})
                if one.network:
                    trainings = _trainings(options, job, settings)
                    job = dataclasses.replace(job, trainings=trainings)
                jobs.setdefault(job.name, job)
    return list(jobs.values()), absent


def _settings(options, row):
    """Returns the flags of train.py of a row.

    Raises:
        UserError: one is out of range.
    """
    network = networks.named(row.network, **row.overrides)
    overrides = options.overrides()
    own = {k: v for k, v in overrides.items() if _has(network, k)}
    if len(own) < len(overrides):
        logging.info(
            "%s: without %s, which its network does not have",
            row.key,
            ", ".join(overrides.keys() - own.keys()),
        )
    settings = tables.to_flags(row, options.strategy) | own
    try:
        TrainingOptions(**settings, records="", workdir="").network()
    except UserError as error:
        message = str(error).removeprefix("--")
        raise UserError(f"--options: {row.key}: {message}") from error
    return settings


def _has(network, option):
    """Returns whether an option of train.py has an effect on a network."""
    if option not in OVERRIDES:
        return True
    if isinstance(network, Fusion):
        return option in ("fusion_units", "gru") or any(
            _has(member, option) for member in network.members
        )
    if option == "width":
        return architectures.BACKBONES[network.backbone].scalable
    if option == "landmark_units":
        return network.sees_landmarks
    return option != "fusion_units" and network.uses(option)


def _trainings(options, job, settings):
    """Returns the trainings of a job, see `_Job.trainings`."""
    row, trainings = job.row, {}
    network = networks.named(row.network, **row.overrides)
    if isinstance(network, Fusion):  # its members share a backbone
        network, *_ = network.members
    weights = options.initial_weights().get(network.backbone)
    init_from = weights and _absolute(weights)
    stages = {runs.WORKDIR: options.records}
    if row.pretraining != "scratch":
        corpus = getattr(options, f"{row.pretraining}_records")
        stages = {runs.PRETRAINED: corpus} | stages
    for name, folder in stages.items():
        trainings[name] = TrainingOptions(
            **settings,
            seed=job.seed,
            records=_absolute(folder),
            workdir=str(job.place / name),
            init_from=init_from,
        )
        init_from = trainings[name].workdir
    return trainings


def _absolute(path):
    """Returns a path that means the same wherever the command is started."""
    return str(pathlib.Path(path).resolve())


def _manifest(folder):
    return pathlib.Path(folder, records.MANIFEST)


def _sources(training):
    """Returns the files that a training depends on."""
    sources = [_manifest(training.records)]
    if training.init_from:
        path = pathlib.Path(training.init_from)
        best = path / workdirs.BEST  # of a workdir; it may be gone by now
        is_workdir = best.is_file() or path.name == runs.PRETRAINED
        sources.append(best if is_workdir else path)
    return sources


def _trained(training):
    """Returns the files that tell that a training was there."""
    names = (workdirs.BEST, workdirs.HISTORY)
    return [pathlib.Path(training.workdir, name) for name in names]


def _scored(folder):
    return [folder / name for name in (results.METRICS, results.PREDICTIONS)]


def _run(job, broken):
    """Runs what is not done of a job; broken: names of the jobs that failed."""
    if not job.trainings:
        _fuse(job, broken)
        return
    known, training = job.stages(), job.trainings[runs.WORKDIR]
    if not _is_served(job, known):
        _train(known, runs.PRETRAINED, job.trainings[runs.PRETRAINED])
    _train(known, runs.WORKDIR, training)
    best, _ = _trained(training)
    chosen = best.with_name(workdirs.POSTPROCESSING)
    sources = [_manifest(training.records), best]
    for split, inputs, outputs in (
        (runs.VALIDATION, sources, [chosen]),
        (runs.TEST, [*sources, chosen], []),
    ):
        known.run(
            split,
            evaluator.evaluate,
            EvaluationOptions(
                model=training.workdir,
                records=training.records,
                output=str(job.place / split),
                split=split,
                choose_postprocessing=split == runs.VALIDATION,
            ),
            command="python evaluate.py",
            inputs=inputs,
            outputs=[*outputs, *_scored(job.place / split)],
        )


def _is_served(job, known):
    """Returns whether there is no pre-training, or what it is for is done.

    Its workdir, which is as large as the other, may be removed then.
    """
    before, training = map(job.trainings.get, (runs.PRETRAINED, runs.WORKDIR))
    return before is None or (
        known.is_same(runs.PRETRAINED, before, _sources(before))
        and known.is_done(runs.WORKDIR, training, _sources(training))
    )


def _train(known, name, options):
    """Trains, or resumes a training that was interrupted."""
    _, history = _trained(options)

    def anew(options, *, overwrite):
        # Or a call that is interrupted in its first epoch would seem to be the
        # earlier run, which training leaves in place that long.
        history.unlink(missing_ok=True)
        loop.train(options, overwrite=overwrite)

    def resume(options):
        try:
            resumption.check(history.parent, options)
        except UserError:
            anew(options, overwrite=True)
        else:
            logging.info("%s: resumes after its last complete epoch", name)
            loop.train(options, resume=True)

    known.run(
        name,
        anew,
        options,
        command="python train.py",
        inputs=_sources(options),
        outputs=_trained(options),
        resume=resume,
    )


def _fuse(job, broken):
    """Fuses the results of a row's members, which were run before it."""
    places = [runs.place(job.root, x, job.seed) for x in job.row.members]
    missing = [x for x in places if str(x.relative_to(job.root)) in broken]
    if missing:
        names = [place.parent.name for place in missing]
        raise UserError(f"it fuses {listed(names)}, which failed")
    validation, test = (
        [str(place / split) for place in places]
        for split in (runs.VALIDATION, runs.TEST)
    )
    job.stages().run(
        runs.TEST,
        fusion.fuse,
        FusionOptions(
            validation=validation, test=test, output=str(job.place / runs.TEST)
        ),
        command="python -m affwild_omg.fuse",
        inputs=[
            pathlib.Path(folder, results.PREDICTIONS)
            for folder in (*validation, *test)
        ],
        outputs=_scored(job.place / runs.TEST),
    )
