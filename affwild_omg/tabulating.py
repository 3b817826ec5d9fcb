"""Tabulating: the paper's tables, what was measured beside what was published.

Runs lie at `<runs>/<row's folder>/seed_<n>/test`, results folders each, see
`affwild_omg.experiments.Row.folder` and `affwild_omg.results`; `reproducing`
puts them there, and a `status.json` into the folder of a row that it could not
run. Nothing else is needed to lay a table out.
"""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from affwild_omg import (
    architectures,
    drawing,
    experiments,
    outputs,
    results,
)
from affwild_omg.architectures import TARGETS, Fusion
from affwild_omg.errors import UserError
from affwild_omg.scoring import concordance, significance
from affwild_omg.scoring.frames import video_of

SEED = "seed_{}"
TEST = "test"
WORKDIR = "workdir"
STATUS = "status.json"
MEASURED = "measured"
NOT_RUN = "not run"
OTHERS = "other system"
COLUMNS = (*TARGETS, "mean")
ENDINGS = ("csv", "json", "md", "png")
CORPUS = "omg"  # the one that the paper's numbers are of
TOLERANCE = 1e-6  # of two runs' labels of one utterance
_NOISE = (
    "A CCC that differs from a published one by less than its interval does so "
    "within sampling noise (with OMG's 2,229 test utterances, by less than "
    "about 0.03); whether two rows differ, p says."
)
# Of train.py, what section 6.1 fixes; the strategies vary the rest.
_FIXED = ("sequence_length", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a table is made of; flags of affwild_omg.reporting.

    Attributes:
        table: its number in the paper, 3 to 8.
        runs: folder of the runs.
        output: folder for the table's files.
    """

    table: int
    runs: str
    output: str

    def __post_init__(self):
        if self.table not in experiments.TABLES:
            raise UserError(
                f"--table must be one of "
                f"{', '.join(map(str, experiments.TABLES))}, not {self.table}"
            )
        if not pathlib.Path(self.runs).is_dir():
            raise UserError(
                f"--runs={self.runs} is no folder; give one that python -m "
                "affwild_omg.reproduce wrote"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tabulated:
    """A table of the paper with what was measured.

    Attributes:
        table: as the paper has it.
        rows: one a row of the paper, in its order; "state" is "measured", or
            says why there is nothing. For all keys see `tabulate`.
        notes: what is to be known when reading it, a sentence each.
    """

    table: experiments.Table
    rows: list[dict]
    notes: list[str]


def names(number: int) -> list[str]:
    """Returns the files of a table."""
    return [f"table_{number}.{ending}" for ending in ENDINGS]


def make(options: Options, *, overwrite: bool = False) -> Tabulated:
    """Lays out a table and writes its files.

    Raises:
        UserError: the output can't be used, or a results folder below the runs
            can't be read.
    """
    files = names(options.table)
    # Other tables may stand in the folder: they are no reason to refuse.
    there = [n for n in files if pathlib.Path(options.output, n).exists()]
    if there and not overwrite:
        raise UserError(
            f"--output={options.output} holds {there[0]}; name another folder "
            "or give --overwrite to replace it"
        )
    with outputs.whole_directory(
        options.output, flag="--output", overwrite=True, owned=files
    ) as directory:
        tabulated = tabulate(options.table, options.runs)
        write(directory, tabulated)
    return tabulated


def tabulate(number: int, runs: os.PathLike | str) -> Tabulated:
    """Lays measured rows beside the published ones.

    A row that was not run with its pre-training takes the place of one that
    was, where that is missing: runs in the folder of
    `experiments.without_pretraining`. Table 4, which compares the two, is the
    exception.

    Args:
        number: of the table.
        runs: folder of the runs.

    Returns:
        Each row a dict of:
        "key", "label", "heading", "state", "folder" (None for other systems);
        "published" and, in table 3, "published_unprocessed": {"valence",
        "arousal", "mean"}; and of rows that were measured
        "measured": {"valence", "arousal", "mean": {"value": mean over the
        seeds, "low" and "high": mean of the seeds' interval bounds, "min" and
        "max" over the seeds, where more than one; "holds_published"}}, None
        where there is nothing, also for the interval of the mean and of an
        MSE; "unprocessed": likewise without post-processing, or None;
        "seeds", "corpus", "coverage", "utterances" (of a region those whose
        labels lie there), a list where seeds differ; "differences" from the
        paper's row; and "p_value": {"valence", "arousal"}, "compared_with":
        the key of the best row, where a test could be made.

    Raises:
        UserError: a results folder can't be read.
    """
    table = experiments.TABLES[number]
    read = functools.cache(functools.partial(results.read, flag="--runs"))
    rows = []
    for row in table.rows:
        entry = {
            "key": row.key,
            "label": row.label,
            "heading": row.heading,
            "folder": row.folder,
            "state": OTHERS,
            "published": _triple(row.published),
        }
        if row.unprocessed:
            entry["published_unprocessed"] = _triple(row.unprocessed)
        if row.folder:
            entry |= _measure(table, row, pathlib.Path(runs), read)
        rows.append(entry)
    if table.metric == "ccc":
        _compare(rows, pathlib.Path(runs), read)
    return Tabulated(table=table, rows=rows, notes=_notes(table, rows))


def _triple(scores):
    return {name: getattr(scores, name) for name in COLUMNS}


def _measure(table, row, runs, read):
    """Returns what was measured of a row, or why there is nothing."""
    candidates = [row]
    if table.number != 4:  # which has the others as rows of their own
        candidates.append(experiments.without_pretraining(row))
    for candidate in candidates:
        seeds = find_seeds(runs / candidate.folder)
        if seeds:
            break
    else:
        return {"state": _newest_state(runs, candidates)}
    found = [
        read(runs / candidate.folder / SEED.format(seed) / TEST)
        for seed in seeds
    ]
    all_metrics = [one.metrics for one in found]
    differences = []
    if candidate.pretraining != row.pretraining:
        differences.append("not pre-trained")
    differences += _differences(candidate, runs, seeds, read)
    state = _read_state(runs / candidate.folder)
    if state.startswith("failed"):
        differences.append(state)
    entry = {
        "folder": candidate.folder,
        "state": MEASURED,
        "seeds": seeds,
        "corpus": _alike(m.get("corpus") for m in all_metrics),
        "coverage": _alike(m.get("coverage") for m in all_metrics),
        "differences": list(dict.fromkeys(differences)),
    }
    if isinstance(row, experiments.Region):
        errors = [_region_errors(row, one) for one in found]
        return entry | {
            "utterances": _alike(error["utterances"] for error in errors),
            "measured": {
                name: _over_seeds([error[name] for error in errors])
                for name in COLUMNS
            },
            "unprocessed": None,
        }
    comparable = entry["corpus"] == CORPUS
    before = [m.get("unprocessed") for m in all_metrics]
    return entry | {
        "utterances": _alike(m["utterances"] for m in all_metrics),
        "measured": _scores(all_metrics, row.published if comparable else None),
        "unprocessed": _scores(before, None) if all(before) else None,
    }


def find_seeds(folder: pathlib.Path) -> list[int]:
    """Returns the seeds of a row's folder that have results of test."""
    seeds = []
    for path in folder.glob("seed_*"):
        match = re.fullmatch(r"seed_(\d+)", path.name)
        if match and (path / TEST / results.METRICS).is_file():
            seeds.append(int(match[1]))
    return sorted(seeds)


def write_state(folder: pathlib.Path, state: str) -> None:
    """Says in a row's folder why there is nothing, or not all."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs.write_text(folder / STATUS, json.dumps({"state": state}) + "\n")


def _read_state(folder):
    try:
        content = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        return str(content["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return NOT_RUN


def _newest_state(runs, candidates):
    files = [runs / row.folder / STATUS for row in candidates]
    files = [file for file in files if file.is_file()]
    if not files:
        return NOT_RUN
    return _read_state(max(files, key=lambda file: file.stat().st_mtime).parent)


def _alike(values: Iterable):
    """Returns the value that all share, else the list of them."""
    values = list(values)
    if all(value == values[0] for value in values):
        return values[0]
    return values


def _scores(all_metrics, published):
    """Returns CCC of the targets and their mean, over the seeds."""
    scores = {}
    for name in TARGETS:
        scores[name] = _over_seeds(
            [m.get(name, {}).get("ccc") for m in all_metrics],
            [m.get("intervals", {}).get(name) for m in all_metrics],
            published and getattr(published, name),
        )
    scores["mean"] = _over_seeds(
        [
            m.get("mean_ccc") if all(name in m for name in TARGETS) else None
            for m in all_metrics
        ]
    )
    return scores


def _over_seeds(values, intervals=(), published=None):
    if None in values:
        return None
    low = high = holds = None
    if intervals and None not in intervals:
        low, high = (float(x) for x in np.mean(intervals, axis=0))
        if published is not None:
            holds = bool(low <= published <= high)
    several = len(values) > 1
    return {
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "min": min(values) if several else None,
        "max": max(values) if several else None,
        "holds_published": holds,
    }


def _region_errors(region, found):
    """Returns the MSE of the utterances whose labels lie in a region."""
    labels, predictions = found.labels, found.predictions
    errors = dict.fromkeys(COLUMNS) | {"utterances": 0}
    if found.targets != TARGETS:
        return errors
    known = np.isfinite(labels).all(axis=1)
    # A comparison with NaN is False, but warns: keep them out.
    inside = known.copy()
    inside[known] = region.contains(*labels[known].T)
    errors["utterances"] = int(inside.sum())
    if inside.any():
        for column, name in enumerate(TARGETS):
            errors[name] = concordance.mean_squared_error(
                labels[inside, column], predictions[inside, column]
            )
        errors["mean"] = float(np.mean([errors[name] for name in TARGETS]))
    return errors


def _differences(row, runs, seeds, read):
    """Returns how what was run differs from the row of the paper."""
    differences = []
    if row.members:
        for run in row.members:
            member = experiments.find_run(run)
            common = set(find_seeds(runs / run)) & set(seeds)
            differences += _differences(member, runs, sorted(common), read)
        return differences
    expected = architectures.named(row.network, **row.overrides)
    for seed in seeds:
        place = runs / row.folder / SEED.format(seed)
        metrics = read(place / TEST).metrics
        if metrics.get("network"):
            network = architectures.from_dict(metrics["network"])
            differences += _network_differences(network, expected)
        else:
            differences.append("network not recorded")
        differences += _training_differences(metrics, place, row)
        if metrics.get("split", TEST) != TEST:
            differences.append(f"scored on {metrics['split']}")
        if metrics.get("level", "utterance") != "utterance":
            differences.append(f"scored by {metrics['level']}")
        if metrics.get("pooling", "pooled") != "pooled":
            differences.append("mean of the videos' CCCs")
        if not metrics.get("postprocessing"):
            differences.append("no post-processing")
    return differences


def _network_differences(network, expected):
    if type(network) is not type(expected):
        return ["another kind of network"]
    if not isinstance(network, Fusion):
        return [
            f"{field.name} {_shown(here)}, not {_shown(there)}"
            for field in dataclasses.fields(network)
            for here, there in [
                (getattr(network, field.name), getattr(expected, field.name))
            ]
            if here != there
        ]
    differences = [
        f"{name} {getattr(network, name)}, not {getattr(expected, name)}"
        for name in ("by", "fusion_units", "gru")
        if getattr(network, name) != getattr(expected, name)
    ]
    if len(network.members) != len(expected.members):
        return [*differences, f"{len(network.members)} members"]
    for pair in zip(network.members, expected.members, strict=True):
        differences += _network_differences(*pair)
    return differences


def _training_differences(metrics, place, row):
    """Compares what the paper says of training with how it was done."""
    flags = _read_flags(place / WORKDIR / "flags.cfg")
    flags.setdefault("sequence_length", str(metrics.get("sequence_length")))
    wanted = experiments.to_flags(row)
    differences = [
        f"{name} {flags[name]}, not {wanted[name]}"
        for name in _FIXED
        if name in flags and flags[name] != str(wanted[name])
    ]
    strategies = experiments.STRATEGIES.values()
    if not {"train", "learning_rate"} <= set(flags):
        return differences
    rate = float(flags["learning_rate"])
    if not any(
        flags["train"] == strategy["train"]
        and rate == strategy["learning_rate"]
        for strategy in strategies
    ):
        differences.append(
            f"learning_rate {flags['learning_rate']} with train="
            f"{flags['train']}"
        )
    if flags.get("shuffle_labels") == "true":
        differences.append("labels shuffled: a control")
    return differences


def _read_flags(path):
    """Returns {name: text} of a flagfile, {} where there is none."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(
        line.removeprefix("--").split("=", 1) for line in lines if "=" in line
    )


