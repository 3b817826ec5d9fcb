"""Submissions: anyone's predictions, scored against the organisers' tables.

It scores as the organisers' script does: columns by name, CCC pooled over all
utterances with 1/N moments. That script matches rows by their order; here they
are matched by video and utterance unless told otherwise.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import logging

from affwild_omg import outputs, protocol, results
from affwild_omg.architectures import TARGETS
from affwild_omg.errors import UserError, listed

MATCHES = ("key", "order")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is scored; evaluate.py's flags, where no model is evaluated.

    Attributes:
        predictions: CSV with columns arousal, valence or both and, to match
            by key, video and utterance.
        annotations: CSV of the truth, with the same columns, such as
            omg_TestVideos_WithLabels.csv.
        output: folder for metrics and pictures.
        match: "key" or "order".
    """

    predictions: str
    annotations: str
    output: str
    match: str = "key"

    def __post_init__(self):
        if self.match not in MATCHES:
            raise UserError(
                f"--match must be {' or '.join(MATCHES)}, not {self.match!r}"
            )


def score(options: Options, *, overwrite: bool = False) -> dict:
    """Scores predictions.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        What goes into metrics.json: scores and intervals as of
        `affwild_omg.evaluation.evaluate`, on the utterances that both tables
        have; "unmatched" lists those that one lacks.

    Raises:
        UserError: a table can't be read, the two have no target or no
            utterance in common, or, to match by order, not as many rows.
    """
    with outputs.whole_directory(
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
        keys, unmatched = _match(options, predicted.rows, truth.rows)
        matched = results.Results(
            keys=keys,
            targets=targets,
            predictions=predicted.values(keys, targets),
            labels=truth.values(keys, targets),
            metrics={},
        )
        rows = protocol.of_utterances(
            # By order there are no names, and so no videos to draw.
            keys if options.match == "key" else ["/"] * len(keys),
            matched.predictions,
            matched.labels,
        )
        metrics = protocol.assess(rows, targets) | {
            "utterances": len(keys),
            "level": "utterance",
            "pooling": "pooled",
            "moments": protocol.MOMENTS,
            "match": options.match,
            "unmatched": unmatched,
            "predictions": options.predictions,
            "annotations": options.annotations,
        }
        (directory / results.METRICS).write_text(
            json.dumps(metrics, indent=2) + "\n", encoding="utf-8"
        )
        results.draw(
            directory,
            dataclasses.replace(matched, metrics=metrics),
        )
    return metrics


@dataclasses.dataclass(frozen=True)
class _Table:
    """A table's targets and {key: [targets]}."""

    targets: tuple[str, ...]
    rows: dict

    def values(self, keys, targets):
        columns = [self.targets.index(name) for name in targets]
        return np.array([[self.rows[key][i] for i in columns] for key in keys])


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


def _match(options, predicted, truth):
    """Returns the keys of both, in the truth's order, and of one alone."""
    if options.match == "order" and len(predicted) != len(truth):
        raise UserError(
            f"--predictions={options.predictions} has {len(predicted)} rows, "
            f"--annotations={options.annotations} {len(truth)}; to match by "
            "order there must be as many: leave --match=order out to match by "
            "video and utterance"
        )
    keys = [key for key in truth if key in predicted]
    unmatched = {
        "predictions": [key for key in predicted if key not in truth],
        "annotations": [key for key in truth if key not in predicted],
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
    return keys, unmatched


def table(metrics: dict) -> list[str]:
    """Returns the metrics as lines for a console."""
    alone = {name: len(keys) for name, keys in metrics["unmatched"].items()}
    return [
        *protocol.table(metrics),
        f"{metrics['utterances']} utterances matched by {metrics['match']}; "
        f"without a match: {alone['predictions']} predictions, "
        f"{alone['annotations']} annotations",
    ]
