"""Checks of the arrays that come into scoring: shapes, sizes and finite values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def as_matrix(values: ArrayLike, name: str = "features") -> FloatArray:
    """Return ``values`` as a finite float64 matrix [n, d].

    Raises
    ------
    DataError
        If the array is not two-dimensional, is empty or holds NaN or infinity.
    """
    matrix = _as_float(values, name)
    if matrix.ndim != 2:
        raise DataError(
            f"has shape {matrix.shape}, expected two dimensions (rows, features)", where=name
        )
    _check_filled(matrix, name)
    return matrix


def as_members(values: ArrayLike, name: str = "features") -> FloatArray:
    """Return ``values`` as finite float64 [members, n, d]; a matrix becomes one member.

    Raises
    ------
    DataError
        If the array has not two or three dimensions, is empty or holds NaN or infinity.
    """
    members = _as_float(values, name)
    if members.ndim == 2:
        members = members[None]
    if members.ndim != 3:
        raise DataError(
            f"has shape {members.shape}, expected (rows, features) or (members, rows, features)",
            where=name,
        )
    _check_filled(members, name)
    return members


def as_labels(values: ArrayLike, name: str = "labels") -> NDArray[np.str_]:
    """Return ``values`` as a one-dimensional array of text; None and NaN become the empty label.

    Raises
    ------
    DataError
        If the array is not one-dimensional.
    """
    labels: NDArray[Any] = np.asarray(values)
    if labels.ndim != 1:
        raise DataError(f"has shape {labels.shape}, expected one label per row", where=name)
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind == "O":
        return np.array(
            ["" if _is_missing(label) else str(label) for label in labels], dtype=np.str_
        )
    text = labels.astype(np.str_)
    if labels.dtype.kind == "f":
        text[np.isnan(labels)] = ""
    return text


def _is_missing(label: object) -> bool:
    return label is None or label != label  # NaN alone differs from itself


def _as_float(values: ArrayLike, name: str) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            "does not hold numbers in a regular array",
            where=name,
            hint="Give a numeric array with the same number of features in every row",
        ) from error


def _check_filled(values: FloatArray, name: str) -> None:
    if values.size == 0:
        raise DataError(f"is empty (shape {values.shape})", where=name)
    # One sum is NaN or infinite whenever an entry is, and needs no array of its own.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(values.sum())
    if suspicious:
        bad = ~np.isfinite(values)
        if bad.any():
            column = int(np.argwhere(bad)[0][-1])
            raise DataError(
                f"holds {int(bad.sum())} values that are NaN or infinite, the first in "
                f"feature {column}",
                where=name,
                hint="Drop or fill the rows with missing values first",
            )
