"""Functional Keras models of an `Architecture` or a `Fusion`."""

import keras

from affwild_omg.nets import backbones, layers
from affwild_omg.nets.architectures import BACKBONES, Architecture, Fusion
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS


def build(
    architecture: Architecture | Fusion, seed: int | None = 0
) -> keras.Model:
    """Builds the network, freshly initialised.

    Args:
        architecture: what to build.
        seed: of the initial weights and of dropout, set for the whole
            process; None sets none.

    Returns:
        A functional model from {"frames": uint8 [batch, time, 96, 96, 3],
        "landmarks": float32 [batch, time, 68, 2] in crop pixels, "mask": bool
        [batch, time]} to float32 [batch, time, targets], in the order of
        `architecture.targets`. Batch and time are free. A network that does
        not use landmarks has no such input. A frame whose mask is False has
        no effect on any other frame, and its own output is meaningless. The
        members of a fusion are models inside it, named "member1" and so on.
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
    fusion = isinstance(architecture, Fusion)
    members = architecture.members if fusion else [architecture]
    inputs = _inputs(any(member.sees_landmarks for member in members))
    x = (_fused if fusion else _features)(inputs, architecture)
    # Linear and unbounded, because arousal is in [-1, 1] in Aff-Wild and in
    # [0, 1] in OMG; float32 whatever the precision of the layers below.
    output = keras.layers.Dense(
        len(architecture.targets), dtype="float32", name="output"
    )(x)
    return keras.Model(inputs, output, name="affwild_omg")


def _inputs(landmarks):
    inputs = {
        "frames": keras.Input(
            (None, CROP_SIZE, CROP_SIZE, 3), dtype="uint8", name="frames"
        ),
        "landmarks": keras.Input((None, LANDMARKS, 2), name="landmarks"),
        "mask": keras.Input((None,), dtype="bool", name="mask"),
    }
    if not landmarks:  # Keras refuses inputs that nothing uses
        del inputs["landmarks"]
    return inputs


def _fused(inputs, fusion):
    """Builds a fusion up to its output layer."""
    features = []
    for index, architecture in enumerate(fusion.members, start=1):
        own = _inputs(architecture.sees_landmarks)
        member = keras.Model(
            own, _features(own, architecture), name=f"member{index}"
        )
        features.append(member({name: inputs[name] for name in own}))
    x = _concatenate(features, "members")
    if fusion.by == "fc":
        return keras.layers.Dense(
            fusion.fusion_units, activation="relu", name="fusion_fc"
        )(x)
    return _gru(
        x, inputs["mask"], fusion.fusion_units, fusion.gru, "fusion_gru"
    )


def _features(inputs, architecture):
    """Builds a network up to the input of its output layer."""
    mask = inputs["mask"]
    images = layers.FoldTime(name="fold_frames")(inputs["frames"])
    # 0..255 to [-1, 1), as section 4 of the paper does: (x - 128) / 128.
    images = keras.layers.Rescaling(
        1 / 128, offset=-1, name="normalise_frames"
    )(images)
    valid = layers.FoldTime(name="fold_mask")(mask)
    build_backbone = backbones.BUILDERS[architecture.backbone]
    taps = build_backbone(images, valid, architecture)
    last_pool = taps[BACKBONES[architecture.backbone].last_pool]
    taps["fc"] = _fully_connected(
        last_pool,
        inputs["landmarks"] if architecture.sees_landmarks else None,
        architecture,
    )

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
    return x


def _fully_connected(last_pool, landmarks, architecture):
    x = keras.layers.Flatten(name="last_pool")(last_pool)
    if landmarks is not None:
        points = layers.FoldTime(name="fold_landmarks")(landmarks)
        # Pixels of the crop to [-1, 1]: (p - 48) / 48.
        points = keras.layers.Rescaling(
            2 / CROP_SIZE, offset=-1, name="normalise_landmarks"
        )(points)
        points = keras.layers.Flatten(name="flat_landmarks")(points)
        if architecture.landmark_units:
            points = keras.layers.Dense(
                architecture.landmark_units,
                activation="relu",
                kernel_initializer="he_normal",
                name="landmark_encoder",
            )(points)
        x = keras.layers.Concatenate(name="last_pool_and_landmarks")(
            [x, points]
        )
    x = keras.layers.Dense(
        architecture.scaled(architecture.fc_units),
        activation="relu",
        kernel_initializer="he_normal",
        name="fc",
    )(x)
    return layers.Dropout(architecture.fc_dropout, name="fc_dropout")(x)


def _gru_stack(x, mask, name, architecture):
    for layer in range(1, architecture.depth + 1):
        if layer > 1:
            x = layers.Dropout(
                architecture.rnn_dropout, name=f"{name}_dropout{layer - 1}"
            )(x)
        x = _gru(
            x, mask, architecture.units, architecture.gru, f"{name}_gru{layer}"
        )
    return x


def _gru(x, mask, units, kind, name):
    return layers.GRU(units, reset_after=kind == "cudnn", name=name)(x, mask)


def _concatenate(tensors, name):
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(name=name)(tensors)
