"""The convolutions of VGG-Face (Parkhi et al., 2015) from circulating files.

What each file holds, and what its first convolution was trained on:

    file                                  kernels  colours  mean
    vgg_face.mat (Oxford, MatConvNet)     HWIO     RGB      its own, or `MEAN`
    rcmalli_vggface_tf_[notop_]vgg16.h5   HWIO     BGR      `MEAN`
    vgg_face_weights.h5 (deepface)        HWIO     BGR      `MEAN`
    .npz of VGG_FACE.caffemodel           OIHW     BGR      `MEAN`

The colours of deepface's file are those that deepface feeds it. Its author has
also published a conversion of the .mat, which would make it RGB; whoever has
both files can find out by comparing the `conv1_1/kernel` that is read from
each.

At the image's edge, where `foreign` explains what folding changes, 128 - mean
is -1.2, 23.2, 34.4 for red, green, blue: docs/weights.md has a measurement.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.nets.architectures import VGG_BLOCKS, VGG_CONVS
from affwild_omg.weights import foreign
from affwild_omg.weights.foreign import Preprocessing, Source

# Mean colour of the training faces in R, G, B, from the authors' demo.
MEAN = (129.1863, 104.7624, 93.5940)
_CONV = re.compile(r"conv\d_\d")
_CONV_IN_KEY = re.compile(r"(?<![a-z\d])conv_?(\d)_(\d)(?!\d)")
_BGR = Preprocessing(mean=MEAN, bgr=True)


def from_mat(content: Mapping, where: str) -> Source:
    """Reads the convolutions from MatConvNet's form of VGG-Face.

    Args:
        content: what `scipy.io.loadmat(simplify_cells=True)` returned.
            Oxford's file holds a struct `net`, MatConvNet's copy the fields of
            that struct. Its `layers` have `weights` {filters, biases}, or both
            as fields of their own.
        where: flag and path, for messages.

    Raises:
        UserError: it has no layers, or as `foreign.source`.
    """
    net = content.get("net", content)
    layers = net.get("layers") if isinstance(net, Mapping) else None
    if not isinstance(layers, list):
        names = [name for name in content if not name.startswith("__")]
        raise UserError(
            f"{where} is a MATLAB file without the layers of MatConvNet; "
            f"Oxford's vgg_face.mat has net.layers, this has {listed(names)}"
        )
    convolutions = {}
    for layer in layers:
        if isinstance(layer, Mapping) and layer.get("type") == "conv":
            pair = layer.get("weights")
            if pair is None:
                pair = layer.get("filters"), layer.get("biases")
            convolutions[str(layer.get("name"))] = pair
    mean = MEAN
    normalization = net.get("meta", net).get("normalization", {})
    average = np.asarray(normalization.get("averageImage", []), np.float64)
    if average.size:
        # A colour, or a whole image of another size than our crops.
        mean = tuple(average.reshape(-1, 3).mean(axis=0))
    return _source(
        convolutions,
        "MatConvNet .mat (RGB, folded)",
        where,
        Preprocessing(mean=mean),
    )


def from_layers(layers: Mapping[str, Sequence], where: str) -> Source | None:
    """Reads the convolutions from Keras layers.

    Args:
        layers: {layer: its arrays} in the model's order. keras-vggface's
            layers are recognised by name; deepface's, which Keras numbered, by
            order and shapes.
        where: flag and path, for messages.

    Returns:
        As `from_mat`; None if the layers are not those of VGG-Face.
    """
    weighted = {name: arrays for name, arrays in layers.items() if len(arrays)}
    windows = [tuple(arrays[0].shape[:-2]) for arrays in weighted.values()]
    if any(name in VGG_CONVS for name in weighted):
        kind = "keras-vggface .h5 (BGR, folded)"
        return _source(weighted, kind, where)
    if windows == [(3, 3)] * 13 + [(7, 7), (1, 1), (1, 1)]:
        # Its fully connected layers are convolutions. ImageNet's VGG-16, the
        # same stack on other colours, has dense ones.
        named = dict(zip(VGG_CONVS, weighted.values(), strict=False))
        kind = "deepface .h5 (taken as BGR, folded)"
        return _source(named, kind, where)
    return None


def from_arrays(arrays: Mapping[str, np.ndarray], where: str) -> Source | None:
    """Reads the convolutions from an .npz made of VGG_FACE.caffemodel.

    Args:
        arrays: arrays by keys that contain the layer's name ("conv1_1_W",
            "conv1_1/weights", "conv1_1.weight", "conv1_1_0", ...). Shapes tell
            kernel from bias, and Caffe's order (OIHW) from TensorFlow's
            (HWIO). ImageNet's VGG-16 has the same names and shapes and would
            be taken for VGG-Face.
        where: flag and path, for messages.

    Returns:
        As `from_mat`; None if no key names a convolution.
    """
    convolutions = {}
    for key in arrays:
        if match := _CONV_IN_KEY.search(key):
            name = "conv{}_{}".format(*match.groups())
            convolutions.setdefault(name, []).append(arrays[key])
    if not convolutions:
        return None
    for pair in convolutions.values():
        # A bias varies along one axis; old Caffe files pad its shape to four.
        pair.sort(key=lambda array: array.size == max(array.shape, default=0))
    order = "HWIO"
    if all(pair[0].shape[2:] == (3, 3) for pair in convolutions.values()):
        order = "OIHW"
        for pair in convolutions.values():
            pair[0] = pair[0].transpose(2, 3, 1, 0)
    kind = f".npz of Caffe ({order}, BGR, folded)"
    return _source(convolutions, kind, where)


def _source(layers, kind, where, preprocessing=_BGR):
    """Takes the convolutions; the first gives the width of all."""
    convolutions = {
        # A bias may have any number of axes.
        name: [*pair[:1], *map(np.ravel, pair[1:])]
        for name, pair in layers.items()
        if _CONV.fullmatch(name)
    }
    first = [np.shape(x) for x in convolutions.get("conv1_1", ())]
    width = first[0][-1] / VGG_BLOCKS[0][0] if first and first[0] else 1
    channels = [round(x * width) for block in VGG_BLOCKS for x in block]
    shapes = {
        name: {"kernel": (3, 3, inputs, outputs), "bias": (outputs,)}
        for name, inputs, outputs in zip(
            VGG_CONVS, [3, *channels[:-1]], channels, strict=True
        )
    }
    source = foreign.source(
        convolutions,
        shapes,
        preprocessing,
        backbone="vgg_face",
        description=f"VGG-Face, {kind}",
        where=where,
    )
    return dataclasses.replace(source, large=True)
