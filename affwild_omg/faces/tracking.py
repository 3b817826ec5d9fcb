"""Tracks the faces of a video, and gives those of its main person.

MTCNN looks at some frames only. Between two looks, the landmarks of each frame
give the box for those of the next, which costs a fiftieth of a detection; a
face that a look finds new is followed back to where it came into view.

Several faces are followed at once. Tracks become people, and the person with
the greatest area x time is the one of the clip.
"""

import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from affwild_omg.faces import alignment, people, recognition, views
from affwild_omg.faces.video import DEFAULT_FPS, Video
from affwild_omg.faces.views import MIN_OVERLAP, Box, Face, View, overlaps
from affwild_omg.paper.task import CROP_SIZE, DETECT_EVERY
from affwild_omg.storage import memory

# Looks in a batch of the detector, at most. The frames up to the last of them
# are held in memory.
DETECT_BATCH = 3

# Bytes of frames that are held, before and after the one at hand; three frames
# if those are more. Where it is not enough for a second, as in 4K, the detector
# looks more often instead, so that still nothing between two looks is missed.
HELD_BYTES = 256 * 2**20

# Frames in a second of film.
SECOND = round(DEFAULT_FPS)

# Seconds of film, and frames at 24 to 28 a second, from one look to the next
# while there is no face, or the last look missed the largest one.
SEARCH_S = 0.25
SEARCH_EVERY = 6

# Faces that are followed at a time, unless more are asked for: each costs as
# much as the main one. Another takes the place of the smallest if its box is
# higher by this ratio, well above the 1.1 by which the detector's boxes of one
# face are higher than a track's.
MAX_FACES = 3
MIN_LARGER = 1.3

# Side of the square in which landmarks are sought, centred on the aligned crop,
# in crop pixels: between the boxes of dlib's detector (58 to 73) and those of
# MTCNN squared on their height (79 to 82), which give the same points to 0.3
# pixels on real clips.
SEARCH_SIDE = 76.0

# The same square in a ready crop, as a share of the crop's side. In crops as
# those of Aff-Wild2, in tight and wide ones and in those made here, it leads to
# the film's landmarks (to 0.8 pixels, five people); all of the crop led to
# others where there is much hair.
CROP_SHARE = 0.8

# Faces are compared by the detail of their aligned crops from brows to chin,
# between Gaussians of FINE and COARSE pixels: without light and shade, which
# any two pictures may share.
FINE, COARSE = 1.0, 8.0
DETAIL_ROWS, DETAIL_COLUMNS = slice(20, 88), slice(18, 78)

# Correlation of that detail with the previous frame's. On three real clips 99 %
# of the steps are above 0.89 and all above 0.78; crops of two people lie at
# 0.0 to 0.6, a face and a background at -0.4 to 0.44.
MIN_STEP_CORRELATION = 0.8

# The same with the last frame that the detector confirmed, for tracks that
# slide off a face step by step. Over a second, 95 % of the pairs are above 0.53
# in the liveliest of the clips.
MIN_KEY_CORRELATION = 0.5

# Root mean square distance of the five anchors from the template's best view,
# in crop pixels. Real faces reach 2.6, portraits that were turned by up to 75
# degrees 3.8. It refuses what does not have the shape of a face: dlib makes
# faces of all it sees, and 99 % of random squares of backgrounds pass (at 3.0
# still 93 %). What is a face, the detector says.
MAX_RESIDUAL = 4.0

# Largest change of a face from one frame to the next: of its place, in sides of
# its box, and of its size, as a ratio.
MAX_STEP = 0.4
MAX_GROWTH = 1.4


