"""Reproducing: trains, evaluates and tabulates the rows of a table.

Everything of a row lies at `<output>/<row's folder>/seed_<n>/`: the workdirs
`pretrained` and `workdir`, the results folders `validation` and `test`, and
`stages.json`, by which a later call knows what is whole (see
`affwild_omg.storage.stages`). A row that several tables share is one folder.
"""

import dataclasses
import gc
import hashlib
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
from affwild_omg.published import tables
from affwild_omg.published.networks import named
from affwild_omg.published.tables import Row
from affwild_omg.storage import files, stages
from affwild_omg.training import loop as training
from affwild_omg.training import workdir as workdirs
from affwild_omg.training.options import OVERRIDES, TrainingOptions
from affwild_omg.weights import model_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        tabulated: the table.
        failed: {row's key: what went wrong, a line}.
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
        seed: its seed.
        place: folder of the row and the seed.
        pretraining: of the pre-training; None without one.
        training: of the training on the records; None for decision-level
            fusion.
    """

    row: Row
    seed: int
    place: pathlib.Path
    pretraining: TrainingOptions | None = None
    training: TrainingOptions | None = None


def reproduce(
    options: ReproductionOptions, *, overwrite: bool = False
) -> Outcome:
    """Runs the rows of a table and writes the table after each.

    What is whole and of these options is kept; a training that was broken off
    goes on from its last whole epoch; the rest is made anew. A row that fails
    by a fault that a user can mend is left for the others to go on.

    Args:
        options: what and where.
        overwrite: make trainings of other options, records or weights anew.

    Raises:
        UserError: the options, or the records, can't be used; or the output
            holds trainings of others and `overwrite` is False.
    """
    output = pathlib.Path(options.output).resolve()
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={options.output} is a file; name a folder")
    sources = _sources(options)
    jobs, absent = _plan(options, output)
    if not overwrite:
        _check_trained(options, jobs, sources)
    for folder, state in absent.items():
        logging.info("%s: %s", folder, state)
        runs.write_state(output / folder, state)
    failed, broken = {}, set()
    for index, job in enumerate(jobs, start=1):
        logging.info(
            "\n%d of %d: %s, seed %d",
            index,
            len(jobs),
            job.row.folder,
            job.seed,
        )
        try:
            _run(job, sources, broken)
        except UserError as error:
            line = " ".join(str(error).split())
            logging.error("%s failed: %s", job.row.folder, line)
            failed[job.row.folder] = line
            broken.add(job.place)
            runs.write_state(job.place.parent, f"failed: {line}")
        else:
            if job.row.folder not in failed:
                (job.place.parent / runs.STATUS).unlink(missing_ok=True)
        # A network is large, and Keras remembers all that it ever built.
        keras.utils.clear_session()
        gc.collect()
        if index < len(jobs):
            _show_so_far(options.table, output)
    return Outcome(tabulated=_tabulate(options.table, output), failed=failed)


def _check_trained(options, jobs, sources):
    """Refuses to lose a training, whole or begun, which may have taken days."""
    lost = []
    for job in jobs:
        known = stages.Stages(job.place / stages.FILE, sources)
        for name, wanted in (
            (runs.PRETRAINED, job.pretraining),
            (runs.WORKDIR, job.training),
        ):
            if (
                wanted
                and any(
                    pathlib.Path(wanted.workdir, file).exists()
                    for file in (model_file.BEST, model_file.HISTORY)
                )
                and not known.is_same(
                    name, wanted, _sources_of(wanted, sources)
                )
            ):
                lost.append(f"{job.row.folder}/{job.place.name}/{name}")
    if lost:
        raise UserError(
            f"--output={options.output} holds {len(lost)} training(s) of other "
            f"options, records or weights ({listed(lost)}); name another "
            "folder, or give --overwrite to make them anew"
        )


def _tabulate(number, output):
    return tabulation.make(
        TableOptions(table=number, runs=str(output), output=str(output)),
        overwrite=True,
    )


def _show_so_far(number, output):
    """Writes the table and shows it; what can't be read stops no training."""
    try:
        tabulated = _tabulate(number, output)
    except UserError as error:
        logging.error("no table yet: %s", error)
        return
    for line in tabulation.lines(tabulated):
        logging.info("%s", line)


def _sources(options):
    """Checks the records; returns {path: digest} of them and of weights."""
    sources = {}
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
        manifest = pathlib.Path(folder, records.MANIFEST).read_bytes()
        digest = hashlib.sha256(manifest).hexdigest()
        sources[_absolute(folder)] = f"records {digest[:16]}"
    for file in options.initial_weights().values():
        sources[_absolute(file)] = f"weights {_digest(file)[:16]}"
    return sources


def _digest(path):
    """Returns the SHA-256 of a weight file, or of a workdir's."""
    path = pathlib.Path(path)
    found = [path]
    if path.is_dir():
        best = path / model_file.BEST
        found = [best] if best.is_file() else sorted(path.rglob("*"))
    return files.digest(*(x for x in found if x.is_file()))


def _absolute(path):
    """Returns a path that means the same wherever the command is started."""
    return str(pathlib.Path(path).resolve())


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
    for row in _with_members(rows):
        settings = _settings(options, row)
        flag = f"{row.pretraining}_records"
        if row.pretraining != "scratch" and not getattr(options, flag):
            absent[row.folder] = f"{runs.NOT_RUN}: corpus absent (--{flag})"
            continue
        for seed in options.seed_numbers():
            job = _job(options, row, settings, seed, output)
            jobs.setdefault(str(job.place), job)
    return list(jobs.values()), absent


def _with_members(rows):
    """Yields rows, those that one fuses before it."""
    for row in rows:
        for run in row.members:
            yield tables.find_run(run)
        yield row


def _settings(options, row):
    """Returns the flags of train.py of a row, None where it trains nothing.

    Raises:
        UserError: one is out of range.
    """
    if row.members:
        return None
    network = named(row.network, **row.overrides)
    overrides = options.overrides()
    left_out = [name for name in overrides if not _has(network, name)]
    if left_out:
        logging.info(
            "%s: without %s, which its network doesn't have",
            row.key,
            ", ".join(left_out),
        )
    settings = tables.to_flags(row, options.strategy) | {
        name: value for name, value in overrides.items() if name not in left_out
    }
    try:
        TrainingOptions(**settings, records="", workdir="").network()
    except UserError as error:
        message = str(error).removeprefix("--")
        raise UserError(f"--options: {row.key}: {message}") from error
    return settings


def _job(options, row, settings, seed, output):
    place = output / row.folder / runs.SEED.format(seed)
    if settings is None:
        return _Job(row=row, seed=seed, place=place)
    common = settings | {"seed": seed}
    network = named(row.network, **row.overrides)
    weights = _weights(network, options.initial_weights())
    pretraining = None
    if row.pretraining != "scratch":
        pretraining = TrainingOptions(
            **common,
            records=_absolute(getattr(options, f"{row.pretraining}_records")),
            workdir=str(place / runs.PRETRAINED),
            init_from=weights,
        )
        weights = pretraining.workdir
    training_options = TrainingOptions(
        **common,
        records=_absolute(options.records),
        workdir=str(place / runs.WORKDIR),
        init_from=weights,
    )
    return _Job(
        row=row,
        seed=seed,
        place=place,
        pretraining=pretraining,
        training=training_options,
    )


def _has(network, option):
    """Tells whether an option of train.py has an effect on a network."""
    if option not in OVERRIDES:
        return True
    if isinstance(network, Fusion):
        return option in ("fusion_units", "gru") or any(
            _has(member, option) for member in network.members
        )
    if option == "fusion_units":
        return False
    if option == "width":
        return architectures.BACKBONES[network.backbone].scalable
    if option == "landmark_units":
        return network.sees_landmarks
    return network.uses(option)


def _weights(network, files):
    """Returns the file that a network starts from; None for none.

    Of a fusion the members share a backbone, and each takes the weights.
    """
    members = network.members if isinstance(network, Fusion) else [network]
    file = files.get(members[0].backbone)
    return file and _absolute(file)


def _run(job, sources, broken):
    if job.training is None:
        _fuse(job, broken)
        return
    known = stages.Stages(job.place / stages.FILE, sources)
    inputs = []
    if job.pretraining:
        inputs = [
            _train(
                known,
                runs.PRETRAINED,
                job.pretraining,
                sources,
                done=lambda: _is_used_up(known, job),
            )
        ]
    trained = _train(known, runs.WORKDIR, job.training, sources, inputs)
    source = sources[job.training.records]
    chosen = known.run(
        runs.VALIDATION,
        evaluator.evaluate,
        EvaluationOptions(
            model=job.training.workdir,
            records=job.training.records,
            output=str(job.place / runs.VALIDATION),
            split="validation",
            choose_postprocessing=True,
        ),
        "python evaluate.py",
        whole=lambda: (
            _scored(job.place / runs.VALIDATION)
            and (
                pathlib.Path(job.training.workdir) / model_file.POSTPROCESSING
            ).is_file()
        ),
        of=[source, trained],
    )
    known.run(
        runs.TEST,
        evaluator.evaluate,
        EvaluationOptions(
            model=job.training.workdir,
            records=job.training.records,
            output=str(job.place / runs.TEST),
        ),
        "python evaluate.py",
        whole=lambda: _scored(job.place / runs.TEST),
        of=[source, chosen],
    )


def _scored(folder):
    return all(
        (folder / name).is_file()
        for name in (results.METRICS, results.PREDICTIONS)
    )


def _sources_of(options, sources):
    """Returns the digests of what a training reads, but for other runs."""
    paths = (options.records, options.init_from)
    return [sources[path] for path in paths if path in sources]


def _is_used_up(known, job):
    """Tells whether a pre-training has served: what it was for is whole.

    Its workdir may be removed then, which is as large as the other.
    """
    return known.is_made(runs.PRETRAINED) and (
        known.is_made(runs.WORKDIR)
        and known.is_same(
            runs.WORKDIR, job.training, [known.made(runs.PRETRAINED)]
        )
        and _is_trained(job.training.workdir)()
    )


def _is_trained(workdir):
    return stages.files(workdir, model_file.BEST, model_file.HISTORY)


def _train(known, name, options, sources, inputs=(), done=lambda: False):
    """Trains, or goes on with what was broken off; returns the making."""
    workdir = pathlib.Path(options.workdir)
    whole = _is_trained(workdir)

    def anew(options, *, overwrite):
        # Or a call that is broken off in its first epoch would seem to be the
        # earlier run, which training leaves in place that long.
        (workdir / model_file.HISTORY).unlink(missing_ok=True)
        training.train(options, overwrite=overwrite)

    def go_on(options):
        try:
            workdirs.check_resumable(workdir, options)
        except UserError:
            anew(options, overwrite=True)
        else:
            logging.info("%s: goes on after its last whole epoch", workdir)
            training.train(options, resume=True)

    return known.run(
        name,
        anew,
        options,
        "python train.py",
        whole=lambda: whole() or done(),
        of=[*_sources_of(options, sources), *inputs],
        resume=go_on,
    )


def _fuse(job, broken):
    """Fuses the results of a row's members, which were run before it."""
    root, seed = job.place.parents[1], job.place.name
    missing = [run for run in job.row.members if root / run / seed in broken]
    if missing:
        raise UserError(f"it fuses {listed(missing)}, which failed")
    stages.Stages(job.place / stages.FILE).run(
        runs.TEST,
        fusion.fuse,
        FusionOptions(
            validation=[
                str(root / run / seed / runs.VALIDATION)
                for run in job.row.members
            ],
            test=[
                str(root / run / seed / runs.TEST) for run in job.row.members
            ],
            output=str(job.place / runs.TEST),
        ),
        "python -m affwild_omg.fuse",
        whole=lambda: _scored(job.place / runs.TEST),
        of=runs.fingerprints(root, job.row, job.seed),
    )
