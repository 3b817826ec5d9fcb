import dataclasses

import numpy as np
import pytest

from affwild_omg.nets.architectures import PARTS, Architecture, Fusion
from affwild_omg.published.networks import NETWORKS, named

# Worked out by hand from the layers' shapes, at full size: a convolution is
# (places * in + 1) * out, a dense layer (in + 1) * out, a GRU layer 3 * (in *
# units + units * units + units). A network whose taps are all convolutions
# ends at the highest of them.


def dense(inputs, outputs):
    return (inputs + 1) * outputs


def gru(inputs, units=128):
    return 3 * (inputs * units + units * units + units)


def stack(inputs):
    return gru(inputs) + gru(128)


def vgg(convolutions=13):
    channels = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    return sum(
        dense(9 * inputs, outputs)
        for inputs, outputs in list(
            zip(channels[:-1], channels[1:], strict=True)
        )[:convolutions]
    )


def resnet50():
    # He et al., table 1; convolutions with biases, batch normalisation with
    # four numbers a channel; a unit with another number of channels than
    # the one before has a convolution on its shortcut.
    total, before = dense(49 * 3, 64) + 4 * 64, 64
    for inner, units in [(64, 3), (128, 4), (256, 6), (512, 3)]:
        for _ in range(units):
            outer = 4 * inner
            if before != outer:
                total += dense(before, outer) + 4 * outer
            total += dense(before, inner) + 4 * inner
            total += dense(9 * inner, inner) + 4 * inner
            total += dense(inner, outer) + 4 * outer
            before = outer
    return total


