"""The two portraits of the demo corpus, and the geometry to blend them.

scikit-image ships a NASA portrait of Eileen Collins, matplotlib a US Navy
portrait of Grace Hopper; both are in the public domain.

Faces are 68 landmarks. In units, the middle of the eyes is the origin and
the mouth's middle lies at (0, 1).
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from affwild_omg.cli import errors

LandmarkFinder = Callable[[np.ndarray], np.ndarray | None]

# Silhouettes and necklines, traced by hand in the pixels of the two files.
_OUTLINES = {
    "collins": (
        [201, 23], [185, 38], [163, 51], [156, 58], [153, 68], [157, 104],
        [170, 116], [174, 128], [182, 132], [182, 147], [153, 151],
        [140, 158], [123, 178], [120, 201], [113, 205], [90, 227], [76, 235],
        [65, 246], [44, 282], [26, 342], [26, 366], [19, 390], [27, 495],
        [23, 511], [504, 511], [500, 478], [493, 421], [478, 384],
        [455, 361], [419, 345], [393, 344], [364, 348], [360, 328],
        [357, 324], [352, 287], [347, 282], [340, 262], [303, 233],
        [292, 207], [259, 166], [259, 157], [264, 149], [266, 137],
        [275, 134], [290, 117], [300, 92], [296, 58], [288, 43], [276, 31],
        [248, 18], [227, 16],
    ),
    "hopper": (
        [218, 30], [214, 43], [198, 49], [181, 64], [176, 84], [156, 100],
        [152, 104], [148, 125], [149, 160], [151, 180], [154, 190],
        [154, 215], [156, 240], [162, 255], [163, 280], [172, 290],
        [185, 297], [200, 302], [203, 312], [195, 325], [180, 338],
        [160, 347], [131, 352], [80, 368], [61, 380], [53, 381], [47, 387],
        [38, 411], [27, 459], [17, 526], [11, 599], [511, 599], [511, 434],
        [505, 431], [492, 393], [464, 377], [422, 366], [365, 342],
        [334, 318], [334, 309], [341, 302], [344, 289], [350, 283],
        [356, 266], [361, 262], [367, 227], [370, 208], [373, 185],
        [369, 183], [371, 134], [368, 95], [365, 89], [352, 86], [347, 70],
        [335, 56], [315, 45], [299, 41], [281, 27], [249, 23],
    ),
}  # fmt: skip
_NECKLINES = {
    "collins": (
        [0, 148], [182, 148], [187, 184], [220, 190], [253, 186], [259, 160],
        [511, 160],
    ),
    "hopper": (
        [0, 305], [200, 308], [208, 345], [240, 405], [272, 402], [328, 330],
        [333, 316], [511, 312],
    ),
}  # fmt: skip

_TEMPLES = {
    "hopper": (
        [[175, 177], [184, 174], [222, 170], [222, 190], [196, 190],
         [190, 203], [183, 200], [176, 187]],
        [[300, 165], [335, 164], [348, 167], [361, 180], [361, 190],
         [348, 191], [338, 193], [330, 190], [300, 176]],
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Portrait:
    """A portrait and what is known of it.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        bare: the same without the ends of a pair of glasses.
        landmarks: float64 (68, 2), x and y in pixels.
        cover: float32 (height, width, 2), in [0, 1]: the person, and of it
            the clothes.
    """

    image: np.ndarray
    bare: np.ndarray
    landmarks: np.ndarray
    cover: np.ndarray


def load_portraits(find_landmarks: LandmarkFinder) -> list[Portrait]:
    """Loads both portraits and finds their landmarks.

    Args:
        find_landmarks: takes a uint8 RGB image and returns float (68, 2)
            in its pixels, or None where it sees no face.

    Raises:
        UserError: if the samples are missing or no face is found in one.
    """
    return [
        _load_portrait(name, image, find_landmarks)
        for name, image in _sample_images().items()
    ]


def _sample_images() -> dict[str, np.ndarray]:
    # Imported here: only the process that plans needs them.
    import matplotlib.cbook
    import skimage.data

    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.imread(str(path))
    if hopper is None:
        raise errors.UserError(
            f"{path}: matplotlib's sample portrait can't be read; reinstall "
            "matplotlib with its sample data"
        )
    return {
        "collins": skimage.data.astronaut(),
        "hopper": cv2.cvtColor(hopper, cv2.COLOR_BGR2RGB),
    }


def _load_portrait(name, image, find_landmarks) -> Portrait:
    # Detectors answer in whole pixels: ask about a picture twice the size.
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found = find_landmarks(large)
    landmarks = None if found is None else np.asarray(found, np.float64)
    if landmarks is None or landmarks.shape != (68, 2):
        raise errors.UserError(
            f"find_landmarks must return 68 points for the portrait {name!r}, "
            f"but returned {None if found is None else landmarks.shape}"
        )
    height, width = image.shape[:2]
    person = np.zeros((height, width), np.uint8)
    cv2.fillPoly(person, [np.array(_OUTLINES[name])], 255)
    person = cv2.GaussianBlur(cv2.erode(person, np.ones((3, 3))), (0, 0), 1.2)
    clothes = np.zeros((height, width), np.uint8)
    corners = [[width, height], [0, height]]
    cv2.fillPoly(clothes, [np.array([*_NECKLINES[name], *corners])], 255)
    clothes = cv2.GaussianBlur(clothes, (0, 0), 2)
    cover = np.dstack([person, clothes]).astype(np.float32) / 255
    bare = image
    if name in _TEMPLES:
        glasses = np.zeros((height, width), np.uint8)
        cv2.fillPoly(glasses, [np.array(c) for c in _TEMPLES[name]], 255)
        bare = cv2.inpaint(image, glasses, 3, cv2.INPAINT_TELEA)
    return Portrait(image, bare, (landmarks + 0.5) / 2 - 0.5, cover)


def mean_shape(portraits: list[Portrait]) -> np.ndarray:
    """The neutral face in units: symmetric, its mouth closed."""
    shapes = []
    for portrait in portraits:
        points = portrait.landmarks
        eyes = np.array([points[36:42].mean(0), points[42:48].mean(0)])
        mouth = points[48:68].mean(0)
        middle = eyes.mean(0)
        down = mouth - middle
        across = eyes[1] - eyes[0]
        angle = np.arctan2(across[1], across[0])
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        shape = (points - middle) @ turn.T / np.hypot(*down)
        shapes.append((shape + shape[_MIRROR] * [-1, 1]) / 2)
    mean = (shapes[0] + shapes[1]) / 2
    # The second portrait's mouth is at rest; the first one smiles.
    mouth = shapes[1][48:68] * [0.97, 1]
    mouth[[13, 14, 15, 17, 18, 19], 1] = mouth[
        [13, 14, 15, 17, 18, 19], 1
    ].mean()
    mouth[[0, 6, 12, 16], 1] = mouth[13, 1] + 0.01
    mean[48:68] = mouth
    return mean


def vary_shape(shape: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Makes one person's face out of the mean one; about 6 % a unit."""
    jaw, chin, eyes, eye_size, brows, nose, mouth, lips = looks
    shape = shape.copy()
    low = np.clip((shape[:17, 1] + 0.1) / 1.5, 0, 1)
    shape[:17, 0] *= 1 + 0.06 * jaw * low + 0.02 * jaw
    shape[:17, 1] += 0.07 * chin * low**2
    for part in (slice(36, 42), slice(42, 48)):
        centre = shape[part].mean(0)
        shape[part] = centre + (shape[part] - centre) * (1 + 0.07 * eye_size)
        shape[part, 0] += np.sign(centre[0]) * 0.025 * eyes
    shape[17:27, 1] += 0.03 * brows
    shape[29:36, 1] += 0.03 * nose * np.array([0.4, 0.8, 1, 1, 1, 1, 1])
    shape[31:36, 0] *= 1 - 0.07 * nose
    centre = shape[48:68].mean(0)
    shape[48:68, 0] *= 1 + 0.06 * mouth
    shape[48:68, 1] = centre[1] + (shape[48:68, 1] - centre[1]) * (
        1.1 + 0.12 * lips
    )
    return shape


