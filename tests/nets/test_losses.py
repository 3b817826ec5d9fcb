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
    x, y = column(labels), column(predictions)
    ccc = losses.concordance(x, y, np.ones_like(x))
    np.testing.assert_allclose(ccc, [expected], atol=1e-6)


def test_columns_and_weights_against_another_formula(losses):
    random = np.random.default_rng(0)
    x = random.normal(0.5, 0.3, (40, 2)).astype("f")
    y = (0.4 * x + random.normal(0.1, 0.2, (40, 2))).astype("f")
    known = random.random((40, 2)) < 0.5  # others in each column
    x_garbage, y_garbage = (np.where(known, z, np.nan) for z in (x, y))
    expected = [lin(x[known[:, i], i], y[known[:, i], i]) for i in range(2)]
    for sides in ((x, y), (x_garbage, y), (x, y_garbage)):
        ccc = losses.concordance(*sides, known)
        np.testing.assert_allclose(ccc, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([1, 2, 3], [5, 5, 5]), ([2, 2], [2, 2]), ([4], [4]), ([1, 2], [1, 2])],
)
def test_gradient_is_finite_where_nothing_varies(
    tf, losses, labels, predictions
):
    x, y = column(labels), tf.Variable(column(predictions))
    with tf.GradientTape() as tape:
        ccc = losses.concordance(x, y, np.ones_like(x))
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


def test_sequences_weigh_as_much_as_their_frames_that_count(losses):
    """A sequence of three frames counts like three sequences of one."""
    random = np.random.default_rng(8)
    labels, predictions = random.normal(size=(2, 4, 5, 2))
    mask = random.random((4, 5)) < 0.6
    mask[2] = [1, 0, 0, 0, 0]
    labels[0, :, 1] = np.nan  # which weighs in the other target alone
    expected = []
    for i in range(2):
        known = mask & np.isfinite(labels[..., i])
        rows = [
            np.tile(
                [labels[j, own, i].mean(), predictions[j, own, i].mean()],
                (own.sum(), 1),
            )
            for j, own in enumerate(known)
            if own.any()
        ]
        expected.append(lin(*np.concatenate(rows).T))
    loss = losses.concordance_loss(
        labels, predictions, mask, level="weighted_sequence"
    )
    np.testing.assert_allclose(loss, 1 - np.mean(expected), atol=1e-9)


def test_frame_level_pools_the_frames_that_count(losses):
    random = np.random.default_rng(4)
    labels = random.normal(size=(2, 5, 1))
    predictions = random.normal(size=(2, 5, 1))
    mask = random.random((2, 5)) < 0.7
    expected = 1 - lin(labels[mask, 0], predictions[mask, 0])
    loss = losses.concordance_loss(labels, predictions, mask, level="frame")
    np.testing.assert_allclose(loss, expected, atol=1e-9)


@pytest.mark.parametrize("level", ["sequence", "frame"])
def test_a_frame_without_a_label_counts_in_its_other_targets(tf, losses, level):
    random = np.random.default_rng(6)
    labels, predictions = random.normal(size=(2, 4, 5, 3))
    mask = random.random((4, 5)) < 0.8
    labels[random.random(labels.shape) < 0.3] = np.nan
    labels[2, :, 0] = np.nan  # a window without any label of a target
    labels[..., 2] = np.nan  # a target without any in the batch
    expected = []
    for i in range(2):
        known = mask & np.isfinite(labels[..., i])
        rows = [
            (labels[j, known[j], i], predictions[j, known[j], i])
            for j in range(4)
            if known[j].any()
        ]
        if level == "sequence":
            rows = [[x.mean(keepdims=True) for x in row] for row in rows]
        expected.append(lin(*np.concatenate(rows, axis=1)))
    found = tf.Variable(predictions)
    with tf.GradientTape() as tape:
        loss = losses.concordance_loss(labels, found, mask, level=level)
    np.testing.assert_allclose(loss, 1 - np.mean(expected), atol=1e-9)
    gradient = tape.gradient(loss, found).numpy()
    counted = mask[..., None] & np.isfinite(labels)
    np.testing.assert_array_equal(gradient != 0, counted)
    nothing = np.full_like(labels, np.nan)
    assert losses.concordance_loss(nothing, predictions, mask, level=level) == 1


@pytest.mark.parametrize("level", ["sequence", "frame"])
def test_equal_labels_say_nothing(tf, losses, level):
    """Their CCC is 0 whatever is predicted: the other target is the loss."""
    random = np.random.default_rng(7)
    labels, predictions = random.normal(size=(2, 4, 3, 2)).astype("f")
    mask = random.random((4, 3)) < 0.8
    labels[..., 1] = 0.3
    found = tf.Variable(predictions)
    with tf.GradientTape() as tape:
        loss = losses.concordance_loss(labels, found, mask, level=level)
    other = losses.concordance_loss(
        labels[..., :1], predictions[..., :1], mask, level=level
    )
    np.testing.assert_allclose(loss, other, atol=1e-6)
    assert not tape.gradient(loss, found).numpy()[..., 1].any()
    counts = losses.counted(labels, mask)
    known = losses.comparable(*losses.rows(labels, counts, level))
    assert known.numpy().tolist() == [True, False]


def test_replicas_are_summed_twice(losses):
    """Three sums and three second moments of each target, whatever counts."""
    labels, predictions = np.random.default_rng(9).normal(size=(2, 4, 3, 2))
    shapes = []

    def reduce(sums):
        shapes.append(tuple(sums.shape))
        return sums

    losses.concordance_loss(
        labels, predictions, np.ones((4, 3), bool), reduce=reduce
    )
    assert shapes == [(3, 2), (3, 2)]


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
    whole = np.ones((3, 2))
    for other in (np.ones((3, 1)), np.ones(3)):
        for place in range(3):
            sides = [whole] * 3
            sides[place] = other
            with pytest.raises(ValueError, match="same shape"):
                losses.concordance(*sides)
    with pytest.raises(ValueError, match=r"\[rows, columns\].*not \(3,\), "):
        losses.concordance(*[np.ones(3)] * 3)
    with pytest.raises(ValueError, match="level must be"):
        losses.concordance_loss(
            np.ones((1, 1, 1)), np.ones((1, 1, 1)), np.ones((1, 1)), level="x"
        )


@pytest.mark.parametrize("level", ["sequence", "frame"])
def test_squared_errors_and_targets_have_weights(losses, level):
    random = np.random.default_rng(5)
    labels, predictions = random.normal(size=(2, 4, 5, 2))
    mask = random.random((4, 5)) < 0.7
    labels[1, :, 0] = np.nan
    own = []
    for i in range(2):
        known = mask & np.isfinite(labels[..., i])
        x, y = labels[known, i], predictions[known, i]
        if level == "sequence":
            x, y = (
                [z[j, known[j], i].mean() for j in range(4) if known[j].any()]
                for z in (labels, predictions)
            )
        error = np.mean((np.array(x) - y) ** 2)
        own.append(3 * (1 - lin(x, y)) + 0.25 * error)
    loss = losses.concordance_loss(
        *(labels, predictions, mask),
        level=level,
        ccc_weight=3.0,
        mse_weight=0.25,
        target_weights=[1.0, 0.5],
    )
    expected = (own[0] + 0.5 * own[1]) / 1.5
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
