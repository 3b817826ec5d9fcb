"""Finds 68 facial landmarks with MediaPipe's face mesh.

Its licence, Apache 2.0, allows any use. The model file comes with the package
mediapipe, of which nothing else is needed.
"""

import importlib.util
import pathlib
import threading

import numpy as np

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from affwild_omg.faces import alignment, views
from affwild_omg.storage import files

# The last version of the package that holds the model, without the OpenCV that
# it would put in the place of this project's.
INSTALL = "pip install --no-deps mediapipe==0.10.21"
_FILE = "modules/face_landmark/face_landmark.tflite"
_SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"

# The points of the mesh that stand for the 68 of iBUG's mark-up: the list that
# is in common use. The jaw's lie on the outline of the mesh, 8 to 9 % of the
# distance of the eyes' outer corners from dlib's.
POINTS = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152),
    *(377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)

# Where the model first looks for the face of a box, in heights of the box: how
# far its middle lies below the box's, and the side of the square. Then it looks
# at half as much again as the mesh takes, and levels its eyes, as MediaPipe has
# it.
LOWER, FIRST_SIDE, SECOND_SIDE = 0.08, 1.35, 1.5
_EYES = 33, 263  # their outer corners, left and right in the picture

# It looks again where it turned the square by more than 15 degrees, of a head
# that leans; so often at most.
LEVEL_COSINE, MOST_LOOKS = np.cos(np.deg2rad(15)), 4


def model_file() -> pathlib.Path:
    """Finds the file of the model.

    Raises:
        UserError: it is not installed, or another one.
    """
    package = importlib.util.find_spec("mediapipe")
    for folder in package.submodule_search_locations if package else ():
        path = pathlib.Path(folder, _FILE)
        if path.is_file() and files.digest(path) == _SHA256:
            return path
    raise UserError(
        "landmarks by mediapipe need the model in that package, which is not "
        f"there, or another version's: {INSTALL}"
    )


class MeshLandmarker:
    """Finds landmarks as `landmarks.Landmarker` does.

    The network: Kartynnik et al., "Real-time facial surface geometry from
    monocular video on mobile GPUs" (2019), of 468 points.
    """

    def __init__(self):
        """Loads the model.

        Raises:
            UserError: it is not installed.
        """
        import tensorflow as tf  # heavy

        path = str(model_file())
        with progress.quiet():
            self._net = tf.lite.Interpreter(path, num_threads=1)
            self._net.allocate_tensors()
        self._lock = threading.Lock()  # it serves one caller at a time
        (self._input,) = self._net.get_input_details()
        # The points, and how sure it is that there is a face.
        self._points, self._sure = sorted(
            self._net.get_output_details(), key=lambda x: -np.prod(x["shape"])
        )

    def __call__(
        self, frame: np.ndarray, box: tuple[float, float, float, float]
    ) -> np.ndarray:
        """Finds the landmarks of the face in a box.

        Args:
            frame: RGB uint8 [height, width, 3].
            box: x, y, width, height in pixels of the frame; it is squared on
                its height, and may reach beyond the frame.

        Returns:
            float32 [68, 2] in pixels of the frame; NaN where the model sees no
            face.

        Raises:
            ValueError: the box is not finite or its height is not positive.
        """
        x, y, width, height = views.checked(box)
        # Boxes count from the edge of their first pixel, points from its
        # centre.
        middle = np.array(
            [x + width / 2 - 0.5, y + (0.5 + LOWER) * height - 0.5]
        )
        level = np.eye(2)
        mesh, face = self._look(frame, middle, FIRST_SIDE * height, level)
        for _ in range(MOST_LOOKS):
            before, level = level, _level(mesh)
            upright = mesh @ level.T
            low, high = upright.min(axis=0), upright.max(axis=0)
            side = SECOND_SIDE * (high - low).max()
            if not 0 < side < np.inf:
                return np.full((len(POINTS), 2), np.nan, np.float32)
            middle = (low + high) / 2 @ level
            mesh, face = self._look(frame, middle, side, level)
            if (before * level).sum() / 2 > LEVEL_COSINE:
                break
        points = mesh[list(POINTS)].astype(np.float32)
        return points if face else np.full_like(points, np.nan)

    def _look(self, frame, middle, side, level):
        """Returns the mesh in a square, [468, 2], and whether it is a face.

        The square is turned by the rotation matrix `level`.
        """
        size = self._input["shape"][1]
        turn = size / side * level
        shift = (size - 1) / 2 - turn @ middle
        matrix = np.column_stack([turn, shift])
        patch = alignment.warp(frame, matrix, size) / np.float32(255)
        with self._lock:
            self._net.set_tensor(self._input["index"], patch[np.newaxis])
            self._net.invoke()
            points = self._net.get_tensor(self._points["index"])
            sure = self._net.get_tensor(self._sure["index"]).item()
        # It counts from the edges of pixels, and gives depths, too.
        points = points.reshape(-1, 3)[:, :2].astype(np.float64) - 0.5 - shift
        return side / size * points @ level, sure > 0


def _level(mesh):
    """Returns the rotation matrix that levels the eyes."""
    right, down = mesh[_EYES[1]] - mesh[_EYES[0]]
    length = max(np.hypot(right, down), 1e-9)
    return np.array([[right, down], [-down, right]]) / length
