"""Reading a table: delimited text, Parquet, Feather, LAS, a data frame or a mapping of arrays."""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError, nearest
from variolite.errors import DataWarning as DataWarning
from variolite.records.las import las_units, read_las
from variolite.records.memory import gunzip, require_memory
from variolite.records.schema import split_header

# Delimited text (CSV, TSV), strictly: what does not fit is an error, not a guess.

_GUARDED = r"^'([=+\-@\t\r])"
_SAMPLE = 1 << 16  # Bytes in which the separator is looked for.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or Excel workbook",
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"\x1f\x8b": "compressed with gzip",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF file",
    b"\x89HDF": "an HDF5 file",
    b"~V": "a LAS file",
}


def _read_delimited(path: Path, text: Sequence[str]) -> pl.DataFrame:
    """Read delimited text: types are inferred over the whole file, and ``text`` stays text."""
    data, separator, header = _delimited(path)
    # Measured: a column of numbers takes at most as many bytes as its text, and the parser some.
    require_memory(len(data) * 13 // 10, "parsing it")
    overrides = {name: pl.String for name in text if name in header}
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator,
            new_columns=header,
            schema_overrides=overrides,
            infer_schema_length=None,
        )
    except pl.exceptions.PolarsError:
        # Loosely written files (a blank after a closing quotation mark, a number too large for
        # its type) are read slowly, and each column gets the type it allows.
        records = list(_strict_records(data, separator))[1:]
        frame = pl.DataFrame(records, schema=dict.fromkeys(header, pl.String), orient="row")
        frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
        frame = frame.with_columns(_narrowed(frame[n]) for n in header if n not in overrides)
    else:
        frame = _without_blank_lines(frame, data, separator)
    _warn_of_swallowed_records(frame, separator, path)
    if b"'" in data:
        # `write_table` put an apostrophe before what a spreadsheet would run.
        frame = frame.with_columns(pl.col(pl.String).str.replace(_GUARDED, "$1"))
    return frame


