"""Reading delimited text (CSV, TSV) strictly: what does not fit is an error, not a guess."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError


class DataWarning(UserWarning):
    """A table can be read, but something in it looks wrong."""


_CHUNK = 1 << 24
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
    """Read delimited text.

    The separator is the one of ``, ; tab |`` that gives the header and the first
    records the same number of fields. Types are inferred over the whole file; a
    column that mixes numbers and words is text.

    Parameters
    ----------
    path
        File, compressed with gzip when it ends in .gz.
    text
        Columns to read as text.

    Warns
    -----
    DataWarning
        If a field has swallowed whole records.

    Raises
    ------
    DataError
        If it is not text, not UTF-8, has no header or rows, repeats a column name, or
        holds a record with more or fewer fields than the header.
    """
    data = _content(path)
    separator = _separator(data)
    header = _header(data, separator, path)
    has_blank_lines = _check_fields(data, separator, len(header), path)
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
        frame = _parse_slowly(data, separator, header)
        frame = frame.with_columns(
            _narrowed(frame[name]) for name in header if name not in overrides
        )
    if has_blank_lines and len(header) > 1:
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    _warn_of_swallowed_records(frame, separator, path)
    return frame


def _warn_of_swallowed_records(frame: pl.DataFrame, separator: str, path: Path) -> None:
    """Warn where a quotation mark left open has turned records into text."""
    for series in frame.iter_columns():
        if series.dtype != pl.String:
            continue
        suspects = series.str.contains("\n", literal=True).fill_null(value=False).arg_true()
        for row in suspects.to_list():
            lines = str(series[row]).splitlines()
            records = sum(line.count(separator) >= frame.width // 2 for line in lines)
            if frame.width > 2 and records > 1:
                warnings.warn(
                    f"{path}: row {row + 1} of column {series.name!r} holds {records} lines that "
                    "look like records. A quotation mark is left open there, and those rows are "
                    "lost. Mend the file.",
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
    _check_encoding(data, path)
    if re.search(rb"\S", data) is None:
        raise DataError("the file is empty", where=str(path))
    return data


def _check_encoding(data: bytes, path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=start + _CHUNK >= len(data))
        except UnicodeDecodeError as error:
            position = start - pending + error.start
            line = data.count(b"\n", 0, position) + 1
            raise DataError(
                f"byte 0x{data[position]:02x} in line {line} is not UTF-8 text",
                where=str(path),
                hint="Save the file with the encoding UTF-8",
            ) from None


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


def _check_fields(data: bytes, separator: str, width: int, path: Path) -> bool:
    """Compare the number of fields of every record with the header's.

    Returns whether there are blank lines between records.
    """
    counts = _field_counts(data, separator)
    blank = counts == 0
    if not np.all(blank | (counts == width)):
        # Quotation marks inside unquoted text mislead the fast count: count slowly.
        lines = io.StringIO(data.decode("utf-8"), newline="")
        reader = csv.reader(lines, delimiter=separator)
        try:
            for record in reader:
                if record and len(record) != width:
                    raise DataError(
                        f"line {reader.line_num} has {len(record)} fields, the header has {width}",
                        where=str(path),
                        hint="Put text that holds the separator or line breaks in quotation marks",
                    )
        except csv.Error as error:
            raise DataError(
                f"line {reader.line_num} cannot be read ({error})", where=str(path)
            ) from None
    return bool(blank.any())


def _field_counts(data: bytes, separator: str) -> NDArray[np.int64]:
    """Return the number of fields of each record, 0 for a blank line.

    Text in quotation marks is taken to hide separators and line breaks.
    """
    found: list[NDArray[np.int64]] = []
    quoted, fields, length = 0, 0, 0
    for start in range(0, len(data) + 1, _CHUNK):
        chunk = data[start : start + _CHUNK]
        if start + _CHUNK > len(data) and not data.endswith(b"\n"):
            chunk += b"\n"
        codes = np.frombuffer(chunk, dtype=np.uint8)
        ends = codes == ord("\n")
        marks = codes == ord(separator)
        if quoted or b'"' in chunk:
            # Counted modulo 256, which leaves odd and even as they are.
            parity = (np.cumsum(codes == ord('"'), dtype=np.uint8) + np.uint8(quoted)) & 1
            quoted = int(parity[-1]) if parity.size else quoted
            ends &= parity == 0
            marks &= parity == 0
        end_at = np.flatnonzero(ends)
        before = np.searchsorted(np.flatnonzero(marks), end_at)
        per_record = np.diff(before, prepend=0)
        widths = np.diff(end_at, prepend=-1)
        if end_at.size:
            per_record[0] += fields
            widths[0] += length
            fields = int(marks.sum() - before[-1])
            length = len(chunk) - 1 - int(end_at[-1])
        else:
            fields += int(marks.sum())
            length += len(chunk)
        blank = (widths == 1) | ((widths == 2) & (codes[np.maximum(end_at - 1, 0)] == ord("\r")))
        found.append(np.where(blank, 0, per_record + 1).astype(np.int64))
    return np.concatenate(found)


def _parse_slowly(data: bytes, separator: str, header: list[str]) -> pl.DataFrame:
    lines = io.StringIO(data.decode("utf-8"), newline="")
    records = [record for record in csv.reader(lines, delimiter=separator) if record]
    columns = zip(*records[1:], strict=True) if len(records) > 1 else [()] * len(header)
    return pl.DataFrame(
        [
            pl.Series(name, [value.strip() or None for value in column], dtype=pl.String)
            for name, column in zip(header, columns, strict=True)
        ]
    )


def _narrowed(series: pl.Series) -> pl.Series:
    for dtype in (pl.Int64, pl.Float64):
        try:
            return series.cast(dtype)
        except pl.exceptions.PolarsError:
            continue
    return series
