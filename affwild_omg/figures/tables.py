"""Plots the paper's tables."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.lines import Line2D

from affwild_omg.figures import canvas

_PUBLISHED = {
    "marker": "D",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgecolor": canvas.GREY,
    "markeredgewidth": 1.3,
    "linestyle": "none",
}


def published_against_measured(
    path: pathlib.Path,
    rows: Sequence[Mapping],
    targets: Sequence[str],
    *,
    title: str,
    metric: str,
    note: str = "",
) -> None:
    """Plots what was measured beside what was published, row by row.

    Args:
        path: PNG to write.
        rows: of the table, from the top, each {"label", "heading",
            "state", "published": {target: value}} and, where it was run,
            "measured": {target: {"value", "low", "high", "min", "max"} or
            None}; bounds may be None.
        targets: what to draw, a panel each.
        title: of the picture.
        metric: what the values are.
        note: to stand below the title.
    """
    names = [_name(row) for row in rows]
    height = max(name.count("\n") for name in names) * 0.12 + 0.36
    figure = canvas.new(1.6 + height * len(rows), width=9.5)
    axes = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
    for axis, target in zip(axes, targets, strict=True):
        style = {
            "color": canvas.COLOURS[target],
            "marker": canvas.MARKERS[target],
            "markersize": 6,
        }
        for y, row in enumerate(rows):
            measured = (row.get("measured") or {}).get(target)
            if measured:
                _draw_measured(axis, y + 0.14, measured, style)
            axis.plot(
                row["published"][target],
                y - 0.14 if measured else y,
                zorder=4,
                **_PUBLISHED,
            )
        axis.set(xlabel=f"{target}, {metric}")
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, 0), high + 0.02 * (high - low))
        axis.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    canvas.name_rows(axes, names)
    figure.legend(
        handles=_legend(rows, targets),
        loc="outside lower center",
        ncols=3 + len(targets),
        frameon=False,
    )
    figure.suptitle(
        "\n".join(filter(None, (title, note))),
        x=0.01,
        ha="left",
        fontsize="medium",
        parse_math=False,
    )
    canvas.save(figure, path)


def _draw_measured(axis, y, measured, style):
    for low, high, line in (
        ("low", "high", {"linewidth": 1.4}),
        ("min", "max", {"linewidth": 5, "alpha": 0.35}),
    ):
        if measured[low] is not None:
            ends = measured[low], measured[high]
            axis.plot(ends, [y, y], color=style["color"], zorder=2, **line)
    axis.plot(measured["value"], y, zorder=3, **style)


def _legend(rows, targets):
    scores = [
        score
        for row in rows
        for score in (row.get("measured") or {}).values()
        if score
    ]
    handles = [Line2D([], [], label="published", **_PUBLISHED)]
    if scores:
        handles += [
            Line2D(
                [],
                [],
                color=canvas.COLOURS[target],
                marker=canvas.MARKERS[target],
                linestyle="none",
                label=f"measured {target}",
            )
            for target in targets
        ]
    for bound, label, line in (
        ("low", "95 % interval", {"linewidth": 1.4}),
        ("min", "range over seeds", {"linewidth": 5, "alpha": 0.35}),
    ):
        if any(score[bound] is not None for score in scores):
            handles.append(
                Line2D([], [], color=canvas.GREY, label=label, **line)
            )
    return handles


def _name(row):
    """Returns a row's name, and why nothing was measured."""
    state = row["state"].partition("(")[0].strip()
    state = canvas.shorten(state, 38)
    state = f" ({state})" if state.startswith(("not run", "failed")) else ""
    name = canvas.shorten(row["label"], 40)
    if row["heading"]:
        return f"{name}\n{row['heading']}{state}"
    return f"{name}\n{state.strip()}".strip()
