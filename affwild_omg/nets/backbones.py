"""Backbones: from frames to every tensor that can be tapped.

All `BUILDERS` take the same arguments,

    images        [frames, height, width, 3], normalised to [-1, 1)
    valid         [frames], bool: which frames count
    architecture  gives the width

and return, by name, every tap of `nets.architectures.BACKBONES` but "fc".
"""

import keras

from affwild_omg.nets import layers
from affwild_omg.nets.architectures import (
    RESNET_STAGES,
    VGG_BLOCKS,
    Architecture,
)

APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "densenet121": keras.applications.DenseNet121,
}
# The layers of keras.applications that end a stage.
STAGE_ENDS = {
    "resnet50": {
        "conv1": "conv1_relu",
        "pool1": "pool1_pool",
        "conv2": "conv2_block3_out",
        "conv3": "conv3_block4_out",
        "conv4": "conv4_block6_out",
        "conv5": "conv5_block3_out",
    },
    "densenet121": {
        "conv1": "conv1_relu",
        "pool1": "pool1",
        "conv2": "conv2_block6_concat",
        "conv3": "conv3_block12_concat",
        "conv4": "conv4_block24_concat",
        "conv5": "relu",
    },
}


def vgg_face(images, valid, architecture: Architecture) -> dict:
    """Builds VGG-Face's 13 convolutions (after their ReLU) and 5 pools.

    At 96x96 and full width pool2 is 24x24x128 and pool5 is 3x3x512.
    """
    del valid  # no layer here mixes frames
    taps = {}
    x = images
    for block, channels in enumerate(VGG_BLOCKS, start=1):
        for index, filters in enumerate(channels, start=1):
            name = f"conv{block}_{index}"
            x = taps[name] = keras.layers.Conv2D(
                architecture.scaled(filters),
                3,
                padding="same",
                activation="relu",
                # Without normalisation, Glorot's variance would halve the
                # signal at each of the thirteen ReLU layers.
                kernel_initializer="he_normal",
                name=name,
            )(x)
        name = f"pool{block}"
        x = taps[name] = keras.layers.MaxPooling2D(
            2, padding="same", name=name
        )(x)
    return taps


def application(images, valid, architecture: Architecture) -> dict:
    """Builds a network of keras.applications and keeps its layers' names."""
    source = APPLICATIONS[architecture.backbone](
        include_top=False, weights=None, input_shape=images.shape[1:]
    )
    # Each layer is built again, for two reasons: the layers become layers of
    # the network itself, and batch normalisation learns which frames count.
    outputs = {id(source.inputs[0]): images}
    by_layer = {}
    for layer in source.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        config = layer.get_config()
        inputs = keras.tree.map_structure(
            lambda tensor: outputs[id(tensor)], layer.input
        )
        if isinstance(layer, keras.layers.BatchNormalization):
            x = layers.FrameBatchNormalization.from_config(config)(
                inputs, valid
            )
        else:
            x = layer.from_config(config)(inputs)
        outputs[id(layer.output)] = by_layer[layer.name] = x
    taps = {
        tap: by_layer[name]
        for tap, name in STAGE_ENDS[architecture.backbone].items()
    }
    taps["pool"] = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return taps


def resnet50_slim(images, valid, architecture: Architecture) -> dict:
    """Builds TF-Slim's resnet_v1_50.

    Unlike keras.applications.ResNet50, a stage has its stride in the 3x3
    convolution of its last unit, not in the first convolution of its first;
    the fifth stage has none; zeros are padded elsewhere; convolutions have no
    bias; and batch normalisation has other constants.
    """

    def convolution(x, channels, size, stride, name, activation="relu"):
        if stride > 1:
            # The same zeros on both sides, whatever the size of the input.
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        x = keras.layers.Conv2D(
            channels,
            size,
            strides=stride,
            padding="valid" if stride > 1 else "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )(x)
        x = layers.FrameBatchNormalization(
            momentum=0.997, epsilon=1e-5, name=f"{name}_bn"
        )(x, valid)
        if activation is None:
            return x
        return keras.layers.Activation(activation, name=f"{name}_relu")(x)

    taps = {}
    taps["conv1"] = convolution(images, architecture.scaled(64), 7, 2, "conv1")
    x = taps["pool1"] = keras.layers.MaxPooling2D(
        3, strides=2, padding="same", name="pool1"
    )(taps["conv1"])
    for stage, (channels, units) in enumerate(RESNET_STAGES, start=2):
        inner = architecture.scaled(channels)
        outer = architecture.scaled(4 * channels)
        for unit in range(1, units + 1):
            name = f"conv{stage}_unit{unit}"
            stride = 2 if unit == units and stage < 5 else 1
            if x.shape[-1] != outer:
                shortcut = convolution(
                    x, outer, 1, stride, f"{name}_shortcut", activation=None
                )
            elif stride > 1:
                shortcut = keras.layers.MaxPooling2D(
                    1, strides=stride, name=f"{name}_shortcut"
                )(x)
            else:
                shortcut = x
            x = convolution(x, inner, 1, 1, f"{name}_1")
            x = convolution(x, inner, 3, stride, f"{name}_2")
            x = convolution(x, outer, 1, 1, f"{name}_3", activation=None)
            x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
            x = keras.layers.Activation("relu", name=f"{name}_out")(x)
        taps[f"conv{stage}"] = x
    taps["pool"] = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return taps


BUILDERS = {
    "vgg_face": vgg_face,
    "resnet50": application,
    "densenet121": application,
    "resnet50_slim": resnet50_slim,
}
