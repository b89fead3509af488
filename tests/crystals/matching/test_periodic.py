"""Periodic errors against a slow reference, and what must not matter."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching_sets import changed, noisy, rebased, reordered, rotated, scattered, strained, textbook
from scipy.optimize import minimize

from variolite.crystals.crystals import Crystal
from variolite.crystals.matching.displacements import assigned_periodic_errors, periodic_errors
from variolite.crystals.periodic import ReducedLattices
from variolite.errors import DataError

CRYSTALS = textbook(12)
SHIFTS = np.array(list(product(range(-3, 4), repeat=3)))


def nearest(fractional: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Shortest images among 343: no reduction, no shortcut."""
    every = (fractional[:, None] - np.rint(fractional)[:, None] + SHIFTS) @ lattice
    return every[np.arange(len(every)), (every**2).sum(axis=-1).argmin(axis=1)]


def slow_errors(true: Crystal, other: Crystal) -> np.ndarray:
    """Least sum of squares over translations, by a simplex from a grid of starts."""
    difference = other.coordinates - true.coordinates

    def total(shift: np.ndarray) -> float:
        return float((nearest(difference - shift, true.lattice) ** 2).sum())

    starts = [np.array(s) / 4 for s in product(range(4), repeat=3)] + list(difference)
    best = min(starts, key=total)
    found = minimize(total, best, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    return np.linalg.norm(nearest(difference - found.x, true.lattice), axis=1)


@given(st.integers(0, len(CRYSTALS) - 1), st.integers(0, 10_000))
def test_shortest_images(place: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    fractional = draw.normal(size=(20, 3)) * 3
    lattice = CRYSTALS.lattices[place]
    skewed = rebased(CRYSTALS.take(slice(place, place + 1)), seed).lattices
    vectors = ReducedLattices(skewed).shortest(fractional, np.zeros(20, np.int64))
    usual = fractional @ skewed[0] @ np.linalg.inv(lattice)
    expected = np.linalg.norm(nearest(usual, lattice), axis=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), expected, atol=1e-9)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_errors_are_those_of_the_slow_reference(noise: float) -> None:
    true = CRYSTALS.take(slice(0, None, 5))
    draws = np.random.default_rng(1).random((len(true), 3))
    other = noisy(true, noise)
    other = changed(other, coordinates=other.coordinates + draws[true.owner])
    errors = periodic_errors(true, other)
    for place in range(len(true)):
        ours = errors.distances[true.offsets[place] : true.offsets[place + 1]]
        slow = slow_errors(true[place], other[place])
        np.testing.assert_allclose(ours, slow, atol=1e-5)
        assert errors.medians[place] == pytest.approx(np.median(slow), abs=1e-5)
        assert errors.rms[place] == pytest.approx(np.sqrt((slow**2).mean()), abs=1e-5)


def test_random_coordinates_are_hardly_farther_than_the_slow_reference_says() -> None:
    true = CRYSTALS.take(slice(0, None, 6))
    other = scattered(true)
    ours = periodic_errors(true, other).rms
    slow = [np.sqrt((slow_errors(a, b) ** 2).mean()) for a, b in zip(true, other, strict=True)]
    assert (ours <= np.array(slow) * 1.1 + 1e-6).all()


def test_setting_does_not_matter() -> None:
    other = noisy(CRYSTALS, 0.1)
    expected = periodic_errors(CRYSTALS, other).distances
    whole = np.random.default_rng(0).integers(-3, 4, size=other.coordinates.shape)
    shift = np.random.default_rng(1).random((len(other), 3))[other.owner]
    moved = changed(other, coordinates=other.coordinates + whole + shift)
    for first, second in (
        (CRYSTALS, moved),
        (rotated(CRYSTALS), other),
        (rebased(CRYSTALS), rebased(other)),
        # The reconstructed lattice has no say.
        (CRYSTALS, strained(other, 0.2)),
    ):
        found = periodic_errors(first, second).distances
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_assignment_finds_atoms_in_any_order() -> None:
    other = noisy(CRYSTALS, 0.05)
    expected = periodic_errors(CRYSTALS, other)
    found = assigned_periodic_errors(CRYSTALS, reordered(other))
    assert (found.rms <= expected.rms + 1e-9).all()
    np.testing.assert_allclose(np.median(found.rms), np.median(expected.rms), rtol=1e-6)


def test_assignment_is_better_than_a_meaningless_order() -> None:
    other = scattered(CRYSTALS, 5)
    assigned = assigned_periodic_errors(CRYSTALS, other).rms
    given_order = periodic_errors(CRYSTALS, other).rms
    assert assigned.mean() < 0.9 * given_order.mean()
    assert (assigned <= given_order * 1.1).all()


def test_structures_that_cannot_be_compared_have_no_error() -> None:
    true = CRYSTALS.take(slice(0, 3))
    coordinates = true.coordinates.copy()
    coordinates[0] = np.nan
    errors = periodic_errors(true, changed(true, coordinates=coordinates))
    assert np.isnan(errors.medians).tolist() == [True, False, False]
    other = changed(true, species=true.species + np.uint8(1))
    assert np.isnan(assigned_periodic_errors(true, other).distances).all()
    with pytest.raises(DataError, match="numbers of atoms"):
        periodic_errors(CRYSTALS.take(slice(0, 30)), CRYSTALS.take(slice(30, 60)))
