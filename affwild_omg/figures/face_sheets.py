"""Shows what was found in a clip: its frames, boxes, landmarks and reasons."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Patch, Rectangle

from affwild_omg.figures import canvas

COLUMNS, ROWS = 4, 6
THUMB_HEIGHT = 256  # pixels of a stored frame, at most
# Measures of the sheet in its pixels.
_WIDE, _HIGH = 228, 128  # of a frame, 16:9, beside which stands its crop
_GAP, _CAPTION = 12, 24
_STRIP, _HEADER = 60, 44
_DPI = 100
# Of the reasons in their order, told apart by the colour-blind.
_REASON_COLOURS = ("0.75", "tab:orange", "tab:purple", "tab:brown", "tab:red")
_FOUND = "tab:blue"


@dataclasses.dataclass
class _Cell:
    time_s: float
    thumb: np.ndarray
    scale: float  # from pixels of the frame to those of the thumb
    face: object = None


class FaceSheet:
    """Collects frames and faces of a clip of any length, for one picture.

    Of a clip's frames, every n-th is kept, n doubled whenever the sheet is
    full; of all others, the confidence and the reason. A frame may be shown
    long before its face is known:

        sheet = FaceSheet("clip.mp4", views.REASONS)
        for _, face in tracking.faces_of_video(video, watch=sheet.watch):
            sheet.add(face)
        sheet.write(path)
    """

    def __init__(self, name: str, reasons: Sequence[str]):
        """Makes an empty sheet.

        Args:
            name: of the clip.
            reasons: why there may be no face; each has its colour by its
                place, the same on all sheets.
        """
        self._name = name
        self._colours = dict(zip(reasons, _REASON_COLOURS, strict=False))
        self._every = 1
        self._cells = {}  # index of a frame -> _Cell
        self._times = []
        self._confidences = []
        self._reasons = []

    def watch(self, time_s: float, frame: np.ndarray) -> None:
        """Takes the next frame.

        Args:
            time_s: its time in seconds.
            frame: RGB uint8 [height, width, 3].
        """
        index = len(self._times)
        self._times.append(time_s)
        if index % self._every:
            return
        if len(self._cells) == COLUMNS * ROWS:
            self._every *= 2
            self._cells = {
                i: cell
                for i, cell in self._cells.items()
                if i % self._every == 0
            }
            if index % self._every:
                return
        step = -(-frame.shape[0] // THUMB_HEIGHT)
        step = min(step, frame.shape[1])  # a thumb is a pixel wide at least
        height, width = (side // step for side in frame.shape[:2])
        blocks = frame[: height * step, : width * step].reshape(
            height, step, width, step, 3
        )
        thumb = blocks.mean(axis=(1, 3)).astype(np.uint8)
        self._cells[index] = _Cell(time_s, thumb, 1 / step)

    def add(self, face) -> None:
        """Takes the face of the next frame, as `faces.tracking.Face`."""
        cell = self._cells.get(len(self._reasons))
        if cell is not None:
            cell.face = face
        self._confidences.append(face.confidence)
        self._reasons.append(face.reason)

    def write(self, path: pathlib.Path) -> None:
        """Draws the sheet as PNG.

        Args:
            path: PNG to write.

        Raises:
            ValueError: there are no frames, or not as many faces.
        """
        if not self._reasons or len(self._reasons) != len(self._times):
            raise ValueError(
                f"a sheet needs frames and as many faces, not "
                f"{len(self._times)} and {len(self._reasons)}"
            )
        rows = -(-len(self._cells) // COLUMNS)
        cell_width = _WIDE + _HIGH + _GAP
        width = COLUMNS * cell_width + _GAP
        below = _HEADER + _STRIP + 3 * _GAP
        height = below + rows * (_HIGH + _CAPTION + _GAP)
        figure = canvas.new(height / _DPI, width / _DPI)
        figure.set_layout_engine("none")
        figure.text(
            _GAP / width,
            1 - _GAP / height,
            canvas.shorten(self._name, 90),
            fontsize=12,
            weight="bold",
            va="top",
            parse_math=False,
        )
        self._draw_strip(
            figure.add_axes(
                (
                    _GAP / width,
                    1 - (_HEADER + _STRIP) / height,
                    1 - 2 * _GAP / width,
                    _STRIP / height,
                )
            )
        )
        axis = figure.add_axes((0, 0, 1, 1), facecolor="none")
        axis.set_axis_off()
        axis.set(xlim=(0, width), ylim=(height, 0))
        for place, index in enumerate(sorted(self._cells)):
            row, column = divmod(place, COLUMNS)
            left = _GAP + column * cell_width
            top = below + row * (_HIGH + _CAPTION + _GAP)
            _draw_cell(axis, self._cells[index], left, top)
        canvas.save(figure, path, dpi=_DPI)

    def _draw_strip(self, axis) -> None:
        """Draws the confidence of every frame, and why there is no face."""
        reasons = np.array(self._reasons)
        frames = np.arange(len(reasons))
        counts = collections.Counter(self._reasons)
        axis.fill_between(frames, self._confidences, color=_FOUND, step="mid")
        handles = [Patch(color=_FOUND, label=f"face {counts.pop('', 0)}")]
        for reason, colour in self._colours.items():
            if reason not in counts:
                continue
            axis.fill_between(
                frames, reasons == reason, color=colour, lw=0, step="mid"
            )
            handles.append(
                Patch(color=colour, label=f"{reason} {counts[reason]}")
            )
        axis.set(xlim=(-0.5, len(reasons) - 0.5), ylim=(0, 1))
        axis.set_axis_off()
        axis.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(handles),
            frameon=False,
            fontsize=9,
            title=f"confidence over {len(reasons)} frames, "
            f"{self._times[-1]:.1f} s",
            title_fontsize=9,
            alignment="right",
            borderaxespad=0,
        )


def _draw_cell(axis, cell, left, top) -> None:
    """Draws a frame with its box, its crop with landmarks, and a caption."""
    face = cell.face
    height, width = cell.thumb.shape[:2]
    scale = min(_HIGH / height, _WIDE / width)
    # Right of the slot, so that the crop stands beside the frame.
    x = left + _WIDE - scale * width
    y = top + (_HIGH - scale * height) / 2
    axis.imshow(
        cell.thumb,
        extent=(x, x + scale * width, y + scale * height, y),
        interpolation="antialiased",
    )
    crop = left + _WIDE + 2
    corner = (crop, top)
    if face.found:
        scale *= cell.scale
        box = [scale * value for value in face.box]
        axis.add_patch(
            Rectangle((x + box[0], y + box[1]), *box[2:], fill=False, color="w")
        ).set_clip_box(None)
        side = len(face.crop)
        axis.imshow(
            face.crop,
            extent=(crop, crop + _HIGH, top + _HIGH, top),
            interpolation="bilinear",
        )
        points = (face.landmarks + 0.5) * _HIGH / side + corner
        axis.plot(*points.T, ".", color="lime", markersize=2)
        caption = f"{cell.time_s:.2f} s   confidence {face.confidence:.2f}"
    else:
        axis.add_patch(Rectangle(corner, _HIGH, _HIGH, color="0.9", lw=0))
        caption = f"{cell.time_s:.2f} s   {face.reason}"
    axis.text(
        x,
        top + _HIGH + 3,
        caption,
        fontsize=8.5,
        va="top",
        color="black" if face.found else "firebrick",
    )