def _shown(value):
    return "+".join(value) if isinstance(value, tuple) else str(value)


def _compare(rows, runs, read):
    """Tests each row against the best; adds to the rows what comes of it."""
    measured = [row for row in rows if _mean(row) is not None]
    if not measured:
        return
    best = max(measured, key=_mean)
    for row in measured:
        common = sorted(set(row["seeds"]) & set(best["seeds"]))
        if row["folder"] == best["folder"] or not common:
            continue
        pair = [
            read(runs / one["folder"] / SEED.format(common[0]) / TEST)
            for one in (row, best)
        ]
        p_values = _p_values(*pair)
        if p_values:
            row |= {"p_value": p_values, "compared_with": best["key"]}


def _mean(row):
    measured = row.get("measured")
    return measured and measured["mean"] and measured["mean"]["value"]


def _p_values(first, second):
    """Tests two runs on the same utterances; None where they have others."""
    ours, theirs = _labelled(first), _labelled(second)
    keys = list(ours)
    if ours.keys() != theirs.keys() or len(set(map(video_of, keys))) < 2:
        return None
    labels, predictions = (
        np.array([ours[key][part] for key in keys]) for part in (0, 1)
    )
    other_labels, other_predictions = (
        np.array([theirs[key][part] for key in keys]) for part in (0, 1)
    )
    if np.abs(labels - other_labels).max() > TOLERANCE:
        return None
    return {
        name: significance.permutation_test(
            labels[:, column],
            predictions[:, column],
            other_predictions[:, column],
            [video_of(key) for key in keys],
        )
        for column, name in enumerate(TARGETS)
    }


