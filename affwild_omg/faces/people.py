"""Groups the tracks of a clip to people, and picks the main one.

A track is one face without a break. Two tracks of one frame are two people;
others are compared by the most frontal of their crops.
"""

import contextlib
import dataclasses
import itertools
import os
import pickle
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from affwild_omg.faces import alignment
from affwild_omg.faces.recognition import (
    MAX_DISTANCE,
    MAX_DISTANCE_IN_PLACE,
    MIN_TURNED_RESIDUAL,
)
from affwild_omg.faces.views import (
    ANOTHER,
    MIN_OVERLAP,
    Box,
    Face,
    View,
    overlaps,
)

# Frames whose tracks are compared together: a minute at 25 a second. A border
# between two portions parts neither tracks nor people. Still, a track goes to a
# person by what is known of both up to the next border, and of people who look
# somewhat alike, others may be taken for one; behind a border, the smallest are
# forgotten.
PORTION = 1500

# Frames after which a track may go on at its place: a second at 25 a second.
MAX_GAP = 25

# People who are remembered from one portion to the next, the largest first, and
# the pictures of each.
MAX_PEOPLE = 20
MAX_PICTURES = 8


def main_faces(
    views: Iterable[View],
    recognizer: Callable[[np.ndarray], np.ndarray],
    portion: int,
    folder: os.PathLike | str | None = None,
    side: str | None = None,
) -> Iterator[Face]:
    """Yields the main person's face of each view, or that of a side's.

    Who that is shows at the end of the clip. Until then all faces lie in a
    file, 28 KB each, so that no clip is too long for memory.

    Args:
        views: of the frames of a clip, in order.
        recognizer: describes a crop by a vector; two of one person are at most
            MAX_DISTANCE apart.
        portion: views whose tracks are compared together.
        folder: for the file, which has no name and goes with the process;
            None for the system's.
        side: "left" or "right" for those people who are mostly there. What
            parts the sides is the middle between two people who are seen
            together, or else that of the frame; where people are alone, they
            may be anywhere.
    """
    with _grouped(views, recognizer, portion, folder) as (names, read):
        wanted = _on_side(side, read()) if side else {*names[:1]}
        for view in read():
            faces = [view.faces[x] for x in wanted & view.faces.keys()]
            reason = ANOTHER if view.faces else view.reason
            yield max(faces, key=_weight, default=Face.missing(reason))


def largest(
    views: Iterable[View],
    recognizer: Callable[[np.ndarray], np.ndarray],
    portion: int,
    folder: os.PathLike | str | None,
    most: int,
) -> Iterator[View]:
    """Yields the views again, their faces numbered by people.

    Args:
        views, recognizer, portion, folder: see `main_faces`.
        most: people, those with the greatest area x time; 1 is the largest,
            the one of `main_faces`. Others' faces are left out.
    """
    with _grouped(views, recognizer, portion, folder) as (names, read):
        numbers = {name: i for i, name in enumerate(names[:most], 1)}
        for view in read():
            if view.faces:
                view.reason = ANOTHER
            view.faces = {
                numbers[name]: face
                for name, face in view.faces.items()
                if name in numbers
            }
            yield view


@contextlib.contextmanager
def _grouped(views, recognizer, portion, folder):
    """Groups tracks to people; gives their names and a reader of the views.

    The names begin with those of the largest people. The reader yields the
    views, whose faces then have such names.
    """
    known, names, owners = [], itertools.count(), []
    views = iter(views)
    with _nameless_file(folder) as file:
        for first in itertools.count(step=portion):
            count, tracks = _write(
                itertools.islice(views, portion), first, file
            )
            _assign(tracks, first, known, names, recognizer)
            owners.append({n: x.name for x in known for n in x.tracks})
            known.sort(key=lambda x: x.area, reverse=True)
            del known[MAX_PEOPLE:]
            if count < portion:
                break
        yield (
            [person.name for person in known],
            lambda: _read(file, owners, first + count, portion),
        )


