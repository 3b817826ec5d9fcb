import numpy as np
import pytest

from affwild_omg.nets.architectures import Architecture, Fusion


def test_only_members_that_took_the_convolutions_are_scaled(tf):
    from affwild_omg.nets import models, parts
    from affwild_omg.training import start

    small = {"units": 2, "depth": 1, "recurrence": "joint"}
    network = Fusion(
        members=(
            Architecture(width=1 / 32, **small),
            Architecture(width=1 / 16, **small),
        )
    )
    model = models.build(network)
    for name, weight in parts.named_weights(model).items():
        if name.endswith("conv1_1/kernel"):
            weight.assign(weight * 128)
    weights = parts.named_weights(model)
    before = {name: weight.numpy() for name, weight in weights.items()}
    taken = [name for name in before if name.startswith("member2/conv")]
    faces = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    start._calibrate(model, network, faces, set(taken), set(taken))
    changed = {
        name
        for name, weight in weights.items()
        if (weight.numpy() != before[name]).any()
    }
    # The biases are 0, and some factor may be 1.
    assert changed <= {x for x in taken if x.endswith("kernel")}
    assert "member2/conv1_1/kernel" in changed


@pytest.mark.parametrize(
    ("width", "taken", "fused", "scaled"),
    [
        (1, (), True, True),
        (0.5, (), True, False),
        (1, ("member1/conv1_1/kernel",), True, False),
        (1, (), False, False),
    ],
)
def test_random_weights_of_a_full_fusion_are_scaled(
    tf, width, taken, fused, scaled
):
    import keras

    from affwild_omg.nets import models
    from affwild_omg.training import start

    member = network = Architecture(
        taps=("pool2",), recurrence="joint", units=1, width=width, fc_units=1
    )
    if fused:
        network = Fusion(members=(member, member), fusion_units=1)
    model = models.build(network)
    part = model.get_layer("member1") if fused else model
    layer = part.get_layer("pool2_sequence")
    features = keras.Model(part.inputs, layer.output)
    faces = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    given = {"frames": faces[None], "mask": np.ones((1, 3), bool)}
    given["landmarks"] = np.zeros((1, 3, 68, 2), np.float32)
    given = {x.name: given[x.name] for x in part.inputs}
    before = features(given).numpy()
    assert before.std() > 0.2
    start._calibrate(model, network, faces, set(taken), set())
    after = features(given).numpy()
    assert np.array_equal(before, after) != scaled
    if scaled:
        assert 0.2 < np.sqrt(np.mean(after**2)) <= 0.4
