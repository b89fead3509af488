"""Reading a table: delimited text, Parquet, Feather, LAS, a data frame or a mapping of arrays."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError, nearest
from variolite.records.delimited import delimited_header, read_delimited
from variolite.records.values import split_header

# Which file ending stands for which format.


def ending_of(path: Path, known: Iterable[str], verb: str) -> str:
    """Return the longest known ending, without regard to case; ``verb`` is for the error."""
    endings = sorted(known, key=len, reverse=True)
    name = path.name.casefold()
    for ending in endings:
        if name.endswith(ending):
            return ending
    listed = ", ".join(sorted(endings))
    what = f"{path.suffix!r} files" if path.suffix else "a file without an ending"
    raise DataError(f"{what} cannot be {verb}", where=str(path), hint=f"Use one of {listed}")


# Reading well logs in LAS format (LAS 1.2 and 2.0) with lasio.


_WELL_COLUMNS = ("well", "well_name", "wellname", "well name")


def read_las(path: Path) -> pl.DataFrame:
    """Read the curves of a LAS file, one column each.

    Values equal to the header's NULL become NaN. When no curve names the well, the
    column ``WELL`` repeats the name in the header, so that files can be stacked.
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
    names = [item.value for item in las.well if item.original_mnemonic.casefold() == "well"]
    name = str(names[0]).strip() if names else ""
    if name and not any(column.casefold() in _WELL_COLUMNS for column in frame.columns):
        frame = frame.insert_column(0, pl.Series("WELL", [name] * frame.height))
    return frame


def _check_shape(las: Any, path: Path) -> None:
    """Compare the ~Curve section with the data: lasio pads or invents what does not fit."""
    declared = len(_load(path, data=False).curves)
    if not declared:
        raise DataError("no curves are declared", where=str(path), hint="Check its ~Curve section")
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
                hint="The file is truncated, or its ~Curve section does not match its data",
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
            hint="Check the file ending",
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
        hint="The file is truncated or its ~Curve section does not match its data",
    )


def _column(name: str, values: np.ndarray[Any, Any]) -> pl.Series:
    if values.dtype.kind in "fiub":
        return pl.Series(name, values)
    return pl.Series(name, [str(value) for value in values.tolist()])


# Reading a table from a file, a data frame or a mapping of arrays.


# What reads a file, given the columns that are to stay text.
_READERS: dict[str, Callable[[Path, Sequence[str]], pl.DataFrame]] = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), read_delimited),
    ".parquet": lambda path, _: pl.read_parquet(io.BytesIO(path.read_bytes())),
    **dict.fromkeys(
        (".feather", ".arrow"), lambda path, _: pl.read_ipc(io.BytesIO(path.read_bytes()))
    ),
    ".las": lambda path, _: read_las(path),
}


def read_table(
    source: Any, *, columns: Sequence[str] | None = None, text: Sequence[str] = ()
) -> pl.DataFrame:
    """Read a table.

    Parameters
    ----------
    source
        Path ending in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .feather, .arrow or
        .las; a polars or pandas data frame; or a mapping of names to arrays.
    columns
        Columns to keep, in this order; all by default.
    text
        Columns to read as text whatever they look like, such as expedition numbers
        among which ``397T`` occurs. Names that the table lacks are passed over.

    Returns
    -------
    polars.DataFrame
        At least one row, distinct column names. A LAS file without a well column
        gains the column ``WELL`` from its header.

    Raises
    ------
    DataError
        If the file is missing, unreadable, malformed or empty, or lacks a column.

    Examples
    --------
    >>> read_table({"well": ["A", "A"], "GR": [30.5, None]}, columns=["GR"])["GR"].to_list()
    [30.5, None]
    """
    if isinstance(source, str | Path):
        path = Path(source)
        where: str | None = str(path)
        frame = _read_file(path, text)
    else:
        where = None
        frame = _from_memory(source)
    if not frame.width or not frame.height:
        what = "holds no columns" if not frame.width else "holds column names but no rows"
        raise DataError(what, where=where, hint="Give a table with at least one row")
    if columns is not None:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            close = nearest(missing[0], frame.columns)
            hint = f"Did you mean {close!r}? " if close else ""
            raise DataError(
                f"has no column {missing[0]!r}",
                where=where,
                hint=f"{hint}It has: {', '.join(frame.columns[:20])}",
            )
        frame = frame.select(columns)
    as_text = [name for name in text if name in frame.columns and frame[name].dtype != pl.String]
    return frame.with_columns(pl.col(as_text).cast(pl.String)) if as_text else frame


def units_of(source: Any) -> dict[str, str]:
    """Return the units a table states, by column: from a LAS header, or ``name (unit)``.

    Columns without a stated unit are not in the answer.
    """
    if not isinstance(source, str | Path):
        names = _from_memory(source).columns
    elif (ending := _checked_ending(path := Path(source))) == ".las":
        return las_units(path)
    elif _READERS[ending] is read_delimited:
        names = delimited_header(path)
    else:
        names = _read_file(path, ()).columns
    found = {name: split_header(name)[1] for name in names}
    return {name: unit for name, unit in found.items() if unit}


def _checked_ending(path: Path) -> str:
    if path.is_dir():
        raise DataError("is a folder, not a table", where=str(path), hint="Give a file in it")
    if not path.exists():
        close = nearest(path.name, [p.name for p in path.parent.glob("*")])
        hint = f"Did you mean {close!r}?" if close else "Check the path"
        raise DataError("no such file", where=str(path), hint=hint)
    ending = ending_of(path, _READERS, "read")
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path))
    return ending


def _read_file(path: Path, text: Sequence[str]) -> pl.DataFrame:
    ending = _checked_ending(path)
    try:
        return _READERS[ending](path, text)
    except DataError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"cannot be read as {ending} ({reason})",
            where=str(path),
            hint="The file is damaged, or its ending does not say what it is",
        ) from None


def _from_memory(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise DataError(f"the data frame has two columns {min(twice)!r}", hint="Rename one")
        parts = [source.iloc[:, i] for i in range(len(names))]
        return pl.DataFrame([_pandas_column(n, p) for n, p in zip(names, parts, strict=True)])
    if isinstance(source, Mapping):
        series = [_array_column(str(name), values) for name, values in source.items()]
        lengths = {column.name: len(column) for column in series}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the arrays differ in length: {lengths}")
        return pl.DataFrame(series)
    raise DataError(
        f"a table cannot be made from {type(source).__name__}",
        hint="Give a path, a polars or pandas data frame, or a mapping of names to arrays",
    )


def _pandas_column(name: str, column: Any) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "bifuM":
        return pl.Series(name, column.to_numpy())
    kind = getattr(dtype, "kind", "O")
    absent = column.isna().to_numpy()
    if kind in "iuf" and hasattr(dtype, "numpy_dtype"):
        values = pl.Series(name, column.to_numpy(dtype=np.float64, na_value=np.nan))
        return values.fill_nan(None)
    objects = column.astype(object).to_numpy(dtype=object, copy=True)
    objects[absent] = None
    return _array_column(name, objects)


def _array_column(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"has {array.ndim} dimensions", where=f"column {name!r}", hint="Give one value per row"
        )
    if array.dtype.kind in "bifuUM":
        return pl.Series(name, array)
    items = array.tolist()
    present = [item for item in items if item is not None and item == item]
    if all(isinstance(item, int | float) and not isinstance(item, bool) for item in present):
        return pl.Series(name, [None if item is None else float(item) for item in items])
    return pl.Series(
        name, [None if item is None or item != item else str(item) for item in items], pl.String
    )