def _read(file, owners, count, portion) -> Iterator[View]:
    """Yields the views of the file, their faces by the names of people."""
    file.seek(0)
    for index in range(count):
        view, persons = pickle.load(file), owners[index // portion]
        view.faces = {persons[n]: face for n, face in view.faces.items()}
        yield view


def _on_side(side, views) -> set[int]:
    """Returns who is mostly on a side; several names may be one person's."""
    # By name: how far right of the middle between two people, and the places
    # of who is alone, which count for those alone who are never among others:
    # a close-up is in the middle of the frame, whoever it shows.
    among, alone, parted, middle = {}, {}, [], 0.0
    for view in views:
        middle, between = view.middle, 0.0
        if len(view.faces) > 1:
            two = sorted(view.faces.values(), key=_weight)[-2:]
            parted.append(between := np.mean([_place(face) for face in two]))
        places = among if len(view.faces) > 1 else alone
        for name, face in view.faces.items():
            places.setdefault(name, []).append(_place(face) - between)
    border = np.mean(parted or [middle])
    offsets = {name: np.mean(x) - border for name, x in alone.items()}
    offsets |= {name: np.mean(x) for name, x in among.items()}
    left = {name for name, x in offsets.items() if x < 0}
    return left if side == "left" else offsets.keys() - left


def _place(face: Face) -> float:
    """Returns where a face is from left to right, in pixels."""
    return face.box[0] + face.box[2] / 2


def _assign(tracks, first, known, names, recognizer) -> None:
    """Gives each track of the portion from a frame on to a person."""
    # What goes on from the last portion first, then the largest: they leave the
    # others the surest choice.
    owners = {n: x for x in known for n in x.tracks if n in tracks}
    for person in known:
        person.forget(first)
    for number, track in sorted(
        tracks.items(), key=lambda x: (x[0] not in owners, -x[1].area)
    ):
        person = owners.get(number) or whose(track, known, recognizer)
        if person is None:
            known.append(person := Person(next(names)))
        person.take(number, track)


def whose(
    track: "Track", known: Sequence["Person"], recognizer: Callable
) -> "Person | None":
    """Returns who of some people a track shows; None if it is another."""
    distances = [person.distance(track, recognizer) for person in known]
    if not distances or min(distances) > 1:
        return None
    return known[int(np.argmin(distances))]


@contextlib.contextmanager
def _nameless_file(folder) -> Iterator[BinaryIO]:
    """Opens a temporary file, whose errors tell its folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            yield file
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # of another file, or of none
        where = os.fspath(folder or tempfile.gettempdir())
        raise OSError(error.errno, error.strerror, where) from error


class _Picture:
    """A face's crop, described when needed.

    Attributes:
        residual: how far the face is from frontal, as `alignment.residual`.
    """

    def __init__(self, face: Face):
        self.residual = alignment.residual(face.landmarks)
        self._crop = face.crop
        self._descriptor = None

    @property
    def turned(self) -> bool:
        """Whether the face is far from frontal."""
        return self.residual > MIN_TURNED_RESIDUAL

    def distance(self, other: "_Picture", recognizer) -> float:
        """Computes how unlike the people on two pictures are."""
        return float(
            np.linalg.norm(
                self.describe(recognizer) - other.describe(recognizer)
            )
        )

    def describe(self, recognizer) -> np.ndarray:
        """Returns the descriptor, computed at the first call."""
        if self._descriptor is None:
            self._descriptor = recognizer(self._crop)
        return self._descriptor


@dataclasses.dataclass(eq=False)
class Track:
    """A track, or its part in a portion."""

    area: float = 0.0  # the sum of its faces' weights
    picture: _Picture | None = None  # the most frontal one
    times: dict[int, Box] = dataclasses.field(  # number of a frame -> where
        default_factory=dict
    )

    def show(self, frame: int, face: Face) -> None:
        """Adds the face of a frame."""
        self.times[frame] = face.box
        self.area += _weight(face)
        picture = _Picture(face)
        if self.picture is None or picture.residual < self.picture.residual:
            self.picture = picture

    def end(self) -> "Track":
        """Returns what a later portion needs to know: the last frame."""
        last = max(self.times)
        return dataclasses.replace(self, times={last: self.times[last]})

    def stays(self, other: "Track") -> bool:
        """Tells whether one goes on where the other has just ended."""
        first, second = sorted((self, other), key=lambda x: min(x.times))
        end, start = max(first.times), min(second.times)
        if start - end > MAX_GAP:
            return False
        boxes = np.array([first.times[end]])
        return overlaps(boxes, second.times[start])[0] >= MIN_OVERLAP


@dataclasses.dataclass(eq=False)
class Person:
    """A person, seen in one or several tracks."""

    name: int
    area: float = 0.0  # the sum over all tracks so far
    tracks: dict[int, Track] = dataclasses.field(default_factory=dict)
    pictures: deque[_Picture] = dataclasses.field(
        default_factory=lambda: deque(maxlen=MAX_PICTURES)
    )

    def forget(self, frame: int) -> None:
        """Keeps the ends of those tracks that may go on from a frame."""
        self.tracks = {
            number: track.end()
            for number, track in self.tracks.items()
            if frame - max(track.times) <= MAX_GAP
        }

    def take(self, number: int, track: Track) -> None:
        """Adds a track of this portion."""
        self.area += track.area
        self.tracks[number] = track
        self.pictures.append(track.picture)

    def distance(self, track: Track, recognizer) -> float:
        """Computes how unlike a track is, as a share of what may be."""
        others = self.tracks.values()
        if any(track.times.keys() & other.times for other in others):
            return np.inf
        in_place, picture = any(map(track.stays, others)), track.picture
        return min(
            picture.distance(x, recognizer)
            / (
                MAX_DISTANCE_IN_PLACE
                if in_place and (picture.turned or x.turned)
                else MAX_DISTANCE
            )
            for x in self.pictures
        )


def _weight(face: Face) -> float:
    """Computes the area of a face, times how sure it is one."""
    return face.box[2] * face.box[3] * face.confidence


def _write(views, first, file) -> tuple[int, dict[int, Track]]:
    """Writes the views of a portion from a frame on to the file.

    Returns:
        Their count, and their tracks by number.
    """
    tracks, count = {}, 0
    for view in views:
        pickle.dump(view, file)
        for number, face in view.faces.items():
            tracks.setdefault(number, Track()).show(first + count, face)
        count += 1
    return count, tracks
