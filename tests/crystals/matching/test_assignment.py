"""Stacks of assignment problems against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from variolite.crystals.matching.sites import FORBIDDEN, assign


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_cost_is_least(size: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random((5, size, size))
    chosen = assign(costs)
    for problem, columns in zip(costs, chosen, strict=True):
        rows, best = linear_sum_assignment(problem)
        assert sorted(columns) == list(range(size))
        assert problem[rows, columns].sum() == pytest.approx(problem[rows, best].sum())


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_forbidden_pairs_are_taken_only_without_another_way(size: int) -> None:
    costs = np.full((2, size, size), FORBIDDEN)
    place = np.arange(size)
    costs[0, place, (place + 1) % size] = 1.0
    chosen = assign(costs)
    assert (chosen[0] == (place + 1) % size).all()
    assert sorted(chosen[1]) == list(place)
