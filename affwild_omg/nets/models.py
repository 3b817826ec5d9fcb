"""Functional Keras models of an `Architecture` or a `Fusion`."""

import keras

from affwild_omg.nets import backbones, layers
from affwild_omg.nets.architectures import BACKBONES, Architecture, Fusion
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS


def build(
    architecture: Architecture | Fusion,
    seed: int | None = 0,
    *,
    stateful: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """Builds the network, freshly initialised.

    Args:
        architecture: what to build.
        seed: of the initial weights and of dropout, set for the whole
            process; None sets none.
        stateful: whether its state goes in and out, so that a video can be
            given piece by piece.
        dtype: of the weights and of what is computed, such as "bfloat16", or
            "mixed_bfloat16" for weights in float32; None for Keras' own
            policy. Statistics, normalised landmarks and the output stay
            float32.

    Returns:
        A functional model from {"frames": uint8 [batch, time, 96, 96, 3],
        "landmarks": float32 [batch, time, 68, 2] in crop pixels, "mask": bool
        [batch, time]} to float32 [batch, time, targets], in the order of
        `architecture.targets`. Batch and time are free. A network that does
        not use landmarks has no such input. A frame whose mask is False has
        no effect on any other frame, and its own output is meaningless. The
        members of a fusion are models inside it, named "member1" and so on.

        With `stateful` one input more, "state": float32 [batch,
        state_size(architecture)], zeros at the start of a video, and as
        outputs {"values": as above, "state": of the input's shape, after the
        last frame}. The weights, their names and their order are the same.
    """
    if dtype is not None:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            return build(architecture, seed, stateful=stateful)
        finally:
            keras.config.set_dtype_policy(policy)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    fusion = isinstance(architecture, Fusion)
    members = architecture.members if fusion else [architecture]
    inputs = _inputs(
        any(member.sees_landmarks for member in members),
        state_size(architecture) if stateful else None,
    )
    x, state = (_fused if fusion else _features)(inputs, architecture)
    # Linear and unbounded, because arousal is in [-1, 1] in Aff-Wild and in
    # [0, 1] in OMG; float32 whatever the precision of the layers below.
    output = keras.layers.Dense(
        len(architecture.targets), dtype="float32", name="output"
    )(x)
    if stateful:
        output = {"values": output, "state": state}
    return keras.Model(inputs, output, name="affwild_omg")


def split(
    model: keras.Model, architecture: Architecture
) -> tuple[keras.Model, keras.Model]:
    """Splits a network between its CNN and what stands on it.

    Args:
        model: of `build`, without a state.
        architecture: the network.

    Returns:
        Two models of the same layers. The CNN is from {"frames", "mask"} to
        {tap: [batch, time, features]}, of all taps but "fc", in whose place is
        "last_pool", if the network has it. The rest is from these,
        "landmarks" if the network sees them, and "mask", to what the whole
        model returns.
    """
    inputs = {x.name: x for x in model.inputs}
    mask = inputs["mask"]
    cut = {
        tap: model.get_layer(f"{tap}_sequence").output
        for tap in architecture.taps
        if tap != "fc"
    }
    features = dict(cut)
    if "fc" in architecture.taps:
        cut["last_pool"] = model.get_layer("last_pool").output
        features["last_pool"] = layers.UnfoldTime(name="last_pool_sequence")(
            cut["last_pool"], mask
        )
    cnn = keras.Model({"frames": inputs["frames"], "mask": mask}, features)
    others = {name: x for name, x in inputs.items() if name != "frames"}
    # Half of the bytes; layers compute in their own type.
    given = {
        name: keras.Input((None, x.shape[-1]), dtype="float16", name=name)
        for name, x in features.items()
    }
    folded = dict(given)
    if "fc" in architecture.taps:
        folded["last_pool"] = layers.FoldTime(name="fold_last_pool")(
            given["last_pool"]
        )
    # Keras takes the model's own inputs for those of its copy, and then cannot
    # save the model.
    histories = [x._keras_history for x in model.inputs]
    rest = keras.Model([*cut.values(), *others.values()], model.output)
    for x, history in zip(model.inputs, histories, strict=True):
        x._keras_history = history
    own = {
        name: keras.Input(x.shape[1:], dtype=x.dtype, name=name)
        for name, x in others.items()
    }
    given |= own
    values = rest([*folded.values(), *own.values()])
    return cnn, keras.Model(given, values)


def state_size(architecture: Architecture | Fusion) -> int:
    """Returns how many numbers the state of the recurrent layers has.

    They stand side by side: tap by tap (or the joint stack), in each the
    layers from below; in a fusion member by member, then the fusion's own GRU.
    A network without recurrence has none, size 0.
    """
    if isinstance(architecture, Fusion):
        own = architecture.fusion_units if architecture.by == "rnn" else 0
        return sum(map(state_size, architecture.members)) + own
    stacks = {"none": 0, "joint": 1, "per_tap": len(architecture.taps)}
    return (
        stacks[architecture.recurrence]
        * architecture.depth
        * architecture.units
    )


class _State:
    """Deals the parts of the input "state" out to the recurrent layers.

    Attributes:
        after: the state after the last frame, part by part.
    """

    def __init__(self, before):
        self._before = before
        self._dealt = 0
        self.after = []

    def take(self, size):
        part = self._before[:, self._dealt : self._dealt + size]
        self._dealt += size
        return part

    def joined(self):
        # With a network without recurrence, what came goes.
        x = _concatenate(self.after or [self._before], "states")
        # float32 whatever the precision of the recurrent layers.
        return keras.layers.Identity(dtype="float32", name="next_state")(x)


def _inputs(landmarks, state):
    """Makes the inputs; `state` is the size of the state, None for none."""
    inputs = {
        "frames": keras.Input(
            (None, CROP_SIZE, CROP_SIZE, 3), dtype="uint8", name="frames"
        ),
        "landmarks": keras.Input((None, LANDMARKS, 2), name="landmarks"),
        "mask": keras.Input((None,), dtype="bool", name="mask"),
    }
    if not landmarks:  # Keras refuses inputs that nothing uses
        del inputs["landmarks"]
    if state is not None:
        inputs["state"] = keras.Input((state,), dtype="float32", name="state")
    return inputs


def _fused(inputs, fusion):
    """Builds a fusion up to its output layer; see `_features`."""
    state = _State(inputs["state"]) if "state" in inputs else None
    features = []
    for index, architecture in enumerate(fusion.members, start=1):
        size = None if state is None else state_size(architecture)
        own = _inputs(architecture.sees_landmarks, size)
        x, after = _features(own, architecture)
        given = {name: inputs[name] for name in own}
        if state is not None:
            x = {"features": x, "state": after}
            given["state"] = state.take(size)
        x = keras.Model(own, x, name=f"member{index}")(given)
        if state is not None:
            state.after.append(x["state"])
            x = x["features"]
        features.append(x)
    x = _concatenate(features, "members")
    if fusion.by == "fc":
        x = keras.layers.Dense(
            fusion.fusion_units, activation="relu", name="fusion_fc"
        )(x)
    else:
        x = _gru(
            x,
            inputs["mask"],
            state,
            fusion.fusion_units,
            fusion.gru,
            "fusion_gru",
        )
    return x, state and state.joined()


def _features(inputs, architecture):
    """Builds a network up to the input of its output layer.

    Returns:
        That input, and the state after the last frame or None.
    """
    mask = inputs["mask"]
    state = _State(inputs["state"]) if "state" in inputs else None
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
            _gru_stack(x, mask, state, name, architecture)
            for name, x in zip(names, features, strict=True)
        ]
    x = _concatenate(features, "features")
    if architecture.head_units:
        x = keras.layers.Dense(
            architecture.head_units, activation="relu", name="head"
        )(x)
    return x, state and state.joined()