def _labelled(found):
    """Returns {key: (labels, predictions)} of the utterances with labels."""
    known = np.isfinite(found.labels).all(axis=1)
    return {
        key: (label, prediction)
        for key, label, prediction, usable in zip(
            found.keys, found.labels, found.predictions, known, strict=True
        )
        if usable
    }


def _notes(table, rows):
    measured = [row for row in rows if row["state"] == MEASURED]
    notes = []
    for corpus in _corpora(measured):
        if corpus != CORPUS:
            notes.append(
                f"{corpus or 'unknown'} corpus: not comparable with the "
                "published numbers."
            )
    for row in measured:
        if row["coverage"] not in (None, 1) and row["corpus"] == CORPUS:
            notes.append(
                "Not all of the corpus' test split was there: see coverage."
            )
            break
    shared = shared_differences(rows)
    if shared:
        notes.append(f"Every measured row: {'; '.join(shared)}.")
    if measured and table.metric == "mse":
        notes.append(
            "Labels decide which utterances a region has; the paper doesn't "
            "say whether they or the predictions do."
        )
    elif measured:
        tested = [row for row in measured if "p_value" in row]
        if tested:
            best = {row["key"]: row for row in rows}[tested[0]["compared_with"]]
            notes.append(
                "p, of valence and of arousal: permutation test against the "
                f"best measured row ({_name(best)}), whole videos swapped, "
                "first common seed."
            )
        notes.append(_NOISE)
    return notes


