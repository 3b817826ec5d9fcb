"""The values of a video in the formats of other tools: ELAN, py-feat, ABAW."""

import contextlib
import csv
import datetime
import math
import mimetypes
import pathlib
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.faces.tracking import landmarks_in_frame
from affwild_omg.inference.course import Course
from affwild_omg.inference.moments import Moment
from affwild_omg.paper.task import LANDMARKS, TARGETS

# What py-feat's accessors ask for. Its emotions are not ours, and stay empty.
FEX_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
FEX_EMOTIONS = (
    *("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    "neutral",
)
FEX_COLUMNS = (
    *("frame", *FEX_BOX, "FaceScore"),
    *(f"{axis}_{i}" for axis in "xy" for i in range(LANDMARKS)),
    *(*FEX_EMOTIONS, "Identity", "input", "approx_time"),
)

ABAW_HEADER = ("image_location", *TARGETS)
ABAW_LOW, ABAW_HIGH = -1.0, 1.0


class Fex(contextlib.AbstractContextManager):
    """Writes the columns of py-feat's Fex, a row for each frame and face.

    `feat.utils.io.read_feat` reads it. valence and arousal follow its own
    columns.
    """

    def __init__(
        self, path: pathlib.Path, film: pathlib.Path, targets: Sequence[str]
    ):
        """Opens the file.

        Args:
            path: CSV to write.
            film: the video, for the column input.
            targets: of the values.
        """
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*FEX_COLUMNS, *targets])
        self._film, self._count = str(film), len(targets)

    def add(self, moment: Moment) -> None:
        """Writes the rows of the next frame."""
        end = [self._film, f"{moment.time_s:.6f}"]
        emotions = [""] * len(FEX_EMOTIONS)
        for track, face in sorted(moment.faces.items()):
            points = landmarks_in_frame(face).T.ravel()
            self._writer.writerow(
                [
                    moment.number,
                    *(f"{x:.1f}" for x in face.box),
                    f"{face.confidence:.4f}",
                    *(f"{x:.2f}" for x in points),
                    *(*emotions, f"Person_{track}", *end),
                    *(f"{x:.6f}" for x in moment.values[track]),
                ]
            )
        if not moment.faces:
            nothing = [""] * (len(FEX_COLUMNS) - 1 - len(end))
            self._writer.writerow(
                [moment.number, *nothing, *end, *[""] * self._count]
            )

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class Abaw(contextlib.AbstractContextManager):
    """Writes a video's part of an ABAW submission, a row for each frame.

    The rows are `<stem>/00001.jpg,valence,arousal`, counted from 1. The rule of
    gaps is "hold": a frame without the main person takes the values of the last
    one with it, and frames before the first take the first's; a video without
    any face has zeros. What lies beyond [-1, 1] is set to the nearer end. What
    was filled or set is told.
    """

    def __init__(
        self, path: pathlib.Path, film: pathlib.Path, targets: Sequence[str]
    ):
        """Opens the file.

        Args:
            path: text to write.
            film: the video, whose stem names the frames.
            targets: of the values, both.
        """
        self._path, self._film = path, film
        self._order = [targets.index(name) for name in TARGETS]
        self._file = path.open("w", encoding="utf-8")
        self._file.write(f"{','.join(ABAW_HEADER)}\n")
        self._held, self._frames, self._written = None, 0, 0
        self._filled = self._clipped = 0

    def add(self, moment: Moment) -> None:
        """Writes the row of the next frame, if its values are known."""
        # Frames that the film has lost hold the values before them, too.
        self._filled += moment.number - self._frames
        self._reach(moment.number)
        if 1 in moment.values:
            own = np.asarray(moment.values[1])[self._order]
            self._held = np.clip(own, ABAW_LOW, ABAW_HIGH)
            self._clipped += bool((self._held != own).any())
        else:
            self._filled += 1
        self._reach(moment.number + 1)

    def _reach(self, frames) -> None:
        """Goes on to so many frames, and writes them if values are known."""
        self._frames = frames
        if self._held is None:
            return
        valence, arousal = self._held
        while self._written < self._frames:
            self._written += 1
            self._file.write(
                f"{self._film.stem}/{self._written:05d}.jpg,{valence:.6f},"
                f"{arousal:.6f}\n"
            )

    def __exit__(self, kind, *exception: object) -> None:
        if self._held is None:
            self._held = (0.0, 0.0)
            self._reach(self._frames)
        self._file.close()
        if kind is not None:
            return
        check_abaw(self._path, {self._film.stem: self._frames})
        if self._filled or self._clipped:
            logging.info(
                "%s: of %s, %d without the main person hold the last values, "
                "%d were beyond [-1, 1]",
                self._path.name,
                wording.count(self._frames, "frame"),
                self._filled,
                self._clipped,
            )