def track_faces(
    frames: Iterable[np.ndarray],
    *,
    detector: Callable[[list[np.ndarray]], list[np.ndarray]],
    landmarker: Callable[[np.ndarray, Box], np.ndarray],
    recognizer: Callable[[np.ndarray], np.ndarray] = recognition.describe,
    detect_every: int = DETECT_EVERY,
    search_every: int = SEARCH_EVERY,
    batch: int = DETECT_BATCH,
    second: int = SECOND,
    portion: int = people.PORTION,
    folder: os.PathLike | str | None = None,
    side: str | None = None,
    most: int | None = None,
) -> Iterator[Face] | Iterator[View]:
    """Gives the face of a clip's main person in each of its frames.

    The main person is that with the greatest area x time, so that no face is
    given before all frames are read. The frames of a second before and those of
    a batch after the one at hand are held, HELD_BYTES at most (three at least),
    and the faces of one portion; the others lie in a file.

    Args:
        frames: RGB uint8 [height, width, 3].
        detector: finds boxes in a list of frames, as `detection.Detector`.
        landmarker: finds 68 landmarks in a box, as `landmarks.Landmarker`.
        recognizer: describes a crop by a vector, as `recognition.describe`.
        detect_every: frames from one look to the next, 1 or more.
        search_every: the same while there is no face, or the last look missed
            the largest one; detect_every if that is less.
        batch: looks that the detector does at once, 1 or more. The faces do not
            depend on it, as far as the detector's boxes do not.
        second: frames in a second of film, 1 or more: so long a face is
            followed back from where the detector first saw it, and forward
            from a look that missed it.
        portion: frames whose tracks are compared together.
        folder: for the file, which has no name; None for the system's.
        side: "left" or "right" for that one of two people, as the frame shows
            them, in place of the main one.
        most: people in place of the main one, as in `people_of_video`.

    Yields:
        Exactly one Face for each frame, in order; one View with `most`.
    """
    tracker = _Tracker(
        _Detections(frames, detector),
        landmarker,
        detect_every=detect_every,
        search_every=min(search_every, detect_every),
        batch=batch,
        second=second,
        most=max(MAX_FACES, most or 0),
    )
    views = tracker.views()
    if most is not None:
        return people.largest(views, recognizer, portion, folder, most)
    return people.main_faces(views, recognizer, portion, folder, side)


def people_of_video(
    video: Video,
    *,
    most: int,
    watch: Callable[[float, np.ndarray], None] | None = None,
    **settings: object,
) -> Iterator[tuple[float, View]]:
    """Finds the faces of several people in each frame of a video.

    Args:
        video: an open video; its `damage` can be asked afterwards.
        most: people, those with the greatest area x time; more than MAX_FACES
            are also followed at a time.
        watch: as in `faces_of_video`.
        **settings: those of `track_faces`.

    Yields:
        The presentation time in seconds and a View of each frame, whose faces
        have the numbers of people: 1 is the main person of `track_faces`, 2 the
        next largest.
    """
    return faces_of_video(video, watch=watch, most=most, **settings)


def faces_of_video(
    video: Video,
    *,
    watch: Callable[[float, np.ndarray], None] | None = None,
    **settings: object,
) -> Iterator[tuple[float, Face]]:
    """Finds the main person's face in each frame of a video.

    Args:
        video: an open video; its `damage` can be asked afterwards.
        watch: is shown the time and the pixels of each frame when it is read;
            all are before the first Face is given.
        **settings: those of `track_faces`.

    Yields:
        The presentation time in seconds and the Face of each frame.
    """
    memory.return_large_blocks()  # the detector's maps
    times = deque()

    def frames() -> Iterator[np.ndarray]:
        for time_s, frame in video:
            times.append(time_s)
            if watch is not None:
                watch(time_s, frame)
            yield frame

    for face in track_faces(frames(), **pace(video.fps) | settings):
        yield times.popleft(), face


def pace(fps: float) -> dict[str, int]:
    """Returns `search_every` and `second` for so many frames a second."""
    return {
        "search_every": max(1, int(SEARCH_S * fps)),
        "second": max(1, round(fps)),
    }


