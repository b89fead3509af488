"""A calculator of ASE as a potential, with effective medium theory as the calculator."""

from pathlib import Path

import numpy as np
import pytest

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.potential.features import foundation_features
from variolite.crystals.potential.potential import AsePotential
from variolite.crystals.potential.relaxation import RelaxationLimits, relax
from variolite.errors import DataError

pytest.importorskip("ase", reason="the package ase is not installed")


@pytest.fixture
def potential() -> AsePotential:
    from ase import Atoms
    from ase.calculators.emt import EMT

    def features(atoms: Atoms) -> np.ndarray:
        return np.stack([atoms.numbers, np.full(len(atoms), atoms.get_volume())], axis=1)

    return AsePotential(EMT(), name="emt", version="1", width=2, features=features)


def face_centred(species: int, edge: float) -> Crystal:
    lattice = 0.5 * edge * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(np.array([species], np.uint8), np.zeros((1, 3)), lattice, f"Z={species}")


def test_energies_features_and_failures(potential: AsePotential, tmp_path: Path) -> None:
    crystals = Crystals.of([face_centred(29, 3.6), face_centred(92, 5.0), face_centred(13, 4.0)])
    found = foundation_features(crystals, potential, folder=tmp_path)
    np.testing.assert_allclose(found.features[0], [29, 3.6**3 / 4], rtol=1e-3)
    assert found.reasons[0] == found.reasons[2] == ""
    assert found.reasons[1].startswith("NotImplementedError")
    assert np.isnan(found.features[1]).all()
    assert np.isnan(found.energies[1])
    assert (tmp_path / "emt-1").is_dir()
    forces = potential.forces(crystals)
    np.testing.assert_allclose(forces.energies, found.energies)
    assert np.isnan(forces.stresses[1]).all()
    step = 1e-4
    up, down = potential.energies(
        Crystals.of([face_centred(29, 3.6 * (1 + step)), face_centred(29, 3.6 * (1 - step))])
    )
    expected = (up - down) / (2 * step) / (3.6**3 / 4)
    assert np.trace(forces.stresses[0]) == pytest.approx(expected, rel=1e-3)


def test_copper_relaxes_to_its_lattice_constant(potential: AsePotential) -> None:
    start = Crystals.of([face_centred(29, 3.8)])
    found = relax(start, potential, limits=RelaxationLimits(force=1e-3, steps=500))
    assert found.converged.all()
    # Effective medium theory puts copper at 3.59 Angstrom.
    assert float(4 * found.crystals.volumes[0]) ** (1 / 3) == pytest.approx(3.59, abs=0.01)


def test_an_object_cannot_work_in_several_processes(potential: AsePotential) -> None:
    crystals = Crystals.of([face_centred(29, 3.6)] * 600)
    with pytest.raises(DataError, match="one process"):
        relax(crystals, potential, workers=2, limits=RelaxationLimits(steps=1))
