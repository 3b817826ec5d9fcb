"""A video given piece by piece: the state goes in and comes out."""

import dataclasses

import numpy as np
import pytest

from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.published.networks import NETWORKS, named
from tests.nets.networks import SMALL, inputs, small

FRAMES = 83
RECURRENT = [
    name
    for name, row in NETWORKS.items()
    if isinstance(row.architecture, Fusion)
    or row.architecture.recurrence != "none"
]
FAST = {
    ("cnn_1rnn", "reset_before"),
    ("cnn_3rnn_1fc", "cudnn"),
    ("model_fusion_fc", "reset_before"),
    ("model_fusion_rnn", "cudnn"),
}


@pytest.fixture(scope="module")
def models(tf):
    from affwild_omg.nets import models

    return models


@pytest.fixture
def predictor(tf, models):
    from affwild_omg.inference.predictor import keras_predictor
    from affwild_omg.weights.model_file import Card

    def predictor(model, architecture):
        card = Card(architecture=architecture, sequence_length=80)
        return keras_predictor(model, card)

    return predictor


def make_inputs():
    """Two sequences with holes, one of which has no face at first."""
    batch = inputs(2, FRAMES, seed=2)
    batch["mask"] = np.random.default_rng(3).uniform(size=(2, FRAMES)) < 0.8
    batch["mask"][0, :9] = False
    return batch


def in_pieces(predictor, batch, length):
    state = np.zeros((2, predictor.state_size), np.float32)
    found = []
    for begin in range(0, FRAMES, length):
        piece = {
            name: x[:, begin : begin + length] for name, x in batch.items()
        }
        values, state = predictor.step(piece, state)
        assert state.dtype == values.dtype == np.float32
        found.append(values)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize(
    ("name", "gru"),
    [
        pytest.param(*case, marks=[] if case in FAST else [pytest.mark.slow])
        for name in RECURRENT
        for gru in ("reset_before", "cudnn")
        for case in [(name, gru)]
    ],
)
def test_pieces_give_what_one_pass_does(models, predictor, name, gru):
    architecture = small(name, {"gru": gru})
    plain = models.build(architecture, seed=1)
    model = models.build(architecture, seed=2, stateful=True)
    model.set_weights(plain.get_weights())
    batch = make_inputs()
    one_pass = plain(
        {tensor.name: batch[tensor.name] for tensor in plain.inputs}
    ).numpy()
    mask = batch["mask"]
    stepping = predictor(model, architecture)
    np.testing.assert_allclose(
        stepping.predict(batch)[mask], one_pass[mask], atol=1e-5
    )
    for length in (1, 7, 80):
        np.testing.assert_allclose(
            in_pieces(stepping, batch, length)[mask],
            one_pass[mask],
            atol=1e-5,
        )
    # Without the state, pieces do give something else.
    late = {name: x[:, 40:] for name, x in batch.items()}
    late_mask = mask[:, 40:]
    restarted = stepping.predict(late)[late_mask]
    assert np.abs(restarted - one_pass[:, 40:][late_mask]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "gru"),
    [("cnn_1rnn", "reset_before"), ("model_fusion_rnn", "cudnn")],
)
def test_pieces_in_bfloat16(models, predictor, name, gru):
    import keras

    architecture = small(name, {"gru": gru})
    model = models.build(architecture, seed=1)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = models.build(architecture, seed=None, stateful=True)
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(model.get_weights())
    batch = make_inputs()
    mask = batch["mask"]
    stepping = predictor(half, architecture)
    one_pass = stepping.predict(batch)[mask]
    for length in (1, 7, 80):
        found = in_pieces(stepping, batch, length)[mask]
        np.testing.assert_allclose(found, one_pass, atol=2e-2)
    # It is bfloat16 that ran, and it is near.
    exact = predictor(model, architecture).predict(batch)[mask]
    assert 1e-5 < np.abs(one_pass - exact).max() < 5e-2


