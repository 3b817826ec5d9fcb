"""Comparison of two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances, pooled (section 6.1), from their
predictions.csv. Utterances of one video are not independent, so whole videos
are drawn and swapped, see `affwild_omg.scoring.significance`.
"""

import dataclasses
import json
from collections.abc import Mapping

import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import ComparisonOptions
from affwild_omg.evaluation.protocol import MEAN, Scores
from affwild_omg.paper.task import TARGETS
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
        folders: {"first": results folder, "second": another}.
        split: that both are of; None where it is not known.
        scores: {"first": scores, "second": scores}, with intervals.
        differences: of each target that both have, and of `MEAN` if there are
            two.
    """

    folders: Mapping[str, str]
    split: str | None
    scores: Mapping[str, Scores]
    differences: Mapping[str, Difference]

    @property
    def utterances(self) -> int:
        """How many were compared."""
        return self.scores["first"].rows

    @property
    def videos(self) -> int:
        """How many videos they are of."""
        return self.scores["first"].videos

    def to_dict(self) -> dict:
        """Returns the comparison as comparison.json states it."""
        stated = {
            name: {run: self._scores(run, name) for run in RUNS}
            | {
                "difference": difference.value,
                "interval": _ends(difference.interval),
                "permutation_p_value": difference.p_value,
            }
            for name, difference in self.differences.items()
        }
        return stated | {
            "utterances": self.utterances,
            "videos": self.videos,
            "confidence": significance.LEVEL,
            "samples": significance.SAMPLES,
            "split": self.split,
            **self.folders,
            "summary": self.summary(),
        }

    def to_frame(self) -> pd.DataFrame:
        """Returns the comparison as comparison.csv states it, a row a target."""
        rows = []
        for name, found in self.to_dict().items():
            if name not in self.differences:
                continue
            row = {
                "target": name,
                "utterances": self.utterances,
                "videos": self.videos,
            }
            for run in RUNS:
                scores = found.pop(run)
                scores.pop("constant", None)
                row |= {f"{run}_{x}": y for x, y in _flat(scores).items()}
            rows.append(row | _flat(found))
        return pd.DataFrame(rows)

    def summary(self) -> list[str]:
        """Returns a sentence for each difference."""
        return [self._sentence(name) for name in self.differences]

    def _scores(self, run, name):
        scores = self.scores[run]
        stated = (
            {"ccc": scores.cccs[name]}
            if name == MEAN
            else (scores.to_dict()[name])
        )
        return stated | {"interval": _ends(scores.intervals.get(name))}

    def _sentence(self, name):
        difference = self.differences[name]
        scores = " against ".join(
            wording.number(self.scores[run].cccs[name]) for run in RUNS
        )
        told = (
            f"{name}: {scores}; the difference of "
            f"{wording.number(difference.value)}"
        )
        if difference.interval is None:
            return (
                f"{told} cannot be told from sampling noise: all utterances "
                "are of one video"
            )
        verdict = (
            "is more than sampling noise"
            if difference.p_value < SIGNIFICANT
            else "is within sampling noise"
        )
        return (
            f"{told} ({significance.LEVEL:.0%} interval "
            f"{wording.interval(_ends(difference.interval))}, permutation p = "
            f"{_p_value(difference.p_value)}) {verdict}"
        )


def _ends(interval):
    return interval and [interval.low, interval.high]


def _flat(stated):
    """Puts the ends of an interval into columns of their own."""
    low, high = stated["interval"] or (None, None)
    columns = {x: y for x, y in stated.items() if x != "interval"}
    return columns | {"low": low, "high": high}


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
    """Compares two runs' estimates of the same utterances.

    Writes `comparison.json` and `comparison.csv`. The same folders give the
    same files.

    Args:
        options: what and where.
        overwrite: replace a comparison that is there.

    Raises:
        UserError: a folder cannot be used, or the two are of different splits,
            have different utterances or labels, no target in common, or no
            labels.
    """
    folders = {name: getattr(options, name) for name in RUNS}
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=FILES
    ) as directory:
        runs = {
            f"--{name}={folder}": results.read(folder, flag=f"--{name}")
            for name, folder in folders.items()
        }
        targets = _common_targets(runs)
        rows = _rows(runs, targets)
        scores = {
            name: protocol.score(own, targets, intervals=True)
            for name, own in zip(RUNS, rows, strict=True)
        }
        comparison = Comparison(
            folders=folders,
            split=_common_split(runs),
            scores=scores,
            differences=_differences(rows, scores, targets),
        )
        files.write_text(
            directory / JSON,
            json.dumps(comparison.to_dict(), indent=2) + "\n",
        )
        comparison.to_frame().to_csv(
            directory / CSV, index=False, lineterminator="\n"
        )
    return comparison


def _common_split(runs):
    (first, one), (second, other) = (
        (name, run.provenance.split) for name, run in runs.items()
    )
    if one and other and one != other:
        raise UserError(
            f"{first} is of split {one}, {second} of {other}; evaluate both "
            "runs on the same split"
        )
    return one


def _common_targets(runs):
    (first, one), (second, other) = runs.items()
    targets = tuple(
        x for x in TARGETS if x in one.targets and x in other.targets
    )
    if not targets:
        raise UserError(
            f"{first} has {', '.join(one.targets)}, {second} "
            f"{', '.join(other.targets)}; they must have one of the two in "
            "common"
        )
    return targets


def _rows(runs, targets):
    """Returns each run's labelled utterances, the same for both."""
    split = results.align(runs)
    columns = [split.targets.index(name) for name in targets]
    rows = [
        protocol.of_utterances(
            split.keys, predictions[:, columns], split.labels[:, columns]
        )
        for predictions in split.predictions
    ]
    if not len(rows[0].labels):
        raise UserError(
            f"{' and '.join(runs)} hold no {results.LABELS}; a comparison "
            "needs labels: evaluate records of a split that has them"
        )
    return rows