# Landmark i's counterpart on the other side of the face.
_MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48,
     59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip


def lip_gap(points: np.ndarray) -> float:
    """Pixels between the inner lips."""
    gap = points[[67, 66, 65], 1] - points[[61, 62, 63], 1]
    return max(float(gap.mean()), 0.0)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fits the (2, 3) similarity of eyes, nose and mouth, least squares."""
    use = [*range(27, 48), *range(48, 60)]
    source, target = source[use], target[use]
    start, end = source.mean(0), target.mean(0)
    first = (source - start) @ [1, 1j]
    second = (target - end) @ [1, 1j]
    ratio = np.vdot(first, second) / np.vdot(first, first)
    turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([turn, end - turn @ start])


def thin_plate(source, target, where) -> np.ndarray:
    """Bends the plane so that `source` lands on `target`; maps `where`."""

    def kernel(first, second):
        square = ((first[:, None] - second[None]) ** 2).sum(-1)
        return square * np.log(square + 1e-9)

    def affine(points):
        return np.column_stack([np.ones(len(points)), points])

    count = len(source)
    scale = np.abs(source).max()
    source, where = source / scale, where / scale
    system = np.zeros((count + 3, count + 3))
    # A little slack: landmarks found a pixel off must not fold the skin.
    system[:count, :count] = kernel(source, source) + 2e-4 * np.eye(count)
    system[:count, count:] = affine(source)
    system[count:, :count] = affine(source).T
    weights = np.linalg.solve(system, np.vstack([target, np.zeros((3, 2))]))
    return (
        kernel(where, source) @ weights[:count]
        + affine(where) @ weights[count:]
    )
