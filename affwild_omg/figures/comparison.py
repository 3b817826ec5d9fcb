"""Plots the scores of groups side by side."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib import ticker

from affwild_omg.cli import wording
from affwild_omg.figures import canvas


def groups(
    path: pathlib.Path, rows: Sequence[Mapping], targets: Sequence[str]
) -> None:
    """Plots CCC, with its interval, and MSE of each group.

    Args:
        path: PNG to write.
        rows: one for each group, from the top: {"group", and for each target
            "<target>_ccc", "<target>_ccc_low", "<target>_ccc_high",
            "<target>_mse"}, also "utterances", which stands below the name;
            what is None or missing is not drawn.
        targets: what to draw.
    """
    figure = canvas.new(1.1 + len(rows) * (0.22 + 0.18 * len(targets)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.get_layout_engine().set(wspace=0.06)
    for i, target in enumerate(targets):
        shift = 0.34 * (i - (len(targets) - 1) / 2)
        colour = canvas.COLOURS[target]
        for axis, measure in ((left, "ccc"), (right, "mse")):
            known = {
                y + shift: row[f"{target}_{measure}"]
                for y, row in enumerate(rows)
                if row.get(f"{target}_{measure}") is not None
            }
            axis.plot(
                known.values(),
                known.keys(),
                label=target,
                color=colour,
                marker=canvas.MARKERS[target],
                linestyle="none",
                markersize=5.5,
            )
        for y, row in enumerate(rows):
            ends = row.get(f"{target}_ccc_low"), row.get(f"{target}_ccc_high")
            if None not in ends:
                left.plot(ends, [y + shift] * 2, color=colour, linewidth=1.3)
    canvas.name_rows((left, right), [_name(row) for row in rows])
    low, high = left.get_xlim()
    left.set_xlim(min(low, -0.05), max(high, 1.0))
    left.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    left.set_xlabel("CCC")
    right.set_xlim(0, 1.08 * max(right.get_xlim()[1], 0.01))
    right.set_xlabel("MSE")
    for axis, nbins in ((left, 5), (right, 3)):
        axis.xaxis.set_major_locator(ticker.MaxNLocator(nbins))
    canvas.legend_above(right, len(targets))
    canvas.save(figure, path)


def _name(row):
    name = canvas.shorten(row["group"], 26)
    if row.get("utterances") is None:
        return name
    return f"{name}\n{wording.count(row['utterances'], 'utterance')}"
