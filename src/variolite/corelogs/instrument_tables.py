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
    """One instrument table on disk.

    Attributes
    ----------
    path
        The file.
    layout
        Where it holds what.
    """

    path: Path
    layout: TableLayout

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """Columns that must hold numbers: the depth and the values."""
        values = (name for names in self.layout.values.values() for name in names)
        return tuple(dict.fromkeys((self.layout.depth, *values)))

    def scan(self, *, lenient: bool = False) -> pl.LazyFrame:
        """Scan the needed columns: numbers as Float64, all else as text.

        Parameters
        ----------
        lenient
            False: text among the numbers is an error of polars when collected,
            which is the fast way. True: such text becomes null, and a column
            ``unreadable`` says in how many numbers of the row it stood.
        """
        columns = list(self.layout.columns)
        numeric = list(self.numeric_columns)
        if not _is_csv(self.path):
            frame = _scan_binary(self.path).select(columns)
            texts = [name for name in columns if name not in numeric]
            frame = frame.with_columns(pl.col(texts).cast(pl.String))
            return (
                _read_numbers(frame, numeric)
                if lenient
                else frame.cast(dict.fromkeys(numeric, pl.Float64))
            )
        if lenient:
            # Decoded leniently, since a comment in Latin-1 must not spoil a depth.
            frame = pl.scan_csv(self.path, infer_schema=False, encoding="utf8-lossy")
            return _read_numbers(frame.select(columns), numeric)
        frame = pl.scan_csv(
            self.path, infer_schema=False, schema_overrides=dict.fromkeys(numeric, pl.Float64)
        )
        return frame.select(columns)


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
        raise DataError(
            "there is no such file" if not path.exists() else "this is not a file",
            where=str(path),
            hint="give the path of an instrument table",
        )
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path), hint="export the table again")
    header, samples = _peek_csv(path) if _is_csv(path) else _peek_binary(path)
    layout = recognise(header, samples=samples, depth_scale=depth_scale, where=str(path))
    twice = [name for name in layout.columns if header.count(name) > 1]
    if twice:
        raise DataError(
            f"column '{twice[0]}' stands there {header.count(twice[0])} times",
            where=str(path),
            hint="keep one of them",
        )
    return InstrumentTable(path, layout)


def _is_csv(path: Path) -> bool:
    return path.name.casefold().endswith((".csv", ".csv.gz"))


def _scan_binary(path: Path) -> pl.LazyFrame:
    suffix = path.suffix.casefold()
    if suffix not in _BINARY:
        raise DataError(
            f"cannot read '{path.suffix}' files",
            where=str(path),
            hint="give a .csv, .csv.gz, .parquet or .feather file",
        )
    return _BINARY[suffix](path)


def _peek_binary(path: Path) -> tuple[list[str], dict[str, list[str | None]]]:
    try:
        head = _scan_binary(path).head(_SAMPLE_ROWS).collect()
    except (PolarsError, OSError) as error:
        raise DataError(
            f"the file cannot be read: {_first_line(error)}",
            where=str(path),
            hint="export the table again",
        ) from error
    if head.is_empty():
        raise _no_rows(path)
    samples = {n: head[n].cast(pl.String).to_list() for n in _SAMPLED if n in head.columns}
    return head.columns, samples


def _peek_csv(path: Path) -> tuple[list[str], dict[str, list[str | None]]]:
    opened = gzip.open if path.suffix.casefold() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            body = [row for row in islice(rows, _SAMPLE_ROWS) if row]
    except (OSError, EOFError, csv.Error) as error:
        raise DataError(
            f"the file cannot be read: {_first_line(error)}",
            where=str(path),
            hint="export the table again",
        ) from error
    if not any(name.strip() for name in header):
        raise DataError(
            "the first line holds no column names", where=str(path), hint="export the table again"
        )
    if not body:
        raise _no_rows(path)
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise DataError(
                f"row {number} has {len(row)} fields, the header {len(header)}",
                where=str(path),
                hint="put quotation marks around texts with commas or line breaks",
            )
    return header, _sample(header, body)


def _sample(header: Sequence[str], body: Sequence[Sequence[str]]) -> dict[str, list[str | None]]:
    where: Mapping[str, int] = {name: header.index(name) for name in _SAMPLED if name in header}
    return {name: [row[index] for row in body] for name, index in where.items()}


def _no_rows(path: Path) -> DataError:
    return DataError(
        "the table has a header but no rows", where=str(path), hint="export the table again"
    )


def _read_numbers(frame: pl.LazyFrame, numeric: Sequence[str]) -> pl.LazyFrame:
    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)

    def broken(name: str) -> pl.Expr:
        text = pl.col(name).cast(pl.String).str.strip_chars().str.to_lowercase()
        return number(name).is_null() & text.is_not_null() & ~text.is_in(_MISSING_TEXT)

    return frame.with_columns(
        pl.sum_horizontal(broken(name).cast(pl.UInt32) for name in numeric).alias("unreadable"),
        *(number(name) for name in numeric),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
