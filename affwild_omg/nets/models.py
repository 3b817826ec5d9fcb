"""Models: an `Architecture` becomes a functional Keras model."""

import keras

from affwild_omg.architectures import CROP_SIZE, LANDMARKS, Architecture
from affwild_omg.nets import backbones, layers

_BACKBONES = {"vgg_face": backbones.vgg_face}


def build(architecture: Architecture, seed: int = 0) -> keras.Model:
    """Builds the network, freshly initialised.

    Args:
        architecture: what to build.
        seed: of the initial weights and the dropout.

    Returns:
        A functional model from {"frames": uint8 [batch, time, 96, 96, 3],
        "landmarks": float32 [batch, time, 68, 2] in crop pixels, "mask": bool
        [batch, time]} to float32 [batch, time, targets], the targets in the
        architecture's order. Batch and time are free. A network that does not
        use the landmarks has no such input. Where mask is False the
        frame has no effect on any other and its output means nothing.
    """
    keras.utils.set_random_seed(seed)
    frames = keras.Input(
        (None, CROP_SIZE, CROP_SIZE, 3), dtype="uint8", name="frames"
    )
    landmarks = keras.Input((None, LANDMARKS, 2), name="landmarks")
    mask = keras.Input((None,), dtype="bool", name="mask")

    images = layers.FoldTime(name="fold_frames")(frames)
    images = layers.frame_normalisation(name="normalise_frames")(images)
    taps = _BACKBONES[architecture.backbone](images, architecture)
    taps["fc"] = _fully_connected(taps["pool5"], landmarks, architecture)

    features = [
        layers.UnfoldTime(name=f"{tap}_sequence")(taps[tap], mask)
        for tap in architecture.taps
    ]
    if architecture.recurrence == "joint":
        features = [_concatenate(features, "taps")]
    if architecture.recurrence != "none":
        names = (
            architecture.taps
            if architecture.recurrence == "per_tap"
            else ["joint"]
        )
        features = [
            _gru_stack(x, mask, name, architecture)
            for name, x in zip(names, features, strict=True)
        ]
    x = _concatenate(features, "features")
    if architecture.head_units:
        x = keras.layers.Dense(
            architecture.head_units, activation="relu", name="head"
        )(x)
    # Linear and unbounded, as arousal is in [-1, 1] in Aff-Wild and in [0, 1]
    # in OMG; float32 whatever the precision of the layers below.
    output = keras.layers.Dense(
        len(architecture.targets), dtype="float32", name="output"
    )(x)
    inputs = {"frames": frames, "landmarks": landmarks, "mask": mask}
    # By way of fc alone; Keras refuses inputs that lead nowhere.
    if not (architecture.landmarks and "fc" in architecture.taps):
        del inputs["landmarks"]
    return keras.Model(inputs, output, name="affwild_omg")


def _fully_connected(last_pool, landmarks, architecture):
    x = keras.layers.Flatten(name="last_pool")(last_pool)
    if architecture.landmarks:
        points = layers.FoldTime(name="fold_landmarks")(landmarks)
        points = layers.landmark_normalisation(name="normalise_landmarks")(
            points
        )
        points = keras.layers.Flatten(name="flat_landmarks")(points)
        x = keras.layers.Concatenate(name="last_pool_and_landmarks")(
            [x, points]
        )
    x = keras.layers.Dense(
        architecture.scaled(architecture.fc_units),
        activation="relu",
        kernel_initializer="he_normal",
        name="fc",
    )(x)
    return keras.layers.Dropout(architecture.fc_dropout, name="fc_dropout")(x)


def _gru_stack(x, mask, name, architecture):
    for layer in range(1, architecture.depth + 1):
        if layer > 1:
            x = keras.layers.Dropout(
                architecture.rnn_dropout, name=f"{name}_dropout{layer - 1}"
            )(x)
        gru_name = f"{name}_gru{layer}"
        if architecture.gru == "cudnn":
            # NVIDIA's kernels themselves take masks without holes only, and
            # a face may be missing anywhere.
            x = keras.layers.GRU(
                architecture.units,
                return_sequences=True,
                use_cudnn=False,
                name=gru_name,
            )(x, mask=mask)
        else:
            x = layers.GRU(architecture.units, name=gru_name)(x, mask)
    return x


def _concatenate(tensors, name):
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(name=name)(tensors)
