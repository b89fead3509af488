"""Tables with one CIF per row."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.structures.naming import IDS
from variolite.errors import DataError

__all__ = ["CifTable", "read_cif_table", "text_or_numbers"]

LONGEST_TEXT = 256
"""Columns with longer texts, in characters, are no properties: one text would widen all."""


@dataclass(frozen=True)
class CifTable:
    """A table of structures.

    Attributes
    ----------
    texts
        The CIF of every row.
    names
        Ids by a column such as material_id; row numbers without one.
    properties
        The other columns, numbers as float64 (NaN where missing) or text.
    """

    texts: list[str]
    names: list[str]
    properties: Mapping[str, NDArray[Any]]


def read_cif_table(path: Path, kind: str, *, properties: bool = True) -> CifTable:
    """Read a CSV, TSV, Parquet or Feather file that has a column ``cif``.

    Parameters
    ----------
    path
        The file; CSV and TSV may be compressed with gzip.
    kind
        "csv", "tsv", "parquet" or "feather".
    properties
        Keep the other columns.

    Raises
    ------
    DataError
        If the file cannot be read as a table or has no such column.
    """
    try:
        frame = _frame(path, kind)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot be read as a table ({reason})", where=str(path)) from None
    folded = {name.casefold(): name for name in frame.columns}
    if "cif" not in folded:
        raise DataError(
            "the table has no column 'cif'",
            where=str(path),
            mend=f"It has: {', '.join(frame.columns[:20])}",
        )
    texts = frame[folded["cif"]]
    if texts.dtype != pl.String:
        raise DataError(f"the column 'cif' holds {texts.dtype}, not text", where=str(path))
    ids = next((folded[name] for name in IDS if name in folded), None)
    if ids is None:
        names = [str(row) for row in range(frame.height)]
    else:
        names = frame[ids].cast(pl.String).fill_null("").to_list()
    columns: dict[str, NDArray[Any]] = {}
    if properties:
        for series in frame.drop(folded["cif"], *([ids] if ids else [])).iter_columns():
            values = _values(series)
            if values is not None:
                columns[series.name] = values
    return CifTable(texts.fill_null("").to_list(), names, columns)


def _frame(path: Path, kind: str) -> pl.DataFrame:
    data = path.read_bytes()
    if kind == "parquet":
        return pl.read_parquet(io.BytesIO(data))
    if kind == "feather":
        return pl.read_ipc(io.BytesIO(data))
    if path.name.casefold().endswith(".gz"):
        data = gzip.decompress(data)
    separator = "\t" if kind == "tsv" else ","
    # Bytes that are no UTF-8 spoil their row alone: they come out as replacement
    # characters, by which the row is told.
    header = pl.read_csv(io.BytesIO(data), separator=separator, n_rows=0, encoding="utf8-lossy")
    as_text = {name: pl.String for name in header.columns if name.casefold() in (*IDS, "cif")}
    return pl.read_csv(
        io.BytesIO(data),
        separator=separator,
        schema_overrides=as_text,
        infer_schema_length=None,
        encoding="utf8-lossy",
    )


def _values(series: pl.Series) -> NDArray[Any] | None:
    """Return numbers or text, None for what is neither."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
        return None
    texts = series.cast(pl.String).fill_null("")
    longest = texts.str.len_chars().max()
    if isinstance(longest, int) and longest > LONGEST_TEXT:
        return None
    return texts.to_numpy().astype(np.str_)


def text_or_numbers(values: list[Any]) -> NDArray[Any]:
    """Return a property of some structures as one array; None where it is missing.

    Numbers alone give float64 with NaN, anything else text with "".
    """
    if all(value is None or isinstance(value, bool | int | float) for value in values):
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return np.array(["" if v is None else str(v)[:LONGEST_TEXT] for v in values], dtype=np.str_)
