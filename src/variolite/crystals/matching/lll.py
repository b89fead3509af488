"""LLL reduction of many lattices at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["reduce_lll"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOVASZ = 0.75


def reduce_lll(lattices: Floats) -> tuple[Floats, Integers]:
    """Reduce lattices by A. Lenstra, H. Lenstra, L. Lovász (Math. Ann. 261 (1982) 515).

    Parameters
    ----------
    lattices
        Rows are lattice vectors, shape (B, 3, 3).

    Returns
    -------
    reduced
        Reduced lattices, with the factor 3/4 in the exchange condition.
    transform
        Integer matrices of determinant ±1 with ``reduced = transform @ lattices``.
    """
    vectors = np.array(lattices, dtype=np.float64)
    transform = np.broadcast_to(np.eye(3), vectors.shape).copy()
    # The basis vector that is treated next; 3 where a lattice is done.
    place = np.ones(len(vectors), dtype=np.int64)
    while len(active := np.flatnonzero(place < 3)):
        second = active[place[active] == 1]
        third = active[place[active] == 2]
        if len(second):
            place[second] = _treat_second(vectors, transform, second)
        if len(third):
            place[third] = _treat_third(vectors, transform, third)
    return vectors, np.rint(transform).astype(np.int64)


def _treat_second(vectors: Floats, transform: Floats, index: Integers) -> Integers:
    a = vectors[index]
    norm = _dot(a[:, 0], a[:, 0])
    share = _dot(a[:, 1], a[:, 0]) / norm
    multiple = np.rint(share)
    _subtract(vectors, transform, index, 1, 0, multiple)
    rest = a[:, 1] - share[:, None] * a[:, 0]
    holds = _dot(rest, rest) >= (_LOVASZ - (share - multiple) ** 2) * norm
    _exchange(vectors, transform, index[~holds], 0, 1)
    return np.where(holds, 2, 1)


def _treat_third(vectors: Floats, transform: Floats, index: Integers) -> Integers:
    a = vectors[index]
    first = a[:, 0]
    norm_first = _dot(first, first)
    share_second = _dot(a[:, 1], first) / norm_first
    second = a[:, 1] - share_second[:, None] * first
    norm_second = _dot(second, second)
    on_first = _dot(a[:, 2], first) / norm_first
    on_second = _dot(a[:, 2], second) / norm_second
    third = a[:, 2] - on_first[:, None] * first - on_second[:, None] * second
    multiple = np.rint(on_second)
    _subtract(vectors, transform, index, 2, 1, multiple)
    on_second = on_second - multiple
    _subtract(vectors, transform, index, 2, 0, np.rint(on_first - multiple * share_second))
    holds = _dot(third, third) >= (_LOVASZ - on_second**2) * norm_second
    _exchange(vectors, transform, index[~holds], 1, 2)
    return np.where(holds, 3, 1)


def _dot(first: Floats, second: Floats) -> Floats:
    product: Floats = (first * second).sum(axis=-1)
    return product


def _subtract(
    vectors: Floats, transform: Floats, index: Integers, row: int, other: int, multiple: Floats
) -> None:
    changed = multiple != 0
    if changed.any():
        places, factor = index[changed], multiple[changed, None]
        vectors[places, row] -= factor * vectors[places, other]
        transform[places, row] -= factor * transform[places, other]


def _exchange(vectors: Floats, transform: Floats, index: Integers, first: int, second: int) -> None:
    for array in (vectors, transform):
        array[index, first], array[index, second] = (
            array[index, second],
            array[index, first].copy(),
        )
