"""Backbones: from frames to every tensor that can be tapped."""

import keras

from affwild_omg.architectures import VGG_BLOCKS, Architecture


def vgg_face(frames, architecture: Architecture) -> dict:
    """Builds VGG-Face's 13 convolutions and 5 pools.

    Args:
        frames: [frames, height, width, 3], normalised.
        architecture: gives the width.

    Returns:
        Every convolution (after its ReLU) and pool by name, as {name:
        [frames, height, width, channels]}; at 96x96 and full width pool2 is
        24x24x128 and pool5 is 3x3x512.
    """
    taps = {}
    x = frames
    for block, channels in enumerate(VGG_BLOCKS, start=1):
        for index, filters in enumerate(channels, start=1):
            name = f"conv{block}_{index}"
            x = taps[name] = keras.layers.Conv2D(
                architecture.scaled(filters),
                3,
                padding="same",
                activation="relu",
                # Thirteen ReLU layers without normalisation: Glorot's
                # variance would halve the signal at each when training
                # from scratch.
                kernel_initializer="he_normal",
                name=name,
            )(x)
        name = f"pool{block}"
        x = taps[name] = keras.layers.MaxPooling2D(
            2, padding="same", name=name
        )(x)
    return taps
