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
from affwild_omg.evaluation.protocol import MEAN, Scores
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.scoring import concordance, fusion, significance
from affwild_omg.storage import files

# What tells runs apart: two folders of one run agree in these.
RUN = (
    *("model", "model_sha256"),
    *("sequence_estimate", "sequence_length", "postprocessing"),
)
# What evaluations of one split have in common.
FACTS = (
    "coverage",
    "expected",
    "utterances_without_face",
    "frames",
    "frames_with_face",
    "corpus",
    "split",
    "records_sha256",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """What comes of a fusion; all scores are of the same utterances.

    Attributes:
        results: the fused predictions of the test split; their provenance
            holds the members, with their weights.
        scores: of them, with intervals.
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
    the members, and the scores of "equal_weights" and "best_single". The CCCs
    on validation are computed anew from the tables there: they decide, and so
    must be those of the very predictions and labels.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Raises:
        UserError: the folders cannot be used, do not belong together, or have
            in one dimension no positive CCC on validation.
    """
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        runs = [
            {
                f"--{split}={folder}": results.read(folder, flag=f"--{split}")
                for folder in getattr(options, split)
            }
            for split in ("validation", "test")
        ]
        _check(*runs)
        validation, test = map(results.align, runs)
        ccc = _concordances(validation)
        _check_learned(ccc, options.validation, validation.targets)
        fused = _fused(options, runs, validation, test, ccc)
        others = {"equal_weights": fused.equal_weights.to_dict()}
        if best := fused.best_single:
            scores = fused.members[best].to_dict()
            others["best_single"] = {"test": best, **scores}
        results.write(directory, fused.results, others=others)
    return fused


def _check(validation_runs, test_runs):
    """Checks that the folders are of the same runs, and can be weighed by."""
    for (validation, one), (test, other) in zip(
        validation_runs.items(), test_runs.items(), strict=True
    ):
        facts = [
            {"targets": ", ".join(run.targets)}
            | {name: getattr(run.provenance, name) for name in RUN}
            for run in (one, other)
        ]
        for name, value in facts[0].items():
            if value != facts[1][name]:
                raise UserError(
                    f"{validation} and {test} stand in the same place, but are "
                    f"not of one run: {name} is {value} in the first, "
                    f"{facts[1][name]} in the second; give both lists in the "
                    "same order, and evaluate both splits with the same flags"
                )
        if shared := sorted(set(one.keys) & set(other.keys)):
            raise UserError(
                f"{validation} and {test} share {len(shared)} utterances "
                f"({listed(shared)}); weights must not be chosen on what is "
                "scored: evaluate another split"
            )
    for name, run in validation_runs.items():
        if run.provenance.split == "test":
            raise UserError(
                f"{name} is of split test; weights must not be chosen on it: "
                "evaluate with --split=validation"
            )
        if not np.isfinite(run.labels).any():
            raise UserError(
                f"{name} holds no {results.LABELS}; weights need labels: "
                "evaluate records of a split that has them"
            )


def _concordances(split):
    """Returns each run's CCC, [runs, targets], NaN where it lacks one."""
    ccc = np.full((len(split.predictions), len(split.targets)), np.nan)
    for column, labels in enumerate(split.labels.T):
        known = np.isfinite(labels)
        for i, predictions in enumerate(split.predictions[:, :, column]):
            if np.isfinite(predictions).all():
                ccc[i, column] = concordance.concordance(
                    labels[known], predictions[known]
                )
    return ccc


def _check_learned(ccc, folders, targets):
    for own, target in zip(ccc.T, targets, strict=True):
        left_out = ", ".join(
            f"{folder} ({value:.3g})"
            for folder, value in zip(folders, own, strict=True)
            if value <= 0
        )
        if not (own > 0).any():
            raise UserError(
                f"--validation: no run has a positive CCC in {target}: "
                f"{left_out}; there is nothing to weigh by: fuse runs of which "
                "one at least has learned it"
            )
        if left_out:
            logging.warning(
                "no weight in %s, where CCC on validation is not positive: %s",
                target,
                left_out,
            )


def _fused(options, runs, validation, test, ccc):
    """Fuses and scores the test split by the CCCs on validation."""
    weights, present = fusion.weights(ccc), np.isfinite(ccc)
    # Whoever lacks a target is scored on the same utterances as the others.
    labelled = np.isfinite(test.labels).all(axis=1, keepdims=True)
    fused = Results(
        keys=test.keys,
        targets=test.targets,
        predictions=results.as_written(fusion.fuse(test.predictions, weights)),
        labels=np.where(labelled, test.labels, np.nan),
        provenance=_common_provenance(options, runs[1].values()),
        unprocessed=_fused_unprocessed(*runs),
    )
    equal = results.as_written(
        fusion.fuse(test.predictions, fusion.weights(present))
    )
    members, scores = [], {}
    for i, folder in enumerate(options.test):
        own = [x for x, y in zip(test.targets, present[i], strict=True) if y]
        alone = dataclasses.replace(
            fused,
            targets=own,
            predictions=test.predictions[i][:, present[i]],
            labels=fused.labels[:, present[i]],
        )
        scores[folder] = alone.scores()
        weight, on_validation = (
            dict(zip(own, values[i, present[i]].tolist(), strict=True))
            for values in (weights, ccc)
        )
        members.append(
            {
                "validation": options.validation[i],
                "test": folder,
                "weights": weight,
                "validation_ccc": on_validation,
                "without_weight": [x for x, y in weight.items() if not y],
                "scores": scores[folder].to_dict(),
            }
        )
    # A run that lacks a target has NaN for its mean, and is no candidate.
    means = ccc.mean(axis=1)
    any_whole = np.isfinite(means).any()
    provenance = dataclasses.replace(fused.provenance, members=members)
    return Fused(
        results=dataclasses.replace(fused, provenance=provenance),
        scores=fused.headline(),
        equal_weights=dataclasses.replace(fused, predictions=equal).scores(),
        members=scores,
        best_single=options.test[np.nanargmax(means)] if any_whole else None,
    )


def _common_provenance(options, runs):
    """Returns what all runs say alike of the split."""
    first, *others = (run.provenance for run in runs)
    facts = {name: getattr(first, name) for name in FACTS}
    alike = {
        name: value
        for name, value in facts.items()
        if all(getattr(other, name) == value for other in others)
    }
    return Provenance(options=dataclasses.asdict(options), **alike)


def _fused_unprocessed(validation_runs, test_runs):
    """Fuses what the runs were before post-processing; None if none had any.

    The weights are those of the CCCs without it, as in table 3.
    """
    if all(run.unprocessed is None for run in test_runs.values()):
        return None
    validation, test = (
        results.align(
            {
                name: run.without_postprocessing() or run
                for name, run in runs.items()
            }
        )
        for runs in (validation_runs, test_runs)
    )
    ccc = _concordances(validation)
    if not (ccc > 0).any(axis=0).all():
        return None  # without post-processing there is nothing to weigh by
    return results.as_written(
        fusion.fuse(test.predictions, fusion.weights(ccc))
    )


def table(fused: Fused) -> list[str]:
    """Returns the scores of a fusion as lines for a console."""
    targets, scores, lines = fused.results.targets, fused.scores, []
    if scores.rows:
        best = fused.best_single
        rows = []
        for name, own in (
            ("fused", scores),
            ("equal weights", fused.equal_weights),
            *([(f"best single: {best}", fused.members[best])] if best else []),
            *fused.members.items(),
        ):
            cccs = [own.cccs.get(target) for target in targets]
            # The mean of fewer targets is not to be compared.
            cccs.append(None if None in cccs else own.mean_ccc)
            rows.append([name, *map(wording.number, cccs)])
        lines += Table(("CCC", *targets, MEAN), rows).lines()
        intervals = ", ".join(
            f"{name} {wording.interval(interval)}"
            for name, interval in scores.intervals.items()
        )
        if intervals:
            level = f"{significance.LEVEL:.0%}"
            lines.append(f"{level} interval of fused: {intervals}")
        # What is the labels' fault is said once.
        told = scores.warnings()
        others = {"equal weights": fused.equal_weights, **fused.members}
        lines += told + [
            f"{name}, {warning}"
            for name, own in others.items()
            for warning in own.warnings()
            if warning not in told
        ]
    split = fused.results.provenance.split or "test"
    return [
        *lines,
        f"{scores.rows or 'no'} labelled utterances of {split}, "
        f"{len(fused.members)} runs fused",
    ]
