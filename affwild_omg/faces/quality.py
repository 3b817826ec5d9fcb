"""How well a face can be seen: how sharp, how large, and turned how far."""

import dataclasses
import math

import cv2
import numpy as np
from skimage import measure

from affwild_omg.faces import alignment
from affwild_omg.faces.tracking import (
    DETAIL_COLUMNS,
    DETAIL_ROWS,
    SEARCH_SIDE,
)
from affwild_omg.faces.views import Face

# Blur at which sharpness counts as full, and as none. A portrait of 512 pixels
# and a film have 0.38, a soft film 0.51; blurred by a ninth of the crop they
# have 0.55, 0.66 and 0.71.
SHARP, BLURRED = 0.4, 0.8

# Below this, a part of the quality is named as a reason.
POOR = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a face can be seen.

    Attributes:
        brightness: of the aligned crop from brows to chin, the mean of its grey
            values, 0 to 255.
        contrast: their standard deviation.
        blur: of the same, in [0, 1], 0 is sharp: Crete et al., "The blur
            effect: perception and estimation with a new no-reference perceptual
            blur metric" (2007).
        yaw: degrees to which the head is turned, see `alignment.yaw`.
        value: in [0, 1], the least of four parts: confidence; the share of the
            crop's pixels that the frame has, along a side; 1 from a blur of
            SHARP on to 0 at BLURRED; the cosine of yaw.
        reason: which parts are below POOR: "unsure", "small", "blurred",
            "turned", separated by "; "; "" if none.
    """

    brightness: float
    contrast: float
    blur: float
    yaw: int
    value: float
    reason: str


def measure_crop(crop: np.ndarray) -> dict[str, float]:
    """Measures brightness, contrast and blur of a crop, see `Quality`.

    Args:
        crop: uint8 [96, 96, 3], RGB.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[DETAIL_ROWS, DETAIL_COLUMNS]
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        # Without any detail, the measure divides by zero.
        "blur": float(measure.blur_effect(grey)) if np.ptp(grey) else 1.0,
    }


def measure_face(face: Face) -> Quality:
    """Measures how well a face can be seen that was found."""
    seen = measure_crop(face.crop)
    blur = seen["blur"]
    yaw = alignment.yaw(face.landmarks)
    parts = {
        "unsure": face.confidence,
        "small": min(1.0, face.box[3] / SEARCH_SIDE),
        "blurred": min(1.0, max(0.0, (BLURRED - blur) / (BLURRED - SHARP))),
        "turned": math.cos(math.radians(yaw)),
    }
    return Quality(
        **seen,
        yaw=yaw,
        value=min(parts.values()),
        reason="; ".join(name for name, x in parts.items() if x < POOR),
    )
