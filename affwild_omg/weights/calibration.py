"""Scales imported convolutions so that every tap comes out below 0.4.

VGG-Face's file keeps the scale of Caffe's images, 0 to 255, whose features are
in the hundreds, and those of ImageNet's networks are of size 1 to 2: what reads
them would be saturated before the first step, or after a few.

The layers are positively homogeneous: relu(a x) = a relu(x) for a > 0, and so
are pools, sums and concatenations. A convolution whose kernel is scaled by
after / before, and its bias by after, gives `after` times what it gave, where
its input is `before` times what it was.
"""

import re

import keras
import numpy as np

from affwild_omg.nets.architectures import VGG_BLOCKS, VGG_CONVS
from affwild_omg.nets.backbones import STAGE_ENDS

# A little less than taps have with random weights: at 0.6, Adam soon saturates
# the gates that read 73,728 features (docs/networks.md).
MOST = 0.4
# The first layer of each backbone that can be calibrated.
FIRST = {
    "vgg_face": "conv1_1",
    "resnet50": "conv1_conv",
    "densenet121": "conv1_conv",
}


def calibrate(
    model: keras.Model, backbone: str, frames: np.ndarray
) -> dict[str, float]:
    """Scales a backbone so that the RMS of its taps is 0.2 to 0.4.

    It is less where a tap averages (pool), or comes before a maximum. The
    factors are powers of two, so that no weight is rounded, and the features
    are otherwise the same to the last bit; in DenseNet-121, where batch
    normalisation comes first and adds its epsilon, but for rounding.

    Args:
        model: a network on the backbone, or a member of a fusion.
        backbone: a key of FIRST.
        frames: uint8 [frames, 96, 96, 3], aligned faces.

    Returns:
        {layer: the root mean square of its features before}, of those that
        decide: in VGG-Face each convolution, after the pool if one follows; in
        the others the end of each stage.
    """
    deciding = {
        layer.name: end
        for layer in model.layers
        if (end := _DECIDING[backbone](layer.name))
    }
    ends = list(dict.fromkeys(deciding.values()))
    given = {"frames": frames[None]}
    if backbone != "vgg_face":  # batch normalisation knows what counts
        given["mask"] = np.ones((1, len(frames)), bool)
    outputs = keras.Model(
        [x for x in model.inputs if x.name in given],
        [model.get_layer(name).output for name in ends],
    )([given[x.name] for x in model.inputs if x.name in given])
    sizes = {
        name: float(np.sqrt(np.mean(np.square(np.asarray(output)))))
        for name, output in zip(ends, outputs, strict=True)
    }
    factors = {
        name: 2.0 ** np.floor(np.log2(MOST / size))
        if 0 < size < np.inf
        else 1.0
        for name, size in sizes.items()
    }
    _scale(model, {layer: factors[end] for layer, end in deciding.items()})
    return sizes


def _scale(model, factors) -> None:
    """Multiplies what layers give by a factor, and by 1 where none is named."""
    scales = {}  # of a tensor, by its identity
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        first, *_ = keras.tree.flatten(layer.input)
        before = after = scales.get(id(first), 1.0)
        if isinstance(layer, keras.layers.Conv2D):
            after = factors.get(layer.name, 1.0)
            layer.kernel.assign(layer.kernel * (after / before))
            if layer.use_bias:
                layer.bias.assign(layer.bias * after)
        elif isinstance(layer, keras.layers.BatchNormalization):
            after = factors.get(layer.name, 1.0)
            variance = np.asarray(layer.moving_variance)
            inner = before**2 * variance
            same = (inner + layer.epsilon) / (variance + layer.epsilon)
            layer.gamma.assign(layer.gamma * after * np.sqrt(same) / before)
            layer.beta.assign(layer.beta * after)
            layer.moving_mean.assign(layer.moving_mean * before)
            layer.moving_variance.assign(inner)
        scales[id(layer.output)] = after


_POOLED = {
    f"conv{block}_{len(channels)}": f"pool{block}"
    for block, channels in enumerate(VGG_BLOCKS, start=1)
}
# What feeds a dense block beside its own layers, by the block.
_FEEDS = {
    "conv1_bn": "conv2",
    "pool2_conv": "conv3",
    "pool3_conv": "conv4",
    "pool4_conv": "conv5",
    "bn": "conv5",
}


def _of_vgg(name):
    return _POOLED.get(name, name) if name in VGG_CONVS else None


def _of_resnet(name):
    # Each convolution is normalised, which makes what it gives a unit again.
    found = re.fullmatch(r"(conv\d)(_block\d_\d)?_bn", name)
    stage = found and {"conv1": "pool1"}.get(found[1], found[1])
    return STAGE_ENDS["resnet50"].get(stage)


def _of_densenet(name):
    found = re.fullmatch(r"(conv\d)_block\d+_2_conv", name)
    stage = found[1] if found else _FEEDS.get(name)
    return STAGE_ENDS["densenet121"].get(stage)


# From a layer to the one whose features decide its scale; None: none does.
_DECIDING = {
    "vgg_face": _of_vgg,
    "resnet50": _of_resnet,
    "densenet121": _of_densenet,
}