def _without_blank_lines(frame: pl.DataFrame, data: bytes, separator: str) -> pl.DataFrame:
    """Drop blank lines, and refuse short records: polars fills both with nulls."""
    # Polars refuses a record that is too long. So none is too short where the file holds as many
    # separators outside of cells as full records have.
    found = data.count(separator.encode())
    if b'"' in data:
        found -= "".join(frame.columns).count(separator)
        cells = frame.select(pl.col(pl.String).str.count_matches(separator, literal=True).sum())
        found -= sum(map(sum, cells.rows()))
    if found == (frame.width - 1) * (1 + frame.height):
        return frame
    records = sum(1 for _ in _strict_records(data, separator))
    if frame.width == 1 or records == 1 + frame.height:
        return frame
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _warn_of_swallowed_records(frame: pl.DataFrame, separator: str, path: Path) -> None:
    """Warn where a quotation mark left open has turned records into text."""
    if frame.width < 3:
        return
    for series in frame.select(pl.col(pl.String)).iter_columns():
        several = series.str.contains("\n", literal=True).fill_null(value=False)
        for row in several.arg_true():
            marks = [line.count(separator) for line in series[row].splitlines()]
            records = sum(count >= frame.width // 2 for count in marks)
            if records > 1:
                warnings.warn(
                    f"{path}: row {row + 1} of column {series.name!r} holds {records} lines that "
                    "look like records. A quotation mark is left open there, and those rows are "
                    "lost. Correct the file.",
                    DataWarning,
                    stacklevel=5,
                )


def _delimited(path: Path) -> tuple[bytes, str, list[str]]:
    """Return content, separator and column names of a file of delimited text."""
    data = _content(path)
    # The separator that gives the header and the first records the same number of fields.
    separator, best = ",", (0.0, 1)
    for candidate in ",;\t|":
        records = _first_records(data, candidate)
        width = len(records[0]) if records else 0
        if width > 1:
            agreeing = sum(len(record) == width for record in records) / len(records)
            # Rounded, so that one ragged record does not outvote a wider header.
            score = (round(agreeing, 1), width)
            separator, best = max((separator, best), (candidate, score), key=lambda pair: pair[1])
    records = _first_records(data, separator)
    if not records:
        raise DataError("has no header line")
    named = pl.Series(records[0]).str.replace(_GUARDED, "$1").str.strip_chars()
    names = [name or f"unnamed_{i}" for i, name in enumerate(named, start=1)]
    for name in names:
        places = [str(i) for i, other in enumerate(names, start=1) if other == name]
        if len(places) > 1:
            listed = f"occurs {len(places)} times (columns {', '.join(places)})"
            hint = "Give every column a name of its own"
            raise DataError(f"the column name {name!r} {listed}", hint=hint)
    return data, separator, names


def _content(path: Path) -> bytes:
    """Return the content as UTF-8 with line feeds; DataError where it is no such text."""
    require_memory(path.stat().st_size, "reading it")
    data = path.read_bytes()
    if path.name.casefold().endswith(".gz"):
        data = gunzip(data)
    for magic, meaning in _FOREIGN.items():
        if data.startswith(magic):
            hint = "Give the file the ending that says what it is, or export it as CSV"
            raise DataError(f"is {meaning}, not delimited text", hint=hint)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeDecodeError:
            raise DataError("is damaged UTF-16 text") from None
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if b"\0" in data[:_SAMPLE]:
        raise DataError("is binary, not delimited text", hint="Export it as CSV or Parquet")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8 text"
        raise DataError(what, hint="Save the file with the encoding UTF-8") from None
    if not data.strip():
        raise DataError("the file is empty")
    return data


def _first_records(data: bytes, separator: str) -> list[list[str]]:
    """Return up to 50 first records that are certainly whole, without blank lines."""
    lines = io.StringIO(data[:_SAMPLE].decode("utf-8", errors="ignore"), newline="")
    try:
        records = [record for record in csv.reader(lines, delimiter=separator) if record]
    except csv.Error:
        return []
    cut = len(data) > _SAMPLE and len(records) > 1
    return records[:-1][:50] if cut else records[:50]


def _strict_records(data: bytes, separator: str) -> Iterator[list[str]]:
    """Read the header and every record that is no blank line; all must be equally wide."""
    reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=separator)
    width = 0
    try:
        for record in filter(None, reader):
            width = width or len(record)
            if len(record) != width:
                what = f"line {reader.line_num} has {len(record)} fields, the header has {width}"
                hint = "Put text that holds the separator or line breaks in quotation marks"
                raise DataError(what, hint=hint)
            yield record
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} cannot be read ({error})") from None


def _narrowed(series: pl.Series) -> pl.Series:
    for dtype in (pl.Int64, pl.Float64):
        try:
            return series.cast(dtype)
        except pl.exceptions.PolarsError:
            continue
    return series


# A table from a file, a data frame or a mapping of arrays.


def _read_columns(path: Path, scan: Callable[[io.BytesIO], pl.LazyFrame]) -> pl.DataFrame:
    table = scan(io.BytesIO(path.read_bytes()))
    # 16 bytes a cell: numbers take up to 8, short text 16; the rest is for decompression.
    cells = table.select(pl.len()).collect().item() * len(table.collect_schema())
    require_memory(16 * cells, "reading it")
    return table.collect()


# What reads a file, given the columns that are to stay text.
_READERS: dict[str, Callable[[Path, Sequence[str]], pl.DataFrame]] = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), _read_delimited),
    ".parquet": lambda path, _: _read_columns(path, pl.scan_parquet),
    ".feather": lambda path, _: _read_columns(path, pl.scan_ipc),
    ".arrow": lambda path, _: _read_columns(path, pl.scan_ipc),
    ".las": read_las,
}


