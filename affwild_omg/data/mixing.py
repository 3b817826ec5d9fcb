"""Mixing: which windows of several corpora a pass over the data holds."""

from collections.abc import Sequence

import numpy as np


def mixed(
    windows: Sequence[int], shares: Sequence[float], seed: int, number: int
) -> np.ndarray:
    """Orders the windows of a pass in which each corpus has a given share.

    A pass holds as many windows as there are in all. Each corpus goes round
    and round in its own windows, shuffled anew each time, and a pass begins
    where the one before ended: over time no window is seen two times more than
    another of its corpus. Within the pass the corpora alternate as evenly as
    can be, so that each batch has their shares.

    Args:
        windows: of each corpus, 1 or more.
        shares: of each corpus, above 0; their sum does not matter.
        seed: of the order; the same for all passes.
        number: of the pass, from 0.

    Returns:
        int64 [windows in all], numbers of windows, those of the first corpus
        first.
    """
    # Of all passes together, so that a small share is not rounded to nothing.
    parts = np.array(shares) / sum(shares)
    begins, ends = (
        _counts(passes * sum(windows), parts) for passes in (number, number + 1)
    )
    found, places = [], []
    for corpus, (count, begin, end) in enumerate(
        zip(windows, begins, ends, strict=True)
    ):
        size = end - begin
        rounds = range(begin // count, -(-(begin + size) // count))
        endless = np.concatenate(
            [
                np.random.default_rng([seed, corpus, x]).permutation(count)
                for x in rounds
            ]
            or [np.zeros(0, int)]
        )
        skip = begin % count
        found.append(sum(windows[:corpus]) + endless[skip : skip + size])
        places.append((np.arange(size) + 0.5) / max(1, size))
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(found)[order]


def _counts(total, parts):
    """Returns how many of the first windows of all passes each corpus has."""
    counts = np.round(total * parts).astype(int)
    largest = parts.argmax()  # which takes what rounding leaves
    counts[largest] += total - counts.sum()
    return counts.tolist()
