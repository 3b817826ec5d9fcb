import numpy as np
import pytest


@pytest.fixture(scope="module")
def losses(tf):
    from affwild_omg.nets import losses

    return losses


def lin(x, y):
    """CCC from Pearson's r, by another route than the code under test."""
    r = np.corrcoef(x, y)[0, 1]
    shift = np.mean(x) - np.mean(y)
    return 2 * r * np.std(x) * np.std(y) / (np.var(x) + np.var(y) + shift**2)


def column(values):
    return np.array(values, "f")[:, None]


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        # Shifted by 1: 2 * 2/3 / (2/3 + 2/3 + 1).
        ([1, 2, 3], [2, 3, 4], 4 / 7),
        # Scaled by 2: cov 4/3, variances 2/3 and 8/3, means 2 and 4.
        ([1, 2, 3], [2, 4, 6], (8 / 3) / (10 / 3 + 4)),
        ([1, 2, 3], [5, 5, 5], 0),
        ([2, 2, 2], [2, 2, 2], 0),
        # Their mean in float32 is not 0.7.
        ([0.7] * 7, [0.7] * 7, 0),
        ([0.1, 0.1, 0.1], [0.7, 0.7, 0.7], 0),
        ([4], [1], 0),
    ],
)
def test_hand_worked_cases(losses, labels, predictions, expected):
    weights = np.ones(len(labels))
    ccc = losses.concordance(column(labels), column(predictions), weights)
    np.testing.assert_allclose(ccc, [expected], atol=1e-6)


def test_columns_and_weights_against_another_formula(losses):
    random = np.random.default_rng(0)
    x = random.normal(0.5, 0.3, (40, 2)).astype("f")
    y = (0.4 * x + random.normal(0.1, 0.2, (40, 2))).astype("f")
    weights = random.integers(0, 2, 40)
    garbage = np.where(weights[:, None] > 0, y, np.nan)
    expected = [lin(x[weights > 0, i], y[weights > 0, i]) for i in range(2)]
    for predictions in (y, garbage):
        ccc = losses.concordance(x, predictions, weights)
        np.testing.assert_allclose(ccc, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([1, 2, 3], [5, 5, 5]), ([2, 2], [2, 2]), ([4], [4]), ([1, 2], [1, 2])],
)
def test_gradient_is_finite_where_nothing_varies(
    tf, losses, labels, predictions
):
    y = tf.Variable(column(predictions))
    with tf.GradientTape() as tape:
        ccc = losses.concordance(column(labels), y, np.ones(len(labels)))
    assert np.isfinite(tape.gradient(ccc, y)).all()


def test_gradient_against_finite_differences(tf, losses):
    random = np.random.default_rng(2)
    labels = random.normal(size=(3, 4, 2))
    values = random.normal(size=(3, 4, 2))
    mask = random.random((3, 4)) < 0.7
    mask[:, 0] = True

    def loss(x):
        return losses.concordance_loss(labels, x, mask)

    x = tf.Variable(values)
    with tf.GradientTape() as tape:
        value = loss(x)
    gradient = tape.gradient(value, x).numpy()
    for index in [(0, 0, 0), (1, 2, 1), (2, 3, 0)]:
        step = np.zeros_like(values)
        step[index] = 1e-5
        slope = (loss(values + step) - loss(values - step)) / 2e-5
        np.testing.assert_allclose(gradient[index], slope, atol=1e-6)
    np.testing.assert_array_equal(gradient[~mask], 0)


def test_sequence_level_averages_the_frames_that_count(losses):
    random = np.random.default_rng(3)
    labels = np.repeat(random.normal(size=(5, 1, 2)), 6, axis=1)
    predictions = random.normal(size=(5, 6, 2))
    mask = random.random((5, 6)) < 0.6
    mask[4] = False  # a window without a face does not count
    means = np.stack([predictions[i][mask[i]].mean(0) for i in range(4)])
    expected = 1 - np.mean([lin(labels[:4, 0, i], means[:, i]) for i in (0, 1)])
    loss = losses.concordance_loss(labels, predictions, mask)
    np.testing.assert_allclose(loss, expected, atol=1e-9)


def test_frame_level_pools_the_frames_that_count(losses):
    random = np.random.default_rng(4)
    labels = random.normal(size=(2, 5, 1))
    predictions = random.normal(size=(2, 5, 1))
    mask = random.random((2, 5)) < 0.7
    expected = 1 - lin(labels[mask, 0], predictions[mask, 0])
    loss = losses.concordance_loss(labels, predictions, mask, level="frame")
    np.testing.assert_allclose(loss, expected, atol=1e-9)


def test_padding_never_changes_the_loss(losses):
    random = np.random.default_rng(5)
    labels, predictions = random.normal(size=(2, 4, 5, 2))
    mask = np.ones((4, 5), bool)
    for level in ("sequence", "frame"):
        loss = losses.concordance_loss(labels, predictions, mask, level=level)
        padded = [
            np.pad(x, [(0, 2), (0, 3), (0, 0)], constant_values=np.nan)
            for x in (labels, predictions)
        ]
        longer = losses.concordance_loss(
            *padded, np.pad(mask, [(0, 2), (0, 3)]), level=level
        )
        np.testing.assert_allclose(longer, loss, atol=1e-12)


def test_mismatch_is_refused(losses):
    with pytest.raises(ValueError, match="same shape"):
        losses.concordance(np.ones((3, 2)), np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match=r"\[rows, columns\].*not \(3,\) and"):
        losses.concordance(np.ones(3), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="level must be"):
        losses.concordance_loss(
            np.ones((1, 1, 1)), np.ones((1, 1, 1)), np.ones((1, 1)), level="x"
        )
