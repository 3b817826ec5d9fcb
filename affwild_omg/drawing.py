"""Pictures of results, with matplotlib."""

import pathlib

import matplotlib
import numpy as np

matplotlib.use("Agg")  # pictures are files: no display is needed

from matplotlib import pyplot as plt  # noqa: E402

RANGES = {"valence": (-1.0, 1.0), "arousal": (0.0, 1.0)}
COLOURS = {"valence": "tab:blue", "arousal": "tab:orange"}


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
    figure, axes = plt.subplots(
        1, len(targets), figsize=(5 * len(targets), 5), squeeze=False
    )
    for column, target in enumerate(targets):
        axis = axes[0, column]
        values = np.concatenate([labels[:, column], predictions[:, column]])
        low = min(RANGES[target][0], values.min()) - 0.05
        high = max(RANGES[target][1], values.max()) + 0.05
        axis.plot([low, high], [low, high], color="0.6", linewidth=1)
        axis.scatter(
            labels[:, column],
            predictions[:, column],
            s=14,
            alpha=0.6,
            color=COLOURS[target],
            edgecolors="none",
        )
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
    counts = {
        name: np.histogram2d(*values.T, bins=20, range=bounds)[0]
        for name, values in panels.items()
    }
    top = max(count.max() for count in counts.values())
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 4.5), sharey=True, layout="constrained"
    )
    for axis, (name, count) in zip(axes, counts.items(), strict=True):
        picture = axis.imshow(
            count.T,
            origin="lower",
            extent=(*bounds[0], *bounds[1]),
            aspect="auto",
            vmin=0,
            vmax=top,
            cmap="viridis",
        )
        axis.set(xlabel="valence", title=f"{name}, {len(panels[name])}")
    axes[0].set_ylabel("arousal")
    figure.colorbar(picture, ax=axes, label="utterances")
    _save(figure, path)


def timeline(path: pathlib.Path, times, values, targets, title: str) -> None:
    """Draws the course of the targets over a video.

    Args:
        path: PNG to write.
        times: [frames], seconds.
        values: [frames, targets], NaN where there is no face.
        targets: names of the columns.
        title: of the picture.
    """
    figure, axes = plt.subplots(
        len(targets),
        1,
        figsize=(10, 2.4 * len(targets)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    times = np.asarray(times)
    # A lone frame between two without a face is no line: mark it as well.
    marker = "." if len(times) < 100 else None
    for axis, target, column in zip(axes[:, 0], targets, values.T, strict=True):
        axis.plot(times, column, color=COLOURS[target], marker=marker)
        low, high = _bounds(column, RANGES[target])
        _shade_missing(axis, times, np.isnan(column))
        axis.set(ylabel=target, ylim=(low - 0.02, high + 0.02))
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.margins(x=0.01)
    axes[-1, 0].set_xlabel("time / s")
    axes[0, 0].set_title(title)
    _save(figure, path)


def _shade_missing(axis, times, missing):
    if not missing.any():
        return
    step = np.median(np.diff(times)) if len(times) > 1 else 1.0
    edges = np.flatnonzero(np.diff(np.r_[0, missing, 0]))
    for start, end in edges.reshape(-1, 2):
        axis.axvspan(
            times[start] - step / 2,
            times[end - 1] + step / 2,
            color="0.9",
            zorder=0,
            label="no face" if start == edges[0] else None,
        )
    axis.legend(loc="upper right", frameon=False)


def _bounds(values, limits):
    values = values[np.isfinite(values)]
    if not len(values):
        return limits
    return min(limits[0], values.min()), max(limits[1], values.max())


def _save(figure, path):
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
