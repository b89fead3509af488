"""Read 5,000 CIFs: Variolite against pymatgen, ASE and bare gemmi, and compare the structures.

The CIFs are 1,250 each of MP-20, MPTS-52, Perov-5 and Carbon-24, evenly spaced in their
files. Each way of reading runs in a process of its own with one thread; the time is CPU
time from the first text to the last structure, imports and reading of the tables left
out except for Variolite, whose time includes the table, its other columns and all checks.

    python -m benchmarks.crystal_reading --data FOLDER                5,000 CIFs, about 3 minutes
    python -m benchmarks.crystal_reading --data FOLDER --each 100     a sample, nothing is written

FOLDER holds mp_20, mpts_52, perov_5 and carbon_24 with the tables named below.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SETS = {
    "MP-20": ("mp_20/train_head", "mp_20/biternary_val", "mp_20/biternary_test_a"),
    "MPTS-52": ("mpts_52/val",),
    "Perov-5": ("perov_5/train", "perov_5/test"),
    "Carbon-24": ("carbon_24/htl_train", "carbon_24/lth_train"),
}
EACH = 1250
"""CIFs of each set where a page is written."""

WITH_SYMMETRY = 500
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"), "1")
WARM_UP = 20
RUNS = {"variolite": 5, "bare gemmi": 5}
TARGET = 20.0
SAME = 1e-5


# --- what is read


def sample(folder: Path, each: int) -> Any:
    """Return a table with the columns set, material_id and cif."""
    import polars as pl

    parts = []
    for name, files in SETS.items():
        frame = pl.concat(
            pl.read_csv(
                folder / f"{file}.csv.gz",
                columns=["material_id", "cif"],
                schema_overrides={"material_id": pl.String},
            )
            for file in files
        )
        rows = [round(k * (len(frame) - 1) / max(each - 1, 1)) for k in range(each)]
        parts.append(frame[rows].select(pl.lit(name).alias("set"), "material_id", "cif"))
    return pl.concat(parts)


def with_symmetry(table: Path) -> Any:
    """Return some of the structures as pymatgen writes them with their space group."""
    import polars as pl
    from pymatgen.core.structure import Structure
    from pymatgen.io.cif import CifWriter

    frame = pl.read_csv(table)
    chosen = frame.filter(pl.col("set") != "Carbon-24")
    step = max(1, len(chosen) // WITH_SYMMETRY)
    chosen = chosen[list(range(0, len(chosen), step))[:WITH_SYMMETRY]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = [
            str(CifWriter(Structure.from_str(text, fmt="cif"), symprec=0.01))
            for text in chosen["cif"]
        ]
    return chosen.with_columns(pl.Series("cif", texts))


# --- ways of reading; each reads some rows to be warm, and returns seconds of CPU time


def timed(read: Callable[[int | None], object]) -> float:
    """Time reading of all rows, after reading of some."""
    read(WARM_UP)
    began = time.process_time()
    read(None)
    return time.process_time() - began


def one_by_one(table: Path, read: Callable[[str], object]) -> float:
    texts = texts_of(table)
    return timed(lambda count: [read(text) for text in texts[:count]])


def texts_of(table: Path) -> list[str]:
    import polars as pl

    texts: list[str] = pl.read_csv(table, columns=["cif"])["cif"].to_list()
    return texts


def by_variolite(table: Path) -> float:
    import polars as pl

    from variolite.crystals.files.checks import Limits
    from variolite.crystals.files.reading import read_structures

    few = table.with_name("few.csv")
    pl.read_csv(table, n_rows=WARM_UP).write_csv(few)
    # Some structures of MPTS-52 are emptier than Variolite believes by default.
    limits = Limits(volume_per_atom=(0.0, 1e6))
    return timed(lambda count: read_structures(few if count else table, limits=limits))


def by_pymatgen(table: Path) -> float:
    from pymatgen.core.structure import Structure

    return one_by_one(table, lambda text: Structure.from_str(text, fmt="cif"))


def by_ase(table: Path) -> float:
    from ase.io import read

    return one_by_one(table, lambda text: read(io.StringIO(text), format="cif"))


def by_gemmi(table: Path) -> float:
    import gemmi

    def read(text: str) -> object:
        block = gemmi.cif.read_string(text).sole_block()
        return gemmi.make_small_structure_from_block(block).get_all_unit_cell_sites()

    return one_by_one(table, read)


WAYS: Mapping[str, Callable[[Path], float]] = {
    "variolite": by_variolite,
    "pymatgen": by_pymatgen,
    "ASE": by_ase,
    "bare gemmi": by_gemmi,
}


def apart(*arguments: object) -> Any:
    """Run a part of this script in a process of its own with one thread."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | ONE_THREAD
    )
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- are they the same structures?


