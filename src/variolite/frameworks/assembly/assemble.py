"""Candidates to structures: rows of a table to CIF files that pass every check.

A row names a net and building units. They are placed by compatibility, relaxed, and checked; where
that fails, it is tried again with other choices among equals. What comes of every row, a structure
or a failure with its reason, is written at once, so that an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.elements import densities
from variolite.crystals.files.writing import file_names, to_cif
from variolite.crystals.geometry.periodic import reduce_cells
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.assembly.compatibility import (
    MAX_RMSD,
    Assignment,
    Compatibility,
    IncompatibleError,
)
from variolite.frameworks.assembly.nets import Nets, UnusableNetError, all_nets
from variolite.frameworks.assembly.placement import Built, CollapsedError, build
from variolite.frameworks.assembly.structure_checks import CHECKS, check_structure
from variolite.frameworks.assembly.unit_library import UnitLibrary, read_units, shipped_units
from variolite.frameworks.columns import CELL, PORES, split
from variolite.frameworks.description.pores import measure_pores
from variolite.frameworks.journal import as_line, continued
from variolite.frameworks.optional import require
from variolite.progress import Progress
from variolite.records import read_table, write_table, write_text_atomic
from variolite.training.workers import each_outcome

STRETCH = 0.3
"""Angstrom that a bond between two units may differ from its length."""

_LEDGER = "assembled.jsonl"


@dataclass(frozen=True)
class Settings:
    """How candidates are assembled: tries per candidate, fit of arms, seconds per candidate."""

    attempts: int = 6
    max_rmsd: float = MAX_RMSD
    limit: float = 60.0


@dataclass(frozen=True)
class Candidate:
    """What is asked for: nets of which the first that fits is taken, units by name, and how many
    such nets interpenetrate."""

    name: str
    nets: tuple[str, ...]
    units: tuple[str, ...]
    counts: Mapping[str, float]
    catenation: int = 1


@dataclass(frozen=True)
class Assembled:
    """What came of a candidate: a crystal that passes all checks, or a failure.

    ``first`` says whether the first attempt passed; ``checks`` what the last one failed. ``pores``
    are the columns of `variolite.frameworks.description.pores`, as measured on the crystal.
    """

    crystal: Crystal | None
    assignment: Assignment | None
    failure: str
    checks: Mapping[str, str]
    attempts: int
    first: bool
    seconds: float
    pores: Mapping[str, float] = field(default_factory=dict)


def assemble(
    candidate: Candidate, compatibility: Compatibility, settings: Settings | None = None
) -> Assembled:
    """Build one candidate, in this process."""
    settings = settings or Settings()
    began = time.perf_counter()
    failure, assignment, tried = "no net is given", None, 0
    checks: dict[str, str] = {}
    for net in candidate.nets:
        try:
            assignment = compatibility.place(net, candidate.units, counts=candidate.counts)
        except DataError as error:
            known = isinstance(error, IncompatibleError | UnusableNetError)
            failure = f"incompatible: {error.what}" if known else str(error)
            continue
        for seed in range(settings.attempts):
            if seed:
                assignment = compatibility.place(
                    net, candidate.units, counts=candidate.counts, seed=seed
                )
            tried += 1
            try:
                built = build(
                    compatibility.nets[net],
                    assignment,
                    compatibility.library,
                    catenation=candidate.catenation,
                    name=candidate.name,
                    seed=seed,
                )
            except CollapsedError as error:
                failure, checks = error.what, {}
                continue
            checks = check_structure(built.crystal)
            failure = _failure(built, checks)
            if not failure:
                seconds = time.perf_counter() - began
                return Assembled(built.crystal, assignment, "", {}, tried, tried == 1, seconds)
        break
    seconds = time.perf_counter() - began
    return Assembled(None, assignment, failure, checks, tried, False, seconds)


def _failure(built: Built, checks: Mapping[str, str]) -> str:
    if checks:
        return "; ".join(f"{name}: {detail}" for name, detail in checks.items())
    if built.stretch > STRETCH:
        return f"does not close: a bond is off by {built.stretch:.2f} A"
    if built.wrong_bonds:
        return f"{built.wrong_bonds} bonds between units differ from those of the net"
    return ""


# Candidates from a table.


def candidates_of(frame: pl.DataFrame, where: str = "candidates") -> list[Candidate]:
    """Read candidates from columns net, and nodes with linker_units, or units.

    A DataError says which column is missing; a cell that cannot be read fails its row later.
    """
    if "net" not in frame.columns or not {"nodes", "units"} & set(frame.columns):
        missing = "net" if "net" not in frame.columns else "nodes"
        hint = "Candidates need net and nodes, and linker_units where there are linkers; it has: "
        raise DataError(
            f"has no column {missing!r}",
            where=where,
            hint=hint + ", ".join(frame.columns[:20]),
        )
    given = frame["name"].cast(pl.String).to_list() if "name" in frame.columns else []
    width = len(str(frame.height))
    names = file_names(
        (given[place] if given else None) or f"candidate-{place + 1:0{width}}"
        for place in range(frame.height)
    )
    candidates = []
    for name, row in zip(names, frame.iter_rows(named=True), strict=True):
        counts = _counts(row.get("units"))
        units = {*split(row.get("nodes")), *split(row.get("linker_units"))} or set(counts)
        counts = {unit: counts[unit] for unit in sorted(units) if unit in counts}
        nets, fold = split(row.get("net")), _fold(row.get("catenation"))
        candidates.append(Candidate(name, nets, tuple(sorted(units)), counts, fold))
    return candidates


def _fold(cell: object) -> int:
    """How many nets interpenetrate, one where it is not said."""
    try:
        return max(1, round(float(str(cell))))
    except (ValueError, OverflowError):
        return 1


def _counts(cell: object) -> dict[str, float]:
    try:
        found = json.loads(str(cell)) if cell else {}
        return {str(unit): float(count) for unit, count in found.items() if float(count) > 0}
    except (ValueError, TypeError, AttributeError):
        return {}


def library_of(paths: Sequence[Path]) -> UnitLibrary:
    """Units of some files, then those that come with AuToGraFS."""
    return _given(paths).including(shipped_units())


def _given(paths: Sequence[Path]) -> UnitLibrary:
    library = UnitLibrary()
    for path in paths:
        library = library.including(read_units(path))
    return library


# Workers: each has the library and the nets that occur.

_COMPATIBILITY: list[Compatibility] = []


def _prepare(library: UnitLibrary, nets: Nets, max_rmsd: float) -> None:
    _COMPATIBILITY[:] = [Compatibility(library, nets, max_rmsd=max_rmsd)]


def _carry_out(candidate: Candidate, settings: Settings) -> Assembled:
    result = assemble(candidate, _COMPATIBILITY[0], settings)
    if result.crystal is None:
        return result
    return replace(result, pores=measure_pores(result.crystal))


def assemble_all(
    candidates: Sequence[Candidate],
    library: UnitLibrary,
    *,
    settings: Settings | None = None,
    workers: int | None = None,
) -> Iterator[tuple[int, Assembled]]:
    """Build candidates in worker processes; yields the place of each when it is done."""
    settings = settings or Settings()
    used = {unit for candidate in candidates for unit in candidate.units}
    chosen = UnitLibrary(library[unit] for unit in sorted(used & set(library)))
    nets = all_nets().only(net for candidate in candidates for net in candidate.nets)
    for place, outcome in each_outcome(
        _carry_out,
        [(candidate, settings) for candidate in candidates],
        workers=(os.cpu_count() or 1) if workers is None else workers,
        limit=settings.limit,
        initializer=_prepare,
        initargs=(chosen, nets, settings.max_rmsd),
    ):
        if outcome.status == "done":
            yield place, outcome.value
            continue
        crashed = outcome.status == "crashed"
        failure = f"error: {outcome.reason}" if crashed else outcome.reason
        seconds = 0.0 if crashed else settings.limit
        yield place, Assembled(None, None, failure, {}, 0, False, seconds)


# A folder of structures.


def assemble_table(
    table: Path,
    out: Path,
    *,
    units: Sequence[Path] = (),
    settings: Settings | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Assemble the candidates of a table into a folder; what is there already is kept.

    Writes NAME.cif for each that passes all checks, candidates.csv with all rows, provenance.json
    and report.html. Raises a ShortfallError where no candidate could be built.
    """
    settings, progress = settings or Settings(), progress or Progress()
    frame = read_table(table, text=("name", "net", "nodes", "linker_units", "units"))
    candidates = candidates_of(frame, str(table))
    # What is wrong is said before the folder is made, and the rest is read once it can be used.
    require("autografs", "nets and building units")
    given = _given(units)
    with closing(_Ledger(out)) as ledger:
        with progress.stage("reading nets and building units"):
            library = given.including(shipped_units())
            all_nets()
        keys = [_key(candidate, library, settings) for candidate in candidates]
        done = {place: ledger.found[key] for place, key in enumerate(keys) if key in ledger.found}
        if done:
            progress.note(f"{len(done):,} of {len(candidates):,} candidates are done already")
        left = [place for place in range(len(candidates)) if place not in done]
        with progress.stage("assembling", len(left)) as step:
            todo = [candidates[place] for place in left]
            built = 0
            for number, (index, result) in enumerate(
                assemble_all(todo, library, settings=settings, workers=workers), start=1
            ):
                place = left[index]
                done[place] = ledger.write(keys[place], candidates[place].name, result)
                built += result.crystal is not None
                step(f"{number:,}/{len(left):,}, {built:,} pass all checks", done=number)
        lines = [done[place] for place in range(len(candidates))]
        outcome = _table(frame, candidates, lines)
        write_table(outcome, out / "candidates.csv")
        record = _provenance(table, units, library, settings, candidates, lines)
        write_text_atomic(out / "provenance.json", json.dumps(record, indent=1) + "\n")
        with progress.stage("writing the report"):
            from variolite.frameworks.report.candidates_page import write_candidates_page

            write_candidates_page(out, library)
    passed = int(outcome["built"].sum())
    progress.note(f"{passed:,} of {len(lines):,} candidates are built and pass all checks")
    for reason, count in _reasons(lines).items():
        progress.note(f"{count:,} failed: {reason}")
    if not passed:
        error = ShortfallError(
            f"none of {len(lines):,} candidates could be built",
            where=str(table),
            hint=f"See the column failure of {out / 'candidates.csv'}",
        )
        error.written = True
        raise error
    return outcome


