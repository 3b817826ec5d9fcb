"""What is known of each frame of a video in the end, and its table."""

import contextlib
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.faces import quality
from affwild_omg.faces.views import Face

BOX = ("x", "y", "width", "height")
QUALITY = ("seen", "blur", "yaw", "roll", "quality", "reason")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """What is known of a frame in the end.

    Attributes:
        number: of the frame, from 0 on.
        time_s: its time since the first frame, in seconds.
        faces: {track: Face} of the people who are seen; 1 is the main one.
        values: {track: predicted, [targets]} of the same.
        reason: why there is no face, if there is none.
    """

    number: int
    time_s: float
    faces: Mapping[int, Face]
    values: Mapping[int, np.ndarray]
    reason: str

    @functools.cached_property
    def qualities(self) -> dict[int, quality.Quality]:
        """{track: how well its face can be seen}."""
        return {x: quality.measure_face(y) for x, y in self.faces.items()}


class Table(contextlib.AbstractContextManager):
    """Writes a row for each face of each frame; one without a face has one."""

    def __init__(
        self,
        path: pathlib.Path,
        targets: Sequence[str],
        half_widths: Mapping[str, float | None] | None = None,
    ):
        """Opens the table.

        Args:
            path: CSV to write.
            targets: of the values.
            half_widths: {target: how far the truth may lie from its value}, for
                columns of the lowest and the highest; None leaves them out.
        """
        # A half-width that could not be measured leaves its columns empty.
        self._half_widths = None
        if half_widths is not None:
            widths = [half_widths.get(target) for target in targets]
            self._half_widths = np.array(widths, float)
        bounds = [f"{x}_{end}" for x in targets for end in ("low", "high")]
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._columns = [
            *("frame", "time_s", "face", *BOX, "confidence", *targets),
            *(bounds if half_widths is not None else ()),
            *("track", *QUALITY),
        ]
        self._writer.writerow(self._columns)

    def add(self, moment: Moment) -> None:
        """Writes the rows of the next frame."""
        place = [moment.number, f"{moment.time_s:.6f}"]
        for track, face in sorted(moment.faces.items()):
            found = moment.qualities[track]
            self._writer.writerow(
                [
                    *place,
                    1,
                    *(f"{x:.1f}" for x in face.box),
                    f"{face.confidence:.4f}",
                    *(f"{x:.6f}" for x in moment.values[track]),
                    *self._bounds(moment.values[track]),
                    track,
                    "detected" if face.detected else "tracked",
                    f"{found.blur:.3f}",
                    found.yaw,
                    f"{face.roll:.1f}",
                    f"{found.value:.4f}",
                    found.reason,
                ]
            )
        if not moment.faces:
            empty = [""] * (len(self._columns) - 4)
            self._writer.writerow([*place, 0, *empty, moment.reason])

    def _bounds(self, values):
        if self._half_widths is None:
            return []
        ends = np.stack(
            [values - self._half_widths, values + self._half_widths], axis=1
        )
        return ["" if np.isnan(x) else f"{x:.6f}" for x in ends.ravel()]

    def __exit__(self, *exception: object) -> None:
        self._file.close()
