"""CHGNet: equal to its own package, invariances, and refusals.

Bonds are held against a plain search over images, angles against a plain loop, in any cell.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential import chgnet as chgnet_module
from variolite.crystals.potential.chgnet import Bonds, angles_between, find_bonds, rejected
from variolite.crystals.potential.potential import _chgnet, load_potential
from variolite.errors import DataError

GIGAPASCAL = 160.21766208  # one eV per cubic Angstrom
TEXTBOOK = textbook_crystals()


def random_crystal(seed, atoms):
    """A cell that may be badly skewed, with atoms anywhere, also outside it."""
    source = np.random.default_rng(seed)
    while True:
        lattice = source.normal(size=(3, 3)) * 3 + np.diag([4, 4, 4])
        if abs(np.linalg.det(lattice)) > 30:
            break
    return Crystal(np.full(atoms, 6, np.uint8), source.uniform(-2, 3, (atoms, 3)), lattice)


def plain_bonds(crystal, cutoff):
    """Every directed bond, by trying far more images than can matter."""
    reach = cutoff * np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0) + 1
    found = set()
    for i, j in itertools.product(range(len(crystal)), repeat=2):
        apart = crystal.coordinates[j] - crystal.coordinates[i]
        low, high = np.floor(-reach - apart).astype(int), np.ceil(reach - apart).astype(int)
        for image in itertools.product(*map(range, low, high + 1)):
            near = np.linalg.norm((apart + image) @ crystal.lattice) <= cutoff
            if near and (i != j or any(image)):
                found.add((i, j, *image))
    return found


def bonds_of(crystals, cutoff):
    arrays = crystals.coordinates, crystals.lattices, crystals.owner
    return find_bonds(*map(torch.from_numpy, arrays), cutoff)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 4)), min_size=1, max_size=3))
def test_bonds_are_those_of_a_plain_search(made):
    crystals = Crystals.of(random_crystal(seed, atoms) for seed, atoms in made)
    bonds = Bonds(*(part.numpy() for part in bonds_of(crystals, 4.0)))
    owner = crystals.owner[bonds.first]
    steps = crystals.coordinates[bonds.second] + bonds.image - crystals.coordinates[bonds.first]
    vectors = np.einsum("ei,eij->ej", steps, crystals.lattices[owner])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), bonds.length, atol=1e-9)
    assert (np.diff(owner) >= 0).all()
    for place, crystal in enumerate(crystals):
        start, own = crystals.offsets[place], owner == place
        ends = np.stack([bonds.first[own], bonds.second[own]], axis=1) - start
        rows = np.concatenate([ends, bonds.image[own]], axis=1).astype(int).tolist()
        one_way = {tuple(row) for row in rows}
        other_way = {(j, i, -a, -b, -c) for i, j, a, b, c in one_way}
        assert len(one_way) == int(own.sum())
        assert not one_way & other_way
        assert one_way | other_way == plain_bonds(crystal, 4.0)


@given(st.lists(st.integers(0, 6), max_size=30))
def test_angles_are_all_ordered_pairs_at_an_atom(centres):
    left, right = angles_between(torch.tensor(centres, dtype=torch.int64), 7)
    pairs = itertools.product(range(len(centres)), repeat=2)
    expected = [(a, b) for a, b in pairs if a != b and centres[a] == centres[b]]
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_what_has_bonds_and_what_cannot():
    for name, neighbours, cutoff in (("Cu (fcc)", 12, 2.7), ("NaCl (rock salt)", 6, 2.9)):
        bonds = bonds_of(TEXTBOOK.take(TEXTBOOK.names == name), cutoff)
        degree = torch.bincount(torch.cat([bonds.first, bonds.second]))
        assert set(degree.tolist()) == {neighbours}
    for edges, coordinate, reason in (
        ([0.0, 0.0, 0.0], 0.0, "the cell has no volume"),
        ([4.0, np.nan, 4.0], 0.0, "the cell has no volume"),
        ([4.0, 4.0, np.inf], 0.0, "the cell has no volume"),
        ([4.0, 4.0, 4.0], np.nan, "a coordinate is not a number"),
        ([1e-6, 100.0, 100.0], 0.0, "the cell is too flat or too dense"),
        ([4.0, 4.0, 4.0], 0.0, ""),
    ):
        broken = Crystal(np.array([6], np.uint8), np.full((1, 3), coordinate), np.diag(edges))
        assert rejected(Crystals.of([TEXTBOOK[0], broken])).tolist() == ["", reason]


@pytest.fixture(scope="module")
def potential():
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    return load_potential("chgnet")


@pytest.fixture(scope="module")
def crystals():
    """Textbook crystals with their atoms shaken, so that no force is zero by symmetry."""
    chosen = TEXTBOOK.take(slice(0, 78, 6))
    shaken = np.random.default_rng(0).normal(scale=0.01, size=chosen.coordinates.shape)
    strained = chosen.lattices @ (np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0, -1, 0], [0, 0, 1]]))
    return replace(chosen, coordinates=chosen.coordinates + shaken, lattices=strained)


# Its import and its batches warn of escape sequences and of scalars with gradients.
@pytest.mark.filterwarnings("ignore")
def test_equal_to_the_package_itself(potential, crystals):
    from chgnet.model import CHGNet

    model = CHGNet.load(use_device="cpu", verbose=False)
    structures = [to_pymatgen(crystal) for crystal in crystals]
    theirs = [model.predict_structure(s, task="efs", return_atom_feas=True) for s in structures]
    energies = np.array([each["e"] for each in theirs])
    features, forces = (np.concatenate([e[key] for e in theirs]) for key in ("atom_fea", "f"))
    stresses = np.stack([each["s"] for each in theirs])
    ours, derived = potential.predict(crystals), potential.forces(crystals)
    assert (ours.reasons == "").all()
    np.testing.assert_allclose(ours.energies, energies, atol=2e-5)
    np.testing.assert_allclose(derived.energies, energies, atol=2e-5)
    np.testing.assert_allclose(ours.features, features, atol=2e-3)
    np.testing.assert_allclose(derived.forces, forces, atol=2e-3)
    np.testing.assert_allclose(derived.stresses * GIGAPASCAL, stresses, atol=2e-2)


def test_neither_the_way_it_is_written_nor_batches_change_a_crystal(
    potential, crystals, monkeypatch
):
    crystal = TEXTBOOK[20]
    source = np.random.default_rng(1)
    rotation = np.linalg.qr(source.normal(size=(3, 3)))[0]
    order = source.permutation(len(crystal))
    cell = np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]])
    coordinates = (crystal.coordinates[order] + [0.3, -1.7, 5.1]) @ np.linalg.inv(cell)
    written = Crystal(crystal.species[order], coordinates, cell @ crystal.lattice @ rotation)
    first, second = (potential.predict(Crystals.of([each])) for each in (crystal, written))
    np.testing.assert_allclose(second.features, first.features[order], atol=2e-3)
    np.testing.assert_allclose(second.energies, first.energies, atol=2e-5)
    together = potential.predict(crystals)
    for atoms, angles in ((1, 200_000), (10_000, 500)):
        monkeypatch.setitem(chgnet_module.ATOMS_AT_ONCE, "cpu", atoms)
        monkeypatch.setitem(chgnet_module.ANGLES_AT_ONCE, "cpu", angles)
        other = potential.predict(crystals)
        np.testing.assert_allclose(other.energies, together.energies, atol=1e-5)
        np.testing.assert_allclose(other.features, together.features, atol=1e-3)


def test_one_thread_is_used_and_the_setting_put_back(potential, monkeypatch):
    seen, search, before = set(), chgnet_module.find_bonds, torch.get_num_threads()

    def watched(*given):
        seen.add(torch.get_num_threads())
        return search(*given)

    monkeypatch.setattr(chgnet_module, "find_bonds", watched)
    torch.set_num_threads(2)
    for answer in (potential.predict, potential.forces):
        answer(TEXTBOOK.take(slice(0, 2)))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert seen == {1}


def lone(species, edge, atoms=1):
    return Crystal(np.full(atoms, species, np.uint8), np.zeros((atoms, 3)), np.eye(3) * edge)


def test_what_cannot_be_treated_is_nan_with_its_reason(potential):
    sound = TEXTBOOK[3]
    sites = np.random.default_rng(0).random((30, 3))
    dense = Crystal(np.full(30, 6, np.uint8), sites, np.eye(3) * 2.5)
    broken = [lone(18, 9.0), sound, lone(84, 3.3), lone(100, 3.0), dense, lone(29, 3.0, 2), sound]
    given = Crystals.of(broken)
    found, forces = potential.predict(given), potential.forces(given)
    far, unknown = "an atom has no neighbour within 6 Angstrom", "an element CHGNet does not know"
    near, crowded = "two atoms in one place", "over 60 atoms within 3 Angstrom of one"
    assert found.reasons.tolist() == [far, "", unknown, unknown, crowded, near, ""]
    assert forces.reasons.tolist() == found.reasons.tolist()
    failed = found.reasons != ""
    for values, expected in (
        (found.energies, failed),
        (found.features.T, failed[given.owner]),
        (forces.forces.T, failed[given.owner]),
        (forces.stresses.reshape(7, 9).T, failed),
    ):
        assert (np.isnan(values) == expected).all()
    alone = potential.predict(Crystals.of([sound]))
    np.testing.assert_allclose(found.energies[[1, 6]], alone.energies[0], atol=1e-5)
    nothing = potential.predict(Crystals.of([]))
    assert (nothing.features.shape, nothing.energies.shape) == ((0, 64), (0,))


def test_unknown_and_unavailable_potentials_are_reported(monkeypatch):
    monkeypatch.setattr(chgnet_module, "find_spec", lambda name: None)
    _chgnet.cache_clear()
    for name, device, message in (
        ("chgnett", "cpu", "Did you mean chgnet"),
        ("mace", "cpu", "wrap a calculator"),
        ("chgnet", "meta", "does not run on the device meta"),
        ("chgnet", "cpu", r"pip install 'variolite\[crystals\]'"),
    ):
        with pytest.raises(DataError, match=message):
            load_potential(name, device=device)
