"""Crystals moved onto the symmetry that they nearly have, beside ASE's `refine_symmetry`.

    python -m benchmarks.crystals.symmetrise

Test crystals of MP-20 have their atoms displaced and their cells strained at random; both ways look
for symmetry within 0.3 Angstrom by spglib, on one thread. Right is a crystal that has within 0.01
Angstrom the space group that it had before. Writes ``benchmarks/results/crystal_symmetrise.md`` and
``.json``.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from ase.spacegroup.symmetrize import refine_symmetry
from benchmarks.crystals.clock import Clock
from benchmarks.crystals.sets import FOLDER
from benchmarks.pages import RESULTS, command, provenance, table, write_page

from variolite.crystals.crystals import Crystals
from variolite.crystals.files import load_crystals
from variolite.crystals.files.formats import from_ase, to_ase
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.symmetrise import symmetrised

PRECISION = 0.3  # Angstrom, as `variolite generate` takes it
EXACT = 0.01
STRAIN = 0.005


def main() -> None:
    """Displace, symmetrise, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.03, 0.06])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    made = provenance(command("benchmarks.crystals.symmetrise", given), ["ase", "spglib", "numpy"])
    every = load_crystals(given.data / "mp_20/biternary_test_a.csv.gz")
    crystals = every.take(np.linspace(0, len(every) - 1, given.number).astype(int))
    groups = space_groups(crystals, symprec=EXACT)[0]
    random, rows = np.random.default_rng(given.seed), []
    for noise in given.noise:
        moved = disturbed(crystals, noise, random)
        for way, made_symmetric in WAYS.items():
            clock = Clock()
            found = made_symmetric(moved)
            seconds = clock.processor
            right = float((space_groups(found, symprec=EXACT)[0] == groups).mean())
            rows.append({"way": way, "noise": noise, "right": right, "seconds": seconds})
    cells = [
        [row["way"], f"{row['noise']:g}", f"{row['right']:.3f}", f"{row['seconds']:.1f}"]
        for row in rows
    ]
    lines = [
        f"{given.number} crystals, atoms displaced by a normal distribution of the given standard "
        f"deviation along each axis, cells strained by {STRAIN:.1%} in every component. Share that "
        f"have their space group again within {EXACT} Å; processor seconds for all.",
        "",
        *table(["way", "displacement, Å", "right", "s"], cells),
    ]
    title = "Making near symmetry exact"
    write_page(given.results / "crystal_symmetrise", title, lines, {"rows": rows}, made)


def disturbed(crystals: Crystals, noise: float, random: np.random.Generator) -> Crystals:
    """Displace atoms by ``noise`` Angstrom along each axis, and strain cells by `STRAIN`."""
    changed = []
    for crystal in crystals:
        lattice = crystal.lattice @ (np.eye(3) + STRAIN * random.normal(size=(3, 3)))
        steps = noise * random.normal(size=crystal.coordinates.shape) @ np.linalg.inv(lattice)
        coordinates = (crystal.coordinates + steps) % 1.0
        changed.append(replace(crystal, coordinates=coordinates, lattice=lattice))
    return Crystals.of(changed)


def _by_ase(crystals: Crystals) -> Crystals:
    found = []
    for crystal in crystals:
        atoms = to_ase(crystal)
        refine_symmetry(atoms, symprec=PRECISION)
        found.append(atoms)
    return from_ase(found)


WAYS = {"variolite": lambda crystals: symmetrised(crystals, PRECISION)[0], "ASE": _by_ase}


if __name__ == "__main__":
    main()