def read_table(
    source: Any, *, columns: Sequence[str] | None = None, text: Sequence[str] = ()
) -> pl.DataFrame:
    """Read a table of at least one row and distinct column names.

    Parameters
    ----------
    source
        Path ending in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .feather, .arrow or .las (which
        gains a column ``WELL`` from its header where no curve names the well); a polars or
        pandas data frame; or a mapping of names to arrays.
    columns
        Columns to keep, in this order; all by default.
    text
        Columns to read as text whatever they look like, such as expedition numbers among which
        ``397T`` occurs. Names that the table lacks are passed over.

    Raises
    ------
    DataError
        If the file is missing, unreadable, malformed or empty, or lacks a column.

    Examples
    --------
    >>> read_table({"well": ["A", "A"], "GR": [30.5, None]}, columns=["GR"])["GR"].to_list()
    [30.5, None]
    """
    from_file = isinstance(source, str | Path)
    where = str(source) if from_file else None
    frame = _read_file(Path(source), text) if from_file else _from_memory(source)
    if not frame.width or not frame.height:
        what = "holds no columns" if not frame.width else "holds column names but no rows"
        raise DataError(what, where=where, hint="Give a table with at least one row")
    if columns is not None:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            close = nearest(missing[0], frame.columns)
            hint = f"Did you mean {close!r}? " if close else ""
            hint = f"{hint}It has: {', '.join(frame.columns[:20])}"
            raise DataError(f"has no column {missing[0]!r}", where=where, hint=hint)
        frame = frame.select(columns)
    as_text = [name for name in text if name in frame.columns and frame[name].dtype != pl.String]
    return frame.with_columns(pl.col(as_text).cast(pl.String)) if as_text else frame


def units_of(source: Any) -> dict[str, str]:
    """Return the units that a table states, by column: from a LAS header, or ``name (unit)``."""
    if not isinstance(source, str | Path):
        names = _from_memory(source).columns
    else:
        with _reading(Path(source)) as ending:
            if ending == ".las":
                return las_units(Path(source))
            if _READERS[ending] is _read_delimited:
                names = _delimited(Path(source))[2]
            else:
                names = _READERS[ending](Path(source), ()).columns
    return {name: unit for name in names if (unit := split_header(name)[1])}


def ending_of(path: Path, known: Iterable[str], verb: str) -> str:
    """Return the longest known ending, without regard to case; ``verb`` is for the error."""
    for ending in sorted(known, key=len, reverse=True):
        if path.name.casefold().endswith(ending):
            return ending
    what = f"{path.suffix!r} files" if path.suffix else "a file without an ending"
    listed = ", ".join(sorted(known))
    raise DataError(f"{what} cannot be {verb}", where=str(path), hint=f"Use one of {listed}")


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Check a path and give its ending; every error within names the path."""
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
        yield ending
    except DataError as error:
        raise DataError(error.what, where=str(path), hint=error.hint) from None
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        what = f"cannot be read as {ending} ({' '.join(str(error).split())[:200]})"
        hint = "The file is damaged, or its ending does not say what it is"
        raise DataError(what, where=str(path), hint=hint) from None


def _read_file(path: Path, text: Sequence[str]) -> pl.DataFrame:
    with _reading(path) as ending:
        return _READERS[ending](path, text)


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
        columns = [_pandas_column(name, source.iloc[:, i]) for i, name in enumerate(names)]
        return pl.DataFrame(columns)
    if isinstance(source, Mapping):
        series = [_array_column(str(name), values) for name, values in source.items()]
        lengths = {column.name: len(column) for column in series}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the arrays differ in length: {lengths}")
        return pl.DataFrame(series)
    hint = "Give a path, a polars or pandas data frame, or a mapping of names to arrays"
    raise DataError(f"a table cannot be made from {type(source).__name__}", hint=hint)


def _pandas_column(name: str, column: Any) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "bifuM":
        return pl.Series(name, column.to_numpy())
    if getattr(dtype, "kind", "O") in "iuf" and hasattr(dtype, "numpy_dtype"):
        return pl.Series(name, column.to_numpy(np.float64, na_value=np.nan)).fill_nan(None)
    objects = column.astype(object).to_numpy(dtype=object, copy=True)
    objects[column.isna().to_numpy()] = None
    return _array_column(name, objects)


def _array_column(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    array = np.asarray(values)
    if array.ndim != 1:
        what = f"column {name!r}: has {array.ndim} dimensions"
        raise DataError(what, hint="Give one value per row")
    if array.dtype.kind in "bifuUM":
        return pl.Series(name, array)
    # Objects: numbers with gaps stay numbers; anything else becomes text.
    items = [None if item is None or item != item else item for item in array.tolist()]
    present = [item for item in items if item is not None]
    if all(isinstance(item, int | float) and not isinstance(item, bool) for item in present):
        return pl.Series(name, [None if item is None else float(item) for item in items])
    return pl.Series(name, [None if item is None else str(item) for item in items], pl.String)
