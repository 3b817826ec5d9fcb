import numpy as np
import pytest

from affwild_omg.nets.architectures import BACKBONES, Architecture

POOLED = {
    "conv1_2": "pool1",
    "conv2_2": "pool2",
    "conv3_3": "pool3",
    "conv4_3": "pool4",
    "conv5_3": "pool5",
}


@pytest.mark.parametrize(
    ("backbone", "width"),
    [("vgg_face", 0.05), ("resnet50", 1), ("densenet121", 1)],
)
def test_taps_become_small_and_are_otherwise_the_same(tf, backbone, width):
    import keras

    from affwild_omg.nets import models
    from affwild_omg.weights import calibration

    random = np.random.default_rng(0)
    taps = BACKBONES[backbone].taps[:-1]  # but fc
    model = models.build(
        Architecture(
            backbone=backbone, taps=taps, recurrence="none", width=width
        )
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(random.uniform(1, 4, layer.gamma.shape))
            layer.beta.assign(random.uniform(-2, 3, layer.beta.shape))
        elif isinstance(layer, keras.layers.Conv2D) and layer.use_bias:
            layer.bias.assign(random.normal(0, 20, layer.bias.shape))
    first = model.get_layer(calibration.FIRST[backbone])
    first.kernel.assign(first.kernel * 128)
    frames = random.integers(0, 256, (3, 96, 96, 3), np.uint8)
    features = keras.Model(
        model.inputs,
        [model.get_layer(f"{tap}_sequence").output for tap in taps],
    )
    given = {
        "frames": frames[None],
        "landmarks": np.zeros((1, 3, 68, 2), np.float32),
        "mask": np.ones((1, 3), bool),
    }
    given = {x.name: given[x.name] for x in model.inputs}
    model(given, training=True)  # batch normalisation takes its statistics
    before = [x.numpy() for x in features(given)]
    sizes = calibration.calibrate(model, backbone, frames)
    after = [x.numpy() for x in features(given)]
    tolerance = 1e-5 if backbone == "densenet121" else 0
    for tap, old, new in zip(taps, before, after, strict=True):
        some = np.abs(old) > 1e-3
        factor = 2 ** np.round(np.log2(np.median(new[some] / old[some])))
        np.testing.assert_allclose(
            new / factor,
            old,
            rtol=tolerance,
            atol=tolerance * np.abs(old).max(),
        )
        if tap not in POOLED and not tap.startswith("pool"):
            assert factor * np.sqrt(np.mean(old.astype(float) ** 2)) <= 0.4
    assert max(sizes.values()) > 2
    by_tap = dict(zip(taps, zip(before, after, strict=True), strict=True))
    if backbone == "vgg_face":
        for tap in taps:
            old, new = by_tap[POOLED.get(tap, tap)]
            size = np.sqrt(np.mean(new.astype(float) ** 2))
            assert 0.2 < size <= 0.4
            if not tap.startswith("pool"):
                size = np.sqrt(np.mean(old.astype(float) ** 2))
                np.testing.assert_allclose(
                    sizes[POOLED.get(tap, tap)], size, rtol=1e-5
                )
