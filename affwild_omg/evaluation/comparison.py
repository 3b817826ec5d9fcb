"""Comparison of two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances, pooled (section 6.1), from their
predictions.csv, or from anyone's table. Utterances of one source, or one video
where the source is not known, are not independent, so they are drawn and
swapped as a whole, see `affwild_omg.scoring.significance`.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import protocol, results, submission
from affwild_omg.evaluation.options import ComparisonOptions
from affwild_omg.evaluation.protocol import Scores
from affwild_omg.scoring import significance
from affwild_omg.scoring.significance import Interval
from affwild_omg.storage import files

FILE = "comparison.json"
RUNS = ("first", "second")
SIGNIFICANT = 0.05  # p-values below are more than sampling noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """The CCC of the first run less that of the second.

    Attributes:
        value: in [-2, 2].
        interval: its confidence interval; None, like what follows, where all
            labels of a target are of one video or source.
        p_value: of the permutation test, two-sided, of no difference.
        cluster: what is drawn and swapped as a whole, "video" or "source".
    """

    value: float
    interval: Interval | None = None
    p_value: float | None = None
    cluster: str = "video"

    def __str__(self) -> str:
        value = f"the difference of {wording.number(self.value)}"
        if self.interval is None:
            return (
                f"{value} cannot be told from sampling noise: all labelled "
                f"utterances are of one {self.cluster}"
            )
        p_value = f"{self.p_value:.3g}"
        noise = "more than" if float(p_value) < SIGNIFICANT else "within"
        return (
            f"{value} ({protocol.INTERVAL_NAME} "
            f"{wording.interval(self.interval)}, permutation p = {p_value}) is "
            f"{noise} sampling noise"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs' scores on the same utterances, and how they differ.

    Attributes:
        folders: the results folders or tables, of "first" and "second" like
            what follows.
        split: that both are of; None where it is not known.
        scores: of the targets that both have and that some utterance has a
            label of, with intervals.
        differences: of these targets, and of `MEAN` if there are two.
        left_out: the utterances that one alone has; None where both must have
            the same.
    """

    folders: Mapping[str, str]
    split: str | None
    scores: Mapping[str, Scores]
    differences: Mapping[str, Difference]
    left_out: Mapping[str, list[str]] | None = None

    def to_dict(self) -> dict:
        """Returns the comparison as comparison.json states it."""
        runs = {
            run: {"folder": self.folders[run], **scores.to_dict()}
            for run, scores in self.scores.items()
        }
        differences = {
            name: {
                "value": difference.value,
                "interval": difference.interval,
                "p_value": difference.p_value,
            }
            for name, difference in self.differences.items()
        }
        found = runs | {"differences": differences, "split": self.split}
        if self.left_out is not None:
            found["left_out"] = dict(self.left_out)
        return found


def compare(
    options: ComparisonOptions, *, overwrite: bool = False
) -> Comparison:
    """Compares two runs, and writes `comparison.json`.

    The same folders give the same file. If one of the two is a table of
    anyone's predictions, those utterances count that both have.

    Args:
        options: what and where.
        overwrite: replace a comparison that is there.

    Raises:
        UserError: a folder or table cannot be used, or the two are of
            different splits, have different utterances (two folders) or none
            in common, different labels, no target in common, or no labels.
    """
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=("comparison.csv",),  # of earlier versions
    ) as directory:
        folders = {name: getattr(options, name) for name in RUNS}
        runs, left_out = _read(options, folders)
        one, other = splits = [x.provenance.split for x in runs.values()]
        if None not in splits and one != other:
            raise UserError(
                f"{' and '.join(runs)} are of splits {one} and {other}; "
                "evaluate both runs on the same split"
            )
        rows, targets = _rows(runs)
        results.warn_of_levels(runs)
        noun = next(iter(runs.values())).noun
        scores = [
            protocol.score(x, targets, level=noun, intervals=True) for x in rows
        ]
        comparison = Comparison(
            folders=folders,
            split=one or other,
            scores=dict(zip(RUNS, scores, strict=True)),
            differences=_differences(rows, scores, targets),
            left_out=left_out,
        )
        files.write_json(directory / FILE, comparison.to_dict())
    return comparison


