import numpy as np
import pytest

from affwild_omg.architectures import NETWORKS, Architecture, named

# Worked out by hand from the layers' shapes, at full size with landmarks:
# a convolution is (9 in + 1) out, a dense layer (in + 1) out, GRUs of 128
# units 3 * (in * 128 + 128 * 128 + 128) for the first and in = 128 for the
# second.
CONVOLUTIONS = sum(
    (9 * inputs + 1) * outputs
    for inputs, outputs in [
        (3, 64),
        (64, 64),
        (64, 128),
        (128, 128),
        (128, 256),
        (256, 256),
        (256, 256),
        (256, 512),
        (512, 512),
        (512, 512),
        (512, 512),
        (512, 512),
        (512, 512),
    ]
)
POOL2, POOL5, FC = 24 * 24 * 128, 3 * 3 * 512, 4096
FULLY_CONNECTED = (POOL5 + 136 + 1) * FC


def stack(features):
    return sum(
        3 * (inputs * 128 + 128 * 128 + 128) for inputs in (features, 128)
    )


PARAMETERS = {
    "vgg_face": CONVOLUTIONS + FULLY_CONNECTED + (FC + 1) * 2,
    "cnn_1rnn": CONVOLUTIONS
    + FULLY_CONNECTED
    + stack(POOL2 + POOL5 + FC)
    + (128 + 1) * 2,
    "cnn_3rnn": 66_249_538,
    "cnn_2rnn": CONVOLUTIONS
    + FULLY_CONNECTED
    + stack(POOL5)
    + stack(FC)
    + (256 + 1) * 2,
    "cnn2_to_1rnn": CONVOLUTIONS
    + FULLY_CONNECTED
    + stack(POOL5 + FC)
    + (128 + 1) * 2,
    "cnn_2rnn_1fc": CONVOLUTIONS
    + FULLY_CONNECTED
    + stack(POOL5)
    + stack(FC)
    + (256 + 1) * 128
    + (128 + 1) * 2,
    "cnn_3rnn_1fc": 66_249_538 - 770 + (384 + 1) * 128 + (128 + 1) * 2,
}


@pytest.fixture(scope="module")
def models(tf):
    from affwild_omg.nets import models

    return models


def inputs(batch, time, seed=0):
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 255, (batch, time, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (batch, time, 68, 2)).astype("f"),
        "mask": np.ones((batch, time), bool),
    }


SMALL = {"width": 0.05, "units": 6}


def test_every_network_has_its_parameters_in_the_table():
    assert set(PARAMETERS) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_count_at_full_size(models, name):
    assert models.build(named(name)).count_params() == PARAMETERS[name]


def test_parameters_of_the_parts_of_cnn_3rnn(models):
    model = models.build(named("cnn_3rnn"))
    parts = {"conv": 0, "fc": 0, "gru": 0, "output": 0}
    for layer in model.layers:
        for part in parts:
            if part in layer.name and layer.weights:
                parts["gru" if "gru" in layer.name else part] += (
                    layer.count_params()
                )
                break
    assert parts == {
        "conv": 14_714_688,
        "fc": 19_435_520,
        "gru": 32_098_560,
        "output": 770,
    }


def test_cudnn_gru_has_a_second_bias(models):
    model = models.build(named("cnn_3rnn", gru="cudnn"))
    assert model.count_params() == 66_251_842


@pytest.mark.parametrize("name", NETWORKS)
def test_output_shape_for_any_batch_and_time(models, name):
    model = models.build(named(name, **SMALL))
    for batch, time in [(1, 1), (2, 3)]:
        assert model(inputs(batch, time)).shape == (batch, time, 2)
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("gru", ["reset_before", "cudnn"])
def test_masked_frames_have_no_effect_on_others(models, gru):
    model = models.build(named("cnn_3rnn", gru=gru, **SMALL))
    whole = inputs(2, 6)
    whole["mask"][:, [2, 4, 5]] = False
    other = inputs(2, 6, seed=1)
    for name in ("frames", "landmarks"):
        other[name][whole["mask"]] = whole[name][whole["mask"]]
    other["mask"] = whole["mask"]
    without = {name: x[:, [0, 1, 3]] for name, x in whole.items()}
    expected = model(without).numpy()
    for batch in (whole, other):
        predicted = model(batch).numpy()[:, [0, 1, 3]]
        np.testing.assert_allclose(predicted, expected, atol=1e-6)
    # And a frame that counts does have an effect on later ones.
    without["frames"][:, 0] //= 2
    assert np.abs(model(without).numpy() - expected)[:, 2].max() > 1e-4


def test_landmarks_reach_the_output_unless_left_out(models):
    batch = inputs(1, 2)
    moved = batch | {"landmarks": batch["landmarks"] + 9}
    model = models.build(named("cnn_3rnn", **SMALL))
    assert np.abs(model(batch) - model(moved)).max() > 1e-5
    bare = models.build(named("cnn_3rnn", landmarks=False, **SMALL))
    assert [tensor.name for tensor in bare.inputs] == ["frames", "mask"]
    full = named("cnn_3rnn", landmarks=False)
    assert models.build(full).count_params() == 66_249_538 - 136 * 4096


def test_inputs_are_normalised_inside(models):
    model = models.build(named("vgg_face", **SMALL))
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
