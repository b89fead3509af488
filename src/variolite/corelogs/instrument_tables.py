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

        Parameters
        ----------
        lenient
            False: text among the numbers is an error of polars when collected,
            which is the fast way. True: such text becomes null, and a column
            ``unreadable`` says in how many numbers of the row it stood.
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
    path
        The file.
    depth_scale
        ``"CSF-A"`` or ``"CSF-B"``.

    Raises
    ------
    DataError
        If the file is missing, empty, has no rows, or is no instrument table.
    """
    path = Path(path)
    if not path.is_file():
        what = "there is no such file" if not path.exists() else "this is not a file"
        raise _refusal(path, what, "give the path of an instrument table")
    if path.stat().st_size == 0:
        raise _refusal(path, "the file is empty")
    header, samples = _peek_csv(path) if _is_csv(path) else _peek_binary(path)
    layout = recognise(header, samples=samples, depth_scale=depth_scale, where=str(path))
    for name in layout.columns:
        if (times := header.count(name)) > 1:
            raise _refusal(path, f"column '{name}' stands there {times} times", "keep one of them")
    return InstrumentTable(path, layout)


def _refusal(path: Path, what: str, hint: str = "export the table again") -> DataError:
    return DataError(what, where=str(path), hint=hint)


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return _refusal(path, f"the file cannot be read: {reason}")


def _is_csv(path: Path) -> bool:
    return path.name.casefold().endswith((".csv", ".csv.gz"))


def _scan_binary(path: Path) -> pl.LazyFrame:
    scan = _BINARY.get(path.suffix.casefold())
    if scan is None:
        hint = "give a .csv, .csv.gz, .parquet or .feather file"
        raise _refusal(path, f"cannot read '{path.suffix}' files", hint)
    return scan(path)


def _peek_binary(path: Path) -> tuple[list[str], dict[str, list[str | None]]]:
    """Header and a sample of the columns that tell instruments apart."""
    try:
        head = _scan_binary(path).head(_SAMPLE_ROWS).collect()
    except (PolarsError, OSError) as error:
        raise _unreadable(path, error) from error
    if head.is_empty():
        raise _refusal(path, "the table has a header but no rows")
    samples = {n: head[n].cast(pl.String).to_list() for n in _SAMPLED if n in head.columns}
    return head.columns, samples


def _peek_csv(path: Path) -> tuple[list[str], Mapping[str, list[str | None]]]:
    """The same of a CSV, whose first rows must have as many fields as the header."""
    opened = gzip.open if path.suffix.casefold() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            body = [row for row in islice(rows, _SAMPLE_ROWS) if row]
    except (OSError, EOFError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not any(name.strip() for name in header):
        raise _refusal(path, "the first line holds no column names")
    if not body:
        raise _refusal(path, "the table has a header but no rows")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            what = f"row {number} has {len(row)} fields, the header {len(header)}"
            hint = "put quotation marks around texts with commas or line breaks"
            raise _refusal(path, what, hint)
    return header, {n: [row[header.index(n)] for row in body] for n in _SAMPLED if n in header}


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
