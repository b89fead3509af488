"""Frameworks to rows: from files of structures to a table with metals, linkers, net and pores.

Each structure is read, reduced to its primitive Niggli cell and given to three tasks in worker
processes: its pores, and two readers of its building units. A task that fails, dies or takes too
long costs its own columns; the column ``problem`` says why.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.elements import COVALENT_RADII, METALLIC, SYMBOLS, densities, symbols_of
from variolite.crystals.files.checks import (
    CONTRADICTED,
    GUESSED,
    HARMLESS,
    HINTS,
    REASONS,
    Limits,
)
from variolite.crystals.files.reading import read_in_order
from variolite.crystals.files.sources import Chunk, find_files, read_sources
from variolite.crystals.geometry.periodic import reduce_cells
from variolite.crystals.geometry.primitive import primitive_cells
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.assembly.compatibility import Compatibility
from variolite.frameworks.assembly.net_signatures import version_note
from variolite.frameworks.assembly.structure_checks import Bonded
from variolite.frameworks.assembly.unit_library import (
    UnitLibrary,
    hill_formula,
    merge_units,
    write_units,
)
from variolite.frameworks.columns import CELL, PORES, PROBE, join, split
from variolite.frameworks.description.building_units import (
    linkers_agree,
    read_by_autografs,
    read_by_mofstructure,
    silence,
)
from variolite.frameworks.description.pores import measure_pores
from variolite.frameworks.framework_table import family_of
from variolite.frameworks.journal import Journal, Row, beside
from variolite.linkers import read_linker
from variolite.optional import DESCRIBING, require
from variolite.progress import Progress
from variolite.records import require_writable, write_table
from variolite.records.files.writing import require_parent

MOST_ATOMS = 10_000
_LIMITS = Limits(max_atoms=MOST_ATOMS, min_distance=0.4)
_TASKS = ("pores", "linkers", "units")
_OTHER_FILES = frozenset({"json", "csv", "tsv", "parquet", "feather", "extxyz"})
_FILE = "file: "
_HINTS = {
    f"{_FILE}{REASONS[code]}": hint
    for code, hint in {**HINTS, "too_many_atoms": "Give the primitive cell"}.items()
} | {
    f"{_FILE}{GUESSED}": "Name elements in a column of their own, _atom_site_type_symbol",
    f"{_FILE}{CONTRADICTED}": "Add what is missing, such as hydrogen",
}

COLUMNS: Mapping[str, type[pl.DataType]] = {
    **dict.fromkeys(("name", "file", "family", "problem", "formula"), pl.String),
    "atoms": pl.Int64,
    **dict.fromkeys(("metals", "nodes", "linker_units", "node_formulas"), pl.String),
    **dict.fromkeys(("linkers", "linker_keys", "linkers_raw", "linkers_by"), pl.String),
    **dict.fromkeys(("linkers_autografs", "net", "net_tier"), pl.String),
    **dict.fromkeys(("catenation", "rods"), pl.Int64),
    **dict.fromkeys(("units", "assembly_problem"), pl.String),
    **dict.fromkeys((*CELL, "volume", "density", *PORES), pl.Float64),
    **dict.fromkeys(("metal_coordination", "linker_length", "packing_fraction"), pl.Float64),
}
"""Columns of the table and their types."""


def describe_files(
    paths: Sequence[Path],
    out: Path,
    *,
    units: Path | None = None,
    workers: int | None = None,
    limit: float = 60.0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Describe every structure in files or folders, and write the table.

    ``units`` is where building units go that the assembler can use; ``limit`` is in seconds for
    each task on a structure. Raises a DataError where there are no structures, a ShortfallError
    where not one could be read.
    """
    progress = progress or Progress()
    require(*DESCRIBING)
    if note := version_note():
        progress.note(note)
    require_writable(out)
    if units is not None:
        require_parent(units)
        if units.resolve() == out.resolve():
            hint = "Give the units a file of their own, such as units.xyz"
            raise DataError("the table goes there", where=f"--units {units}", hint=hint)
    with progress.stage("reading structures") as step:
        structures = list(read_frameworks_in(paths, step))
    if not structures:
        where = ", ".join(map(str, paths))
        raise DataError("no structures were found", where=where, hint="Give CIF files or folders")
    for folder in filter(Path.is_dir, paths):
        _require_structures(folder, structures)
    packages = {name: version(name) for name in ("mofstructure", "AuToGraFS", "rdkit")}
    settings = {"format": 2, "limit": limit, "probe": PROBE, **packages}
    tasks = {
        f"{one.key} {task}": (task, one.crystal)
        for one in structures
        if one.crystal is not None
        for task in _TASKS
    }
    with Journal(beside(out), settings) as journal:
        rows = journal.rows(
            describe_task,
            tasks,
            title=f"describing, in {len(_TASKS)} tasks a structure",
            progress=progress,
            workers=workers,
            limit=limit,
            initializer=silence,
        )
        found = [{task: rows.get(f"{s.key} {task}", {}) for task in _TASKS} for s in structures]
        frame = table_of(structures, found, units)
        write_table(frame, out)
        journal.remove()
    for line in _summary(frame):
        progress.note(line)
    if not frame["atoms"].is_not_null().any():
        raise ShortfallError(
            f"none of {len(structures):,} structures could be read",
            where=str(out),
            hint=f"The first is {structures[0].file}: {structures[0].problem}",
            written=True,
        )
    return frame


