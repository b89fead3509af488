"""Rows held back to stop training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import VarioliteError
from variolite.estimator.frames import hold_back


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**31), st.data())
def test_a_share_of_the_usable_rows(rows, share, seed, data):
    usable = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 1), min_size=2))))
    held = hold_back(usable, rows, None, share, seed)
    assert not np.delete(held, usable).any()
    assert held.sum() == min(max(1, round(share * len(usable))), len(usable) - 1)
    np.testing.assert_array_equal(held, hold_back(usable, rows, None, share, seed))


NAMES = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60)


@given(NAMES.filter(lambda n: len(set(n)) > 1), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_whole_groups_whatever_their_order(names, share, seed):
    rows, groups = len(names), np.array(names)
    held = hold_back(np.arange(rows), rows, groups, share, seed)
    held_groups = set(groups[held])
    assert not held_groups & set(groups[~held])
    assert 1 <= len(held_groups) < len(set(names))
    order = np.random.default_rng(0).permutation(rows)
    again = hold_back(np.arange(rows), rows, groups[order], share, seed)
    np.testing.assert_array_equal(again, held[order])


def test_groups_may_be_numbers_and_none_holds_nothing_back():
    assert hold_back(np.arange(6), 6, [1, 1, 2, 2, 3, 3], 0.3, 0).sum() == 2
    assert not hold_back(np.arange(5), 5, None, None, 0).any()


ALL = range(5)


@pytest.mark.parametrize(
    ("usable", "groups", "share", "says"),
    [
        *((ALL, None, share, "share for validation") for share in (0.0, 1.0, -0.1, float("nan"))),
        (ALL, ["a", "b", "c"], 0.2, "3 groups were given for 5 rows"),
        ([0, 1], ["a", "a", "b"], 0.2, "1 group"),
    ],
)
def test_impossible_shares_and_groups(usable, groups, share, says):
    with pytest.raises(VarioliteError, match=says):
        hold_back(np.array(usable), 5 if usable is ALL else 3, groups, share, 0)
