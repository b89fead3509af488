"""Many files as one table: rows are stacked by what the columns mean."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError, DataWarning, VarioliteError, some_of
from variolite.records.records import SENTINELS, numeric_values
from variolite.records.units import can_convert, convert, split_header, units_agree

if TYPE_CHECKING:
    from variolite.records.schema import Schema

_WELL = "well"
_WELL_HEADERS = {"well", "well_name", "wellname", "well name", "wellbore", "hole", "borehole"}


class Table(NamedTuple):
    """A table, the units that its files and headers state, by column, and the file of every row.

    ``files`` is None where no files were stacked.
    """

    frame: pl.DataFrame
    units: dict[str, str]
    files: pl.Series | None = None


def find_tables(source: Any, endings: Iterable[str]) -> tuple[list[Path], bool]:
    """Return the files of one or several paths, folders or patterns, and whether they are many."""
    given = [Path(p) for p in ([source] if isinstance(source, str | Path) else source)]
    known = tuple(endings)
    found: dict[Path, Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = [p for p in sorted(path.rglob("*")) if p.name.casefold().endswith(known)]
            hidden = [any(s.startswith(".") for s in p.relative_to(path).parts) for p in files]
            files = [p for p, h in zip(files, hidden, strict=True) if p.is_file() and not h]
        elif not path.exists() and glob.has_magic(str(path)):
            files = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not files:
            hint = f"Tables end in {', '.join(sorted(known))}"
            raise DataError("no table is found there", where=str(path), hint=hint)
        found |= {p.resolve(): p for p in files}
    if not found:
        raise DataError("no file is given", hint="Give at least one path")
    paths = list(found.values())
    return paths, paths != given[:1]


def stack(
    paths: list[Path],
    read: Callable[[Path], Table],
    schema: Schema | None,
    mapping: Mapping[str, str],
    wells: bool = True,
) -> Table:
    """Read files and stack their rows; those that cannot be used are named and left out.

    Columns get the header and the unit of the first file that holds them. With ``wells`` a file
    that names no well is taken for one.
    """
    group = schema.group if schema else None
    well_header = (mapping.get(group.name) or group.source or group.name) if group else "WELL"
    frames: dict[Path, pl.DataFrame] = {}
    headers: dict[str, str] = {}  # By key.
    units: dict[str, str] = {}  # By header.
    notes: list[str] = []
    unnamed: list[str] = []
    failed: list[DataError] = []
    for path in paths:
        try:
            table = read(path)
            keys = _keys(table.frame, schema, mapping)
            names = {key: headers.get(key, header) for key, header in keys.items()}
            columns = [_in_unit(table, keys[k], units.get(n)).alias(n) for k, n in names.items()]
        except VarioliteError as error:
            where = str(path) if error.where in (None, str(path)) else f"{path}: {error.where}"
            failed.append(DataError(error.what, where=where, hint=error.hint))
            continue
        if wells and _WELL not in keys and (schema is None or group):
            unnamed.append(path.name)
            names[_WELL] = headers.get(_WELL, well_header)
            columns.insert(0, pl.Series(names[_WELL], [path.stem] * table.frame.height))
        frames[path] = pl.DataFrame(columns)
        headers = names | headers
        for key, header in keys.items():
            unit = table.units.get(header)
            if unit and not units_agree(common := units.setdefault(names[key], unit), unit):
                notes.append(f"{path}: {header} is converted from {unit} to {common}")
    if not frames:
        what = f"{failed[0].what} (none of {len(paths)} files can be used)"
        raise DataError(what, where=failed[0].where, hint=failed[0].hint)
    try:
        frame = pl.concat(frames.values(), how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        what = f"the files hold values of different kinds ({str(error).splitlines()[0]:.160})"
        raise DataError(what, hint="Give the files one by one to find it") from None
    notes += [f"left out: {error}" for error in failed]
    if failed:
        notes.append(f"{len(failed)} of {len(paths)} files are left out")
    if unnamed:
        listed = ", ".join(unnamed[:3]) + ", ..." * (len(unnamed) > 3)
        notes.append(
            f"{len(unnamed)} files name no {well_header} and are taken for one each: {listed}"
        )
    missing: dict[int, list[str]] = {}
    for header in frame.columns:
        lacking = sum(header not in part.columns for part in frames.values())
        missing.setdefault(lacking, []).append(header)
    for lacking, absent in sorted(missing.items()):
        if lacking:
            what = f"{some_of(absent)} {'are' if absent[1:] else 'is'} missing"
            notes.append(f"{what} in {lacking} of {len(frames)} files")
    for note in notes:
        warnings.warn(note, DataWarning, stacklevel=4)
    heights = [part.height for part in frames.values()]
    files = pl.Series(list(map(str, frames))).gather(np.repeat(range(len(heights)), heights))
    return Table(frame, units, files)


def _keys(frame: pl.DataFrame, schema: Schema | None, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return every header by what its column is joined by: its meaning, or else its name.

    DataError where the table has no input, or a numeric column holds anything but numbers.
    """
    meanings, group = dict[str, str](), schema.group.name if schema and schema.group else None
    if schema:
        meanings = schema.sources(frame.columns, mapping)
        if not {c.name for c in schema.inputs} & set(meanings.values()):
            raise DataError("holds none of the input columns", hint="Bind them with --map")
        for header, known in meanings.items():
            if schema.columns[known].kind == "numeric":
                numeric_values(frame[header])
    named = group in meanings.values()
    keys: dict[str, str] = {}
    for header in frame.columns:
        meaning, name = meanings.get(header), split_header(header)[0].casefold()
        key = f"meaning {meaning}" if meaning else name
        if meaning == group if named else meaning is None and name in _WELL_HEADERS:
            key = _WELL
        keys[header if key in keys else key] = header
    return keys


def _in_unit(table: Table, header: str, common: str | None) -> pl.Series:
    """Return a column in the common unit; DataError where that is impossible."""
    series, unit = table.frame[header], table.units.get(header)
    if not unit or not common or units_agree(common, unit):
        return series
    if not can_convert(unit, common):
        what = f"is in {unit}, in the files before it in {common}"
        raise DataError(what, where=f"column {header!r}", hint="Read it on its own")
    values = numeric_values(series)
    # What stands for a missing value is not converted.
    marked = np.isin(values, (*SENTINELS, -999.0, -9999.0))
    return pl.Series(np.where(marked, values, convert(values, unit, common)))
