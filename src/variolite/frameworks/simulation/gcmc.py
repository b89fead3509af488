"""Uptake of a gas by grand-canonical Monte Carlo in a rigid framework, with raspalib.

The gas is inserted, deleted, moved and turned at the chemical potential of the gas outside, by the
equation of state of Peng and Robinson. Lennard-Jones forces are cut off and shifted, charges are
summed after Ewald, as in the workflow of the authors of CRAFTED. A run begins with an empty
framework and adds cycles until the error of the mean is as small as asked.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import Crystal, cell_parameters
from variolite.crystals.elements import MASSES, SYMBOLS
from variolite.frameworks.simulation.force_field import find_gas, framework_model, lennard_jones
from variolite.frameworks.simulation.supercell import compact_supercell, repeated
from variolite.optional import load, require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CUTOFF = 12.8
"""Of Lennard-Jones forces in Angstrom; that of charges in real space is at least as large."""

MOVES = {
    "translation_probability": 0.25,
    "rotation_probability": 0.25,
    "swap_cbmc_probability": 0.5,
}
"""Share of each kind of move. A cycle has as many moves as there are molecules, at least 20."""

_TUNED_EVERY = 20  # cycles of equilibration after which the lengths of moves are adapted


@dataclass(frozen=True)
class Settings:
    """What is simulated, and how long: pressure in Pa, temperature in K, ``limit`` in seconds.

    At least ``equilibration`` cycles are left out of the mean. At most ``cycles`` are averaged,
    fewer, but not less than ``least``, when the error is below ``tolerance`` times the mean.
    """

    gas: str = "CO2"
    pressure: float = 1e5
    temperature: float = 298.0
    charges: str = "cif"
    cycles: int = 5000
    least: int = 500  # with fewer the error is often thought to be smaller than it is
    equilibration: int = 200
    tolerance: float = 0.05
    limit: float = 600.0
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """Return everything that a result depends on, as JSON can hold it."""
        return {
            **asdict(self),
            "force_field": f"{framework_model()} + {find_gas(self.gas).model}",
            "cutoff": CUTOFF,
            "lennard_jones": "shifted, no tail corrections, Lorentz-Berthelot",
            "moves": MOVES,
            "raspalib": version("raspalib"),
        }


def simulate(crystal: Crystal, charges: Floats, settings: Settings) -> dict[str, Any]:
    """Return uptake and its error in mol/kg, with what was done to find them.

    ``charges`` are those of its atoms in e, (n,). Where the error did not become small enough
    the row has a ``problem`` beside its uptake.
    """
    began = time.monotonic()
    cells = compact_supercell(crystal.lattice, 2 * CUTOFF)
    system = prepare(crystal, cells, charges, settings)
    found = Mean.of(sample(system, settings), settings)
    per_molecule = 1000.0 / system.framework_mass()  # mol/kg
    after = f"after {found.equilibration + found.cycles:,} cycles"
    if found.is_enough:
        problem = ""
    elif not found.settled:
        problem = f"not converged: still rising or falling {after}"
    elif found.error > settings.tolerance * found.value:
        problem = f"not converged: error {found.error / found.value:.0%} {after}"
    else:
        problem = f"not converged: only {found.cycles:,} cycles in {settings.limit:g} s"
    count = round(abs(np.linalg.det(cells)))
    return {
        "uptake": per_molecule * found.value,
        "error": per_molecule * found.error,
        "problem": problem,
        "cells": count,
        "atoms": count * len(crystal),
        "equilibration": found.equilibration,
        "cycles": found.cycles,
        "seconds": round(time.monotonic() - began, 1),
    }


def sample(system: Any, settings: Settings) -> list[int]:
    """Run cycles until their mean is certain enough, or there have been enough of them.

    Returns the number of molecules after every one.
    """
    began = time.monotonic()
    run = load_raspalib().MonteCarlo(
        number_of_cycles=1,  # further ones are asked for one by one
        number_of_initialization_cycles=settings.equilibration,
        optimize_mc_moves_every=_TUNED_EVERY,
        systems=[system],
        random_seed=settings.seed,
    )
    chain: list[int] = []

    def count() -> None:
        chain.append(run.systems[0].number_of_molecules_per_component[0])

    run.setup()
    run.initialize(count, 1)
    check = 0  # length of the chain at which it is looked at again
    while True:
        run.cycle()
        count()
        late = time.monotonic() - began > settings.limit
        if len(chain) < check and not late:
            continue
        found = Mean.of(chain, settings)
        if late or found.is_enough or found.cycles >= settings.cycles:
            return chain
        check = int(len(chain) * 1.1) + 1


class Mean(NamedTuple):
    """Mean number of molecules over the ``cycles`` after the first ``equilibration`` ones.

    ``settled`` says whether it is certain that those were all that had to be left out.
    """

    value: float
    error: float
    equilibration: int
    cycles: int
    settled: bool
    is_enough: bool

    @classmethod
    def of(cls, chain: Sequence[int], settings: Settings) -> Mean:
        """Average the numbers of molecules after each cycle, beginning with the first of all."""
        first, settled = equilibrated(chain, settings.equilibration)
        counted = np.asarray(chain[first:], dtype=np.float64)
        value, error = float(counted.mean()), block_error(counted)
        enough = len(counted) >= min(settings.least, settings.cycles)
        enough &= settled and error <= settings.tolerance * value
        return cls(value, error, first, len(counted), settled, enough)


def equilibrated(chain: ArrayLike, least: int) -> tuple[int, bool]:
    """Return from where on a chain counts, at least ``least``, and whether that is certain.

    That is where the rest has the smallest standard error (MSER, White 1997). It is not certain
    when it lies at the end of what is searched, half of the chain.
    """
    values = np.asarray(chain, dtype=np.float64)
    last = max(least, least + (len(values) - least) // 2)
    starts = np.unique(np.linspace(least, last, 51).astype(int))
    errors = [values[start:].var() / (len(values) - start) for start in starts]
    best = int(np.argmin(errors))
    return int(starts[best]), best < len(starts) - 1 or len(starts) == 1


def block_error(numbers: ArrayLike) -> float:
    """Standard error of the mean of a correlated series, from the means of blocks.

    It is the largest of those of 5, 10 and 20 blocks: that of few is often small by chance, that
    of many is too small where blocks are short.
    """
    values = np.asarray(numbers, dtype=np.float64)
    errors = [0.0]
    for count in (5, 10, 20):
        if len(values) >= 2 * count:
            means = [block.mean() for block in np.array_split(values, count)]
            errors.append(float(np.std(means, ddof=1) / np.sqrt(count)))
    return max(errors)


def load_raspalib() -> Any:
    """Import raspalib; raises a DataError where it is missing."""
    require("raspalib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that OpenCL, which is not used, is missing
        return load("raspalib")


def prepare(crystal: Crystal, cells: Integers, charges: Floats, settings: Settings) -> Any:
    """Build framework and gas for raspalib; the supercell is the framework's cell."""
    raspalib = load_raspalib()
    gas = find_gas(settings.gas)
    elements = sorted(set(crystal.species.tolist()))
    sites = list(dict.fromkeys(site._replace(place=0.0) for site in gas.sites))

    def kind(name: str, element: int, charge: float, framework: bool) -> Any:
        return raspalib.PseudoAtom(
            name=name,
            framework_type=framework,
            mass=float(MASSES[element]) if element else 0.0,
            charge=charge,
            atomic_number=element or 1,
        )

    kinds = [kind(SYMBOLS[element], element, 0.0, True) for element in elements]
    pairs = [raspalib.VDWParameters(*lennard_jones(SYMBOLS[element])) for element in elements]
    for number, site in enumerate(sites):
        element = SYMBOLS.index(site.element) if site.element else 0
        kinds.append(kind(f"{site.element}_gas{number}", element, site.charge, False))
        pairs.append(raspalib.VDWParameters(site.epsilon, site.sigma))
    field = raspalib.ForceField(
        kinds,
        pairs,
        cutoff_framework_vdw=CUTOFF,
        cutoff_molecule_vdw=CUTOFF,
        cutoff_coulomb=CUTOFF,
        shifted=True,
        tail_corrections=False,
        use_charge=bool(charges.any()) or any(site.charge for site in gas.sites),
    )
    places, origin, lattice = repeated(crystal, cells)
    lengths, angles = np.split(cell_parameters(lattice)[0], 2)
    atoms = [
        raspalib.Atom(
            position=place.tolist(),
            charge=float(charges[atom]),
            type=elements.index(crystal.species[atom]),
        )
        for place, atom in zip(places, origin, strict=True)
    ]
    box = raspalib.SimulationBox(*lengths, *np.radians(angles))
    molecule = [
        raspalib.Atom(
            position=[0.0, 0.0, site.place],
            charge=site.charge,
            type=len(elements) + sites.index(site._replace(place=0.0)),
        )
        for site in gas.sites
    ]
    component = raspalib.Component(
        force_field=field,
        component_name=gas.key,
        critical_temperature=gas.critical_temperature,
        critical_pressure=gas.critical_pressure,
        acentric_factor=gas.acentric_factor,
        defined_atoms=molecule,
        particle_probabilities=raspalib.MCMoveProbabilities(**MOVES),
    )
    return raspalib.System(
        force_field=field,
        external_temperature=settings.temperature,
        external_pressure=settings.pressure,
        framework_components=raspalib.Framework(field, "framework", box, 1, atoms, [1, 1, 1]),
        components=[component],
        initial_number_of_molecules=[0],
    )
