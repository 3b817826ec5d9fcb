"""Comparison of two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances, pooled (section 6.1), from their
predictions.csv. Utterances of one video are not independent, so whole videos
are drawn and swapped, see `affwild_omg.scoring.significance`.
"""

import dataclasses
from collections.abc import Mapping

import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import ComparisonOptions
from affwild_omg.evaluation.protocol import MEAN, Scores
from affwild_omg.scoring import significance
from affwild_omg.scoring.significance import Interval
from affwild_omg.storage import files

JSON = "comparison.json"
CSV = "comparison.csv"
FILES = (JSON, CSV)
RUNS = ("first", "second")
SIGNIFICANT = 0.05  # p-values below are more than sampling noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """The CCC of the first run less that of the second.

    Attributes:
        value: in [-2, 2].
        interval: its confidence interval; None, like what follows, where all
            utterances are of one video.
        p_value: of the permutation test, two-sided, of no difference.
    """

    value: float
    interval: Interval | None
    p_value: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs' scores on the same utterances, and how they differ.

    Attributes:
        folders: the results folders, of "first" and "second" like what
            follows.
        split: that both are of; None where it is not known.
        scores: of the targets that both have, with intervals.
        differences: of these targets, and of `MEAN` if there are two.
    """

    folders: Mapping[str, str]
    split: str | None
    scores: Mapping[str, Scores]
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict:
        """Returns the comparison as comparison.json states it."""
        stated = {}
        for name, difference in self.differences.items():
            stated[name] = {
                run: _stated(scores, name)
                for run, scores in self.scores.items()
            } | {
                "difference": difference.value,
                "interval": difference.interval and [*difference.interval],
                "permutation_p_value": difference.p_value,
            }
        return stated | {
            "utterances": self.scores["first"].rows,
            "videos": self.scores["first"].videos,
            "confidence": significance.LEVEL,
            "samples": significance.SAMPLES,
            "split": self.split,
            **self.folders,
            "summary": self.summary(),
        }

    def to_frame(self) -> pd.DataFrame:
        """Returns what comparison.csv states, a row for each target."""
        stated, rows = self.to_dict(), []
        for name in self.differences:
            found = stated[name]
            row = {x: stated[x] for x in ("utterances", "videos")}
            for prefix, part in (
                *((f"{run}_", found.pop(run)) for run in RUNS),
                ("", found),
            ):
                part.pop("constant", None)
                part["low"], part["high"] = part.pop("interval") or (None, None)
                row |= {prefix + column: x for column, x in part.items()}
            rows.append({"target": name, **row})
        return pd.DataFrame(rows)

    def summary(self) -> list[str]:
        """Returns a sentence for each difference."""
        sentences = []
        for name, difference in self.differences.items():
            scores = " against ".join(
                wording.number(self.scores[run].cccs[name]) for run in RUNS
            )
            if difference.interval is None:
                told = (
                    "cannot be told from sampling noise: all utterances are of "
                    "one video"
                )
            else:
                more = difference.p_value < SIGNIFICANT
                told = (
                    f"({protocol.LEVEL} "
                    f"{wording.interval(difference.interval)}, "
                    f"permutation p = {_p_value(difference.p_value)}) is "
                    f"{'more than' if more else 'within'} sampling noise"
                )
            sentences.append(
                f"{name}: {scores}; the difference of "
                f"{wording.number(difference.value)} {told}"
            )
        return sentences


def _stated(scores, name):
    """Returns a target's score, or the mean CCC, with its interval."""
    if name == MEAN:
        stated = {"ccc": scores.mean_ccc}
    else:
        stated = dataclasses.asdict(scores.targets[name])
        if not stated["constant"]:
            del stated["constant"]
    interval = scores.intervals.get(name)
    return stated | {"interval": interval and [*interval]}


def _p_value(value):
    """Rounds to two digits, or as many as keep it on its side of 0.05."""
    for digits in (2, 3, 4):
        text = f"{value:.{digits}g}"
        if (float(text) < SIGNIFICANT) == (value < SIGNIFICANT):
            return text
    return repr(value)


def compare(
    options: ComparisonOptions, *, overwrite: bool = False
) -> Comparison:
    """Compares two runs, and writes `comparison.json` and `comparison.csv`.

    The same folders give the same files.

    Args:
        options: what and where.
        overwrite: replace a comparison that is there.

    Raises:
        UserError: a folder cannot be used, or the two are of different splits,
            have different utterances or labels, no target in common, or no
            labels.
    """
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=FILES
    ) as directory:
        folders = {name: getattr(options, name) for name in RUNS}
        runs = {
            f"--{name}={folder}": results.read(folder, flag=f"--{name}")
            for name, folder in folders.items()
        }
        split, targets = _in_common(runs)
        rows = _rows(runs, targets)
        scores = [protocol.score(x, targets, intervals=True) for x in rows]
        comparison = Comparison(
            folders=folders,
            split=split,
            scores=dict(zip(RUNS, scores, strict=True)),
            differences=_differences(rows, scores, targets),
        )
        files.write_json(directory / JSON, comparison.to_dict())
        comparison.to_frame().to_csv(
            directory / CSV, index=False, lineterminator="\n"
        )
    return comparison


def _in_common(runs):
    """Returns the split and the targets of both runs."""
    (first, one), (second, other) = runs.items()
    splits = one.provenance.split, other.provenance.split
    if None not in splits and splits[0] != splits[1]:
        raise UserError(
            f"{first} is of split {splits[0]}, {second} of {splits[1]}; "
            "evaluate both runs on the same split"
        )
    return splits[0], results.targets_in_common(
        {name: run.targets for name, run in runs.items()}
    )


def _rows(runs, targets):
    """Returns each run's labelled utterances, the same for both."""
    split = results.align(runs)
    columns = [split.targets.index(name) for name in targets]
    first, second = (
        protocol.of_utterances(
            split.keys, predictions[:, columns], split.labels[:, columns]
        )
        for predictions in split.predictions
    )
    if not len(first.labels):
        raise UserError(
            f"{' and '.join(runs)} hold no {results.LABELS}; a comparison "
            "needs labels: evaluate records of a split that has them"
        )
    return first, second


def _differences(rows, scores, targets):
    (first, second), (one, other) = rows, scores
    differences = {}
    for name, columns in protocol.columns_of(targets).items():
        interval = p_value = None
        if one.videos > 1:
            data = (
                first.labels[:, columns],
                first.predictions[:, columns],
                second.predictions[:, columns],
                first.videos,
            )
            interval = significance.paired_interval(*data)
            p_value = significance.permutation_test(*data)
        differences[name] = Difference(
            value=one.cccs[name] - other.cccs[name],
            interval=interval,
            p_value=p_value,
        )
    return differences


def table(comparison: Comparison) -> list[str]:
    """Returns a comparison as lines for a console."""
    runs = comparison.scores.items()
    rows = [
        [name, run, *scores.cells(name)]
        for name in comparison.differences
        for run, scores in runs
    ]
    split = f" of {comparison.split}" if comparison.split else ""
    first = comparison.scores["first"]
    return [
        *Table(("", "", *protocol.HEADER), rows, words=2).lines(),
        *(f"{run} run, {x}" for run, scores in runs for x in scores.warnings()),
        f"{wording.count(first.rows, 'labelled utterance')} of "
        f"{wording.count(first.videos, 'video')}{split}",
        *comparison.summary(),
    ]
