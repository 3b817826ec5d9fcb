"""Plots predictions against labels."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli import wording
from affwild_omg.figures import canvas

MAX_BINS = 20  # a side of a histogram; few utterances get fewer


def scatter(
    path: pathlib.Path | io.BytesIO,
    labels,
    predictions,
    targets: Sequence[str],
    cccs: Mapping[str, float],
    noun: str = "utterance",
    dpi: float = 140,
) -> None:
    """Plots predicted against true values, one panel for each target.

    Args:
        path: PNG to write, or a binary stream.
        labels: [utterances, targets], NaN where there is none.
        predictions: [utterances, targets].
        targets: names of the columns.
        cccs: {target: CCC of these very points}; none without a label.
        noun: what the rows are.
        dpi: pixels of an inch.
    """
    part = slice(None, None, canvas.every(len(labels)))
    figure = canvas.new(3.8, width=canvas.WIDTH / 2 * len(targets))
    axes = figure.subplots(1, len(targets), squeeze=False)
    # Thousands of opaque points are one blot, a dozen faint ones unseen.
    alpha = float(np.clip(20 / np.sqrt(len(labels[part])), 0.25, 0.9))
    for column, target in enumerate(targets):
        axis = axes[0, column]
        values = np.concatenate([labels[:, column], predictions[:, column]])
        limits = canvas.bounds(values, canvas.RANGES[target], margin=0.05)
        axis.scatter(
            labels[part, column],
            predictions[part, column],
            s=16 if len(labels) > 100 else 36,
            alpha=alpha,
            color=canvas.COLOURS[target],
            edgecolors="none",
        )
        axis.plot(limits, limits, color="0.3", linewidth=1)
        axis.set(
            xlim=limits,
            ylim=limits,
            aspect="equal",
            xlabel=f"true {target}",
            ylabel=f"predicted {target}",
        )
        known = np.count_nonzero(np.isfinite(labels[:, column]))
        axis.set_title(
            f"{target}: CCC {wording.number(cccs.get(target))}\n"
            f"{wording.count(known, noun)}, "
            + (f"1 in {part.step} drawn" if part.step > 1 else "pooled"),
            fontsize=11,
        )
        axis.locator_params(nbins=5)
    canvas.save(figure, path, dpi=dpi)


def plane_histograms(
    path: pathlib.Path, labels, predictions, noun: str = "utterance"
) -> None:
    """Plots labels and predictions as histograms of the plane.

    Args:
        path: PNG to write.
        labels: [utterances, 2], valence and arousal.
        predictions: [utterances, 2].
        noun: what the rows are.
    """
    bounds = [
        canvas.bounds(np.concatenate([labels[:, i], predictions[:, i]]), limits)
        for i, limits in enumerate(canvas.RANGES.values())
    ]
    bins = min(MAX_BINS, round(len(labels) ** 0.5) + 1)
    edges = [np.linspace(*ends, bins + 1) for ends in bounds]
    figure = canvas.new(3.5)
    axes = figure.subplots(1, 2, sharey=True)
    pictures = []
    for axis, name, values in zip(
        axes, ("label", "prediction"), (labels, predictions), strict=True
    ):
        # Empty bins stay white: one utterance is to be told from none.
        *_, picture = axis.hist2d(
            *values.T, bins=edges, cmin=1, cmap="viridis_r"
        )
        pictures.append(picture)
        axis.set_xlabel("valence")
        axis.set_title(wording.count(len(labels), name), fontsize=11)
        axis.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel("arousal")
    top = int(max(picture.get_array().max() for picture in pictures))
    for picture in pictures:
        picture.set_clim(1, max(top, 2))
    figure.colorbar(
        picture,
        ax=axes,
        label=f"{noun}s (white: none)",
        ticks=np.unique(np.linspace(1, top, 6).round()),
    )
    canvas.save(figure, path)