class Framework(NamedTuple):
    """A structure in its primitive Niggli cell with doubts about it, or why it cannot be read."""

    name: str
    file: str
    crystal: Crystal | None
    problem: str = ""

    @property
    def key(self) -> str:
        """Digest of what is described."""
        digest = hashlib.sha256(f"{self.name}\0{self.file}".encode())
        if self.crystal is not None:
            for part in (self.crystal.species, self.crystal.coordinates, self.crystal.lattice):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:32]


def read_frameworks_in(paths: Iterable[Path], step: Any = lambda _: None) -> Iterator[Framework]:
    """Read structures in order, those that are rejected with the reason."""
    count = 0
    sources = chain.from_iterable(map(_singly, read_sources(find_files(paths), properties=False)))
    for chunk, reading in read_in_order(sources, _LIMITS, os.cpu_count() or 1):
        crystals = reading.crystals
        if len(crystals):
            crystals = reduce_cells(primitive_cells(crystals))
        doubts = defaultdict[str, list[str]](list)
        for name, note in reading.notes.select("name", "note").rows():
            if note not in HARMLESS:
                doubts[name].append(f"{_FILE}{note}")
        for crystal in crystals:
            problem = "; ".join(doubts[crystal.name])
            yield Framework(crystal.name, chunk.files[0], crystal, problem)
        for file, name, reason in reading.rejects.select("file", "name", "reason").rows():
            yield Framework(name or Path(file).stem, file, None, f"{_FILE}{reason}")
        count += len(crystals) + len(reading.rejects)
        step(f"{count:,} structures")


def _singly(chunk: Chunk) -> Iterator[Chunk]:
    """Yield a portion for each text, so that structures and notes are known to be of its file."""
    if not isinstance(chunk.content, list):
        yield chunk
        return
    for place, text in enumerate(chunk.content):
        own = slice(place, place + 1)
        yield replace(
            chunk,
            content=[text],
            files=chunk.files[own],
            names=chunk.names[own],
            rows=chunk.rows[own],
            decoded=frozenset[int](),  # a harmless note
        )


