import numpy as np

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
    start._calibrate(model, network, faces, taken)
    changed = {
        name
        for name, weight in weights.items()
        if (weight.numpy() != before[name]).any()
    }
    # The biases are 0, and some factor may be 1.
    assert changed <= {x for x in taken if x.endswith("kernel")}
    assert "member2/conv1_1/kernel" in changed
