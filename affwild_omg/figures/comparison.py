"""Plots the scores of groups side by side."""

import math
import pathlib
from collections.abc import Mapping, Sequence

from affwild_omg.figures import canvas

_LONGEST = 26  # characters of a group's name


def groups(
    path: pathlib.Path,
    names: Sequence[str],
    scores: Sequence[Mapping],
    intervals: Sequence[Mapping],
    targets: Sequence[str],
) -> None:
    """Plots CCC, with its interval, and MSE of each group.

    Args:
        path: PNG to write.
        names: of the groups, from the top; they may have several lines.
        scores: of each group, {target: what has `ccc` and `mse`}, or no such
            target.
        intervals: of each group, {target: what has `low` and `high`}, None
            or no such target if there is none.
        targets: what to draw.
    """
    figure = canvas.new(1.1 + len(names) * (0.22 + 0.18 * len(targets)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.get_layout_engine().set(wspace=0.06)
    for i, target in enumerate(targets):
        shift = 0.34 * (i - (len(targets) - 1) / 2)
        style = {
            "color": canvas.COLOURS[target],
            "marker": canvas.MARKERS[target],
            "linestyle": "none",
            "markersize": 5.5,
            "label": target,
            "clip_on": False,  # an MSE may be 0
        }
        places = [y + shift for y in range(len(names))]
        for axis, measure in ((left, "ccc"), (right, "mse")):
            # NaN, which draws nothing, for a group that lacks the target.
            values = [
                getattr(group.get(target), measure, math.nan)
                for group in scores
            ]
            axis.plot(values, places, **style)
        for y, group in zip(places, intervals, strict=True):
            if interval := group.get(target):
                left.plot(
                    [interval.low, interval.high],
                    [y, y],
                    color=style["color"],
                    linewidth=1.3,
                )
    canvas.name_rows(
        (left, right),
        [
            "\n".join(canvas.shorten(x, _LONGEST) for x in name.split("\n"))
            for name in names
        ],
    )
    low, high = left.get_xlim()
    left.set_xlim(min(low, -0.05), max(high, 1.0))
    left.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    left.set_xlabel("CCC")
    right.set_xlim(0, 1.08 * max(right.get_xlim()[1], 0.01))
    right.set_xlabel("MSE")
    left.locator_params(axis="x", nbins=5)
    right.locator_params(axis="x", nbins=3)
    canvas.legend_above(right, len(targets))
    canvas.save(figure, path)
