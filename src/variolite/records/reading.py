"""Reading a table from a file, a data frame or a mapping of arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError, nearest
from variolite.records.delimited import delimited_header, read_delimited
from variolite.records.endings import ending_of
from variolite.records.las import las_units, read_las
from variolite.records.units import split_header

__all__ = ["read_table", "units_of"]

Reader = Callable[[Path, Sequence[str]], pl.DataFrame]


def _parquet(path: Path, text: Sequence[str]) -> pl.DataFrame:  # noqa: ARG001
    return pl.read_parquet(io.BytesIO(path.read_bytes()))


def _feather(path: Path, text: Sequence[str]) -> pl.DataFrame:  # noqa: ARG001
    return pl.read_ipc(io.BytesIO(path.read_bytes()))


def _las(path: Path, text: Sequence[str]) -> pl.DataFrame:  # noqa: ARG001
    return read_las(path)


_READERS: dict[str, Reader] = {
    ".csv": read_delimited,
    ".csv.gz": read_delimited,
    ".tsv": read_delimited,
    ".tsv.gz": read_delimited,
    ".parquet": _parquet,
    ".feather": _feather,
    ".arrow": _feather,
    ".las": _las,
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
        raise DataError(what, where=where, mend="Give a table with at least one row")
    if columns is not None:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            close = nearest(missing[0], frame.columns)
            hint = f"Did you mean {close!r}? " if close else ""
            raise DataError(
                f"has no column {missing[0]!r}",
                where=where,
                mend=f"{hint}It has: {', '.join(frame.columns[:20])}",
            )
        frame = frame.select(columns)
    as_text = [name for name in text if name in frame.columns and frame[name].dtype != pl.String]
    return frame.with_columns(pl.col(as_text).cast(pl.String)) if as_text else frame


def units_of(source: Any) -> dict[str, str]:
    """Return the units a table states, by column: from a LAS header, or ``name (unit)``.

    Columns without a stated unit are not in the answer.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        ending = _checked_ending(path)
        if ending == ".las":
            return las_units(path)
        if ending in (".csv", ".csv.gz", ".tsv", ".tsv.gz"):
            names = delimited_header(path)
        else:
            names = _read_file(path, ()).columns
    else:
        names = _from_memory(source).columns
    found = {name: split_header(name)[1] for name in names}
    return {name: unit for name, unit in found.items() if unit}


def _checked_ending(path: Path) -> str:
    if path.is_dir():
        raise DataError("is a folder, not a table", where=str(path), mend="Give a file in it")
    if not path.exists():
        close = nearest(path.name, [p.name for p in path.parent.glob("*")])
        hint = f"Did you mean {close!r}?" if close else "Check the path"
        raise DataError("no such file", where=str(path), mend=hint)
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
            mend="The file is damaged, or its ending does not say what it is",
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
            raise DataError(f"the data frame has two columns {min(twice)!r}", mend="Rename one")
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
        mend="Give a path, a polars or pandas data frame, or a mapping of names to arrays",
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
            f"has {array.ndim} dimensions", where=f"column {name!r}", mend="Give one value per row"
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
