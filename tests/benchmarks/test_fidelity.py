"""Cheap measurements first, while they pay."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.planning.fidelity import next_purchase

NAN = float("nan")


def test_cheap_first_while_better_candidates_may_be_found() -> None:
    cheap = np.array([1.0, 2.0, 3.0, NAN, NAN])
    blank = np.full(5, NAN)
    mean, sd = np.array([1.0, 2, 3, 6, 2]), np.full(5, 1.0)
    found = next_purchase(cheap, blank, mean, sd, np.ones(5), np.full(5, 10.0))
    assert found is not None
    assert (found.row, found.real) == (3, False)


def test_real_ones_once_nothing_better_is_likely() -> None:
    cheap = np.array([1.0, 2.0, 3.0, NAN, NAN])
    blank = np.full(5, NAN)
    mean, sd = np.array([1.0, 2, 3, 1, 0]), np.full(5, 0.3)
    found = next_purchase(cheap, blank, mean, sd, np.ones(5), np.full(5, 10.0))
    assert found is not None
    assert (found.row, found.real) == (2, True)


def test_a_price_can_turn_the_choice() -> None:
    cheap, blank = np.array([1.0, 2.0, 3.0, NAN]), np.full(4, NAN)
    mean, sd = np.array([1.0, 2, 3, 3]), np.full(4, 0.5)
    for price, real in ((1.0, True), (1000.0, False)):
        found = next_purchase(cheap, blank, mean, sd, np.ones(4), np.full(4, price))
        assert found is not None
        assert found.real is real


def test_pairs_show_what_a_cheap_value_is_worth() -> None:
    """Real values are half of the cheap ones, so the best real value is not beaten by 5."""
    cheap = np.array([2.0, 4.0, 6.0, 8.0, 5.0])
    real = np.array([1.0, 2.0, 3.0, 4.0, NAN])
    found = next_purchase(cheap, real, cheap, np.ones(5), np.ones(5), np.ones(5))
    assert found is not None
    assert found.row == 4
    assert found.rate < 0.5


def test_nothing_is_left_once_all_is_measured() -> None:
    full = np.arange(3.0)
    assert next_purchase(full, full, full, np.ones(3), np.ones(3), np.ones(3)) is None


@pytest.mark.parametrize("measured", [1, 3])
def test_equal_cheap_values_are_fine(measured: int) -> None:
    cheap = np.r_[np.full(measured, 2.0), np.full(2, NAN)]
    n = len(cheap)
    found = next_purchase(
        cheap, np.full(n, NAN), np.full(n, 2.0), np.ones(n), np.ones(n), np.ones(n)
    )
    assert found is not None
    assert np.isfinite(found.rate)
