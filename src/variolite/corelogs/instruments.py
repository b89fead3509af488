"""The instrument tables of a drill ship, and how one is recognised and opened."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.holes import find_hole_columns
from variolite.corelogs.lithology import read_packaged
from variolite.errors import DataError, nearest
from variolite.records.files.delimited import MISSING_WORDS


@dataclass(frozen=True)
class Channel:
    """One measured quantity of an instrument; the fields are explained in ``instruments.yaml``."""

    name: str
    headers: tuple[str, ...]
    units: tuple[str, ...]
    plausible: tuple[float, float]


@dataclass(frozen=True)
class Instrument:
    """One kind of instrument table, by its LIMS code.

    ``whole``: a reading with one bad channel is bad in all (a pixel row); otherwise each
    channel stands for itself (a table of samples).
    """

    code: str
    channels: tuple[Channel, ...]
    whole: bool = False


INSTRUMENTS: Mapping[str, Instrument] = {
    code: Instrument(
        code,
        tuple(
            Channel(name, tuple(c["headers"]), tuple(c["units"]), (float(low), float(high)))
            for name, c in entry["channels"].items()
            for low, high in [c["plausible"]]
        ),
        entry.get("whole", False),
    )
    for code, entry in read_packaged("instruments.yaml").items()
}
"""Every instrument that can be read, by its LIMS code, in the order in which they are joined."""


@dataclass(frozen=True)
class InstrumentTable:
    """One instrument table on disk, and where it holds what.

    ``hole`` are three columns (expedition, site, hole) or one, ``depth`` is m below sea floor.
    ``values`` are the columns of each channel, of which the first non-missing wins; ``label``
    is the column of the principal lithology, if any.
    """

    path: Path
    instrument: Instrument
    hole: tuple[str, ...]
    depth: str
    values: Mapping[str, tuple[str, ...]]
    label: str | None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that the table holds."""
        return tuple(c for c in self.instrument.channels if c.name in self.values)

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """Columns that must hold numbers, each once: the depth and the values."""
        values = (name for names in self.values.values() for name in names)
        return tuple(dict.fromkeys((self.depth, *values)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that has to be read, each once."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys((*self.hole, *self.numeric_columns, *label)))

    def scan(self, *, lenient: bool = False, once: bool = False) -> pl.LazyFrame:
        """Scan the needed columns: numbers as Float64, all else as text.

        Text among the numbers is an error of polars when collected, which is the fast way;
        where lenient, it becomes null, and ``unreadable`` counts it per row. With ``once``, rows
        that equal another one in these columns and in place, time and number of the measurement
        are left out.
        """
        columns, numeric = self.columns, self.numeric_columns
        csv = _is_csv(self.path)
        if not csv:
            frame = _scan_binary(self.path)
        elif lenient:
            # Decoded leniently, since a comment in Latin-1 must not spoil a depth.
            frame = pl.scan_csv(self.path, infer_schema=False, encoding="utf8-lossy")
        else:
            numbers = dict.fromkeys(numeric, pl.Float64)
            frame = pl.scan_csv(self.path, infer_schema=False, schema_overrides=numbers)
        if once:
            names = frame.collect_schema().names()
            marks = [name for name in names if name.strip().casefold().startswith(_MARKS)]
            reading = pl.struct(*dict.fromkeys((*columns, *marks))).hash().alias("reading")
            frame = frame.select(*columns, reading).unique("reading", maintain_order=True)
        frame = frame.select(columns)
        if not csv:
            texts = [name for name in columns if name not in numeric]
            frame = frame.with_columns(pl.col(texts).cast(pl.String))
        if lenient:
            return _read_numbers(frame, numeric)
        return frame if csv else frame.cast(dict.fromkeys(numeric, pl.Float64))


# What distinguishes two measurements of one value at one depth; comments may be broken text.
_MARKS = ("core", "type", "sect", "a/w", "offset", "timestamp", "test no", "text id")
_DEPTH_STEMS = ("Depth {scale}", "Top depth {scale}", "Depth top {scale}")
_POINT_SENSOR = ("MSP", "SHMSL", "MS2K", "MS2E", "MS2F", "POINT")
_LOOP_SENSOR = ("WRMSL", "STMSL", "MSL", "MS2C", "LOOP")


def recognise(
    path: Path,
    columns: Sequence[str],
    samples: Mapping[str, Sequence[str | None]],
    depth_scale: str = "CSF-A",
) -> InstrumentTable:
    """Recognise an instrument table by its columns, never by the name of the file.

    ``samples`` are the first values of the columns that distinguish the loop from the point
    sensor, whose headers are the same. Raises DataError if the table is of no known instrument,
    lacks a hole or depth column, or gives a value or depth in another unit.
    """
    found = {
        code: values
        for code, instrument in INSTRUMENTS.items()
        if (values := _channel_columns(instrument, columns))
    }
    if "MS" in found and "MSP" in found:
        del found["MS" if _is_point_sensor(columns, samples) else "MSP"]
    if not found:
        raise _unknown_table(columns)
    if len(found) > 1:
        what = f"the table holds readings of several instruments ({', '.join(found)})"
        raise DataError(what, hint="give one table per instrument")
    ((code, values),) = found.items()
    instrument = INSTRUMENTS[code]
    for column, unit, channel in _foreign_units(instrument, columns):
        raise _unit_error(column, unit, channel.units[0])
    for channel in instrument.channels:
        if instrument.whole and channel.name not in values:
            what = f"a {code} table without a column '{channel.headers[0]}'"
            hint = "export the table again with all channels of the instrument"
            raise DataError(what, hint=hint)
    hole, depth = find_hole_columns(columns), _depth_column(columns, depth_scale)
    label = next((name for name in columns if name.strip().casefold() == "principal"), None)
    return InstrumentTable(path, instrument, hole, depth, values, label)


@lru_cache(maxsize=4096)
def _normal(header: str) -> str:
    text = header.strip().casefold().replace("³", "^3").replace("²", "^2")
    return re.sub(r"\s+", " ", text.translate(str.maketrans("₀₁₂₃₄", "01234")))


@lru_cache(maxsize=4096)
def _unit_of(header: str, stem: str) -> str | None:
    """Return the unit that ``header`` gives to ``stem``, None if it is another header."""
    header, stem = _normal(header), _normal(stem)
    if header == stem:
        return ""
    unit = re.fullmatch(re.escape(stem) + r"\s*[(\[](.*)[)\]]", header)
    return unit.group(1).strip() if unit else None


def _units_given(stems: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
    """Columns that carry one of the stems, with the unit that each gives."""
    pairs = ((column, _unit_of(column, stem)) for stem in stems for column in columns)
    return [(column, unit) for column, unit in pairs if unit is not None]


def _channel_columns(instrument: Instrument, columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for channel in instrument.channels:
        accepted = {_normal(unit) for unit in channel.units}
        given = _units_given(channel.headers, columns)
        if names := tuple(column for column, unit in given if unit in accepted):
            found[channel.name] = names
    return found


def _foreign_units(
    instrument: Instrument, columns: Sequence[str]
) -> Iterator[tuple[str, str, Channel]]:
    """Columns of the instrument that stand in a unit that is not accepted."""
    present = _channel_columns(instrument, columns)
    for channel in instrument.channels:
        given = [] if channel.name in present else _units_given(channel.headers, columns)
        for column, unit in given:
            # 'Bulk density (GRA)' is a header of its own, no bulk density in the unit 'GRA'.
            if not any(_channel_columns(entry, [column]) for entry in INSTRUMENTS.values()):
                yield column, unit, channel


def _unit_error(column: str, unit: str, expected: str) -> DataError:
    stated = f"in '{unit}'" if unit else "without a unit"
    hint = f"convert the values and name the unit in the header, '({expected})'"
    return DataError(f"column '{column}' is given {stated}, expected {expected}", hint=hint)


def _depth_column(columns: Sequence[str], scale: str) -> str:
    given = _units_given([stem.format(scale=scale) for stem in _DEPTH_STEMS], columns)
    if metres := [column for column, unit in given if unit == "m"]:
        return metres[0]
    if given:
        raise _unit_error(*given[0], "m")
    close = nearest(f"Depth {scale} (m)", columns)
    near = f"; the nearest column is '{close}'" if close else ""
    what = f"no column 'Depth {scale} (m)' or 'Top depth {scale} (m)'{near}"
    raise DataError(what, hint="export the table with its depth below sea floor in metres")


def _is_point_sensor(columns: Sequence[str], samples: Mapping[str, Sequence[str | None]]) -> bool:
    named = (*samples.get("Instrument group", ()), *samples.get("Instrument", ()))
    text = "\n".join(value.upper() for value in named if value)
    if _units_given(["MSP"], columns) or any(mark in text for mark in _POINT_SENSOR):
        return True
    if any(mark in text for mark in _LOOP_SENSOR):
        return False
    # The loop measures whole rounds, before the core is split into halves.
    halves = {value.strip().upper() for value in samples.get("A/W", ()) if value}
    return bool(halves & {"A", "W"})


def _unknown_table(columns: Sequence[str]) -> DataError:
    for instrument in INSTRUMENTS.values():
        for column, unit, channel in _foreign_units(instrument, columns):
            # 'R', 'G' and 'B' are too short to be taken for a misspelt unit.
            if len(_normal(channel.headers[0])) > 1:
                return _unit_error(column, unit, channel.units[0])
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        separator = "tabs" if "\t" in columns[0] else "semicolons"
        what = f"the header is one column only; the table seems to be separated by {separator}"
        return DataError(what, hint="save it with commas")
    known = {c.headers[0]: entry.code for entry in INSTRUMENTS.values() for c in entry.channels}
    for column in columns:
        if len(column) > 3 and (close := nearest(column, known)):
            near = f"'{column}' is nearest to '{close}' of {known[close]}"
            hint = "name the column as the instrument table does"
            return DataError(f"no value column of a known instrument; {near}", hint=hint)
    what = "not an instrument table: none of its columns holds a reading of"
    hint = "give tables laid out as LIMS or LILY export them"
    return DataError(f"{what} {', '.join(INSTRUMENTS)}", hint=hint)


# Header, layout and a lazy scan of a file.

_SAMPLE_ROWS = 50
_SAMPLED = ("Instrument", "Instrument group", "A/W")
_BINARY: Mapping[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".feather": pl.scan_ipc,
    ".arrow": pl.scan_ipc,
}


def open_table(path: str | Path, *, depth_scale: str = "CSF-A") -> InstrumentTable:
    """Recognise the instrument table in a file (CSV, CSV.gz, Parquet or Feather).

    Parameters
    ----------
    path, depth_scale
        The file, and which depth to take, ``"CSF-A"`` or ``"CSF-B"``.

    Raises
    ------
    DataError
        If the file is missing, empty, has no rows, or is not an instrument table.
    """
    path = Path(path)
    try:
        header, samples = _peek(path)
        table = recognise(path, header, samples, depth_scale)
        for name in table.columns:
            if (times := header.count(name)) > 1:
                raise DataError(f"column '{name}' stands there {times} times", hint="keep one")
        if not _is_csv(path):
            _require_numbers(path, table.numeric_columns)
    except DataError as error:
        hint = error.hint or "export the table again"
        raise DataError(error.what, where=str(path), hint=hint) from error.__cause__
    return table


def _require_numbers(path: Path, columns: Sequence[str]) -> None:
    """Raise a DataError where a column of numbers holds neither these nor text."""
    for name, kind in _scan_binary(path).select(columns).collect_schema().items():
        if not (kind.is_numeric() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise DataError(f"column '{name}' holds {kind}, not numbers")


def _is_csv(path: Path) -> bool:
    return path.name.casefold().endswith((".csv", ".csv.gz"))


def _scan_binary(path: Path) -> pl.LazyFrame:
    scan = _BINARY.get(path.suffix.casefold())
    if scan is None:
        hint = "give a .csv, .csv.gz, .parquet or .feather file"
        raise DataError(f"cannot read '{path.suffix}' files", hint=hint)
    return scan(path)


def _peek(path: Path) -> tuple[list[str], dict[str, list[str | None]]]:
    """Header and a sample of the columns that distinguish instruments."""
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
            what = f"row {number} has {len(row)} fields, the header {len(header)}"
            hint = "put quotation marks around texts with commas or line breaks"
            raise DataError(what, hint=hint)
    return header, {n: [row[header.index(n)] for row in body] for n in _SAMPLED if n in header}


def _binary_rows(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    head = _scan_binary(path).head(_SAMPLE_ROWS).collect()
    sampled = [name for name in _SAMPLED if name in head.columns]
    return head.columns, head.with_columns(pl.col(sampled).cast(pl.String)).rows()


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    opened = gzip.open if path.suffix.casefold() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = csv.reader(stream)
        return next(rows, []), [tuple(row) for row in islice(rows, _SAMPLE_ROWS) if row]


def _read_numbers(frame: pl.LazyFrame, numeric: Sequence[str]) -> pl.LazyFrame:
    """Read text as numbers, null where it is another word, counted unless it means missing."""
    texts = {name: pl.col(name).cast(pl.String).str.strip_chars() for name in numeric}
    numbers = {name: text.cast(pl.Float64, strict=False) for name, text in texts.items()}
    missing = ["", *MISSING_WORDS]
    broken = (
        numbers[name].is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(missing)
        for name, text in texts.items()
    )
    unreadable = pl.sum_horizontal(b.cast(pl.UInt32) for b in broken)
    return frame.with_columns(unreadable.alias("unreadable"), **numbers)
