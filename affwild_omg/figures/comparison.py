"""Groups of utterances side by side."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib import ticker

from affwild_omg.cli import wording
from affwild_omg.figures import canvas

MOST_NAMES = 30  # videos that stand in a picture; of more, the extremes
EXTREMES = (15, 10)  # how many of the worst and of the best


def groups(
    path: pathlib.Path, rows: Sequence[Mapping], targets: Sequence[str]
) -> None:
    """Draws CCC, with its interval, and MSE of each group.

    Args:
        path: PNG to write.
        rows: one a group, drawn from the top: {"group", and for each target
            "<target>_ccc", "<target>_ccc_low", "<target>_ccc_high",
            "<target>_mse"}, also "utterances", which stands behind the name;
            what is None is not drawn.
        targets: what to draw.
    """
    figure = canvas.new(1.1 + len(rows) * (0.22 + 0.18 * len(targets)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.get_layout_engine().set(wspace=0.06)
    for i, target in enumerate(targets):
        shift = 0.34 * (i - (len(targets) - 1) / 2)
        style = {
            "color": canvas.COLOURS[target],
            "marker": canvas.MARKERS[target],
            "linestyle": "none",
            "markersize": 5.5,
        }
        for axis, measure in ((left, "ccc"), (right, "mse")):
            known = [
                (y + shift, row)
                for y, row in enumerate(rows)
                if row.get(f"{target}_{measure}") is not None
            ]
            axis.plot(
                [row[f"{target}_{measure}"] for _, row in known],
                [y for y, _ in known],
                label=target,
                **style,
            )
        for y, row in enumerate(rows):
            ends = row.get(f"{target}_ccc_low"), row.get(f"{target}_ccc_high")
            if None not in ends:
                left.plot(
                    ends, [y + shift] * 2, color=style["color"], linewidth=1.3
                )
    left.set_yticks(
        range(len(rows)), [_name(row) for row in rows], parse_math=False
    )
    left.set(ylim=(len(rows) - 0.4, -0.6), xlabel="CCC")
    low, high = left.get_xlim()
    left.set_xlim(min(low, -0.05), max(high, 1.0))
    left.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    right.set(xlabel="MSE")
    right.set_xlim(0, 1.08 * max(right.get_xlim()[1], 0.01))
    right.tick_params(axis="y", length=0)
    for axis, nbins in ((left, 5), (right, 3)):
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(nbins))
        for y in range(1, len(rows)):
            axis.axhline(y - 0.5, color="0.92", linewidth=0.8, zorder=0)
    canvas.open_frame(left, right)
    canvas.legend_above(right, len(targets))
    canvas.save(figure, path)


def _name(row):
    name = canvas.shorten(row["group"], 26)
    if row.get("utterances") is None:
        return name
    return f"{name}\n{wording.count(row['utterances'], 'utterance')}"


def videos(
    path: pathlib.Path, rows: Sequence[Mapping], targets: Sequence[str]
) -> None:
    """Draws the MSE of each video, the worst first.

    Of more than `MOST_NAMES` videos only the worst and the best have a line
    of their own.

    Args:
        path: PNG to write.
        rows: one a video, the worst first: {"group": its name, "utterances",
            and for each target "<target>_mse"}.
        targets: what to draw.
    """
    worst, best = list(rows), []
    if len(rows) > MOST_NAMES:
        worst, best = rows[: EXTREMES[0]], rows[-EXTREMES[1] :]
    # One empty line in between tells how many are left out.
    places = [*range(len(worst))]
    places += range(len(worst) + 1, len(worst) + 1 + len(best))
    drawn = [*worst, *best]
    figure = canvas.new(1.1 + 0.24 * (places[-1] + 1))
    axis = figure.subplots()
    for target in targets:
        axis.plot(
            [row[f"{target}_mse"] for row in drawn],
            places,
            color=canvas.COLOURS[target],
            marker=canvas.MARKERS[target],
            linestyle="none",
            label=target,
        )
    for y in places:
        axis.axhline(y, color="0.92", linewidth=0.8, zorder=0)
    if best:
        axis.text(
            0.5,
            len(worst),
            f"… {len(rows) - len(drawn):,} videos between …",
            transform=axis.get_yaxis_transform(),
            ha="center",
            va="center",
            color=canvas.GREY,
        )
    axis.set_yticks(
        places,
        [f"{canvas.shorten(x['group'])} ({x['utterances']})" for x in drawn],
        parse_math=False,
    )
    axis.set(ylim=(places[-1] + 0.7, -0.7), xlabel="MSE (less is better)")
    axis.set_xlim(0, 1.04 * max(axis.get_xlim()[1], 0.01))
    axis.tick_params(axis="y", length=0)
    canvas.open_frame(axis)
    canvas.legend_above(axis, len(targets))
    canvas.save(figure, path)
