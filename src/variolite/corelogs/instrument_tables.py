"""Open an instrument table without reading it: header, layout, lazy scan."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.instruments import TableLayout, recognise
from variolite.errors import DataError

_SAMPLE_ROWS = 50
_SAMPLED = ("Instrument", "Instrument group", "A/W")
_BINARY: Mapping[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".feather": pl.scan_ipc,
    ".arrow": pl.scan_ipc,
}
_MISSING_TEXT = ("", "na", "n/a", "nan", "null", "none", "-", "#n/a")


@dataclass(frozen=True)
class InstrumentTable:
    """One instrument table on disk, and where it holds what."""

    path: Path
    layout: TableLayout

    def scan(self, *, lenient: bool = False) -> pl.LazyFrame:
        """Scan the needed columns: numbers as Float64, all else as text.

        Text among the numbers is an error of polars when collected, which is the fast way;
        where lenient, it becomes null, and ``unreadable`` counts it per row.
        """
        columns, numeric = self.layout.columns, self.layout.numeric_columns
        if not _is_csv(self.path):
            frame = _scan_binary(self.path).select(columns)
            texts = [name for name in columns if name not in numeric]
            frame = frame.with_columns(pl.col(texts).cast(pl.String))
            if not lenient:
                return frame.cast(dict.fromkeys(numeric, pl.Float64))
        elif lenient:
            # Decoded leniently, since a comment in Latin-1 must not spoil a depth.
            frame = pl.scan_csv(self.path, infer_schema=False, encoding="utf8-lossy")
        else:
            numbers = dict.fromkeys(numeric, pl.Float64)
            frame = pl.scan_csv(self.path, infer_schema=False, schema_overrides=numbers)
            return frame.select(columns)
        return _read_numbers(frame.select(columns), numeric)


def open_table(path: str | Path, *, depth_scale: str = "CSF-A") -> InstrumentTable:
    """Recognise the instrument table in a file (CSV, CSV.gz, Parquet or Feather).

    Parameters
    ----------
    path, depth_scale
        The file, and which depth to take, ``"CSF-A"`` or ``"CSF-B"``.

    Raises
    ------
    DataError
        If the file is missing, empty, has no rows, or is no instrument table.
    """
    path = Path(path)
    try:
        header, samples = _peek(path)
        layout = recognise(header, samples, depth_scale)
        for name in layout.columns:
            if (times := header.count(name)) > 1:
                raise DataError(f"column '{name}' stands there {times} times", hint="keep one")
    except DataError as error:
        hint = error.hint or "export the table again"
        raise DataError(error.what, where=str(path), hint=hint) from error.__cause__
    return InstrumentTable(path, layout)


def _is_csv(path: Path) -> bool:
    return path.name.casefold().endswith((".csv", ".csv.gz"))


def _scan_binary(path: Path) -> pl.LazyFrame:
    scan = _BINARY.get(path.suffix.casefold())
    if scan is None:
        hint = "give a .csv, .csv.gz, .parquet or .feather file"
        raise DataError(f"cannot read '{path.suffix}' files", hint=hint)
    return scan(path)


def _peek(path: Path) -> tuple[list[str], dict[str, list[str | None]]]:
    """Header and a sample of the columns that tell instruments apart."""
    if not path.is_file():
        what = "there is no such file" if not path.exists() else "this is not a file"
        raise DataError(what, hint="give the path of an instrument table")
    if path.stat().st_size == 0:
        raise DataError("the file is empty")
    try:
        header, body = _csv_rows(path) if _is_csv(path) else _binary_rows(path)
    except (PolarsError, OSError, EOFError, csv.Error) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise DataError(f"the file cannot be read: {reason}") from error
    if not any(name.strip() for name in header):
        raise DataError("the first line holds no column names")
    if not body:
        raise DataError("the table has a header but no rows")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise DataError(
                f"row {number} has {len(row)} fields, the header {len(header)}",
                hint="put quotation marks around texts with commas or line breaks",
            )
    return header, {n: [row[header.index(n)] for row in body] for n in _SAMPLED if n in header}


def _binary_rows(path: Path) -> tuple[list[str], list[tuple[str | None, ...]]]:
    head = _scan_binary(path).head(_SAMPLE_ROWS).collect()
    return head.columns, head.cast(pl.String, strict=False).rows()


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[str | None, ...]]]:
    opened = gzip.open if path.suffix.casefold() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = csv.reader(stream)
        return next(rows, []), [tuple(row) for row in islice(rows, _SAMPLE_ROWS) if row]


def _read_numbers(frame: pl.LazyFrame, numeric: Sequence[str]) -> pl.LazyFrame:
    """Read text as numbers, null where it is none; count such text, but for signs of a gap."""
    texts = {name: pl.col(name).cast(pl.String).str.strip_chars() for name in numeric}
    numbers = {name: text.cast(pl.Float64, strict=False) for name, text in texts.items()}
    broken = (
        numbers[name].is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(_MISSING_TEXT)
        for name, text in texts.items()
    )
    unreadable = pl.sum_horizontal(b.cast(pl.UInt32) for b in broken)
    return frame.with_columns(unreadable.alias("unreadable"), **numbers)
