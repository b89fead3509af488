"""Crystals near a symmetry find it; others stay as they are."""

import numpy as np
import pytest

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation.symmetrise import symmetrised
from variolite.errors import DataError


@pytest.mark.parametrize("conventional", [False, True])
def test_textbook_crystals_find_back(conventional):
    crystals = textbook_crystals(conventional=conventional)
    crystals = crystals.take(crystals.counts <= 16)
    # Atoms moved by 0.01 Angstrom and cells strained by 0.01 %, in a turned cell.
    random, made = np.random.default_rng(0), []
    change = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
    for crystal in crystals:
        strain = np.eye(3) + random.normal(0.0, 1e-4, (3, 3))
        moved = random.normal(0.0, 0.01, crystal.coordinates.shape) @ np.linalg.inv(crystal.lattice)
        sites = (crystal.coordinates + moved + random.random(3)) @ np.linalg.inv(change)
        made.append(Crystal(crystal.species, sites % 1.0, change @ crystal.lattice @ strain))
    off = Crystals.of(made)
    found, numbers = symmetrised(off, 0.15)
    groups = [space_groups(some, symprec=1e-3)[0] for some in (off, found, crystals)]
    assert (groups[0] <= 2).mean() > 0.7
    assert (groups[1] == groups[2]).all()
    np.testing.assert_array_equal(numbers, groups[2])
    np.testing.assert_array_equal(found.species, off.species)
    np.testing.assert_allclose(found.volumes, off.volumes, rtol=2e-3)
    apart = found.coordinates - off.coordinates
    apart -= np.rint(apart)
    # Where the crystal as a whole lies has no meaning: its mean displacement is taken off.
    apart -= (np.add.reduceat(apart, off.offsets[:-1]) / off.counts[:, None])[off.owner]
    moved = np.linalg.norm(np.einsum("ni,nij->nj", apart, off.lattices[off.owner]), axis=1)
    assert moved.max() < 0.06


def test_exact_crystals_and_those_without_symmetry_stay():
    crystals = textbook_crystals()
    found, _ = symmetrised(crystals, 0.01)
    apart = found.coordinates - crystals.coordinates
    np.testing.assert_allclose(apart - np.rint(apart), 0.0, atol=1e-6)
    after, before = (c.lattices @ c.lattices.transpose(0, 2, 1) for c in (found, crystals))
    np.testing.assert_allclose(after, before, atol=1e-6)
    sites, cell = np.random.default_rng(1).random((2, 3, 3))
    odd = Crystals.of([Crystal(np.array([3, 8, 9], np.uint8), sites, cell + 4 * np.eye(3))])
    np.testing.assert_array_equal(symmetrised(odd, 0.01)[0].coordinates, odd.coordinates)
    assert len(symmetrised(crystals.take(slice(0, 0)), 0.1)[0]) == 0
    with pytest.raises(DataError, match="not positive"):
        symmetrised(crystals, 0.0)
