"""Crystals moved off their symmetry find back to it, whatever cell they are in."""

from __future__ import annotations

import numpy as np
import pytest

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation.symmetry import symmetrised
from variolite.errors import DataError


def disturbed(crystals: Crystals, size: float, seed: int = 0) -> Crystals:
    """Move atoms by ``size`` Angstrom and strain cells by as many per cent, in a turned cell."""
    random = np.random.default_rng(seed)
    made = []
    for crystal in crystals:
        strain = np.eye(3) + random.normal(0.0, size / 100.0, (3, 3))
        moved = random.normal(0.0, size, crystal.coordinates.shape)
        coordinates = crystal.coordinates + moved @ np.linalg.inv(crystal.lattice)
        change = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]], dtype=float)
        shift = random.random(3)
        made.append(
            Crystal(
                crystal.species,
                ((coordinates + shift) @ np.linalg.inv(change)) % 1.0,
                change @ crystal.lattice @ strain,
                crystal.name,
            )
        )
    return Crystals.of(made)


@pytest.mark.parametrize("conventional", [False, True])
def test_textbook_crystals_find_back(conventional: bool) -> None:
    crystals = textbook_crystals(conventional=conventional)
    crystals = crystals.take(crystals.counts <= 16)
    expected, _ = space_groups(crystals, symprec=1e-3)
    off = disturbed(crystals, 0.01)
    assert (space_groups(off, symprec=1e-3)[0] <= 2).mean() > 0.7
    found = symmetrised(off, 0.15)
    back, _ = space_groups(found, symprec=1e-3)
    assert (back == expected).all()
    np.testing.assert_array_equal(found.species, off.species)
    np.testing.assert_allclose(found.volumes, off.volumes, rtol=2e-3)
    apart = found.coordinates - off.coordinates
    apart -= np.rint(apart)
    # Where the crystal as a whole lies has no meaning: its mean displacement is taken off.
    mean = np.add.reduceat(apart, off.offsets[:-1]) / off.counts[:, None]
    apart -= mean[off.owner]
    moved = np.linalg.norm(np.einsum("ni,nij->nj", apart, off.lattices[off.owner]), axis=1)
    assert moved.max() < 0.06


def test_exact_crystals_and_those_without_symmetry_stay() -> None:
    crystals = textbook_crystals()
    found = symmetrised(crystals, 0.01)
    apart = found.coordinates - crystals.coordinates
    np.testing.assert_allclose(apart - np.rint(apart), 0.0, atol=1e-6)
    np.testing.assert_allclose(
        found.lattices @ found.lattices.transpose(0, 2, 1),
        crystals.lattices @ crystals.lattices.transpose(0, 2, 1),
        atol=1e-6,
    )
    random = np.random.default_rng(1)
    odd = Crystals.of(
        [
            Crystal(
                np.array([3, 8, 9], np.uint8),
                random.random((3, 3)),
                random.random((3, 3)) + 4 * np.eye(3),
            )
        ]
    )
    np.testing.assert_array_equal(symmetrised(odd, 0.01).coordinates, odd.coordinates)


def test_mistakes() -> None:
    with pytest.raises(DataError, match="not positive"):
        symmetrised(textbook_crystals(), 0.0)
    empty = textbook_crystals().take(slice(0, 0))
    assert len(symmetrised(empty, 0.1)) == 0