def _require_structures(folder: Path, structures: Iterable[Framework]) -> None:
    """Raise a DataError where a folder holds other things, such as a run or a table."""
    own = [one for one in structures if Path(one.file).is_relative_to(folder)]
    other = all(kind in _OTHER_FILES for _, kind in find_files([folder]))
    if own and other and all(one.crystal is None for one in own):
        first = f"{Path(own[0].file).name}: {own[0].problem.removeprefix(_FILE)}"
        hint = f"Give CIF files or folders of them. The first file is {first}"
        raise DataError("no structures were found", where=str(folder), hint=hint)


# One structure, in a worker process.


def describe_task(task: str, crystal: Crystal) -> Row:
    """Carry out a task on a structure: ``pores``, ``linkers`` or ``units``."""
    if task == "linkers":
        return read_by_mofstructure(crystal)
    if task == "units":
        return read_by_autografs(crystal)
    return {**geometry(crystal), **measure_pores(crystal)}


def geometry(crystal: Crystal) -> dict[str, Any]:
    """Return what the cell and its atoms say without any reader."""
    crystals = Crystals.of([crystal])
    volume = float(crystals.volumes[0])
    spheres = 4 / 3 * np.pi * (COVALENT_RADII[crystal.species] ** 3).sum()
    bonded = Bonded(crystal)
    metals = np.flatnonzero(METALLIC[crystal.species]).tolist()
    around = [sum(crystal.species[j] != 1 for j, _ in bonded.nonmetals(m)) for m in metals]
    return {
        "formula": hill_formula(symbols_of(crystal.species).tolist()),
        "atoms": len(crystal),
        "metals": join(SYMBOLS[z] for z in crystal.species[metals]) or None,
        **dict(zip(CELL, map(float, cell_parameters(crystals.lattices)[0]), strict=True)),
        "volume": volume,
        "density": float(densities(crystals)[0]),
        "metal_coordination": float(np.mean(around)) if around else None,
        "packing_fraction": float(spheres / volume),
        "dimensions": max(rank for _, rank in bonded.components),
    }


# Rows.


def table_of(
    frameworks: Sequence[Framework], found: Sequence[Mapping[str, Row]], units: Path | None = None
) -> pl.DataFrame:
    """Make the table; building units of one kind get one name throughout it."""
    library, names = merge_units(
        (framework.name, one["units"].get("fragments", {}))
        for framework, one in zip(frameworks, found, strict=True)
    )
    if units is not None:
        write_units(units, library.values())
    rows = [
        _row(framework, one, own)
        for framework, one, own in zip(frameworks, found, names, strict=True)
    ]
    _check_assembly(rows, library)
    return pl.DataFrame(rows, schema=dict(COLUMNS), orient="row")


def _check_assembly(rows: Sequence[Row], library: UnitLibrary) -> None:
    """Say of every row why its units cannot be assembled on its net; nothing where they can.

    The recipe frameworks/assembly learns from the others.
    """
    known = [row for row in rows if row["net"] and row["nodes"]]
    compatibility = Compatibility(library) if known else None
    for row in rows:
        if compatibility is None or not (row["net"] and row["nodes"]):
            row["assembly_problem"] = "no net is known" if row["units"] else None
        elif row["rods"]:
            row["assembly_problem"] = "rods"
        else:
            own = (*split(row["nodes"]), *split(row["linker_units"]))
            row["assembly_problem"] = compatibility.why_not(row["net"], own) or None


def _row(framework: Framework, found: Mapping[str, Row], names: Mapping[str, str]) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"name": framework.name, "file": framework.file, "family": family_of(framework.name)}
    problems = framework.problem.split("; ") if framework.problem else []
    if framework.crystal is not None:
        pores, linkers, units = (found[task] for task in _TASKS)
        row |= {name: pores[name] for name in COLUMNS if name in pores and name != "problem"}
        if "problem" in pores:
            problems.append(f"pores: {pores['problem']}")
        elif pores.get("dimensions") == 0:
            problems.append("structure: molecules or loose atoms, no framework")
        if pores.get("metals", "") is None:
            problems.append("metals: none")
        row |= _linker_columns(linkers, units, problems)
        row |= _unit_columns(units, names, problems)
    row["problem"] = "; ".join(reason.replace(";", ",") for reason in problems) or None
    return row