def densenet121():
    # Huang et al., table 1, growth 32; no biases; between blocks a 1x1
    # convolution halves the channels.
    total, channels = 49 * 3 * 64 + 4 * 64, 64
    for block, layers in enumerate([6, 12, 24, 16]):
        for _ in range(layers):
            total += 4 * channels + channels * 128 + 4 * 128 + 9 * 128 * 32
            channels += 32
        if block < 3:
            total += 4 * channels + channels * (channels // 2)
            channels //= 2
    return total + 4 * channels


TAPS = {
    "conv2_1": 48 * 48 * 128,
    "conv2_2": 48 * 48 * 128,
    "pool2": 24 * 24 * 128,
    "conv3_1": 24 * 24 * 256,
    "conv3_2": 24 * 24 * 256,
    "conv3_3": 24 * 24 * 256,
    "conv4_1": 12 * 12 * 512,
    "conv4_2": 12 * 12 * 512,
    "conv5_3": 6 * 6 * 512,
    "pool5": 3 * 3 * 512,
    "fc": 4096,
}
VGG_FC = vgg() + dense(TAPS["pool5"] + 136, 4096)
RESNET_FC = resnet50() + dense(2048 + 136, 1500)
DENSENET_FC = densenet121() + dense(1024 + 136, 1500)


def three(*taps, below=VGG_FC, output=2):
    stacks = sum(stack(TAPS[tap]) for tap in taps)
    return below + stacks + dense(3 * 128, output)


ONE_RNN = VGG_FC + stack(TAPS["pool2"] + TAPS["pool5"] + TAPS["fc"])
THREE_RNN = three("pool2", "pool5", "fc", output=0)
PARAMETERS = {
    "vgg_face": VGG_FC + dense(4096, 2),
    "resnet50": RESNET_FC + dense(1500, 2),
    "densenet121": DENSENET_FC + dense(1500, 2),
    "affwildnet": RESNET_FC + stack(1500) + dense(128, 2),
    "densenet_rnn": DENSENET_FC + stack(1500) + dense(128, 2),
    "cnn_1rnn": ONE_RNN + dense(128, 2),
    "cnn_3rnn": 66_249_538,
    "cnn_2rnn": VGG_FC + stack(4608) + stack(4096) + dense(256, 2),
    "cnn2_to_1rnn": VGG_FC + stack(4608 + 4096) + dense(128, 2),
    "cnn_2rnn_1fc": VGG_FC
    + stack(4608)
    + stack(4096)
    + dense(256, 128)
    + dense(128, 2),
    "cnn_3rnn_1fc": 66_249_538 - 770 + dense(384, 128) + dense(128, 2),
    "cnn_3rnn_conv4_1_pool5_fc": three("conv4_1", "pool5", "fc"),
    "cnn_3rnn_conv3_1_pool5_fc": three("conv3_1", "pool5", "fc"),
    "cnn_3rnn_conv2_1_conv3_3_fc": three("conv2_1", "conv3_3", "fc"),
    "cnn_3rnn_conv5_3_pool5_fc": three("conv5_3", "pool5", "fc"),
    "cnn_3rnn_conv3_2_conv3_3_conv4_1": three(
        "conv3_2", "conv3_3", "conv4_1", below=vgg(8)
    ),
    "cnn_3rnn_conv3_3_conv4_1_conv4_2": three(
        "conv3_3", "conv4_1", "conv4_2", below=vgg(9)
    ),
    "cnn_3rnn_conv2_1_conv2_2_conv3_1": three(
        "conv2_1", "conv2_2", "conv3_1", below=vgg(5)
    ),
    "model_fusion_rnn": ONE_RNN + THREE_RNN + gru(4 * 128) + dense(128, 2),
    "model_fusion_fc": ONE_RNN
    + THREE_RNN
    + dense(4 * 128, 128)
    + dense(128, 2),
}

# The paper's ablations, as (row, what differs, parameters). An encoder of the
# landmarks takes the place of their 136 numbers.
VARIANTS = {
    "no landmarks": (
        "cnn_3rnn",
        {"landmarks": False},
        66_249_538 - 136 * 4096,
    ),
    "fusion, no landmarks": (
        "model_fusion_rnn",
        {"landmarks": False},
        PARAMETERS["model_fusion_rnn"] - 2 * 136 * 4096,
    ),
    **{
        f"landmark encoder of {units}": (
            "cnn_3rnn",
            {"landmark_units": units},
            66_249_538 + dense(136, units) + (units - 136) * 4096,
        )
        for units in (512, 1024, 2048)
    },
    "valence alone": ("cnn_3rnn", {"targets": ("valence",)}, 66_249_538 - 385),
    "arousal alone": ("cnn_1rnn", {"targets": ("arousal",)}, ONE_RNN + 129),
    "cudnn": ("cnn_3rnn", {"gru": "cudnn"}, 66_251_842),
    "fusion, cudnn": (
        "model_fusion_rnn",
        {"gru": "cudnn"},
        # A second bias of 3 * 128 in each of nine layers.
        PARAMETERS["model_fusion_rnn"] + 9 * 384,
    ),
    "one GRU layer": (
        "cnn_3rnn",
        {"depth": 1},
        66_249_538 - 3 * gru(128),
    ),
    "three GRU layers": (
        "cnn2_to_1rnn",
        {"depth": 3},
        PARAMETERS["cnn2_to_1rnn"] + gru(128),
    ),
    "averaged pool alone, on TF-Slim's ResNet-50": (
        "affwildnet",
        {"backbone": "resnet50_slim", "taps": ("pool",)},
        # Its convolutions have no biases: of each stage 6 * inner a unit and
        # 4 * inner on the shortcut.
        resnet50()
        - (64 + 22 * 64 + 28 * 128 + 40 * 256 + 22 * 512)
        + stack(2048)
        + dense(128, 2),
    ),
}


@pytest.fixture(scope="module")
def models(tf):
    from affwild_omg.nets import models

    return models


def parameters(models, architecture):
    """Counts parameters from shapes: some networks fill gigabytes."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        count = models.build(architecture).count_params()
    keras.backend.clear_session()  # forgets what was never initialised
    return count


def test_every_network_has_its_parameters_in_the_table():
    assert set(PARAMETERS) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_count_at_full_size(models, name):
    row = NETWORKS[name]
    assert parameters(models, row.architecture) == PARAMETERS[name]
    assert row.parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_count_of_ablations(models, name):
    row, overrides, expected = VARIANTS[name]
    assert parameters(models, named(row, **overrides)) == expected


def test_parameters_of_the_parts_of_cnn_3rnn(models):
    from affwild_omg.nets import parts

    model = models.build(named("cnn_3rnn"))
    sizes = dict.fromkeys(PARTS, 0)
    for layer in parts.layers(model):
        sizes[parts.part_of(layer.name)] += layer.count_params()
    assert sizes == {
        "cnn": 14_714_688,
        "fc": 19_435_520,
        "rnn": 32_098_560,
        "output": 770,
    }


def inputs(batch, time, seed=0):
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 255, (batch, time, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (batch, time, 68, 2)).astype("f"),
        "mask": np.ones((batch, time), bool),
    }


SMALL = {"width": 0.05, "units": 6}


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
    for layer, low, high in [
        ("normalise_frames", -1, 127 / 128),
        ("normalise_landmarks", -1, 1),
    ]:
        normalise = model.get_layer(layer)
        ends = [0, 255 if layer == "normalise_frames" else 96]
        np.testing.assert_allclose(normalise(np.array(ends)), [low, high])


def test_same_seed_same_weights(models):
    first, second, other = (
        models.build(named("cnn_3rnn", **SMALL), seed=seed)
        for seed in (3, 3, 4)
    )
    for one, two in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    kernels = [model.get_layer("conv1_1").kernel for model in (first, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.parametrize("tap", ["conv1_1", "conv3_2", "conv5_3", "pool4"])
def test_any_tap_can_be_named(models, tap):
    architecture = Architecture(taps=(tap, "fc"), **SMALL)
    assert models.build(architecture)(inputs(1, 2)).shape == (1, 2, 2)


def test_a_fusion_joins_what_the_rnns_of_its_members_give(models):
    """Against the members built alone and the formula of its layer."""
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
        # An output that gives back what it is fed, column by column.
        output = member.get_layer("output")
        for unit in range(output.kernel.shape[0]):
            kernel = np.zeros(output.kernel.shape, "f")
            kernel[unit, 0] = 1
            output.kernel.assign(kernel)
            features.append(member(inputs(2, 3)).numpy()[..., 0])
    x = np.stack(features, axis=-1)
    assert x.shape[-1] == 6 + 18
    hidden = np.maximum(
        0, x @ weights["fusion_fc/kernel"] + weights["fusion_fc/bias"]
    )
    expected = hidden @ weights["output/kernel"] + weights["output/bias"]
    np.testing.assert_allclose(model(inputs(2, 3)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_backbones_compute_what_keras_applications_does(models, name):
    import keras

    from affwild_omg.nets import parts

    make = {
        "resnet50": keras.applications.ResNet50,
        "densenet121": keras.applications.DenseNet121,
    }[name]
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
