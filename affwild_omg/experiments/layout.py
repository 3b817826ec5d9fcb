"""A table as CSV, JSON, Markdown, a picture, and lines for a console."""

import json
import pathlib
import textwrap

from affwild_omg import figures
from affwild_omg.cli import wording
from affwild_omg.evaluation import results
from affwild_omg.experiments.measuring import (
    COLUMNS,
    MEASURED,
    Tabulated,
    name_of,
    shared_differences,
)
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files

ENDINGS = ("csv", "json", "md", "png")


def names(number: int) -> list[str]:
    """Returns the files of a table."""
    return [f"table_{number}.{ending}" for ending in ENDINGS]


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
    files.write_csv(csv_path, map(_flat, tabulated.rows))
    markdown_path.write_text(
        "\n".join(_markdown(tabulated)) + "\n", encoding="utf-8"
    )
    figures.published_against_measured(
        picture,
        tabulated.rows,
        TARGETS,
        title=f"Table {number}: {tabulated.table.title}",
        metric=tabulated.table.metric.upper(),
        note=next((n for n in tabulated.notes if "not comparable" in n), ""),
    )


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
            column = "measured" if part == "value" else part
            flat[f"{name}_{column}"] = _rounded(measured.get(part))
        holds = measured.get("holds_published")
        flat[f"{name}_interval_holds_published"] = _yes(holds)
        p_value = row.get("p_value", {}).get(name)
        flat[f"{name}_p_value"] = _rounded(p_value)
        before = (row.get("unprocessed") or {}).get(name) or {}
        if "published_unprocessed" in row:
            published = row["published_unprocessed"][name]
            flat[f"{name}_unprocessed_published"] = published
        for part in ("value", "low", "high"):
            column = "measured" if part == "value" else part
            flat[f"{name}_unprocessed_{column}"] = _rounded(before.get(part))
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
        + " The 95 % interval in square brackets."
    )
    yield ""
    header = [
        "row",
        *(f"published {name}" for name in table.columns),
        *(f"measured {name}" for name in table.columns),
    ]
    names = ", ".join(table.columns)
    header.append(f"published in interval ({names})")
    if metric == "CCC":
        header.append(f"p ({names})")
    header += ["utterances", "coverage", "seeds", "corpus", "differs in"]
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(_markdown_cells(row, table, shared))} |"
    yield ""
    for note in tabulated.notes:
        yield f"- {note}"


def _markdown_cells(row, table, shared):
    yield name_of(row).replace("|", "\\|")
    for name in table.columns:
        text = wording.number(row["published"][name])
        if "published_unprocessed" in row:
            text += f" ({wording.number(row['published_unprocessed'][name])})"
        yield text
    if row["state"] != MEASURED:
        yield row["state"].replace("|", "\\|")
        yield from [""] * (len(table.columns) + 5 + (table.metric == "ccc"))
        return
    for name in table.columns:
        text = _with_interval(row["measured"][name])
        if table.number == 3:
            before = (row["unprocessed"] or {}).get(name) or {}
            text += f" ({_with_interval(before or None)})"
        yield text
    yield ", ".join(
        _yes((row["measured"][name] or {}).get("holds_published")) or "-"
        for name in table.columns
    )
    if table.metric == "ccc":
        yield ", ".join(_p(row, name) for name in table.columns)
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


def _p(row, name):
    return wording.p_value(row.get("p_value", {}).get(name))


def _with_interval(score):
    """Returns "0.472 [0.440, 0.500], seeds 0.460 to 0.480"."""
    if score is None:
        return "-"
    text = wording.number(score["value"])
    if score["low"] is not None:
        ends = score["low"], score["high"]
        text += f" [{', '.join(map(wording.number, ends))}]"
    if score["min"] is not None:
        text += f", seeds {wording.interval((score['min'], score['max']))}"
    return text


def lines(tabulated: Tabulated) -> list[str]:
    """Returns a table as lines for a console, of at most 120 columns."""
    table, rows = tabulated.table, tabulated.rows
    ccc = table.metric == "ccc"
    blocks = [_console_name(row, rows) for row in rows]
    width = max(len(name) for _, name in blocks) + 2
    cell = 23
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
            f"{wording.number(row['published'][column]):>8}"
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
            line += (
                f"{wording.number((measured['mean'] or {}).get('value')):<7}"
            )
            line += ", ".join(_p(row, target) for target in TARGETS)
        else:
            line += _joined(row["utterances"])
        found.append(line.rstrip())
        if table.number == 3:
            found.append(_console_unprocessed(row, table, width, cell))
    if any(
        (score or {}).get("holds_published")
        for row in rows
        for name, score in (row.get("measured") or {}).items()
        if name in TARGETS
    ):
        found.append("* the published value lies in the interval")
    found.append("")
    shared = shared_differences(rows)
    own = [
        f"{name_of(row)}: {'; '.join(differences)}."
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


def _console_unprocessed(row, table, width, cell):
    """Returns the line below a row: the same without post-processing."""
    before = row["unprocessed"] or {}
    line = f"{'  without post-processing':<{width}}" + "".join(
        f"{wording.number(row['published_unprocessed'][name]):>8}"
        for name in table.columns
    )
    line += "   " + "".join(
        f"{_console_score(before.get(target)):<{cell}}" for target in TARGETS
    )
    return line + wording.number((before.get("mean") or {}).get("value"))


def _console_name(row, rows):
    """Returns the line above a row, "" for none, and the row's name."""
    if row["heading"]:
        return row["label"], f"  {row['heading']}"
    name = row["label"]
    return "", name if len(name) <= 34 else f"{name[:33]}…"


def _console_score(score):
    if score is None:
        return "-"
    text = wording.number(score["value"])
    if score["low"] is not None:
        ends = score["low"], score["high"]
        text += f" {wording.interval(ends, digits=2)}"
        text += "*" if score["holds_published"] else ""
    return text