class _Ledger:
    """What came of each candidate, a line of JSON each, written as soon as it is known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / _LEDGER
        if folder.is_dir() and any(folder.iterdir()) and not self.path.exists():
            what = "is there already, and not an empty folder"
            raise DataError(what, where=str(folder), hint="Give the name of a new folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file, entries = continued(self.path)
        except OSError as error:
            what = f"cannot be used ({error.strerror or error})"
            raise DataError(what, where=str(folder), hint="Give another folder") from None
        lines = [entry for entry in entries if isinstance(entry, dict) and "key" in entry]
        # Candidates of two tables may have one name: the later has written over the file.
        last = {line["file"]: line["key"] for line in lines if line["built"]}
        self.found: dict[str, dict[str, Any]] = {
            line["key"]: line
            for line in lines
            if not line["built"]
            or (last[line["file"]] == line["key"] and (folder / line["file"]).exists())
        }

    def close(self) -> None:
        """Let other commands at the folder."""
        self.file.close()

    def write(self, key: str, name: str, result: Assembled) -> dict[str, Any]:
        line: dict[str, Any] = {
            "key": key,
            "built": result.crystal is not None,
            "failure": result.failure,
            "failed_checks": sorted(result.checks),
            "attempts": result.attempts,
            "first_attempt": result.first,
            "seconds": round(result.seconds, 3),
        }
        if result.assignment is not None:
            line["net_built"] = result.assignment.net
            line["units_built"] = result.assignment.counts()
            line["arm_rmsd"] = round(result.assignment.rmsd, 4)
        if result.crystal is not None:
            (crystal,) = crystals = reduce_cells(Crystals.of([result.crystal]))
            line["file"] = f"{name}.cif"
            line["atoms"] = len(crystal)
            cell = np.round(cell_parameters(crystals.lattices)[0], 4)
            line |= dict(zip(CELL, cell.tolist(), strict=True))
            line["volume"] = round(float(crystals.volumes[0]), 3)
            line["density"] = round(float(densities(crystals)[0]), 4)
            line |= {name: float(f"{value:.6g}") for name, value in result.pores.items()}
            write_text_atomic(self.folder / line["file"], to_cif(crystal))
        self.file.write(as_line(line))
        self.file.flush()
        return line


def _key(candidate: Candidate, library: UnitLibrary, settings: Settings) -> str:
    """Digest of all that decides what comes of a candidate."""
    digest = hashlib.sha256(
        json.dumps([asdict(candidate), asdict(settings), sorted(CHECKS)]).encode()
    )
    for unit in (library[name] for name in candidate.units if name in library):
        digest.update(" ".join([unit.kind, *unit.symbols]).encode())
        for points in (unit.positions, unit.ends):
            digest.update((np.round(points, 5) + 0.0).tobytes())
    return digest.hexdigest()[:24]


_ADDED = ("built", "failure", "failed_checks", "attempts", "first_attempt", "seconds", "file")
_MEASURED = ("net_built", "units_built", "arm_rmsd", "atoms", *CELL, "volume", "density", *PORES)


def _table(
    frame: pl.DataFrame, candidates: Sequence[Candidate], lines: Sequence[Mapping[str, Any]]
) -> pl.DataFrame:
    """The rows as given, with what came of each; what the request says of the cell is renamed."""
    clash = {name for name in (*_ADDED, *_MEASURED) if name in frame.columns}
    frame = frame.rename({name: f"{name}_requested" for name in clash})
    added: dict[str, list[Any]] = {"name": [candidate.name for candidate in candidates]}
    for column in (*_ADDED, *_MEASURED):
        values = [line.get(column) for line in lines]
        if column == "failed_checks":
            values = [";".join(value or ()) for value in values]
        if column == "units_built":
            values = [json.dumps(value) if value else None for value in values]
        added[column] = values
    return frame.with_columns(pl.Series(name, values) for name, values in added.items())


def _reasons(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often each kind of failure occurs, the most frequent first."""
    kinds: dict[str, int] = {}
    for line in lines:
        if not line["built"]:
            kind = "; ".join(line["failed_checks"]) or line["failure"]
            kinds[kind] = kinds.get(kind, 0) + 1
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    return dict(ordered[:6])


def _provenance(
    table: Path,
    units: Sequence[Path],
    library: UnitLibrary,
    settings: Settings,
    candidates: Sequence[Candidate],
    lines: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    versions = {}
    for package in ("variolite", "AuToGraFS", "numpy", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    used = sorted({unit for line in lines for unit in line.get("units_built") or ()})
    return {
        "table": str(table),
        "units": [str(path) for path in units],
        "settings": asdict(settings),
        "versions": versions,
        "checks": list(CHECKS),
        "sources": {unit: list(library[unit].sources) for unit in used if unit in library},
        "candidates": {
            candidate.name: {key: value for key, value in line.items() if key != "key"}
            for candidate, line in zip(candidates, lines, strict=True)
        },
    }
