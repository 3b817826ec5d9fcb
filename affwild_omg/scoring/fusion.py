"""Decision-level fusion: several networks' estimates become one.

Section 5.4.2, equation 1: o_i = sum_n(t_i^n o_i^n) / sum_n(t_i^n), where o_i^n
is network n's final estimate of dimension i and t_i^n its CCC for i on the
validation set.
"""

import numpy as np


def weights(ccc) -> np.ndarray:
    """Computes each member's weight in each dimension (section 5.4.2).

    Equation 1 would subtract the opinion of a member whose CCC is negative,
    and may divide by nothing. Here a CCC that is not positive weighs 0.

    Args:
        ccc: [members, targets], on validation; NaN where a member lacks the
            target.

    Returns:
        [members, targets], not negative, a sum of 1 over the members of each
        target.

    Raises:
        ValueError: it has not two axes, or in one of the targets no member's
            CCC is positive.
    """
    ccc = np.asarray(ccc, np.float64)
    if ccc.ndim != 2:
        raise ValueError(f"ccc must be [members, targets], not {ccc.shape}")
    positive = np.where(ccc > 0, ccc, 0.0)
    total = positive.sum(axis=0)
    if not (total > 0).all():
        raise ValueError("each target needs a member with a positive CCC")
    return positive / total


def equal_weights(present) -> np.ndarray:
    """Gives the members that have a target the same weight in it.

    Args:
        present: [members, targets], bool; each target has a member.

    Returns:
        [members, targets], a sum of 1 over the members of each target.
    """
    return weights(np.where(present, 1.0, np.nan))


def fuse(predictions, weights) -> np.ndarray:
    """Averages the members' final estimates by weight (section 5.4.2).

    Args:
        predictions: [members, utterances, targets]; NaN where a member lacks
            the target.
        weights: [members, targets], a sum of 1 over the members.

    Returns:
        [utterances, targets].

    Raises:
        ValueError: the shapes don't fit, or a member has a weight where it
            has no estimate.
    """
    predictions = np.asarray(predictions, np.float64)
    weights = np.asarray(weights, np.float64)
    members, _, targets = (
        predictions.shape if predictions.ndim == 3 else (None,) * 3
    )
    if weights.shape != (members, targets):
        raise ValueError(
            "predictions must be [members, utterances, targets] and weights "
            f"[members, targets], not {predictions.shape} and {weights.shape}"
        )
    weights = weights[:, np.newaxis]
    counted = np.where(weights == 0, 0.0, predictions)
    if not np.isfinite(counted).all():
        raise ValueError("a member has a weight but no estimate")
    return (weights * counted).sum(axis=0)
