"""Decision-level fusion of evaluated runs (section 5.4.2).

A run is two results folders, of the validation and of the test split. The
weights come from the first alone; with equal weights there is none.
"""

import dataclasses

import numpy as np
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import protocol, results, sources
from affwild_omg.evaluation.options import FusionOptions
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.scoring import concordance, fusion

# In these, two folders of one run agree.
RUN = (
    *("targets", "model", "model_sha256"),
    *("sequence_estimate", "sequence_weights", "sequence_length", "tail"),
    "postprocessing",
)
# In these, evaluations of one split agree.
FACTS = (
    *("corpus", "split", "expected", "coverage", "utterances_without_face"),
    *("frames", "frames_with_face", "records_sha256", "row"),
)


def fuse(options: FusionOptions, *, overwrite: bool = False) -> Results:
    """Fuses runs and scores what comes of it.

    Writes a results folder, see `evaluation.results`. The CCCs on validation
    are computed anew from the tables there: they decide, and so must be those
    of the very predictions and labels.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        The fused predictions of the test split. Their provenance has the
        "members" with their weights and scores; what the plain average would
        score, "equal_weights"; and the folder of the "best_single", the member
        with the best mean CCC on validation among those that have all targets.
        The last two are None where the weights are equal. All scores are of
        the same utterances.

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
            if getattr(options, split)
        ]
        if options.weights == "ccc":
            _check(*runs)
        for split in runs:
            results.warn_of_levels(split)
        fused = _fuse(options, runs)
        results.write(directory, fused)
    return fused


def _check(validation_runs, test_runs):
    """Checks that the folders are of the same runs, and can be weighed by."""
    for (validation, one), (test, other) in zip(
        validation_runs.items(), test_runs.items(), strict=True
    ):
        for name in RUN:
            first, second = (_fact(run, name) for run in (one, other))
            if first != second and name == "postprocessing":
                raise UserError(
                    f"{validation} and {test} must have the same steps of "
                    "post-processing; evaluate test again, now that they are "
                    "chosen"
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
        if one.provenance.split not in (None, "validation"):
            raise UserError(
                f"{validation} is of split {one.provenance.split}; weights are "
                "chosen on validation: evaluate with --split=validation"
            )
        known = np.isfinite(one.labels).any(axis=0)
        for column in np.flatnonzero(~known):
            raise UserError(
                f"{validation} holds no {results.LABELS} of "
                f"{one.targets[column]}; weights need labels: evaluate records "
                "of a split that has them"
            )


def _fact(run, name):
    """Returns a fact of a run; steps that do nothing are none."""
    if name == "targets":
        return run.targets
    found = getattr(run.provenance, name)
    if name == "postprocessing" and found and found.change_nothing:
        return None
    return found


def _concordances(split, weigh_on):
    """Returns each run's CCC, [runs, targets], NaN where it lacks one."""
    chosen = sources.choose(
        split.facts, split.labels, split.targets, "--weigh_on", weigh_on
    )
    present = np.isfinite(split.predictions).all(axis=1)
    ccc = np.full(present.shape, np.nan)
    for run, column in np.argwhere(present):
        known = np.isfinite(split.labels[:, column]) & chosen
        ccc[run, column] = concordance.concordance(
            split.labels[known, column], split.predictions[run, known, column]
        )
    return ccc


