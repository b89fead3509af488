"""Periodic errors against a slow reference, and what must not matter."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching_sets import noisy, rebased, rotated, strained, textbook
from scipy.optimize import minimize

from variolite.crystals.geometry.periodic import ReducedLattices
from variolite.crystals.matching import periodic_errors, random_coordinates
from variolite.errors import DataError

CRYSTALS = textbook(12)
SHIFTS = np.array(list(product(range(-3, 4), repeat=3)))


def nearest(fractional, lattice):
    """Shortest images among 343: no reduction, no shortcut."""
    every = (fractional[:, None] - np.rint(fractional)[:, None] + SHIFTS) @ lattice
    return every[np.arange(len(every)), (every**2).sum(axis=-1).argmin(axis=1)]


@given(st.integers(0, len(CRYSTALS) - 1), st.integers(0, 10_000))
def test_shortest_images_in_skewed_cells(place, seed):
    fractional = np.random.default_rng(seed).normal(size=(20, 3)) * 3
    lattice = CRYSTALS.lattices[place]
    skewed = rebased(CRYSTALS.take(slice(place, place + 1)), seed).lattices
    vectors = ReducedLattices(skewed).shortest(fractional, np.zeros(20, np.int64))
    expected = nearest(fractional @ skewed[0] @ np.linalg.inv(lattice), lattice)
    lengths = (np.linalg.norm(found, axis=1) for found in (vectors, expected))
    np.testing.assert_allclose(*lengths, atol=1e-9)


def slow_errors(true, other):
    """Least sum of squares over translations, by a simplex from a grid of starts."""
    difference = other.coordinates - true.coordinates

    def total(shift):
        return float((nearest(difference - shift, true.lattice) ** 2).sum())

    starts = [np.array(s) / 4 for s in product(range(4), repeat=3)] + list(difference)
    exact = {"xatol": 1e-9, "fatol": 1e-13}
    found = minimize(total, min(starts, key=total), method="Nelder-Mead", options=exact)
    return np.linalg.norm(nearest(difference - found.x, true.lattice), axis=1)


@pytest.mark.parametrize("noise", [0.02, 0.3, np.inf])
def test_errors_are_those_of_the_slow_reference(noise):
    true = CRYSTALS.take(slice(0, None, 5))
    other = random_coordinates(true) if noise == np.inf else noisy(true, noise)
    draws = np.random.default_rng(1).random((len(true), 3))
    other = replace(other, coordinates=other.coordinates + draws[true.owner])
    errors = periodic_errors(true, other)
    for place in range(len(true)):
        ours = errors.distances[true.offsets[place] : true.offsets[place + 1]]
        slow = slow_errors(true[place], other[place])
        if noise == np.inf:
            # Of random coordinates the very best translation need not be found.
            assert np.sqrt((ours**2).mean()) <= np.sqrt((slow**2).mean()) * 1.1 + 1e-6
        else:
            np.testing.assert_allclose(ours, slow, atol=1e-5)
            assert errors.medians[place] == pytest.approx(np.median(slow), abs=1e-5)


def test_setting_does_not_matter():
    other = noisy(CRYSTALS, 0.1)
    expected = periodic_errors(CRYSTALS, other).distances
    whole = np.random.default_rng(0).integers(-3, 4, size=other.coordinates.shape)
    shift = np.random.default_rng(1).random((len(other), 3))[other.owner]
    moved = replace(other, coordinates=other.coordinates + whole + shift)
    for first, second in (
        (CRYSTALS, moved),
        (rotated(CRYSTALS), other),
        (rebased(CRYSTALS), rebased(other)),
        # The reconstructed lattice has no say.
        (CRYSTALS, strained(other, 0.2)),
    ):
        found = periodic_errors(first, second).distances
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_structures_that_cannot_be_compared_have_no_error():
    true = CRYSTALS.take(slice(0, 3))
    coordinates = true.coordinates.copy()
    coordinates[0] = np.nan
    medians = periodic_errors(true, replace(true, coordinates=coordinates)).medians
    assert np.isnan(medians).tolist() == [True, False, False]
    with pytest.raises(DataError, match="numbers of atoms"):
        periodic_errors(CRYSTALS.take(slice(0, 30)), CRYSTALS.take(slice(30, 60)))
