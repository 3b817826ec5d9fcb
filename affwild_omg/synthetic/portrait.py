"""The two portraits that the demo's people are made of.

scikit-image ships a NASA portrait of Eileen Collins, matplotlib a US Navy
portrait of Grace Hopper; both are in the public domain. data/portraits.json
holds what was traced in their pixels: 68 landmarks (iBUG 300-W mark-up), the
silhouette, the neckline and the temples of a pair of glasses.
"""

import dataclasses
import functools
import json
from importlib import resources

import cv2
import numpy as np

from affwild_omg.cli.errors import UserError

_TRACED = json.loads(
    (resources.files(__package__) / "data/portraits.json").read_text("utf-8")
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portrait:
    """A portrait and what is known of it."""

    image: np.ndarray  # uint8 [height, width, 3], RGB
    bare: np.ndarray  # the same without the temples of a pair of glasses
    landmarks: np.ndarray  # float64 [68, 2], x and y in pixels
    # float32 [height, width, 2], in [0, 1]: the person, and of it the clothes
    cover: np.ndarray

    @property
    def lip_gap(self) -> float:
        """Pixels between the inner lips."""
        lower, upper = self.landmarks[[67, 66, 65]], self.landmarks[61:64]
        return max(float((lower - upper)[:, 1].mean()), 0.0)


@functools.cache
def load_portraits() -> list[Portrait]:
    """Loads both portraits: Collins, Hopper.

    Raises:
        UserError: matplotlib came without its sample pictures.
    """
    # Imported here: only what draws needs them.
    import matplotlib.cbook
    import skimage.data

    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.imread(str(path))
    if hopper is None:
        raise UserError(
            f"{path}: matplotlib's sample portrait cannot be read; reinstall "
            "matplotlib with its sample data"
        )
    return [
        _cut_out(skimage.data.astronaut(), **_TRACED["collins"]),
        _cut_out(cv2.cvtColor(hopper, cv2.COLOR_BGR2RGB), **_TRACED["hopper"]),
    ]


def _cut_out(image, *, landmarks, outline, neckline, glasses) -> Portrait:
    height, width = image.shape[:2]

    def fill(*polygons):
        mask = np.zeros((height, width), np.uint8)
        return cv2.fillPoly(mask, [np.array(p) for p in polygons], 255)

    person = cv2.erode(fill(outline), np.ones((3, 3)))
    clothes = fill([*neckline, [width, height], [0, height]])
    cover = [
        cv2.GaussianBlur(person, (0, 0), 1.2),
        cv2.GaussianBlur(clothes, (0, 0), 2),
    ]
    return Portrait(
        image=image,
        bare=cv2.inpaint(image, fill(*glasses), 3, cv2.INPAINT_TELEA),
        landmarks=np.array(landmarks),
        cover=np.dstack(cover).astype(np.float32) / 255,
    )
