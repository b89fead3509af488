"""Well logs in LAS format (LAS 1.2 and 2.0), with lasio."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError

_HEAD = 1 << 16  # Bytes in which the first section is looked for.
_WELL_COLUMNS = ("well", "well_name", "wellname", "well name")


def read_las(path: Path, _: Sequence[str]) -> pl.DataFrame:
    """Read the curves of a LAS file, one column each.

    Values equal to the header's NULL become NaN. When no curve names the well, the column
    ``WELL`` repeats the name in the header, so that files can be stacked.
    """
    las = _load_las(path, data=True)
    _check_shape(las, path)
    columns = []
    for curve in las.curves:
        values = np.asarray(curve.data)
        numbers = values.dtype.kind in "fiub"
        columns.append(pl.Series(curve.mnemonic, values if numbers else map(str, values.tolist())))
    lengths = {len(column) for column in columns}
    if lengths == {0}:
        raise DataError("the ~ASCII section holds no rows")
    if len(lengths) > 1:
        raise DataError("the curves differ in length")
    frame = pl.DataFrame(columns)
    names = [item.value for item in las.well if item.original_mnemonic.casefold() == "well"]
    name = str(names[0]).strip() if names else ""
    if name and not any(column.casefold() in _WELL_COLUMNS for column in frame.columns):
        frame = frame.insert_column(0, pl.Series("WELL", [name] * frame.height))
    return frame


def las_units(path: Path) -> dict[str, str]:
    """Return the units that the ~Curve section states, by mnemonic."""
    curves = _load_las(path, data=False).curves
    units = {curve.mnemonic: str(curve.unit or "").strip() for curve in curves}
    return {name: unit for name, unit in units.items() if unit and unit not in "_-."}


def _check_shape(las: Any, path: Path) -> None:
    """Compare the ~Curve section with the data: lasio pads or invents what does not fit."""
    declared = len(_load_las(path, data=False).curves)
    if not declared:
        raise DataError("no curves are declared", hint="Check its ~Curve section")
    text = path.read_bytes().decode("utf-8", errors="replace")
    data = re.split(r"(?mi)^~A.*$", text)[-1]
    lines = [line for line in data.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if '"' in data or not lines:
        return
    widths: list[float] = [len(line.replace(",", " ").split()) for line in lines]
    wrap = [str(i.value).upper() for i in las.version if i.original_mnemonic.upper() == "WRAP"]
    if "YES" in wrap:
        widths = [sum(widths) / max(len(las.curves[0].data), 1)]
    for width in widths:
        if width != declared:
            what = f"{declared} curves are declared, but a row holds {width:g} values"
            hint = "The file is truncated, or its ~Curve section does not match its data"
            raise DataError(what, hint=hint)


def _load_las(path: Path, *, data: bool) -> Any:
    head = path.read_bytes()[:_HEAD]
    if b"\0" in head or b"~" not in head:
        what = "is not a LAS file: no section starts with '~'"
        raise DataError(what, hint="Check the file ending")
    import lasio

    # Without a handler of its own, lasio's remarks on every file end up on the terminal.
    logging.getLogger("lasio").addHandler(logging.NullHandler())
    # The fast engine refuses wrapped lines and text values that the other can read.
    reason = ""
    for engine in ("numpy", "normal") if data else ("normal",):
        try:
            return lasio.read(path, ignore_data=not data, engine=engine, mnemonic_case="preserve")
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
    hint = "The file is truncated or its ~Curve section does not match its data"
    raise DataError(f"cannot be read as LAS ({reason})", hint=hint)
