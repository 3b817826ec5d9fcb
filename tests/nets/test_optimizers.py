import numpy as np
import pytest

from affwild_omg.nets.architectures import Architecture, Fusion

SMALL = {"width": 1 / 16, "units": 4, "depth": 1}
PER_TAP = Architecture(taps=("pool2", "fc"), recurrence="per_tap", **SMALL)
HEAD = Architecture(taps=("fc",), head_units=3, **SMALL)


def first_steps(network, rates):
    """Takes one step; returns the length of each weight's."""
    from affwild_omg.nets import models, optimizers, parts

    model = models.build(network)
    weights = parts.named_weights(model)
    before = {name: weight.numpy() for name, weight in weights.items()}
    optimizer = optimizers.adam(model, 1e-2, rates)
    trained = model.trainable_variables
    # Adam's first step is as long as the rate, whatever the gradient.
    optimizer.apply([np.full(x.shape, 3, "f") for x in trained], trained)
    return {
        name: np.abs(weight.numpy() - before[name]).max()
        for name, weight in weights.items()
    }


def test_parts_have_their_rates(tf):
    steps = first_steps(PER_TAP, {"cnn": 1e-3, "rnn": 1e-4})
    expected = {
        "conv1_1/kernel": 1e-3,
        "conv5_1/bias": 1e-3,
        "pool2_gru1/kernel": 1e-4,
        "pool2_gru1/recurrence/step/recurrent_kernel": 1e-4,
        "fc/kernel": 1e-2,
        "output/bias": 1e-2,
    }
    assert expected == pytest.approx(
        {name: steps[name] for name in expected}, rel=1e-3
    )


def test_a_part_of_a_member_is_named_by_its_place(tf):
    """What a member has above its GRUs is no output."""
    steps = first_steps(Fusion(members=(HEAD, PER_TAP)), {"output": 1e-3})
    assert steps["member1/head/bias"] == pytest.approx(1e-2, rel=1e-3)
    assert steps["output/bias"] == pytest.approx(1e-3, rel=1e-3)


def adamw(weights, gradients, rates, decays, step, state, clip):
    """Takes a step of AdamW with clipping (Adam as its section 2 ends)."""
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in gradients))
    for i, gradient in enumerate(gradients):
        gradient = gradient * min(1, clip / norm)
        m, v = state.get(i, (0, 0))
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        state[i] = m, v
        unbiased = rates[i] * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights[i] = weights[i] * (1 - rates[i] * decays[i])
        weights[i] -= unbiased * m / (np.sqrt(v) + 1e-7)


@pytest.mark.parametrize("cosine_steps", [0, 4])
def test_steps_are_those_of_numpy(tf, cosine_steps):
    """With warm-up, clipping, decay, averages and a part's own rate at once."""
    from affwild_omg.nets import models, optimizers, parts

    model = models.build(PER_TAP)
    optimizer = optimizers.adam(
        *(model, 1e-2, {"cnn": 1e-3}),
        warmup_steps=2,
        cosine_steps=cosine_steps,
        clip_norm=2.0,
        weight_decay=0.5,
        ema=0.75,
    )
    trained = model.trainable_variables
    names = {id(x): name for name, x in parts.named_weights(model).items()}
    places = [names[id(x)] for x in trained]
    weights = [x.numpy().astype(float) for x in trained]
    rates = np.array([1e-3 if "conv" in x else 1e-2 for x in places])
    decays = [0.0 if x.endswith("bias") else 0.5 for x in places]
    assert len(set(rates)) == len(set(decays)) == 2
    random, state, averages = np.random.default_rng(0), {}, None
    # Up to the rate in two steps; then down to 0 in four, or not at all.
    course = [0, 0.5, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0, 0]
    if not cosine_steps:
        course = [0, 0.5] + [1] * 6
    for step, share in enumerate(course, start=1):
        # The norm is about 230, but in the last steps less than the limit.
        size = 1 if step < 5 else 1e-3
        gradients = [size * random.normal(size=x.shape) for x in trained]
        optimizer.apply([x.astype("f") for x in gradients], trained)
        adamw(weights, gradients, share * rates, decays, step, state, 2.0)
        averages = averages or list(weights)
        averages = [
            0.75 * x + 0.25 * y for x, y in zip(averages, weights, strict=True)
        ]
    for found, expected in zip(trained, weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-6)
    optimizer.finalize_variable_values(trained)
    for found, expected, last in zip(trained, averages, weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-6)
        assert cosine_steps or np.abs(expected - last).max() > 1e-4


def test_normalisation_does_not_decay(tf):
    from affwild_omg.nets import models, optimizers
    from tests.nets.networks import small

    network = small("resnet50", {"backbone": "resnet50_slim"})
    model = models.build(network)
    optimizer = optimizers.adam(model, 1e-3, {}, weight_decay=0.1)
    kept = {
        variable.path.split("/")[-1]
        for variable, decay in zip(
            model.trainable_variables, optimizer.decays, strict=True
        )
        if not decay
    }
    assert kept == {"gamma", "beta", "bias"}
