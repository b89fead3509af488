"""Simulated uptakes against other ways to them: sums over pairs, an integral, the ideal gas."""

import numpy as np
import pytest

from variolite.crystals.crystals import Crystal, cell_parameters, lattices_from_parameters
from variolite.crystals.elements import MASSES, SYMBOLS
from variolite.frameworks.simulation.force_field import find_gas, lennard_jones
from variolite.frameworks.simulation.gcmc import (
    CUTOFF,
    Mean,
    Settings,
    block_error,
    equilibrated,
    load_raspalib,
    prepare,
    simulate,
)
from variolite.frameworks.simulation.supercell import compact_supercell, repeated

BOLTZMANN = 1.380649e-23
INTERNAL = 0.8314462618  # raspalib's unit of energy (10 J/mol) in terms of k times 1 K
COULOMB = 167100.9  # e^2 / (4 pi eps0 k) in K Angstrom
OBLIQUE = lattices_from_parameters([7.0, 8.0, 9.0, 75.0, 82.0, 100.0])[0]


@pytest.fixture(scope="module")
def raspalib():
    pytest.importorskip("raspalib", reason="the package raspalib is not installed")
    return load_raspalib()


def made_of(symbols, places, lattice):
    species = np.array([SYMBOLS.index(symbol) for symbol in symbols], np.uint8)
    return Crystal(species, np.array(places, dtype=float), np.array(lattice, dtype=float), "x")


def shifted(distances, first, second):
    epsilon, sigma = np.sqrt(first[0] * second[0]), (first[1] + second[1]) / 2
    at = lambda r: 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)  # noqa: E731
    return np.where(distances < CUTOFF, at(distances) - at(CUTOFF), 0.0)


def apart(difference, lattice):
    fractional = difference @ np.linalg.inv(lattice)
    return np.linalg.norm((fractional - np.round(fractional)) @ lattice, axis=-1)


def test_energies_are_those_of_sums_over_pairs(raspalib):
    # An oblique cell: angles, repetitions, mixing, units and the shift all enter.
    ewald = pytest.importorskip("pymatgen.analysis.ewald", reason="pymatgen is not installed")
    crystal = made_of(["Na", "Cl"], [[0.1, 0.2, 0.3], [0.6, 0.65, 0.8]], OBLIQUE)
    charges = np.array([0.4, -0.4])
    cells = compact_supercell(OBLIQUE, 2 * CUTOFF)
    system = prepare(crystal, cells, charges, Settings(pressure=3e5))
    run = raspalib.MonteCarlo(
        number_of_cycles=1, number_of_initialization_cycles=20, systems=[system], random_seed=1
    )
    run.setup()
    run.initialize()
    system = run.systems[0]
    energy = system.compute_total_energies()
    _, origin, lattice = repeated(crystal, cells)
    lattice = lattices_from_parameters(cell_parameters(lattice)[0])[0]
    assert system.simulation_box.volume == pytest.approx(np.linalg.det(lattice))

    points = np.array([atom.position for atom in system.atom_data])
    host, guests = points[: len(origin)], points[len(origin) :].reshape(-1, 3, 3)
    assert len(guests) > 3
    sites = find_gas("CO2").sites
    kinds = [(site.epsilon, site.sigma) for site in sites]
    hosts = [lennard_jones(SYMBOLS[element]) for element in crystal.species]
    with_host = sum(
        shifted(apart(guests[:, k, None] - host[origin == a], lattice), kinds[k], hosts[a]).sum()
        for k in range(3)
        for a in range(2)
    )
    first, second = np.triu_indices(len(guests), 1)
    between = sum(
        shifted(apart(guests[first, k] - guests[second, m], lattice), kinds[k], kinds[m]).sum()
        for k in range(3)
        for m in range(3)
    )
    assert energy.framework_molecule_vdw / INTERNAL == pytest.approx(with_host, rel=1e-4)
    assert energy.molecule_molecule_vdw / INTERNAL == pytest.approx(between, rel=1e-4)

    from pymatgen.core import Lattice, Structure

    def electrostatic(places, values):
        structure = Structure(
            Lattice(lattice), ["H"] * len(places), places, coords_are_cartesian=True
        )
        structure.add_oxidation_state_by_site(list(values))
        return ewald.EwaldSummation(structure, acc_factor=12).total_energy * 11604.518

    gas = np.array([site.charge for site in sites])
    inside = len(guests) * COULOMB * (2 * gas[0] * gas[1] / 1.16 + gas[0] * gas[2] / 2.32)
    whole = electrostatic(points, np.r_[charges[origin], np.tile(gas, len(guests))])
    expected = whole - electrostatic(host, charges[origin]) - inside
    assert energy.coulomb_energy() / INTERNAL == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("pressure", [2e5, 1e6])
def test_an_empty_box_holds_an_ideal_gas(raspalib, pressure):
    # One atom of helium stands for the framework; nitrogen is nearly ideal at 298 K.
    crystal = made_of(["He"], [[0.5, 0.5, 0.5]], 30.0 * np.eye(3))
    settings = Settings("N2", pressure, tolerance=0.02, cycles=20_000, seed=1)
    row = simulate(crystal, np.zeros(1), settings)
    molecules = pressure * 27_000e-30 / (BOLTZMANN * settings.temperature)
    expected = 1000 * molecules / MASSES[2]
    assert row["problem"] == ""
    assert row["uptake"] == pytest.approx(expected, rel=0.05)


