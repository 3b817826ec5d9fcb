"""Preprocessing of other networks, folded into their first convolution.

The networks of this project see frames as (x - 128) / 128, in RGB. `fold` puts
the preprocessing of another network into its first convolution, whose output
is then exact wherever the kernel lies inside the image. Where it reaches over
the edge, zero padding stood for the mean colour in training and stands for
mid-grey (128) here. With K the trained kernel, the output there differs by

    folded - trained = sum of K[tap] * (128 - mean) / scale over outside taps
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an RGB image in 0..255 was preprocessed in training.

    Every channel became (x - mean) / scale.

    Attributes:
        mean: of R, G, B.
        scale: of R, G, B.
        bgr: whether the channels were then reversed to B, G, R, which is then
            the order of the kernel's inputs.
    """

    mean: tuple[float, float, float]
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False


def fold(
    kernel: np.ndarray, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Folds preprocessing into a network's first convolution.

    Inside the image, the convolution of the preprocessed frame with `kernel`
    equals that of (x - 128) / 128 in RGB with the result, plus the shift. The
    module's docstring explains what differs at the edge.

    Args:
        kernel: [height, width, 3, outputs], for preprocessed input.
        preprocessing: that of the training.

    Returns:
        Kernel [height, width, 3, outputs] and shift [outputs], in float64.
    """
    kernel = np.asarray(kernel, np.float64)
    if preprocessing.bgr:
        kernel = kernel[:, :, ::-1]
    # (x - mean) / scale = gain * (x - 128) / 128 + offset
    gain = 128 / np.asarray(preprocessing.scale)
    offset = (128 - np.asarray(preprocessing.mean)) / preprocessing.scale
    return kernel * gain[:, None], np.einsum("hwio,i->o", kernel, offset)
