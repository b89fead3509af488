"""Files of frameworks to a table of simulated uptakes, each in a worker process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystal
from variolite.crystals.files.checks import Limits
from variolite.crystals.files.reading import read_all
from variolite.crystals.files.sources import find_files
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.batch import rows_of
from variolite.frameworks.journal import Journal, Row
from variolite.frameworks.optional import require
from variolite.frameworks.simulation.charges import Charges, partial_charges
from variolite.frameworks.simulation.force_field import find_gas
from variolite.frameworks.simulation.gcmc import Settings, get_ready, simulate
from variolite.progress import Progress
from variolite.records import require_writable, write_table
from variolite.records.files.writing import write_text_atomic
from variolite.records.units import can_convert, convert, kindred

_LARGEST = Limits(max_atoms=5000)
_PRESSURE = re.compile(r"\s*([0-9.]+(?:e[-+]?\d+)?)\s*(.*?)\s*", re.IGNORECASE)
_SLOWER = 2.0  # times the limit after which a process is killed that did not stop by itself
_START = 60.0
_SHOWN = 5
_BAR = 1e5


def parse_pressure(text: str) -> float:
    """Return in Pa what is written with its unit, as 1bar or 0.15 bar."""
    match = _PRESSURE.fullmatch(text)
    unit = match[2] if match else None
    try:
        value = float(match[1]) if match else np.nan
    except ValueError:
        value = np.nan
    if not can_convert(unit, "pa") or not 0 < value < np.inf:
        units = ", ".join(["pa", *kindred("pa")])
        what = f"{text!r} is no pressure with a unit"
        raise DataError(what, where="--pressure", hint=f"Write 1bar; units are {units}")
    return float(convert(np.array(value), str(unit), "pa"))


def simulate_table(
    paths: Iterable[Path],
    out: Path,
    settings: Settings,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Simulate the structure in each CIF file, or in those in folders, and write a table.

    What was set goes to ``NAME.settings.json`` beside it. Raises a `ShortfallError` once all is
    written, if a structure has no uptake.
    """
    progress = progress or Progress()
    if settings.charges is Charges.eqeq:
        require("autografs", "charges by EQeq")
    require_writable(out)
    record, gas = settings.record(), find_gas(settings.gas)
    files = [str(path) for path, kind in find_files(paths) if kind == "cif"]
    if not files:
        where = ", ".join(map(str, paths)) or None
        raise DataError(
            "there are no CIF files", where=where, hint="Give CIF files or folders of them"
        )
    with Journal(out, record) as journal:
        rows = rows_of(
            partial(simulate_file, settings=settings),
            files,
            journal,
            title="simulating",
            progress=progress,
            workers=min(workers, len(files)),
            limit=_START + _SLOWER * settings.limit,
            ready=get_ready,
        )
        table = _table(files, rows, gas.key, record)
        write_table(table, out)
        write_text_atomic(out.with_name(f"{out.stem}.settings.json"), json.dumps(record, indent=1))
        journal.remove()
    _report(table, f"{gas.key.lower()}_uptake_simulated", out, progress)
    return table


def simulate_file(file: str, settings: Settings) -> Row:
    """Simulate the structure in a file; a task for a worker process."""
    crystal = read_structure(Path(file))
    return simulate(crystal, partial_charges(crystal, Path(file), settings.charges), settings)


def read_structure(path: Path) -> Crystal:
    """Read the only structure of a file; raises a DataError where it cannot be used."""
    reading = read_all([path], limits=_LARGEST)
    if len(reading.rejects):
        raise DataError(str(reading.rejects["reason"][0]))
    if len(reading.crystals) != 1:
        raise DataError(f"it holds {len(reading.crystals)} structures: give a file for each")
    return reading.crystals[0]


def _table(files: list[str], rows: list[Row], gas: str, record: dict[str, Any]) -> pl.DataFrame:
    uptake = f"{gas.lower()}_uptake_simulated"

    def column(name: str, kind: type[pl.DataType]) -> pl.Series:
        return pl.Series(name, [row.get(name) for row in rows], kind)

    return pl.DataFrame(
        [
            pl.Series("name", [Path(file).name.partition(".cif")[0] for file in files]),
            pl.Series("file", files),
            column("uptake", pl.Float64).alias(uptake),
            column("error", pl.Float64).alias(f"{uptake}_error"),
            column("problem", pl.String),
            *(column(name, pl.Int64) for name in ("cells", "atoms", "equilibration", "cycles")),
            column("seconds", pl.Float64),
        ]
    ).with_columns(
        gas=pl.lit(gas),
        pressure=pl.lit(record["pressure"] / _BAR),
        temperature=pl.lit(record["temperature"]),
        force_field=pl.lit(record["force_field"]),
        charges=pl.lit(str(record["charges"])),
        cutoff=pl.lit(record["cutoff"]),
        seed=pl.lit(record["seed"]),
    )


def _report(table: pl.DataFrame, uptake: str, out: Path, progress: Progress) -> None:
    """Say what came of it; raises a ShortfallError where something is missing."""
    doubtful = table.filter(pl.col("problem") != "")
    for row in doubtful.head(_SHOWN).iter_rows(named=True):
        progress.note(f"{row['name']}: {row['problem']}")
    if (more := len(doubtful) - _SHOWN) > 0:
        progress.note(f"and {more:,} more, see the column problem")
    if missing := table[uptake].null_count():
        error = ShortfallError(
            f"{missing:,} of {len(table):,} structures have no uptake",
            where=str(out),
            hint="The column problem says why",
        )
        error.written = True
        raise error
