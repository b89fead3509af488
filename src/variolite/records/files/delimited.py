"""Reading delimited text strictly: what does not fit is an error, not a guess."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning
from variolite.records.files.memory import gunzip, require_memory
from variolite.records.records import numeric_values
from variolite.records.units import canonical_unit

Units = dict[str, str]
Note = Callable[[str], None]

_GUARDED = r"^'([=+\-@\t\r])"
_SAMPLE = 1 << 16  # Bytes in which the separator is looked for.
# What programs write where there is no number, casefolded.
_WORDS = """
na n/a nan null (null) none nil - -- --- . ? err error missing absent #n/a #value! #num! #div/0!
-nan nan(ind) -nan(ind)
"""
MISSING_WORDS = frozenset(_WORDS.split())
# Those that may stand in text as well.
_NO_TEXT = ("NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "(null)", "(NULL)", "<null>", "nan")
_NO_NUMBER = r"^[*#]+$|^-?1\.#"  # An overflow, and what old compilers write.
_DECIMAL_COMMA = r"^[+-]?\d+(,\d+)?([eE][+-]?\d+)?$"
_NAME = r"^\s*0\d+\s*$"
_MOSTLY = 0.5  # Share of decimal commas from which a column is one of numbers.
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})*$"
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


def read_delimited(
    path: Path, text: Sequence[str], most_bytes: int | None = None
) -> tuple[pl.DataFrame, Units]:
    """Read delimited text, and the units of a row of units below the header.

    Each column gets the type that all of it allows; ``text`` stays text, and so do whole numbers
    with leading zeros, which are names. Usual spellings of a missing value are missing, and
    decimal commas are read as points. Of a file beyond ``most_bytes`` the first rows are read.
    """
    note = noting(path)
    data = _content(path, note, most_bytes)
    separator = _separator(data)
    records = _first_records(data, separator)
    if not records:
        raise DataError("has no header line")
    named = pl.Series(records[0]).str.replace(_GUARDED, "$1").str.strip_chars()
    header = distinct([name or f"unnamed_{i}" for i, name in enumerate(named, start=1)], note)
    units = units_row(records[1:3], header)
    above = 1 + bool(units)
    # Text takes 16 bytes a cell, and those of long cells again; numbers take 8.
    cells = data.count(separator.encode()) + data.count(b"\n")
    require_memory(24 * cells + len(data), "parsing it")
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator,
            new_columns=header,
            skip_rows_after_header=above - 1,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        # Loosely written files (a blank after a closing quotation mark) are read slowly.
        rows = list(_strict_records(data, separator))[above:]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
        frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
    else:
        frame = _without_blank_lines(frame, data, separator, above)
    _warn_of_swallowed_records(frame, separator, note)
    others = [series for series in frame.iter_columns() if series.name not in text]
    frame = frame.with_columns(_truth(understood(series, separator)) for series in others)
    if b"'" in data:
        # `write_table` put an apostrophe before what a spreadsheet would run.
        frame = frame.with_columns(pl.col(pl.String).str.replace(_GUARDED, "$1"))
    return frame, units


def units_row(records: Sequence[Sequence[str | None]], header: Sequence[str]) -> Units:
    """Return the units of the first record by column; none where it holds anything else."""
    if len(records) < 2:
        return {}
    first, second = ([(cell or "").strip().strip("[]()") for cell in row] for row in records[:2])
    units = {name: c for name, c in zip(header, first, strict=False) if re.search("[^-_.]", c)}
    known = sum(canonical_unit(unit) is not None for unit in units.values())
    below = [number for name, number in zip(header, second, strict=False) if name in units]
    numbers = [sum(map(_is_number, cells)) for cells in (units.values(), below)]
    sure = known > 1 and known >= len(units) / 2 and not numbers[0] and numbers[1] >= len(below) / 2
    return units if sure else {}


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", cell.casefold()) is not None


def understood(series: pl.Series, separator: str) -> pl.Series:
    """Turn text into numbers where every entry that is not missing is one."""
    if (numbers := _numbers(series)) is not None:
        return numbers
    plain = series.str.strip_chars()
    missing = plain.is_in(["", *_NO_TEXT])
    unmarked = plain.set(missing, None)
    no_number = unmarked.str.to_lowercase().is_in(list(MISSING_WORDS))
    no_number |= unmarked.str.contains(_NO_NUMBER)
    words = unmarked.set(no_number.fill_null(value=False), None)
    if (numbers := _numbers(words)) is not None:
        return numbers
    commas = words.str.contains(_DECIMAL_COMMA).fill_null(value=False)
    numbers = words.set(~commas, None)
    if (
        commas.sum() > _MOSTLY * (len(words) - words.null_count())
        and not numbers.str.contains(_NAME).any()
        and (separator != "," or not numbers.str.contains(_THOUSANDS).all())
        and words.set(commas, None).cast(pl.Float64, strict=False).null_count() == len(words)
    ):
        points = words.str.replace(",", ".", literal=True).zip_with(commas, series)
        return points.cast(pl.Float64) if (commas | words.is_null()).all() else points
    return series.set(missing & (plain != ""), None) if missing.any() else series


def numbers_among(series: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of a column, NaN elsewhere, and a mask of cells that hold other text.

    Both are (n,). Missing values and the words for them are no text.
    """
    if series.dtype != pl.String:
        return numeric_values(series), np.zeros(len(series), dtype=bool)
    words = series.str.strip_chars().str.to_lowercase()
    words = words.set(words.is_in(["", *MISSING_WORDS]) | words.str.contains(_NO_NUMBER), None)
    values = words.cast(pl.Float64, strict=False)
    return numeric_values(values), (values.is_null() & words.is_not_null()).to_numpy()