class Follower:
    """Follows faces from frame to frame, and from look to look.

    What is done with them frame by frame is for those that derive from it.
    """

    def __init__(
        self,
        landmarker: Callable[[np.ndarray, Box], np.ndarray],
        *,
        detect_every: int,
        search_every: int,
        second: int,
        most: int,
    ):
        """Begins without a face.

        Args:
            landmarker: see `track_faces`, as the next three.
            detect_every: frames.
            search_every: frames.
            second: frames.
            most: faces that are followed at a time.
        """
        self._landmarker = landmarker
        self._detect_every = detect_every
        self._search_every = search_every
        self._second = second
        self._most = most
        self._number = 0  # of the frame at hand
        self._due = 0  # number of the frame of the next look
        self._seen = True  # whether the last look saw the largest face
        self._pause = 1  # frames to the next look if this one does not see it
        self._tracks = []  # the oldest first
        self._numbers = itertools.count()
        self._reason = views.NOT_DETECTED

    def _schedule(self, every: int) -> None:
        """Sets when the next look is due, after at most so many frames."""
        if self._seen:
            # A multiple, so that a look amid a batch leaves the rest of use.
            self._due = (self._number // every + 1) * every
            self._pause = 1
        else:  # soon again at first: a face that moved fast is still near
            self._due = self._number + self._pause
            self._pause = min(2 * self._pause, self._search_every, every)

    def _follow(self, frame, view) -> bool:
        """Carries all tracks on to a frame; true if the largest was lost."""
        largest = max(self._tracks, key=_size, default=None)
        before, self._tracks = self._tracks, []
        for track in before:
            after = _follow(track, frame, self._landmarker)
            # Where two meet, the older stays.
            if after is None or view.number_at(after.face.box) is not None:
                track.take_back()
            else:
                after.show(view)
                self._tracks.append(after)
        return largest is not None and largest.number not in view.faces

    def _carry(self, track, frames) -> "_Track | None":
        """Carries a track on through some frames; None where it is lost."""
        for frame in frames:
            track = track and _follow(track, frame, self._landmarker)
        return track

    def _look(self, frame, view, boxes) -> None:
        """Confirms the tracks by the boxes of a frame, and starts new ones."""
        known = np.zeros(len(boxes), bool)
        before, self._tracks = self._tracks, []
        for track in before:
            near = overlaps(boxes, track.face.box)
            if len(near) and near.max() >= MIN_OVERLAP:
                known |= near >= MIN_OVERLAP
                after = _start(
                    track.face, track.detail, boxes[near.argmax(), 4]
                )
                after = dataclasses.replace(after, number=track.number)
            elif track.missed is None:
                after = dataclasses.replace(track, missed=self._number)
            elif self._number - track.missed < self._second:
                after = track
            else:
                track.take_back()
                continue
            after.show(view)
            self._tracks.append(after)
        self._reason = views.NOT_DETECTED
        merit = boxes[:, 4] * boxes[:, 2] * boxes[:, 3]
        new = [i for i in np.argsort(-merit, kind="stable") if not known[i]]
        for box in boxes[new]:
            smallest = min(self._tracks, key=_size, default=None)
            full = len(self._tracks) == self._most
            if full and box[3] < MIN_LARGER * _size(smallest):
                continue
            track = _acquire(frame, box, self._landmarker)
            if track is None:
                self._reason = views.IMPLAUSIBLE
            elif view.number_at(track.face.box) is None:
                if full:
                    smallest.take_back()
                    self._tracks.remove(smallest)
                number = self._number_of(track, view)
                track = dataclasses.replace(track, number=number)
                track.show(view)
                self._tracks.append(track)
        view.reason = self._reason
        largest = max(self._tracks, key=_size, default=None)
        self._seen = largest is not None and largest.missed is None

    def _number_of(self, track, view) -> int:
        """Returns the number of a face that a look finds new."""
        return next(self._numbers)


class _Tracker(Follower):
    """Follows the faces of a video, back and ahead of the frame at hand."""

    def __init__(self, detections, landmarker, *, batch, **settings):
        super().__init__(landmarker, **settings)
        self._detections = detections
        self._batch = batch
        self._held = deque()  # (frame, view) before the one at hand

    def views(self) -> Iterator[View]:
        """Yields what each frame shows, once that cannot change any more."""
        waiting = deque()
        while (frame := self._detections.next_frame()) is not None:
            view = View(self._reason, middle=frame.shape[1] / 2)
            waiting.append(view)
            past, ahead = self._share(frame)
            while len(self._held) > past:
                self._held.popleft()
            lost = self._follow(frame, view)
            if self._number == self._due or lost or self._ends():
                # Just lost: most likely found again at once, so that frames
                # ahead need no detection.
                plan = [0] if lost else self._plan(past + 1, ahead)
                boxes = self._detections.boxes(plan)
                self._look(frame, view, boxes)
                self._schedule(min(self._detect_every, past + 1))
            self._held.append((frame, view))
            self._detections.forget_frame()
            self._number += 1
            for _ in range(len(waiting) - self._open()):
                yield waiting.popleft()
        for track in self._tracks:
            track.take_back()
        yield from waiting

    def _share(self, frame) -> tuple[int, int]:
        """Returns how many frames of this size are held before and after it."""
        room = max(3, HELD_BYTES // frame.nbytes)
        past = min(max(self._second, self._detect_every - 1), room - 2)
        return past, room - 1 - past

    def _open(self) -> int:
        """Returns of how many frames, the last ones, faces may still change.

        A new face may be followed back through those that are held; a face is
        taken back to the look that first missed it.
        """
        missed = [x.missed for x in self._tracks if x.missed is not None]
        return max(
            len(self._held), self._number - min(missed, default=self._number)
        )

    def _ends(self) -> bool:
        """Tells whether the film ends before the detector has seen a face."""
        doubt = any(track.missed is not None for track in self._tracks)
        return (doubt or not self._seen) and self._detections.at_last

    def _plan(self, reach: int, ahead: int) -> list[int]:
        """Lists how far this look and the next are, if all stays as it is."""
        every = min(self._detect_every, reach)
        offsets, pause = [0], self._pause
        while len(offsets) < self._batch:
            if self._seen:
                offset = offsets[-1] + every
                offset -= (self._number + offset) % every
            else:
                offset = offsets[-1] + pause
                pause = min(2 * pause, self._search_every, every)
            if offset > ahead:
                break
            offsets.append(offset)
        return offsets

    def _number_of(self, track, view) -> int:
        """Follows a new track back to where it began, and numbers it.

        Looks in between may have missed it.
        """
        number = None
        traced, past = [], track
        for frame, earlier in reversed(self._held):
            past = _follow(past, frame, self._landmarker)
            if past is None:
                break
            met = earlier.number_at(past.face.box)
            if met is not None:  # a track that was lost in between
                number = met if met not in view.faces else None
                break
            traced.append((past, earlier))
        if number is None:
            number = next(self._numbers)
        for past, earlier in traced:
            earlier.faces[number] = past.face
        return number


class _Detections:
    """Frames one by one, and the boxes of those at hand or ahead."""

    def __init__(self, frames, detector):
        self._frames = iter(frames)
        self._detector = detector
        self._ahead = deque()  # [frame, boxes or None], the next frame first

    def next_frame(self) -> np.ndarray | None:
        """Returns the frame at hand; None after the last."""
        return self._ahead[0][0] if self._reaches(0) else None

    def forget_frame(self) -> None:
        """Goes on to the frame after the one at hand."""
        self._ahead.popleft()

    @property
    def at_last(self) -> bool:
        """Whether the frame at hand is the last one."""
        return not self._reaches(1)

    def boxes(self, offsets: list[int]) -> np.ndarray:
        """Returns the boxes [n, 5] of the frame at hand.

        Args:
            offsets: frames to detect in the same batch if they are not known
                yet, counted from the one at hand, which is 0.
        """
        if self._ahead[0][1] is None:
            frame = self._ahead[0][0]
            entries = [
                self._ahead[offset]
                for offset in offsets
                if self._reaches(offset)
                and self._ahead[offset][1] is None
                # Some recordings change their size on the way.
                and self._ahead[offset][0].shape == frame.shape
            ]
            found = self._detector([entry[0] for entry in entries])
            for entry, boxes in zip(entries, found, strict=True):
                entry[1] = boxes
        return self._ahead[0][1]

    def _reaches(self, offset: int) -> bool:
        while len(self._ahead) <= offset:
            # What is held is counted in frames of the size at hand.
            sizes = {entry[0].shape for entry in self._ahead}
            frame = next(self._frames, None) if len(sizes) < 2 else None
            if frame is None:
                return False
            self._ahead.append([frame, None])
        return True


@dataclasses.dataclass(frozen=True, eq=False)
class _Track:
    """What the next frame needs to know of a face."""

    face: Face  # its box is where the next frame is searched
    detail: np.ndarray
    key_detail: np.ndarray
    key_confidence: float
    number: int = -1
    missed: int | None = None  # the frame of the first look that missed it
    doubtful: list[View] = dataclasses.field(default_factory=list)  # since then

    def show(self, view: View) -> None:
        """Enters the face into the view of a frame."""
        view.faces[self.number] = self.face
        if self.missed is not None:
            self.doubtful.append(view)

    def take_back(self) -> None:
        """Removes the face where the detector has not confirmed it."""
        for view in self.doubtful:
            view.faces.pop(self.number, None)


def _follow(track: _Track, frame: np.ndarray, landmarker) -> _Track | None:
    """Carries a track on to the next frame; None where it is lost."""
    seen = _look(frame, track.face.box, landmarker)
    if seen is None or _fled(track.face.box, seen.box):
        return None
    detail = _detail(seen.crop)
    correlation = float((detail * track.detail).sum())
    if correlation < MIN_STEP_CORRELATION:
        return None
    if (detail * track.key_detail).sum() < MIN_KEY_CORRELATION:
        return None
    confidence = track.key_confidence * min(1.0, correlation)
    return dataclasses.replace(
        track,
        face=dataclasses.replace(seen, confidence=confidence),
        detail=detail,
    )


def _acquire(frame: np.ndarray, box: np.ndarray, landmarker) -> _Track | None:
    """Starts a track on a detected face; None without a face's landmarks."""
    first = _look(frame, tuple(box[:4].tolist()), landmarker)
    # Once more from the landmarks, so that a track starts in the very square
    # from which it goes on.
    seen = first and _look(frame, first.box, landmarker)
    return _start(seen, _detail(seen.crop), box[4]) if seen else None


def face_in_crop(crop: np.ndarray, landmarker) -> Face | None:
    """Aligns the face that fills a picture.

    Args:
        crop: RGB uint8 [height, width, 3].
        landmarker: finds 68 landmarks in a box, as `landmarks.Landmarker`.

    Returns:
        Its face; None if the landmarks are not a face's.
    """
    height, width = crop.shape[:2]
    side = CROP_SHARE * min(height, width)
    box = ((width - side) / 2, (height - side) / 2, side, side, 1.0)
    track = _acquire(crop, np.array(box), landmarker)
    return track.face if track else None


def _start(face: Face, detail: np.ndarray, confidence: float) -> _Track:
    """Makes the track of a face that the detector has just seen."""
    confidence = min(1.0, max(0.0, float(confidence)))
    return _Track(
        face=dataclasses.replace(face, confidence=confidence, detected=True),
        detail=detail,
        key_detail=detail,
        key_confidence=confidence,
    )


def _look(frame: np.ndarray, box: Box, landmarker) -> Face | None:
    """Aligns the face in a box; None if the landmarks are not a face's."""
    landmarks = landmarker(frame, box)
    try:
        crop, landmarks_in_crop = alignment.align(frame, landmarks)
    except ValueError:  # degenerate landmarks
        return None
    if alignment.turned_residual(landmarks_in_crop) > MAX_RESIDUAL:
        return None
    box, roll = _search_box(landmarks)
    return Face(
        found=True,
        box=box,
        confidence=1.0,
        crop=crop,
        landmarks=landmarks_in_crop,
        roll=roll,
    )


def _size(track: _Track) -> float:
    """Returns the side of a track's square."""
    return track.face.box[3]


def _search_box(landmarks: np.ndarray) -> tuple[Box, float]:
    """Maps the search square of the crop back to the frame, upright.

    Returns:
        The square, and the degrees by which it was turned there.
    """
    to_frame = alignment.estimate_similarity(
        alignment.TEMPLATE_ANCHORS, alignment.anchors(landmarks)
    )
    middle = (CROP_SIZE - 1) / 2
    x, y = alignment.transform(to_frame, np.array([middle, middle]))
    side = SEARCH_SIDE * alignment.scale_of(to_frame)
    # Boxes count from the edge of their first pixel, points from its centre.
    left, top = x + 0.5 - side / 2, y + 0.5 - side / 2
    roll = np.rad2deg(np.arctan2(to_frame[1, 0], to_frame[0, 0]))
    return (float(left), float(top), float(side), float(side)), float(roll)


def landmarks_in_frame(face: Face) -> np.ndarray:
    """Maps the landmarks of a face that was found back to its frame.

    Returns:
        float64 [68, 2] in pixels of the frame.
    """
    left, top, side, _ = face.box
    angle = np.deg2rad(face.roll)
    scale = side / SEARCH_SIDE
    turned = scale * np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    centred = face.landmarks.astype(np.float64) - (CROP_SIZE - 1) / 2
    return centred @ turned + (left + side / 2 - 0.5, top + side / 2 - 0.5)


def _fled(before: Box, after: Box) -> bool:
    """Tells whether a face moved or grew more than a face can in a frame."""
    step = np.hypot(
        after[0] + after[2] / 2 - before[0] - before[2] / 2,
        after[1] + after[3] / 2 - before[1] - before[3] / 2,
    )
    growth = max(after[3] / before[3], before[3] / after[3])
    return bool(step > MAX_STEP * before[3] or growth > MAX_GROWTH)


def _detail(crop: np.ndarray) -> np.ndarray:
    """Takes the detail of a crop, with mean 0 and sum of squares 1 (or 0)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = cv2.GaussianBlur(grey, (0, 0), FINE)
    detail -= cv2.GaussianBlur(detail, (0, 0), COARSE)
    detail = detail[DETAIL_ROWS, DETAIL_COLUMNS]
    detail = detail - detail.mean()
    norm = np.linalg.norm(detail)
    return detail / norm if norm > 0 else detail
