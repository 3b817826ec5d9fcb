import numpy as np
import pytest

from affwild_omg.nets.architectures import Architecture, Fusion

SMALL = {"width": 0.03, "units": 3, "depth": 1}
JOINT = Architecture(recurrence="joint", **SMALL)
PER_TAP = Architecture(taps=("pool5", "fc"), **SMALL)


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    mask = np.ones((3, 4), bool)
    mask[1, 2:] = False
    return {
        "frames": random.integers(0, 256, (3, 4, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 95, (3, 4, 68, 2)).astype("f"),
        "mask": mask,
        "labels": random.uniform(-1, 1, (3, 4, 2)).astype("f"),
    }


@pytest.mark.parametrize("network", [JOINT, PER_TAP])
def test_what_a_tap_gives_and_gets(tf, batch, network):
    import keras

    from affwild_omg.nets import losses, models
    from affwild_omg.training import regime

    model = models.build(network)
    gru = "joint_gru1" if network is JOINT else "pool5_gru1"
    # The second gate's unit sees a multiple of what it would, the third none.
    kernel = model.get_layer(gru).kernel
    kernel.assign(kernel * np.array([1, 1e6, 0] * 3, "f"))
    found, values = regime.measure(model, network, batch, "sequence")
    assert set(found) == set(network.taps)
    pool5 = keras.Model(model.inputs, model.get_layer("pool5").output)
    inputs = {name: batch[name] for name in ("frames", "landmarks", "mask")}
    features = pool5(inputs).numpy()[batch["mask"].ravel()]
    assert found["pool5"]["feature_rms"] == pytest.approx(
        np.sqrt(np.mean(features**2)), rel=1e-5
    )
    # One unit of three, in both gates.
    assert found["pool5"]["saturated_gates"] == pytest.approx(1 / 3, abs=0.02)
    with tf.GradientTape() as tape:
        loss = losses.concordance_loss(
            batch["labels"], model(inputs), batch["mask"]
        )
    gradient = tape.gradient(loss, kernel.value).numpy()
    start = 0
    if network is JOINT:  # behind the features of pool2
        start = model.get_layer("pool2_sequence").output.shape[-1]
    own = gradient[start : start + features[0].size]
    assert found["pool5"]["gradient_norm"] == pytest.approx(
        np.linalg.norm(own), rel=1e-4
    )


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        (Architecture(taps=("fc",), recurrence="none", width=0.03), {"fc"}),
        (
            Fusion(members=(JOINT, PER_TAP), fusion_units=2),
            {f"member1/{tap}" for tap in JOINT.taps}
            | {f"member2/{tap}" for tap in PER_TAP.taps},
        ),
    ],
)
def test_every_network_has_its_taps(tf, batch, network, taps):
    from affwild_omg.nets import models
    from affwild_omg.training import regime

    found, _ = regime.measure(models.build(network), network, batch, "frame")
    assert set(found) == taps
    for values in found.values():
        assert ("saturated_gates" in values) == isinstance(network, Fusion)
        assert values["feature_rms"] > 0 and values["gradient_norm"] > 0