def _corpora(rows):
    """Returns the corpora of some rows, each once."""
    found = {}
    for row in rows:
        corpus = row["corpus"]
        found |= dict.fromkeys(corpus if isinstance(corpus, list) else [corpus])
    return list(found)


def shared_differences(rows: Sequence[Mapping]) -> list[str]:
    """Returns in what all measured rows differ alike from the paper's."""
    lists = [row["differences"] for row in rows if row["state"] == MEASURED]
    if not lists:
        return []
    return [text for text in lists[0] if all(text in one for one in lists)]


def _name(row):
    return ", ".join(filter(None, (row["label"], row["heading"])))


def write(directory: pathlib.Path, tabulated: Tabulated) -> None:
    """Writes a table as CSV, JSON, Markdown and a picture.

    Args:
        directory: where the files go, `names` in it.
        tabulated: the table.
    """
    number = tabulated.table.number
    csv_path, json_path, markdown_path, picture = (
        directory / name for name in names(number)
    )
    content = {
        "table": number,
        "title": tabulated.table.title,
        "source": tabulated.table.source,
        "metric": tabulated.table.metric,
        "rows": tabulated.rows,
        "notes": tabulated.notes,
    }
    json_path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _write_csv(csv_path, tabulated.rows)
    markdown_path.write_text(
        "\n".join(_markdown(tabulated)) + "\n", encoding="utf-8"
    )
    drawing.published_against_measured(
        picture,
        tabulated.rows,
        TARGETS,
        title=f"Table {number}: {tabulated.table.title}",
        metric=tabulated.table.metric.upper(),
        note=next((n for n in tabulated.notes if "not comparable" in n), ""),
    )