def test_uptake_at_low_pressure_is_henrys(raspalib):
    # The integral of the Boltzmann factor over places and directions, in an oblique cell.
    lattice = OBLIQUE
    crystal = made_of(["Xe"], [[0.0, 0.0, 0.0]], lattice)
    settings = Settings("N2", 1e4, temperature=120.0, tolerance=0.03, cycles=20_000, seed=2)
    row = simulate(crystal, np.zeros(1), settings)
    source = np.random.default_rng(0)
    middle = source.random((40_000, 3)) @ lattice
    axis = source.normal(size=(40_000, 3))
    axis *= 0.55 / np.linalg.norm(axis, axis=1, keepdims=True)
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    host, nitrogen = lennard_jones("Xe"), (36.0, 3.31)
    energy = np.zeros(len(middle))
    for shift in shifts @ lattice:
        for end in (middle + axis, middle - axis):
            energy += shifted(np.linalg.norm(end - shift, axis=1), host, nitrogen)
    factor = np.exp(-energy / settings.temperature)
    volume = np.linalg.det(lattice) * 1e-30
    molecules = settings.pressure * volume * factor.mean() / (BOLTZMANN * settings.temperature)
    assert factor.mean() > 3  # it adsorbs
    assert row["problem"] == ""
    assert row["uptake"] == pytest.approx(1000 * molecules / MASSES[54], rel=0.12)


def test_the_same_seed_gives_the_same_uptake_and_a_limit_ends_a_run(raspalib):
    crystal = made_of(["Xe"], [[0.0, 0.0, 0.0]], OBLIQUE)
    settings = Settings("N2", 1e5, cycles=50, equilibration=5, tolerance=0.5)
    first, second = (simulate(crystal, np.zeros(1), settings) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    hurried = Settings("N2", 1e5, equilibration=1, tolerance=0.0, limit=1e-6)
    assert simulate(crystal, np.zeros(1), hurried)["problem"].startswith("not converged")


# How long a run has to be.


def test_the_error_of_a_mean_is_that_of_independent_runs():
    source = np.random.default_rng(0)
    series = source.normal(size=(200, 2000))
    for place in range(1, 2000):  # neighbours are alike: 19 cycles per independent value
        series[:, place] = 0.9 * series[:, place - 1] + np.sqrt(1 - 0.81) * series[:, place]
    true = series.mean(axis=1).std()
    found = np.array([block_error(one) for one in series])
    assert 0.9 * true < np.median(found) < 1.5 * true
    assert (found < 0.5 * true).mean() < 0.01
    assert block_error([3.0] * 100) == 0.0


def test_what_is_not_settled_is_left_out():
    source = np.random.default_rng(0)
    rise = np.minimum(np.arange(2000) / 400, 1.0) * 50
    start, settled = equilibrated(rise + source.normal(size=2000), 100)
    assert settled
    assert 350 < start < 500
    assert not equilibrated(np.arange(1000.0), 100)[1]
    found = Mean.of(rise + source.normal(size=2000), Settings(equilibration=100))
    assert found.value == pytest.approx(50, rel=0.01)
    assert found.is_enough
    assert not Mean.of(np.arange(1000.0), Settings(equilibration=100)).is_enough


# The supercell.


def test_supercells_are_wide_and_small():
    source = np.random.default_rng(0)
    for _ in range(20):
        lattice = np.diag(source.uniform(4, 30, 3)) + source.uniform(-4, 4, (3, 3))
        cells = compact_supercell(lattice, 25.0)
        heights = 1 / np.linalg.norm(np.linalg.inv(cells @ lattice), axis=0)
        assert heights.min() >= 25.0 - 1e-6
        plain = np.ceil(25.0 * np.linalg.norm(np.linalg.inv(lattice), axis=0) - 1e-9)
        assert 0 < round(np.linalg.det(cells)) <= plain.prod()
    # A primitive cell of a cube of 26: two of the four that edges of the cell would take.
    face_centred = 13.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    assert round(np.linalg.det(compact_supercell(face_centred, 26.0))) == 4
    assert np.prod(np.ceil(26.0 * np.linalg.norm(np.linalg.inv(face_centred), axis=0))) == 8


def test_a_supercell_holds_every_atom_once_in_the_same_surroundings():
    crystal = made_of(["Na", "Cl"], [[0.1, -0.2, 0.3], [1.6, 0.65, 0.8]], OBLIQUE)
    cells = compact_supercell(OBLIQUE, 20.0)
    places, origin, lattice = repeated(crystal, cells)
    count = round(np.linalg.det(cells))
    assert np.bincount(origin).tolist() == [count, count]
    points = places @ lattice
    near = [np.sort(apart(points - point, lattice))[:8] for point in points[origin == 0]]
    assert np.allclose(near, near[0])
    assert near[0][1] > 2.0  # none lies upon another
