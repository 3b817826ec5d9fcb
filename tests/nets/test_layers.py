import numpy as np
import pytest


@pytest.fixture(scope="module")
def layers(tf):
    from affwild_omg.nets import layers

    return layers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_by_hand(x, valid, kernel, bias, recurrent_kernel, state=0):
    """The docstring's equations, gate by gate, in float64."""
    wz, wr, wc = np.split(kernel.astype(float), 3, axis=1)
    uz, ur, uc = np.split(recurrent_kernel.astype(float), 3, axis=1)
    bz, br, bc = np.split(bias.astype(float), 3)
    h = np.zeros((len(x), len(uz))) + state
    states = []
    for t in range(x.shape[1]):
        z = sigmoid(x[:, t] @ wz + h @ uz + bz)
        r = sigmoid(x[:, t] @ wr + h @ ur + br)
        c = np.tanh(x[:, t] @ wc + (r * h) @ uc + bc)
        h = np.where(valid[:, t, None], z * h + (1 - z) * c, h)
        states.append(np.where(valid[:, t, None], h, 0))
    return np.stack(states, axis=1), h


@pytest.fixture
def sequence():
    random = np.random.default_rng(0)
    valid = np.ones((3, 7), bool)
    valid[0, 2] = valid[1, :3] = valid[2, 5:] = False
    return random.normal(size=(3, 7, 5)).astype("f"), valid


def test_gru_follows_its_equations(layers, sequence):
    x, valid = sequence
    layer = layers.GRU(4)
    states = layer(x, valid)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    states = layer(x, valid).numpy()
    by_name = {weight.name: weight.numpy() for weight in layer.weights}
    expected, _ = gru_by_hand(x, valid, **by_name)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    start = random.normal(size=(3, 4))
    for steps in (7, 3, 2):  # of 3 and 2 a row has no valid one
        arguments = (x[:, :steps], valid[:, :steps])
        states, last = layer(*arguments, start.astype("f"))
        expected, after = gru_by_hand(*arguments, **by_name, state=start)
        np.testing.assert_allclose(states, expected, atol=1e-5)
        np.testing.assert_allclose(last, after, atol=1e-5)


def test_gru_shares_weights_with_keras(layers, sequence):
    import keras

    x, valid = sequence
    ours = layers.GRU(4)
    ours(x, valid)
    theirs = keras.layers.GRU(4, return_sequences=True, reset_after=False)
    theirs.build(x.shape)
    for weight in ours.weights:
        getattr(theirs.cell, weight.name).assign(weight)
    expected = np.where(valid[..., None], theirs(x, mask=valid), 0)
    np.testing.assert_allclose(ours(x, valid), expected, atol=1e-6)


def test_gru_that_resets_after_the_product_is_keras_own(layers, sequence):
    import keras

    x, valid = sequence
    ours = layers.GRU(4, reset_after=True)
    ours(x, valid)
    random = np.random.default_rng(1)
    ours.set_weights([random.normal(size=w.shape) for w in ours.weights])
    own = {weight.name: weight.numpy() for weight in ours.weights}
    theirs = keras.layers.GRU(4, return_sequences=True, use_cudnn=False)
    theirs.build(x.shape)
    bias = np.stack([own["bias"], own["recurrent_bias"]])
    theirs.set_weights([own["kernel"], own["recurrent_kernel"], bias])
    expected = np.where(valid[..., None], theirs(x, mask=valid), 0)
    np.testing.assert_allclose(ours(x, valid), expected, atol=1e-6)


@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_starts_as_tensorflow_1_does(layers, sequence, reset_after):
    layer = layers.GRU(2, reset_after=reset_after)
    layer(*sequence)
    np.testing.assert_array_equal(layer.bias, [1, 1, 1, 1, 0, 0])
    if reset_after:
        assert not layer.recurrence.cell.recurrent_bias.numpy().any()


def test_dropout_leaves_alone_what_is_not_trained(layers):
    x = np.ones((4, 50), np.float32)
    layer = layers.Dropout(0.5, seed=0)
    dropped = layer(x, training=True).numpy()
    assert set(np.unique(dropped)) == {0, 2}
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), x)


def test_fold_and_unfold_are_inverse(layers):
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    folded = layers.FoldTime()(x)
    assert folded.shape == (6, 4, 5)
    unfolded = layers.UnfoldTime()(folded, like=x)
    np.testing.assert_array_equal(unfolded, x.reshape(2, 3, 20))


def test_statistics_leave_out_frames_that_do_not_count(layers):
    random = np.random.default_rng(0)
    frames = random.normal(3, 2, (5, 4, 4, 2)).astype("f")
    valid = np.array([True, False, True, True, False])
    layer = layers.FrameBatchNormalization(momentum=0.9, epsilon=1e-3)
    outputs = layer(frames, valid, training=True)
    kept = frames[valid]
    mean, variance = kept.mean((0, 1, 2)), kept.var((0, 1, 2))
    np.testing.assert_allclose(
        outputs, (frames - mean) / np.sqrt(variance + 1e-3), atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5
    )
    # Out of training the frames have no say, whichever count.
    np.testing.assert_array_equal(
        layer(frames, valid), layer(frames, np.ones(5, bool))
    )


def test_no_frame_at_all_leaves_the_statistics(layers):
    layer = layers.FrameBatchNormalization(momentum=0.9)
    frames = np.ones((2, 4, 4, 2), "f")
    layer(frames, np.zeros(2, bool), training=True)
    np.testing.assert_allclose(layer.moving_mean, [0, 0])
    np.testing.assert_allclose(layer.moving_variance, [1, 1], rtol=1e-6)


def test_fixed_statistics_stay(layers):
    layer = layers.FrameBatchNormalization()
    frames = np.random.default_rng(0).normal(3, 2, (2, 4, 4, 2)).astype("f")
    layer(frames, np.ones(2, bool))
    layer.trainable = False
    layer(frames, np.ones(2, bool), training=True)
    np.testing.assert_array_equal(layer.moving_mean, [0, 0])
    np.testing.assert_array_equal(layer.moving_variance, [1, 1])
