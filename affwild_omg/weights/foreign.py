"""Networks trained elsewhere, checked and fitted to the frames of this project.

The networks of this project see frames as (x - 128) / 128, in RGB. `fold` puts
the preprocessing of another network into its first convolution, whose output
is then exact wherever the kernel lies inside the image. Where it reaches over
the edge, zero padding stood for the mean colour in training and stands for
mid-grey (128) here. With K the trained kernel, the output there differs by

    folded - trained = sum of K[tap] * (128 - mean) / scale over outside taps
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.paper.treatment import Treatment


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Weights that a network can take, wherever they come from.

    Attributes:
        description: what it is, for the log.
        architecture: its network; the bare backbone for a weight file.
        weights: {name: array}, see `affwild_omg.nets.parts.named_weights`.
        foreign: whether its features are of a size of their own, so that they
            need `calibration.calibrate`.
        treatment: of the films that it learned from, where it is a model's.
    """

    description: str
    architecture: Architecture | Fusion
    weights: Mapping[str, np.ndarray]
    foreign: bool = False
    treatment: Treatment | None = None


def source(
    layers: Mapping[str, Sequence],
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    preprocessing: Preprocessing,
    *,
    backbone: str,
    description: str,
    where: str,
) -> Source:
    """Checks the layers of a backbone and folds the first.

    Args:
        layers: {layer: its arrays}, anything with a shape that NumPy can
            convert.
        shapes: {layer: {variable: shape}} that are needed; the first layer is
            a convolution.
        preprocessing: that of the training.
        backbone: a key of `architectures.BACKBONES`.
        description: what was read, and how.
        where: flag and path, for messages.

    Raises:
        UserError: the layers, shapes or values are not those of the whole
            backbone.
    """
    if missing := [name for name in shapes if name not in layers]:
        raise UserError(
            f"{where} lacks {listed(missing)}, which {backbone} has; this has "
            f"{listed(list(layers))}"
        )
    if surplus := [name for name in layers if name not in shapes]:
        raise UserError(
            f"{where} has {listed(surplus)}, which {backbone} does not have; "
            "it is another network"
        )
    weights = {}
    for layer, needed in shapes.items():
        found = [tuple(np.shape(array)) for array in layers[layer]]
        if found != list(needed.values()):
            raise UserError(
                f"{where}: {layer} has the shapes {', '.join(map(str, found))} "
                f"instead of {', '.join(f'{x} {needed[x]}' for x in needed)}; "
                "give another copy of the file"
            )
        for variable, array in zip(needed, layers[layer], strict=True):
            values = np.asarray(array, np.float32)
            if not np.isfinite(values).all():
                raise UserError(
                    f"{where}: {layer}/{variable} has values that are not "
                    "finite; the file is damaged or its training failed, use "
                    "another"
                )
            weights[f"{layer}/{variable}"] = values
    first = next(iter(shapes))
    kernel, shift = fold(weights[f"{first}/kernel"], preprocessing)
    weights[f"{first}/kernel"] = kernel.astype(np.float32)
    shifted = f"{first}/bias"
    if shifted not in weights:
        # Batch normalisation follows. The shift is missing from its input and
        # is therefore subtracted from its moving mean, too; in training mode,
        # the batch's own mean cancels it.
        shifted, shift = "conv1_bn/moving_mean", -shift
    weights[shifted] = (weights[shifted] + shift).astype(np.float32)
    return Source(
        description=description,
        architecture=Architecture(backbone=backbone, taps=("fc",)),
        weights=weights,
        foreign=True,
    )


def fold(
    kernel: np.ndarray, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Folds preprocessing into a network's first convolution.

    Args:
        kernel: [height, width, 3, outputs], for preprocessed input.
        preprocessing: that of the training.

    Returns:
        Kernel [height, width, 3, outputs] and shift [outputs], in float64: the
        convolution of (x - 128) / 128 in RGB with this kernel, plus the shift,
        equals that of the preprocessed frame with the given one.
    """
    kernel = np.asarray(kernel, np.float64)
    if preprocessing.bgr:
        kernel = kernel[:, :, ::-1]
    # (x - mean) / scale = gain * (x - 128) / 128 + offset
    gain = 128 / np.asarray(preprocessing.scale)
    offset = (128 - np.asarray(preprocessing.mean)) / preprocessing.scale
    return kernel * gain[:, None], np.einsum("hwio,i->o", kernel, offset)
