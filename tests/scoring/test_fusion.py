import numpy as np
import pytest

from affwild_omg.scoring import fusion

NAN = float("nan")


def test_the_formula_by_hand():
    # Valence: 0.6 and 0.2 of 0.8; arousal: 0.1 and 0.4 of 0.5.
    weights = fusion.weights([[0.6, 0.1], [0.2, 0.4]])
    np.testing.assert_allclose(weights, [[0.75, 0.2], [0.25, 0.8]])
    fused = fusion.fuse(
        [[[0.4, 0.5], [-0.8, 1.0]], [[0.8, 0.0], [0.0, 0.5]]], weights
    )
    # 0.3 + 0.2, 0.1 + 0; -0.6 + 0, 0.2 + 0.4.
    np.testing.assert_allclose(fused, [[0.5, 0.1], [-0.6, 0.6]])


def test_a_member_that_is_not_positive_has_no_say():
    weights = fusion.weights([[0.6, -0.3], [0.2, 0.1], [-0.4, 0.0]])
    np.testing.assert_allclose(weights, [[0.75, 0], [0.25, 1], [0, 0]])
    fused = fusion.fuse([[[0.4, 9]], [[0.8, 0.7]], [[50, -50]]], weights)
    np.testing.assert_allclose(fused, [[0.5, 0.7]])


def test_a_member_may_lack_a_target():
    ccc = [[0.6, 0.2], [NAN, 0.6]]
    weights = fusion.weights(ccc)
    np.testing.assert_allclose(weights, [[1, 0.25], [0, 0.75]])
    predictions = [[[0.3, 0.8]], [[NAN, 0.4]]]
    fused = fusion.fuse(predictions, weights)
    np.testing.assert_allclose(fused, [[0.3, 0.5]])
    equal = fusion.weights(np.isfinite(ccc))
    np.testing.assert_allclose(equal, [[1, 0.5], [0, 0.5]])
    fused = fusion.fuse(predictions, equal)
    np.testing.assert_allclose(fused, [[0.3, 0.6]])


@pytest.mark.parametrize(
    "ccc", [[[0.6, -0.3], [0.2, 0.0]], [[0.6, NAN], [0.2, NAN]]]
)
def test_weights_of_nothing_are_refused(ccc):
    with pytest.raises(ValueError, match="positive"):
        fusion.weights(ccc)
