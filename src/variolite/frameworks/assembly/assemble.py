"""Candidates to structures: rows of a table to CIF files that pass every check.

A row names a net and building units. They are placed by compatibility, relaxed, and checked; where
that fails, it is tried again with other choices among equals. What comes of every row, a structure
or a failure with its reason, is written at once, so that an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from variolite import __version__
from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.elements import METALLIC, SYMBOLS, densities, symbols_of
from variolite.crystals.files.writing import file_names, to_cif
from variolite.crystals.geometry.periodic import reduce_cells
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.assembly.compatibility import (
    Assignment,
    Compatibility,
    IncompatibleError,
)
from variolite.frameworks.assembly.nets import Nets, UnusableNetError, all_nets
from variolite.frameworks.assembly.placement import CollapsedError, build
from variolite.frameworks.assembly.structure_checks import CHECKS, check_structure
from variolite.frameworks.assembly.unit_library import (
    UnitLibrary,
    hill_formula,
    library_of,
    read_units,
)
from variolite.frameworks.columns import CELL, PORES, join, split
from variolite.frameworks.description.pores import measure_pores
from variolite.frameworks.journal import Journal, Row
from variolite.optional import require
from variolite.progress import Progress
from variolite.records import read_table, write_table, write_text_atomic

ATTEMPTS = 6
"""How often a candidate is tried, with other choices among equals."""

STRETCH = 0.3
"""Angstrom that a bond between two units may differ from its length."""

JOURNAL = "assembled.jsonl"

_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "built": pl.Boolean,
    **dict.fromkeys(("failure", "failed_checks"), pl.String),
    "first_attempt": pl.Boolean,
    "seconds": pl.Float64,
    **dict.fromkeys(("file", "net_built", "units_built", "formula", "metals"), pl.String),
    "atoms": pl.Int64,
    **dict.fromkeys((*CELL, "volume", "density", *PORES), pl.Float64),
}
"""Columns beside those of the candidates, and their types."""


class Candidate(NamedTuple):
    """What is asked for: nets of which the first that fits is taken, units by name, in about
    these proportions, and how many such nets interpenetrate."""

    name: str
    nets: tuple[str, ...]
    units: tuple[str, ...]
    counts: Mapping[str, float]
    catenation: int = 1


@dataclass
class Assembled:
    """What came of a candidate: a crystal that passes all checks, or a failure.

    ``first`` says whether the first attempt passed; ``checks`` what the last one failed.
    """

    crystal: Crystal | None = None
    assignment: Assignment | None = None
    failure: str = "no net is given"
    checks: Mapping[str, str] = field(default_factory=dict)
    first: bool = False


def assemble(candidate: Candidate, compatibility: Compatibility) -> Assembled:
    """Build one candidate, in this process."""
    result = Assembled()
    _, nets, units, counts, catenation = candidate
    for net in nets:
        for seed in range(ATTEMPTS):
            try:
                result.assignment = compatibility.place(net, units, counts=counts, seed=seed)
                built = build(
                    compatibility.nets[net],
                    result.assignment,
                    compatibility.library,
                    catenation=catenation,
                    name=candidate.name,
                    seed=seed,
                )
            except CollapsedError as error:
                result.failure, result.checks = error.what, {}
                continue
            except DataError as error:
                known = isinstance(error, IncompatibleError | UnusableNetError)
                result.failure = f"incompatible: {error.what}" if known else str(error)
                break
            result.checks = check_structure(built.crystal)
            if result.checks:
                result.failure = "; ".join(f"{n}: {detail}" for n, detail in result.checks.items())
            elif built.stretch > STRETCH:
                result.failure = f"does not close: a bond is off by {built.stretch:.2f} A"
            elif built.wrong_bonds:
                what = f"{built.wrong_bonds} bonds between units differ from those of the net"
                result.failure = what
            else:
                return Assembled(built.crystal, result.assignment, "", {}, seed == 0)
        if result.assignment is not None:
            break
    return result


# Candidates from a table.


def candidates_of(frame: pl.DataFrame, where: str = "candidates") -> list[Candidate]:
    """Read candidates from columns net, and nodes with linker_units, or units.

    A DataError says which column is missing; a cell that cannot be read fails its row later.
    """
    if "net" not in frame.columns or not {"nodes", "units"} & set(frame.columns):
        missing = "net" if "net" not in frame.columns else "nodes"
        hint = "Candidates need net and nodes, and linker_units where there are linkers; it has: "
        hint += ", ".join(frame.columns[:20])
        raise DataError(f"has no column {missing!r}", where=where, hint=hint)
    width = len(str(frame.height))
    rows = list(frame.iter_rows(named=True))
    numbered = ((row.get("name"), f"candidate-{i:0{width}}") for i, row in enumerate(rows, 1))
    names = file_names(str(name or number) for name, number in numbered)
    candidates = []
    for name, row in zip(names, rows, strict=True):
        counts = _counts(row.get("units"))
        units = {*split(row.get("nodes")), *split(row.get("linker_units"))} or set(counts)
        counts = {unit: counts[unit] for unit in sorted(units) if unit in counts}
        try:
            fold = max(1, round(float(str(row.get("catenation")))))
        except (ValueError, OverflowError):
            fold = 1
        candidates.append(Candidate(name, split(row["net"]), tuple(sorted(units)), counts, fold))
    return candidates


def _counts(cell: object) -> dict[str, float]:
    try:
        found = json.loads(str(cell)) if cell else {}
        return {str(unit): float(count) for unit, count in found.items() if float(count) > 0}
    except (ValueError, TypeError, AttributeError):
        return {}


# Workers: each has the units and nets that occur.

_COMPATIBILITY: list[Compatibility] = []


def _prepare(library: UnitLibrary, nets: Nets) -> None:
    _COMPATIBILITY[:] = [Compatibility(library, nets)]


def _carry_out(candidate: Candidate, folder: Path) -> Row:
    """Build a candidate, and write its CIF where it passes all checks."""
    began = time.perf_counter()
    result = assemble(candidate, _COMPATIBILITY[0])
    row: Row = {
        "built": result.crystal is not None,
        "failure": result.failure,
        "failed_checks": ";".join(sorted(result.checks)),
        "first_attempt": result.first,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if result.assignment is not None:
        row |= {"net_built": result.assignment.net, "units_built": result.assignment.counts()}
    if result.crystal is not None:
        (crystal,) = crystals = reduce_cells(Crystals.of([result.crystal]))
        row |= {"file": f"{candidate.name}.cif", "atoms": len(crystal)}
        row["formula"] = hill_formula(symbols_of(crystal.species).tolist())
        row["metals"] = join(SYMBOLS[z] for z in crystal.species[METALLIC[crystal.species]])
        row |= zip(CELL, np.round(cell_parameters(crystals.lattices)[0], 4).tolist(), strict=True)
        row["volume"] = round(float(crystals.volumes[0]), 3)
        row["density"] = round(float(densities(crystals)[0]), 4)
        row |= {name: float(f"{value:.6g}") for name, value in measure_pores(crystal).items()}
        write_text_atomic(folder / row["file"], to_cif(crystal))
    return row


# A folder of structures.


def assemble_table(
    table: Path,
    out: Path,
    *,
    units: Sequence[Path] = (),
    limit: float = 60.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Assemble the candidates of a table into a folder; an interrupted run resumes.

    Writes NAME.cif for each that passes all checks, candidates.csv with all rows, provenance.json
    and report.html; ``limit`` is in seconds for a candidate. Raises a ShortfallError where no
    candidate could be built.
    """
    progress = progress or Progress()
    frame = read_table(table, text=("name", "net", "nodes", "linker_units", "units"))
    candidates = candidates_of(frame, str(table))
    # What is wrong is said before the folder is made, and the rest is read once it can be used.
    require("autografs")
    for path in units:
        read_units(path)
    inputs = [repr(candidates).encode(), *(path.read_bytes() for path in units)]
    settings = {
        "limit": limit,
        "attempts": ATTEMPTS,
        "checks": sorted(CHECKS),
        "inputs": hashlib.sha256(b"".join(inputs)).hexdigest(),
    }
    _require_folder(out)
    with Journal(out / JOURNAL, settings) as journal:
        with progress.stage("reading nets and building units"):
            library = library_of(units)
            nets = all_nets().only(net for candidate in candidates for net in candidate.nets)
        used = {unit for candidate in candidates for unit in candidate.units}
        for name, row in list(journal.found.items()):
            if row.get("file") and not (out / row["file"]).exists():
                del journal.found[name]
        found = journal.rows(
            _carry_out,
            {candidate.name: (candidate, out) for candidate in candidates},
            title="assembling",
            progress=progress,
            workers=workers,
            limit=limit,
            initializer=_prepare,
            initargs=(UnitLibrary(library[unit] for unit in sorted(used & {*library})), nets),
        )
        # A row of a task that failed has a problem only.
        failed = {"built": False, "failed_checks": "", "first_attempt": False, "seconds": limit}
        rows = [
            {"failure": row["problem"], **failed} if "problem" in row else row
            for row in found.values()
        ]
        outcome = _table(frame, found, rows)
        write_table(outcome, out / "candidates.csv")
        made = {unit for row in rows for unit in row.get("units_built", ())}
        record = {
            "table": str(table),
            "units": [str(path) for path in units],
            "settings": settings,
            "versions": {"variolite": __version__, "AuToGraFS": version("AuToGraFS")},
            "sources": {unit: library[unit].sources for unit in sorted(made)},
            "candidates": dict(zip(found, rows, strict=True)),
        }
        write_text_atomic(out / "provenance.json", json.dumps(record, indent=1) + "\n")
        with progress.stage("writing the report"):
            from variolite.frameworks.report.candidates_page import write_candidates_page

            write_candidates_page(out, library)
    passed = int(outcome["built"].sum())
    progress.note(f"{passed:,} of {len(rows):,} candidates are built and pass all checks")
    reasons = Counter(row["failed_checks"] or row["failure"] for row in rows if not row["built"])
    for reason, count in reasons.most_common(6):
        progress.note(f"{count:,} failed: {reason}")
    if not passed:
        raise ShortfallError(
            f"none of {len(rows):,} candidates could be built",
            where=str(table),
            hint=f"See the column failure of {out / 'candidates.csv'}",
            written=True,
        )
    return outcome


def _require_folder(folder: Path) -> None:
    """Make a folder, or raise a DataError where it is none, or holds other things."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JOURNAL).exists():
        what = "is there already, and not an empty folder"
        raise DataError(what, where=str(folder), hint="Give the name of a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JOURNAL).touch()
    except OSError as error:
        what = f"cannot be used ({error.strerror or error})"
        raise DataError(what, where=str(folder), hint="Give another folder") from None


def _table(frame: pl.DataFrame, names: Iterable[str], rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as given, with what came of each; what the request says of the cell is renamed."""
    texts = [
        row | {"units_built": json.dumps(row["units_built"])} if "units_built" in row else row
        for row in rows
    ]
    added = pl.DataFrame(texts, schema=dict(_COLUMNS), orient="row")
    added = added.with_columns(pl.Series("name", list(names)))
    clash = {name for name in _COLUMNS if name in frame.columns}
    if "built" in clash:  # What came of an earlier assembling is no request.
        frame, clash = frame.drop(clash), set()
    if "name" in frame.columns and not frame["name"].equals(added["name"]):
        clash.add("name")
    frame = frame.rename({name: f"{name}_requested" for name in clash})
    return frame.with_columns(added.get_columns())
