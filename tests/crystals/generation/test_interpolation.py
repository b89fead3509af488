"""Paths between crystals: their ends, their speed, and the pairing of atoms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_crystals import ToyCodec

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.generation.interpolation import (
    PATHS,
    interpolate,
    latent_changes,
    match_atoms,
)
from variolite.errors import DataError


@given(st.integers(1, 5), st.integers(0, 1000))
def test_the_pairing_is_the_shortest_of_all(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, size, 3))
    partner = match_atoms(first, second)
    found = ((first - second[partner]) ** 2).sum()
    least = min(((first - second[list(order)]) ** 2).sum() for order in permutations(range(size)))
    assert found == pytest.approx(least)


def test_forbidden_pairs_are_not_made() -> None:
    first = np.array([[0.0], [1.0]])
    same = np.array([[False, True], [True, False]])
    assert match_atoms(first, first).tolist() == [0, 1]
    assert match_atoms(first, first, same).tolist() == [1, 0]


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
    opposite = PATHS["spherical"](first, -first, 0.5)
    assert np.isfinite(opposite).all()


def test_a_path_of_crystals_starts_and_ends_at_both(codec: ToyCodec, crystals: Crystals) -> None:
    fives = [crystal for crystal in crystals if len(crystal) == 5]
    first = next(c for c in fives if 3 in c.species)
    second = next(c for c in fives if 11 in c.species)
    turned = Crystal(second.species[::-1], second.coordinates[::-1], second.lattice)
    path = interpolate(codec, first, turned, 7)
    assert path.names.tolist() == [f"path-{i}" for i in range(7)]
    assert path[0].species.tolist() == first.species.tolist()
    assert sorted(path[6].species.tolist()) == sorted(second.species.tolist())
    np.testing.assert_allclose(path.volumes[0], abs(np.linalg.det(first.lattice)), rtol=1e-4)
    assert (np.diff(path.volumes) > 0).all()
    straight = interpolate(codec, first, turned, 2, path="linear")
    np.testing.assert_allclose(straight[1].coordinates, path[6].coordinates, atol=1e-5)


def test_what_cannot_be_joined(codec: ToyCodec, crystals: Crystals) -> None:
    five = next(c for c in crystals if len(c) == 5)
    two = next(c for c in crystals if len(c) == 2)
    other = next(c for c in crystals if len(c) == 2 and set(c.species) != set(two.species))
    with pytest.raises(DataError, match="5 atoms and the other 2"):
        interpolate(codec, five, two, 5)
    with pytest.raises(DataError, match="no two ends"):
        interpolate(codec, two, two, 1)
    with pytest.raises(DataError, match="no path 'round'"):
        interpolate(codec, two, two, 3, path="round")
    with pytest.raises(DataError, match="differ in composition"):
        interpolate(ToyCodec(species_given=True), two, other, 3)
    assert len(interpolate(ToyCodec(species_given=True), two, two, 3)) == 3


def test_changes_do_not_depend_on_the_order_of_atoms(codec: ToyCodec, crystals: Crystals) -> None:
    fives = [crystal for crystal in crystals if len(crystal) == 5][:3]
    turned = Crystal(fives[1].species[::-1], fives[1].coordinates[::-1], fives[1].lattice)
    changes = latent_changes(codec, Crystals.of([fives[0], fives[1], turned, fives[2]]))
    assert changes[[0, 2]] == pytest.approx(0.0, abs=1e-6)
    straight = latent_changes(codec, Crystals.of(fives))
    np.testing.assert_allclose(changes[[1, 3]], straight[1:], rtol=1e-5)
    points = codec.encode(Crystals.of(fives[:2])).mean.reshape(2, 5, -1)
    least = min(
        np.sqrt(((points[0] - points[1][list(order)]) ** 2).sum(axis=1).mean())
        for order in permutations(range(5))
    )
    assert straight[1] == pytest.approx(least, rel=1e-5)