def test_parts_of_a_state_stand_in_their_order(models):
    """Against what each layer gives in the last frame."""
    import keras

    architecture = named("cnn_3rnn", **SMALL)
    model = models.build(architecture, seed=4)
    model_with_state = models.build(architecture, seed=4, stateful=True)
    layers = [
        f"{tap}_gru{layer}"
        for tap in ("pool2", "pool5", "fc")
        for layer in (1, 2)
    ]
    taps = keras.Model(
        model.inputs, [model.get_layer(name).output for name in layers]
    )
    batch = inputs(2, 5)
    expected = np.concatenate([x[:, -1] for x in taps(batch)], axis=-1)
    zeros = np.zeros((2, models.state_size(architecture)), np.float32)
    assert zeros.shape == expected.shape == (2, 36)
    state = model_with_state(batch | {"state": zeros})["state"]
    np.testing.assert_allclose(state, expected, atol=1e-6)


def test_a_fusion_has_the_states_of_its_members_first(models):
    from affwild_omg.nets import parts

    bare = Architecture(recurrence="joint", landmarks=False, **SMALL)
    still = Architecture(taps=("fc",), recurrence="none", width=0.05)
    three = dataclasses.replace(bare, recurrence="per_tap", depth=1)
    fusion = Fusion(members=(bare, still, three), fusion_units=5)
    assert models.state_size(fusion) == 12 + 0 + 18 + 5
    model = models.build(fusion, seed=5, stateful=True)
    weights = parts.named_weights(model)
    batch = inputs(2, 4)
    start = np.random.default_rng(0).normal(size=(2, 35)).astype("f")
    state = model(batch | {"state": start})["state"]
    for number, member, place in (
        (1, bare, slice(12)),
        (3, three, slice(12, 30)),
    ):
        alone = models.build(member, seed=9, stateful=True)
        for name, weight in parts.named_weights(alone).items():
            if not name.startswith("output/"):
                weight.assign(weights[f"member{number}/{name}"])
        del (own := dict(batch))["landmarks"]
        expected = alone(own | {"state": start[:, place]})["state"]
        np.testing.assert_allclose(state[:, place], expected, atol=1e-6)


def test_no_face_leaves_the_state(models):
    architecture = named("model_fusion_rnn", fusion_units=5, **SMALL)
    model = models.build(architecture, stateful=True)
    batch = inputs(2, 3)
    batch["mask"][1] = False
    start = np.random.default_rng(0).normal(size=(2, 53)).astype("f")
    state = model(batch | {"state": start})["state"].numpy()
    np.testing.assert_array_equal(state[1], start[1])
    assert np.abs(state[0] - start[0]).min() > 0


def test_without_recurrence_the_state_is_empty(models, predictor):
    architecture = named("vgg_face", width=0.05, fc_units=24)
    model = models.build(architecture, stateful=True)
    stepping = predictor(model, architecture)
    assert stepping.state_size == 0
    batch = make_inputs()
    expected = models.build(architecture)(batch)
    found = in_pieces(stepping, batch, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        name
        if (name, "reset_before") in FAST
        else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_the_weights_are_the_same_with_and_without_state(models, name):
    """In their order too: a file of weights names them by it."""
    architecture = small(name, {})
    plain = models.build(architecture)
    model = models.build(architecture, stateful=True)
    assert [w.path for w in model.weights] == [w.path for w in plain.weights]
    for one, two in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_model_file_is_loaded_with_its_state(tf, models, tmp_path):
    from affwild_omg.inference.predictor import load_predictor
    from affwild_omg.weights import model_file

    architecture = named("model_fusion_rnn", fusion_units=5, **SMALL)
    model = models.build(architecture, seed=6)
    card = model_file.Card(architecture=architecture, sequence_length=4)
    model_file.save_model(model, card, tmp_path / "m.keras")
    loaded = load_predictor(tmp_path / "m.keras")
    assert loaded.state_size == models.state_size(architecture) == 53
    batch = make_inputs()
    mask = batch["mask"]
    np.testing.assert_allclose(
        in_pieces(loaded, batch, 40)[mask], model(batch)[mask], atol=1e-5
    )
