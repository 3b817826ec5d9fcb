import numpy as np

from affwild_omg.nets.architectures import VGG_CONVS, Architecture


def test_features_become_small_and_are_otherwise_the_same(tf):
    import keras

    from affwild_omg.nets import models
    from affwild_omg.weights import calibration

    random = np.random.default_rng(0)
    model = models.build(Architecture(width=0.05, units=2))
    for name in VGG_CONVS:
        layer = model.get_layer(name)
        layer.bias.assign(random.normal(0, 20, layer.bias.shape))
    first = model.get_layer("conv1_1")
    first.kernel.assign(first.kernel * 128)
    frames = random.integers(0, 256, (5, 96, 96, 3), np.uint8)
    pools = {
        "conv1_2": "pool1",
        "conv2_2": "pool2",
        "conv3_3": "pool3",
        "conv4_3": "pool4",
        "conv5_3": "pool5",
    }
    names = [pools.get(name, name) for name in VGG_CONVS]
    features = keras.Model(
        model.inputs[0], [model.get_layer(name).output for name in names]
    )
    before = [x.numpy() for x in features(frames[None])]
    sizes = calibration.calibrate(model, frames)
    after = [x.numpy() for x in features(frames[None])]
    for name, old, new in zip(VGG_CONVS, before, after, strict=True):
        factor = np.median(new[old > 0] / old[old > 0])
        # A power of two scales without rounding.
        assert np.log2(factor) % 1 == 0
        np.testing.assert_array_equal(new, factor * old)
        size = np.sqrt(np.mean(old.astype(float) ** 2))
        np.testing.assert_allclose(sizes[name], size, rtol=1e-5)
        assert 0.25 < factor * size <= 0.5
    assert max(sizes.values()) > 50