def _linker_columns(
    by_mofstructure: Mapping[str, Any], by_autografs: Mapping[str, Any], problems: list[str]
) -> Row:
    """Linkers as mofstructure reads them, by AuToGraFS where that fails, and whether both agree."""
    readings = {
        reader: [read_linker(raw) for raw in found.get("linkers", ()) if raw]
        for reader, found in (("mofstructure", by_mofstructure), ("autografs", by_autografs))
    }
    # mofstructure leaves some linkers in two cells: what falls apart was not read.
    whole = not any("." in linker.smiles for linker in readings["mofstructure"])
    order = [*readings] if whole else [*reversed(readings)]
    by = next((reader for reader in order if any(one.parsed for one in readings[reader])), None)
    lengths = by_mofstructure.get("lengths")
    columns: Row = {
        "node_formulas": join(by_mofstructure.get("nodes", ())) or None,
        "linker_length": float(np.mean(lengths)) if lengths else None,
    }
    if by is None:
        problems.append(f"linkers: {by_mofstructure.get('problem', 'none found')}")
        return columns
    found = readings[by]
    smiles, other = (
        [linker.smiles for linker in some if linker.parsed]
        for some in (found, readings["autografs"])
    )
    if unread := [linker.raw for linker in found if not linker.parsed]:
        problems.append(f"linkers: no molecule {' and '.join(unread)}")
    if by == "mofstructure" and "problem" not in by_autografs:
        agree = linkers_agree(smiles, other)
        by = "both" if agree else "differ"
        columns["linkers_autografs"] = None if agree else join(other) or None
    return columns | {
        "linkers": join(smiles),
        "linker_keys": join(linker.key for linker in found) or None,
        "linkers_raw": join(linker.raw for linker in found),
        "linkers_by": by,
    }


def _unit_columns(units: Mapping[str, Any], names: Mapping[str, str], problems: list[str]) -> Row:
    if "problem" in units:
        problems.append(f"units: {units['problem']}")
        return {}
    counts: Counter[str] = Counter()
    for own, count in units["units"].items():
        # Units with one arm, such as a solvent, are in no library: nothing is built of them.
        if own in names:
            counts[names[own]] += count
    if not units["nets"]:
        problems.append("net: rods" if units["rods"] else "net: none that is known")
    return {
        "nodes": join(name for name in counts if name.startswith("node")) or None,
        "linker_units": join(name for name in counts if name.startswith("linker")) or None,
        "units": json.dumps(dict(sorted(counts.items()))),
        # Nets that share all signatures are one for any use; the first stands for them.
        "net": units["nets"][0] if units["nets"] else None,
        "net_tier": units["tier"] or None,
        "catenation": units["catenation"],
        "rods": units["rods"],
    }


def _summary(frame: pl.DataFrame) -> list[str]:
    shares = {
        "pores": "largest_cavity_diameter",
        "linkers": "linkers",
        "building units": "units",
        "a net": "net",
    }
    parts = [f"{what} {frame[name].count():,}" for what, name in shares.items()]
    lines = [f"{len(frame):,} structures; with {', '.join(parts)}"]
    readers = frame["linkers_by"].drop_nulls().value_counts(sort=True).rows()
    if readers:
        lines.append("linkers by " + ", ".join(f"{reader} {n:,}" for reader, n in readers))
    # Why a file was not read counts without what was found in it.
    every = frame["problem"].drop_nulls().str.split("; ").explode()
    reasons = Counter(next((k for k in _HINTS if one.startswith(k)), one) for one in every)
    for reason, count in reasons.most_common(6):
        hint = f". {_HINTS[reason]}" if reason in _HINTS else ""
        lines.append(f"{count:,} x {reason}{hint}")
    return lines
