"""Submissions: anyone's predictions, scored against the organisers' tables.

It scores as the organisers' script does: columns by name, CCC pooled over all
utterances with 1/N moments, or, as their first script did, the mean of the
videos' own. That script matches rows by their order; here they are matched by
video and utterance unless told otherwise. Tables of frames are matched by their
numbers, and the CCC is over all frames; where the annotations are of
utterances, each table is of one, which is estimated as the paper does.
"""

import dataclasses
import pathlib

import numpy as np
import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import csv_tables, frame_tables, groups, results
from affwild_omg.evaluation.options import POOLED, SubmissionOptions
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.evaluation.sources import Facts
from affwild_omg.paper.task import TARGETS

FRAMES = "frame"  # how they match, beside the choices of --match


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
    with results.folder(options.output, overwrite=overwrite) as directory:
        framed, more = _is_of_frames(options), {}
        if framed and _is_of_clips(options):
            framed, truth = False, _read(options, "annotations")
            predicted, more = frame_tables.estimate(
                pathlib.Path(options.predictions), truth.index.tolist()
            )
            tables = {
                f"--predictions={options.predictions}": predicted,
                f"--annotations={options.annotations}": truth,
            }
        elif framed:
            tables = frame_tables.read(
                pathlib.Path(options.predictions),
                pathlib.Path(options.annotations),
            )
        else:
            tables = {
                f"--{name}={getattr(options, name)}": _read(options, name)
                for name in ("predictions", "annotations")
            }
        targets = [x for x in TARGETS if all(x in y for y in tables.values())]
        if not targets:
            raise UserError(
                f"{' and '.join(tables)} have no column in common: neither "
                "valence nor arousal is in both"
            )
        if framed:
            matched = _by_key(tables, FRAMES)
        else:
            match = _by_key if options.match == "key" else _by_order
            matched = match(tables)
        predicted, truth, told = matched
        expected = len(tables[f"--annotations={options.annotations}"])
        found = Results(
            keys=truth.index.tolist(),
            targets=tuple(targets),
            predictions=predicted[targets].to_numpy(),
            labels=truth[targets].to_numpy(),
            provenance=Provenance(
                level=FRAMES if framed else "utterance",
                row=FRAMES if framed else None,
                pooling=options.pooling,
                expected=expected,
                coverage=len(truth) / expected,
                match=FRAMES if framed else options.match,
                **told,
                **more,
                predictions=options.predictions,
                annotations=options.annotations,
                options=dataclasses.asdict(options),
            ),
            facts=Facts.of_sources(truth.index, truth["link"].tolist())
            if "link" in truth
            else None,
            groups=groups.Groups.read(options.groups, truth.index.tolist())
            if options.groups
            else None,
        )
        results.write(directory, found)
    return found


def read(path: str, flag: str, *, names: str = "") -> Results:
    """Reads anyone's predictions as results without labels.

    Args:
        path: CSV with columns arousal, valence or both.
        flag: that named it, for messages.
        names: CSV that names its rows, in its order; only where it does not
            name them itself.

    Raises:
        UserError: a table cannot be read, nothing names the rows, or the two
            have not as many.
    """
    where = f"{flag}={path}"
    table = csv_tables.read_utterances(pathlib.Path(path), flag, named=False)
    if isinstance(table.index, pd.RangeIndex):
        if not names:
            raise UserError(
                f"{where} has no columns video and utterance; name the table "
                "whose rows it follows by --table, such as "
                "omg_TestVideos_WithoutLabels.csv"
            )
        keys = csv_tables.read_keys(pathlib.Path(names), "--table")
        if len(keys) != len(table):
            raise UserError(
                f"{where} has {len(table)} rows, --table={names} {len(keys)}; "
                "it must be the table whose rows the other follows, one by one"
            )
        table = table.set_axis(keys)
    elif names:
        raise UserError(
            f"{where} names its rows itself, so that --table={names} has "
            "nothing to say; leave it out"
        )
    return Results(
        keys=table.index.tolist(),
        targets=tuple(table.columns),
        predictions=table.to_numpy(),
        labels=np.full(table.shape, np.nan),
        provenance=Provenance(predictions=path),
    )