def _differences(rows, scores, targets):
    first, second = rows
    one, other = (scores[run].cccs for run in RUNS)
    differences = {}
    for name, columns in protocol.columns_of(targets).items():
        interval = p_value = None
        if len(set(first.videos)) > 1:
            data = (
                first.labels[:, columns],
                first.predictions[:, columns],
                second.predictions[:, columns],
                first.videos,
            )
            interval = significance.paired_interval(*data)
            p_value = significance.permutation_test(*data)
        differences[name] = Difference(
            value=one[name] - other[name], interval=interval, p_value=p_value
        )
    return differences


def table(comparison: Comparison) -> list[str]:
    """Returns a comparison as lines for a console."""
    level = f"{significance.LEVEL:.0%} interval"
    lines = [
        f"{'':<16}{'CCC':>8}{level:>18}{'Pearson':>10}{'p of Pearson':>14}"
        f"{'MSE':>9}"
    ]
    warnings = []
    for name in comparison.differences:
        for run in RUNS:
            scores = comparison.scores[run]
            interval = wording.interval(_ends(scores.intervals.get(name)))
            line = (
                f"{name:<8} {run:<7}{wording.number(scores.cccs[name]):>8}"
                f"{interval:>18}"
            )
            if score := scores.targets.get(name):
                line += (
                    f"{wording.number(score.pearson):>10}"
                    f"{wording.p_value(score.pearson_p_value):>14}"
                    f"{wording.number(score.mse):>9}"
                )
                if score.constant:
                    warnings.append(
                        f"{name} of the {run}: {score.constant} do not vary, "
                        "so CCC is 0 by definition"
                    )
            lines.append(line)
    of_split = f" of {comparison.split}" if comparison.split else ""
    return [
        *lines,
        *warnings,
        f"{comparison.utterances} labelled utterances of "
        f"{comparison.videos} videos{of_split}",
        *comparison.summary(),
    ]
