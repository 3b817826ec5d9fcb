"""Decision-level fusion (section 5.4.2, equation 1).

o_i = sum_n(t_i^n o_i^n) / sum_n(t_i^n), where o_i^n is network n's final
estimate of dimension i and t_i^n its CCC for i on the validation set.
"""

import numpy as np


def weights(ccc) -> np.ndarray:
    """Computes each member's weight in each dimension.

    Equation 1 would subtract the estimate of a member whose CCC is negative,
    and may divide by 0. Here a CCC that is not positive gives weight 0.

    Args:
        ccc: [members, targets], on validation; 0 or NaN where a member lacks
            the target. Ones give the members equal weights.

    Returns:
        [members, targets], 0 or more, with a sum of 1 for each target.

    Raises:
        ValueError: no member's CCC is positive in some target.
    """
    ccc = np.asarray(ccc, np.float64)
    positive = np.where(ccc > 0, ccc, 0.0)
    total = positive.sum(axis=0)
    if not (total > 0).all():
        raise ValueError("each target needs a member with a positive CCC")
    return positive / total


def fuse(predictions, weights) -> np.ndarray:
    """Averages the members' final estimates by weight.

    Args:
        predictions: [members, utterances, targets]; what has weight 0 may be
            NaN.
        weights: [members, targets], as `weights` gives them.

    Returns:
        [utterances, targets].
    """
    weights = np.asarray(weights, np.float64)[:, np.newaxis]
    return np.where(weights == 0, 0.0, weights * predictions).sum(axis=0)
