"""Decision-level fusion of evaluated runs (section 5.4.2).

A run is two results folders, of the validation and of the test split. The
weights come from the first alone.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import results
from affwild_omg.evaluation.options import FusionOptions
from affwild_omg.evaluation.protocol import INTERVAL_NAME, MEAN, Scores
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.scoring import concordance, fusion

# In these, two folders of one run agree.
RUN = (
    *("targets", "model", "model_sha256"),
    *("sequence_estimate", "sequence_length", "postprocessing"),
)
# In these, evaluations of one split agree.
FACTS = (
    *("corpus", "split", "expected", "coverage", "utterances_without_face"),
    *("frames", "frames_with_face", "records_sha256"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """What comes of a fusion.

    Attributes:
        results: the fused predictions of the test split; their provenance
            holds the members, with their weights.
        scores: of them, with intervals; all scores are of the same utterances.
        equal_weights: what the members' plain average would score.
        members: {results folder of the test split: the run's own scores}.
        best_single: the member with the best mean CCC on validation among
            those that have all targets; None if none has.
    """

    results: Results
    scores: Scores
    equal_weights: Scores
    members: Mapping[str, Scores]
    best_single: str | None


def fuse(options: FusionOptions, *, overwrite: bool = False) -> Fused:
    """Fuses runs and scores what comes of it.

    Writes a results folder, see `evaluation.results`; metrics.json also holds
    the members, the scores of "equal_weights", and which member is the
    "best_single". The CCCs on validation are computed anew from the tables
    there: they decide, and so must be those of the very predictions and labels.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Raises:
        UserError: the folders cannot be used, do not belong together, or have
            in one dimension no positive CCC on validation.
    """
    with results.folder(options.output, overwrite=overwrite) as directory:
        runs = [
            {
                f"--{split}={folder}": results.read(folder, flag=f"--{split}")
                for folder in getattr(options, split)
            }
            for split in ("validation", "test")
        ]
        _check(*runs)
        fused = _fuse(options, runs)
        others = {
            "equal_weights": fused.equal_weights.to_dict(),
            "best_single": fused.best_single,
        }
        results.write(directory, fused.results, others=others)
    return fused


def _check(validation_runs, test_runs):
    """Checks that the folders are of the same runs, and can be weighed by."""
    for (validation, one), (test, other) in zip(
        validation_runs.items(), test_runs.items(), strict=True
    ):
        for name in RUN:
            first, second = (
                getattr(run if name == "targets" else run.provenance, name)
                for run in (one, other)
            )
            if first != second:
                raise UserError(
                    f"{validation} and {test} must be of the same run, but "
                    f"differ in {name}: {first} and {second}; name the runs in "
                    "the same order, and evaluate both splits with the same "
                    "flags"
                )
        if shared := sorted(set(one.keys) & set(other.keys)):
            raise UserError(
                f"{validation} and {test} share {len(shared)} utterances "
                f"({listed(shared)}); weights must not be chosen on what is "
                "scored: evaluate another split"
            )
        if one.provenance.split == "test":
            raise UserError(
                f"{validation} is of split test; weights must not be chosen on "
                "it: evaluate with --split=validation"
            )
        if not np.isfinite(one.labels).any():
            raise UserError(
                f"{validation} holds no {results.LABELS}; weights need labels: "
                "evaluate records of a split that has them"
            )


def _concordances(split):
    """Returns each run's CCC, [runs, targets], NaN where it lacks one."""
    present = np.isfinite(split.predictions).all(axis=1)
    ccc = np.full(present.shape, np.nan)
    for run, column in np.argwhere(present):
        known = np.isfinite(split.labels[:, column])
        ccc[run, column] = concordance.concordance(
            split.labels[known, column], split.predictions[run, known, column]
        )
    return ccc


def _fuse(options, runs):
    """Fuses and scores the test split by the CCCs on validation."""
    validation, test = map(results.align, runs)
    ccc = _concordances(validation)
    for run, column in np.argwhere(ccc <= 0):
        logging.warning(
            "%s has no weight in %s: its CCC on validation is %.3g",
            options.validation[run],
            test.targets[column],
            ccc[run, column],
        )
    for column in np.flatnonzero(~(ccc > 0).any(axis=0)):
        raise UserError(
            f"--validation: no run has a positive CCC in {test.targets[column]}"
            "; there is nothing to weigh by: fuse runs at least one of which "
            "has learned it"
        )
    weights, present = fusion.weights(ccc), np.isfinite(ccc)
    first, *others = (run.provenance for run in runs[1].values())
    alike = {
        name: getattr(first, name)
        for name in FACTS
        if all(getattr(x, name) == getattr(first, name) for x in others)
    }
    # All are scored on the same utterances, whatever targets a run has.
    labelled = np.isfinite(test.labels).all(axis=1, keepdims=True)
    fused = Results(
        keys=test.keys,
        targets=test.targets,
        predictions=results.as_written(fusion.fuse(test.predictions, weights)),
        labels=np.where(labelled, test.labels, np.nan),
        provenance=Provenance(options=dataclasses.asdict(options), **alike),
        unprocessed=_fuse_unprocessed(*runs),
    )
    equal = results.as_written(
        fusion.fuse(test.predictions, fusion.weights(present))
    )
    members, scores = [], {}
    for i, folder in enumerate(options.test):
        columns = {x: test.targets[x] for x in np.flatnonzero(present[i])}
        alone = dataclasses.replace(
            fused,
            targets=tuple(columns.values()),
            predictions=test.predictions[i][:, list(columns)],
            labels=fused.labels[:, list(columns)],
        )
        scores[folder] = alone.scores()
        members.append(
            {
                "validation": options.validation[i],
                "test": folder,
                "weights": {y: weights[i, x] for x, y in columns.items()},
                "validation_ccc": {y: ccc[i, x] for x, y in columns.items()},
                "scores": scores[folder].to_dict(),
            }
        )
    provenance = dataclasses.replace(fused.provenance, members=members)
    # A run that lacks a target has NaN for its mean, and is no candidate.
    means = ccc.mean(axis=1)
    any_whole = np.isfinite(means).any()
    return Fused(
        results=dataclasses.replace(fused, provenance=provenance),
        scores=fused.headline(),
        equal_weights=dataclasses.replace(fused, predictions=equal).scores(),
        members=scores,
        best_single=options.test[np.nanargmax(means)] if any_whole else None,
    )


def _fuse_unprocessed(*of_splits):
    """Fuses what the runs were before post-processing; None if none had any.

    The weights are those of the CCCs without it, as in table 3.
    """
    if all(run.unprocessed is None for run in of_splits[1].values()):
        return None
    validation, test = (
        results.align(
            {x: run.without_postprocessing() or run for x, run in runs.items()}
        )
        for runs in of_splits
    )
    ccc = _concordances(validation)
    if not (ccc > 0).any(axis=0).all():
        return None  # without post-processing there is nothing to weigh by
    return results.as_written(
        fusion.fuse(test.predictions, fusion.weights(ccc))
    )


def table(fused: Fused) -> list[str]:
    """Returns the scores of a fusion as lines for a console."""
    scores, targets, lines = fused.scores, fused.results.targets, []
    if scores.rows:
        rows = []
        for name, own in (
            ("fused", scores),
            ("equal weights", fused.equal_weights),
            *fused.members.items(),
        ):
            cccs = [own.cccs.get(target) for target in targets]
            # The mean of fewer targets is not to be compared.
            cccs.append(None if None in cccs else own.mean_ccc)
            rows.append([name, *map(wording.number, cccs)])
        intervals = (f"{x} {scores.interval_text(x)}" for x in scores.cccs)
        lines = [
            *Table(("CCC", *targets, MEAN), rows).lines(),
            f"{INTERVAL_NAME} of fused: {', '.join(intervals)}",
            *scores.warnings(),
            f"best single on validation: {fused.best_single or 'none'}",
        ]
    split = fused.results.provenance.split or "test"
    return [
        *lines,
        f"{scores.rows or 'no'} labelled utterances of {split}, "
        f"{len(fused.members)} runs fused",
    ]
