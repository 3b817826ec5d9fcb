"""ImageNet's ResNet-50 and DenseNet-121, in the layout of keras.applications.

Both begin with a 7x7 convolution of stride 2 on an image padded with three
zeros on every side. `preprocessing.fold` makes it exact inside the image; the
first two and the last of its 48 rows and columns (at 96x96) reach over the
edge and differ as it says.

ResNet-50 was trained on BGR less a mean colour ("caffe"). Its first convolution
has a bias, which takes the shift. DenseNet-121 was trained on RGB scaled to
[0, 1], less a mean, by a deviation ("torch"). Its first convolution has no
bias, but batch normalisation follows: the convolution's output falls short of
the trained one by the shift, and so must the moving mean that is subtracted
from it. In training mode, the batch's own mean cancels the shift.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.weights.preprocessing import Preprocessing, fold

_BN = ("gamma", "beta", "moving_mean", "moving_variance")


def _resnet50():
    """Yields (layer, variables) in the names of He et al.'s Keras form."""
    conv = ("kernel", "bias")
    names = ["conv1"]
    for stage, blocks in enumerate((3, 4, 6, 3), start=2):
        for block in range(1, blocks + 1):
            # 0 is the shortcut, which changes the number of channels.
            for part in (0, 1, 2, 3) if block == 1 else (1, 2, 3):
                names.append(f"conv{stage}_block{block}_{part}")
    for name in names:
        yield f"{name}_conv", conv
        yield f"{name}_bn", _BN


def _densenet121():
    """Yields (layer, variables) in the names of Huang et al.'s Keras form."""
    conv = ("kernel",)
    yield "conv1_conv", conv
    yield "conv1_bn", _BN
    for stage, blocks in enumerate((6, 12, 24, 16), start=2):
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            yield f"{name}_0_bn", _BN
            yield f"{name}_1_conv", conv
            yield f"{name}_1_bn", _BN
            yield f"{name}_2_conv", conv
        if stage < 5:
            yield f"pool{stage}_bn", _BN
            yield f"pool{stage}_conv", conv
    yield "bn", _BN


LAYERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "resnet50": dict(_resnet50()),
    "densenet121": dict(_densenet121()),
}
# As keras.applications.imagenet_utils.preprocess_input, here in R, G, B.
PREPROCESSING: Mapping[str, Preprocessing] = {
    "resnet50": Preprocessing(mean=(123.68, 116.779, 103.939), bgr=True),
    "densenet121": Preprocessing(
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        scale=(255 * 0.229, 255 * 0.224, 255 * 0.225),
    ),
}


def from_layers(
    layers: Mapping[str, Sequence], where: str
) -> tuple[str, dict[str, np.ndarray]] | None:
    """Takes one of the two networks from Keras layers.

    Args:
        layers: arrays (anything with a shape that numpy can convert) of each
            layer by its name, in Keras' order. A name may have "/" where Keras
            3 has "_". Dense layers, the network's top, are left out.
        where: flag and path, for messages.

    Returns:
        "resnet50" or "densenet121", and its arrays, float32, as
        {"<layer>/<variable>": array} in the names of Keras 3, folded; None if
        the layers are not exactly those of one of them.

    Raises:
        UserError: they are, but an array lacks or has another shape.
    """
    layers = {
        name.replace("/", "_"): arrays
        for name, arrays in layers.items()
        if len(arrays) and len(arrays[0].shape) != 2
    }
    backbone = next(
        (
            backbone
            for backbone, expected in LAYERS.items()
            if layers.keys() == expected.keys()
        ),
        None,
    )
    if backbone is None:
        return None
    weights = {}
    for name, variables in LAYERS[backbone].items():
        _check(name, layers[name], variables, where)
        for variable, array in zip(variables, layers[name], strict=True):
            weights[f"{name}/{variable}"] = np.asarray(array, np.float32)
    kernel, shift = fold(weights["conv1_conv/kernel"], PREPROCESSING[backbone])
    weights["conv1_conv/kernel"] = kernel.astype(np.float32)
    if backbone == "resnet50":
        weights["conv1_conv/bias"] += shift.astype(np.float32)
    else:
        weights["conv1_bn/moving_mean"] -= shift.astype(np.float32)
    return backbone, weights


def _check(name, arrays, variables, where):
    """Checks shapes as far as the network's width leaves them open."""
    shapes = [tuple(array.shape) for array in arrays]
    first, *others = shapes
    if (
        len(shapes) != len(variables)
        or len(first) != (4 if variables[0] == "kernel" else 1)
        or any(shape != first[-1:] for shape in others)
    ):
        raise UserError(
            f"{where}: {name} has the shapes {', '.join(map(str, shapes))}; "
            f"{', '.join(variables)} of as many channels are needed"
        )
    if name == "conv1_conv" and first[:3] != (7, 7, 3):
        raise UserError(
            f"{where}: the kernel of {name} has the shape {first}; it "
            "must be (7, 7, 3, outputs)"
        )
