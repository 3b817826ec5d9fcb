"""How predictions agree with labels."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker

from affwild_omg.cli import wording
from affwild_omg.figures import canvas

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
    figure = canvas.new(3.8, width=canvas.WIDTH / 2 * len(targets))
    axes = figure.subplots(1, len(targets), squeeze=False)
    # Thousands of opaque points are one blot, a dozen faint ones unseen.
    alpha = float(np.clip(20 / np.sqrt(len(labels)), 0.25, 0.9))
    for column, target in enumerate(targets):
        axis = axes[0, column]
        values = np.concatenate([labels[:, column], predictions[:, column]])
        low, high = canvas.bounds(values, canvas.RANGES[target])
        low, high = low - 0.05, high + 0.05
        axis.scatter(
            labels[:, column],
            predictions[:, column],
            s=16,
            alpha=alpha,
            color=canvas.COLOURS[target],
            edgecolors="none",
        )
        axis.plot([low, high], [low, high], color="0.3", linewidth=1)
        axis.set(
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
            xlabel=f"true {target}",
            ylabel=f"predicted {target}",
        )
        axis.set_title(
            f"{target}: CCC {wording.number(scores[target]['ccc'])}\n"
            f"{wording.count(len(labels), 'utterance')}, pooled",
            fontsize=11,
        )
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(ticker.MaxNLocator(5))
    canvas.save(figure, path)


def plane_histograms(path: pathlib.Path, labels, predictions) -> list[dict]:
    """Draws how labels and predictions lie in the valence-arousal plane.

    Args:
        path: PNG to write.
        labels: [utterances, 2], valence and arousal.
        predictions: [utterances, 2].

    Returns:
        What is drawn, one dict a bin that is not empty: {"of": "labels" or
        "predictions", "valence_low", "valence_high", "arousal_low",
        "arousal_high", "utterances"}.
    """
    panels = {"labels": labels, "predictions": predictions}
    bounds = [
        canvas.bounds(np.concatenate([labels[:, i], predictions[:, i]]), limits)
        for i, limits in enumerate(canvas.RANGES.values())
    ]
    edges = [np.linspace(*ends, _bins(len(labels)) + 1) for ends in bounds]
    counts = {
        name: np.histogram2d(*values.T, bins=edges)[0].astype(int)
        for name, values in panels.items()
    }
    top = max(count.max() for count in counts.values())
    figure = canvas.new(3.5)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, count) in zip(axes, counts.items(), strict=True):
        picture = axis.imshow(
            # Empty bins stay white: one utterance is to be told from none.
            np.ma.masked_equal(count.T, 0),
            origin="lower",
            extent=(*bounds[0], *bounds[1]),
            aspect="auto",
            vmin=1,
            vmax=max(top, 2),
            cmap="viridis_r",
        )
        axis.set_xlabel("valence")
        axis.set_title(wording.count(len(labels), name[:-1]), fontsize=11)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes[0].set_ylabel("arousal")
    # White is no utterance, and the bar begins at one.
    steps = ticker.MaxNLocator(8, integer=True).tick_values(1, top)
    figure.colorbar(
        picture,
        ax=axes,
        label="utterances (white: none)",
        ticks=[1, *(step for step in steps if 1 < step <= top)],
    )
    canvas.save(figure, path)
    return [
        {
            "of": name,
            "valence_low": float(edges[0][i]),
            "valence_high": float(edges[0][i + 1]),
            "arousal_low": float(edges[1][j]),
            "arousal_high": float(edges[1][j + 1]),
            "utterances": int(count[i, j]),
        }
        for name, count in counts.items()
        for i, j in np.argwhere(count)
    ]


def distributions(
    path: pathlib.Path, labels, predictions, targets: Sequence[str]
) -> list[dict]:
    """Draws how often each value is true, and how often predicted.

    Args:
        path: PNG to write.
        labels: [utterances, targets], NaN where there is none.
        predictions: [utterances, targets].
        targets: names of the columns.

    Returns:
        What is drawn, one dict a bin: {"target", "low", "high", "labels",
        "predictions"}, the last two counts.
    """
    figure = canvas.new(3.2)
    axes = figure.subplots(1, len(targets), squeeze=False)[0]
    rows = []
    for axis, target, truth, predicted in zip(
        axes,
        targets,
        np.transpose(labels),
        np.transpose(predictions),
        strict=True,
    ):
        truth = truth[np.isfinite(truth)]
        values = np.concatenate([truth, predicted])
        low, high = canvas.bounds(values, canvas.RANGES[target])
        edges = np.linspace(low, high, 2 * _bins(len(predicted)) + 1)
        counts = [np.histogram(x, edges)[0] for x in (truth, predicted)]
        axis.stairs(
            counts[1],
            edges,
            fill=True,
            color=canvas.COLOURS[target],
            alpha=0.55,
            label="predictions",
        )
        if len(truth):
            axis.stairs(
                counts[0],
                edges,
                color=canvas.GREY,
                linewidth=1.5,
                label="labels",
            )
        axis.set(xlabel=target, xlim=(low, high))
        axis.set_ylim(0, 1.05 * max(1, np.max(counts)))
        axis.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        canvas.open_frame(axis)
        canvas.legend_above(axis, 2)
        rows += [
            {
                "target": target,
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "labels": int(counts[0][i]),
                "predictions": int(counts[1][i]),
            }
            for i in range(len(edges) - 1)
        ]
    axes[0].set_ylabel("utterances")
    canvas.save(figure, path)
    return rows


def reliability(path: pathlib.Path, rows: Sequence[Mapping]) -> None:
    """Draws what is true on average where so much is predicted.

    Args:
        path: PNG to write.
        rows: what `affwild_omg.scoring.breakdown.reliability` returned.
    """
    targets = list(dict.fromkeys(row["target"] for row in rows))
    figure = canvas.new(3.7)
    axes = figure.subplots(1, len(targets), squeeze=False)[0]
    for axis, target in zip(axes, targets, strict=True):
        own = [row for row in rows if row["target"] == target]
        predicted = np.array([row["mean_prediction"] for row in own])
        true = np.array([row["mean_label"] for row in own])
        low, high = canvas.bounds(
            np.concatenate([predicted, true]), canvas.RANGES[target]
        )
        low, high = low - 0.05, high + 0.05
        axis.plot(
            [low, high], [low, high], color="0.6", linewidth=1, label="perfect"
        )
        axis.plot(
            predicted,
            true,
            color=canvas.COLOURS[target],
            marker=canvas.MARKERS[target],
            label=f"{len(own)} bin{'s' * (len(own) != 1)}",
        )
        axis.set(
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
            xlabel=f"mean predicted {target}",
            ylabel=f"mean true {target}",
        )
        canvas.open_frame(axis)
        canvas.legend_above(axis, 2)
    canvas.save(figure, path)


def calibration(path: pathlib.Path, rows: Sequence[Mapping]) -> None:
    """Draws the range and the mean of labels and of predictions.

    Args:
        path: PNG to write.
        rows: one a target: {"target", and for "label" and "prediction"
            "<side>_mean", "<side>_std", "<side>_q05", "<side>_q95"}.
    """
    figure = canvas.new(0.9 + 0.9 * len(rows))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, row in zip(axes, rows, strict=True):
        target = row["target"]
        sides = (("label", canvas.GREY), ("prediction", canvas.COLOURS[target]))
        for y, (side, colour) in enumerate(sides):
            mean, std = row[f"{side}_mean"], row[f"{side}_std"]
            ends = row[f"{side}_q05"], row[f"{side}_q95"]
            axis.plot(ends, [y, y], color=colour, linewidth=1.5)
            axis.plot(
                [mean - std, mean + std],
                [y, y],
                color=colour,
                linewidth=7,
                alpha=0.5,
                solid_capstyle="butt",
            )
            axis.plot(mean, y, color=colour, marker="o", markersize=7)
        low, high = canvas.bounds(
            [
                row[f"{side}_{end}"]
                for side, _ in sides
                for end in ("q05", "q95")
            ],
            canvas.RANGES[target],
        )
        axis.set(xlim=(low - 0.03, high + 0.03), ylim=(1.6, -0.6))
        axis.set_xlabel(target, labelpad=1)
        axis.set_yticks([0, 1], ["labels", "predictions"])
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
        canvas.open_frame(axis)
    canvas.save(figure, path)


def _bins(utterances):
    return min(MAX_BINS, round(utterances**0.5) + 1)
