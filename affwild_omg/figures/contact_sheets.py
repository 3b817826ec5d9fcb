"""Shows utterances as rows of face crops."""

import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg.figures import canvas

_GAP = 6  # pixels between crops, and under a caption
_LINE = 21  # pixels of a caption's line
_APART = 12  # pixels between a row and the next one's caption


def contact_sheet(
    path: pathlib.Path,
    rows: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    columns: int,
) -> None:
    """Draws a contact sheet, a row for each utterance.

    Args:
        path: PNG to write.
        rows: (caption, crops uint8 [frames, size, size, 3] RGB, face bool
            [frames]) each, the captions in at most two lines; a frame without
            a face is grey.
        columns: crops in a row; a row may have fewer.
    """
    size = rows[0][1].shape[1]
    lines = max(caption.count("\n") + 1 for caption, *_ in rows)
    above = _APART + _LINE * lines + _GAP
    height, width = size + above, size + _GAP
    sheet = np.full(
        (height * len(rows), width * columns - _GAP, 3), 255, np.uint8
    )
    inches = canvas.WIDTH / sheet.shape[1]
    figure = canvas.new(sheet.shape[0] * inches)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    for i, (caption, crops, face) in enumerate(rows):
        top = i * height + above
        axis.text(
            0,
            top - _GAP,
            caption,
            fontsize=9.5,
            va="bottom",
            linespacing=1.25,
            parse_math=False,
        )
        for j, (crop, found) in enumerate(zip(crops, face, strict=True)):
            left = j * width
            cell = sheet[top : top + size, left : left + size]
            # Fewer colours halve the file, and nobody sees it.
            cell[:] = crop >> 3 << 3 if found else 225
            if not found:
                place = left + size / 2, top + size / 2
                axis.text(*place, "no face", ha="center", va="center")
    axis.imshow(sheet, interpolation="antialiased", aspect="auto")
    axis.set_axis_off()
    # A pixel of the sheet is one of the picture.
    canvas.save(figure, path, dpi=1 / inches)
