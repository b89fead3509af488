"""Writing tables as well logs in LAS 2.0, with lasio: a file for every well.

LAS 2.0 has numbers only. Text is written as codes, and ~Parameter names what each stands for; our
reader makes text of them again.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning, counted
from variolite.records.files.las import CODE, LasHeader, read_las, read_las_header
from variolite.records.files.stacking import Table
from variolite.records.files.writing import files_in, write_bytes_atomic
from variolite.records.records import numeric_values, text_series
from variolite.records.units import split_header

_NULLS = (-999.25, -9999.25, -99999.25, -999999.25, -1e30)


class _Shown(NamedTuple):
    """Curves of a well, the depth first; units, and words of the codes, by curve."""

    logs: pl.DataFrame
    units: Mapping[str, str]
    words: Mapping[str, list[str]]


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
    well comes from a LAS file, so do its header, index and curves. Several wells go into a new
    folder that is named as ``path`` without its ending. DataError where no row has a depth, or
    nothing can be written.
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
    numbers[np.isinf(numbers)] = np.nan
    if np.isnan(numbers).all():
        raise DataError("no row has a depth, and LAS files need one", where=f"column {depth!r}")
    if np.isnan(numbers).any():
        what = f"{path}: {counted(int(np.isnan(numbers).sum()), 'row')} without a depth left out"
        warnings.warn(what, DataWarning, stacklevel=2)
    wells = text_series(frame[well]) if well else pl.Series([""] * frame.height)
    every = pl.DataFrame({"row": np.arange(frame.height)})
    curves = every.join(new, on="row", how="left", maintain_order="left").drop("row")
    units = dict(table.units)
    called = new_names(curves.columns, frame.columns)
    for curve, name in called.items():  # such as recon:RHOB
        if (about := curve.partition(":")[2]) in units:
            units[name] = units[about]
    curves = curves.rename(called)
    rest = frame.drop(depth, *([well] if well else []))
    logs = pl.DataFrame([pl.Series(depth, numbers), *rest.iter_columns(), *curves.iter_columns()])
    words = {s.name: _words(s) for s in logs.iter_columns() if _is_text(s)}
    logs = logs.with_columns(_coded(logs[name], texts) for name, texts in words.items())
    coded = curves.with_columns(logs[name] for name in words if name in curves.columns)
    there = pl.Series(~np.isnan(numbers))
    names = wells.filter(there).unique(maintain_order=True).to_list()
    paths = [path] if len(names) == 1 else files_in(path.with_suffix(""), names, ".las")
    for name, file in zip(names, paths, strict=True):
        own = there & (wells == name)
        first, *others = files.filter(own).unique(maintain_order=True).to_list()
        header, shown = LasHeader([], [], {}, ""), _Shown(logs.filter(own), units, words)
        if first.casefold().endswith(".las"):
            header = read_las_header(Path(first))
            if table.files is not None and not others:
                rows = own.filter(files == first)
                shown = _as_in_file(Path(first), rows, coded.filter(own), shown) or shown
        text = _las_text(shown, name or path.stem, header)
        write_bytes_atomic(file, text.encode("utf-8"))
    return paths


def new_names(curves: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Return what each new curve is called, so that its mnemonic is not one of those taken."""
    mnemonics, names = {_mnemonic(split_header(name)[0]) for name in taken}, {}
    for curve in curves:
        name = curve
        while _mnemonic(name) in mnemonics:
            name += "_new"
        names[curve] = name
    return names


def _mnemonic(name: str) -> str:
    """Return a name without what would end a mnemonic: a dot or a blank."""
    return re.sub(r"[\s.:]+", "_", name)


def _as_in_file(path: Path, rows: pl.Series, new: pl.DataFrame, stacked: _Shown) -> _Shown | None:
    """Return rows of a LAS file with new curves, under its own mnemonics and in its own units.

    In the table that it was ``stacked`` into it has those of other files. None where the file is
    not as it was read, or has a curve that is called like a new one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said when the file was read
        frame, units = read_las(path)
    frame = frame.drop("WELL", strict=False)
    if frame.height != len(rows) or set(frame.columns) & set(new.columns):
        return None
    known = {}
    for series in frame.iter_columns():
        if _is_text(series):
            own, every = _words(series), stacked.words.get(series.name, [])
            known[series.name] = every if set(own) <= set(every) else own
    coded = frame.with_columns(_coded(frame[name], texts) for name, texts in known.items())
    logs = coded.filter(rows).with_columns(pl.nth(0).cast(pl.Float64))
    units |= {name: stacked.units[name] for name in new.columns if name in stacked.units}
    return _Shown(logs.hstack(new), units, {**stacked.words, **known})


def _las_text(shown: _Shown, well: str, header: LasHeader) -> str:
    """Return the text of a LAS file."""
    import lasio

    logs, units, words = shown
    las = lasio.LASFile()
    for item in header.well:
        if item["name"].upper() not in ("STRT", "STOP", "STEP", "NULL"):
            las.well[item["name"]] = _item(item)
    las.well["WELL"].value = well
    entries = [_item(i) for i in header.parameters if not CODE.fullmatch(i["descr"])]
    las.other = header.other
    values = []
    for series in logs.iter_columns():
        own, inside = split_header(series.name)
        # GR:2 is the second curve that is called GR.
        name = _mnemonic(re.sub(r":\d+$", "", own) if own in header.curves else own)
        if own not in header.curves:
            while name in las.curves:  # such as that of "GR (API)" beside "GR"
                name += "_2"
        known = header.curves.get(own, {"unit": "", "value": "", "descr": ""})
        unit = re.sub(r"[\s:]", "", units.get(series.name, inside or known["unit"]))
        las.append_curve(name, np.empty(0), unit, known["descr"], known["value"])
        if texts := words.get(series.name):
            for number in series.drop_nulls().unique().sort().to_list():
                descr, word = f"code {number} of {name}", texts[number - 1]
                entries.append(lasio.HeaderItem(f"{name}_{number}", "", word, descr))
        values.append(series.cast(pl.Int8) if series.dtype == pl.Boolean else series)
    # Of its own append, each call compares an entry with all before.
    las.params = lasio.SectionItems(entries)
    marks = (item["value"] for item in header.well if item["name"].upper() == "NULL")
    null = las.well["NULL"].value = _null(values, next(marks, ""))
    index = values[0].to_numpy()
    step = _step(index)
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


def _step(index: NDArray[np.float64]) -> float:
    """Return the step of an index, 0 where it is uneven; 0.1524 m is often rounded to cm."""
    if len(index) < 2:
        return 0.0
    step = (index[-1] - index[0]) / (len(index) - 1)
    even = index[0] + step * np.arange(len(index))
    return round(float(step), 6) if (np.abs(index - even) <= 0.05 * abs(step)).all() else 0.0


def _null(values: list[pl.Series], given: str) -> float:
    """Return the number for a missing value: that ``given``, else -999.25.

    It is another one where there is such a value or one near.
    """
    try:
        nulls = [float(given), *_NULLS]
    except ValueError:
        nulls = [*_NULLS]
    numbers = np.concatenate([numeric_values(series) for series in values])
    near = (
        null
        for null in filter(math.isfinite, nulls)
        if not (np.abs(numbers - null) <= 1e-3 * abs(null)).any()
    )
    return next(near, _NULLS[-1])
