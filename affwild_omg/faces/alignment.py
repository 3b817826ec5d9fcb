"""Aligns faces to a frontal template by Procrustes on five anchors.

Section 4: five anchors of the face are mapped to those of a prototypical
frontal face, which removes in-plane rotation, isotropic scale and translation,
and the face is cropped.

All coordinates are (x, y) in pixels, x to the right, y down, with whole
numbers at the centres of pixels: an image of 96 pixels spans -0.5 to 95.5.
"Left" and "right" are the image's, not the person's.
"""

import math

import cv2
import numpy as np

from affwild_omg.paper.task import CROP_SIZE, LANDMARKS

# Left eye centre, right eye centre, nose tip, left and right mouth corner of a
# frontal face in a crop. The proportions are means over five people with
# neutral faces toward the camera (mouth over four: one smiles), made symmetric
# and rounded. The chin lies at 81 to 90, the brows at 22 to 27, so that an open
# mouth stays inside.
TEMPLATE_ANCHORS = np.array(
    [[33.5, 36.0], [61.5, 36.0], [47.5, 50.5], [36.5, 66.0], [58.5, 66.0]],
    np.float32,
)
TEMPLATE_ANCHORS.flags.writeable = False

# How far the anchors stand out toward the camera, in crop pixels of 2.25 mm (28
# of them part the eyes, as 63 mm do in adults): the tip of the nose 27 mm and
# the corners of the mouth 4 mm before the eyes.
ANCHOR_DEPTHS = (0.0, 0.0, 12.0, 2.0, 2.0)
# Degrees to which the template is turned to each side, up and down.
MAX_YAW, MAX_PITCH, VIEW_STEP = 75, 30, 5

# Rows of the 68 landmarks (iBUG 300-W mark-up, from 0).
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)
NOSE_TIP = 30
LEFT_MOUTH_CORNER = 48
RIGHT_MOUTH_CORNER = 54


def anchors(landmarks: np.ndarray) -> np.ndarray:
    """Picks the five anchors from the 68 landmarks.

    Args:
        landmarks: [..., 68, 2], in pixels.

    Returns:
        [..., 5, 2] in the order of TEMPLATE_ANCHORS; an eye is the mean of
        its six landmarks.
    """
    return np.stack(
        [
            landmarks[..., LEFT_EYE, :].mean(axis=-2),
            landmarks[..., RIGHT_EYE, :].mean(axis=-2),
            landmarks[..., NOSE_TIP, :],
            landmarks[..., LEFT_MOUTH_CORNER, :],
            landmarks[..., RIGHT_MOUTH_CORNER, :],
        ],
        axis=-2,
    )


