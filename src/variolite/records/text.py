"""One spelling for every name: group, label and category values as text."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import SchemaError

__all__ = ["as_text", "text_series", "text_values"]

_LARGEST_EXACT = 2.0**53


def text_series(series: pl.Series) -> pl.Series:
    """Return a column as a String series, missing entries as ""; see :func:`text_values`."""
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise SchemaError(f"column {series.name!r} holds {series.dtype}, not plain values")
    if series.dtype.is_float():
        values = series.fill_nan(None)
        whole = (values == values.round()) & (values.abs() < _LARGEST_EXACT)
        whole = whole.fill_null(value=False)
        as_integer = values.set(~whole, None).cast(pl.Int64).cast(pl.String)
        texts = values.cast(pl.String).zip_with(~whole, as_integer)
    elif series.dtype == pl.String:
        texts = series.str.strip_chars()
    else:
        texts = series.cast(pl.String)
    return texts.fill_null("")


def text_values(series: pl.Series) -> NDArray[np.str_]:
    """Return a column as text, missing entries as "".

    Whole numbers lose their point, so that 3, 3.0 and "3" name the same group.
    Outer blanks are removed.

    Parameters
    ----------
    series
        Column of any plain type, length n.

    Returns
    -------
    ndarray of str, shape [n]
    """
    texts = text_series(series)
    if not len(texts):
        return np.empty(0, dtype=np.str_)
    # By way of the distinct values: a million rows hold few names.
    distinct = texts.unique()
    codes = texts.replace_strict(distinct, pl.int_range(len(distinct), eager=True))
    table = distinct.to_numpy().astype(str)
    result: NDArray[np.str_] = table[codes.to_numpy()]
    return result


def as_text(values: ArrayLike | pl.Series) -> NDArray[np.str_]:
    """Return any one-dimensional array of names as text; see :func:`text_values`."""
    if isinstance(values, pl.Series):
        return text_values(values)
    array = np.asarray(values)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.ndim != 1:
        raise SchemaError(f"names need one dimension, not {array.ndim}")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "O":
        flat = [None if value is None or value != value else value for value in array.tolist()]
        if all(value is None or isinstance(value, str) for value in flat):
            return text_values(pl.Series("names", flat, dtype=pl.String))
        return np.concatenate([text_values(pl.Series("names", [value])) for value in flat])
    return text_values(pl.Series("names", array))
