"""Plots the paper's tables."""

import pathlib
from collections.abc import Mapping, Sequence

from affwild_omg.figures import canvas

_PUBLISHED = {
    "label": "published",
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
        rows: of the table, each {"label", "heading", "state", "published":
            {target: value} or None} and, where it was run, "measured": {target:
            {"value", "low", "high", "min", "max"} or None}; bounds may be
            None.
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
        for y, row in enumerate(rows):
            measured = (row.get("measured") or {}).get(target)
            place = y - 0.14 if measured else y
            if published := row["published"]:
                axis.plot(published[target], place, zorder=4, **_PUBLISHED)
            if measured:
                _draw_measured(axis, y + 0.14, measured, target)
        axis.set(xlabel=f"{target}, {metric}")
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, 0), high + 0.02 * (high - low))
        axis.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    canvas.name_rows(axes, names)
    drawn = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        drawn |= dict(zip(labels, handles, strict=True))
    figure.legend(
        drawn.values(),
        drawn.keys(),
        loc="outside lower center",
        ncols=len(drawn),
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


def _draw_measured(axis, y, measured, target):
    style = {"color": canvas.COLOURS[target], "zorder": 2}
    axis.plot(
        measured["value"],
        y,
        marker=canvas.MARKERS[target],
        markersize=6,
        linestyle="none",
        label=f"measured {target}",
        **style | {"zorder": 3},
    )
    for ends, width, alpha, label in (
        (("low", "high"), 1.4, 1, "95% interval"),
        (("min", "max"), 5, 0.35, "range over seeds"),
    ):
        x = [measured[end] for end in ends]
        if x[0] is not None:
            line = {"linewidth": width, "alpha": alpha, "label": label}
            axis.plot(x, [y, y], **line, **style)


def _name(row):
    """Returns a row's name, and why nothing was measured."""
    state = row["state"].partition("(")[0].strip()
    state = canvas.shorten(state, 38)
    state = f" ({state})" if state.startswith(("not run", "failed")) else ""
    name = canvas.shorten(row["label"], 40)
    if row["heading"]:
        return f"{name}\n{row['heading']}{state}"
    return f"{name}\n{state.strip()}".strip()
