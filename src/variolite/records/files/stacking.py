"""Many files as one table: rows are stacked by what the columns mean."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from variolite.errors import DataError, DataWarning, VarioliteError
from variolite.records.records import SENTINELS, numeric_values
from variolite.records.units import can_convert, convert, split_header, units_agree

if TYPE_CHECKING:
    from variolite.records.files.tables import Table
    from variolite.records.schema import Schema

_WELL = "well"
_WELL_HEADERS = {"well", "well_name", "wellname", "well name", "wellbore", "hole", "borehole"}


def find_tables(source: Any, endings: Iterable[str]) -> tuple[list[Path], bool]:
    """Return the files of one or several paths, folders or patterns, and whether they are many."""
    given = [source] if isinstance(source, str | Path) else list(source)
    known = tuple(endings)
    found: dict[Path, Path] = {}
    for path in map(Path, given):
        files = [path]
        if path.is_dir():
            files = [p for p in sorted(path.rglob("*")) if p.name.casefold().endswith(known)]
            files = [p for p in files if p.is_file() and not _hidden(p.relative_to(path))]
        elif not path.exists() and glob.has_magic(str(path)):
            anchor = Path(path.anchor or ".")
            files = sorted(anchor.glob(str(path.relative_to(path.anchor))))
        if not files:
            hint = f"Tables end in {', '.join(sorted(known))}"
            raise DataError("no table is found there", where=str(path), hint=hint)
        found |= {p.resolve(): p for p in files}
    if not found:
        raise DataError("no file is given", hint="Give at least one path")
    paths = list(found.values())
    return paths, paths != [Path(p) for p in given[:1]]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def stack(
    paths: list[Path],
    read: Callable[[Path], Table],
    schema: Schema | None,
    mapping: Mapping[str, str],
) -> Table:
    """Read files and stack their rows; those that cannot be used are named and left out."""
    stacked = _Stack(schema, mapping)
    failed: list[DataError] = []
    for path in paths:
        try:
            stacked.add(read(path), path)
        except VarioliteError as error:
            where = str(path) if error.where in (None, str(path)) else f"{path}: {error.where}"
            failed.append(DataError(error.what, where=where, hint=error.hint))
    if not stacked.frames:
        what = f"{failed[0].what} (none of {len(paths)} files can be used)"
        raise DataError(what, where=failed[0].where, hint=failed[0].hint)
    stacked.notes += [f"left out: {error}" for error in failed]
    if failed:
        stacked.notes.append(f"{len(failed)} of {len(paths)} files are left out")
    return stacked.table()


class _Stack:
    """Tables under common headers: those of the first one that holds a column."""

    def __init__(self, schema: Schema | None, mapping: Mapping[str, str]) -> None:
        self.schema, self.mapping = schema, mapping
        self.frames: list[pl.DataFrame] = []
        self.headers: dict[str, str] = {}  # By key.
        self.units: dict[str, str] = {}  # By header.
        self.notes: list[str] = []
        self.paths: list[Path] = []  # By frame.
        self.unnamed: list[str] = []  # Files that do not name their well.

    def add(self, table: Table, path: Path) -> None:
        """Add the rows of a file; VarioliteError, and nothing is added, where they do not fit."""
        meanings = self.schema.sources(table.frame.columns, self.mapping) if self.schema else {}
        if self.schema and not {c.name for c in self.schema.inputs} & set(meanings.values()):
            raise DataError("holds none of the input columns", hint="Bind them with --map")
        headers, units = dict(self.headers), dict(self.units)
        columns: dict[str, pl.Series] = {}
        for series in table.frame.iter_columns():
            key = self._key(series.name, meanings)
            key = series.name if key in columns else key
            header = headers.setdefault(key, series.name)
            meaning = meanings.get(series.name)
            if self.schema and meaning and self.schema.columns[meaning].kind == "numeric":
                numeric_values(series)  # Refuses what is no number.
            unit = table.units.get(series.name)
            common = units.setdefault(header, unit) if unit else None
            if unit and common and not units_agree(common, unit):
                series = _converted(series, unit, common)
                self.notes.append(f"{path}: {series.name} is converted from {unit} to {common}")
            columns[key] = series.alias(header)
        if _WELL not in columns and (self.schema is None or self.schema.group):
            header = headers.setdefault(_WELL, self._well_header())
            columns = {_WELL: pl.Series(header, [path.stem] * table.frame.height), **columns}
            self.unnamed.append(path.name)
        self.frames.append(pl.DataFrame(list(columns.values())))
        self.paths.append(path)
        self.headers, self.units = headers, units

    def _key(self, header: str, meanings: Mapping[str, str]) -> str:
        """Return what a column is joined by: its meaning, or else its header."""
        group = self.schema.group if self.schema else None
        known, name = meanings.get(header), split_header(header)[0].strip().casefold()
        found = set(meanings.values())
        if group and known == group.name:
            return _WELL
        if known is None and name in _WELL_HEADERS and not (group and group.name in found):
            return _WELL
        return f"meaning {known}" if known else name

    def _well_header(self) -> str:
        group = self.schema.group if self.schema else None
        return (
            "WELL" if group is None else self.mapping.get(group.name) or group.source or group.name
        )

    def table(self) -> Table:
        """Return all rows, and say what is missing in some of the files."""
        from variolite.records.files.tables import Table

        try:
            frame = pl.concat(self.frames, how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            what = f"the files hold values of different kinds ({str(error).splitlines()[0]:.160})"
            raise DataError(what, hint="Give the files one by one to find it") from None
        if self.unnamed:
            listed = ", ".join(self.unnamed[:3]) + ", ..." * (len(self.unnamed) > 3)
            count = len(self.unnamed)
            self.notes.append(f"{count} files name no well and are taken for one each: {listed}")
        for header in frame.columns:
            lacking = sum(header not in part.columns for part in self.frames)
            if lacking:
                self.notes.append(f"{header} is missing in {lacking} of {len(self.frames)} files")
        for note in self.notes:
            warnings.warn(note, DataWarning, stacklevel=5)
        heights = [part.height for part in self.frames]
        files = pl.Series(list(map(str, self.paths))).gather(
            np.repeat(range(len(heights)), heights)
        )
        return Table(frame, self.units, files)


def _converted(series: pl.Series, unit: str, common: str) -> pl.Series:
    if not can_convert(unit, common):
        what = f"is in {unit}, in the files before it in {common}"
        raise DataError(what, where=f"column {series.name!r}", hint="Read it on its own")
    values = numeric_values(series)
    # What stands for a missing value is no value to convert.
    marked = np.isin(values, (*SENTINELS, -999.0, -9999.0))
    return pl.Series(series.name, np.where(marked, values, convert(values, unit, common)))
