"""Files of frameworks to a table of simulated uptakes, each in a worker process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystal
from variolite.crystals.files.checks import HARMLESS, Limits
from variolite.crystals.files.reading import read_all
from variolite.crystals.files.sources import find_files
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.journal import Journal, Row, beside
from variolite.frameworks.simulation.charges import partial_charges
from variolite.frameworks.simulation.force_field import find_gas
from variolite.frameworks.simulation.gcmc import Settings, load_raspalib, simulate
from variolite.optional import require
from variolite.progress import Progress
from variolite.records import read_table, require_writable, write_table
from variolite.records.files.writing import write_text_atomic
from variolite.records.records import text_values
from variolite.records.units import can_convert, convert, kindred

_LARGEST = Limits(max_atoms=5000)
_PRESSURES = (1e-3, 1e8)  # Pa
_SLOWER = 2.0  # times the limit after which a process is killed that did not stop by itself
_START = 60.0
_SHOWN = 5
_COUNTS = ("cells", "atoms", "equilibration", "cycles")


def parse_pressure(text: str) -> float:
    """Return in Pa what is written with its unit, as 1bar or 0.15 bar."""
    match = re.fullmatch(r"\s*(\d*\.?\d+(?:e[-+]?\d+)?)\s*([a-z]+)\s*", text, re.IGNORECASE)
    value, unit = match.groups() if match else ("0", "pa")
    pascal = float(convert(np.array(float(value)), unit, "pa")) if can_convert(unit, "pa") else 0.0
    if not 0 < pascal < np.inf:
        units = ", ".join(["pa", *kindred("pa")])
        what = f"{text!r} is no pressure with a unit"
        raise DataError(what, where="--pressure", hint=f"Write 1bar; units are {units}")
    return pascal


def simulate_table(
    paths: Iterable[Path],
    out: Path,
    settings: Settings,
    *,
    only: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Simulate the structure in each CIF file, or in those in folders, and write a table.

    ``only`` is a table whose column ``name`` says which of them. The settings go to
    ``NAME.settings.json`` beside it. Raises a `ShortfallError` once all is written, if a structure
    has no uptake.
    """
    progress = progress or Progress()
    if not _PRESSURES[0] <= settings.pressure <= _PRESSURES[1]:
        low, high = _PRESSURES
        what = f"{settings.pressure:g} Pa is out of the range of the model"
        raise DataError(what, where="--pressure", hint=f"Give {low:g} to {high:g} Pa")
    require("raspalib", *(["autografs"] if settings.charges == "eqeq" else []))
    require_writable(out)
    record, gas = settings.record(), find_gas(settings.gas).key
    files = [*dict.fromkeys(str(path) for path, kind in find_files(paths) if kind == "cif")]
    if not files:
        where, hint = ", ".join(map(str, paths)) or None, "Give CIF files or folders of them"
        raise DataError("there are no CIF files", where=where, hint=hint)
    if only is not None:
        files = _named(files, only)
    with Journal(beside(out), record) as journal:
        rows = journal.rows(
            simulate_file,
            {file: (file, settings) for file in files},
            title="simulating",
            progress=progress,
            workers=workers,
            limit=_START + _SLOWER * settings.limit,
            initializer=load_raspalib,
        )
        # Rows of a task that failed have a problem only.
        known = {"uptake": pl.Float64, "error": pl.Float64, "problem": pl.String}
        known |= dict.fromkeys(_COUNTS, pl.Int64) | {"seconds": pl.Float64}
        uptake = f"{gas.lower()}_uptake_simulated"
        table = (
            pl.DataFrame([*rows.values()], schema=known)
            .rename({"uptake": uptake, "error": f"{uptake}_error"})
            .select(
                pl.Series("name", [_name(file) for file in files]),
                pl.Series("file", files),
                pl.all(),
                gas=pl.lit(gas),
                pressure=pl.lit(settings.pressure / 1e5),  # bar
                **{
                    name: pl.lit(record[name])
                    for name in ("temperature", "force_field", "charges", "cutoff", "seed")
                },
            )
        )
        write_table(table, out)
        write_text_atomic(out.with_name(f"{out.stem}.settings.json"), json.dumps(record, indent=1))
        journal.remove()
    doubtful = table.filter(pl.col("problem") != "")
    for row in doubtful.head(_SHOWN).iter_rows(named=True):
        progress.note(f"{row['name']}: {row['problem']}")
    if len(doubtful) > _SHOWN:
        progress.note(f"and {len(doubtful) - _SHOWN:,} more, see the column problem")
    if missing := table[uptake].null_count():
        raise ShortfallError(
            f"{missing:,} of {len(table):,} structures have no uptake",
            where=str(out),
            hint="The column problem says why",
            written=True,
        )
    return table


def _name(file: str) -> str:
    return Path(file).name.partition(".cif")[0]


def _named(files: Sequence[str], table: Path) -> list[str]:
    """Return the files of the structures that a table names; a DataError where one is absent."""
    names = set(text_values(read_table(table, columns=["name"], text=["name"])["name"]).tolist())
    if absent := sorted(names - {_name(file) for file in files}):
        what = f"there are no CIF files of {len(absent):,}, such as {absent[0]}"
        raise DataError(what, where=str(table), hint="Give all folders that hold them")
    return [file for file in files if _name(file) in names]


def simulate_file(file: str, settings: Settings) -> Row:
    """Simulate the structure in a file; a task for a worker process."""
    notes: list[str] = []
    crystal = read_structure(Path(file), notes.append)
    row = simulate(crystal, partial_charges(crystal, Path(file), settings.charges), settings)
    return {**row, "problem": "; ".join(filter(None, [*notes, row["problem"]]))}


def read_structure(path: Path, note: Callable[[str], object] = lambda _: None) -> Crystal:
    """Read the only structure of a file; raises a DataError where it cannot be used.

    ``note`` is called with what is doubtful about it.
    """
    reading = read_all([path], limits=_LARGEST)
    if len(reading.rejects):
        raise DataError(str(reading.rejects["reason"][0]))
    if len(reading.crystals) != 1:
        raise DataError(f"it holds {len(reading.crystals)} structures: give a file for each")
    for doubt in reading.notes["note"]:
        if doubt not in HARMLESS:
            note(doubt)
    return reading.crystals[0]
