"""Checks of the arrays that come into scoring: shapes, sizes and finite values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def as_matrix(values: ArrayLike, name: str = "features", width: int | None = None) -> FloatArray:
    """Return ``values`` as a finite float64 matrix [n, d], with d equal to ``width`` if given."""
    matrix = _finite(values, name)
    if matrix.ndim != 2:
        raise DataError(f"has shape {matrix.shape}, expected (rows, features)", where=name)
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"has {matrix.shape[1]} features, fitted on {width}", where=name)
    return matrix


def as_members(values: ArrayLike, name: str = "features") -> FloatArray:
    """Return ``values`` as finite float64 [members, n, d]; a matrix becomes one member."""
    members = _finite(values, name)
    members = members[None] if members.ndim == 2 else members
    if members.ndim != 3:
        raise DataError(
            f"has shape {members.shape}, expected (rows, features) or (members, rows, features)",
            where=name,
        )
    return members


def as_labels(values: ArrayLike, name: str = "labels") -> NDArray[np.str_]:
    """Return ``values`` as a one-dimensional array of text; None and NaN become the empty label."""
    labels: NDArray[Any] = np.asarray(values)
    if labels.ndim != 1:
        raise DataError(f"has shape {labels.shape}, expected one label per row", where=name)
    text = labels.astype(np.str_, copy=False)
    if labels.dtype.kind == "f":
        return np.where(np.isnan(labels), "", text)
    if labels.dtype.kind == "O":
        # NaN alone differs from itself.
        missing = np.array([label is None or label != label for label in labels], dtype=bool)
        return np.where(missing, "", text)
    return text


def as_groups(values: ArrayLike, n: int) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the groups, sorted, and the index of each of the n rows' group."""
    text = as_labels(values, "groups")
    if len(text) != n:
        raise DataError(f"{len(text)} groups were given for {n} rows", where="groups")
    names, codes = np.unique(text, return_inverse=True)
    return tuple(names.tolist()), codes.astype(np.int64)


def _finite(values: ArrayLike, name: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("is not a regular array of numbers", where=name) from None
    if array.size == 0:
        raise DataError(f"is empty (shape {array.shape})", where=name)
    # One sum is NaN or infinite whenever an entry is, and needs no array of its own.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum())
    if suspicious and (bad := ~np.isfinite(array)).any():
        raise DataError(
            f"holds {int(bad.sum())} values that are NaN or infinite, the first in "
            f"feature {int(np.argwhere(bad)[0][-1])}",
            where=name,
            hint="Drop or fill the rows with missing values first",
        )
    return array
