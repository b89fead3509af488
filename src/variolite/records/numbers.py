"""Reading a column as numbers, with an error that names the first value that is none."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError

__all__ = ["numeric_values"]


def numeric_values(series: pl.Series) -> NDArray[np.float64]:
    """Return a column as float64, missing entries as NaN.

    Text is accepted when every entry that is not blank is a number in plain notation.

    Parameters
    ----------
    series
        Column of length n.

    Returns
    -------
    ndarray, shape [n]
        Infinite values stay infinite.

    Raises
    ------
    DataError
        If the column holds anything but numbers; names column, row and value.
    """
    if series.dtype.is_numeric() or series.dtype == pl.Boolean or series.dtype == pl.Null:
        return _to_numpy(series.cast(pl.Float64))
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        raise DataError(
            f"holds {series.dtype}, not numbers",
            where=f"column {series.name!r}",
            mend="Map a numeric column instead, or give it the kind 'category'",
        )
    stripped = series.str.strip_chars()
    blank = stripped.str.len_chars() == 0
    stripped = stripped.set(blank.fill_null(value=False), None)
    values = stripped.cast(pl.Float64, strict=False)
    bad = values.is_null() & stripped.is_not_null()
    if bad.any():
        first = int(bad.arg_true()[0])
        text = series[first]
        comma = "," in text and "." not in text
        advice = (
            "Write a decimal point instead of a comma"
            if comma
            else "Leave missing cells empty, or give the column the kind 'category'"
        )
        raise DataError(
            f"{text!r:.60} in row {first + 1} is not a number "
            f"({int(bad.sum())} of {len(series)} entries are not)",
            where=f"column {series.name!r}",
            mend=advice,
        )
    return _to_numpy(values)


def _to_numpy(series: pl.Series) -> NDArray[np.float64]:
    return np.array(series.fill_null(float("nan")).to_numpy(), dtype=np.float64)
