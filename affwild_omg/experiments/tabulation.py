"""Tabulation: the paper's tables, measured beside published.

Of the runs, see `experiments.runs`, a table needs the results of test alone.
"""

import dataclasses
import textwrap

import pandas as pd
from absl import logging

from affwild_omg import figures
from affwild_omg.cli import wording
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import results
from affwild_omg.experiments.measuring import (
    CORPUS,
    MEAN,
    MEASURED,
    OTHERS,
    Tabulated,
    tabulate,
)
from affwild_omg.experiments.options import TableOptions
from affwild_omg.experiments.runs import NOT_RUN
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files

ENDINGS = ("csv", "json", "md", "png")


def make(options: TableOptions, *, overwrite: bool = False) -> Tabulated:
    """Measures the rows of a table and writes its files.

    Raises:
        UserError: the output cannot be used, or a results folder below the
            runs cannot be read.
    """
    owned = [f"table_{options.table}.{ending}" for ending in ENDINGS]
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=owned
    ) as directory:
        tabulated = tabulate(options.table, options.runs)
        if all(row.state in (NOT_RUN, OTHERS) for row in tabulated.rows):
            logging.warning(
                "--runs=%s holds no run of --table=%s; it should hold folders "
                "like %s/seed_0",
                options.runs,
                options.table,
                next(row.folder for row in tabulated.rows if row.folder),
            )
        _write(tabulated, *(directory / name for name in owned))
    return tabulated


def _write(tabulated, csv, json, markdown, picture):
    table = tabulated.table
    rows = [dataclasses.asdict(row) for row in tabulated.rows]
    content = {"table": table.name, "title": table.title}
    content |= {"source": table.source, "metric": table.metric}
    files.write_json(json, content | {"rows": rows, "notes": tabulated.notes})
    markdown.write_text("\n".join(_markdown(tabulated)) + "\n", "utf-8")
    figures.published_against_measured(
        picture,
        rows,
        TARGETS,
        title=table.heading,
        metric=table.metric.upper(),
        note=next((n for n in tabulated.notes if "not comparable" in n), ""),
    )
    for row in rows:
        for name, value in row.items():
            if isinstance(value, list | tuple):
                row[name] = "; ".join(map(str, value))
    flat = pd.json_normalize(rows, sep="_").round(results.DECIMALS)
    flat.to_csv(csv, index=False)


def lines(tabulated: Tabulated, output: str) -> list[str]:
    """Returns a table as lines for a console, of at most 120 columns.

    Args:
        tabulated: the table.
        output: the folder that its files are in.
    """
    table, shared = tabulated.table, tabulated.shared_differences
    header, rows = _cells(tabulated, label_width=30)
    caption = f"{table.heading}, {table.metric.upper()} on test"
    found = Table(header, rows, caption=caption).lines()
    if any(cell.endswith("*") for row in rows for cell in row):
        found.append("* the published value lies in the interval")
    found.append("")
    notes = [*tabulated.notes, *_states(tabulated)]
    for row in tabulated.rows:
        if own := [x for x in row.differences if x not in shared]:
            notes.append(f"{row.name}: {'; '.join(own)}.")
    for note in notes:
        found += textwrap.wrap(
            f"- {note}", 100, subsequent_indent="  ", break_on_hyphens=False
        )
    made = f"{output}/table_{table.name}.csv, .json, .md and .png"
    return [*found, "", f"table in {made}"]


def _markdown(tabulated):
    """Yields the lines of a Markdown document."""
    table = tabulated.table
    yield f"# {table.heading}"
    yield ""
    yield (
        f"{table.metric.upper()} on the test split, published (Kollias & "
        f"Zafeiriou, 2020, {table.source}: {', '.join(table.columns)}) and "
        "measured, with the 95 % interval in square brackets; * if the "
        "published value lies in it."
    )
    yield ""
    header, rows = _cells(tabulated, details=True)
    yield from Table(header, rows).markdown()
    yield ""
    for note in [*tabulated.notes, *_states(tabulated)]:
        yield f"- {note}"


def _states(tabulated):
    """Yields what is more to say of rows without results than a cell holds."""
    for state in dict.fromkeys(row.state for row in tabulated.rows):
        if ":" in state:
            rows = [row.name for row in tabulated.rows if row.state == state]
            yield f"{state}: {', '.join(rows)}."


def _cells(tabulated, *, details=False, label_width=None):
    """Returns the header and the rows of a table.

    Args:
        tabulated: the table.
        details: whether with what is behind the scores: coverage and others.
        label_width: characters after which a label is cut; None for never.
    """
    table, ccc = tabulated.table, tabulated.table.metric == "ccc"
    header = ["", "published", *TARGETS, *(["mean", "p"] if ccc else [])]
    if details or not ccc:
        header.append("utterances")
    if details:
        header += ["coverage", "corpus", "seeds", "differs in"]
    rows, above = [], None
    for row in tabulated.rows:
        label = row.label
        if label_width and len(label) > label_width:
            label = f"{label[: label_width - 1]}…"
        if row.heading:
            if label != above:
                rows.append([above := label])
            label = f"  {row.heading}"
        cells = [label, _published(row.published, table)]
        rows.append(cells)
        if row.state != MEASURED:
            cells.append(row.state.partition(":")[0])
            continue
        cells += _scores(row, row.measured, row.published)
        if ccc:
            p_values = [(row.p_value or {}).get(name) for name in TARGETS]
            cells.append(
                " ".join(wording.p_value(p, none="") for p in p_values)
            )
        if details or not ccc:
            cells.append(" ".join(map(str, row.utterances)))
        if details:
            cells += _details(row, tabulated.shared_differences)
        if row.unprocessed:
            published = row.published_unprocessed
            scores = _scores(row, row.unprocessed, published)
            name = "  without post-processing"
            rows.append([name, _published(published, table), *scores])
    return header, rows


def _published(scores, table):
    if scores is None:
        return "-"
    return " ".join(wording.number(scores[name]) for name in table.columns)


def _scores(row, measured, published):
    """Returns the cells of valence and arousal, and of CCC their mean."""
    cells = []
    for name, score in measured.items():
        cells.append(wording.number(score.value))
        if score.low is not None and name != MEAN:
            ends = (wording.number(x, 2) for x in (score.low, score.high))
            cells[-1] += f" [{', '.join(ends)}]"
            if published and row.corpus == [CORPUS]:
                holds = score.low <= published[name] <= score.high
                cells[-1] += "*" * holds
    return cells


def _details(row, shared):
    yield " ".join("-" if x is None else f"{x:.1%}" for x in row.coverage)
    yield " ".join(corpus or "unknown" for corpus in row.corpus)
    ranges = [
        f"{name} {wording.interval((score.min, score.max))}"
        for name, score in row.measured.items()
        if score.min is not None
    ]
    seeds = " ".join(map(str, row.seeds))
    yield f"{seeds}: {', '.join(ranges)}" if ranges else seeds
    yield "; ".join(x for x in row.differences if x not in shared)
