"""The search for close atoms against a slow search over many images."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from crystal_cases import SEEDS, crystals_of
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.periodic import close_pairs

IMAGES = np.array(list(product(range(-4, 5), repeat=3)), dtype=float)


def slow_distance(crystal: Crystal) -> float:
    """The shortest distance of all, over 729 images."""
    difference = crystal.coordinates[:, None] - crystal.coordinates
    difference -= np.rint(difference)
    every = (difference[:, :, None] + IMAGES) @ crystal.lattice
    distances = np.linalg.norm(every, axis=-1)
    # The image of an atom on itself is none.
    distances[np.arange(len(crystal)), np.arange(len(crystal)), len(IMAGES) // 2] = np.inf
    return float(distances.min())


@given(SEEDS, st.floats(0.3, 4.0))
def test_the_closest_pair_is_found(seed: int, within: float) -> None:
    """With reaches up to the size of the cells, so that both ways of searching are taken."""
    rng = np.random.default_rng(seed)
    crystals = crystals_of(seed, count=4)
    lattices = crystals.lattices.copy()
    lattices[0, 1] += rng.integers(0, 3) * lattices[0, 0]
    coordinates = rng.uniform(-2, 2, crystals.coordinates.shape)
    crystals = replace(crystals, coordinates=coordinates, lattices=lattices)
    found = close_pairs(crystals, np.arange(4), within)
    expected = np.array([slow_distance(crystal) for crystal in crystals])
    near = np.flatnonzero(expected < within)
    np.testing.assert_array_equal(found.structure, near)
    np.testing.assert_allclose(found.distance, expected[near], 1e-9)
    for place, i, j, distance in zip(
        found.structure, found.first, found.second, found.distance, strict=True
    ):
        x = crystals[place].coordinates
        images = (x[i] - x[j] - np.rint(x[i] - x[j]) + IMAGES) @ lattices[place]
        assert np.abs(np.linalg.norm(images, axis=1) - distance).min() < 1e-9


def test_only_the_chosen_structures_are_searched() -> None:
    crystals = textbook_crystals()
    everything = close_pairs(crystals, np.arange(78), 2.0).structure
    some = close_pairs(crystals, np.arange(0, 78, 2), 2.0).structure
    np.testing.assert_array_equal(some, everything[everything % 2 == 0])
    assert len(close_pairs(crystals, np.arange(78), 0.5).structure) == 0
    assert len(close_pairs(crystals, np.arange(0), 2.0).structure) == 0
    # The worst case in memory: every pair is close.
    heap = Crystal(np.full(512, 6, dtype=np.uint8), np.zeros((512, 3)), np.eye(3) * 20)
    assert close_pairs(Crystals.of([heap]), np.arange(1), 0.5).distance.tolist() == [0.0]
