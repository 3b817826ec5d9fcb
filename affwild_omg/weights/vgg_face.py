"""The convolutions of VGG-Face (Parkhi et al., 2015) from circulating files.

What each file holds, and what its first convolution was trained on:

    file                                  kernels  colours  mean
    vgg_face.mat (Oxford, MatConvNet)     HWIO     RGB      its own, or `MEAN`
    rcmalli_vggface_tf_[notop_]vgg16.h5   HWIO     BGR      `MEAN`
    vgg_face_weights.h5 (deepface)        HWIO     BGR      `MEAN`
    VGG_FACE.caffemodel (Oxford)          OIHW     BGR      `MEAN`
    .npz of its blobs                     OIHW     BGR      `MEAN`
    VGG_FACE.t7 (Oxford, Torch 7)         OIHW     BGR      `MEAN`

Oxford's demo in Torch takes the mean off in the order R, G, B from channels in
the order B, G, R, which its other two demos do not: it is taken as a slip.
The colours of deepface's file are those that deepface feeds it. Its author has
also published a conversion of the .mat, which would make it RGB; whoever has
both files can find out by comparing the `conv1_1/kernel` that is read from
each.

At the image's edge, where `foreign` explains what folding changes, 128 - mean
is -1.2, 23.2, 34.4 for red, green, blue: docs/weights.md has a measurement.
"""

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


def from_caffe(layers: Mapping[str, Sequence], where: str) -> Source | None:
    """Reads the convolutions from Oxford's VGG_FACE.caffemodel.

    Args:
        layers: {layer: its blobs}, in the file's order.
        where: flag and path, for messages.

    Returns:
        As `from_mat`; None if no layer has the name of a convolution.

    Raises:
        UserError: it is ImageNet's VGG-16, or as `foreign.source`.
    """
    convolutions = {
        name: [np.transpose(kernel, (2, 3, 1, 0)), *rest]
        for name, (kernel, *rest) in layers.items()
        if _CONV.fullmatch(name)
    }
    if not convolutions:
        return None
    _check_classes(list(layers.values())[-1][-1].size, where)
    return _source(convolutions, "caffemodel (OIHW, BGR, folded)", where)


def from_torch(network: object, where: str) -> Source | None:
    """Reads the convolutions from Oxford's VGG_FACE.t7.

    Args:
        network: what `torch7.read` returned. Its modules have no names: the
            convolutions are taken in their order.
        where: flag and path, for messages.

    Returns:
        As `from_mat`; None if it does not have as many convolutions.

    Raises:
        UserError: it is ImageNet's VGG-16, or as `foreign.source`.
    """
    weighted = [x for x in _modules(network) if np.size(x.get("weight", ()))]
    convolutions = [
        # As a matrix, or with axes of its own for the places of the kernel.
        [
            np.transpose(
                x["weight"].reshape(
                    *(len(x["weight"]), -1, int(x["kH"]), int(x["kW"]))
                ),
                (2, 3, 1, 0),
            ),
            x["bias"],
        ]
        for x in weighted
        if "SpatialConvolution" in x["torch_class"]
    ]
    if len(convolutions) != len(VGG_CONVS):
        return None
    _check_classes(len(weighted[-1]["weight"]), where)
    named = dict(zip(VGG_CONVS, convolutions, strict=True))
    return _source(named, "Torch 7 (OIHW, BGR, folded)", where)


def _modules(module):
    """Yields the modules of a network that hold no others, in order."""
    if not isinstance(module, Mapping) or "torch_class" not in module:
        return
    parts = module.get("modules")
    if parts is None:
        yield module
        return
    for number in range(len(parts)):
        yield from _modules(parts[number + 1])


def _check_classes(count, where):
    """Tells the network from another that differs in what it recognises."""
    if count == 1000:
        raise UserError(
            f"{where} tells {count} classes apart: it is ImageNet's VGG-16 and "
            "not VGG-Face, which knows 2622 people; give that file"
        )


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
    return foreign.source(
        convolutions,
        shapes,
        preprocessing,
        backbone="vgg_face",
        description=f"VGG-Face, {kind}",
        where=where,
    )
