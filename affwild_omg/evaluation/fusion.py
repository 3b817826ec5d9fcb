"""Decision-level fusion of evaluated runs (section 5.4.2).

A run is two results folders, of the validation and of the test split. The
weights come from the first alone.
"""

import dataclasses

import numpy as np
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import FusionOptions
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import concordance, fusion, significance
from affwild_omg.storage import files

# What tells runs apart: two folders of one run agree in these.
RUN = ("model", "sequence_estimate", "sequence_length", "postprocessing")
# What evaluations of one split have in common.
FACTS = (
    "coverage",
    "expected",
    "utterances_without_face",
    "frames",
    "frames_with_face",
    "corpus",
    "split",
)


def fuse(options: FusionOptions, *, overwrite: bool = False) -> dict:
    """Fuses runs and scores what comes of it.

    Writes a results folder, see `evaluation.results`. The CCCs on validation
    are computed anew from the tables there, whatever metrics.json says: they
    decide, and so must be those of the very predictions and labels.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        What goes into metrics.json: for each target CCC, Pearson's r and MSE
        of the fused estimates over all utterances with labels, their mean
        CCC, and what it was computed from; "members", with their weights;
        and for comparison the scores of "equal_weights" and of
        "best_single", the run of the best mean CCC on validation among those
        that have all targets (absent if none has).

    Raises:
        UserError: the folders can't be used, don't belong together, or have
            in one dimension no positive CCC on validation.
    """
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        validation_runs = _read(options.validation, "--validation")
        test_runs = _read(options.test, "--test")
        for pair in zip(
            validation_runs.items(), test_runs.items(), strict=True
        ):
            _check_same_run(*pair)
        _check_for_weights(validation_runs)
        validation = _align(validation_runs, "--validation")
        test = _align(test_runs, "--test")
        _check_apart(validation, test, options)

        ccc = _concordances(validation)
        weights = _weights(ccc, options.validation, validation.targets)
        predictions = results.as_written(fusion.fuse(test.predictions, weights))
        metrics = _metrics(options, test_runs, test, predictions, ccc, weights)
        unprocessed = _fuse_unprocessed(options, validation_runs, test_runs)
        if unprocessed is not None:
            metrics["unprocessed"] = _score(test, unprocessed, test.targets)
        results.write(
            directory,
            results.Results(
                keys=test.keys,
                targets=test.targets,
                predictions=predictions,
                labels=test.labels,
                metrics=metrics,
                unprocessed=unprocessed,
            ),
        )
    return metrics


def _read(folders, flag):
    return {folder: results.read(folder, flag=flag) for folder in folders}


def _align(runs, flag):
    return results.align(
        {f"{flag}={folder}": run for folder, run in runs.items()}
    )


def _fuse_unprocessed(options, validation_runs, test_runs):
    """Fuses what the runs were before post-processing; None if none had any.

    The weights are those of the CCCs without it, as in table 3.
    """
    if all(run.unprocessed is None for run in test_runs.values()):
        return None

    def split(runs, flag):
        return _align(
            {
                folder: run
                if run.unprocessed is None
                else dataclasses.replace(run, predictions=run.unprocessed)
                for folder, run in runs.items()
            },
            flag,
        )

    ccc = _concordances(split(validation_runs, "--validation"))
    if not (ccc > 0).any(axis=0).all():
        return None  # without post-processing there is nothing to weigh by
    return results.as_written(
        fusion.fuse(split(test_runs, "--test").predictions, fusion.weights(ccc))
    )


def _check_same_run(validation, test):
    (validation_folder, one), (test_folder, other) = validation, test
    for name, value, other_value in (
        ("targets", ", ".join(one.targets), ", ".join(other.targets)),
        *(
            (name, one.metrics.get(name), other.metrics.get(name))
            for name in RUN
        ),
    ):
        if value != other_value:
            raise UserError(
                f"--validation={validation_folder} and "
                f"--test={test_folder} stand in the same place, but are not "
                f"of one run: {name} is {value} in the first, {other_value} "
                "in the second; give both lists in the same order, and "
                "evaluate both splits with the same flags"
            )


def _check_for_weights(runs):
    for folder, run in runs.items():
        if run.metrics.get("split") == "test":
            raise UserError(
                f"--validation={folder} is of split test; weights must not "
                "be chosen on it: evaluate with --split=validation"
            )
        if not np.isfinite(run.labels).any():
            raise UserError(
                f"--validation={folder} holds no {results.LABELS}; weights "
                "need labels: evaluate records of a split that has them"
            )


def _check_apart(validation, test, options):
    shared = set(validation.keys) & set(test.keys)
    if shared:
        raise UserError(
            f"--validation={options.validation[0]} and "
            f"--test={options.test[0]} share {len(shared)} utterances "
            f"({listed(sorted(shared))}); weights must not be chosen on what "
            "is scored: evaluate another split"
        )


def _concordances(split):
    """Returns each run's CCC, [runs, targets], NaN where it lacks one."""
    ccc = np.full((len(split.predictions), len(split.targets)), np.nan)
    for column in range(len(split.targets)):
        labelled = np.isfinite(split.labels[:, column])
        for i, predictions in enumerate(split.predictions):
            if np.isfinite(predictions[:, column]).all():
                ccc[i, column] = concordance.concordance(
                    split.labels[labelled, column],
                    predictions[labelled, column],
                )
    return ccc