def _check_inputs_stay(options):
    """Refuses to replace the very tables that are read."""
    output = pathlib.Path(options.output).resolve()
    for flag in ("predictions", "annotations"):
        given = getattr(options, flag)
        path = pathlib.Path(given).resolve()
        if path.parent == output and path.name in results.FILES:
            raise UserError(
                f"--output={options.output} would replace --{flag}={given}; "
                "name another folder"
            )


def _is_of_frames(options):
    """Returns whether the predictions are of frames.

    Raises:
        UserError: they are, and are to be matched by order.
    """
    path = pathlib.Path(options.predictions)
    if not frame_tables.is_of_frames(path, "--predictions"):
        return False
    if options.match != "key":
        raise UserError(
            f"--match={options.match} is for tables of utterances; frames "
            "match by their numbers: leave it out"
        )
    return True


def _is_of_clips(options):
    """Returns whether a folder of tables of frames is of utterances."""
    truth = pathlib.Path(options.annotations)
    if not pathlib.Path(options.predictions).is_dir() or truth.is_dir():
        return False
    header = csv_tables.Table.read(truth, "--annotations").text.columns
    return set(csv_tables.KEY) <= set(header)


def _read(options, name):
    path = pathlib.Path(getattr(options, name))
    if not path.is_file():
        raise UserError(f"--{name}={path} is not a file; give a CSV table")
    named = options.match == "key"
    table = csv_tables.read_utterances(path, f"--{name}", named=named)
    if name == "annotations" and (
        links := csv_tables.read_links(path, f"--{name}")
    ):
        table["link"] = links  # where an utterance comes from
    return table


def _by_key(tables, what="utterance"):
    """Returns both tables in one order, and more of the provenance."""
    (first, predicted), (second, truth) = tables.items()
    ours, theirs = predicted.index, truth.index
    alone = {
        "predictions": ours.difference(theirs, sort=False).tolist(),
        "annotations": theirs.difference(ours, sort=False).tolist(),
    }
    truth = truth[theirs.isin(ours)]
    if truth.empty:
        raise UserError(
            f"{first} and {second} have no {what} in common: one has "
            f"{listed(alone['predictions'], 2)}, the other "
            f"{listed(alone['annotations'], 2)}"
        )
    return predicted.loc[truth.index], truth, {"unmatched": alone}


def _by_order(tables):
    (first, predicted), (second, truth) = tables.items()
    if len(predicted) != len(truth):
        raise UserError(
            f"{first} has {len(predicted)} rows, {second} {len(truth)}; to "
            "match by order there must be as many: leave --match=order out to "
            "match by video and utterance"
        )
    named = [
        table.index.tolist()
        for table in (truth, predicted)
        if not isinstance(table.index, pd.RangeIndex)
    ]
    if not named:
        raise UserError(
            f"neither {first} nor {second} has columns video and utterance; "
            "add them to one"
        )
    told = {"unmatched": {"predictions": [], "annotations": []}}
    if len(named) == 2:
        told["misordered"] = [
            {"row": row, "predictions": one, "annotations": other}
            for row, (other, one) in enumerate(zip(*named, strict=True), 1)
            if one != other
        ]
    return predicted, truth.set_axis(named[0]), told


def table(found: Results) -> list[str]:
    """Returns the scores of a submission as lines for a console."""
    source = found.provenance
    lines = found.headline.table()
    for target in TARGETS:
        if target not in found.targets:
            lines.append(
                f"{target} is not scored: one of the tables has no such column"
            )
    without = [
        wording.count(len(names), what.removesuffix("s"))
        for what, names in source.unmatched.items()
    ]
    lines.append(
        f"{len(found.keys)} of {source.expected} annotated {found.noun}s "
        f"matched by {source.match}, CCC {POOLED[source.pooling]}; "
        f"without a match: {', '.join(without)}"
    )
    if source.utterances_without_face:
        lines.append(
            "utterances without any face, which take the mean of the others: "
            f"{source.utterances_without_face}"
        )
    if source.misordered:
        lines.append(
            "rows that are of different utterances in the two tables: "
            f"{len(source.misordered)}, see misordered in metrics.json"
        )
    return [*lines, *groups.lines(found)]
