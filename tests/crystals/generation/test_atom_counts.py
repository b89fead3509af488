"""The number of atoms: against counting by hand and Bayes' rule written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from variolite.crystals.generation.composition import (
    BACK_OFF,
    PSEUDO_CRYSTALS,
    fit_atom_counts,
)
from variolite.crystals.generation.conditions import Conditions
from variolite.errors import DataError


def conditions(counts: list[int], groups: list[int], values: list[float]) -> Conditions:
    sizes = np.array(counts, dtype=np.int64)
    return Conditions(
        sizes,
        np.ones(sizes.sum(), dtype=np.int64),
        np.array(groups, dtype=np.int64),
        np.array(values)[:, None],
    )


EXAMPLE = conditions(
    [2, 2, 2, 4, 4, 6], [1, 1, 225, 225, 225, 0], [1.0, 2.0, np.nan, 5.0, 6.0, 9.0]
)


def by_hand() -> np.ndarray:
    counts = np.array([0, 0, 3, 0, 2, 0, 1]) + PSEUDO_CRYSTALS / 6
    counts[0] = 0.0
    return counts / counts.sum()


def test_without_conditions() -> None:
    np.testing.assert_allclose(fit_atom_counts(EXAMPLE).probabilities(), by_hand())


def test_a_space_group_backs_off_to_the_whole() -> None:
    expected = np.array([0, 0, 1, 0, 2, 0, 0]) + BACK_OFF * by_hand()
    found = fit_atom_counts(EXAMPLE).probabilities(space_group=225)
    np.testing.assert_allclose(found, expected / expected.sum())
    np.testing.assert_allclose(fit_atom_counts(EXAMPLE).probabilities(space_group=7), by_hand())


def test_a_property_follows_the_rule_of_bayes() -> None:
    model = fit_atom_counts(EXAMPLE)
    mean, deviation = model.means[0], model.deviations[0]
    values = np.array([1.0, 2.0, 5.0, 6.0, 9.0])
    assert mean[2] == pytest.approx((3.0 + BACK_OFF * values.mean()) / (2 + BACK_OFF))
    assert mean[5] == pytest.approx(values.mean())
    density = np.exp(-0.5 * ((5.5 - mean) / deviation) ** 2) / deviation
    expected = by_hand() * density
    found = model.probabilities(properties=np.array([5.5]))
    np.testing.assert_allclose(found, expected / expected.sum())
    assert np.isfinite(model.probabilities(properties=np.array([1e6]))).all()


@given(st.integers(1, 6), st.integers(1, 6))
def test_multiples_and_least_numbers(multiple: int, least: int) -> None:
    allowed = [n for n in range(1, 7) if n % multiple == 0 and n >= least]
    assume(allowed)
    chances = fit_atom_counts(EXAMPLE).probabilities(multiple_of=multiple, at_least=least)
    assert np.flatnonzero(chances).tolist() == allowed
    assert chances.sum() == pytest.approx(1.0)


def test_an_impossible_number_is_told() -> None:
    with pytest.raises(DataError, match="no crystal of at most 6 atoms"):
        fit_atom_counts(EXAMPLE).probabilities(multiple_of=7)
