"""CHGNet: equal to its own package, derivatives of its energy, invariances, and refusals."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential import chgnet as chgnet_module
from variolite.crystals.potential.potential import Potential, load_potential
from variolite.errors import DataError

pytest.importorskip("chgnet", reason="the package chgnet is not installed")

GIGAPASCAL = 160.21766208
"""One eV per cubic Angstrom."""


@pytest.fixture(scope="module")
def potential() -> Potential:
    return load_potential("chgnet")


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    """Textbook crystals with their atoms shaken, so that no force is zero by symmetry."""
    chosen = textbook_crystals().take(slice(0, 78, 6))
    shaken = np.random.default_rng(0).normal(scale=0.01, size=chosen.coordinates.shape)
    strained = chosen.lattices @ (np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0, -1, 0], [0, 0, 1]]))
    return replace(chosen, coordinates=chosen.coordinates + shaken, lattices=strained)


def test_equal_to_the_package_itself(potential: Potential, crystals: Crystals) -> None:
    with warnings.catch_warnings():
        # Its import and its batches warn of escape sequences and of scalars with gradients.
        warnings.simplefilter("ignore")
        from chgnet.model import CHGNet

        model = CHGNet.load(use_device="cpu", verbose=False)
        theirs = [
            model.predict_structure(to_pymatgen(crystal), task="efs", return_atom_feas=True)
            for crystal in crystals
        ]
    ours = potential.predict(crystals)
    forces = potential.forces(crystals)
    assert ours.failures == {}
    energies = np.array([each["e"] for each in theirs])
    np.testing.assert_allclose(ours.energies, energies, atol=2e-5)
    np.testing.assert_allclose(forces.energies, energies, atol=2e-5)
    np.testing.assert_allclose(
        ours.features, np.concatenate([each["atom_fea"] for each in theirs]), atol=2e-3
    )
    np.testing.assert_allclose(
        forces.forces, np.concatenate([each["f"] for each in theirs]), atol=2e-3
    )
    np.testing.assert_allclose(
        forces.stresses * GIGAPASCAL, np.stack([each["s"] for each in theirs]), atol=2e-2
    )


def test_forces_and_stress_are_derivatives_of_the_energy(potential: Potential) -> None:
    names = textbook_crystals().names.tolist()
    found = textbook_crystals().take(np.array([names.index("SrTiO3 (perovskite)")]))
    crystal = replace(
        found, coordinates=found.coordinates + [[0.02, 0, 0.01]] + np.eye(5, 3) * 0.02
    )
    forces = potential.forces(crystal)
    step = 0.01

    def energy(change: Callable[[float], Crystals]) -> float:
        up, down = potential.energies(Crystals.concatenate([change(step), change(-step)]))
        return float(up - down) * len(crystal.species) / (2 * step)

    def moved(atom: int, axis: int) -> Callable[[float], Crystals]:
        direction = np.zeros((5, 3))
        direction[atom, axis] = 1.0
        fractional = direction @ np.linalg.inv(crystal.lattices[0])
        return lambda by: replace(crystal, coordinates=crystal.coordinates + by * fractional)

    def strained(i: int, j: int) -> Callable[[float], Crystals]:
        strain = np.zeros((3, 3))
        strain[i, j] = 1.0
        return lambda by: replace(crystal, lattices=crystal.lattices @ (np.eye(3) + by * strain))

    for atom, axis in ((0, 0), (1, 2), (4, 1)):
        assert -energy(moved(atom, axis)) == pytest.approx(forces.forces[atom, axis], abs=0.02)
    volume = crystal.volumes[0]
    for i, j in ((0, 0), (1, 1), (0, 2)):
        assert energy(strained(i, j)) / volume == pytest.approx(forces.stresses[0, i, j], abs=3e-3)


def test_features_do_not_depend_on_how_a_crystal_is_written(potential: Potential) -> None:
    crystal = textbook_crystals()[20]
    source = np.random.default_rng(1)
    rotation = np.linalg.qr(source.normal(size=(3, 3)))[0]
    order = source.permutation(len(crystal))
    cell = np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]])
    written = Crystal(
        crystal.species[order],
        (crystal.coordinates[order] + [0.3, -1.7, 5.1]) @ np.linalg.inv(cell),
        cell @ crystal.lattice @ rotation,
    )
    first, second = (potential.predict(Crystals.of([each])) for each in (crystal, written))
    np.testing.assert_allclose(second.features, first.features[order], atol=2e-3)
    np.testing.assert_allclose(second.energies, first.energies, atol=2e-5)


def test_batches_do_not_change_a_crystal(
    potential: Potential, crystals: Crystals, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = potential.predict(crystals)
    monkeypatch.setitem(chgnet_module.ATOMS_AT_ONCE, "cpu", 1)
    alone = potential.predict(crystals)
    monkeypatch.setitem(chgnet_module.ATOMS_AT_ONCE, "cpu", 10_000)
    monkeypatch.setitem(chgnet_module.ANGLES_AT_ONCE, "cpu", 500)
    halved = potential.predict(crystals)
    for other in (alone, halved):
        np.testing.assert_allclose(other.energies, together.energies, atol=1e-5)
        np.testing.assert_allclose(other.features, together.features, atol=1e-3)


def test_one_thread_is_used_and_the_setting_put_back(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    evaluate = chgnet_module.Network.__call__

    def watched(*given: object) -> object:
        seen.append(torch.get_num_threads())
        return evaluate(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(chgnet_module.Network, "__call__", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        potential.predict(textbook_crystals().take(slice(0, 2)))
        potential.forces(textbook_crystals().take(slice(0, 2)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def lone(species: int, edge: float, *, twice: bool = False) -> Crystal:
    atoms = 1 + twice
    return Crystal(np.full(atoms, species, np.uint8), np.zeros((atoms, 3)), np.eye(3) * edge)


def test_what_cannot_be_treated_is_nan_with_its_reason(potential: Potential) -> None:
    sound = textbook_crystals()[3]
    dense = Crystal(
        np.full(30, 6, np.uint8), np.random.default_rng(0).random((30, 3)), np.eye(3) * 2.5
    )
    given = Crystals.of(
        [
            lone(18, 9.0),
            sound,
            lone(84, 3.3),
            lone(100, 3.0),
            dense,
            lone(29, 3.0, twice=True),
            sound,
        ]
    )
    found = potential.predict(given)
    assert found.reasons.tolist() == [
        "an atom has no neighbour within 6 Angstrom",
        "",
        "an element CHGNet does not know",
        "an element CHGNet does not know",
        "over 60 atoms within 3 Angstrom of one",
        "two atoms in one place",
        "",
    ]
    assert found.failures["an element CHGNet does not know"] == 2
    failed = found.reasons != ""
    assert np.isnan(found.energies).tolist() == failed.tolist()
    rows = np.isnan(found.features)
    assert rows.all(1).tolist() == rows.any(1).tolist() == failed[given.owner].tolist()
    alone = potential.predict(Crystals.of([sound]))
    np.testing.assert_allclose(found.energies[[1, 6]], alone.energies[0], atol=1e-5)
    forces = potential.forces(given)
    assert forces.reasons.tolist() == found.reasons.tolist()
    assert np.isnan(forces.forces).all(1).tolist() == failed[given.owner].tolist()
    assert np.isnan(forces.stresses).all((1, 2)).tolist() == failed.tolist()


def test_nothing_in_gives_nothing_out(potential: Potential) -> None:
    found = potential.predict(Crystals.of([]))
    assert found.features.shape == (0, 64)
    assert found.energies.shape == (0,)
    assert potential.features(Crystals.of([])).shape == (0, 64)


def test_unknown_and_unavailable_potentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="did you mean chgnet"):
        load_potential("chgnett")
    with pytest.raises(DataError, match="wrap a calculator"):
        load_potential("mace")
    with pytest.raises(DataError, match="does not run on the device meta"):
        load_potential("chgnet", device="meta")
    monkeypatch.setattr(chgnet_module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'variolite\[crystals\]'"):
        load_potential("chgnet")
