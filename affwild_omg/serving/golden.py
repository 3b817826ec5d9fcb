"""Makes the golden frames that a SavedModel carries."""

import pathlib

import numpy as np
import skimage.data

from affwild_omg.inference import golden
from affwild_omg.inference.predictor import Predictor
from affwild_omg.synthetic.corpus import write_film

# Eileen Collins, as scikit-image has her: a NASA portrait, in the public
# domain. Rows and columns of the frames, and her face's box in them.
_PLACE = (slice(256), slice(96, 352))
_BOX = (86.0, 76.0, 88.0, 112.0)
_FRAMES = 3


def write(saved_model: pathlib.Path, predictor: Predictor) -> None:
    """Writes a clip, and what each step makes of it, into a SavedModel.

    Args:
        saved_model: its folder.
        predictor: of the network.
    """
    folder = saved_model / golden.GOLDEN
    folder.mkdir(parents=True)
    portrait = skimage.data.astronaut()[_PLACE]
    frames = [np.roll(portrait, 2 * i, axis=1) for i in range(_FRAMES)]
    write_film(folder / golden.CLIP, frames)
    golden.record(folder, _BOX, predictor)
