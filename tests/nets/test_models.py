import dataclasses

import numpy as np
import pytest
from keras import ops

from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.published.networks import named
from tests.nets.networks import SMALL, inputs


@pytest.fixture(scope="module")
def models(tf):
    from affwild_omg.nets import models

    return models


def test_landmarks_reach_the_output_unless_left_out(models):
    batch = inputs(1, 2)
    moved = batch | {"landmarks": batch["landmarks"] + 9}
    model = models.build(named("cnn_3rnn", **SMALL))
    assert np.abs(model(batch) - model(moved)).max() > 1e-5
    bare = models.build(named("cnn_3rnn", landmarks=False, **SMALL))
    assert [tensor.name for tensor in bare.inputs] == ["frames", "mask"]


def test_members_of_a_fusion_may_differ_in_landmarks(models):
    member = Architecture(taps=("pool5", "fc"), **SMALL)
    bare = dataclasses.replace(member, landmarks=False)
    model = models.build(Fusion(members=(bare, member)))
    assert len(model.inputs) == 3
    batch = inputs(1, 2)
    moved = batch | {"landmarks": batch["landmarks"] + 9}
    assert np.abs(model(batch) - model(moved)).max() > 1e-5
    model = models.build(Fusion(members=(bare, bare), by="fc"))
    assert [tensor.name for tensor in model.inputs] == ["frames", "mask"]


def test_inputs_are_normalised_inside(models):
    model = models.build(named("vgg_face", width=0.05))
    intensities = np.arange(256, dtype=np.uint8)
    frames = model.get_layer("normalise_frames")(intensities)
    assert frames.dtype == "float32"
    expected = (np.arange(256) - 128) / 128
    np.testing.assert_array_equal(frames, expected.astype("f"))
    points = np.array([0, 24.5, 48, 96], "f")
    np.testing.assert_allclose(
        model.get_layer("normalise_landmarks")(points),
        (points - 48) / 48,
        atol=1e-7,
    )


def test_same_seed_same_weights(models):
    first, second, other = (
        models.build(named("cnn_3rnn", **SMALL), seed=seed)
        for seed in (3, 3, 4)
    )
    for one, two in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    kernels = [model.get_layer("conv1_1").kernel for model in (first, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_taps_are_concatenated_in_their_order(models):
    import keras

    taps = ("pool4", "conv1_1", "conv5_3")
    architecture = Architecture(taps=taps, recurrence="none", width=0.05)
    model = models.build(architecture)
    x = {"frames": inputs(1, 2)["frames"], "mask": inputs(1, 2)["mask"]}
    outputs = [model.get_layer(tap).output for tap in taps]
    outputs.append(model.get_layer("output").input)
    *expected, features = keras.Model(model.inputs, outputs)(x)
    np.testing.assert_array_equal(
        features[0],
        np.concatenate([np.reshape(tap, (2, -1)) for tap in expected], axis=1),
    )


def test_a_fusion_joins_what_the_rnns_of_its_members_give(models):
    """Against the members built alone and the formula of its layer."""
    import keras

    from affwild_omg.nets import parts

    fusion = named("model_fusion_fc", fusion_units=3, **SMALL)
    model = models.build(fusion, seed=5)
    weights = parts.named_weights(model)
    features = []
    for index, architecture in enumerate(fusion.members, start=1):
        member = models.build(architecture, seed=9)
        for name, weight in parts.named_weights(member).items():
            if not name.startswith("output/"):
                weight.assign(weights[f"member{index}/{name}"])
        below = keras.Model(member.inputs, member.get_layer("output").input)
        features.append(below(inputs(2, 3)).numpy())
    x = np.concatenate(features, axis=-1)
    assert x.shape[-1] == 6 + 18
    hidden = np.maximum(
        0, x @ weights["fusion_fc/kernel"] + weights["fusion_fc/bias"]
    )
    expected = hidden @ weights["output/kernel"] + weights["output/bias"]
    np.testing.assert_allclose(model(inputs(2, 3)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("resnet50", "ResNet50"),
        pytest.param("densenet121", "DenseNet121", marks=pytest.mark.slow),
    ],
)
def test_backbones_compute_what_keras_applications_does(
    models, name, application
):
    import keras

    from affwild_omg.nets import parts

    make = getattr(keras.applications, application)
    source = make(include_top=False, weights=None, pooling="avg")
    random = np.random.default_rng(0)
    for weight in source.weights:  # moving statistics of 0 and 1 hide much
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif "kernel" not in weight.path:
            weight.assign(random.uniform(-0.2, 0.2, weight.shape))
    model = models.build(
        Architecture(backbone=name, taps=("pool",), recurrence="none")
    )
    ours = parts.named_weights(model)
    for weight in source.weights:
        ours[weight.path].assign(weight)
    features = keras.Model(model.inputs, model.get_layer("pool").output)
    batch = inputs(1, 2)
    expected = source((batch["frames"][0] - 128.0) / 128)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(
        features({k: batch[k] for k in ("frames", "mask")}),
        expected,
        rtol=1e-4,
        atol=1e-6,
    )


def test_parts_of_a_fusion_end_where_its_members_do():
    from affwild_omg.nets import parts

    names = {
        "conv1_1": "cnn",
        "fc_dropout": "fc",
        "pool2_gru1": "rnn",
        "pool2_dropout1": "rnn",
        "head": "output",
        "fusion_gru": "output",
    }
    assert {name: parts.part_of(name) for name in names} == names
    members = names | {"head": "rnn"}
    del members["fusion_gru"]
    for name, part in members.items():
        assert parts.part_of(f"member1/{name}") == part


@pytest.mark.parametrize(
    "network",
    [
        named("cnn_3rnn", **SMALL),
        Architecture(taps=("pool2", "pool5"), recurrence="joint", **SMALL),
        Architecture(
            taps=("fc",),
            recurrence="none",
            landmark_units=3,
            landmarks=True,
            head_units=4,
            **SMALL,
        ),
        Architecture(taps=("fc",), landmarks=False, **SMALL),
    ],
)
def test_the_parts_of_a_split_network_give_what_it_gives(models, network):
    model = models.build(network)
    config = model.get_config()
    cnn, rest = models.split(model, network)
    assert model.get_config() == config
    batch = inputs(2, 3)
    batch["mask"] = np.array([[1, 1, 0], [1, 1, 1]], bool)
    features = cnn({x.name: batch[x.name] for x in cnn.inputs})
    fixed = {"last_pool" if tap == "fc" else tap for tap in network.taps}
    assert set(features) == fixed
    given = features | {x: ops.convert_to_tensor(y) for x, y in batch.items()}
    np.testing.assert_allclose(
        rest({x.name: given[x.name] for x in rest.inputs}),
        model({x.name: batch[x.name] for x in model.inputs}),
        atol=1e-3,  # of float16
    )
    own = {id(x) for x in rest.trainable_variables}
    known = {id(x) for x in model.trainable_variables}
    assert own < known
    assert not own & {id(x) for x in cnn.trainable_variables}
    assert len(own) + len(cnn.trainable_variables) == len(known)
