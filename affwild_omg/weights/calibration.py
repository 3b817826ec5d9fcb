"""Scales VGG-Face's convolutions so that their features come out below 0.5.

Its file keeps the scale of Caffe's images, 0 to 255, whose features are in the
hundreds: what reads them would be saturated before the first step, or after a
few. The layers are positively homogeneous: relu(a x) = a relu(x) for a > 0, and
so are maxima. With the kernels of layer l scaled by c[l] / c[l - 1] and its
bias by c[l], all features of layer l are those before times c[l].
"""

import keras
import numpy as np

from affwild_omg.nets.architectures import VGG_BLOCKS, VGG_CONVS

# A little less than taps have with random weights: at 0.9, Adam soon saturates
# the gates that read 73,728 features (docs/networks.md).
MOST = 0.5


def calibrate(model: keras.Model, frames: np.ndarray) -> dict[str, float]:
    """Scales each convolution so that its features' RMS is 0.25 to 0.5.

    The features of a convolution before a pool are those that the pool leaves,
    which are the larger ones. The factors are powers of two, so that no weight
    is rounded: the features are otherwise the same to the last bit.

    Args:
        model: a network on VGG-Face, or a member of a fusion.
        frames: uint8 [frames, 96, 96, 3], aligned faces.

    Returns:
        {layer: the root mean square of its features before}.
    """
    layers = [model.get_layer(name) for name in VGG_CONVS]
    pools = {
        f"conv{block}_{len(channels)}": f"pool{block}"
        for block, channels in enumerate(VGG_BLOCKS, start=1)
    }
    (images,) = (x for x in model.inputs if x.name == "frames")
    outputs = keras.Model(
        images,
        [model.get_layer(pools.get(x, x)).output for x in VGG_CONVS],
    )
    sizes, before = {}, 1.0
    for layer, output in zip(layers, outputs(frames[None]), strict=True):
        size = float(np.sqrt(np.mean(np.square(np.asarray(output)))))
        sizes[layer.name] = size
        factor = before
        if size > 0:
            factor = 2.0 ** np.floor(np.log2(MOST / size))
        layer.kernel.assign(layer.kernel * (factor / before))
        layer.bias.assign(layer.bias * factor)
        before = factor
    return sizes
