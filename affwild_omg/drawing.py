"""Pictures of results, with matplotlib."""

import pathlib

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no display, no state

RANGES = {"valence": (-1.0, 1.0), "arousal": (0.0, 1.0)}
COLOURS = {"valence": "tab:blue", "arousal": "tab:orange"}
MAX_BINS = 20  # a side of a histogram; few utterances get fewer


def scatter(
    path: pathlib.Path, labels, predictions, targets, scores: dict
) -> None:
    """Draws predicted against true values, one panel a target.

    Args:
        path: PNG to write.
        labels: [utterances, targets].
        predictions: [utterances, targets].
        targets: names of the columns.
        scores: {target: {"ccc": ...}}.
    """
    figure = Figure(figsize=(5 * len(targets), 5), layout="constrained")
    axes = figure.subplots(1, len(targets), squeeze=False)
    # Thousands of opaque points are one blot, a dozen faint ones unseen.
    alpha = float(np.clip(20 / np.sqrt(len(labels)), 0.25, 0.9))
    for column, target in enumerate(targets):
        axis = axes[0, column]
        values = np.concatenate([labels[:, column], predictions[:, column]])
        low, high = _bounds(values, RANGES[target])
        low, high = low - 0.05, high + 0.05
        axis.scatter(
            labels[:, column],
            predictions[:, column],
            s=16,
            alpha=alpha,
            color=COLOURS[target],
            edgecolors="none",
        )
        axis.plot([low, high], [low, high], color="0.3", linewidth=1)
        axis.set(
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
            xlabel=f"true {target}",
            ylabel=f"predicted {target}",
            title=f"{target}: CCC {scores[target]['ccc']:.3f}, "
            f"{len(labels)} utterances",
        )
    _save(figure, path)


def plane_histograms(path: pathlib.Path, labels, predictions) -> None:
    """Draws how labels and predictions lie in the valence-arousal plane.

    Args:
        path: PNG to write.
        labels: [utterances, 2], valence and arousal.
        predictions: [utterances, 2].
    """
    panels = {"labels": labels, "predictions": predictions}
    bounds = [
        _bounds(np.concatenate([labels[:, i], predictions[:, i]]), limits)
        for i, limits in enumerate(RANGES.values())
    ]
    bins = min(MAX_BINS, round(len(labels) ** 0.5) + 1)
    counts = {
        name: np.histogram2d(*values.T, bins=bins, range=bounds)[0]
        for name, values in panels.items()
    }
    top = max(count.max() for count in counts.values())
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, count) in zip(axes, counts.items(), strict=True):
        picture = axis.imshow(
            # Empty bins stay white: one utterance is to be told from none.
            np.ma.masked_equal(count.T, 0),
            origin="lower",
            extent=(*bounds[0], *bounds[1]),
            aspect="auto",
            vmin=0,
            vmax=top,
            cmap="viridis_r",
        )
        axis.set(xlabel="valence", title=f"{len(panels[name])} {name}")
    axes[0].set_ylabel("arousal")
    figure.colorbar(picture, ax=axes, label="utterances in a bin")
    _save(figure, path)


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
        low, high = _bounds(column, RANGES[target])
        axis.set(ylabel=target, ylim=(low - 0.03, high + 0.03))
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.plot(
            times,
            column,
            color=COLOURS[target],
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
            color=COLOURS[target],
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
    _save(figure, path)


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


def _bounds(values, limits):
    values = values[np.isfinite(values)]
    if not len(values):
        return limits
    return min(limits[0], values.min()), max(limits[1], values.max())


def _save(figure, path):
    figure.savefig(path, dpi=120)
