"""Well logs in DLIS format (RP 66), with dlisio: one frame by depth for every well."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError
from variolite.records.files.delimited import Units, distinct, noting
from variolite.records.files.memory import require_memory
from variolite.records.units import canonical_unit

_LENGTHS = ("m", "ft", "in", ".1in", "cm")
_DAMAGED = "The file is truncated or damaged, or its ending does not say what it is"
_ABSENT = -999.25  # What recording systems write where there is no value.


class _Frame(NamedTuple):
    name: str
    well: str
    rows: int
    channels: list[tuple[Any, Any]]  # Those of one value for each depth, with all values (rows,).
    images: list[str]  # Names of the others.


def read_dlis(path: Path, *_: object) -> tuple[pl.DataFrame, Units]:
    """Read for every well the frame by depth that has the most channels; with units by column.

    Channels of several values for each depth (images, waveforms) are left out. The column
    ``WELL`` repeats the name of the well in the file. DataWarning says what was left out.
    """
    if find_spec("dlisio") is None:
        hint = "Install it with: pip install 'variolite[logs]'"
        raise DataError("dlisio, which reads DLIS files, is missing", hint=hint)
    require_memory(4 * path.stat().st_size, "reading it")
    # Some damaged files end the whole process in which dlisio runs, so it gets its own.
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "table.arrow"
        command = [
            sys.executable,
            "-m",
            "variolite.records.files.dlis",
            str(path.absolute()),
            str(out),
        ]
        places = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": places}
        )
        if "Traceback (most" in done.stderr:
            raise RuntimeError(done.stderr)
        if done.returncode:
            raise DataError("cannot be read as DLIS (dlisio stopped in it)", hint=_DAMAGED)
        answer = json.loads(done.stdout)
        for text in answer["notes"]:
            noting(path)(text)
        if "what" in answer:
            raise DataError(answer["what"], hint=answer["hint"])
        return pl.read_ipc(io.BytesIO(out.read_bytes())), answer["units"]


def _read(path: Path, notes: list[str]) -> tuple[pl.DataFrame, Units]:
    from dlisio import dlis

    logging.getLogger("dlisio").addHandler(logging.NullHandler())
    try:
        # Names that are not UTF-8 come as bytes, with a warning.
        quiet = warnings.catch_warnings(action="ignore", category=UnicodeWarning)
        with quiet, dlis.load(str(path)) as files:
            frames = [_frame(file, frame) for file in files for frame in file.frames]
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"cannot be read as DLIS ({reason})", hint=_DAMAGED) from None
    chosen: dict[str, _Frame] = {}
    for frame in frames:
        best = chosen.get(frame.well)
        size = len(frame.channels), frame.rows
        if size > ((len(best.channels), best.rows) if best else (0, 0)):
            chosen[frame.well] = frame
    if not chosen:
        listed = ", ".join(frame.name for frame in frames)
        what = f"holds no logs by depth ({listed})" if listed else "holds no frames"
        raise DataError(what, hint="Export the logs with depth as the index")
    read = [frame.name for frame in chosen.values()]
    others = [f.name for f in frames if all(f is not other for other in chosen.values())]
    if others:
        notes.append(f"read is {', '.join(read)}; left out are {', '.join(others)}")
    tables = [_table(frame, notes) for frame in chosen.values()]
    units: Units = {}
    for name, unit in (pair for _, stated in tables for pair in stated.items()):
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
    if values is None:
        return _Frame(name, well, 0, [], [])
    # The first field counts the rows.
    columns = zip(channels, values.dtype.names[1:], strict=True)
    single = [(channel, values[n]) for channel, n in columns if channel.dimension == [1]]
    images = [_text(channel.name) for channel in channels if channel.dimension != [1]]
    return _Frame(name, well, len(values), single, images)


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip()


def _table(frame: _Frame, notes: list[str]) -> tuple[pl.DataFrame, Units]:
    if frame.images:
        notes.append(f"channels of several values are left out: {', '.join(frame.images)}")
    names = distinct([_text(channel.name) for channel, _ in frame.channels], notes.append)
    columns = {}
    for name, (_, values) in zip(names, frame.channels, strict=True):
        if values.dtype.kind in "fiu":
            numbers = values.astype(np.float64)
            columns[name] = pl.Series(name, np.where(numbers == _ABSENT, np.nan, numbers))
        else:
            columns[name] = pl.Series(name, [_text(value) or None for value in values.tolist()])
    units = {n: _text(c.units) for n, (c, _) in zip(names, frame.channels, strict=True) if c.units}
    table = pl.DataFrame(columns)
    if frame.well and "WELL" not in table.columns:
        table.insert_column(0, pl.Series("WELL", [frame.well] * table.height))
    return table, units


if __name__ == "__main__":
    said: list[str] = []
    answer: dict[str, Any] = {"notes": said}
    try:
        table, answer["units"] = _read(Path(sys.argv[1]), said)
        table.write_ipc(sys.argv[2])
    except DataError as error:
        answer |= {"what": error.what, "hint": error.hint}
    print(json.dumps(answer))