def _fully_connected(last_pool, landmarks, architecture):
    x = keras.layers.Flatten(name="last_pool")(last_pool)
    if landmarks is not None:
        # float32 whatever the precision: bfloat16 has half pixels only.
        points = layers.FoldTime(dtype="float32", name="fold_landmarks")(
            landmarks
        )
        # Pixels of the crop to [-1, 1]: (p - 48) / 48.
        points = keras.layers.Rescaling(
            2 / CROP_SIZE,
            offset=-1,
            dtype="float32",
            name="normalise_landmarks",
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


def _gru_stack(x, mask, state, name, architecture):
    for layer in range(1, architecture.depth + 1):
        if layer > 1:
            x = layers.Dropout(
                architecture.rnn_dropout, name=f"{name}_dropout{layer - 1}"
            )(x)
        x = _gru(
            x,
            mask,
            state,
            architecture.units,
            architecture.gru,
            f"{name}_gru{layer}",
        )
    return x


def _gru(x, mask, state, units, kind, name):
    gru = layers.GRU(units, reset_after=kind == "cudnn", name=name)
    if state is None:
        return gru(x, mask)
    x, after = gru(x, mask, state.take(units))
    state.after.append(after)
    return x


def _concatenate(tensors, name):
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(name=name)(tensors)
