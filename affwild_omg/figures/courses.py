"""Plots values over time: of a video, of utterances, of a training."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import lines, ticker

from affwild_omg.figures import canvas
from affwild_omg.paper import windows

_FEW = 100  # points up to which each has its mark
# Frames that a picture of 1,540 pixels can show apart, and more. Of a longer
# film, matplotlib would need minutes and a gigabyte.
_MANY = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """The frames of an utterance, or of a video.

    Attributes:
        title: its name.
        times: [frames], seconds.
        values: predicted, [frames, targets], NaN where there is no face.
        edges: starts of the sequences and the last one's end, seconds,
            [sequences + 1].
        sequences: estimates of the sequences, [sequences, targets].
        truth: [frames, targets], NaN where there is no label; None, like what
            follows, of a video.
        estimate: of the utterance, [targets].
    """

    title: str
    times: np.ndarray
    values: np.ndarray
    edges: np.ndarray
    sequences: np.ndarray
    truth: np.ndarray | None = None
    estimate: np.ndarray | None = None


def timeline(
    path: pathlib.Path,
    times,
    values,
    targets,
    *,
    window: int,
    tail: str,
    title: str,
    tracks: Sequence[int] = (1,),
    kept: np.ndarray | None = None,
) -> None:
    """Plots the targets over a video.

    Args:
        path: PNG to write.
        times: [frames], seconds.
        values: [frames, targets], NaN where there is no face, or of several
            faces [faces, frames, targets].
        targets: names of the columns.
        window: frames that the network saw at a time; their median is shown,
            with that of those between.
        tail: how the video was cut, see `paper.windows.cut`.
        title: of the picture.
        tracks: numbers of the faces, if there are several.
        kept: numbers of the frames that the network saw; None for all.
    """
    if kept is None:
        kept = np.arange(len(times))
    step = np.median(np.diff(times)) if len(times) > 1 else 1.0
    starts = kept[[x.scored for x in windows.cut(len(kept), window, tail)]]
    joined = -(-len(starts) // _MANY)  # 1 but for hours of film
    starts = starts[::joined]
    lengths = np.diff([*starts, len(times)])
    sequence = np.repeat(np.arange(len(starts)), lengths)
    edges = np.array([*times[starts], times[-1] + step])
    faces = values if np.ndim(values) == 3 else [values]
    count = len(targets)
    figure = canvas.new(2.6 * count * len(faces), width=11)
    axes = figure.subplots(count * len(faces), 1, sharex=True, squeeze=False)[
        :, 0
    ]
    name = f"median of {joined * window} frames"
    for row, (number, face) in enumerate(zip(tracks, faces, strict=True)):
        medians = pd.DataFrame(face).groupby(sequence).median().to_numpy()
        thinned_times, thinned = _thinned(times, face)
        course = Course(
            title=title,
            times=thinned_times,
            values=thinned,
            edges=edges,
            sequences=medians,
        )
        for column, target in enumerate(targets):
            axis = axes[row * count + column]
            _draw(axis, course, column, target, name)
            if len(faces) > 1:
                axis.set_ylabel(f"{target}, face {number}")
    axes[-1].set_xlabel("time / s")
    axes[0].set_title(title, loc="left", parse_math=False)
    canvas.legend_above(axes[0], 3)
    canvas.save(figure, path)


def _thinned(times, values):
    """Returns the least and the largest of so many frames, if there are many.

    A line through them covers the pixels that one through all frames covers.
    """
    size = -(-2 * len(times) // _MANY)
    if len(times) <= _MANY:
        return times, values
    groups = pd.DataFrame(values).groupby(np.arange(len(times)) // size)
    ends = np.stack([groups.min(), groups.max()], axis=1)
    begin = times[::size]
    between = np.diff([*begin, times[-1]]) / 2
    return (
        np.stack([begin, begin + between], axis=1).ravel(),
        ends.reshape(-1, values.shape[1]),
    )


def timelines(
    path: pathlib.Path,
    courses: Sequence[Course],
    targets: Sequence[str],
    *,
    estimate: str,
) -> None:
    """Plots the frames of several utterances, a row each.

    Args:
        path: PNG to write.
        courses: one for each utterance.
        targets: names of the columns.
        estimate: what a sequence is reduced by, such as "median".
    """
    figure = canvas.new(0.7 + 1.75 * len(courses))
    axes = figure.subplots(len(courses), len(targets), squeeze=False)
    for row, course in zip(axes, courses, strict=True):
        for column, target in enumerate(targets):
            _draw(row[column], course, column, target)
        row[0].set_title(
            canvas.shorten(course.title, 60),
            loc="left",
            fontsize=10,
            parse_math=False,
        )
    for axis in axes[-1]:
        axis.set_xlabel("time / s")
    # In grey, because each target has a colour.
    legend = {
        "frames": {"color": "0.6", "linewidth": 0.8, "marker": "."},
        f"{estimate} of a sequence": {"color": "0.5", "linewidth": 2.2},
        "estimate of the utterance": {"color": "0.5", "linestyle": "--"},
        "true": {"color": "black", "linewidth": 1.5},
    }
    figure.legend(
        [lines.Line2D([], [], **style) for style in legend.values()],
        legend.keys(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    canvas.save(figure, path)


def _draw(axis, course, column, target, sequence=None):
    """Draws a target: the frames, the estimates and the truth."""
    colour, values = canvas.COLOURS[target], course.values[:, column]
    axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axis.plot(
        course.times,
        values,
        color=colour,
        linewidth=0.8,
        alpha=0.6,
        # A lone frame between two without a face is no line: mark it as well.
        marker="." if len(values) < _FEW else None,
        markersize=4,
        label="frame",
    )
    style = {"color": colour, "linewidth": 2.2, "label": sequence}
    sequences = course.sequences[:, column]
    axis.stairs(sequences, course.edges, baseline=None, **style)
    missing, edges = np.isnan(values), [*course.times, course.edges[-1]]
    axis.stairs(
        missing,
        edges,
        transform=axis.get_xaxis_transform(),
        fill=True,
        color="0.88",
        zorder=0,
        label="no face" if missing.any() else None,
    )
    shown = [*values]
    if course.truth is not None:
        truth, estimate = course.truth[:, column], course.estimate[column]
        axis.axhline(estimate, color=colour, linewidth=1.5, linestyle="--")
        style = {"color": "black", "linewidth": 1.5}
        axis.stairs(truth, edges, baseline=None, **style)
        shown += [*truth, estimate]
    axis.set(
        xlim=(edges[0], edges[-1]),
        ylim=canvas.bounds(shown, canvas.RANGES[target], margin=0.05),
        ylabel=target,
    )
    canvas.open_frame(axis)


def training(
    path: pathlib.Path,
    epochs: Sequence[int],
    losses: Sequence[float],
    cccs: Mapping[str, Sequence[float]],
    best: int,
) -> None:
    """Plots the loss and the validation CCC of a training.

    Args:
        path: PNG to write.
        epochs: their numbers.
        losses: of each epoch.
        cccs: {target or "mean": of each epoch}.
        best: the epoch that was kept.
    """
    figure = canvas.new(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    marker = "." if len(epochs) < _FEW else None
    upper.plot(epochs, losses, color=canvas.GREY, marker=marker)
    upper.set_ylabel("training loss")
    for name, values in cccs.items():
        colour = canvas.COLOURS.get(name, "black")
        lower.plot(epochs, values, marker=marker, label=name, color=colour)
    for axis in (upper, lower):
        label = f"best epoch, {best}"
        axis.axvline(best, color="tab:green", linestyle=":", label=label)
        canvas.open_frame(axis)
    lower.set(xlabel="epoch", ylabel="validation CCC")
    lower.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    if len(epochs) == 1:
        lower.set_xlim(best - 1, best + 1)
    canvas.legend_above(upper, 4, lower.get_legend_handles_labels()[0])
    canvas.save(figure, path)
