"""The course of values: over a video, over utterances, over a training."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import lines, ticker
from matplotlib.figure import Figure

from affwild_omg.figures import canvas


def timeline(
    path: pathlib.Path, times, values, targets, *, window: int, title: str
) -> None:
    """Draws the course of the targets over a video.

    Args:
        path: PNG to write.
        times: [frames], seconds.
        values: [frames, targets], NaN where there is no face.
        targets: names of the columns.
        window: frames that the network saw at a time. It starts anew with
            each, which shows in the frames; their median is its estimate.
        title: of the picture.
    """
    figure = Figure(figsize=(11, 2.6 * len(targets)), layout="constrained")
    axes = figure.subplots(len(targets), 1, sharex=True, squeeze=False)
    times, values = np.asarray(times), np.asarray(values)
    step = np.median(np.diff(times)) if len(times) > 1 else 1.0
    # A lone frame between two without a face is no line: mark it as well.
    marker = "." if len(times) < 100 else None
    for axis, target, column in zip(axes[:, 0], targets, values.T, strict=True):
        low, high = canvas.bounds(column, canvas.RANGES[target])
        axis.set(ylabel=target, ylim=(low - 0.03, high + 0.03))
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.plot(
            times,
            column,
            color=canvas.COLOURS[target],
            linewidth=0.8,
            alpha=0.6,
            marker=marker,
            label="frame",
        )
        starts = range(0, len(times), window)
        medians = [_median(column[start : start + window]) for start in starts]
        axis.stairs(
            medians,
            [*times[::window], times[-1] + step],
            baseline=None,
            color=canvas.COLOURS[target],
            linewidth=2,
            label=f"median of {window} frames",
        )
        _shade(axis, times, np.isnan(column), step)
        axis.set_xlim(times[0], times[-1] + step)
    axes[-1, 0].set_xlabel("time / s")
    axes[0, 0].set_title(title, loc="left", parse_math=False)
    axes[0, 0].legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False
    )
    canvas.save(figure, path)


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def _shade(axis, times, missing, step):
    """Shades the frames without a face."""
    edges = np.flatnonzero(np.diff(np.r_[0, missing, 0]))
    for start, end in edges.reshape(-1, 2):
        axis.axvspan(
            times[start],
            times[end - 1] + step,
            color="0.88",
            linewidth=0,
            zorder=0,
            label="no face" if start == edges[0] else None,
        )


def timelines(
    path: pathlib.Path,
    courses: Sequence[Mapping],
    targets: Sequence[str],
    *,
    estimate: str,
) -> None:
    """Draws the course of several utterances, a row each.

    Args:
        path: PNG to write.
        courses: one an utterance: {"title", "times": [frames] in seconds,
            "values": [frames, targets] with NaN where there is no face,
            "sequences": (edges in seconds [sequences + 1], estimates
            [sequences, targets]), "estimate": [targets], "truth":
            [frames, targets]}.
        targets: names of the columns.
        estimate: what a sequence is reduced by, such as "median".
    """
    figure = canvas.new(0.7 + 1.75 * len(courses))
    axes = figure.subplots(len(courses), len(targets), squeeze=False)
    for row, course in zip(axes, courses, strict=True):
        for column, (axis, target) in enumerate(zip(row, targets, strict=True)):
            _course(axis, course, column, target)
        row[0].set_title(
            canvas.shorten(course["title"], 60),
            loc="left",
            fontsize=10,
            parse_math=False,
        )
    for axis in axes[-1]:
        axis.set_xlabel("time / s")
    figure.legend(
        handles=[
            lines.Line2D([], [], label=label, **style)
            for label, style in _legend(estimate).items()
        ],
        loc="outside upper center",
        ncols=4,
        frameon=False,
        handlelength=1.5,
        handletextpad=0.4,
        columnspacing=1.2,
    )
    canvas.save(figure, path)


def _legend(estimate):
    # In grey: each target has its own colour, and one legend serves both.
    return {
        "frames": {"color": "0.6", "linewidth": 0.8, "marker": "."},
        f"{estimate} of a sequence": {"color": "0.5", "linewidth": 2.2},
        "estimate of the utterance": {"color": "0.5", "linestyle": "--"},
        "true": {"color": "black", "linewidth": 1.5},
    }


def _course(axis, course, column, target):
    colour = canvas.COLOURS[target]
    times = np.asarray(course["times"])
    values = course["values"][:, column]
    truth = course["truth"][:, column]
    edges, estimates = course["sequences"]
    low, high = canvas.bounds(
        np.concatenate([values, truth, estimates[:, column]]),
        canvas.RANGES[target],
    )
    axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axis.plot(
        times,
        values,
        color=colour,
        linewidth=0.8,
        alpha=0.6,
        marker="." if len(times) < 100 else None,
        markersize=3,
    )
    axis.stairs(
        estimates[:, column],
        edges,
        baseline=None,
        color=colour,
        linewidth=2.2,
    )
    axis.axhline(
        course["estimate"][column],
        color=colour,
        linewidth=1.5,
        linestyle="--",
    )
    if np.ptp(truth) > 0:
        axis.plot(times, truth, color="black", linewidth=1.5)
    else:
        axis.axhline(truth[0], color="black", linewidth=1.5)
    axis.set(
        xlim=(edges[0], edges[-1]),
        ylim=(low - 0.05, high + 0.05),
        ylabel=target,
    )
    _shade(axis, times, np.isnan(values), edges[-1] - times[-1])
    canvas.open_frame(axis)


def training(path: pathlib.Path, epochs: Sequence[Mapping], best: int) -> None:
    """Draws the loss and the validation CCC of a training.

    Args:
        path: PNG to write.
        epochs: one an epoch: {"epoch", "loss", "mean_ccc" and for each target
            "<target>_ccc"}.
        best: the epoch that was kept.
    """
    figure = canvas.new(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    numbers = [epoch["epoch"] for epoch in epochs]
    marker = "." if len(epochs) < 60 else None
    upper.plot(
        numbers,
        [epoch["loss"] for epoch in epochs],
        color=canvas.GREY,
        marker=marker,
    )
    upper.set_ylabel("training loss")
    for target in canvas.RANGES:
        if f"{target}_ccc" in epochs[0]:
            lower.plot(
                numbers,
                [epoch[f"{target}_ccc"] for epoch in epochs],
                color=canvas.COLOURS[target],
                marker=marker,
                label=target,
            )
    lower.plot(
        numbers,
        [epoch["mean_ccc"] for epoch in epochs],
        color="black",
        marker=marker,
        linewidth=1,
        linestyle="--",
        label="mean",
    )
    for axis in (upper, lower):
        axis.axvline(
            best,
            color="tab:green",
            linewidth=1.2,
            linestyle=":",
            label=f"best epoch, {best}",
        )
        canvas.open_frame(axis)
    lower.set(xlabel="epoch", ylabel="validation CCC")
    lower.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    if len(epochs) == 1:
        lower.set_xlim(best - 1, best + 1)
    canvas.legend_above(upper, 4, lower.get_legend_handles_labels()[0])
    canvas.save(figure, path)
