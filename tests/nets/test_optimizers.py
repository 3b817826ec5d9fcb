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
