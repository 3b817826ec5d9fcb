"""Tabulation: the paper's tables, measured beside published.

Runs lie at `<runs>/<row's folder>/seed_<n>/test`, results folders each, see
`published.tables.Row.folder` and `evaluation.results`.
`experiments.reproduction` puts them there, and a `status.json` into the folder
of a row that it could not run. A table needs nothing else.
"""

import dataclasses
import json
import pathlib
import textwrap

import pandas as pd
from absl import logging

from affwild_omg import figures
from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import results
from affwild_omg.experiments.measuring import (
    MEAN,
    MEASURED,
    OTHERS,
    Tabulated,
    tabulate,
)
from affwild_omg.experiments.options import TableOptions
from affwild_omg.experiments.runs import NOT_RUN, SEED
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files

ENDINGS = ("csv", "json", "md", "png")


def names(number: int) -> list[str]:
    """Returns the files of a table."""
    return [f"table_{number}.{ending}" for ending in ENDINGS]


def make(options: TableOptions, *, overwrite: bool = False) -> Tabulated:
    """Measures the rows of a table and writes its files.

    Raises:
        UserError: the output cannot be used, or a results folder below the
            runs cannot be read.
    """
    owned = names(options.table)
    # Other tables may stand in the folder: they are no reason to refuse.
    there = [x for x in owned if pathlib.Path(options.output, x).exists()]
    if there and not overwrite:
        raise UserError(
            f"--output={options.output} holds {there[0]}; name another folder "
            "or give --overwrite to replace it"
        )
    with files.atomic_directory(
        options.output, flag="--output", overwrite=True, owned=owned
    ) as directory:
        tabulated = tabulate(options.table, options.runs)
        if all(row.state in (NOT_RUN, OTHERS) for row in tabulated.rows):
            logging.warning(
                "--runs=%s holds no run of table %d; it should hold folders "
                "like %s/%s",
                options.runs,
                options.table,
                next(row.folder for row in tabulated.rows if row.folder),
                SEED.format(0),
            )
        _write(directory, tabulated)
    return tabulated


def _write(directory, tabulated):
    table = tabulated.table
    csv_path, json_path, markdown_path, picture = (
        directory / name for name in names(table.number)
    )
    rows = [dataclasses.asdict(row) for row in tabulated.rows]
    flat = pd.json_normalize(list(map(_flat, rows)), sep="_")
    flat.round(results.DECIMALS).to_csv(csv_path, index=False)
    content = {
        "table": table.number,
        "title": table.title,
        "source": table.source,
        "metric": table.metric,
        "rows": rows,
        "notes": tabulated.notes,
    }
    json_path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    markdown = "\n".join(_markdown(tabulated)) + "\n"
    markdown_path.write_text(markdown, encoding="utf-8")
    figures.published_against_measured(
        picture,
        rows,
        TARGETS,
        title=f"Table {table.number}: {table.title}",
        metric=table.metric.upper(),
        note=next((n for n in tabulated.notes if "not comparable" in n), ""),
    )


def _flat(row):
    return {
        name: "; ".join(map(str, value))
        if isinstance(value, list | tuple)
        else value
        for name, value in row.items()
    }


def lines(tabulated: Tabulated) -> list[str]:
    """Returns a table as lines for a console, of at most 120 columns."""
    table, shared = tabulated.table, tabulated.shared_differences
    header, rows = _cells(tabulated, label_width=30)
    head = (
        f"Table {table.number}: {table.title}, {table.metric.upper()} on test"
    )
    found = Table(header, rows, caption=head).lines()
    if any(cell.endswith("*") for row in rows for cell in row):
        found.append("* the published value lies in the interval")
    found.append("")
    for note in [
        *tabulated.notes,
        *_states(tabulated),
        *(
            f"{row.name}: {'; '.join(own)}."
            for row in tabulated.rows
            if (own := [x for x in row.differences if x not in shared])
        ),
    ]:
        found += textwrap.wrap(
            f"- {note}", 100, subsequent_indent="  ", break_on_hyphens=False
        )
    return found


def _markdown(tabulated):
    """Yields the lines of a Markdown document."""
    table = tabulated.table
    yield f"# Table {table.number}: {table.title}"
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
        cells += _scores(row.measured, ccc)
        if ccc:
            cells.append(_pair(row.p_value or {}, TARGETS, wording.p_value))
        if details or not ccc:
            cells.append(_joined(row.utterances))
        if details:
            cells += _details(row, tabulated.shared_differences)
        if row.published_unprocessed:
            published = _published(row.published_unprocessed, table)
            scores = _scores(row.unprocessed, ccc)
            rows.append(["  without post-processing", published, *scores])
    return header, rows


def _published(scores, table):
    return _pair(scores, table.columns, wording.number)


def _pair(values, names, form):
    return " ".join(form(values[name]) for name in names if name in values)


def _scores(measured, ccc):
    """Returns the cells of valence and arousal, and of CCC their mean."""
    cells = []
    for name in TARGETS:
        score = measured and measured[name]
        cells.append(wording.number(score and score.value))
        if score and score.low is not None:
            ends = (wording.number(x, 2) for x in (score.low, score.high))
            cells[-1] += f" [{', '.join(ends)}]"
            cells[-1] += "*" if score.holds_published else ""
    if ccc:
        mean = measured and measured[MEAN]
        cells.append(wording.number(mean and mean.value))
    return cells


def _details(row, shared):
    yield " ".join("-" if x is None else f"{x:.1%}" for x in row.coverage)
    yield " ".join(corpus or "unknown" for corpus in row.corpus)
    ranges = [
        f"{name} {wording.interval((score.min, score.max))}"
        for name, score in row.measured.items()
        if score and score.min is not None
    ]
    yield ": ".join(filter(None, (_joined(row.seeds), ", ".join(ranges))))
    yield "; ".join(x for x in row.differences if x not in shared)


def _joined(values):
    return " ".join("-" if x is None else f"{x:.6g}" for x in values)
