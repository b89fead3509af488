"""Reading structures from files of any known format."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, lattices_from_parameters, offsets_of
from variolite.crystals.files.checks import (
    HARMLESS,
    HINTS,
    NOT_UTF8,
    Limits,
    RejectedError,
    faults,
)
from variolite.crystals.files.cif import parse_cif
from variolite.crystals.files.formats import Draft, Parser, parse_extxyz, parse_poscar
from variolite.crystals.files.sources import LONGEST_TEXT, Chunk, find_files, read_sources
from variolite.crystals.files.structure_json import parse_json
from variolite.errors import DataError
from variolite.records import write_table
from variolite.training.workers import Workers

Log = Callable[[str], None]
Paths = str | Path | Iterable[str | Path]
Line = tuple[str, int | None, str, str, str]

_REJECTS: Mapping[str, type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,  # from 0; null in a file of one structure
    "name": pl.String,
    "reason_code": pl.String,
    "reason": pl.String,
}
_NOTES: Mapping[str, type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "name": pl.String,
    "note": pl.String,
}


@dataclass(frozen=True)
class Reading:
    """What was read: structures that passed every check, in the order of the files.

    ``rejects`` has a row for each that did not (file, row, name, reason_code, reason); ``notes``
    one for each thing that was changed, guessed or found doubtful on reading (file, row, name,
    note).
    """

    crystals: Crystals
    rejects: pl.DataFrame
    notes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_NOTES))

    @classmethod
    def join(cls, parts: Sequence[Reading]) -> Reading:
        """Put readings together; where one lacks a property, its values are NaN or ""."""
        rejects = pl.concat([pl.DataFrame(schema=_REJECTS), *(part.rejects for part in parts)])
        notes = pl.concat([pl.DataFrame(schema=_NOTES), *(part.notes for part in parts)])
        return cls(_joined([part.crystals for part in parts]), rejects, notes)

    def without(
        self, wrong: Mapping[int, RejectedError], file: str, *, rows: bool = False
    ) -> Reading:
        """Move structures, by place, to the rejects; they all came from ``file``.

        With ``rows`` their places are its rows.
        """
        names = self.crystals.names
        lines = [
            (file, place if rows else None, str(names[place]), error.code, error.reason)
            for place, error in sorted(wrong.items())
        ]
        less = _reading(self.crystals, wrong, lines)
        return replace(less, rejects=pl.concat([self.rejects, less.rejects]), notes=self.notes)

    def report(self, log: Log, tables: tuple[Path, ...] = (), *, always: bool = False) -> None:
        """Log what was rejected or changed, and write the `tables_beside` a result.

        An empty table of rejects is written only ``always``; tables of an earlier attempt go: they
        would speak of structures that are fine now.
        """
        for line in self.remarks():
            log(line)
        for path, table in zip(tables, (self.rejects, self.notes), strict=False):
            if len(table) or (always and table is self.rejects):
                write_table(table, path)
            else:
                path.unlink(missing_ok=True)
            if len(table):
                title = "rejected structures" if table is self.rejects else "notes on structures"
                log(f"{title}: {path}")

    def remarks(self) -> list[str]:
        """Return sentences on what was rejected or changed; none when all is well."""
        kinds = Counter(note.partition(":")[0] for note in self.notes["note"].to_list())
        total = len(self.rejects) + len(self.crystals)
        lines = [f"{kind}, in {count} of {total} structures" for kind, count in kinds.items()]
        if len(self.rejects):
            lines.append(f"{len(self.rejects)} of {total} were rejected: {self._counted()}")
        return lines

    def require_sound(self) -> None:
        """Raise a DataError about the first structure rejected, changed, guessed or doubtful."""
        doubts = self.notes.filter(~pl.col("note").is_in(list(HARMLESS)))
        for table, column in ((self.rejects, "reason"), (doubts, "note")):
            if len(table):
                first = table.row(0, named=True)
                more = f" (and {len(table) - 1:,} more)" if len(table) > 1 else ""
                hint = "Correct or remove it, or leave --strict out"
                raise DataError(first[column] + more, where=_place(first), hint=hint)

    def require(self, share: float, paths: Paths) -> None:
        """Raise a DataError if nothing is left, or more than ``share`` of all was rejected."""
        rejected, total = len(self.rejects), len(self.rejects) + len(self.crystals)
        if not total:
            kinds = "CIF, POSCAR, extXYZ or JSON files, folders of them"
            hint = f"Give {kinds}, or tables with a column 'cif'"
            where = ", ".join(map(str, _listed(paths))) or None
            raise DataError("no structures were found", where=where, hint=hint)
        if len(self.crystals) and rejected <= share * total:
            return
        first = self.rejects.row(0, named=True)
        place = _place(first)
        if total == 1:
            raise DataError(first["reason"], where=place, hint=HINTS[first["reason_code"]])
        how_many = "too many structures" if len(self.crystals) else "all structures"
        what = f"{how_many} were rejected, {rejected} of {total}: {self._counted()}"
        raise DataError(what, hint=f"The first is {place}: {first['reason']}")

    def _counted(self) -> str:
        """Return the reasons with their numbers, the most frequent first."""
        counts = Counter(self.rejects["reason_code"].sort().to_list())
        return ", ".join(f"{code} {count}" for code, count in counts.most_common())


def tables_beside(out: Path) -> tuple[Path, Path]:
    """Where the tables of rejects and of notes go that belong to a result."""
    return out.with_name(f"{out.stem}.rejects.csv"), out.with_name(f"{out.stem}.notes.csv")


def _place(line: Mapping[str, Any]) -> str:
    return str(line["file"] if line["row"] is None else f"{line['file']}, row {line['row']}")


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _joined(parts: Sequence[Crystals]) -> Crystals:
    filled = [part for part in parts if len(part)] or [*parts[:1]] or [Crystals.of([])]
    if len(filled) == 1:
        return filled[0]
    names = dict.fromkeys(name for part in filled for name in part.properties)
    text = {n for part in filled for n, v in part.properties.items() if v.dtype.kind == "U"}
    tables = [{name: _column(part, name, name in text) for name in names} for part in filled]
    return Crystals.concatenate(
        [replace(part, properties=own) for part, own in zip(filled, tables, strict=True)]
    )


def _column(part: Crystals, name: str, as_text: bool) -> NDArray[Any]:
    values = part.properties.get(name)
    if values is None:
        return np.full(len(part), "" if as_text else np.nan)
    if as_text and values.dtype.kind != "U":
        return np.where(np.isnan(values), "", values.astype(np.str_))
    return values


# From texts to structures that passed every check.


def read_chunk(chunk: Chunk, limits: Limits) -> Reading:
    """Parse a chunk and check its structures; a function of a module for worker processes.

    Structures in a store were checked before they were written, or were made by a model: they
    are checked again only where other limits than the usual are asked for.
    """
    content = chunk.content
    if isinstance(content, RejectedError):
        line = (chunk.files[0], None, chunk.names[0], content.code, content.reason)
        return _reading(Crystals.of([]), {}, [line])
    if isinstance(content, Crystals):
        wrong = {} if limits == Limits() else faults(content, limits)
        return _reading(content, {}, []).without(wrong, chunk.files[0], rows=True)
    return _parsed(chunk, content, limits)


def _reading(
    crystals: Crystals,
    wrong: Mapping[int, RejectedError],
    lines: Sequence[Line],
    notes: Sequence[tuple[str, int | None, str, str]] = (),
) -> Reading:
    if wrong:
        crystals = crystals.take(np.delete(np.arange(len(crystals)), list(wrong)))
    tables = (
        pl.DataFrame(rows, schema=schema, orient="row")
        for rows, schema in ((list(lines), _REJECTS), (list(notes), _NOTES))
    )
    return Reading(crystals, *tables)


# Whatever a text holds is computed with: numbers that overflow are met by the checks.
@np.errstate(all="ignore")
def _parsed(chunk: Chunk, texts: list[str], limits: Limits) -> Reading:
    parsers: Mapping[str, Parser] = {
        "cif": partial(parse_cif, max_atoms=limits.max_atoms),
        "poscar": parse_poscar,
        "extxyz": parse_extxyz,
        "json": parse_json,
    }
    parse = parsers[chunk.kind]
    # Plain lists that grow: thousands of small arrays would take longer than the parsing.
    species: list[int] = []
    xyz: tuple[list[float], list[float], list[float]] = ([], [], [])
    cells: list[Sequence[float]] = []
    vectors: dict[int, NDArray[np.float64]] = {}
    counts: list[int] = []
    names: list[str] = []
    own: list[Mapping[str, Any]] = []
    # Text and frame (-1 in a text of one structure) of every structure, and of every reject.
    origins: list[tuple[int, int]] = []
    rejects: list[tuple[tuple[int, int], str, RejectedError]] = []
    notes: dict[int, tuple[str, ...]] = {}
    for place, text in enumerate(texts):
        found = _attempt(parse, text)
        several = len(found) > 1
        for number, draft in enumerate(found):
            frame = number if several else -1
            name = draft.name or chunk.names[place] + (f"-{frame}" if several else "")
            if isinstance(draft, RejectedError):
                rejects.append(((place, frame), name, draft))
                continue
            species += draft.species
            axes = draft.coordinates
            if isinstance(axes, np.ndarray):
                axes = axes.reshape(-1, 3).T.tolist()
            for whole, part in zip(xyz, axes, strict=True):
                whole += part
            cell = draft.cell
            if isinstance(cell, np.ndarray):
                vectors[len(cells)] = cell
                cell = (1.0, 1.0, 1.0, 90.0, 90.0, 90.0)
            cells.append(cell)
            counts.append(len(draft.species))
            names.append(name)
            own.append(draft.properties)
            origins.append((place, frame))
            if draft.notes or place in chunk.decoded:
                more = (NOT_UTF8,) if place in chunk.decoded else ()
                notes[len(names) - 1] = (*more, *draft.notes)
    lattices = lattices_from_parameters(np.array(cells, dtype=np.float64).reshape(-1, 6))
    if vectors:
        lattices[list(vectors)] = np.stack(list(vectors.values()))
    rows = np.array([place for place, _ in origins], dtype=np.int64)
    columns = {name: values[rows] for name, values in chunk.properties.items()}
    for key in dict.fromkeys(key for values in own for key in values):
        columns[key] = _text_or_numbers([values.get(key) for values in own])
    crystals = Crystals(
        np.array(species, dtype=np.uint8),
        np.array(xyz, dtype=np.float64).T.reshape(-1, 3).copy(),
        lattices,
        offsets_of(counts),
        np.array(names, dtype=np.str_),
        columns,
    )
    wrong = faults(crystals, limits)
    rejects += [(origins[place], names[place], error) for place, error in wrong.items()]

    def at(origin: tuple[int, int]) -> tuple[str, int | None]:
        place, frame = origin
        return chunk.files[place], chunk.rows[place] if frame < 0 else frame

    lines: list[Line] = [
        (*at(origin), name, e.code, e.reason)
        for origin, name, e in sorted(rejects, key=lambda reject: reject[0])
    ]
    noted = [
        (*at(origins[i]), names[i], note)
        for i, found in notes.items()
        if i not in wrong
        for note in found
    ]
    return _reading(crystals, wrong, lines, noted)


def _attempt(parse: Parser, text: str) -> Sequence[Draft | RejectedError]:
    if "\0" in text or "\ufffd" in text:
        return (RejectedError("not_text"),)
    try:
        return tuple(parse(text))
    except RejectedError as error:
        return (error,)
    # What no parser foresaw must not cost the other structures.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return (RejectedError("unreadable", f"{type(error).__name__}: {error}"[:160]),)


def _text_or_numbers(values: list[Any]) -> NDArray[Any]:
    """Return a property as numbers (NaN for None), or as text ("" for None) where it has any."""
    if all(value is None or isinstance(value, bool | int | float) for value in values):
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return np.array(["" if v is None else str(v)[:LONGEST_TEXT] for v in values], dtype=np.str_)


# Chunks in order, in worker processes once it turns out to be long work.

PATIENCE = 5.0
"""Seconds of parsing after which worker processes begin to pay: starting them takes two to
three, in which a hundred thousand structures are parsed."""


def read_in_order(
    chunks: Iterable[Chunk], limits: Limits, workers: int
) -> Iterator[tuple[Chunk, Reading]]:
    """Yield every chunk in the given order with what was read from it.

    Up to ``workers`` processes are started once :data:`PATIENCE` is over; chunks are read ahead
    by a few only, to bound the memory.
    """
    waiting: deque[tuple[Chunk, Future[Reading]]] = deque()
    pool, spent = None, 0.0
    with ExitStack() as stack:
        for chunk in chunks:
            if pool is None and workers > 1 and spent >= PATIENCE:
                pool = stack.enter_context(Workers(workers))
            # A store is mapped into memory; on its way to a worker it would be copied.
            if pool is not None and isinstance(chunk.content, list):
                future = pool.submit(read_chunk, chunk, limits)
            else:
                began, future = time.monotonic(), Future()
                future.set_result(read_chunk(chunk, limits))
                spent += time.monotonic() - began
            waiting.append((chunk, future))
            while len(waiting) > (2 * workers if pool else 0):
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def read_structures(
    paths: Paths,
    *,
    properties: bool = True,
    limits: Limits = Limits(),
    workers: int = 1,
    log: Log = lambda _: None,
) -> Reading:
    """Read every structure there is; what cannot be used is listed with the reason.

    Parameters
    ----------
    paths
        CIF (.cif), POSCAR and CONTCAR (also .vasp, .poscar), extended XYZ (.xyz, .extxyz), JSON
        of pymatgen, OPTIMADE, JARVIS or Matbench (.json), tables with a column ``cif`` (.csv,
        .tsv, .parquet, .feather), stores (.crystals), folders of these, and archives of all but
        stores (.zip, .tar, .tar.gz). Text may be compressed (.gz, .bz2, .xz).
    properties
        Keep the other columns of tables, and what extended XYZ and JSON hold beside a structure.
        Where files differ in their columns, values are missing (NaN or "").
    limits
        Bounds between which a structure is believed. Stores, checked when they were written, are
        checked again only where other limits than the usual are given.
    workers
        Largest number of processes, started only when it takes longer than some seconds. A
        script then needs the usual guard, ``if __name__ == "__main__"``.
    log
        Takes lines about progress.

    Raises
    ------
    DataError
        If a path does not exist, or more than ``limits.max_rejected`` or all are rejected.

    Examples
    --------
    >>> import tempfile
    >>> from variolite.crystals.files import textbook_crystals, write_structures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_structures(textbook_crystals().take(slice(18, 19)), f"{folder}/salt")
    ...     _ = Path(folder, "odd.cif").write_text("not a CIF")
    ...     reading = read_structures(folder)
    >>> reading.crystals.names.tolist(), reading.rejects["reason_code"].to_list()
    (['NaCl_(rock_salt)'], ['unreadable'])
    """
    reading = read_all(paths, properties=properties, limits=limits, workers=workers, log=log)
    reading.require(limits.max_rejected, paths)
    return reading


def load_crystals(
    paths: Paths, *, properties: bool = True, limits: Limits = Limits(), log: Log = lambda _: None
) -> Crystals:
    """Return the structures of :func:`read_structures`; logs how many were rejected."""
    reading = read_structures(paths, properties=properties, limits=limits, log=log)
    reading.report(log)
    return reading.crystals


def read_all(
    paths: Paths,
    *,
    properties: bool = True,
    limits: Limits = Limits(),
    workers: int = 1,
    log: Log = lambda _: None,
) -> Reading:
    """Read as :func:`read_structures` does, whatever fraction is rejected."""
    files = list(find_files(_listed(paths)))
    size = max(1.0, float(sum(path.stat().st_size for path, _ in files if path.exists())))
    began, done, structures = time.monotonic(), 0.0, 0
    parts = []
    for chunk, reading in read_in_order(read_sources(files, properties), limits, workers):
        parts.append(reading)
        structures += len(reading.crystals)
        done = min(done + chunk.size, size)
        left = (time.monotonic() - began) * (size - done) / max(done, 1.0)
        log(f"{structures:,} structures, {done / size:.0%}, {left:.0f} s left")
    return Reading.join(parts)
