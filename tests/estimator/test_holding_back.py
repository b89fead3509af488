"""Rows held back to stop training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError, TrainingError
from variolite.estimator.frames import hold_back


@given(
    rows=st.integers(2, 60),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_a_share_of_the_usable_rows(
    rows: int, share: float, seed: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.integers(0, rows - 1), min_size=2))
    usable = np.array(sorted(chosen))
    held = hold_back(usable, rows, None, share, seed)
    assert not np.delete(held, usable).any()
    assert held.sum() == min(max(1, round(share * len(usable))), len(usable) - 1)
    np.testing.assert_array_equal(held, hold_back(usable, rows, None, share, seed))


@given(
    names=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60).filter(
        lambda names: len(set(names)) > 1
    ),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_whole_groups_whatever_their_order(names: list[str], share: float, seed: int) -> None:
    rows = len(names)
    groups = np.array(names)
    held = hold_back(np.arange(rows), rows, groups, share, seed)
    held_groups = set(groups[held])
    assert not held_groups & set(groups[~held])
    assert 1 <= len(held_groups) < len(set(names))
    order = np.random.default_rng(0).permutation(rows)
    again = hold_back(np.arange(rows), rows, groups[order], share, seed)
    np.testing.assert_array_equal(again, held[order])


def test_groups_may_be_numbers() -> None:
    held = hold_back(np.arange(6), 6, [1, 1, 2, 2, 3, 3], 0.3, 0)
    assert held.sum() == 2


def test_none_holds_nothing_back() -> None:
    assert not hold_back(np.arange(5), 5, None, None, 0).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_shares(share: float) -> None:
    with pytest.raises(TrainingError, match="share to hold back"):
        hold_back(np.arange(5), 5, None, share, 0)


def test_groups_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="3 groups were given for 5 rows"):
        hold_back(np.arange(5), 5, ["a", "b", "c"], 0.2, 0)
    with pytest.raises(TrainingError, match="1 group"):
        hold_back(np.array([0, 1]), 3, ["a", "a", "b"], 0.2, 0)
