"""What all pictures share: colours, ranges, sizes, frames."""

import io
import pathlib

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no display, no state

RANGES = {"valence": (-1.0, 1.0), "arousal": (0.0, 1.0)}
# Blue and orange are told apart by the colour-blind, and markers by all.
COLOURS = {"valence": "tab:blue", "arousal": "tab:orange"}
MARKERS = {"valence": "o", "arousal": "s"}
MOST = 5000  # points of a panel: more are one blot
GREY = "0.35"  # of what is true
WIDTH = 6.5  # inches: a page's column, and still to be read on a phone


def new(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save(
    figure: Figure, path: pathlib.Path | io.BytesIO, dpi: float = 140
) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, dpi=dpi)


def bounds(values, limits, margin: float = 0) -> tuple[float, float]:
    """Returns limits, wider where finite values lie outside, and a margin."""
    values = np.asarray(values)
    known = [*values[np.isfinite(values)], *limits]
    return min(known) - margin, max(known) + margin


def every(points: int) -> int:
    """Returns n so that every n-th of some points are as many as are drawn."""
    return -(-points // MOST) or 1


def shorten(name: str, longest: int) -> str:
    """Returns a name of at most so many characters, cut in its middle."""
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[head + 1 - longest :]}"


def legend_above(axis, columns: int, handles=None) -> None:
    """Puts a legend above the upper right corner, where nothing is drawn."""
    axis.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=columns,
        frameon=False,
    )


def open_frame(*axes) -> None:
    """Removes the upper and the right edge of axes."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)


def name_rows(axes, names) -> None:
    """Names the rows of axes side by side, from the top, and parts them."""
    axes[0].set_yticks(range(len(names)), names, parse_math=False)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        for y in range(1, len(names)):
            axis.axhline(y - 0.5, color="0.92", linewidth=0.8, zorder=0)
    open_frame(*axes)