def _fuse(options, runs):
    """Fuses and scores the test split."""
    *validation, test = map(results.align, runs)
    present = np.isfinite(test.predictions).all(axis=1)
    ccc = np.where(present, 1.0, np.nan)  # equal weights
    if validation:
        ccc = _concordances(*validation, options.weigh_on)
        _require_positive(options, ccc, test.targets)
    weights = fusion.weights(ccc)
    first, *others = (run.provenance for run in runs[-1].values())
    alike = {
        name: getattr(first, name)
        for name in FACTS
        if all(getattr(x, name) == getattr(first, name) for x in others)
    }
    fused = Results(
        keys=test.keys,
        targets=test.targets,
        predictions=results.as_written(fusion.fuse(test.predictions, weights)),
        labels=test.labels,
        provenance=Provenance(
            level=alike.get("row") or "utterance",
            options=dataclasses.asdict(options),
            **alike,
        ),
        unprocessed=_fuse_unprocessed(runs, options.weigh_on),
        facts=test.facts,
    )
    members = []
    for i, folder in enumerate(options.test):
        columns = {x: test.targets[x] for x in np.flatnonzero(present[i])}
        alone = dataclasses.replace(
            fused,
            targets=tuple(columns.values()),
            predictions=test.predictions[i][:, list(columns)],
            labels=fused.labels[:, list(columns)],
        )
        member = {"test": folder, "scores": alone.scores()}
        member["weights"] = {y: weights[i, x] for x, y in columns.items()}
        if validation:
            member["validation"] = options.validation[i]
            member["validation_ccc"] = {
                y: ccc[i, x] for x, y in columns.items()
            }
        members.append(member)
    facts = {"members": members}
    if validation:
        equal = results.as_written(
            fusion.fuse(test.predictions, fusion.weights(present))
        )
        averaged = dataclasses.replace(fused, predictions=equal)
        facts["equal_weights"] = averaged.scores()
        # A run that lacks a target has NaN for its mean, and is no candidate.
        means = ccc.mean(axis=1)
        if np.isfinite(means).any():
            facts["best_single"] = options.test[np.nanargmax(means)]
    provenance = dataclasses.replace(fused.provenance, **facts)
    return dataclasses.replace(fused, provenance=provenance)


def _require_positive(options, ccc, targets):
    """Refuses CCCs on validation that are no weights."""
    for run, column in np.argwhere(ccc <= 0):
        logging.warning(
            "%s has no weight in %s: its CCC on validation is %.3g",
            options.validation[run],
            targets[column],
            ccc[run, column],
        )
    for column in np.flatnonzero(~(ccc > 0).any(axis=0)):
        raise UserError(
            f"--validation: no run has a positive CCC in {targets[column]}"
            "; there is nothing to weigh by: fuse runs at least one of which "
            "has learned it, or give --weights=equal"
        )


def _fuse_unprocessed(of_splits, weigh_on):
    """Fuses what the runs were before post-processing; None if none had any.

    The weights are those of the CCCs without it, as in table 3.
    """
    if all(run.unprocessed is None for run in of_splits[-1].values()):
        return None
    *validation, test = (
        results.align(
            {x: run.without_postprocessing or run for x, run in runs.items()}
        )
        for runs in of_splits
    )
    ccc = np.isfinite(test.predictions).all(axis=1)
    if validation:
        ccc = _concordances(*validation, weigh_on)
    if not (ccc > 0).any(axis=0).all():
        return None  # without post-processing there is nothing to weigh by
    return results.as_written(
        fusion.fuse(test.predictions, fusion.weights(ccc))
    )


def table(fused: Results) -> list[str]:
    """Returns the scores of a fusion as lines for a console."""
    scores, source, lines = fused.headline, fused.provenance, []
    if scores.rows:
        # The mean of fewer targets is not to be compared.
        columns = protocol.columns_of(fused.targets)
        equal, rows = source.equal_weights, []
        for name, own, weights in (
            ("fused", scores, {}),
            *([("equal weights", equal, {})] if equal else []),
            *((x["test"], x["scores"], x["weights"]) for x in source.members),
        ):
            cccs = [wording.number(own.cccs.get(x)) for x in columns]
            shares = (weights.get(x) for x in fused.targets)
            rows.append([name, *cccs, *(wording.number(x) for x in shares)])
        header = ("CCC", *columns, *(f"weight in {x}" for x in fused.targets))
        intervals = (f"{x} {scores.interval_text(x)}" for x in scores.cccs)
        lines = [
            *Table(header, rows).lines(),
            f"{protocol.INTERVAL_NAME} of fused: {', '.join(intervals)}",
            *scores.warnings(),
            *scores.caution(),
        ]
        if equal:
            lines.append(
                f"best single on validation: {source.best_single or 'none'}"
            )
    if source.options["weigh_on"] != "all":
        lines.append(
            "weights by CCC on those utterances of validation whose source "
            "does not stand in train"
        )
    return [
        *lines,
        *sources.lines(fused),
        f"{wording.count(scores.rows, f'labelled {fused.noun}')} of "
        f"{source.split or 'test'}, {len(source.members)} runs fused",
    ]