def _numbers(words: pl.Series) -> pl.Series | None:
    """Return all of a column as numbers, or None where an entry is another word or a name."""
    if words.null_count() == len(words):
        return words.cast(pl.Null)
    for dtype in (pl.Int64, pl.Float64):
        with suppress(pl.exceptions.PolarsError):
            numbers = words.cast(dtype)
            padded = dtype == pl.Int64 and words.str.contains(_NAME).any()
            return None if padded else numbers
    return None


def _truth(series: pl.Series) -> pl.Series:
    if series.dtype != pl.String:
        return series
    words = series.str.to_lowercase()
    return words == "true" if words.is_in(["true", "false"]).all() else series


def _without_blank_lines(
    frame: pl.DataFrame, data: bytes, separator: str, header_lines: int
) -> pl.DataFrame:
    """Drop blank lines, and refuse short records: polars fills both with nulls."""
    # Polars refuses a record that is too long. So none is too short where the file holds as many
    # separators outside of cells as full records have.
    found = data.count(separator.encode())
    if b'"' in data:
        found -= "".join(frame.columns).count(separator)
        cells = frame.select(pl.col(pl.String).str.count_matches(separator, literal=True).sum())
        found -= sum(map(sum, cells.rows()))
    if found == (frame.width - 1) * (header_lines + frame.height):
        return frame
    records = sum(1 for _ in _strict_records(data, separator))
    if frame.width == 1 or records == header_lines + frame.height:
        return frame
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _warn_of_swallowed_records(frame: pl.DataFrame, separator: str, note: Note) -> None:
    """Warn where a quotation mark left open has turned records into text."""
    if frame.width < 3:
        return
    for series in frame.iter_columns():
        several = series.str.contains("\n", literal=True).fill_null(value=False)
        for row in several.arg_true():
            marks = [line.count(separator) for line in series[row].splitlines()]
            records = sum(count >= frame.width // 2 for count in marks)
            if records > 1:
                note(
                    f"row {row + 1} of column {series.name!r} holds {records} lines that look "
                    "like records. A quotation mark is left open there, and those rows are lost. "
                    "Correct the file."
                )


def _separator(data: bytes) -> str:
    """Return what gives the header and the first records the same number of fields."""
    found, best = ",", (0.0, 1)
    for candidate in ",;\t|":
        records = _first_records(data, candidate)
        width = len(records[0]) if records else 0
        if width > 1:
            agreeing = sum(len(record) == width for record in records) / len(records)
            # Rounded, so that one ragged record does not outvote a wider header.
            score = (round(agreeing, 1), width)
            found, best = max((found, best), (candidate, score), key=lambda pair: pair[1])
    return found


def noting(path: Path) -> Note:
    """Return what says a remark on a file, as a DataWarning."""

    def note(text: str) -> None:
        warnings.warn(f"{path}: {text}", DataWarning, stacklevel=2)

    return note


def distinct(names: Sequence[str], note: Note) -> list[str]:
    """Return names of which the first of several equal ones keeps its own, and note the others."""
    found: list[str] = []
    for name in names:
        number, other = 1, name
        while other in found:
            number, other = number + 1, f"{name}:{number + 1}"
        if other != name:
            note(f"the column name {name!r} occurs again; the later one is {other!r}")
        found.append(other)
    return found


def _content(path: Path, note: Note, most_bytes: int | None) -> bytes:
    """Return the content as UTF-8 with line feeds; DataError where it is not text."""
    compressed, size = path.name.casefold().endswith(".gz"), path.stat().st_size
    require_memory(min(size, most_bytes or size), "reading it")
    with path.open("rb") as file:
        data = file.read(None if compressed else most_bytes)
    if compressed:
        whole = gunzip(data)
        data, size = whole[:most_bytes], len(whole)
    cut = len(data) < size
    for magic, meaning in _FOREIGN.items():
        if data.startswith(magic):
            hint = "Give the file the ending that says what it is, or export it as CSV"
            raise DataError(f"is {meaning}, not delimited text", hint=hint)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeDecodeError:
            raise DataError("is damaged UTF-16 text") from None
    data = data.removeprefix(codecs.BOM_UTF8).rstrip(b"\x1a")
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if cut:
        data = data[: data.rfind(b"\n") + 1]
        while data.count(b'"') % 2:  # It ends within a cell.
            data = data[: data.rfind(b"\n", 0, data.rindex(b'"')) + 1]
        lines = data.count(b"\n")
        note(f"it is large, so only its first {lines:,} lines are read")
    if b"\0" in data[:_SAMPLE]:
        raise DataError("is binary, not delimited text", hint="Export it as CSV or Parquet")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8 text"
        try:
            data = data.decode("cp1252").encode("utf-8")
        except UnicodeDecodeError:
            raise DataError(what, hint="Save the file with the encoding UTF-8") from None
        note(f"{what}, so the file is read as Windows-1252. Check letters such as µ, ° and é")
    # Excel's line that names the separator says nothing new.
    data = re.sub(rb"\A\s*sep=.\s*\n", b"", data, flags=re.IGNORECASE)
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
    """Read the header and every record but blank lines; all must be equally wide."""
    reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=separator)
    width, first = 0, ""
    try:
        for record in filter(None, reader):
            width, first = width or len(record), first or record[0]
            if len(record) != width:
                what = f"line {reader.line_num} has {len(record)} fields, the header has {width}"
                hint = "Put text that holds the separator or line breaks in quotation marks"
                if "#" in (first[:1], record[0][:1]):
                    hint = "Remove lines of comments, which begin with #"
                raise DataError(what, hint=hint)
            yield record
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} cannot be read ({error})") from None
