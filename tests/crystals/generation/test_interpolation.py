"""Paths between crystals: their ends, their speed, and the pairing of atoms."""

from dataclasses import replace
from itertools import permutations

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


def backwards(crystal):
    return Crystal(crystal.species[::-1], crystal.coordinates[::-1], crystal.lattice)


def shortest(first, second):
    """Sum of the squared distances of the best of all pairings."""
    orders = permutations(range(len(first)))
    return min(float(((first - second[list(order)]) ** 2).sum()) for order in orders)


@given(st.integers(1, 5), st.integers(0, 1000))
def test_the_pairing_is_the_shortest_of_all(size, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, size, 3))
    partner = match_atoms(first, second)
    assert ((first - second[partner]) ** 2).sum() == pytest.approx(shortest(first, second))
    line = np.array([[0.0], [1.0]])
    # Forbidden pairs are not made.
    assert match_atoms(line, line, np.array([[False, True], [True, False]])).tolist() == [1, 0]


@given(st.sampled_from(sorted(PATHS)), st.integers(0, 1000), st.floats(0.0, 1.0))
def test_paths_join_their_ends_at_constant_speed(path, seed, share):
    first, second = np.random.default_rng(seed).normal(size=(2, 4, 3))
    way = PATHS[path]
    np.testing.assert_allclose(way(first, second, 0.0), first, atol=1e-9)
    np.testing.assert_allclose(way(first, second, 1.0), second, atol=1e-9)
    np.testing.assert_allclose(way(first, second, share), way(second, first, 1.0 - share))
    turn = PATHS["spherical"](np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]]), share)
    np.testing.assert_allclose(np.arctan2(turn[:, 1], turn[:, 0]), share * np.pi / 2, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(turn, axis=1), 2.0)
    assert np.isfinite(PATHS["spherical"](first, -first, share)).all()


def test_a_path_of_crystals_starts_and_ends_at_both(codec, crystals):
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
    # Changes of latents do not depend on the order of atoms.
    turned = Crystals.of([fives[0], fives[1], backwards(fives[1]), fives[2]])
    changes, steps = (latent_changes(codec, c) for c in (turned, Crystals.of(fives[:3])))
    assert changes[[0, 2]] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(changes[[1, 3]], steps[1:], rtol=1e-5)
    points = codec.encode(Crystals.of(fives[:2])).mean.reshape(2, 5, -1)
    assert steps[1] == pytest.approx(np.sqrt(shortest(*points) / 5), rel=1e-5)


def test_what_cannot_be_joined(codec, crystals):
    five, two = (next(c for c in crystals if len(c) == atoms) for atoms in (5, 2))
    other = next(c for c in crystals if len(c) == 2 and set(c.species) != set(two.species))
    given_species = replace(codec, species_given=True)
    for model, end, steps, path, message in (
        (codec, five, 5, "linear", "2 atoms and the other 5"),
        (codec, two, 1, "linear", "no two ends"),
        (codec, two, 3, "round", "no path 'round'"),
        (given_species, other, 3, "linear", "differ in composition"),
    ):
        with pytest.raises(DataError, match=message):
            interpolate(model, two, end, steps, path=path)
    assert len(interpolate(given_species, two, two, 3)) == 3
