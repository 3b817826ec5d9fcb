"""ImageNet's ResNet-50 and DenseNet-121, as keras.applications stores them.

Both begin with a 7x7 convolution of stride 2 on an image padded with three
zeros on every side. `preprocessing.fold` makes it exact inside the image; the
first two and the last of its 48 rows and columns (at 96x96) reach over the
edge, where it differs as that module explains.

ResNet-50 was trained on BGR minus a mean colour ("caffe"). Its first
convolution has a bias, which takes the shift. DenseNet-121 was trained on RGB
scaled to [0, 1], minus a mean, divided by a deviation ("torch"). Its first
convolution has no bias, but batch normalisation follows: the shift is missing
from the convolution's output and is therefore subtracted from the moving mean,
too. In training mode, the batch's own mean cancels it.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.backbones import APPLICATIONS
from affwild_omg.weights.preprocessing import Preprocessing, fold

# As keras.applications.imagenet_utils.preprocess_input, here in R, G, B.
PREPROCESSING: Mapping[str, Preprocessing] = {
    "resnet50": Preprocessing(mean=(123.68, 116.779, 103.939), bgr=True),
    "densenet121": Preprocessing(
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        scale=(255 * 0.229, 255 * 0.224, 255 * 0.225),
    ),
}
_TITLES = {"resnet50": "ResNet-50", "densenet121": "DenseNet-121"}


@functools.cache
def layers_of(backbone: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Returns {layer: {variable: shape}} of what has weights, without the top.

    Args:
        backbone: "resnet50" or "densenet121".
    """
    model = APPLICATIONS[backbone](include_top=False, weights=None)
    return {
        layer.name: {
            weight.name: tuple(weight.shape) for weight in layer.weights
        }
        for layer in model.layers
        if layer.weights
    }


def from_layers(
    layers: Mapping[str, Sequence], where: str
) -> tuple[str, str, dict[str, np.ndarray]] | None:
    """Reads one of the two networks from Keras layers.

    Args:
        layers: {layer: its arrays in Keras' order}; arrays are anything with
            a shape that NumPy can convert. A name may have "/" where Keras 3
            has "_". Dense layers, the network's top, are ignored.
        where: flag and path, for messages.

    Returns:
        A description, "resnet50" or "densenet121", and float32 arrays by the
        names of Keras 3, "<layer>/<variable>", folded; None if the layers are
        not exactly those of one of the two.

    Raises:
        UserError: the layers are, but an array is missing or has another shape.
    """
    layers = {
        name.replace("/", "_"): arrays
        for name, arrays in layers.items()
        if len(arrays) and len(arrays[0].shape) != 2
    }
    # Both networks have this layer; others need not wait for Keras' lists.
    backbones = APPLICATIONS if "conv1_conv" in layers else ()
    for backbone in backbones:
        if layers.keys() == layers_of(backbone).keys():
            break
    else:
        return None
    weights = {}
    for name, variables in layers_of(backbone).items():
        shapes = [tuple(array.shape) for array in layers[name]]
        if shapes != list(variables.values()):
            needed = [f"{key} {shape}" for key, shape in variables.items()]
            raise UserError(
                f"{where}: {name} has the shapes {', '.join(map(str, shapes))} "
                f"instead of {', '.join(needed)}; give another copy of the file"
            )
        for variable, array in zip(variables, layers[name], strict=True):
            weights[f"{name}/{variable}"] = np.asarray(array, np.float32)
    kernel, shift = fold(weights["conv1_conv/kernel"], PREPROCESSING[backbone])
    weights["conv1_conv/kernel"] = kernel.astype(np.float32)
    name = "conv1_conv/bias"
    if backbone == "densenet121":
        name, shift = "conv1_bn/moving_mean", -shift
    # A new array: the old one may be the caller's.
    weights[name] = weights[name] + shift.astype(np.float32)
    colours = "BGR" if PREPROCESSING[backbone].bgr else "RGB"
    title = f"ImageNet {_TITLES[backbone]}, keras.applications .h5"
    return f"{title} ({colours}, folded)", backbone, weights
