"""Reading well logs in LAS format (LAS 1.2 and 2.0) with lasio."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError

__all__ = ["las_units", "read_las"]

_WELL_COLUMNS = ("well", "well_name", "wellname", "well name")


def read_las(path: Path) -> pl.DataFrame:
    """Read the curves of a LAS file, one column each.

    Values equal to the header's NULL become NaN. When no curve names the well, the
    column ``WELL`` repeats the name in the header, so that files can be stacked.

    Raises
    ------
    DataError
        If the file is not LAS, is truncated, or holds no data.
    """
    las = _load(path, data=True)
    _check_shape(las, path)
    columns = [_column(curve.mnemonic, np.asarray(curve.data)) for curve in las.curves]
    lengths = {len(column) for column in columns}
    if lengths == {0}:
        raise DataError("the ~ASCII section holds no rows", where=str(path))
    if len(lengths) > 1:
        raise DataError("the curves differ in length", where=str(path))
    frame = pl.DataFrame(columns)
    name = _well_name(las)
    if name and not any(column.casefold() in _WELL_COLUMNS for column in frame.columns):
        frame = frame.insert_column(0, pl.Series("WELL", [name] * frame.height))
    return frame


def _check_shape(las: Any, path: Path) -> None:
    """Compare the ~Curve section with the data: lasio pads or invents what does not fit."""
    declared = len(_load(path, data=False).curves)
    if not declared:
        raise DataError("no curves are declared", where=str(path), mend="Check its ~Curve section")
    text = path.read_bytes().decode("utf-8", errors="replace")
    data = re.split(r"(?mi)^~A.*$", text)[-1]
    lines = [line for line in data.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    wrapped = any(
        item.original_mnemonic.upper() == "WRAP" and str(item.value).upper() == "YES"
        for item in las.version
    )
    if '"' in data or not lines:
        return
    widths = [len(line.replace(",", " ").split()) for line in lines]
    mean_width = sum(widths) / max(len(las.curves[0].data), 1)
    for width in [mean_width] if wrapped else widths:
        if width != declared:
            raise DataError(
                f"{declared} curves are declared, but a row holds {width:g} values",
                where=str(path),
                mend="The file is truncated, or its ~Curve section does not match its data",
            )


def las_units(path: Path) -> dict[str, str]:
    """Return the units of the curves, by mnemonic; curves without one are left out."""
    las = _load(path, data=False)
    units = {curve.mnemonic: str(curve.unit or "").strip() for curve in las.curves}
    return {name: unit for name, unit in units.items() if unit and unit not in "_-."}


def _load(path: Path, *, data: bool) -> Any:
    head = path.read_bytes()[:65536]
    if b"\0" in head or b"~" not in head:
        raise DataError(
            "is not a LAS file: no section starts with '~'",
            where=str(path),
            mend="Check the file ending",
        )
    import lasio

    # Without a handler of its own, lasio's remarks on every file end up on the terminal.
    logging.getLogger("lasio").addHandler(logging.NullHandler())
    # The fast engine refuses wrapped lines and text values that the other can read.
    engines = ("numpy", "normal") if data else ("normal",)
    reason = ""
    for engine in engines:
        try:
            return lasio.read(path, ignore_data=not data, engine=engine, mnemonic_case="preserve")
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
    raise DataError(
        f"cannot be read as LAS ({reason})",
        where=str(path),
        mend="The file is truncated or its ~Curve section does not match its data",
    )


def _column(name: str, values: np.ndarray[Any, Any]) -> pl.Series:
    if values.dtype.kind in "fiub":
        return pl.Series(name, values)
    return pl.Series(name, [str(value) for value in values.tolist()])


def _well_name(las: Any) -> str:
    values = [item.value for item in las.well if item.original_mnemonic.casefold() == "well"]
    return str(values[0]).strip() if values else ""