def estimate_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Computes the similarity that maps points to others by least squares.

    With points as complex numbers, z = x + iy, and both sets centred, rotation
    and scale are c = sum(conj(source) * target) / sum(|source|^2). This is the
    solution of Umeyama (1991) in two dimensions, without reflections.

    Args:
        source: [n, 2] points, n >= 2.
        target: [n, 2] points.

    Returns:
        [2, 3] float64 matrix that maps (x, y, 1) of the source to the target.

    Raises:
        ValueError: a coordinate is not finite, or all source points coincide.
    """
    source = np.asarray(source, np.float64)
    target = np.asarray(target, np.float64)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("points: every coordinate must be finite")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_z = (source - source_mean) @ (1, 1j)
    target_z = (target - target_mean) @ (1, 1j)
    spread = np.vdot(source_z, source_z).real
    if spread <= 1e-12 * max(1.0, float(np.square(source).max())):
        raise ValueError("source: all points coincide, which has no scale")
    c = np.vdot(source_z, target_z) / spread
    linear = np.array([[c.real, -c.imag], [c.imag, c.real]])
    shift = target_mean - linear @ source_mean
    return np.column_stack([linear, shift])


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points [..., 2] through an affine matrix [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def scale_of(matrix: np.ndarray) -> float:
    """Returns the scale of a similarity matrix [2, 3]."""
    return math.hypot(matrix[0, 0], matrix[1, 0])


def residual(landmarks_in_crop: np.ndarray) -> float:
    """Computes the distance of aligned anchors from the frontal template's.

    Args:
        landmarks_in_crop: [68, 2], aligned by `align`.

    Returns:
        The root mean square over the five anchors, in crop pixels.
    """
    distances = anchors(landmarks_in_crop) - TEMPLATE_ANCHORS
    return float(np.sqrt(np.square(distances).sum(axis=-1).mean()))


def turned_residual(landmarks: np.ndarray) -> float:
    """Computes the distance of anchors from the template's, however turned.

    The template is a rigid body seen from afar: it may turn to any side, up
    and down, but not change its proportions. Each of its views is fitted by
    the similarity of least squares.

    Args:
        landmarks: [68, 2], in any unit.

    Returns:
        The root mean square over the five anchors from the best view, in crop
        pixels.
    """
    left, size = _misfits(landmarks)
    return math.sqrt(max(0.0, float(left.min())) / size)


def yaw(landmarks: np.ndarray) -> int:
    """Finds how far a head is turned, from the view to which anchors fit best.

    How far it nods cannot be told like this: faces differ in height.

    Args:
        landmarks: [68, 2], in any unit.

    Returns:
        Degrees in [-75, 75], in steps of VIEW_STEP, positive where the nose
        points to the right of the picture.
    """
    left, _ = _misfits(landmarks)
    nods = 2 * MAX_PITCH // VIEW_STEP + 1
    return int(np.argmin(left)) // nods * VIEW_STEP - MAX_YAW


def _misfits(landmarks):
    """Returns what each view leaves of the anchors, and their number."""
    points = anchors(np.asarray(landmarks, np.float64)) @ (1, 1j)
    points -= points.mean()
    spread = np.vdot(points, points).real
    if spread == 0:
        return np.full(len(_VIEWS), math.inf), len(points)
    # What a similarity leaves: |view|^2 - |<view, points>|^2 / |points|^2.
    shared = np.abs(_VIEWS.conj() @ points) ** 2 / spread
    return np.square(np.abs(_VIEWS)).sum(axis=1) - shared, len(points)


def _views(step: int) -> np.ndarray:
    """Turns the template in steps of degrees; complex [views, 5], centred."""
    x, y = (TEMPLATE_ANCHORS - TEMPLATE_ANCHORS.mean(axis=0)).T
    yaw, pitch = np.deg2rad(
        np.mgrid[
            -MAX_YAW : MAX_YAW + 1 : step, -MAX_PITCH : MAX_PITCH + 1 : step
        ]
    ).reshape(2, -1, 1)
    across = x * np.cos(yaw) + ANCHOR_DEPTHS * np.sin(yaw)
    toward = ANCHOR_DEPTHS * np.cos(yaw) - x * np.sin(yaw)
    views = across + 1j * (y * np.cos(pitch) + toward * np.sin(pitch))
    return views - views.mean(axis=1, keepdims=True)


_VIEWS = _views(VIEW_STEP)


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cuts a square out of an image through a similarity, without aliasing.

    Where the image is shrunk, each output pixel is the mean of k x k bilinear
    samples, k the smallest whole number that leaves the samples at most one
    input pixel apart; elsewhere it is one bilinear sample.

    Args:
        image: uint8 [height, width, 3].
        matrix: [2, 3] similarity from pixels of the image to the output's.
        size: the output's side in pixels.

    Returns:
        uint8 [size, size, 3], black outside the image.
    """
    samples = max(1, math.ceil(1 / scale_of(matrix) - 1e-6))
    # Centres of pixels: sample j of output pixel u lies at k * u + j.
    fine = samples * matrix
    fine[:, 2] += (samples - 1) / 2
    side = samples * size
    result = cv2.warpAffine(image, fine, (side, side), flags=cv2.INTER_LINEAR)
    if samples > 1:
        result = cv2.resize(result, (size, size), interpolation=cv2.INTER_AREA)
    return result


def align(
    frame: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the aligned face out of a frame.

    Pixels around the face are the frame's, and black beyond its edges.

    Args:
        frame: uint8 [height, width, 3].
        landmarks: [68, 2] in pixels of the frame.

    Returns:
        The crop, uint8 [96, 96, 3] in the frame's order of channels, and the
        landmarks in pixels of the crop, float32 [68, 2].

    Raises:
        ValueError: the landmarks are not [68, 2], are not finite, or their
            anchors coincide.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (LANDMARKS, 2):
        raise ValueError(
            f"landmarks: shape ({LANDMARKS}, 2) is needed, not "
            f"{landmarks.shape}"
        )
    matrix = estimate_similarity(anchors(landmarks), TEMPLATE_ANCHORS)
    crop = warp(frame, matrix, CROP_SIZE)
    return crop, transform(matrix, landmarks).astype(np.float32)
