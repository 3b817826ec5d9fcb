"""Comparison of two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances, pooled (section 6.1), from their
predictions.csv. Utterances of one video are not independent, so whole videos
are drawn and swapped, see `affwild_omg.scoring.significance`.
"""

import json

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import ComparisonOptions
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import significance
from affwild_omg.storage import files

JSON = "comparison.json"
CSV = "comparison.csv"
FILES = (JSON, CSV)
RUNS = ("first", "second")
SIGNIFICANT = 0.05  # p-values below are more than sampling noise


def compare(options: ComparisonOptions, *, overwrite: bool = False) -> dict:
    """Compares two runs' estimates of the same utterances.

    Writes `comparison.json`, what is returned, and `comparison.csv` with a row
    for each target. The same folders give the same files.

    Args:
        options: what and where.
        overwrite: replace a comparison that is there.

    Returns:
        For each target that both have: the scores of "first" and of "second"
        as of `evaluation.protocol.score`, with the "interval" of their CCC,
        [low, high] as of `evaluation.protocol.intervals`, None where it has
        none; "difference", CCC of the first less that of the second;
        "interval", its [low, high]; "permutation_p_value", two-sided, of
        no difference. The last two are None where all utterances are of one
        video. If there are two targets, the same of their "mean"
        CCC, the scores "ccc" and "interval" alone. Besides "utterances" and
        "videos", the intervals' "confidence" and "samples", "split", the
        folders "first" and "second", and "summary", a sentence for each of
        these.

    Raises:
        UserError: a folder can't be used, or the two are of different splits,
            have different utterances or labels, no target in common, or no
            labels.
    """
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=FILES,
    ) as directory:
        runs = {
            f"--{name}={getattr(options, name)}": results.read(
                getattr(options, name), flag=f"--{name}"
            )
            for name in RUNS
        }
        _check_comparable(runs)
        split = results.align(runs)
        targets = _common_targets(runs)
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
        comparison = _compare(first, second, targets)
        comparison |= {
            "utterances": len(first.labels),
            "videos": len(set(first.videos)),
            "confidence": significance.LEVEL,
            "samples": significance.SAMPLES,
            "split": next(iter(runs.values())).metrics.get("split"),
            "first": options.first,
            "second": options.second,
            "summary": [
                _sentence(name, comparison[name]) for name in _names(comparison)
            ],
        }
        (directory / JSON).write_text(
            json.dumps(comparison, indent=2) + "\n", encoding="utf-8"
        )
        files.write_csv(
            directory / CSV,
            [_row(name, comparison) for name in _names(comparison)],
        )
    return comparison


def _check_comparable(runs):
    (first, one), (second, other) = runs.items()
    splits = [run.metrics.get("split") for run in (one, other)]
    if None not in splits and splits[0] != splits[1]:
        raise UserError(
            f"{first} is of split {splits[0]}, {second} of {splits[1]}; "
            "evaluate both runs on the same split"
        )
    if not _common_targets(runs):
        raise UserError(
            f"{first} has {', '.join(one.targets)}, {second} "
            f"{', '.join(other.targets)}; they must have one of the two in "
            "common"
        )


def _common_targets(runs):
    return tuple(
        name
        for name in TARGETS
        if all(name in run.targets for run in runs.values())
    )


def _compare(first, second, targets):
    """Compares two runs' `protocol.Rows` in each target, and in their mean."""
    scores = [_scores(rows, targets) for rows in (first, second)]
    return {
        name: {
            "first": scores[0][name],
            "second": scores[1][name],
            "difference": scores[0][name]["ccc"] - scores[1][name]["ccc"],
            **_significance(
                first.labels[:, own],
                first.predictions[:, own],
                second.predictions[:, own],
                first.videos,
            ),
        }
        for name, own in protocol.columns_of(targets).items()
    }


