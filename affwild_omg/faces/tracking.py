"""Tracks one face through a video.

MTCNN sees key frames only. In between, the landmarks of each frame give the
box for those of the next, which costs a fiftieth of a detection. A track that
no longer looks like its face is lost, and that very frame is detected.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from affwild_omg.faces import alignment
from affwild_omg.faces.video import Video
from affwild_omg.paper.task import CROP_SIZE, DETECT_EVERY, LANDMARKS

Box = tuple[float, float, float, float]

# Key frames in a batch of the detector, for each of which DETECT_EVERY frames
# are held in memory.
DETECT_BATCH = 3

# Side of the square in which landmarks are sought, centred on the aligned crop,
# in crop pixels: between the boxes of dlib's detector (58 to 73) and those of
# MTCNN squared on their height (79 to 82), which give the same points to 0.3
# pixels on real clips.
SEARCH_SIDE = 76.0

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

# Root mean square distance of the five aligned anchors from the template, in
# crop pixels: real faces reach 3.8, landmarks of backgrounds 6.8.
MAX_RESIDUAL = 6.0

# Largest change of a face from one frame to the next: of its place, in sides of
# its box, and of its size, as a ratio.
MAX_STEP = 0.4
MAX_GROWTH = 1.4

# Least overlap (intersection over union) of the tracked face with a detected
# box, squared on its height. The same face gives about 0.8.
MIN_OVERLAP = 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """The face of a frame; zeros where none was found.

    Attributes:
        found: whether a face was found in the frame.
        box: x, y, width, height of the face in pixels of the frame: a square
            from the brows to the chin.
        confidence: in [0, 1]: the detector's at the last key frame, times the
            correlation of the aligned crop with the previous frame's where the
            face was tracked.
        crop: the aligned face, RGB uint8 [96, 96, 3].
        landmarks: float32 [68, 2] in pixels of the crop.
    """

    found: bool
    box: Box
    confidence: float
    crop: np.ndarray
    landmarks: np.ndarray

    @classmethod
    def missing(cls) -> "Face":
        """Makes the face of a frame in which none was found."""
        return cls(
            found=False,
            box=(0.0, 0.0, 0.0, 0.0),
            confidence=0.0,
            crop=np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8),
            landmarks=np.zeros((LANDMARKS, 2), np.float32),
        )


def track_faces(
    frames: Iterable[np.ndarray],
    *,
    detector: Callable[[list[np.ndarray]], list[np.ndarray]],
    landmarker: Callable[[np.ndarray, Box], np.ndarray],
    detect_every: int = DETECT_EVERY,
    batch: int = DETECT_BATCH,
) -> Iterator[Face]:
    """Tracks one face through frames.

    A track starts on the largest face that the detector is sure of, and stays
    with it. While there is no face, every frame is detected. At most
    detect_every * (batch - 1) + 1 frames are held.

    Args:
        frames: RGB uint8 [height, width, 3].
        detector: finds boxes in a list of frames, as `detection.Detector`.
        landmarker: finds 68 landmarks in a box, as `landmarks.Landmarker`.
        detect_every: frames from one key frame to the next, 1 or more.
        batch: key frames that the detector sees at once, 1 or more.

    Yields:
        Exactly one Face for each frame, in order.
    """
    detections = _Detections(frames, detector, batch)
    track = None
    index = 0
    while (frame := detections.next_frame()) is not None:
        previous = track
        if previous is not None:
            track = _follow(previous, frame, landmarker)
        if index % detect_every == 0:
            boxes = detections.boxes(step=detect_every)
            if track is not None:
                track = _confirm(track, boxes)
        if track is None:
            # Just lost: most likely found again at once, so that frames ahead
            # need no detection. Lost for longer: they all need one.
            boxes = detections.boxes(step=None if previous else 1)
            near = previous.face.box if previous else None
            track = _acquire(frame, boxes, near, landmarker)
        detections.forget_frame()
        index += 1
        yield Face.missing() if track is None else track.face


def faces_of_video(
    video: Video, **settings: object
) -> Iterator[tuple[float, Face]]:
    """Finds one face in each frame of a video.

    Args:
        video: an open video; its `damage` can be asked afterwards.
        **settings: those of `track_faces`.

    Yields:
        The presentation time in seconds and the Face of each frame.
    """
    times = deque()

    def frames() -> Iterator[np.ndarray]:
        for time_s, frame in video:
            times.append(time_s)
            yield frame

    for face in track_faces(frames(), **settings):
        yield times.popleft(), face


class _Detections:
    """Frames one by one, and the boxes of those at hand or ahead."""

    def __init__(self, frames, detector, batch):
        self._frames = iter(frames)
        self._detector = detector
        self._batch = batch
        self._ahead = deque()  # [frame, boxes or None], the next frame first

    def next_frame(self) -> np.ndarray | None:
        """Returns the frame at hand; None after the last."""
        return self._ahead[0][0] if self._reaches(0) else None

    def forget_frame(self) -> None:
        """Goes on to the frame after the one at hand."""
        self._ahead.popleft()

    def boxes(self, step: int | None) -> np.ndarray:
        """Returns the boxes [n, 5] of the frame at hand.

        Args:
            step: if they are not known yet, frames `step` apart are detected
                in the same batch; None for this frame alone.
        """
        if self._ahead[0][1] is None:
            frame = self._ahead[0][0]
            offsets = range(0, self._batch * step, step) if step else (0,)
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
            frame = next(self._frames, None)
            if frame is None:
                return False
            self._ahead.append([frame, None])
        return True


@dataclasses.dataclass(frozen=True, eq=False)
class _Track:
    """What the next frame needs to know of the face."""

    face: Face  # its box is where the next frame is searched
    detail: np.ndarray
    key_detail: np.ndarray
    key_confidence: float


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


def _confirm(track: _Track, boxes: np.ndarray) -> _Track | None:
    """Renews a track that the detector sees too; None if it does not."""
    overlaps = _overlaps(boxes, track.face.box)
    if not (overlaps >= MIN_OVERLAP).any():
        return None
    return _start(track.face, track.detail, boxes[np.argmax(overlaps), 4])


def _acquire(
    frame: np.ndarray, boxes: np.ndarray, near: Box | None, landmarker
) -> _Track | None:
    """Starts a track on the best detected face; None without a good one."""
    merit = boxes[:, 4] * boxes[:, 2] * boxes[:, 3]
    if near is not None:
        # A face that moved too fast to be followed is still the same face.
        merit = merit + 1e12 * (_overlaps(boxes, near) >= MIN_OVERLAP)
    for box in boxes[np.argsort(-merit, kind="stable")]:
        first = _look(frame, tuple(box[:4].tolist()), landmarker)
        # Once more from the landmarks, so that a track starts in the very
        # square from which it goes on.
        seen = first and _look(frame, first.box, landmarker)
        if seen is not None:
            return _start(seen, _detail(seen.crop), box[4])
    return None


def _start(face: Face, detail: np.ndarray, confidence: float) -> _Track:
    """Makes the track of a face that the detector has just seen."""
    confidence = min(1.0, max(0.0, float(confidence)))
    return _Track(
        face=dataclasses.replace(face, confidence=confidence),
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
    if alignment.residual(landmarks_in_crop) > MAX_RESIDUAL:
        return None
    return Face(
        found=True,
        box=_search_box(landmarks),
        confidence=1.0,
        crop=crop,
        landmarks=landmarks_in_crop,
    )


def _search_box(landmarks: np.ndarray) -> Box:
    """Maps the search square of the crop back to the frame, upright."""
    to_frame = alignment.estimate_similarity(
        alignment.TEMPLATE_ANCHORS, alignment.anchors(landmarks)
    )
    middle = (CROP_SIZE - 1) / 2
    x, y = alignment.transform(to_frame, np.array([middle, middle]))
    side = SEARCH_SIDE * alignment.scale_of(to_frame)
    # Boxes count from the edge of their first pixel, points from its centre.
    left, top = x + 0.5 - side / 2, y + 0.5 - side / 2
    return float(left), float(top), float(side), float(side)


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


def _overlaps(boxes: np.ndarray, square: Box) -> np.ndarray:
    """Computes the intersection over union of boxes [n, 5] with a square.

    The boxes are squared on their height first, as for the landmarks.
    """
    x, y, width, height = boxes[:, :4].T
    left, right = x + (width - height) / 2, x + (width + height) / 2
    across = np.minimum(right, square[0] + square[2]) - np.maximum(
        left, square[0]
    )
    down = np.minimum(y + height, square[1] + square[3]) - np.maximum(
        y, square[1]
    )
    common = np.maximum(across, 0) * np.maximum(down, 0)
    return common / (height * height + square[2] * square[3] - common)
