"""Writing tables as well logs in LAS 2.0, with lasio: a file for every well.

LAS 2.0 has numbers only. Text is written as codes, and ~Parameter names what each stands for; our
reader makes text of them again.
"""

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
from variolite.records.files.las import CODE, LasHeader, read_las_header
from variolite.records.files.stacking import Table
from variolite.records.files.writing import files_in, write_bytes_atomic
from variolite.records.records import numeric_values, text_series
from variolite.records.units import split_header

_NULLS = (-999.25, -9999.25, -99999.25, -999999.25, -1e30)


def write_las(
    table: Table,
    new: pl.DataFrame,
    path: Path,
    *,
    well: str | None,
    depth: str | None,
    source: Path | None = None,
) -> list[Path]:
    """Write a table with new curves, and return the files: ``path``, or one for each well.

    ``new`` has curves of the rows that its column ``row`` counts; other rows have none. ``well``
    and ``depth`` name columns of the table; ``source`` is its file where it is of one. Where a
    well comes from a LAS file, so do its header, index and curve descriptions. Several wells go
    into a new folder that is named as ``path`` without its ending. DataError where no row has a
    depth, or nothing can be written.
    """
    frame = table.frame
    files = (
        table.files if table.files is not None else pl.Series([str(source or "")] * frame.height)
    )
    of_las = files.str.to_lowercase().str.ends_with(".las")
    if of_las.all():
        # The index of a file orders all of its rows, whichever curve is the depth of a model.
        depth = next((name for name in frame.columns if name not in (well, "WELL")), depth)
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
    words = {s.name: _words(s) for s in logs.iter_columns() if _is_text(s)}
    logs = logs.with_columns(_coded(logs[name], texts) for name, texts in words.items())
    there = pl.Series(~np.isnan(numbers))
    names = wells.filter(there).unique(maintain_order=True).to_list()
    paths = [path] if len(names) == 1 else files_in(path.with_suffix(""), names, ".las")
    for name, file in zip(names, paths, strict=True):
        own = there & (wells == name)
        first = files.filter(own & of_las).head(1).to_list()
        header = read_las_header(Path(first[0])) if first else LasHeader([], [], {}, "")
        text = _las_text(logs.filter(own), name or path.stem, table.units, words, header)
        write_bytes_atomic(file, text.encode("utf-8"))
    return paths


def _las_text(
    logs: pl.DataFrame,
    well: str,
    units: Mapping[str, str],
    words: Mapping[str, list[str]],
    header: LasHeader,
) -> str:
    """Return the text of a LAS file; the first column is the depth, those of ``words`` codes."""
    import lasio

    las = lasio.LASFile()
    for item in header.well:
        if item["name"].upper() not in ("STRT", "STOP", "STEP", "NULL"):
            las.well[item["name"]] = _item(item)
    las.well["WELL"].value = well
    for item in header.parameters:
        if not CODE.fullmatch(item["descr"]):
            las.params.append(_item(item))
    las.other = header.other
    values = []
    for series in logs.iter_columns():
        own, inside = split_header(series.name)
        # A dot or a blank would end the mnemonic. GR:2 is the second curve that is called GR.
        name = re.sub(r"[\s.:]+", "_", re.sub(r":\d+$", "", own) if own in header.curves else own)
        known = header.curves.get(own, {"unit": "", "value": "", "descr": ""})
        unit = re.sub(r"[\s:]", "", units.get(series.name, inside or known["unit"]))
        las.append_curve(name, np.empty(0), unit, known["descr"], known["value"])
        if texts := words.get(series.name):
            for number in series.drop_nulls().unique().sort().to_list():
                descr, word = f"code {number} of {name}", texts[number - 1]
                las.params.append(lasio.HeaderItem(f"{name}_{number}", "", word, descr))
        values.append(series.cast(pl.Int8) if series.dtype == pl.Boolean else series)
    null = las.well["NULL"].value = _null(values)
    index = values[0].to_numpy()
    steps = np.diff(index)
    even = steps.size > 0 and np.allclose(steps, steps[0], rtol=1e-3)
    step = round(float(steps[0]), 6) if even else 0.0
    buffer = io.StringIO()
    las.write(buffer, version=2.0, STRT=index[0], STOP=index[-1], STEP=step)
    # Numbers in full. Of lasio's own rows each value takes a microsecond.
    whole = (s.fill_nan(None) if s.dtype.is_float() else s for s in values)
    filled = [s.cast(pl.String).fill_null(str(null)).alias(str(i)) for i, s in enumerate(whole)]
    rows = pl.select(pl.concat_str(filled, separator=" ")).to_series()
    return "\n".join([buffer.getvalue().rstrip("\n"), *rows, ""])


def _item(item: Mapping[str, str]) -> Any:
    """Return an entry of a header for lasio, which writes 0 where a value is the empty text."""
    import lasio

    return lasio.HeaderItem(item["name"], item["unit"], item["value"] or " ", item["descr"])


def _is_text(series: pl.Series) -> bool:
    return not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null))


def _one_line(series: pl.Series) -> pl.Series:
    texts = series.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    return texts.replace("", None)


def _words(series: pl.Series) -> list[str]:
    """Return the distinct texts of a column; the code of each is its place, from 1."""
    words: list[str] = _one_line(series).drop_nulls().unique().sort().to_list()
    return words


def _coded(series: pl.Series, words: list[str]) -> pl.Series:
    """Return the codes of texts, null where missing."""
    codes = {word: code for code, word in enumerate(words, start=1)}
    return _one_line(series).replace_strict(codes, default=None, return_dtype=pl.Int64)


def _null(values: list[pl.Series]) -> float:
    """Return the number for a missing value, -999.25 unless there is such a value or one near."""
    numbers = np.concatenate([numeric_values(series) for series in values])
    near = (null for null in _NULLS if not (np.abs(numbers - null) <= 1e-3 * abs(null)).any())
    return next(near, _NULLS[-1])
