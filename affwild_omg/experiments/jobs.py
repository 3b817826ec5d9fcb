"""Jobs: what is to be run of a table, row by row and seed by seed.

Nothing is run here: a job is a list of stages, see `storage.stages`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.data.manifest import MANIFEST, Manifest
from affwild_omg.evaluation import evaluator, fusion, results, selection
from affwild_omg.evaluation.options import EvaluationOptions, FusionOptions
from affwild_omg.experiments import trainings
from affwild_omg.experiments.options import ReproductionOptions, backbone_of
from affwild_omg.experiments.runs import (
    HOLDOUT,
    NOT_RUN,
    PRETRAINED,
    TEST,
    VALIDATION,
    WORKDIR,
    Runs,
)
from affwild_omg.nets import architectures
from affwild_omg.nets.architectures import Fusion
from affwild_omg.published import networks, tables
from affwild_omg.published.tables import Row
from affwild_omg.storage.stages import Stage
from affwild_omg.training.options import OVERRIDES, TrainingOptions
from affwild_omg.weights import workdir as workdirs


class Job(NamedTuple):
    """A row that is to be run with a seed, by these stages in their order.

    Of a fusion or an average, `members` are the rows, with their seeds, whose
    runs it needs.
    """

    row: Row
    seed: int
    stages: Sequence[Stage]
    members: Sequence[tuple[Row, int]] = ()

    def __str__(self):
        return f"{self.row.folder}/seed_{self.seed}"


def list_jobs(
    options: ReproductionOptions, runs: Runs, records: Mapping[str, Manifest]
) -> tuple[list[Job], list[tuple[Row, str]]]:
    """Lists what is to be run, in order, and the rows that cannot be and why.

    Args:
        options: what to reproduce.
        runs: where to; its root is an absolute path.
        records: the manifests of what there is, by flag.

    Raises:
        UserError: an option is out of range.
    """
    rows = options.selected()
    if options.pretraining == "none":
        if options.table == "4":  # it has rows of its own for that
            rows = [row for row in rows if row.pretraining == tables.SCRATCH]
        rows = [row.without_pretraining() for row in rows]
    jobs, absent, seeds = {}, [], options.seed_numbers()
    for row in rows:
        flag = f"{row.pretraining}_records"
        if row.pretraining != tables.SCRATCH and not getattr(options, flag):
            # Table 4 has rows of its own for that.
            none = ", or --pretraining=none" if options.table != "4" else ""
            absent.append((row, f"{NOT_RUN}: corpus absent (--{flag}{none})"))
            continue
        averages_seeds = row.averages == "seeds"
        if averages_seeds and len(seeds) < 2:
            absent.append((row, f"{NOT_RUN}: one seed alone (--seeds)"))
            continue
        # What a row fuses is run before it.
        for part in row.fused or [row]:
            for seed in seeds:
                job = _trained(options, runs, records, part, seed, row.steps)
                _add(jobs, job)
        if not row.fused:
            continue
        for seed in seeds[:1] if averages_seeds else seeds:
            members = [
                (part, one)
                for part in row.fused
                for one in (seeds if averages_seeds else [seed])
            ]
            places = [runs.place(x.folder, y) for x, y in members]
            stage = _fuse(runs.place(row.folder, seed), places, row)
            _add(jobs, Job(row, seed, [stage], members))
    return list(jobs.values()), absent


def _add(jobs, job):
    """Adds a job, or to a job that is there the stages that it lacks."""
    key = job.row.folder, job.seed
    known = jobs.setdefault(key, job)
    names = {stage.name for stage in known.stages}
    more = [stage for stage in job.stages if stage.name not in names]
    jobs[key] = known._replace(stages=[*known.stages, *more])


def folds_of(options: ReproductionOptions, runs: Runs) -> pathlib.Path:
    """Returns the folder of the folds, see `experiments.folds`."""
    return runs.root / "folds" / options.folds_by


def _trained(options, runs, records, row, seed, steps=""):
    """Returns the job that trains and evaluates a row's network.

    Args:
        options: what to reproduce.
        runs: where to.
        records: see `list_jobs`.
        row: one that fuses nothing.
        seed: of its trainings.
        steps: see `tables.Row`; others than all are evaluated beside those.

    Raises:
        UserError: an option is out of range.
    """
    corpora = {WORKDIR: options.records}
    if row.fold is not None:
        corpora[WORKDIR] = folds_of(options, runs) / str(row.fold)
    if row.pretraining != tables.SCRATCH:
        before = records[f"{row.pretraining}_records"]
        corpora = {PRETRAINED: before.folder} | corpora
    settings = {
        name: _settings(options, row, pretraining=name == PRETRAINED)
        | {"records": _absolute(folder)}
        for name, folder in corpora.items()
    }
    if PRETRAINED in corpora:
        if VALIDATION not in before.splits:
            settings[PRETRAINED].setdefault("holdout", HOLDOUT)
        elif settings[PRETRAINED].pop("holdout", 0):
            logging.info(
                "%s: without holdout, because its corpus to pre-train on has "
                "a validation split",
                row.key,
            )
    weights = _weights(options, row, next(iter(settings.values())))
    place = runs.place(row.folder, seed)
    # Folds differ after pre-training alone.
    alike = [dataclasses.replace(row, fold=x) for x in range(tables.FOLDS)]
    alike = [dataclasses.replace(row, fold=None), *alike]
    others = [runs.place(x.folder, seed) for x in alike if x != row]
    stages = _train(place, settings, weights, seed, others)
    training = stages[-1].options
    for one in dict.fromkeys(("", steps)):
        stages += _evaluate(place, training, options.records, one)
    return Job(row, seed, stages)


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
    backbone = backbone_of(row)
    weights = options.initial_weights().get(backbone)
    if not weights and first["train"] != "all":
        raise UserError(
            f"{row.key}: a CNN that is fixed in its first training must have "
            f"weights; give --weights={backbone}=FILE, --strategy="
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


def _train(place, settings, weights, seed, others):
    """Lists the trainings of a run.

    Args:
        place: its folder.
        settings: {workdir's name: flags}, in order; each starts from the one
            before it.
        weights: what the first starts from; None for random weights.
        seed: of all trainings.
        others: folders of runs that may have the same pre-training.
    """
    stages, source, inputs = [], weights, []
    if weights:
        best = pathlib.Path(weights, workdirs.BEST)
        inputs = [best if best.is_file() else pathlib.Path(weights)]
    for name, flags in settings.items():
        workdir = place / name
        training = TrainingOptions(
            **flags, workdir=str(workdir), seed=seed, init_from=source
        )
        listing = pathlib.Path(training.records, MANIFEST)
        best = workdir / workdirs.BEST
        inputs = [listing, *inputs]
        like = {"inputs": inputs}
        like["others"] = others if name == PRETRAINED else ()
        stages.append(
            Stage(
                name,
                functools.partial(trainings.begin, **like),
                training,
                command="python train.py",
                inputs=inputs,
                outputs=[best, workdir / workdirs.HISTORY],
                resume=functools.partial(trainings.resume, **like),
            )
        )
        source, inputs = str(workdir), [best]
    return stages


def _evaluate(place, training, records, steps=""):
    """Lists the evaluations of a run on validation and test.

    Args:
        place: its folder.
        training: options of its last training.
        records: the corpus, which has the test split; of a fold, the
            validation split is its own.
        steps: see `tables.Row`.
    """
    best = pathlib.Path(training.workdir, workdirs.BEST)
    chosen = pathlib.Path(training.workdir, workdirs.POSTPROCESSING)
    stages, file = [], {"none": "none", "": ""}.get(steps)
    if steps == "median":
        kept = place / "median_filter.json"
        stages.append(
            Stage(
                steps,
                _keep_filter,
                FilterOptions(chosen=str(chosen), output=str(kept)),
                command=None,
                inputs=[chosen],
                outputs=[kept],
            )
        )
        file, chosen = str(kept), kept
    for split in (VALIDATION, TEST):
        chooses = split == VALIDATION and not steps
        of_split = training.records if split == VALIDATION else records
        evaluation = EvaluationOptions(
            model=training.workdir,
            records=_absolute(of_split),
            output=str(place / _results_of(split, steps)),
            split=split,
            postprocessing=file,
            choose_postprocessing=chooses,
        )
        inputs = [pathlib.Path(evaluation.records, MANIFEST), best]
        outputs = _scored(pathlib.Path(evaluation.output))
        stages.append(
            Stage(
                _results_of(split, steps),
                evaluator.evaluate,
                evaluation,
                command="python evaluate.py",
                inputs=inputs + [chosen] * (not chooses and steps != "none"),
                outputs=[chosen] * chooses + outputs,
            )
        )
    return stages


def _results_of(split, steps):
    return f"{split}_{steps}" if steps else split


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which post-processing loses its smoothing, and where it goes then."""

    chosen: str
    output: str


def _keep_filter(options, *, overwrite):
    """Leaves of chosen post-processing the median filters alone."""
    chosen = selection.Chosen.read(pathlib.Path(options.chosen))
    targets = {
        name: dataclasses.replace(steps, smoothing_strength=0.0)
        for name, steps in chosen.settings.targets.items()
    }
    settings = dataclasses.replace(chosen.settings, targets=targets)
    kept = dataclasses.replace(chosen, settings=settings)
    kept.write(pathlib.Path(options.output))


def _fuse(place, members, row):
    """Returns the stage that fuses or averages the results of a row's members.

    Args:
        place: its folder.
        members: those of what it fuses.
        row: which is fused by CCC on validation, unless it averages.
    """
    validation, test = (
        [str(member / _results_of(split, row.steps)) for member in members]
        for split in (VALIDATION, TEST)
    )
    output = str(place / TEST)
    options = FusionOptions(validation=validation, test=test, output=output)
    if row.averages:
        options = FusionOptions(weights="equal", test=test, output=output)
    return Stage(
        TEST,
        fusion.fuse,
        options,
        command="python -m affwild_omg.fuse",
        inputs=[
            pathlib.Path(folder, results.PREDICTIONS)
            for folder in (*(options.validation or ()), *test)
        ],
        outputs=_scored(place / TEST),
    )


def _scored(folder):
    return [folder / name for name in (results.METRICS, results.PREDICTIONS)]
