"""Reading delimited text (CSV, TSV) strictly: what does not fit is an error, not a guess."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from variolite.errors import DataError


class DataWarning(UserWarning):
    """A table can be read, but something in it looks wrong."""


_SAMPLE = 1 << 16
_SEPARATORS = ",;\t|"
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


def read_delimited(path: Path, text: Sequence[str] = ()) -> pl.DataFrame:
    """Read a file of delimited text, compressed when it ends in .gz; ``text`` stays text.

    The separator is the one of ``, ; tab |`` that gives the header and the first
    records the same number of fields. Types are inferred over the whole file; a
    column that mixes numbers and words is text.
    """
    data = _content(path)
    separator = _separator(data)
    header = _header(data, separator, path)
    overrides: dict[str, type[pl.DataType]] = {name: pl.String for name in text if name in header}
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator,
            new_columns=header,
            schema_overrides=overrides or None,
            infer_schema_length=None,
        )
    except pl.exceptions.PolarsError:
        # Loosely written files (a blank after a closing quotation mark, a number too
        # large for its type) are read slowly, and each column gets the type it allows.
        records = list(_strict_records(data, separator, path))[1:]
        frame = pl.DataFrame(records, schema=dict.fromkeys(header, pl.String), orient="row")
        frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
        frame = frame.with_columns(_narrowed(frame[n]) for n in header if n not in overrides)
    else:
        frame = _without_blank_lines(frame, data, separator, path)
    _warn_of_swallowed_records(frame, separator, path)
    return frame


def _without_blank_lines(
    frame: pl.DataFrame, data: bytes, separator: str, path: Path
) -> pl.DataFrame:
    """Drop blank lines, and refuse short records: polars fills both with nulls."""
    # Polars refuses a record that is too long. So none is too short where the file
    # holds as many separators outside of cells as full records have.
    found = data.count(separator.encode())
    if b'"' in data:
        found -= "".join(frame.columns).count(separator)
        cells = frame.select(pl.col(pl.String).str.count_matches(separator, literal=True).sum())
        found -= sum(map(sum, cells.rows()))
    if found == (frame.width - 1) * (1 + frame.height):
        return frame
    records = sum(1 for _ in _strict_records(data, separator, path))
    if frame.width == 1 or records == 1 + frame.height:
        return frame
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _warn_of_swallowed_records(frame: pl.DataFrame, separator: str, path: Path) -> None:
    """Warn where a quotation mark left open has turned records into text."""
    if frame.width < 3:
        return
    for series in frame.select(pl.col(pl.String)).iter_columns():
        lines = series.str.contains("\n", literal=True).fill_null(value=False)
        for row in lines.arg_true().to_list():
            marks = [line.count(separator) for line in str(series[row]).splitlines()]
            records = sum(count >= frame.width // 2 for count in marks)
            if records > 1:
                warnings.warn(
                    f"{path}: row {row + 1} of column {series.name!r} holds {records} lines that "
                    "look like records. A quotation mark is left open there, and those rows are "
                    "lost. Correct the file.",
                    DataWarning,
                    stacklevel=5,
                )


def delimited_header(path: Path) -> list[str]:
    """Return the column names of a delimited file."""
    data = _content(path)
    return _header(data, _separator(data), path)


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.casefold().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"cannot be decompressed ({error})",
                where=str(path),
                hint="The file is truncated or not gzip",
            ) from None
    for magic, meaning in _FOREIGN.items():
        if data.startswith(magic):
            raise DataError(
                f"is {meaning}, not delimited text",
                where=str(path),
                hint="Give the file the ending that says what it is, or export it as CSV",
            )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeDecodeError:
            raise DataError("is damaged UTF-16 text", where=str(path)) from None
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if b"\0" in data[:_SAMPLE]:
        raise DataError(
            "is binary, not delimited text", where=str(path), hint="Export it as CSV or Parquet"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8 text",
            where=str(path),
            hint="Save the file with the encoding UTF-8",
        ) from None
    if re.search(rb"\S", data) is None:
        raise DataError("the file is empty", where=str(path))
    return data


def _sample_records(data: bytes, separator: str, limit: int = 50) -> list[list[str]]:
    """Return the first records that are certainly whole, without blank lines."""
    sample = data[:_SAMPLE]
    whole = len(sample) == len(data)
    lines = io.StringIO(sample.decode("utf-8", errors="ignore"), newline="")
    try:
        records = [record for record in csv.reader(lines, delimiter=separator) if record]
    except csv.Error:
        return []
    return records[:limit] if whole or len(records) < 2 else records[:-1][:limit]


def _separator(data: bytes) -> str:
    best, best_score = ",", (0.0, 1)
    for candidate in _SEPARATORS:
        records = _sample_records(data, candidate)
        if not records or len(records[0]) < 2:
            continue
        width = len(records[0])
        agreeing = sum(len(record) == width for record in records) / len(records)
        # Rounded, so that one ragged record does not outvote a wider header.
        score = (round(agreeing, 1), width)
        if score > best_score:
            best, best_score = candidate, score
    return best


def _header(data: bytes, separator: str, path: Path) -> list[str]:
    records = _sample_records(data, separator, limit=1)
    if not records:
        raise DataError("has no header line", where=str(path))
    names = [
        name.strip() or f"unnamed_{position}" for position, name in enumerate(records[0], start=1)
    ]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        places = [str(i) for i, name in enumerate(names, start=1) if name == repeated[0]]
        raise DataError(
            f"the column name {repeated[0]!r} occurs {len(places)} times "
            f"(columns {', '.join(places)})",
            where=str(path),
            hint="Give every column a name of its own",
        )
    return names


def _strict_records(data: bytes, separator: str, path: Path) -> Iterator[list[str]]:
    """Read the header and every record that is no blank line; all must be equally wide."""
    reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=separator)
    width = 0
    try:
        for record in filter(None, reader):
            width = width or len(record)
            if len(record) != width:
                raise DataError(
                    f"line {reader.line_num} has {len(record)} fields, the header has {width}",
                    where=str(path),
                    hint="Put text that holds the separator or line breaks in quotation marks",
                )
            yield record
    except csv.Error as error:
        raise DataError(
            f"line {reader.line_num} cannot be read ({error})", where=str(path)
        ) from None


def _narrowed(series: pl.Series) -> pl.Series:
    for dtype in (pl.Int64, pl.Float64):
        try:
            return series.cast(dtype)
        except pl.exceptions.PolarsError:
            continue
    return series
