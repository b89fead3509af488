"""Bonds against a plain search over images, angles against a plain loop, by any cell."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential.chgnet import angles_between, bond_vectors, find_bonds, rejected

CUTOFF = 4.0


def random_crystal(seed: int, atoms: int) -> Crystal:
    """A cell that may be badly skewed, with atoms anywhere, also outside it."""
    source = np.random.default_rng(seed)
    while True:
        lattice = source.normal(size=(3, 3)) * 3 + np.diag([4, 4, 4])
        if abs(np.linalg.det(lattice)) > 30:
            break
    return Crystal(
        np.full(atoms, 6, np.uint8), source.uniform(-2, 3, (atoms, 3)), lattice, str(seed)
    )


def plain_bonds(crystal: Crystal, cutoff: float) -> set[tuple[int, int, int, int, int]]:
    """Every directed bond, by trying far more images than can matter."""
    inverse = np.linalg.inv(crystal.lattice)
    found = set()
    for i, j in itertools.product(range(len(crystal)), repeat=2):
        apart = crystal.coordinates[j] - crystal.coordinates[i]
        reach = cutoff * np.linalg.norm(inverse, axis=0) + 1
        ranges = [
            range(int(np.floor(-r - d)), int(np.ceil(r - d)) + 1)
            for r, d in zip(reach, apart, strict=True)
        ]
        for image in itertools.product(*ranges):
            if i == j and not any(image):
                continue
            if np.linalg.norm((apart + image) @ crystal.lattice) <= cutoff:
                found.add((i, j, *image))
    return found


def tensors(crystals: Crystals) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.from_numpy(crystals.coordinates),
        torch.from_numpy(crystals.lattices),
        torch.from_numpy(crystals.owner),
    )


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 4)), min_size=1, max_size=3))
def test_bonds_are_those_of_a_plain_search(made: list[tuple[int, int]]) -> None:
    crystals = Crystals.of(random_crystal(seed, atoms) for seed, atoms in made)
    coordinates, lattices, owner = tensors(crystals)
    bonds = find_bonds(coordinates, lattices, owner, CUTOFF)
    vectors = bond_vectors(bonds, coordinates, lattices, owner)
    np.testing.assert_allclose(vectors.norm(dim=1).numpy(), bonds.length.numpy(), atol=1e-9)
    assert (owner[bonds.first].diff() >= 0).all()
    for place, crystal in enumerate(crystals):
        start = int(crystals.offsets[place])
        own = owner[bonds.first] == place
        one_way = {
            (int(i) - start, int(j) - start, *map(int, s))
            for i, j, s in zip(bonds.first[own], bonds.second[own], bonds.image[own], strict=True)
        }
        other_way = {(j, i, -a, -b, -c) for i, j, a, b, c in one_way}
        assert len(one_way) == int(own.sum())
        assert not one_way & other_way
        assert one_way | other_way == plain_bonds(crystal, CUTOFF)


@given(st.lists(st.integers(0, 6), max_size=30))
def test_angles_are_all_ordered_pairs_at_an_atom(centres: list[int]) -> None:
    left, right = angles_between(torch.tensor(centres, dtype=torch.int64), 7)
    expected = [
        (a, b)
        for a, b in itertools.product(range(len(centres)), repeat=2)
        if a != b and centres[a] == centres[b]
    ]
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_coordination_numbers_of_the_textbook() -> None:
    crystals = textbook_crystals()
    names = crystals.names.tolist()
    for name, neighbours, cutoff in (("Cu (fcc)", 12, 2.7), ("NaCl (rock salt)", 6, 2.9)):
        alone = crystals.take(np.array([names.index(name)]))
        bonds = find_bonds(*tensors(alone), cutoff)
        degree = torch.bincount(torch.cat([bonds.first, bonds.second]))
        assert set(degree.tolist()) == {neighbours}


@pytest.mark.parametrize(
    ("lattice", "coordinate", "reason"),
    [
        (np.zeros((3, 3)), 0.0, "the cell has no volume"),
        (np.full((3, 3), np.nan), 0.0, "the cell has no volume"),
        (np.diag([4.0, 4.0, np.inf]), 0.0, "the cell has no volume"),
        (np.eye(3) * 4, np.nan, "a coordinate is not a number"),
        (np.diag([1e-6, 100.0, 100.0]), 0.0, "the cell is too flat or too dense"),
        (np.eye(3) * 4, 0.0, ""),
    ],
)
def test_what_cannot_have_bonds_is_rejected(
    lattice: np.ndarray, coordinate: float, reason: str
) -> None:
    broken = Crystal(np.array([6], np.uint8), np.full((1, 3), coordinate), lattice, "broken")
    sound = textbook_crystals()[0]
    assert rejected(Crystals.of([sound, broken]), 6.0).tolist() == ["", reason]