def _scores(rows, targets):
    """Returns {target or mean: scores}, each with the interval of its CCC."""
    scores = protocol.score(rows, targets)
    scores[protocol.MEAN] = {"ccc": scores.pop("mean_ccc")}
    intervals = protocol.intervals(rows, targets)
    return {
        name: found | {"interval": intervals.get(name)}
        for name, found in scores.items()
    }


def _names(comparison):
    """Returns what was compared, in order."""
    return [name for name in (*TARGETS, protocol.MEAN) if name in comparison]


def _significance(labels, first, second, videos):
    if len(set(videos)) < 2:
        return {"interval": None, "permutation_p_value": None}
    interval = significance.paired_interval(labels, first, second, videos)
    return {
        "interval": [interval.low, interval.high],
        "permutation_p_value": significance.permutation_test(
            labels, first, second, videos
        ),
    }


def _row(target, comparison):
    found = comparison[target]
    low, high = _ends(found)
    of_runs = {run: _ends(found[run]) for run in RUNS}
    return {
        "target": target,
        "utterances": comparison["utterances"],
        "videos": comparison["videos"],
        **{f"{run}_ccc": found[run]["ccc"] for run in RUNS},
        **{
            f"{run}_{name}": end
            for run, ends in of_runs.items()
            for name, end in zip(("low", "high"), ends, strict=True)
        },
        **{
            f"{run}_{name}": found[run].get(name)
            for name in ("pearson", "pearson_p_value", "mse")
            for run in RUNS
        },
        "difference": found["difference"],
        "low": low,
        "high": high,
        "permutation_p_value": found["permutation_p_value"],
    }


def _ends(found):
    return found["interval"] or (None, None)


def _sentence(target, found):
    scores = " against ".join(wording.number(found[run]["ccc"]) for run in RUNS)
    difference = f"the difference of {wording.number(found['difference'])}"
    if found["interval"] is None:
        return (
            f"{target}: {scores}; {difference} can't be told from sampling "
            "noise: all utterances are of one video"
        )
    interval = wording.interval(found["interval"])
    p_value = found["permutation_p_value"]
    if p_value < SIGNIFICANT:
        verdict = "is more than sampling noise"
    else:
        verdict = "is within sampling noise"
    return (
        f"{target}: {scores}; {difference} ({significance.LEVEL:.0%} interval "
        f"{interval}, permutation p = {_p_value(p_value)}) {verdict}"
    )


def _p_value(value):
    """Rounds to two digits, or as many as keep it on its side of 0.05."""
    for digits in (2, 3, 4):
        text = f"{value:.{digits}g}"
        if (float(text) < SIGNIFICANT) == (value < SIGNIFICANT):
            return text
    return repr(value)


def table(comparison: dict) -> list[str]:
    """Returns a comparison as lines for a console."""
    level = f"{significance.LEVEL:.0%} interval"
    lines = [
        f"{'':<16}{'CCC':>8}{level:>18}{'Pearson':>10}{'p of Pearson':>14}"
        f"{'MSE':>9}"
    ]
    constant = []
    for name in _names(comparison):
        for run in RUNS:
            scores = comparison[name][run]
            line = (
                f"{name:<8} {run:<7}{wording.number(scores['ccc']):>8}"
                f"{wording.interval(scores['interval']):>18}"
            )
            if name != protocol.MEAN:
                p_value = wording.p_value(scores["pearson_p_value"])
                line += (
                    f"{wording.number(scores['pearson']):>10}"
                    f"{p_value:>14}"
                    f"{wording.number(scores['mse']):>9}"
                )
            lines.append(line)
            if "constant" in scores:
                constant.append(
                    f"{name} of the {run}: {scores['constant']} do not "
                    "vary, so CCC is 0 by definition"
                )
    split = comparison["split"]
    return [
        *lines,
        *constant,
        f"{comparison['utterances']} labelled utterances of "
        f"{comparison['videos']} videos{f' of {split}' if split else ''}",
        *comparison["summary"],
    ]
