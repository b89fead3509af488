"""Filling missing values of a table from decoded rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records import MISSING, FittedSchema, Records

__all__ = ["fill_gaps"]


def fill_gaps(
    table: pl.DataFrame,
    records: Records,
    schema: FittedSchema,
    decoded: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """Put decoded values where inputs are missing, and leave all others as they are.

    Parameters
    ----------
    table
        Shape (n, ...).
    records
        Of that table.
    schema
        That made them.
    decoded
        By table column, one value for every row of ``records``.

    Returns
    -------
    dict
        By table column, shape (n,): float64 or, for categories, level names. Absent
        columns of the table count as missing throughout.
    """
    filled: dict[str, NDArray[Any]] = {}
    for column in schema.schema.inputs:
        name = str(column.source)
        if column.kind == "numeric":
            gap = ~records.observed[:, schema.numeric_names.index(column.name)]
            empty: Any = np.nan
        else:
            gap = records.category[:, schema.category_names.index(column.name)] == MISSING
            empty = None
        dtype = np.dtype(np.float64 if column.kind == "numeric" else object)
        values = np.full(table.height, empty, dtype=dtype)
        if name in table.columns:
            wanted = pl.Float64 if column.kind == "numeric" else pl.String
            values[:] = table[name].cast(wanted, strict=False).to_numpy()
        values[records.row[gap]] = decoded[name][gap]
        filled[name] = values
    return filled
