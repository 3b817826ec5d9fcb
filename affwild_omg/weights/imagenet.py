"""ImageNet's ResNet-50 and DenseNet-121, as keras.applications stores them.

Both begin with a 7x7 convolution of stride 2 on an image padded with three
zeros on every side: of its 48 rows and columns (at 96x96) the first two and the
last reach over the edge, where folding changes what `foreign` explains.

ResNet-50 was trained on BGR minus a mean colour ("caffe"), DenseNet-121 on RGB
scaled to [0, 1], minus a mean, divided by a deviation ("torch").
"""

import functools
from collections.abc import Mapping, Sequence

from affwild_omg.nets.backbones import APPLICATIONS
from affwild_omg.weights import foreign
from affwild_omg.weights.foreign import Preprocessing, Source

# As keras.applications.imagenet_utils.preprocess_input, here in R, G, B.
PREPROCESSING: Mapping[str, Preprocessing] = {
    "resnet50": Preprocessing(mean=(123.68, 116.779, 103.939), bgr=True),
    "densenet121": Preprocessing(
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        scale=(255 * 0.229, 255 * 0.224, 255 * 0.225),
    ),
}


@functools.cache
def shapes_of(backbone: str) -> dict[str, dict[str, tuple[int, ...]]]:
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


def from_layers(layers: Mapping[str, Sequence], where: str) -> Source | None:
    """Reads one of the two networks from Keras layers.

    Args:
        layers: {layer: its arrays in Keras' order}. A name may have "/" where
            Keras 3 has "_". Dense layers, the network's top, are ignored.
        where: flag and path, for messages.

    Returns:
        Its weights by the names of Keras 3; None if the layers are neither's.

    Raises:
        UserError: as `foreign.source`.
    """
    layers = {
        name.replace("/", "_"): arrays
        for name, arrays in layers.items()
        if len(arrays) and len(arrays[0].shape) != 2
    }
    if "conv1_conv" not in layers:
        return None
    backbone = "densenet121" if "pool2_conv" in layers else "resnet50"
    colours = "BGR" if PREPROCESSING[backbone].bgr else "RGB"
    return foreign.source(
        layers,
        shapes_of(backbone),
        PREPROCESSING[backbone],
        backbone=backbone,
        description=f"{backbone} of keras.applications ({colours}, folded)",
        where=where,
    )
