import collections

import numpy as np
import pytest

from affwild_omg.data.mixing import mixed


def test_a_pass_by_hand():
    """Of 6 and 2 windows, half and half: 4 of each, in turn."""
    order = mixed([6, 2], [1, 1], seed=0, number=0)
    assert [int(x >= 6) for x in order] == [0, 1] * 4
    first, second = order[::2], order[1::2]
    assert len(set(first)) == 4
    # Twice round the second corpus.
    assert sorted(second[:2]) == sorted(second[2:]) == [6, 7]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (3, 1), (0.2, 0.7)])
def test_passes_go_on_in_each_corpus_where_the_one_before_ended(shares):
    windows = (7, 5)
    share = shares[0] / sum(shares)
    seen = collections.Counter()
    for number in range(10):
        order = mixed(windows, shares, seed=3, number=number)
        assert len(order) == 12
        first = np.array(order) < 7
        assert abs(first.sum() - 12 * share) < 1
        # As even as can be: no stretch of a pass has one more or less.
        for end in range(1, 13):
            assert abs(first[:end].sum() - end * first.mean()) <= 1
        seen.update(order.tolist())
        for part in (range(7), range(7, 12)):
            counts = [seen[window] for window in part]
            assert max(counts) - min(counts) <= 1
    assert seen.total() == 120
    assert sum(seen[i] for i in range(7)) == round(120 * share)


def test_a_small_share_has_its_windows_over_the_passes():
    """Of 44 windows a pass, 1 %: 0.44 in each, 4.4 in ten."""
    orders = [mixed([40, 4], [0.99, 0.01], 0, number) for number in range(10)]
    assert {len(order) for order in orders} == {44}
    small = np.concatenate(orders)
    assert sorted(small[small >= 40]) == [40, 41, 42, 43]
    three = [mixed([9, 3, 2], [0.6, 0.3, 0.1], 1, n) for n in range(20)]
    counts = np.bincount(np.concatenate(three), minlength=14)
    assert [counts[:9].sum(), counts[9:12].sum(), counts[12:].sum()] == [
        *(168, 84, 28),
    ]


def test_the_seed_makes_the_order():
    def order(seed, number=0):
        return mixed([40, 30], [1, 2], seed, number).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, number=1)
