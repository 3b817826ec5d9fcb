"""Submissions: anyone's predictions, scored against the organisers' tables.

It scores as the organisers' script does: columns by name, CCC pooled over all
utterances with 1/N moments, or, as their first one did, the mean of the
videos' own. That script matches rows by their order; here they are matched by
video and utterance unless told otherwise.
"""

import dataclasses
import pathlib

import numpy as np
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import SubmissionOptions
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files


def score(options: SubmissionOptions, *, overwrite: bool = False) -> dict:
    """Scores predictions, and writes a results folder.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        What goes into metrics.json: scores and intervals as of
        `evaluation.evaluator.evaluate`, on the utterances that both tables
        have; "coverage" is their share of the annotations. "unmatched" lists
        those that one table lacks, and "misordered", if matched by order, the
        rows whose names differ: {"row" (from 1), "predictions",
        "annotations"}, None where a table has no names. "named" tells whether
        one has: without names there are the scores and pictures alone.

    Raises:
        UserError: a table can't be read or would be replaced, the two have no
            target or no utterance in common, or, to match by order, not as
            many rows; or videos are to be scored that neither table names.
    """
    _check_inputs_stay(options)
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        predicted = _read(options.predictions, "--predictions", options.match)
        truth = _read(options.annotations, "--annotations", options.match)
        targets = tuple(
            name
            for name in TARGETS
            if name in predicted.targets and name in truth.targets
        )
        if not targets:
            raise UserError(
                f"--predictions={options.predictions} has "
                f"{', '.join(predicted.targets)}, --annotations="
                f"{options.annotations} {', '.join(truth.targets)}; they must "
                "have one of the two in common"
            )
        _tell_of_lone_targets(options, predicted.targets, truth.targets)
        by = _by_key if options.match == "key" else _by_order
        matched = by(options, predicted, truth)
        rows = protocol.of_utterances(
            matched.keys,
            predicted.values(matched.predictions, targets),
            truth.values(matched.annotations, targets),
        )
        metrics = protocol.assess(rows, targets, options.pooling) | {
            "utterances": len(matched.keys),
            "coverage": len(matched.keys) / len(truth.rows),
            "expected": len(truth.rows),
            "level": "utterance",
            "pooling": options.pooling,
            "moments": protocol.MOMENTS,
            "match": options.match,
            **matched.doubts,
            "predictions": options.predictions,
            "annotations": options.annotations,
        }
        found = results.Results(
            keys=matched.keys,
            targets=targets,
            predictions=rows.predictions,
            labels=rows.labels,
            metrics=metrics,
        )
        if metrics["named"]:
            results.write(directory, found, exact=True)
        else:
            results.write_metrics(directory, metrics)
            results.draw(directory, found)
    return metrics


def _check_inputs_stay(options):
    """Refuses to replace the very tables that are read."""
    output = pathlib.Path(options.output).resolve()
    for flag in ("predictions", "annotations"):
        path = pathlib.Path(getattr(options, flag)).resolve()
        if path.parent == output and path.name in results.FILES:
            raise UserError(
                f"--output={options.output} would replace --{flag}="
                f"{getattr(options, flag)}; name another folder"
            )


def _tell_of_lone_targets(options, predicted, truth):
    for target in TARGETS:
        for flag, own, others in (
            ("predictions", predicted, truth),
            ("annotations", truth, predicted),
        ):
            if target in others and target not in own:
                logging.warning(
                    "%s is not scored: --%s=%s has no such column",
                    target,
                    flag,
                    getattr(options, flag),
                )


@dataclasses.dataclass(frozen=True)
class _Table:
    """A table's targets and {key: [targets]}; numbers are rows without names.

    Attributes:
        targets: the columns.
        rows: {"<video>/<utterance>" or number: values}.
    """

    targets: tuple[str, ...]
    rows: dict

    @property
    def named(self):
        return isinstance(next(iter(self.rows)), str)

    def values(self, keys, targets):
        columns = [self.targets.index(name) for name in targets]
        return np.array([[self.rows[key][i] for i in columns] for key in keys])


