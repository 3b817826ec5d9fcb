import numpy as np
import pytest

from affwild_omg.nets.architectures import Architecture, Fusion

SMALL = {"width": 1 / 16, "units": 4, "depth": 1}
PER_TAP = Architecture(taps=("pool2", "fc"), recurrence="per_tap", **SMALL)
HEAD = Architecture(taps=("fc",), head_units=3, **SMALL)


def first_steps(network, **settings):
    """Takes one step; returns the length of each weight's."""
    from affwild_omg.nets import models, optimizers, parts

    model = models.build(network)
    weights = parts.named_weights(model)
    before = {name: weight.numpy() for name, weight in weights.items()}
    optimizer = optimizers.adam(model, 1e-2, **settings)
    trained = model.trainable_variables
    # Adam's first step is as long as the rate, whatever the gradient.
    optimizer.apply([np.full(x.shape, 3, "f") for x in trained], trained)
    return {
        name: np.abs(weight.numpy() - before[name]).max()
        for name, weight in weights.items()
    }


def test_the_rate_falls_with_the_inputs_of_a_unit(tf):
    steps = first_steps(
        PER_TAP, rates={"cnn": 1e-3, "rnn": 1e-2}, max_fan_in=100
    )
    expected = {
        "conv1_1/kernel": 1e-3,  # 3 x 3 pixels of 3 channels
        "conv5_1/kernel": 1e-3 * 100 / (3 * 3 * 32),
        "conv5_1/bias": 1e-3,
        "pool2_gru1/kernel": 1e-2 * 100 / (24 * 24 * 8),
        "pool2_gru1/recurrence/step/recurrent_kernel": 1e-2,
        "output/bias": 1e-2,
    }
    assert expected == pytest.approx(
        {name: steps[name] for name in expected}, rel=1e-3
    )


def test_all_may_take_the_whole_rate(tf):
    steps = first_steps(PER_TAP)
    np.testing.assert_allclose(list(steps.values()), 1e-2, rtol=1e-3)


def test_a_part_of_a_member_is_named_by_its_place(tf):
    """What a member has above its GRUs is no output."""
    steps = first_steps(Fusion(members=(HEAD, PER_TAP)), rates={"output": 1e-3})
    assert steps["member1/head/bias"] == pytest.approx(1e-2, rel=1e-3)
    assert steps["output/bias"] == pytest.approx(1e-3, rel=1e-3)
