"""Plots where labels lie in the plane of valence and arousal."""

import pathlib
from collections.abc import Mapping

import numpy as np

from affwild_omg.cli import wording
from affwild_omg.figures import canvas

BINS = 20  # a side of a histogram
# The paper's, each with the map of its histogram.
COLOURS = {
    "train": ("tab:green", "Greens"),
    "validation": ("tab:red", "Reds"),
    "test": ("tab:blue", "Blues"),
}


def label_planes(path: pathlib.Path, labels: Mapping[str, np.ndarray]) -> None:
    """Plots the labels of each split, as Fig. 3 of the paper.

    Args:
        path: PNG to write.
        labels: {split: [labels, 2]}, valence and arousal, NaN where there is
            none.
    """
    known = {
        split: values[np.isfinite(values).all(axis=1)]
        for split, values in labels.items()
    }
    everything = np.concatenate(list(known.values()))
    limits = [
        canvas.bounds(everything[:, i], ends)
        for i, ends in enumerate(canvas.RANGES.values())
    ]
    edges = [np.linspace(*ends, BINS + 1) for ends in limits]
    figure = canvas.new(5.6, width=max(4, 3 * len(known)))
    axes = figure.subplots(
        2, len(known), squeeze=False, sharex=True, sharey=True
    )
    for column, (split, values) in enumerate(known.items()):
        above, below = axes[:, column]
        colour, shades = COLOURS[split]
        counts, *_ = np.histogram2d(*values.T, bins=edges)
        # Empty bins stay white.
        picture = above.pcolormesh(
            *edges,
            np.where(counts > 0, counts, np.nan).T,
            cmap=shades,
            vmin=0,
            vmax=max(2, counts.max()),
        )
        figure.colorbar(picture, ax=above, location="bottom", label="labels")
        shown = values[:: canvas.every(len(values))]
        below.scatter(
            *shown.T,
            s=6,
            alpha=float(np.clip(20 / np.sqrt(len(shown) + 1), 0.1, 0.9)),
            color=colour,
            edgecolors="none",
        )
        above.set_title(
            f"{split}: {wording.count(len(values), 'label')}", fontsize=11
        )
        below.set_title(f"{len(shown):,} of them", fontsize=10)
        below.set_xlabel("valence")
    for axis in axes[:, 0]:
        axis.set(ylabel="arousal", xlim=limits[0], ylim=limits[1])
        axis.locator_params(nbins=5)
    canvas.save(figure, path)
