"""A mouth that opens: the lips' line, along which a face is cut."""

import numpy as np

_UPPER_LIP = [49, 50, 51, 52, 53, 61, 62, 63]
_LOWER_LIP = [55, 56, 57, 58, 59, 65, 66, 67]


class Mouth:
    """The mouth of a face, which is closed on the face's texture.

    Args:
        points: the face's landmarks, float [68, 2], in pixels of the texture.
        unit: pixels from the eyes to the mouth.
    """

    def __init__(self, points: np.ndarray, unit: float):
        self._unit = unit
        self._lips = points[60:65].copy()
        self._lips[1:4] = (points[61:64] + points[[67, 66, 65]]) / 2
        self._middle = (points[60, 0] + points[64, 0]) / 2
        self._half = (points[64, 0] - points[60, 0]) / 2
        self._nose = points[33, 1]
        self._chin = points[8, 1]

    def _line(self, x):
        return np.interp(x, self._lips[:, 0], self._lips[:, 1])

    def _profile(self, x, half):
        return np.clip(1 - ((x - self._middle) / half) ** 2, 0, 1) ** 0.8

    def opened(self, points: np.ndarray, gap: float) -> np.ndarray:
        """Moves each lip of the landmarks [68, 2] by `gap` pixels."""
        points = points.copy()
        for lip, move in ((_UPPER_LIP, -gap), (_LOWER_LIP, gap)):
            points[lip, 1] += move * self._profile(points[lip, 0], self._half)
        return points

    def closed(self, x: np.ndarray, y: np.ndarray, gap: float) -> np.ndarray:
        """Undoes `opened`: the row that each pixel of a closed mouth is from.

        Args:
            x: float32 [height, width], the pixels' columns.
            y: the same, their rows.
            gap: as for `opened`.
        """
        line = self._line(x)
        apart = gap * self._profile(x, self._half)
        up = np.clip((y - self._nose) / (line - self._nose), 0, 1)
        down = np.clip((self._chin - y) / (self._chin - line), 0, 1)
        return np.where(y < line, y - apart * up, y + apart * down).astype(
            np.float32
        )

    def gape(self, x: np.ndarray, y: np.ndarray, opening: float) -> tuple:
        """Opens the mouth.

        Args:
            x: float32 [size, size], the column that each pixel is from.
            y: the same, its row, of the closed face.
            opening: in units.

        Returns:
            The rows [size, size] of the open one; the rows and columns that
            hold its inside; and there, the share [..., 1] of teeth, tongue
            and dark in each pixel, and their colour [..., 3].
        """
        unit = self._unit
        jaw = (y > self._nose) & (y < self._chin + 1.4 * unit)
        jaw = _box(jaw & (np.abs(x - self._middle) < 2.1 * self._half))
        whole, x, part = y.copy(), x[jaw], y[jaw]
        line = self._line(x)
        profile = self._profile(x, self._half * 0.96)
        drop = max(opening, 0) * unit
        lift = 0.16 * drop
        top = line - lift * profile
        bottom = line + 0.84 * drop * profile
        up = np.clip((part - self._nose) / (top - self._nose), 0, 1)
        above = part + lift * profile * up
        # Below the lips the whole jaw drops, and the neck takes it up.
        depth = (part - bottom) / (self._chin - self._lips[2, 1])
        wide = self._half * (0.96 + 1.1 * np.clip(depth, 0, 1))
        neck = np.clip((part - self._chin - 0.5 * drop) / (1.2 * unit), 0, 1)
        give = 1 - neck * neck * (3 - 2 * neck)
        below = part - 0.84 * drop * self._profile(x, wide) * give
        whole[jaw] = np.where(part < (top + bottom) / 2, above, below)
        lips = _box((part > top - 4) & (part < bottom + 4) & (profile > 0))
        box = tuple(
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in zip(jaw, lips, strict=True)
        )
        drawn = self._inside(part[lips], top[lips], bottom[lips], profile[lips])
        return whole, box, *drawn

    def _inside(self, y, top, bottom, profile):
        """Returns the inside's share and colour, given the lips' edges."""
        edge = np.minimum(y - top, bottom - y)
        # Lips that touch still show a thin shadow between them.
        inside = np.maximum(
            np.clip(edge / 1.5 + 0.5, 0, 1) * (bottom - top > 0.6),
            0.4 * np.exp(-((y - (top + bottom) / 2) ** 2) / 1.2),
        ) * np.clip(profile * 4, 0, 1)
        depth = np.clip((y - top) / (0.17 * self._unit), 0, 2)
        teeth = np.clip((1 - depth) * 4, 0, 1) * np.clip(
            (bottom - top) / (0.10 * self._unit) - 0.6, 0, 1
        )
        teeth *= np.clip(profile * 1.6 - 0.35, 0, 1) * 0.8
        tongue = np.clip(1 - (bottom - y) / (0.16 * self._unit), 0, 1) * 0.5
        dark = np.array([52.0, 22.0, 22.0])
        colour = dark + tongue[..., None] * np.array([95.0, 40.0, 42.0])
        shade = 0.8 + 0.2 * np.clip(depth, 0, 1)
        ivory = np.array([238.0, 218.0, 190.0]) * shade[..., None]
        colour += teeth[..., None] * (ivory - colour)
        return inside[..., None], colour


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Returns the rows and columns that hold all that is true, or nothing."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
