"""Draws what was found and predicted on a film, frame by frame."""

import collections
import contextlib
import fractions
import os

import av
import cv2
import numpy as np

from affwild_omg.cli import wording
from affwild_omg.faces.tracking import landmarks_in_frame
from affwild_omg.faces.video import Video

# Of people, in turn: told apart by the colour-blind, too (Okabe and Ito, 2008).
COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((213, 94, 0), (204, 121, 167), (0, 114, 178)),
)
WHITE, DARK = (255, 255, 255), (24, 24, 24)

# Pixels of a frame's shorter side to one of lines and letters.
UNIT = 240
# The plane's share of that side, its least side in pixels, and its trail in
# seconds.
PLANE_SHARE, PLANE_LEAST, TRAIL_S = 0.28, 40, 2.0

# Times of an MP4 are whole microseconds here, as `Video` gives them.
TICKS = 1_000_000


class AnnotatedFilm(contextlib.AbstractContextManager):
    """Writes a film again, with what was found in each frame.

    Each face has its box, landmarks, number and values. A small plane of
    valence (to the right) and arousal (up), both from -1 to 1, shows the values
    of the frame and a trail of those before; what lies outside is at its edge.
    The film is H.264 in MP4, without sound; an odd width or height grows by a
    pixel.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        targets: tuple[str, ...],
    ):
        """Opens both films.

        Args:
            source: the film that is drawn on.
            target: MP4 to write.
            targets: what the values are; the plane needs valence and arousal.

        Raises:
            UserError: the source cannot be read, see `Video`.
        """
        self._video = Video(source)
        self._frames = iter(self._video)
        self._output = av.open(os.fspath(target), "w", format="mp4")
        self._stream = None
        self._targets = targets
        self._trails = collections.defaultdict(
            lambda: collections.deque(maxlen=round(TRAIL_S * self._video.fps))
        )

    def add(self, moment) -> None:
        """Draws and writes the next frame.

        Args:
            moment: what is known of it: `faces`, {number: Face}; `values`,
                {number: [targets]} of the same; and `reason`, why there is no
                face, if there is none.
        """
        faces, values = moment.faces, moment.values
        time_s, frame = next(self._frames)
        frame = frame.copy()
        unit = max(1, round(min(frame.shape[:2]) / UNIT))
        for number, face in faces.items():
            _draw_face(frame, unit, number, face)
        if not faces:
            _write(
                frame,
                unit,
                moment.reason,
                (2 * unit, frame.shape[0] - 4 * unit),
            )
        for number in self._trails.keys() | faces.keys():
            self._trails[number].append(values.get(number))
        if {"valence", "arousal"} <= set(self._targets):
            order = [self._targets.index(x) for x in ("valence", "arousal")]
            _draw_plane(frame, unit, self._trails, order)
        lines = []
        for number, face in sorted(faces.items()):
            x, y = (round(value) for value in face.box[:2])
            text = f"{number}: {self._label(values[number])}"
            place = x, y - 3 * unit
            lines.append(
                _write(frame, unit, text, place, _colour(number), lines)
            )
        self._encode(frame, time_s)

    def _label(self, values) -> str:
        return " ".join(
            f"{name[0].upper()} {wording.number(value, 2)}"
            for name, value in zip(self._targets, values, strict=True)
        )

    def _encode(self, frame, time_s) -> None:
        if self._stream is None:
            self._stream = self._start(frame)
        size = self._stream.width, self._stream.height
        height, width = frame.shape[:2]
        if (width + width % 2, height + height % 2) == size:
            frame = cv2.copyMakeBorder(
                *(frame, 0, height % 2, 0, width % 2),
                borderType=cv2.BORDER_REPLICATE,
            )
        else:  # some recordings change their size on the way
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts = round(time_s * TICKS)
        picture.time_base = fractions.Fraction(1, TICKS)
        self._output.mux(self._stream.encode(picture))

    def _start(self, frame) -> av.VideoStream:
        rate = fractions.Fraction(self._video.fps).limit_denominator(1001)
        stream = self._output.add_stream("libx264", rate=rate)
        height, width = frame.shape[:2]
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        stream.time_base = fractions.Fraction(1, TICKS)
        stream.codec_context.time_base = fractions.Fraction(1, TICKS)
        return stream

    def __exit__(self, kind, *exception: object) -> None:
        with self._video, self._output:
            if kind is None and self._stream is not None:
                self._output.mux(self._stream.encode())


def _colour(number) -> tuple[int, int, int]:
    """Returns the colour of a person."""
    return COLOURS[(number - 1) % len(COLOURS)]


def _draw_face(frame, unit, number, face) -> None:
    """Draws the box and the landmarks of a face."""
    colour = _colour(number)
    x, y, width, height = (round(value) for value in face.box)
    cv2.rectangle(frame, (x, y), (x + width, y + height), colour, unit)
    for point in np.rint(landmarks_in_frame(face)).astype(int):
        cv2.circle(frame, point.tolist(), unit, colour, cv2.FILLED)


def _write(frame, unit, text, place, colour=WHITE, others=()):
    """Writes a line on a dark ground, moved into the frame as far as it fits.

    It also moves up or down, as little as it can, off other lines, if there is
    room.

    Args:
        frame: uint8 [height, width, 3], is drawn on.
        unit: pixels of a line.
        text: of ASCII.
        place: its lower left corner.
        colour: of the letters.
        others: what earlier calls returned.

    Returns:
        Left, top, right and bottom of the ground, in pixels.
    """
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit
    (width, height), below = cv2.getTextSize(text, font, scale, unit)
    x = max(0, min(place[0], frame.shape[1] - width))
    least, most = height, frame.shape[0] - below
    y = max(least, min(place[1], most))
    beside = [z for z in others if z[0] <= x + width and x <= z[2]]
    room = [top - 1 - below for _, top, _, _ in beside]
    room += [bottom + 1 + unit + height for *_, bottom in beside]
    for own in sorted([y, *room], key=lambda own: abs(own - y)):
        clear = all(
            bottom < own - height - unit or own + below < top
            for _, top, _, bottom in beside
        )
        if clear and least <= own <= most:
            y = own
            break
    left, top, right, bottom = x, y - height - unit, x + width, y + below
    cv2.rectangle(frame, (left, top), (right, bottom), DARK, cv2.FILLED)
    cv2.putText(
        frame, text, (x, y), font, scale, colour, unit, lineType=cv2.LINE_AA
    )
    return left, top, right, bottom


def _draw_plane(frame, unit, trails, order) -> None:
    """Draws the plane in the upper right corner, if it can be read there."""
    side = round(PLANE_SHARE * min(frame.shape[:2]))
    if side < PLANE_LEAST:
        return
    left, top = frame.shape[1] - side - 2 * unit, 2 * unit
    ground = frame[top : top + side, left : left + side]
    ground[:] = ground // 4 + np.array(DARK, np.uint8) // 2
    middle = side // 2
    cv2.line(ground, (0, middle), (side, middle), (120,) * 3, unit)
    cv2.line(ground, (middle, 0), (middle, side), (120,) * 3, unit)
    reach = middle - 3 * unit
    for number, trail in sorted(trails.items()):
        colour = np.array(_colour(number))
        before = None
        for age, values in enumerate(reversed(trail)):
            point = None
            if values is not None and np.isfinite(values).all():
                valence, arousal = np.clip(np.asarray(values)[order], -1, 1)
                point = (
                    round(middle + reach * float(valence)),
                    round(middle - reach * float(arousal)),
                )
                if age == 0:
                    shade = colour.tolist()
                    cv2.circle(ground, point, 2 * unit, shade, cv2.FILLED)
                elif before is not None:
                    shade = (colour * (1 - age / trail.maxlen)).tolist()
                    cv2.line(ground, before, point, shade, unit)
            before = point
    _write(ground, 1, "V", (side, middle - 2))
    _write(ground, 1, "A", (middle + 2, 0))