def _write_csv(path, rows):
    records = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for one in records for name in one))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def _flat(row):
    """Returns a row as the cells of a CSV table."""
    flat = {
        "key": row["key"],
        "label": row["label"],
        "heading": row["heading"],
        "state": row["state"],
        "corpus": _joined(row.get("corpus")),
        "coverage": _joined(row.get("coverage")),
        "utterances": _joined(row.get("utterances")),
        "seeds": _joined(row.get("seeds")),
    }
    for name in COLUMNS:
        flat[f"{name}_published"] = row["published"][name]
        measured = (row.get("measured") or {}).get(name) or {}
        for part in ("value", "low", "high", "min", "max"):
            if name == "mean" and part in ("low", "high"):
                continue
            column = "measured" if part == "value" else part
            flat[f"{name}_{column}"] = _rounded(measured.get(part))
        if name != "mean":
            holds = measured.get("holds_published")
            flat[f"{name}_interval_holds_published"] = _yes(holds)
            p_value = row.get("p_value", {}).get(name)
            flat[f"{name}_p_value"] = _rounded(p_value)
        before = (row.get("unprocessed") or {}).get(name) or {}
        if "published_unprocessed" in row:
            published = row["published_unprocessed"][name]
            flat[f"{name}_unprocessed_published"] = published
        flat[f"{name}_unprocessed_measured"] = _rounded(before.get("value"))
    flat["compared_with"] = row.get("compared_with", "")
    flat["differences"] = "; ".join(row.get("differences", ()))
    return flat


