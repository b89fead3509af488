"""Writing tables as well logs in LAS 2.0, with lasio: a file for every well."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError, DataWarning
from variolite.records.files.stacking import Table
from variolite.records.files.writing import files_in, write_bytes_atomic
from variolite.records.records import numeric_values, text_series
from variolite.records.units import split_header

_NULL = -999.25


def write_las(
    table: Table, new: pl.DataFrame, path: Path, *, well: str | None, depth: str | None
) -> list[Path]:
    """Write a table with new curves, and return the files: ``path``, or one for each well.

    ``new`` has curves of the rows that its column ``row`` counts; other rows have none. ``well``
    and ``depth`` name columns of the table. Several wells go into a new folder that is named as
    ``path`` without its ending. DataError where no row has a depth, or nothing can be written.
    """
    frame = table.frame
    if depth is None:
        hint = "Bind a column to 'depth' with --map"
        raise DataError("LAS files need a depth, and the table has none", hint=hint)
    numbers = numeric_values(frame[depth])
    if np.isnan(numbers).all():
        raise DataError("no row has a depth, and LAS files need one", where=f"column {depth!r}")
    if np.isnan(numbers).any():
        what = f"{path}: {int(np.isnan(numbers).sum()):,} rows without a depth are left out"
        warnings.warn(what, DataWarning, stacklevel=2)
    wells = text_series(frame[well]) if well else pl.Series([""] * frame.height)
    every = pl.DataFrame({"row": np.arange(frame.height)})
    curves = every.join(new, on="row", how="left", maintain_order="left").drop("row")
    curves = curves.rename({n: f"{n}_new" for n in curves.columns if n in frame.columns})
    rest = frame.drop(depth, *([well] if well else []))
    logs = pl.DataFrame([pl.Series(depth, numbers), *rest.iter_columns(), *curves.iter_columns()])
    there = pl.Series(~np.isnan(numbers))
    names = wells.filter(there).unique(maintain_order=True).to_list()
    paths = [path] if len(names) == 1 else files_in(path.with_suffix(""), names, ".las")
    for name, file in zip(names, paths, strict=True):
        text = _las_text(logs.filter(there & (wells == name)), name or path.stem, table.units)
        write_bytes_atomic(file, text.encode("utf-8"))
    return paths


def _las_text(logs: pl.DataFrame, well: str, units: Mapping[str, str]) -> str:
    """Return the text of a LAS file; the first column is the depth."""
    import lasio

    las = lasio.LASFile()
    las.well["WELL"].value = well
    las.well["NULL"].value = _NULL
    for series in logs.iter_columns():
        name, inside = split_header(series.name)
        unit = units.get(series.name, inside or "")
        # A dot or a blank would end the mnemonic.
        name = re.sub(r"[\s.:]+", "_", name)
        las.append_curve(name, _words(series), unit=re.sub(r"\s", "", unit))
    index = logs.to_series(0).to_numpy()
    steps = np.diff(index)
    even = steps.size > 0 and np.allclose(steps, steps[0], rtol=1e-3)
    step = round(float(steps[0]), 6) if even else 0.0
    buffer = io.StringIO()
    las.write(buffer, version=2.0, STRT=index[0], STOP=index[-1], STEP=step)
    return buffer.getvalue()


def _words(series: pl.Series) -> np.ndarray[Any, Any]:
    """Return values as they are to be written: numbers in full, text on one line in quotes."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
    words = series.cast(pl.String).str.replace_all("[\"']", "").str.replace_all(r"\s", " ")
    quoted = ('"' + words + '"').zip_with(words.str.contains(r"\s|^$"), words)
    return np.array(quoted.fill_null(str(_NULL)).to_list())
