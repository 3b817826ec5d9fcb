"""What the frames of a video show: faces, and why there is none."""

import dataclasses

import numpy as np

from affwild_omg.paper.task import CROP_SIZE, LANDMARKS

Box = tuple[float, float, float, float]  # x, y, width, height in pixels

# Least overlap (intersection over union) of two boxes of one face. The tracked
# and the detected box overlap by about 0.8.
MIN_OVERLAP = 0.4

# Why a frame has no face.
NOT_DETECTED = "no face detected"
IMPLAUSIBLE = "implausible landmarks"
ANOTHER = "another person"
NO_PICTURE = "no picture"
NOT_RECOGNIZED = "not recognized yet"  # in live tracking alone, as the next
NOT_LOOKED_AT = "the detector has not looked yet"
LEFT_OUT = "seen only in a frame that the model leaves out"  # in prediction
REASONS = (NOT_DETECTED, IMPLAUSIBLE, ANOTHER, NO_PICTURE)


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """The face of a frame; zeros where none was found.

    Attributes:
        found: whether a face was found in the frame.
        box: x, y, width, height of the face in pixels of the frame: a square
            from the brows to the chin.
        confidence: in [0, 1]: the detector's at the last look that saw the
            face, times the correlation of the aligned crop with the
            neighbouring frame's where the face was tracked.
        crop: the aligned face, RGB uint8 [96, 96, 3].
        landmarks: float32 [68, 2] in pixels of the crop.
        reason: why no face was found, one of REASONS; "" where one was.
        detected: whether the detector saw it in this very frame; otherwise it
            was tracked there.
        roll: degrees to which the face is turned in the frame, positive
            clockwise.
    """

    found: bool
    box: Box
    confidence: float
    crop: np.ndarray
    landmarks: np.ndarray
    reason: str = ""
    detected: bool = False
    roll: float = 0.0

    @classmethod
    def missing(cls, reason: str = NOT_DETECTED) -> "Face":
        """Makes the face of a frame in which none was found."""
        return cls(
            found=False,
            box=(0.0, 0.0, 0.0, 0.0),
            confidence=0.0,
            crop=np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8),
            landmarks=np.zeros((LANDMARKS, 2), np.float32),
            reason=reason,
        )


@dataclasses.dataclass(eq=False)
class View:
    """What a frame shows.

    Attributes:
        reason: why there is no face, if there is none.
        faces: number of a track -> its face.
        middle: of the frame from left to right, in pixels.
    """

    reason: str
    faces: dict[int, Face] = dataclasses.field(default_factory=dict)
    middle: float = 0.0

    def number_at(self, box: Box) -> int | None:
        """Returns the number of the track that is at a place, if any."""
        for number, face in self.faces.items():
            if overlaps(np.array([face.box]), box)[0] >= MIN_OVERLAP:
                return number
        return None


def checked(box: Box) -> Box:
    """Returns a box as floats, in which landmarks can be sought.

    Raises:
        ValueError: it is not finite or its height is not positive.
    """
    x, y, width, height = (float(value) for value in box)
    if not (np.isfinite((x, y, width, height)).all() and height > 0):
        raise ValueError(
            f"box: finite numbers and a height > 0 are needed, not {box}"
        )
    return x, y, width, height


def overlaps(boxes: np.ndarray, square: Box) -> np.ndarray:
    """Computes the intersection over union of boxes [n, >= 4] with a square.

    The boxes are squared on their height first, as for the landmarks; columns
    beyond the fourth do not matter.
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