@dataclasses.dataclass(frozen=True)
class _Matched:
    """Which row of the one table goes with which of the other.

    Attributes:
        keys: "<video>/<utterance>" of each pair.
        predictions: its row's key in the one table.
        annotations: and in the other.
        doubts: what metrics.json says of the match.
    """

    keys: list
    predictions: list
    annotations: list
    doubts: dict


def _read(path, flag, match):
    if not pathlib.Path(path).is_file():
        raise UserError(f"{flag}={path} is no file; give a CSV table")
    return _Table(
        *results.read_table(
            pathlib.Path(path),
            flag,
            remedy="correct the table",
            keyed=match == "key",
        )
    )


def _by_key(options, predicted, truth):
    keys = [key for key in truth.rows if key in predicted.rows]
    unmatched = {
        "predictions": [key for key in predicted.rows if key not in truth.rows],
        "annotations": [key for key in truth.rows if key not in predicted.rows],
    }
    if not keys:
        raise UserError(
            f"--predictions={options.predictions} and --annotations="
            f"{options.annotations} have no utterance in common: one has "
            f"{listed(unmatched['predictions'], 2)}, the other "
            f"{listed(unmatched['annotations'], 2)}"
        )
    for name, alone in unmatched.items():
        if alone:
            logging.warning(
                "%d utterances stand in --%s alone and are left out: %s",
                len(alone),
                name,
                listed(alone),
            )
    doubts = {"unmatched": unmatched, "named": True}
    return _Matched(keys, keys, keys, doubts)


def _by_order(options, predicted, truth):
    ours, theirs = list(predicted.rows), list(truth.rows)
    if len(ours) != len(theirs):
        raise UserError(
            f"--predictions={options.predictions} has {len(ours)} rows, "
            f"--annotations={options.annotations} {len(theirs)}; to match by "
            "order there must be as many: leave --match=order out to match by "
            "video and utterance"
        )
    if options.pooling == "per_video" and not (predicted.named or truth.named):
        raise UserError(
            f"--pooling=per_video: neither --predictions={options.predictions} "
            f"nor --annotations={options.annotations} has columns video and "
            "utterance; add them to one"
        )
    misordered = None
    if predicted.named and truth.named:
        misordered = [
            {"row": row, "predictions": one, "annotations": other}
            for row, (one, other) in enumerate(
                zip(ours, theirs, strict=True), start=1
            )
            if one != other
        ]
    if misordered:
        logging.warning(
            "%d of %d rows are of other utterances in --predictions than in "
            "--annotations, and are scored by order all the same: %s",
            len(misordered),
            len(ours),
            listed(
                [
                    "row {row}: {predictions}, not {annotations}".format(**x)
                    for x in misordered
                ],
                2,
            ),
        )
    if truth.named:
        keys = theirs
    elif predicted.named:
        keys = ours
    else:  # of no video that is known
        keys = [f"rows/{row}" for row in range(1, len(ours) + 1)]
    doubts = {
        "unmatched": {"predictions": [], "annotations": []},
        "misordered": misordered,
        "named": predicted.named or truth.named,
    }
    return _Matched(keys, ours, theirs, doubts)


def table(metrics: dict) -> list[str]:
    """Returns the metrics as lines for a console."""
    alone = {name: len(keys) for name, keys in metrics["unmatched"].items()}
    lines = [
        *protocol.table(metrics),
        *(
            f"{target} is not scored: one of the tables has no such column"
            for target in TARGETS
            if target not in metrics
        ),
        f"{metrics['utterances']} of {metrics['expected']} annotated "
        f"utterances matched by {metrics['match']}, "
        f"{_POOLED[metrics['pooling']]}; without a match: "
        f"{alone['predictions']} predictions, {alone['annotations']} "
        "annotations",
    ]
    if metrics.get("misordered"):
        lines.append(
            f"{len(metrics['misordered'])} row(s) are of other utterances in "
            "one table than in the other: see misordered in metrics.json"
        )
    if not metrics["named"]:
        lines.append(
            "neither table names its utterances: there is no predictions.csv "
            "for others to read"
        )
    return lines


_POOLED = {"pooled": "pooled", "per_video": "mean of the videos' CCCs"}
