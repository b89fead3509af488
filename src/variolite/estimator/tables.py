"""Tables at the edge of an estimator: what came in, and the same kind going out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import SchemaError
from variolite.records import Records, read_table

__all__ = ["Kind", "as_kind", "kind_of", "require_numeric", "spread"]

Kind = Literal["array", "pandas", "polars"]


def kind_of(source: Any) -> Kind:
    """Say what a table is; files and mappings of arrays are read into polars frames."""
    if isinstance(source, pl.DataFrame | pl.LazyFrame | str | Path):
        return "polars"
    # Some sparse matrices are mappings too; they are arrays to be refused.
    if isinstance(source, Mapping) and not hasattr(source, "shape"):
        return "polars"
    # Named without an import: pandas is an optional extra.
    module = type(source).__module__.partition(".")[0]
    return "pandas" if module == "pandas" and hasattr(source, "columns") else "array"


def as_kind(columns: Mapping[str, NDArray[Any]], kind: Kind, index: Any = None) -> Any:
    """Join columns to an array of shape (n, d), or to a data frame with their names.

    ``index`` is that of a pandas frame that goes out.
    """
    if kind == "array":
        return np.column_stack(list(columns.values()))
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(dict(columns), index=index)
    return pl.DataFrame({name: _series(name, values) for name, values in columns.items()})


def _series(name: str, values: NDArray[Any]) -> pl.Series:
    return pl.Series(name, values.tolist() if values.dtype == object else values)


def spread(values: NDArray[Any], records: Records, rows: int) -> NDArray[Any]:
    """Lay values of records, shape (k, ...), out over all rows of their table, (rows, ...).

    Rows that did not become records hold NaN, or None among level names.
    """
    if len(values) == rows:
        return values
    number = values.dtype.kind == "f"
    shape = (rows, *values.shape[1:])
    out = np.full(shape, np.nan, values.dtype) if number else np.full(shape, None, object)
    out[records.row] = values
    return cast("NDArray[Any]", out)


def require_numeric(frame: Any) -> None:
    """Refuse a data frame with columns that are not numbers.

    Guessing what text means would let names of boreholes into the model as inputs.

    Raises
    ------
    SchemaError
        Naming the first such column.
    """
    table = read_table(frame)
    for name, dtype in zip(table.columns, table.dtypes, strict=True):
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
            raise SchemaError(
                f"holds {dtype}, not numbers",
                where=f"column {name!r}",
                mend="Leave it out, or say with schema= what it is: a category, label or group",
            )
