"""Paths between crystals: their ends, their speed, and the pairing of atoms."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.generation.interpolation import (
    PATHS,
    interpolate,
    latent_changes,
    match_atoms,
)
from variolite.errors import DataError


def backwards(crystal: Crystal) -> Crystal:
    return Crystal(crystal.species[::-1], crystal.coordinates[::-1], crystal.lattice)


def shortest(first: np.ndarray, second: np.ndarray) -> float:
    """Sum of the squared distances of the best of all pairings."""
    orders = permutations(range(len(first)))
    return min(float(((first - second[list(order)]) ** 2).sum()) for order in orders)


@given(st.integers(1, 5), st.integers(0, 1000))
def test_the_pairing_is_the_shortest_of_all(size: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, size, 3))
    partner = match_atoms(first, second)
    assert ((first - second[partner]) ** 2).sum() == pytest.approx(shortest(first, second))
    line = np.array([[0.0], [1.0]])
    assert match_atoms(line, line).tolist() == [0, 1]
    # Forbidden pairs are not made.
    assert match_atoms(line, line, np.array([[False, True], [True, False]])).tolist() == [1, 0]


@given(st.sampled_from(sorted(PATHS)), st.integers(0, 1000), st.floats(0.0, 1.0))
def test_paths_join_their_ends(path: str, seed: int, share: float) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 4, 3))
    way = PATHS[path]
    np.testing.assert_allclose(way(first, second, 0.0), first, atol=1e-9)
    np.testing.assert_allclose(way(first, second, 1.0), second, atol=1e-9)
    np.testing.assert_allclose(way(first, second, share), way(second, first, 1.0 - share))


def test_a_turn_has_constant_speed_and_length() -> None:
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    points = np.concatenate([PATHS["spherical"](first, second, s) for s in np.linspace(0, 1, 5)])
    angles = np.arctan2(points[:, 1], points[:, 0])
    np.testing.assert_allclose(angles, np.linspace(0, np.pi / 2, 5), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 2.0)
    assert np.isfinite(PATHS["spherical"](first, -first, 0.5)).all()


def test_a_path_of_crystals_starts_and_ends_at_both(codec: Any, crystals: Crystals) -> None:
    fives = [crystal for crystal in crystals if len(crystal) == 5]
    first, second = (next(c for c in fives if z in c.species) for z in (3, 11))
    path = interpolate(codec, first, backwards(second), 7)
    assert path.names.tolist() == [f"path-{i}" for i in range(7)]
    assert path[0].species.tolist() == first.species.tolist()
    assert sorted(path[6].species.tolist()) == sorted(second.species.tolist())
    np.testing.assert_allclose(path.volumes[0], abs(np.linalg.det(first.lattice)), rtol=1e-4)
    assert (np.diff(path.volumes) > 0).all()
    straight = interpolate(codec, first, backwards(second), 2, path="linear")
    np.testing.assert_allclose(straight[1].coordinates, path[6].coordinates, atol=1e-5)


def test_what_cannot_be_joined(codec: Any, crystals: Crystals) -> None:
    five = next(c for c in crystals if len(c) == 5)
    two = next(c for c in crystals if len(c) == 2)
    other = next(c for c in crystals if len(c) == 2 and set(c.species) != set(two.species))
    given_species = replace(codec, species_given=True)
    with pytest.raises(DataError, match="5 atoms and the other 2"):
        interpolate(codec, five, two, 5)
    with pytest.raises(DataError, match="no two ends"):
        interpolate(codec, two, two, 1)
    with pytest.raises(DataError, match="no path 'round'"):
        interpolate(codec, two, two, 3, path="round")
    with pytest.raises(DataError, match="differ in composition"):
        interpolate(given_species, two, other, 3)
    assert len(interpolate(given_species, two, two, 3)) == 3


def test_changes_do_not_depend_on_the_order_of_atoms(codec: Any, crystals: Crystals) -> None:
    fives = [crystal for crystal in crystals if len(crystal) == 5][:3]
    turned = Crystals.of([fives[0], fives[1], backwards(fives[1]), fives[2]])
    changes, straight = (latent_changes(codec, c) for c in (turned, Crystals.of(fives)))
    assert changes[[0, 2]] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(changes[[1, 3]], straight[1:], rtol=1e-5)
    points = codec.encode(Crystals.of(fives[:2])).mean.reshape(2, 5, -1)
    assert straight[1] == pytest.approx(np.sqrt(shortest(*points) / 5), rel=1e-5)
