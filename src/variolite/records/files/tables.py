"""Reading a table from one file or many, a data frame or a mapping of arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from variolite.errors import DataError, nearest
from variolite.errors import DataWarning as DataWarning
from variolite.records.files.delimited import (
    distinct,
    noting,
    read_delimited,
    understood,
    units_row,
)
from variolite.records.files.dlis import read_dlis
from variolite.records.files.las import read_las
from variolite.records.files.memory import require_memory
from variolite.records.files.stacking import Table, find_tables, stack
from variolite.records.units import split_header

if TYPE_CHECKING:
    from variolite.records.schema import Schema


def _read_excel(path: Path, text: Sequence[str], *_: object) -> tuple[pl.DataFrame, dict[str, str]]:
    """Read the first sheet of an Excel workbook, as delimited text is read."""
    try:
        import fastexcel
    except ImportError:
        hint = "Install it with `pip install 'variolite[logs]'`, or save the sheet as CSV"
        raise DataError("Excel files need the package fastexcel", hint=hint) from None
    note = noting(path)
    try:
        book = fastexcel.read_excel(path)
        head = book.load_sheet(0, header_row=None, n_rows=3, dtypes="string").to_polars().rows()
        header = [str(cell or f"unnamed_{i}").strip() for i, cell in enumerate(head[0], start=1)]
        header = distinct(header, note)
        units = units_row(head[1:], header)
        types: Any = {header.index(name): "string" for name in text if name in header}
        skipped = 1 + bool(units)
        sheet = book.load_sheet(
            0,
            header_row=None,
            column_names=header,
            skip_rows=skipped,
            schema_sample_rows=None,
            dtypes=types,
        )
    except (fastexcel.FastExcelError, IndexError) as error:
        raise DataError(f"cannot be read as Excel ({str(error).splitlines()[0]:.160})") from None
    if len(book.sheet_names) > 1:
        note(f"of {len(book.sheet_names)} sheets the first is read, {book.sheet_names[0]}")
    frame = sheet.to_polars()
    strings = (understood(s, ";") for s in frame.iter_columns() if s.dtype == pl.String)
    return frame.with_columns(s for s in strings if s.name not in text), units


def _read_columns(path: Path, scan: Callable[[io.BytesIO], pl.LazyFrame]) -> pl.DataFrame:
    table = scan(io.BytesIO(path.read_bytes()))
    # 16 bytes a cell: numbers take up to 8, short text 16; the rest is for decompression.
    cells = table.select(pl.len()).collect().item() * len(table.collect_schema())
    require_memory(16 * cells, "reading it")
    return table.collect()


# What reads a file, given the columns that are to stay text and the bytes that are enough of
# delimited text: a table, and units beside headers.
_Reader = Callable[[Path, Sequence[str], int | None], tuple[pl.DataFrame, dict[str, str]]]
_READERS: dict[str, _Reader] = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), read_delimited),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), _read_excel),
    ".parquet": lambda path, *_: (_read_columns(path, pl.scan_parquet), {}),
    ".feather": lambda path, *_: (_read_columns(path, pl.scan_ipc), {}),
    ".arrow": lambda path, *_: (_read_columns(path, pl.scan_ipc), {}),
    ".las": read_las,
    ".dlis": read_dlis,
}


def read_table(
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    text: Sequence[str] = (),
    nulls: Sequence[str] = (),
) -> pl.DataFrame:
    """Read a table of at least one row and distinct column names.

    Parameters
    ----------
    source
        Path ending in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .feather, .arrow, .xlsx, .las or
        .dlis (which gain a column ``WELL`` from their header where no curve names it); several
        paths, a folder or a pattern such as ``wells/*.las``, whose tables are stacked by column
        name; a polars or pandas data frame; or a mapping of names to arrays.
    columns
        Columns to keep, in this order; all by default.
    text
        Columns to read as text whatever they look like, such as expedition numbers among which
        ``397T`` occurs. Names that the table lacks are passed over.
    nulls
        Further spellings of a missing value, beside NA, NULL, -999.25 and the like.

    Raises
    ------
    DataError
        If the file is missing, unreadable, malformed or empty, or lacks a column.

    Examples
    --------
    >>> read_table({"well": ["A", "A"], "GR": [30.5, None]}, columns=["GR"])["GR"].to_list()
    [30.5, None]
    """
    frame = load_table(source, text=text, nulls=nulls).frame
    if columns is not None:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            close = nearest(missing[0], frame.columns)
            hint = f"Did you mean {close!r}? " if close else ""
            hint = f"{hint}It has: {', '.join(frame.columns[:20])}"
            where = str(source) if isinstance(source, str | Path) else None
            raise DataError(f"has no column {missing[0]!r}", where=where, hint=hint)
        frame = frame.select(columns)
    return frame


def units_of(source: Any) -> dict[str, str]:
    """Return the units that a table states, by column.

    They stand in a LAS header, in a row below the header or in it, as ``name (unit)``.
    """
    return load_table(source).units


def load_table(
    source: Any,
    *,
    text: Sequence[str] = (),
    nulls: Sequence[str] = (),
    schema: Schema | None = None,
    mapping: Mapping[str, str] | None = None,
    most_bytes: int | None = None,
    wells: bool = True,
) -> Table:
    """Read a table with its units; see `read_table`.

    With a ``schema`` (and table columns by meaning in ``mapping``) the columns of several files
    go together that hold the same meaning. Of delimited text beyond ``most_bytes`` in a file the
    first rows are read, with a warning. With ``wells`` a file of several that names no well is
    taken for one.
    """
    if isinstance(source, Table):
        return source
    if not isinstance(source, str | Path | list | tuple):
        return _finished(_from_memory(source), {}, None, text, nulls)

    def read(path: Path) -> Table:
        frame, units = _read_file(path, text, most_bytes)
        return _finished(frame, units, str(path), text, nulls)

    paths, many = find_tables(source, _READERS)
    return stack(paths, read, schema, mapping or {}, wells) if many else read(paths[0])


def _finished(
    frame: pl.DataFrame,
    units: Mapping[str, str],
    where: str | None,
    text: Sequence[str],
    nulls: Sequence[str],
) -> Table:
    if not frame.width or not frame.height:
        what = "holds no columns" if not frame.width else "holds column names but no rows"
        raise DataError(what, where=where, hint="Give a table with at least one row")
    as_text = [name for name in text if name in frame.columns and frame[name].dtype != pl.String]
    if as_text:
        frame = frame.with_columns(pl.col(as_text).cast(pl.String))
    if nulls:
        frame = frame.with_columns(_without(series, nulls) for series in frame.iter_columns())
    stated = {name: unit for name in frame.columns if (unit := split_header(name)[1])}
    return Table(frame, stated | {name: units[name] for name in frame.columns if name in units})


def _without(series: pl.Series, nulls: Sequence[str]) -> pl.Series:
    """Make entries that are spelled like one of ``nulls`` missing; text may then be numbers."""
    if series.dtype == pl.String:
        hit = series.str.strip_chars().is_in(list(nulls))
        return understood(series.set(hit, None), ",") if hit.any() else series
    if not series.dtype.is_numeric():
        return series
    numbers = pl.Series(nulls).cast(pl.Float64, strict=False).drop_nulls().to_list()
    return series.set(series.cast(pl.Float64).is_in(numbers), None)


def ending_of(path: Path, known: Iterable[str], verb: str) -> str:
    """Return the longest known ending, without regard to case; ``verb`` is for the error."""
    for ending in sorted(known, key=len, reverse=True):
        if path.name.casefold().endswith(ending):
            return ending
    what = f"{path.suffix!r} files" if path.suffix else "a file without an ending"
    listed = ", ".join(sorted(known))
    raise DataError(f"{what} cannot be {verb}", where=str(path), hint=f"Use one of {listed}")


def _read_file(
    path: Path, text: Sequence[str], most_bytes: int | None
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Read a file by its ending; every error names the path."""
    ending = ""
    try:
        if path.is_dir():
            raise DataError("is a folder, not a table", hint="Give a file in it")
        if not path.exists():
            close = nearest(path.name, [p.name for p in path.parent.glob("*")])
            raise DataError(
                "no such file", hint=f"Did you mean {close!r}?" if close else "Check the path"
            )
        ending = ending_of(path, _READERS, "read")
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
        return _READERS[ending](path, text, most_bytes)
    except DataError as error:
        raise DataError(error.what, where=str(path), hint=error.hint) from None
    # Polars panics, which is no PolarsError, on some damaged Parquet files.
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        EOFError,
        ValueError,
    ) as error:
        what = f"cannot be read as {ending} ({' '.join(str(error).split())[:200]})"
        hint = "The file is damaged, or its ending does not say what it is"
        raise DataError(what, where=str(path), hint=hint) from None


def _from_memory(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise DataError(f"the data frame has two columns {min(twice)!r}", hint="Rename one")
        source = {name: source.iloc[:, i] for i, name in enumerate(names)}
    if isinstance(source, Mapping):
        columns = [_column(str(name), values) for name, values in source.items()]
        lengths = {column.name: len(column) for column in columns}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the arrays differ in length: {lengths}")
        return pl.DataFrame(columns)
    hint = "Give a path, a polars or pandas data frame, or a mapping of names to arrays"
    raise DataError(f"a table cannot be made from {type(source).__name__}", hint=hint)


def _column(name: str, values: Any) -> pl.Series:
    """Make a column of a list, an array or a column of pandas; objects become numbers or text."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "isna") and not (
        isinstance(values.dtype, np.dtype) and values.dtype.kind in "bifuM"
    ):
        values = values.astype(object).where(values.notna(), None)
    array = np.asarray(values)
    if array.ndim != 1:
        what = f"column {name!r}: has {array.ndim} dimensions"
        raise DataError(what, hint="Give one value per row")
    if array.dtype.kind in "bifuUM":
        return pl.Series(name, array)
    items = [None if item is None or item != item else item for item in array.tolist()]
    numbers = not any(isinstance(i, bool) or not isinstance(i, int | float | None) for i in items)
    kind, dtype = (float, pl.Float64) if numbers else (str, pl.String)
    return pl.Series(name, [None if item is None else kind(item) for item in items], dtype)