def check_abaw(
    path: pathlib.Path | str, frames: dict[str, int] | pathlib.Path | str
) -> int:
    """Checks a submission to ABAW's valence-arousal challenge.

    Args:
        path: the submission, of one video or of all.
        frames: {name of a video: its frames}, or the organisers' sample file,
            whose image locations must all be answered, in its order.

    Returns:
        How many rows there are.

    Raises:
        UserError: the header is not image_location,valence,arousal, a row is
            missing, too many or of another frame, or a value is not a number in
            [-1, 1].
    """
    if isinstance(frames, dict):
        expected = (
            f"{name}/{number:05d}.jpg"
            for name, count in frames.items()
            for number in range(1, count + 1)
        )
    else:
        expected = (row[0] for _, row in _abaw_rows(frames))
    rows, count = _abaw_rows(path), 0
    for wanted in expected:
        line, row = next(rows, (None, None))
        if row is None:
            raise UserError(f"{path} ends before {wanted}; answer every frame")
        count += 1
        if row[0] != wanted or len(row) != len(ABAW_HEADER):
            raise UserError(
                f"{path}, line {line}: {wanted},<valence>,<arousal> is due, "
                f"not {','.join(row)!r}; answer every frame once, in order"
            )
        for text in row[1:]:
            try:
                valid = ABAW_LOW <= float(text) <= ABAW_HIGH
            except ValueError:
                valid = False
            if not valid:
                raise UserError(
                    f"{path}, line {line}: {text!r} is not a number in [-1, 1]"
                )
    line, row = next(rows, (None, None))
    if row is not None:
        raise UserError(
            f"{path}, line {line}: {','.join(row)!r} is of no frame that is "
            "due; leave it out"
        )
    return count


def _abaw_rows(path):
    """Yields (line, fields) of a submission or a sample, after its header."""
    with pathlib.Path(path).open(encoding="utf-8-sig") as file:
        header = file.readline().strip().split(",")
        if header != [*ABAW_HEADER]:
            raise UserError(
                f"{path}, line 1: the header must be {','.join(ABAW_HEADER)}, "
                f"not {','.join(header)!r}"
            )
        for line, text in enumerate(file, 2):
            # The name of a film may have commas.
            yield line, text.rstrip("\r\n").rsplit(",", 2)


def write_elan(
    path: pathlib.Path,
    course: Course,
    film: pathlib.Path,
    targets: Sequence[str],
) -> None:
    """Writes ELAN's annotation document, with the means of each second.

    There is a tier for each target, or of several people for each person and
    target, and an annotation for each second in which the person is seen.

    Args:
        path: EAF to write.
        course: of the whole video.
        film: the video, which the document names by its full path.
        targets: of the values.
    """
    where = "http://www.w3.org/2001/XMLSchema-instance"
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "affwild_omg",
            "DATE": datetime.datetime.now()
            .astimezone()
            .isoformat("T", "seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": where,
            "xsi:noNamespaceSchemaLocation": (
                "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
            ),
        },
    )
    header = ElementTree.SubElement(
        root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    )
    kind, _ = mimetypes.guess_type(film.name)
    ElementTree.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        {
            "MEDIA_URL": film.resolve().as_uri(),
            "MIME_TYPE": kind or "video/mp4",
        },
    )
    slots = ElementTree.SubElement(root, "TIME_ORDER")
    times, tiers = [], {}
    end_ms = math.ceil(1000 * course.times[-1]) + 1
    several = len(course.tracks) > 1
    for entry in course.seconds():
        begin = 1000 * entry["second"]
        for face in entry["faces"]:
            for target in targets:
                name = target + f"_{face['track']}" * several
                span = begin, min(begin + 1000, end_ms)
                ids = [f"ts{len(times) + i}" for i in (1, 2)]
                times += zip(span, ids, strict=True)
                tiers.setdefault(name, []).append(
                    (ids, wording.number(face[target]))
                )
    for time_ms, name in sorted(times, key=lambda x: x[0]):
        ElementTree.SubElement(
            slots,
            "TIME_SLOT",
            {"TIME_SLOT_ID": name, "TIME_VALUE": str(time_ms)},
        )
    count = 0
    for name, annotations in sorted(tiers.items()):
        tier = ElementTree.SubElement(
            root, "TIER", {"LINGUISTIC_TYPE_REF": "value", "TIER_ID": name}
        )
        for (first, last), text in annotations:
            count += 1
            aligned = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{count}",
                    "TIME_SLOT_REF1": first,
                    "TIME_SLOT_REF2": last,
                },
            )
            value = ElementTree.SubElement(aligned, "ANNOTATION_VALUE")
            value.text = text
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {
            "GRAPHIC_REFERENCES": "false",
            "LINGUISTIC_TYPE_ID": "value",
            "TIME_ALIGNABLE": "true",
        },
    )
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)
