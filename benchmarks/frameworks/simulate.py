"""Simulated uptakes beside those of CRAFTED, which were simulated by another program.

    python -m benchmarks.frameworks.simulate --data FOLDER          1 to 2 hours, one process
    python -m benchmarks.frameworks.simulate --page                 write the page again

FOLDER holds crafted_table.csv and cifs_ddec.zip. Structures are drawn over the range of uptakes,
one for each half mol/kg from 0 to 10, none of those that the authors of CRAFTED call inconsistent.
Each is simulated with its charges of DDEC (table column ID1), without charges (ID4) and by EQeq
(ID2); the run with those of DDEC is longer than asked, so that the error of a shorter one
can be seen. What was found is kept in --folder: an interrupted command resumes.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from time import monotonic, process_time
from typing import Any
from zipfile import ZipFile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from scipy.stats import spearmanr

from variolite.frameworks.journal import Journal
from variolite.frameworks.simulation.charges import partial_charges
from variolite.frameworks.simulation.gcmc import (
    CUTOFF,
    Mean,
    Settings,
    load_raspalib,
    prepare,
    sample,
)
from variolite.frameworks.simulation.simulate import read_structure
from variolite.frameworks.simulation.supercell import compact_supercell
from variolite.progress import ConsoleProgress

DATA = Path(os.environ.get("VARIOLITE_DATA", "data")) / "frameworks" / "crafted"
TARGET = RESULTS / "frameworks_simulate"
COLUMNS = {"cif": "ID1", "none": "ID4", "eqeq": "ID2"}
NAMES = {"cif": "DDEC", "eqeq": "EQeq", "none": "no charges"}
EVERY = [f"co2_1bar_298K_ID{number}" for number in range(1, 9)]
MOST = 10.0  # mol/kg
INTRODUCTION = """
Carbon dioxide at 1 bar and 298 K in mol/kg, by `variolite frameworks simulate` (RASPA3 by way of
raspalib), beside the table of CRAFTED (RASPA2; Oliveira et al., Sci. Data 2023). Uptakes in the
table depend on the force field: the spread is that of its eight columns, UFF and DREIDING each with
charges of DDEC, EQeq and Qeq and without. Charges of DDEC are those of the CIF files. An uptake
counts as within the spread where it is not outside by more than twice its own error.
"""
STOPS = ((100, 0.05), (300, 0.05), (500, 0.05), (500, 0.02))  # least cycles, tolerance


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
    name, _, charges = key.partition(" ")
    settings = Settings(charges=charges, limit=1800.0)
    path = folder / f"{name}.cif"
    crystal = read_structure(path)
    cells = compact_supercell(crystal.lattice, 2 * CUTOFF)
    began, used = monotonic(), process_time()
    system = prepare(crystal, cells, partial_charges(crystal, path, charges), settings)
    long = replace(settings, cycles=longer, tolerance=0.0)
    chain = sample(system, long if charges == "cif" else settings)
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
    parser.add_argument("--page", action="store_true", help="of what is in the folder")
    arguments = parser.parse_args()
    only_page, arguments.page = arguments.page, False
    made = provenance(command("benchmarks.frameworks.simulate", arguments), ["raspalib", "numpy"])
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = chosen(arguments.data, arguments.number)
    with ZipFile(arguments.data / "cifs_ddec.zip") as archive:
        for member in archive.namelist():
            if Path(member).stem in set(rows["Name"]):
                (folder / Path(member).name).write_bytes(archive.read(member))
    keys = [f"{name} {kind}" for kind in COLUMNS for name in rows["Name"]]
    with Journal(folder / "chains.unfinished", {"longer": arguments.longer}) as journal:
        if not only_page:
            journal.rows(
                simulated,
                {key: (key, folder, arguments.longer) for key in keys},
                title="simulations",
                progress=ConsoleProgress(),
                workers=arguments.workers,
                limit=3600.0,
                initializer=load_raspalib,
            )
    report(rows, journal.found, made)


def report(rows: pl.DataFrame, found: dict[str, Any], made: dict[str, Any]) -> None:
    """Write the page: every structure, agreement by kind of charges, error against time."""
    settings = Settings()
    entries = []
    for row in rows.iter_rows(named=True):
        for kind, column in COLUMNS.items():
            run = found.get(f"{row['Name']} {kind}")
            if run is None:
                continue
            entry = {
                "name": row["Name"],
                "charges": kind,
                "table": row[EVERY[int(column[2]) - 1]],
            }
            entry["least"], entry["most"] = (f(row[one] for one in EVERY) for f in (min, max))
            if "chain" in run:
                chain, unit = np.array(run["chain"]), run["per_molecule"]
                mean = Mean.of(chain, settings)
                entry |= {"simulated": unit * mean.value, "error": unit * mean.error}
                entry |= {key: run[key] for key in ("atoms", "simulated_atoms", "cpu")}
                entry |= {"cycles": len(chain), "stops": stops(chain, run, settings)}
            else:
                entry["problem"] = run["problem"]
            entries.append(entry)
    lines = [
        *INTRODUCTION.strip().splitlines(),
        "",
        *agreement(entries),
        "",
        *by_structure(entries),
        "",
        *times(entries),
    ]
    write_page(TARGET, "Simulated uptakes of CO2", lines, {"structures": entries}, made)


def stops(chain: np.ndarray, run: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """What shorter runs would have found, and their share of the time."""
    unit, results = run["per_molecule"], []
    for least, tolerance in STOPS:
        mean = stopped(chain, replace(settings, least=least, tolerance=tolerance))
        spent = run["cpu"] * (mean.equilibration + mean.cycles) / len(chain)
        found = {"uptake": unit * mean.value, "error": unit * mean.error, "cpu": spent}
        results.append({"least": least, "tolerance": tolerance, **found})
    return results


def agreement(entries: list[dict[str, Any]]) -> list[str]:
    """A line for each kind of charges: how far from the column of the table."""
    rows = []
    for kind, column in COLUMNS.items():
        chosen = [e for e in entries if e["charges"] == kind and "simulated" in e]
        if len(chosen) < 3:
            continue
        ours, theirs = (np.array([e[key] for e in chosen]) for key in ("simulated", "table"))
        slack = [2 * e["error"] for e in chosen]
        inside = [
            e["least"] - more <= e["simulated"] <= e["most"] + more
            for e, more in zip(chosen, slack, strict=True)
        ]
        rows.append(
            [
                f"{NAMES[kind]} ({column})",
                str(len(chosen)),
                f"{spearmanr(ours, theirs).statistic:.3f}",
                f"{np.abs(ours - theirs).mean():.2f}",
                f"{np.median(np.abs(ours - theirs)):.2f}",
                f"{(ours - theirs).mean():+.2f}",
                f"{sum(inside)} of {len(inside)}",
                f"{np.median([e['cpu'] for e in chosen]):.0f}",
            ]
        )
    head = ["charges (column)", "structures", "Spearman", "mean difference", "median difference"]
    return table([*head, "bias", "within the spread", "CPU seconds, median"], rows)


def by_structure(entries: list[dict[str, Any]]) -> list[str]:
    """A line for each structure with the charges of its file."""
    rows = []
    for entry in sorted(entries, key=lambda one: one["table"]):
        if entry["charges"] != "cif":
            continue
        spread = f"{entry['least']:.2f} to {entry['most']:.2f}"
        if "simulated" not in entry:
            rows.append([entry["name"], f"{entry['table']:.2f}", entry["problem"], *[""] * 4])
            continue
        rows.append(
            [
                entry["name"],
                f"{entry['table']:.2f}",
                f"{entry['simulated']:.2f} +- {entry['error']:.2f}",
                f"{entry['simulated'] - entry['table']:+.2f}",
                spread,
                str(entry["simulated_atoms"]),
                f"{entry['cpu']:.0f}",
            ]
        )
    head = ["structure", "table, UFF and DDEC", "simulated", "difference", "eight force fields"]
    return table([*head, "atoms simulated", "CPU seconds"], rows)


def times(entries: list[dict[str, Any]]) -> list[str]:
    """What a run costs that ends sooner, and how far it is from the longest."""
    runs = [e for e in entries if e["charges"] == "cif" and "simulated" in e]
    rows = []
    for place, (least, tolerance) in enumerate(STOPS):
        ends = [e["stops"][place] for e in runs]
        whole = np.array([e["simulated"] for e in runs])
        uptakes, errors, spent = (
            np.array([end[key] for end in ends]) for key in ("uptake", "error", "cpu")
        )
        off = np.abs(uptakes - whole)
        rows.append(
            [
                f"{least}, {tolerance:.0%}",
                f"{np.median(spent):.0f}",
                f"{spent.max():.0f}",
                f"{np.median(off / whole):.1%}",
                f"{(off / whole).max():.1%}",
                f"{np.sqrt(np.mean((off / errors) ** 2)):.1f}",
            ]
        )
    head = ["least cycles, tolerance", "CPU seconds, median", "longest"]
    head += ["off the longest run, median", "most", "off in terms of its error, r.m.s."]
    return table(head, rows)


if __name__ == "__main__":
    main()
