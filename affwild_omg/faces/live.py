"""Follows the faces of a film while it is shown: without looking ahead.

The steps from frame to frame and the looks of the detector are those of
`tracking`. But an answer that was given stays: a face that a look finds new is
not followed back, and what a look does not confirm is not taken back. A person
keeps the name over a gap of less than a second.
"""

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future

import numpy as np

from affwild_omg.faces import people, recognition, tracking, views
from affwild_omg.faces.video import DEFAULT_FPS
from affwild_omg.faces.views import Box, Face, View
from affwild_omg.paper.task import DETECT_EVERY


class LiveTracker(tracking.Follower):
    """Names the faces of frames one by one, in bounded memory.

    With an executor, the detector works beside: the faces of a frame are told
    without waiting for it, and what it saw some frames ago is entered when it
    is known. Which frame that is depends on the time that it takes. Without
    one, each step waits, and equal frames give equal answers.
    """

    def __init__(
        self,
        *,
        detector: Callable[[list[np.ndarray]], list[np.ndarray]],
        landmarker: Callable[[np.ndarray, Box], np.ndarray],
        recognizer: Callable[[np.ndarray], np.ndarray] = recognition.describe,
        faces: int = 1,
        fps: float = DEFAULT_FPS,
        detect_every: int = DETECT_EVERY,
        executor: Executor | None = None,
    ):
        """Begins without a face.

        Args:
            detector: finds boxes in a list of frames, as `detection.Detector`.
            landmarker: finds 68 landmarks in a box, as `landmarks.Landmarker`.
            recognizer: describes a crop by a vector, as `recognition.describe`.
            faces: how many are followed at a time, 1 or more: the largest when
                they come. Another takes the place of the smallest of them if
                it is higher by tracking.MIN_LARGER.
            fps: frames a second, > 0.
            detect_every: frames from one look of the detector to the next, 1
                or more; while somebody is missing, it looks four times a
                second.
            executor: runs the detector and the recognizer; None for none.
        """
        pace = tracking.pace(fps)
        search_every = min(detect_every, pace["search_every"])
        super().__init__(
            landmarker,
            detect_every=detect_every,
            search_every=search_every,
            second=pace["second"],
            most=faces,
        )
        self._detector = detector
        self._executor = executor
        self._at_work = None  # the look that is: what _confirm needs of it
        self._later = deque()  # the frames after that of the look
        # A second, and the time that it may take to see a face again.
        self._names = _Names(
            self._submit, recognizer, pace["second"] + search_every
        )
        self._reason = views.NOT_LOOKED_AT
        self.reason = self._reason

    @property
    def known(self) -> set[int]:
        """The names of those who are shown, or were within the last second."""
        return self._names.known

    def step(
        self, frame: np.ndarray, number: int | None = None
    ) -> dict[int, Face]:
        """Finds the faces of the next frame.

        Args:
            frame: RGB uint8 [height, width, 3]; not to be written into later,
                because the detector may still look at it.
            number: of the frame, more than that of the last; None for the next
                one. It tells how much time went by where frames are left out.

        Returns:
            {name of a person: Face}, the largest first. If it is empty,
            `reason` tells why.

        Raises:
            ValueError: the frame is of another type or shape.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                "frame: uint8 [height, width, 3] is needed, not "
                f"{frame.dtype} {list(frame.shape)}"
            )
        if number is not None:
            self._number = number
        view = View(self._reason)
        before = len(self._tracks)
        self._follow(frame, view)
        if len(self._tracks) < before:  # most likely found again at once
            self._due = self._number
        self._later.append(frame)
        looked = self._confirm()
        if self._at_work is None:
            self._later.clear()
            if self._number >= self._due and not looked:
                self._look_at(frame, view)
                looked = self._confirm()
        faces = {track.number: track.face for track in self._tracks}
        named = self._names.update(self._number, faces)
        if looked:
            self._seen = (
                bool(self._tracks)
                and all(track.missed is None for track in self._tracks)
                and not self._names.gone
            )
            self._schedule(self._detect_every)
        self._number += 1
        self.reason = "" if named else self._reason
        if faces and not named:
            self.reason = views.NOT_RECOGNIZED
        return named

    def _look_at(self, frame, view) -> None:
        """Asks the detector for the boxes of a frame."""
        room = max(1, tracking.HELD_BYTES // frame.nbytes)
        self._later = deque(maxlen=min(self._second, room))
        seen = self._submit(self._detector, [frame])
        self._at_work = seen, frame, view, list(self._tracks)

    def _submit(self, function: Callable, *args: object) -> Future:
        """Calls a function, by the executor if there is one."""
        if self._executor is not None:
            return self._executor.submit(function, *args)
        future = Future()
        future.set_result(function(*args))
        return future

    def _confirm(self) -> bool:
        """Enters what the look at work has seen; true if that is known."""
        if self._at_work is None or not self._at_work[0].done():
            return False
        seen, frame, view, before = self._at_work
        self._at_work = None
        now = {track.number: track for track in self._tracks}
        numbers = {track.number for track in before}
        (boxes,) = seen.result()
        self._tracks = before
        self._look(frame, view, boxes)
        looked, self._tracks = self._tracks, []
        for track in looked:
            if track.number not in numbers:
                track = self._carry(track, self._later)
            elif track.number not in now:  # lost since then
                continue
            elif self._later:
                track = dataclasses.replace(
                    track,
                    face=now[track.number].face,
                    detail=now[track.number].detail,
                )
            if track is not None:
                self._tracks.append(track)
        return True


class _Names:
    """Names tracks; who was seen within some frames keeps the name.

    Attributes:
        gone: person -> the frame in which it was last seen.
    """

    def __init__(self, submit, recognizer, memory):
        self._submit = submit
        self._recognizer = recognizer
        self._memory = memory  # frames
        self._names = itertools.count(1)
        self._shown = {}  # number of a track -> (person, track so far)
        self._asked = {}  # number of a new one -> (its beginning, a future)
        self.gone = {}

    @property
    def known(self) -> set[int]:
        """The names that are not forgotten."""
        shown = {person.name for person, _ in self._shown.values()}
        return shown | {person.name for person in self.gone}

    def update(self, frame: int, faces: dict[int, Face]) -> dict[int, Face]:
        """Names the faces of a frame, the largest first; some perhaps later.

        Args:
            frame: its number.
            faces: number of a track -> its face.
        """
        for number in self._shown.keys() - faces.keys():
            person, track = self._shown.pop(number)
            person.forget(frame)
            person.take(number, track)
            self.gone[person] = max(track.times)
        for number in self._asked.keys() - faces.keys():
            del self._asked[number]
        if not self._asked:
            self.gone = {
                person: last
                for person, last in self.gone.items()
                if frame - last <= self._memory
            }
        named = {}
        for number in sorted(faces, key=lambda x: -faces[x].box[3]):
            if number not in self._shown:
                self._recognize(frame, number, faces[number])
            if number in self._shown:
                person, track = self._shown[number]
                track.show(frame, faces[number])
                self._shown[number] = person, track.end()
                named[person.name] = faces[number]
        return named

    def _recognize(self, frame, number, face) -> None:
        """Adds a new track to those shown once it is known whose it is.

        The network needs a tenth of a second for each picture.
        """
        if number not in self._asked:
            track, asked = people.Track(), None
            track.show(frame, face)
            if self.gone:
                pictures = [y for x in self.gone for y in x.pictures]
                pictures.append(track.picture)
                asked = self._submit(self._describe, pictures)
            self._asked[number] = track, asked
        track, asked = self._asked[number]
        if asked is not None and not asked.done():
            return
        if asked is not None:
            asked.result()
        del self._asked[number]
        person = people.whose(track, list(self.gone), self._recognizer)
        if person is None:
            person = people.Person(next(self._names))
        self.gone.pop(person, None)
        self._shown[number] = person, track

    def _describe(self, pictures) -> None:
        for picture in pictures:
            picture.describe(self._recognizer)