def compare(table: Path) -> dict[str, float | int]:
    """Compare with pymatgen atom by atom, whatever order and whole shifts."""
    import numpy as np
    from pymatgen.io.cif import CifParser

    from variolite.crystals.crystals import cell_parameters
    from variolite.crystals.files.checks import Limits
    from variolite.crystals.files.reading import read_structures

    ours = read_structures(table, limits=Limits(volume_per_atom=(0.0, 1e6))).crystals
    parameters = cell_parameters(ours.lattices)
    different = moved = 0
    largest = {"fractional coordinate": 0.0, "length, A": 0.0, "angle, degrees": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, text in enumerate(texts_of(table)):
            crystal = ours[place]
            exact, usual = (
                CifParser.from_str(text, **options).parse_structures(primitive=False)[0]
                for options in ({"frac_tolerance": 0.0}, {})
            )
            distance = farthest(crystal, exact)
            cell = np.abs(parameters[place] - np.array(exact.lattice.parameters))
            different += not (distance <= SAME and cell.max() <= SAME)
            moved += not farthest(crystal, usual) <= SAME
            for key, value in zip(largest, (distance, cell[:3].max(), cell[3:].max()), strict=True):
                largest[key] = max(largest[key], float(value))
    return {
        "structures": len(ours),
        "structures that differ": different,
        **{f"largest difference of a {key}": value for key, value in largest.items()},
        "structures in which pymatgen moves atoms by default": moved,
    }


def farthest(crystal: Any, structure: Any) -> float:
    """Return the largest difference of a coordinate, infinite if atoms have no partner."""
    import numpy as np

    numbers = np.array([site.specie.Z for site in structure])
    if len(numbers) != len(crystal):
        return float("inf")
    difference = crystal.coordinates[:, None] - structure.frac_coords[None]
    difference = np.abs(difference - np.rint(difference)).max(axis=-1)
    difference[crystal.species[:, None] != numbers[None]] = np.inf
    partner = difference.argmin(axis=1)
    if len(np.unique(partner)) != len(partner):
        return float("inf")
    return float(difference.min(axis=1).max())


# --- the store


def pack_everything(folder: Path, out: Path) -> dict[str, float | int]:
    """Time what `variolite crystals pack --reduce` does with all tables, and opening."""
    from variolite.crystals.files.reading import read_structures
    from variolite.crystals.files.store import open_store, write_store
    from variolite.crystals.geometry.periodic import reduce_cells

    tables = [folder / f"{file}.csv.gz" for files in SETS.values() for file in files]
    began = time.perf_counter()
    crystals = reduce_cells(read_structures(tables).crystals)
    write_store(out, crystals)
    packed = time.perf_counter()
    opened = []
    for _ in range(5):
        start = time.perf_counter()
        open_store(out)
        opened.append(time.perf_counter() - start)
    return {
        "structures": len(crystals),
        "packing with --reduce, s": round(packed - began, 2),
        "opening the store, s": round(statistics.median(opened), 3),
        "size of the store, MB": round(out.stat().st_size / 1e6, 1),
    }


# --- the whole


def run(folder: Path, each: int) -> None:
    with tempfile.TemporaryDirectory(prefix="variolite-reading-") as place:
        tables = {"P 1": Path(place) / "plain.csv", "symmetry": Path(place) / "symmetry.csv"}
        sample(folder, each).write_csv(tables["P 1"])
        with_symmetry(tables["P 1"]).write_csv(tables["symmetry"])
        load = os.getloadavg()[0]
        found: dict[str, Any] = {}
        for name, table in tables.items():
            count = len(texts_of(table))
            seconds = {
                way: [apart("--way", way, "--table", table) for _ in range(RUNS.get(way, 3))]
                for way in WAYS
            }
            print(f"{name}: {seconds}", flush=True)
            found[name] = {
                "structures": count,
                "milliseconds": {
                    way: round(statistics.median(runs) / count * 1e3, 4)
                    for way, runs in seconds.items()
                },
                "runs": {way: [round(s, 3) for s in runs] for way, runs in seconds.items()},
                "identity": compare(table),
            }
        store = apart("--data", folder, "--pack", Path(place) / "all.crystals")
        report(each, found, store, load)


def report(each: int, found: Mapping[str, Any], store: Mapping[str, Any], load: float) -> None:
    results = {
        "read": dict(found),
        "ratio": {
            name: {
                way: round(value / part["milliseconds"]["variolite"], 1)
                for way, value in part["milliseconds"].items()
            }
            for name, part in found.items()
        },
        "store": dict(store),
        "target": TARGET,
    }
    if each == EACH:
        from benchmarks.pages import RESULTS, provenance, write_page

        command = "python -m benchmarks.crystal_reading --data FOLDER"
        made = provenance(command, ("gemmi", "pymatgen", "ase", "numpy"))
        made["load"].insert(0, load)
        write_page(RESULTS / "crystal_reading", "Reading CIFs", page(results), results, made)
    else:
        print("\n".join(page(results)))


def page(results: Mapping[str, Any]) -> list[str]:
    plain, symmetry = results["read"]["P 1"], results["read"]["symmetry"]
    same = plain["identity"]
    return [
        f"{plain['structures']:,} CIFs in P 1, a quarter each of MP-20, MPTS-52, Perov-5 and "
        f"Carbon-24; {symmetry['structures']} of MP-20, MPTS-52 and Perov-5 once more as "
        "pymatgen writes them with their space group (tolerance 0.01 A).",
        "",
        *rows(plain, symmetry, results["ratio"]),
        "",
        "CPU time of one process with one thread, imports left out, median of "
        f"{RUNS['variolite']} runs of Variolite and gemmi and 3 of the others. Variolite's "
        "time includes reading the table, its other columns and every check (cell, volume, "
        "occupancy, symmetry, distances of all pairs under periodic boundaries); that of the "
        "others begins with the texts in memory and ends with their objects. *Bare gemmi* "
        "makes a small structure and all sites of the cell, and looks at none of them.",
        "",
        f"Compared with pymatgen atom by atom: {same['structures that differ']} of "
        f"{same['structures']:,} structures in P 1 differ in elements, in a coordinate (modulo "
        f"1) by more than {SAME:g}, or in a length or angle by as much; the largest difference "
        f"of a coordinate is {same['largest difference of a fractional coordinate']:.1e}. With "
        f"symmetry {symmetry['identity']['structures that differ']} of "
        f"{symmetry['identity']['structures']} differ, by "
        f"{symmetry['identity']['largest difference of a fractional coordinate']:.1e} at most. "
        "pymatgen is asked to leave coordinates as they are written (`frac_tolerance=0`): by "
        "default it moves those within 1e-4 of a third, in "
        f"{same['structures in which pymatgen moves atoms by default']} of these structures "
        f"by more than {SAME:g}.",
        "",
        f"All {results['store']['structures']:,} structures of the tables with "
        f"`variolite crystals pack --reduce`: "
        f"{results['store']['packing with --reduce, s']:.1f} s with one thread, "
        f"{results['store']['size of the store, MB']:.1f} MB; opening the store, its SHA-256 "
        f"checked: {results['store']['opening the store, s'] * 1e3:.0f} ms.",
        "",
        f"Target: at least {results['target']:g} times faster than pymatgen with identical "
        "structures.",
    ]


def rows(
    plain: Mapping[str, Any], symmetry: Mapping[str, Any], ratio: Mapping[str, Any]
) -> Sequence[str]:
    lines = [
        "| way | P 1, ms per structure | times ours | with symmetry, ms | times ours |",
        "|---|---|---|---|---|",
    ]
    for way, value in plain["milliseconds"].items():
        lines.append(
            f"| {way} | {value:.3f} | {ratio['P 1'][way]:g} | "
            f"{symmetry['milliseconds'][way]:.3f} | {ratio['symmetry'][way]:g} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the tables")
    parser.add_argument("--each", type=int, default=EACH, help="CIFs of each set")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pack", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            print(json.dumps(WAYS[options.way](options.table)))
    elif options.data is None:
        parser.error("--data is needed")
    elif options.pack:
        print(json.dumps(pack_everything(options.data, options.pack)))
    else:
        run(options.data, options.each)


if __name__ == "__main__":
    main()