def _joined(value):
    if isinstance(value, list):
        return " ".join(map(_joined, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _rounded(value):
    return "" if value is None else round(value, results.DECIMALS)


def _yes(truth):
    return "" if truth is None else "yes" if truth else "no"


def _markdown(tabulated):
    """Yields the lines of a Markdown document."""
    table, rows = tabulated.table, tabulated.rows
    metric = table.metric.upper()
    shared = shared_differences(rows)
    yield f"# Table {table.number}: {table.title}"
    yield ""
    yield (
        f"{metric} on the test split, published (Kollias & Zafeiriou, 2020, "
        f"{table.source}) and measured."
        + (" Without post-processing in round brackets." * (table.number == 3))
        + (" The 95 % interval in square brackets." * (metric == "CCC"))
    )
    yield ""
    header = [
        "row",
        *(f"published {name}" for name in table.columns),
        *(f"measured {name}" for name in table.columns),
    ]
    if metric == "CCC":
        header += ["published in interval", "p"]
    header += ["utterances", "coverage", "seeds", "corpus", "differs in"]
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(_markdown_cells(row, table, shared))} |"
    yield ""
    for note in tabulated.notes:
        yield f"- {note}"


def _markdown_cells(row, table, shared):
    yield _name(row).replace("|", "\\|")
    for name in table.columns:
        text = _number(row["published"][name])
        if "published_unprocessed" in row:
            text += f" ({_number(row['published_unprocessed'][name])})"
        yield text
    if row["state"] != MEASURED:
        yield row["state"].replace("|", "\\|")
        yield from [""] * (len(table.columns) + 4 + 2 * (table.metric == "ccc"))
        return
    for name in table.columns:
        text = _with_interval(row["measured"][name])
        if table.number == 3:
            before = (row["unprocessed"] or {}).get(name) or {}
            text += f" ({_number(before.get('value'))})"
        yield text
    if table.metric == "ccc":
        yield ", ".join(
            _yes((row["measured"][name] or {}).get("holds_published")) or "-"
            for name in TARGETS
        )
        yield ", ".join(_p(row, name) for name in TARGETS)
    yield _joined(row["utterances"])
    yield _coverage(row)
    yield _joined(row["seeds"])
    yield _joined(row["corpus"]) or "unknown"
    own = [text for text in row["differences"] if text not in shared]
    yield "; ".join(own).replace("|", "\\|")


def _coverage(row):
    values = row["coverage"]
    values = values if isinstance(values, list) else [values]
    return " ".join("-" if x is None else f"{x:.1%}" for x in values)


def _number(value):
    return "-" if value is None else f"{value:.3f}"


def _p(row, name):
    p_value = row.get("p_value", {}).get(name)
    return "-" if p_value is None else f"{p_value:.2g}"


def _with_interval(score):
    """Returns "0.472 [0.440, 0.500] (0.460 to 0.480)", the last of seeds."""
    if score is None:
        return "-"
    text = _number(score["value"])
    if score["low"] is not None:
        text += f" [{_number(score['low'])}, {_number(score['high'])}]"
    if score["min"] is not None:
        text += f", seeds {_number(score['min'])} to {_number(score['max'])}"
    return text


def lines(tabulated: Tabulated) -> list[str]:
    """Returns a table as lines for a console, of at most 120 columns."""
    table, rows = tabulated.table, tabulated.rows
    ccc = table.metric == "ccc"
    blocks = [_console_name(row, rows) for row in rows]
    width = max(len(name) for _, name in blocks) + 2
    cell = 22 if ccc else 9
    count = len(table.columns)
    header = (
        f"{'':<{width}}"
        + "".join(f"{name:>8}" for name in table.columns)
        + "   "
        + "".join(f"{name:<{cell}}" for name in TARGETS)
        + (f"{'mean':<7}" if ccc else "")
        + ("p" if ccc else "utterances")
    )
    above = f"{'':<{width}}{'published':>{8 * count}}   measured"
    head = (
        f"Table {table.number}: {table.title}, {table.metric.upper()} on test"
    )
    found = [head, "", above.rstrip(), header.rstrip()]
    previous = None
    for row, (block, name) in zip(rows, blocks, strict=True):
        if block and block != previous:
            found.append(block)
        previous = block
        line = f"{name:<{width}}" + "".join(
            f"{_number(row['published'][column]):>8}"
            for column in table.columns
        )
        if row["state"] != MEASURED:
            text = f"{line}   {row['state']}"
            found.append(text if len(text) <= 120 else f"{text[:117]}...")
            continue
        measured = row["measured"]
        line += "   " + "".join(
            f"{_console_score(measured[target]):<{cell}}" for target in TARGETS
        )
        if ccc:
            line += f"{_number((measured['mean'] or {}).get('value')):<7}"
            line += ", ".join(_p(row, target) for target in TARGETS)
        else:
            line += _joined(row["utterances"])
        found.append(line.rstrip())
    if any(
        (score or {}).get("holds_published")
        for row in rows
        for score in (row.get("measured") or {}).values()
    ):
        found.append("* the published value lies in the interval")
    found.append("")
    shared = shared_differences(rows)
    own = [
        f"{_name(row)}: {'; '.join(differences)}."
        for row in rows
        for differences in [
            [x for x in row.get("differences", ()) if x not in shared]
        ]
        if differences
    ]
    for note in [*tabulated.notes, *own]:
        found += textwrap.wrap(
            f"- {note}", 100, subsequent_indent="  ", break_on_hyphens=False
        )
    return found


def _console_name(row, rows):
    """Returns the line above a row, "" for none, and the row's name."""
    if row["heading"]:
        return row["label"], f"  {row['heading']}"
    name = row["label"]
    return "", name if len(name) <= 34 else f"{name[:33]}…"


def _console_score(score):
    if score is None:
        return "-"
    text = _number(score["value"])
    if score["low"] is not None:
        text += f" {score['low']:.2f} to {score['high']:.2f}"
        text += "*" if score["holds_published"] else ""
    return text