def _weights(ccc, folders, targets):
    for column, target in enumerate(targets):
        left_out = [
            f"{folder} ({value:.3g})"
            for folder, value in zip(folders, ccc[:, column], strict=True)
            if value <= 0
        ]
        if not (ccc[:, column] > 0).any():
            raise UserError(
                f"--validation: no run has a positive CCC in {target}: "
                f"{', '.join(left_out)}; there is nothing to weigh by: fuse "
                "runs of which one at least has learned it"
            )
        if left_out:
            logging.warning(
                "no weight in %s, where CCC on validation is not positive: %s",
                target,
                ", ".join(left_out),
            )
    return fusion.weights(ccc)


def _metrics(options, runs, test, fused, ccc, weights):
    members = [
        _member(options, i, test, ccc[i], weights[i])
        for i in range(len(options.test))
    ]
    equal = results.as_written(
        fusion.fuse(test.predictions, fusion.equal_weights(np.isfinite(ccc)))
    )
    metrics = _score(test, fused, test.targets) | {
        "utterances": int(np.isfinite(test.labels).all(axis=1).sum()),
        **_facts([run.metrics for run in runs.values()]),
        "level": "utterance",
        "pooling": "pooled",
        "moments": protocol.MOMENTS,
        "members": members,
        "equal_weights": _score(test, equal, test.targets),
    }
    # A run that lacks a target has NaN for its mean, and is no candidate.
    means = ccc.mean(axis=1)
    if np.isfinite(means).any():
        best = members[int(np.nanargmax(means))]
        metrics["best_single"] = {"test": best["test"]} | best["scores"]
    return metrics


def _facts(all_metrics):
    """Returns what all runs say alike of the split."""
    first = all_metrics[0]
    return {
        name: first[name]
        for name in FACTS
        if name in first
        and all(metrics.get(name) == first[name] for metrics in all_metrics)
    }


def _member(options, i, test, ccc, weights):
    own = [column for column, value in enumerate(ccc) if np.isfinite(value)]
    targets = tuple(test.targets[column] for column in own)

    def by_target(values):
        return {test.targets[column]: float(values[column]) for column in own}

    return {
        "validation": options.validation[i],
        "test": options.test[i],
        "weights": by_target(weights),
        "validation_ccc": by_target(ccc),
        "without_weight": [
            test.targets[column] for column in own if not weights[column]
        ],
        "scores": _score(test, test.predictions[i], targets),
    }


def _score(test, predictions, targets):
    """Scores the utterances that have all labels, the same for everyone."""
    columns = [test.targets.index(name) for name in targets]
    labelled = np.isfinite(test.labels).all(axis=1)
    rows = protocol.of_utterances(
        test.keys,
        predictions[:, columns],
        np.where(labelled[:, None], test.labels, np.nan)[:, columns],
    )
    return protocol.assess(rows, targets)


def table(metrics: dict) -> list[str]:
    """Returns the metrics as lines for a console."""
    members = metrics["members"]
    targets = [
        name
        for name in TARGETS
        if any(name in member["weights"] for member in members)
    ]
    lines = []
    if metrics["utterances"]:
        rows = [("fused", metrics), ("equal weights", metrics["equal_weights"])]
        if "best_single" in metrics:
            best = metrics["best_single"]
            rows.append((f"best single: {best['test']}", best))
        rows += [(member["test"], member["scores"]) for member in members]
        width = max(len(name) for name, _ in rows) + 2
        header = "".join(f"{name:>9}" for name in (*targets, "mean"))
        lines.append(f"{'CCC':<{width}}{header}")
        for name, scores in rows:
            lines.append(f"{name:<{width}}{_cells(scores, targets)}")
        intervals = metrics["intervals"]
        told = [
            f"{name} {wording.interval(intervals[name])}"
            for name in (*targets, "mean")
            if name in intervals
        ]
        if told:
            lines.append(
                f"{significance.LEVEL:.0%} interval of fused: {', '.join(told)}"
            )
        lines += _warnings(metrics)
    lines.append(
        f"{metrics['utterances'] or 'no'} labelled utterances of "
        f"{metrics.get('split', 'test')}, {len(members)} runs fused"
    )
    return lines


def _warnings(metrics):
    """Says of whom a CCC is 0 by definition; of the labels' fault once."""
    of_all = protocol.warnings(metrics)
    others = [("equal weights", metrics["equal_weights"])]
    others += [(x["test"], x["scores"]) for x in metrics["members"]]
    return of_all + [
        f"{name}, {warning}"
        for name, scores in others
        for warning in protocol.warnings(scores)
        if warning not in of_all
    ]


def _cells(scores, targets):
    values = [scores.get(target, {}).get("ccc") for target in targets]
    # The mean of fewer targets is not to be compared.
    values.append(None if None in values else scores["mean_ccc"])
    return "".join(f"{wording.number(value):>9}" for value in values)
