"""Submissions: anyone's predictions, scored against the organisers' tables.

It scores as the organisers' script does: columns by name, CCC pooled over all
utterances with 1/N moments, or, as their first script did, the mean of the
videos' own. That script matches rows by their order; here they are matched by
video and utterance unless told otherwise.
"""

import dataclasses
import pathlib

import pandas as pd

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import csv_tables, results
from affwild_omg.evaluation.options import SubmissionOptions
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files


def score(options: SubmissionOptions, *, overwrite: bool = False) -> Results:
    """Scores predictions, and writes a results folder.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        The results of the utterances that both tables have; the provenance's
        "coverage" is their share of the annotations, "unmatched" lists those
        that one table lacks, and "misordered", if both have names and are
        matched by order, the rows whose names differ: {"row" (from 1),
        "predictions", "annotations"}.

    Raises:
        UserError: a table cannot be read or would be replaced, the two have no
            target or no utterance in common, or, to match by order, not as
            many rows or no names.
    """
    _check_inputs_stay(options)
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        predicted, truth = (
            _read(options, name) for name in ("predictions", "annotations")
        )
        targets = results.targets_in_common(
            {
                f"--predictions={options.predictions}": predicted.columns,
                f"--annotations={options.annotations}": truth.columns,
            }
        )
        expected = len(truth)
        match = _by_key if options.match == "key" else _by_order
        keys, predicted, truth, told = match(options, predicted, truth)
        found = Results(
            keys=keys.tolist(),
            targets=targets,
            predictions=predicted[list(targets)].to_numpy(),
            labels=truth[list(targets)].to_numpy(),
            provenance=Provenance(
                pooling=options.pooling,
                expected=expected,
                coverage=len(keys) / expected,
                match=options.match,
                **told,
                predictions=options.predictions,
                annotations=options.annotations,
                options=dataclasses.asdict(options),
            ),
        )
        results.write(directory, found, exact=True)
    return found


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


def _read(options, name):
    path = pathlib.Path(getattr(options, name))
    if not path.is_file():
        raise UserError(f"--{name}={path} is not a file; give a CSV table")
    return csv_tables.read_utterances(
        path,
        f"--{name}",
        remedy="correct the table",
        named=options.match == "key",
    )


def _by_key(options, predicted, truth):
    """Returns keys, both tables in their order, and provenance."""
    ours, theirs = predicted.index, truth.index
    alone = {
        "predictions": ours.difference(theirs, sort=False).tolist(),
        "annotations": theirs.difference(ours, sort=False).tolist(),
    }
    keys = theirs[theirs.isin(ours)]
    if keys.empty:
        raise UserError(
            f"--predictions={options.predictions} and --annotations="
            f"{options.annotations} have no utterance in common: one has "
            f"{listed(alone['predictions'], 2)}, the other "
            f"{listed(alone['annotations'], 2)}"
        )
    return keys, predicted.loc[keys], truth.loc[keys], {"unmatched": alone}


def _by_order(options, predicted, truth):
    if len(predicted) != len(truth):
        raise UserError(
            f"--predictions={options.predictions} has {len(predicted)} rows, "
            f"--annotations={options.annotations} {len(truth)}; to match by "
            "order there must be as many: leave --match=order out to match by "
            "video and utterance"
        )
    named = [
        table.index
        for table in (truth, predicted)
        if not isinstance(table.index, pd.RangeIndex)
    ]
    if not named:
        raise UserError(
            f"neither --predictions={options.predictions} nor --annotations="
            f"{options.annotations} has columns video and utterance; add them "
            "to one"
        )
    told = {"unmatched": {"predictions": [], "annotations": []}}
    if len(named) == 2:
        told["misordered"] = [
            {"row": row, "predictions": one, "annotations": other}
            for row, (other, one) in enumerate(zip(*named, strict=True), 1)
            if one != other
        ]
    return named[0], predicted, truth, told


_POOLED = {"pooled": "pooled", "per_video": "mean of the videos' CCCs"}


def table(found: Results) -> list[str]:
    """Returns the scores of a submission as lines for a console."""
    source = found.provenance
    lines = found.headline().table()
    for target in TARGETS:
        if target not in found.targets:
            lines.append(
                f"{target} is not scored: one of the tables has no such column"
            )
    lines.append(
        f"{len(found.keys)} of {source.expected} annotated utterances matched "
        f"by {source.match}, {_POOLED[source.pooling]}; without a match: "
        f"{len(source.unmatched['predictions'])} predictions, "
        f"{len(source.unmatched['annotations'])} annotations"
    )
    if source.misordered:
        lines.append(
            f"{len(source.misordered)} row(s) are of other utterances in one "
            "table than in the other: see misordered in metrics.json"
        )
    return lines
