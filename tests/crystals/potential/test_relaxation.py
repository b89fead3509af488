"""Relaxation: to the minimum that ASE finds, within its limits, and never a crash."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.formats import to_ase
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential.features import energy_function, foundation_features
from variolite.crystals.potential.potential import AsePotential, Forces, load_potential
from variolite.crystals.potential.relaxation import RelaxationLimits, relax, relax_together
from variolite.errors import DataError

TEXTBOOK = textbook_crystals()


class Springs:
    """Every atom hangs on a spring at a place of its own; the cell likes a volume per atom.

    E = k/2 sum |x - x0|^2 + s/2 n (v - v0)^2 with v the volume per atom; the springs move with
    the cell, so that they exert no stress.
    """

    device = torch.device("meta")  # Relaxed as on a CPU, like every device of unknown size.

    def forces(self, crystals):
        stiffness, resistance, volume = 2.0, 0.03, 20.0
        owner, counts = crystals.owner, crystals.counts
        away = np.einsum("ni,nij->nj", crystals.coordinates - 0.5, crystals.lattices[owner])
        per_atom = crystals.volumes / counts
        energies = 0.5 * resistance * (per_atom - volume) ** 2
        energies += 0.5 * stiffness * np.bincount(owner, (away**2).sum(1)) / counts
        stress = resistance * (per_atom - volume)[:, None, None] * np.eye(3)
        reasons = np.full(len(counts), "", dtype="<U64")
        # Hydrogen is refused always, helium once its springs have pulled it half the way.
        reasons[owner[crystals.species == 1]] = "hydrogen"
        near = np.linalg.norm(away, axis=1) < 0.5
        reasons[owner[(crystals.species == 2) & near]] = "helium"
        energies[reasons != ""] = np.nan
        return Forces(energies, -stiffness * away, stress, reasons)


def lone(species, away=0.0, edge=20 ** (1 / 3)):
    place = np.array([[0.5 + away / edge, 0.5, 0.5]])
    return Crystal(np.array([species], np.uint8), place, np.eye(3) * edge, f"Z={species}")


def relaxed(*crystals, **limits):
    return relax_together(Springs(), Crystals.of(crystals), RelaxationLimits(**limits))


def test_the_minimum_of_springs_is_found():
    far = lone(6, 1.0, 3.0)
    found = relaxed(far, lone(7, 0.4, 2.5), lone(8), force=1e-4, steps=1000)
    assert found.converged.all()
    assert found.reasons.tolist() == ["", "", ""]
    np.testing.assert_allclose(found.crystals.coordinates, 0.5, atol=1e-4)
    np.testing.assert_allclose(found.crystals.volumes, 20.0, atol=0.01)
    np.testing.assert_allclose(found.energies, 0.0, atol=1e-6)
    np.testing.assert_allclose(found.energies_before[0], 0.5 * 2 * 1.0**2 + 0.5 * 0.03 * 7**2)
    assert found.steps[2] == 1
    assert found.crystals.names.tolist() == ["Z=6", "Z=7", "Z=8"]
    # A fixed cell stays.
    fixed = relaxed(far, force=1e-3, steps=500, cell=False)
    assert fixed.converged.all()
    np.testing.assert_array_equal(fixed.crystals.lattices[0], far.lattice)
    np.testing.assert_allclose(fixed.crystals.coordinates, 0.5, atol=1e-3)
    # How far atoms moved is the root mean square without the drift.
    edge = 40 ** (1 / 3)
    away = np.array([[0.9, 0, 0], [0.3, 0, 0]])
    pair = Crystal(np.array([6, 6], np.uint8), 0.5 + away / edge, np.eye(3) * edge)
    moved = relaxed(pair, lone(6, 0.5), force=1e-5, steps=1000).moved
    np.testing.assert_allclose(moved, [0.3, 0.0], atol=1e-4)


def test_limits_of_steps_and_of_time():
    far = lone(6, 1.0, 3.0)
    found = relaxed(far, lone(6), steps=3)
    assert found.converged.tolist() == [False, True]
    assert found.steps.tolist() == [3, 1]
    assert found.reasons.tolist() == ["not converged in 3 steps", ""]
    assert found.energies[0] < found.energies_before[0]
    late = relaxed(far, seconds=1e-9)
    assert late.reasons[0] == "not converged in the time given"
    np.testing.assert_array_equal(late.crystals.coordinates, far.coordinates)
    for wrong in ({"steps": 0}, {"force": 0.0}, {"seconds": -1.0}):
        with pytest.raises(DataError, match="above 0"):
            RelaxationLimits(**wrong)


def test_the_untreatable_is_returned_as_far_as_it_came():
    hydrogen = lone(1, 1.0)
    found = relaxed(hydrogen, lone(6, 1.0), lone(2, 1.0), force=1e-3, steps=500)
    assert found.reasons.tolist() == ["hydrogen", "", "helium"]
    assert found.converged.tolist() == [False, True, False]
    np.testing.assert_array_equal(found.crystals.coordinates[:1], hydrogen.coordinates)
    assert np.isnan([found.energies_before[0], found.energies[0]]).all()
    away = (found.crystals.coordinates[2, 0] - 0.5) * hydrogen.lattice[0, 0]
    assert 0.5 <= away < 0.9
    assert found.energies[2] == pytest.approx(away**2, abs=1e-3)
    assert found.steps[0] == 0


def test_order_is_kept_over_sizes_and_batches(monkeypatch):
    monkeypatch.setattr("variolite.crystals.potential.relaxation.PART_ATOMS", {"cpu": 10})
    crystals = TEXTBOOK.take(slice(0, 20))
    lines: list[str] = []
    found = relax(crystals, Springs(), limits=RelaxationLimits(steps=2), log=lines.append)
    assert found.crystals.names.tolist() == crystals.names.tolist()
    np.testing.assert_array_equal(found.crystals.species, crystals.species)
    expected = Springs().forces(crystals).energies
    np.testing.assert_allclose(found.energies_before[expected > 0], expected[expected > 0])
    assert lines[-1].startswith("relaxing: 20 of 20")
    nothing = relax(Crystals.of([]), Springs())
    assert len(nothing.crystals) == len(nothing.energies) == len(nothing.moved) == 0


def test_the_same_minimum_as_ase():
    """Rock salt, diamond and a perovskite, shaken by .05 Angstrom and strained by 3 %."""
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    from ase.calculators.calculator import Calculator
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    potential = load_potential("chgnet")
    wanted = ["NaCl (rock salt)", "C (diamond)", "SrTiO3 (perovskite)"]
    chosen = TEXTBOOK.take(np.isin(TEXTBOOK.names, wanted))
    source = np.random.default_rng(0)
    lattices = chosen.lattices @ (np.eye(3) + source.normal(scale=0.03, size=(3, 3, 3)))
    steps = source.normal(scale=0.05, size=(len(chosen.species), 3))
    moved = np.einsum("ni,nij->nj", steps, np.linalg.inv(lattices)[chosen.owner])
    shaken = replace(chosen, coordinates=chosen.coordinates + moved, lattices=lattices)

    class Wrapped(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            places = self.atoms.get_scaled_positions(wrap=False)
            numbers = self.atoms.numbers.astype(np.uint8)
            found = potential.forces(Crystals.of([Crystal(numbers, places, self.atoms.cell[:])]))
            stress = found.stresses[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            energy = float(found.energies[0] * len(numbers))
            self.results = {"energy": energy, "forces": found.forces, "stress": stress}

    limits = RelaxationLimits(force=0.01, steps=200)
    ours = relax_together(potential, shaken, limits)
    assert ours.converged.all()
    assert (ours.energies < ours.energies_before).all()
    np.testing.assert_allclose(energy_function()(shaken), ours.energies_before, atol=1e-5)
    forces = potential.forces(ours.crystals)
    assert np.linalg.norm(forces.forces, axis=1).max() < limits.force
    np.testing.assert_allclose(forces.energies, ours.energies, atol=1e-5)
    for place, crystal in enumerate(shaken):
        atoms = to_ase(crystal)
        atoms.calc = Wrapped()
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=limits.force, steps=300)
        theirs = atoms.get_potential_energy() / len(atoms)
        assert ours.energies[place] == pytest.approx(theirs, abs=5e-4)
        assert ours.crystals.volumes[place] == pytest.approx(atoms.get_volume(), rel=6e-3)


def test_a_calculator_of_ase_is_a_potential(tmp_path):
    from ase.calculators.emt import EMT

    def face_centred(species, edge):
        lattice = 0.5 * edge * (1 - np.eye(3))
        return Crystal(np.array([species], np.uint8), np.zeros((1, 3)), lattice)

    def features(atoms):
        return np.stack([atoms.numbers, np.full(len(atoms), atoms.get_volume())], axis=1)

    potential = AsePotential(EMT(), name="emt", version="1", width=2, features=features)
    crystals = Crystals.of([face_centred(29, 3.6), face_centred(92, 5.0), face_centred(13, 4.0)])
    found = foundation_features(crystals, potential, folder=tmp_path)
    np.testing.assert_allclose(found.features[0], [29, 3.6**3 / 4], rtol=1e-3)
    assert found.reasons[0] == found.reasons[2] == ""
    assert found.reasons[1].startswith("NotImplementedError")
    assert np.isnan([*found.features[1], found.energies[1]]).all()
    assert (tmp_path / "emt-1").is_dir()
    forces = potential.forces(crystals)
    np.testing.assert_allclose(forces.energies, found.energies)
    assert np.isnan(forces.stresses[1]).all()
    edges = Crystals.of([face_centred(29, 3.6 * (1 + step)) for step in (1e-4, -1e-4)])
    up, down = potential.predict(edges).energies
    expected = (up - down) / 2e-4 / (3.6**3 / 4)
    assert np.trace(forces.stresses[0]) == pytest.approx(expected, rel=1e-3)
    start = Crystals.of([face_centred(29, 3.8)])
    copper = relax(start, potential, limits=RelaxationLimits(force=1e-3, steps=500))
    assert copper.converged.all()
    # Effective medium theory puts copper at 3.59 Angstrom.
    assert float(4 * copper.crystals.volumes[0]) ** (1 / 3) == pytest.approx(3.59, abs=0.01)
    many = start.take(np.zeros(600, dtype=int))
    with pytest.raises(DataError, match="one process"):
        relax(many, potential, workers=2, limits=RelaxationLimits(steps=1))