def _read(options, folders):
    """Returns both runs, of what both have, and what only one has."""
    tables = [x for x in folders.values() if os.path.isfile(x)]
    runs = {
        name: submission.read(x, f"--{name}", names=options.table)
        if x in tables
        else results.read(x, flag=f"--{name}")
        for name, x in folders.items()
    }
    left_out = None
    if tables:
        first, second = (pd.Index(run.keys) for run in runs.values())
        left_out = {
            "first": first.difference(second, sort=False).tolist(),
            "second": second.difference(first, sort=False).tolist(),
        }
        if len(left_out["first"]) == len(first):
            raise UserError(
                "--first and --second have no utterance in common: one has "
                f"{listed(first, 2)}, the other {listed(second, 2)}"
            )
        runs = {
            name: run.subset(~np.isin(run.keys, left_out[name]))
            for name, run in runs.items()
        }
    elif options.table:
        raise UserError(
            f"--table={options.table} names the rows of a CSV, but --first and "
            "--second are folders, which name their own; leave it out"
        )
    return {f"--{x}={folders[x]}": run for x, run in runs.items()}, left_out


def _rows(runs):
    """Returns the labelled utterances of each run, and which targets count.

    They are those that both runs have, and some utterance has a label of.
    """
    split = results.align(runs)
    both = np.isfinite(split.predictions).all(axis=(0, 1))
    both &= np.isfinite(split.labels).any(axis=0)
    videos = next(iter(runs.values())).videos
    rows = [
        protocol.labelled(
            videos, values[:, both], split.labels[:, both], split.clusters
        )
        for values in split.predictions
    ]
    if not both.any():
        raise UserError(
            f"{' and '.join(runs)} hold no {results.LABELS} of a target that "
            "both predict; evaluate both on a split that has labels"
        )
    return rows, [x for x, y in zip(split.targets, both, strict=True) if y]


def _differences(rows, scores, targets):
    (first, second), (one, other) = rows, scores
    differences = {}
    for name, columns in protocol.columns_of(targets).items():
        tested = {}
        own = {targets[i]: one.targets[targets[i]] for i in columns}
        if dataclasses.replace(one, targets=own).fewest > 1:
            data = (
                first.labels[:, columns],
                first.predictions[:, columns],
                second.predictions[:, columns],
                first.clusters,
            )
            tested = {
                "interval": significance.paired_interval(*data),
                "p_value": significance.permutation_test(*data),
            }
        differences[name] = Difference(
            value=one.cccs[name] - other.cccs[name],
            cluster=one.clusters,
            **tested,
        )
    return differences


def table(comparison: Comparison) -> list[str]:
    """Returns a comparison as lines for a console."""
    first, second = comparison.scores.values()
    runs = comparison.scores.items()
    rows = [
        [name, run, *scores.cells(name)]
        for name in comparison.differences
        for run, scores in runs
    ]
    split = f" of {comparison.split}" if comparison.split else ""
    sources = ""
    if first.sources is not None:
        sources = f" from {wording.count(first.sources, 'source')}"
    left_out = []
    if comparison.left_out is not None:
        counts = {x: len(keys) for x, keys in comparison.left_out.items()}
        left_out = [
            "left out, as only one of the two has them: "
            f"{wording.count(counts['first'], first.level)} of the first, "
            f"{counts['second']:,} of the second"
        ]
    return [
        *Table(("", "", *protocol.HEADER), rows, words=2).lines(),
        *(f"{run} run, {x}" for run, scores in runs for x in scores.warnings()),
        *first.caution(),
        f"{wording.count(first.rows, f'labelled {first.level}')} of "
        f"{wording.count(first.videos, 'video')}{sources}{split}",
        *left_out,
        *(f"{name}: {text}" for name, text in comparison.differences.items()),
    ]
