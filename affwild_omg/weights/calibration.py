"""Scales VGG-Face's convolutions so that their features come out about 1.

Its file keeps the scale of Caffe's images, 0 to 255, whose features are in the
hundreds: what reads them would be saturated before the first step, or after a
few. The layers are positively homogeneous: relu(a x) = a relu(x) for a > 0, and
so are maxima. With the kernels of layer l scaled by c[l] / c[l - 1] and its
bias by c[l], all features of layer l are those before times c[l].
"""

import keras
import numpy as np

from affwild_omg.nets.architectures import VGG_CONVS


def calibrate(model: keras.Model, frames: np.ndarray) -> dict[str, float]:
    """Scales each convolution so that its output's RMS is about 1.

    The factors are powers of two, so that no weight is rounded: the features
    come out of size 0.7 to 1.4, and are otherwise the same to the last bit.

    Args:
        model: a network on VGG-Face, or a member of a fusion.
        frames: uint8 [frames, 96, 96, 3], aligned faces.

    Returns:
        {layer: the root mean square of its output before}.
    """
    layers = [model.get_layer(name) for name in VGG_CONVS]
    (images,) = (x for x in model.inputs if x.name == "frames")
    outputs = keras.Model(images, [layer.output for layer in layers])
    sizes, before = {}, 1.0
    for layer, output in zip(layers, outputs(frames[None]), strict=True):
        size = float(np.sqrt(np.mean(np.square(np.asarray(output)))))
        sizes[layer.name] = size
        factor = 2.0 ** -np.round(np.log2(size)) if size > 0 else before
        layer.kernel.assign(layer.kernel * (factor / before))
        layer.bias.assign(layer.bias * factor)
        before = factor
    return sizes
