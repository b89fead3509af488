"""Well logs in DLIS format (RP 66), with dlisio: one frame by depth for every well."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError, DataWarning
from variolite.records.delimited import Units, distinct
from variolite.records.units import canonical_unit

_LENGTHS = ("m", "ft", "in", ".1in", "cm")
_ABSENT = -999.25  # What recording systems write where there is no value.


class _Frame(NamedTuple):
    name: str
    well: str
    channels: Sequence[Any]
    values: Any  # Structured array (rows,), the number of the row first; None if not by depth.

    @property
    def scalar(self) -> list[int]:
        """Return the places of the channels of one value each."""
        return [i for i, channel in enumerate(self.channels) if channel.dimension == [1]]

    @property
    def rank(self) -> tuple[int, int]:
        return len(self.scalar), len(self.values)


def read_dlis(path: Path, _: Sequence[str]) -> tuple[pl.DataFrame, Units]:
    """Read for every well the frame by depth that has the most channels; with units by column.

    Channels of several values for each depth (images, waveforms) are left out. The column
    ``WELL`` repeats the name of the well in the file. DataWarning says what was left out.
    """
    try:
        from dlisio import dlis
    except ImportError:
        hint = "Install it with: pip install 'variolite[logs]'"
        raise DataError("dlisio, which reads DLIS files, is missing", hint=hint) from None

    def note(text: str) -> None:
        warnings.warn(f"{path}: {text}", DataWarning, stacklevel=5)

    logging.getLogger("dlisio").addHandler(logging.NullHandler())
    try:
        # Names that are not UTF-8 come as bytes, with a warning.
        quiet = warnings.catch_warnings(action="ignore", category=UnicodeWarning)
        with quiet, dlis.load(str(path)) as files:
            frames = [_frame(file, frame) for file in files for frame in file.frames]
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        hint = "The file is truncated or damaged, or its ending does not say what it is"
        raise DataError(f"cannot be read as DLIS ({reason})", hint=hint) from None
    chosen: dict[str, _Frame] = {}
    for frame in frames:
        best = chosen.get(frame.well)
        if frame.values is not None and frame.rank > (best.rank if best else (0, 0)):
            chosen[frame.well] = frame
    if not chosen:
        listed = ", ".join(frame.name for frame in frames)
        what = f"holds no logs by depth ({listed})" if listed else "holds no frames"
        raise DataError(what, hint="Export the logs with depth as the index")
    others = [frame for frame in frames if frame not in chosen.values()]
    if others:
        read = ", ".join(frame.name for frame in chosen.values())
        note(f"read is {read}; left out are {', '.join(frame.name for frame in others)}")
    tables = [_table(frame, path, note) for frame in chosen.values()]
    units: Units = {}
    for name, unit in chain.from_iterable(stated.items() for _, stated in tables):
        if canonical_unit(units.setdefault(name, unit)) != canonical_unit(unit):
            what = f"{name!r} is in {units[name]} in one well and in {unit} in another"
            raise DataError(what, hint="Make a file of every well")
    return pl.concat([table for table, _ in tables], how="diagonal_relaxed"), units


def _frame(file: Any, frame: Any) -> _Frame:
    channels = frame.channels
    origin = next(iter(file.origins), None)
    well = _text(origin and (origin.well_name or origin.well_id))
    index = _text(frame.index_type)
    unit = canonical_unit(_text(channels[0].units)) if index and channels else None
    by_depth = channels and ("DEPTH" in index.upper() or unit in _LENGTHS)
    values = frame.curves(strict=False) if by_depth else None
    rows = "" if values is None else f"{len(values)} rows "
    name = f"{_text(frame.name)} ({well or 'no well'}, {rows}by {index or 'number'})"
    return _Frame(name, well, channels, values)


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip()


def _table(frame: _Frame, path: Path, note: Callable[[str], None]) -> tuple[pl.DataFrame, Units]:
    arrays = [
        _text(channel.name) for i, channel in enumerate(frame.channels) if i not in frame.scalar
    ]
    if arrays:
        note(f"channels of several values are left out: {', '.join(arrays)}")
    channels = [frame.channels[i] for i in frame.scalar]
    names = distinct([_text(channel.name) for channel in channels], path)
    fields = frame.values.dtype.names
    columns = {}
    for name, place in zip(names, frame.scalar, strict=True):
        values = frame.values[fields[place + 1]]
        if values.dtype.kind in "fiu":
            numbers = values.astype(np.float64)
            columns[name] = pl.Series(name, np.where(numbers == _ABSENT, np.nan, numbers))
        else:
            columns[name] = pl.Series(name, [_text(value) or None for value in values.tolist()])
    units = {n: _text(c.units) for n, c in zip(names, channels, strict=True) if c.units}
    table = pl.DataFrame(columns)
    if frame.well and "WELL" not in table.columns:
        table.insert_column(0, pl.Series("WELL", [frame.well] * table.height))
    return table, units
