"""Simulated uptakes beside those of CRAFTED, which were simulated by another program.

    python -m benchmarks.frameworks.simulate --data FOLDER          1 to 2 hours, one process
    python -m benchmarks.frameworks.simulate --page                 write the page again

FOLDER holds crafted_table.csv and cifs_ddec.zip. Structures are drawn over the range of uptakes,
one for each half mol/kg from 0 to 10, none of those that the authors of CRAFTED call inconsistent. Each is simulated
with its charges of DDEC (table column ID1), by EQeq (ID2) and without charges (ID4); the run with
those of DDEC goes on for longer than asked, so that the error of a shorter one can be seen. What
was found is kept beside the results: the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, process_time
from typing import Any
from zipfile import ZipFile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from scipy.stats import spearmanr

from variolite.frameworks.batch import Journal, rows_of
from variolite.frameworks.charges import Charges, partial_charges
from variolite.frameworks.simulate import (
    CUTOFF,
    LEAST_CYCLES,
    Mean,
    Settings,
    compact_supercell,
    get_ready,
    prepare,
    read_structure,
    sample,
)
from variolite.progress import ConsoleProgress

DATA = Path(os.environ.get("VARIOLITE_DATA", "data")) / "frameworks" / "crafted"
TARGET = RESULTS / "frameworks_simulate"
COLUMNS = {Charges.cif: "ID1", Charges.eqeq: "ID2", Charges.none: "ID4"}
NAMES = {Charges.cif: "DDEC", Charges.eqeq: "EQeq", Charges.none: "no charges"}
EVERY = [f"co2_1bar_298K_ID{number}" for number in range(1, 9)]
MOST = 10.0  # mol/kg
TOLERANCES = (0.2, 0.1, 0.05, 0.02)


def chosen(data: Path, number: int) -> pl.DataFrame:
    """Draw a structure for each step of the uptake from the least to the largest."""
    whole = pl.read_csv(data / "crafted_table.csv")
    sound = whole.filter(~pl.col("structurally_inconsistent")).drop_nulls(EVERY)
    uptake = sound[EVERY[0]].to_numpy()
    source, places = np.random.default_rng(0), []
    for step in np.array_split(np.linspace(0, MOST, 1000), number):
        free = np.setdiff1d(np.arange(len(uptake)), places)
        inside = free[(uptake[free] >= step[0]) & (uptake[free] <= step[-1])]
        near = free[np.abs(uptake[free] - step.mean()).argmin()]
        places.append(int(source.choice(inside)) if len(inside) else int(near))
    return sound[sorted(places)]


def simulated(key: str, folder: Path, longer: int) -> dict[str, Any]:
    """Simulate a structure with one kind of charges; the key is both."""
    name, _, kind = key.partition(" ")
    charges = Charges(kind)
    settings = Settings(charges=charges, limit=1800.0)
    path = folder / f"{name}.cif"
    crystal = read_structure(path)
    cells = compact_supercell(crystal.lattice, 2 * CUTOFF)
    began, used = monotonic(), process_time()
    system = prepare(crystal, cells, partial_charges(crystal, path, charges), settings)
    long = replace(settings, cycles=longer, tolerance=0.0)
    chain = sample(system, long if charges is Charges.cif else settings)
    return {
        "chain": chain,
        "per_molecule": 1000.0 / system.framework_mass(),
        "atoms": len(crystal),
        "simulated_atoms": len(crystal) * round(abs(np.linalg.det(cells))),
        "seconds": monotonic() - began,
        "cpu": process_time() - used,
    }


def stopped(chain: list[int], settings: Settings) -> Mean:
    """Return the mean at which a run with these settings would have ended."""
    length = settings.equilibration + 1
    while True:
        found = Mean.of(chain[:length], settings)
        if found.is_enough or found.cycles >= settings.cycles or length >= len(chain):
            return found
        length = min(int(length * 1.1) + 1, len(chain))


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--longer", type=int, default=1500, help="cycles of the long runs")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("frameworks_simulate"))
    arguments = parser.parse_args()
    made = provenance(command("benchmarks.frameworks.simulate", arguments), ["raspalib", "numpy"])
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = chosen(arguments.data, arguments.number)
    with ZipFile(arguments.data / "cifs_ddec.zip") as archive:
        for member in archive.namelist():
            if Path(member).stem in set(rows["Name"]):
                (folder / Path(member).name).write_bytes(archive.read(member))
    keys = [f"{name} {kind.value}" for kind in COLUMNS for name in rows["Name"]]
    journal = Journal(folder / "chains", {"longer": arguments.longer})
    found = rows_of(
        partial(simulated, folder=folder, longer=arguments.longer),
        keys,
        journal,
        title="simulations",
        progress=ConsoleProgress(),
        workers=arguments.workers,
        limit=3600.0,
        ready=get_ready,
    )
    report(rows, dict(zip(keys, found, strict=True)), made)


def report(rows, found, made):
    print(len(found))


if __name__ == "__main__":
    main()
