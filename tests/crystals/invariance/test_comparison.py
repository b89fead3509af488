"""Comparisons of latents as sets, and of shapes, against slow and readable ones."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from drawn_crystals import drawn_crystals
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.invariance import change_of_atoms, change_of_sets, shape_change


def _one(species, lattice=None):
    n = len(species)
    coordinates = np.linspace(0.0, 0.8, n)[:, None] * np.array([1.0, 0.7, 0.4])
    cell = 4.0 * np.eye(3) if lattice is None else lattice
    return Crystals.of([Crystal(np.array(species, np.uint8), coordinates, cell)])


@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
def test_the_set_is_compared_in_the_pairing_of_least_squares(seed, n):
    random = np.random.default_rng(seed)
    crystals = _one(random.choice([3, 8], n).tolist())
    before, after = random.normal(size=(2, n, 2))
    best, expected = np.inf, np.inf
    for order in permutations(range(n)):
        if (crystals.species[list(order)] != crystals.species).any():
            continue
        difference = before - after[list(order)]
        if (difference**2).sum() < best:
            best, expected = (difference**2).sum(), np.abs(difference).max()
    direct = np.abs(before - after).max()
    assert change_of_atoms(before, after, crystals)[0] == pytest.approx(direct)
    found = change_of_sets(before, after, crystals)[0]
    assert found == pytest.approx(min(expected, direct))


def test_only_atoms_of_one_element_and_crystal_may_exchange_their_latents():
    before = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    crystals = _one([8, 8, 3])
    assert change_of_sets(before, before[[1, 0, 2]], crystals).tolist() == [0.0]
    assert change_of_atoms(before, before[[1, 0, 2]], crystals).tolist() == [2.0]
    assert change_of_sets(before, before[[2, 1, 0]], crystals).tolist() == [4.0]
    crystals = Crystals.concatenate([_one([8]), _one([8])])
    before = np.array([[1.0], [2.0]])
    assert change_of_sets(before, before[::-1], crystals).tolist() == [1.0, 1.0]


def test_what_is_no_number_stays_visible():
    crystals = Crystals.concatenate([_one([8, 8]), _one([8])])
    before = np.zeros((3, 1))
    after = np.array([[0.0], [np.nan], [0.5]])
    found = change_of_sets(before, after, crystals)
    assert np.isnan(found[0])
    assert found[1] == 0.5
    assert change_of_sets(before, np.where(np.isnan(after), np.inf, after), crystals)[0] == np.inf


def _slow_distances(crystal):
    images = np.array(list(product(range(-4, 5), repeat=3))) @ crystal.lattice
    places = crystal.coordinates % 1.0 @ crystal.lattice
    pairs = combinations(places, 2)
    return sorted(float(np.linalg.norm(b - a + images, axis=1).min()) for a, b in pairs)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.9, 1.1))
def test_shapes_differ_as_a_search_through_many_images_says(seed, scale):
    before = drawn_crystals(seed, 1, 5)
    moved = 0.02 * np.random.default_rng(seed).normal(size=before.coordinates.shape)
    places, cells = before.coordinates + moved, scale * before.lattices
    after = replace(before, coordinates=places, lattices=cells)
    distances = [np.array(_slow_distances(crystals[0])) for crystals in (before, after)]
    images = np.array([v for v in product(range(-4, 5), repeat=3) if any(v)])
    shortest = np.linalg.norm(images @ before.lattices[0], axis=1).min()
    length = max(shortest, float(np.cbrt(before.volumes[0])))
    expected = max(np.abs(distances[0] - distances[1]).max(initial=0.0), abs(scale - 1.0) * length)
    found = shape_change(before, after)[0]
    # Of the lattice vectors only the shortest is looked up here; the third is at most thrice.
    assert expected - 1e-9 <= found <= max(expected, 3 * abs(scale - 1.0) * shortest * 2) + 1e-9


def test_what_is_no_crystal_is_infinitely_far():
    crystals = Crystals.concatenate([_one([8, 3])] * 5)
    lattices, coordinates = crystals.lattices.copy(), crystals.coordinates.copy()
    lattices[0, 0, 0] = np.nan
    lattices[1, 2] = lattices[1, 1]
    coordinates[5] = np.inf
    species = crystals.species.copy()
    species[6] = 9
    other = replace(crystals, species=species, lattices=lattices, coordinates=coordinates)
    assert shape_change(crystals, other).tolist() == [np.inf] * 4 + [0.0]
    assert shape_change(other, crystals).tolist() == [np.inf] * 4 + [0.0]
