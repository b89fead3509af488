"""Shortest bases of lattices, for many lattices at once.

A basis of a lattice in three dimensions is Minkowski-reduced when no vector can
be shortened by adding others with coefficients -1, 0 or 1 (Nguyen and Stehle
2009). The Niggli cell is one of the Minkowski-reduced bases; where a lattice
has several, all of them are found here and `canonical` chooses.
"""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError

__all__ = ["reduced_basis", "shortest_bases", "signed_permutations"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROUNDS = 200
"""Sweeps of the reduction; real cells need fewer than ten."""

SAME_LENGTH = 1e-5
"""Relative difference below which two bases count as equally short."""


def _short_vectors() -> Integers:
    """Vectors with coefficients -1, 0 and 1, of each pair v, -v the first, shape (13, 3)."""
    every = [v for v in product((0, 1, -1), repeat=3) if any(v)]
    return np.array([v for v in every if next(c for c in v if c) == 1], dtype=np.int64)


def _bases() -> Integers:
    """All unordered bases made of such vectors, shape (K, 3, 3), vectors as rows."""
    triples = np.array([list(t) for t in combinations(_short_vectors(), 3)])
    unimodular = np.abs(np.rint(np.linalg.det(triples))) == 1
    return np.asarray(triples[unimodular], dtype=np.int64)


def signed_permutations() -> Integers:
    """The 48 ways of ordering and turning round three vectors, shape (48, 3, 3)."""
    eye = np.eye(3, dtype=np.int64)
    orders = [eye[list(order)] for order in permutations(range(3))]
    signs = [np.diag(sign) for sign in product((1, -1), repeat=3)]
    return np.array([sign @ order for order in orders for sign in signs])


SHORT_VECTORS = _short_vectors()
BASES = _bases()


def reduced_basis(lattices: Floats) -> Integers:
    """Return the change of basis U with U @ lattice Minkowski-reduced.

    Parameters
    ----------
    lattices
        Rows are lattice vectors, shape (B, 3, 3).

    Returns
    -------
    U
        Integer matrices of determinant 1 or -1, shape (B, 3, 3).

    Raises
    ------
    DataError
        If a cell has no volume, so that it is no basis.
    """
    lattices = np.asarray(lattices, dtype=np.float64)
    lengths = np.linalg.norm(lattices, axis=2)
    flat = np.abs(np.linalg.det(lattices)) <= 1e-9 * lengths.prod(axis=1)
    if flat.any():
        raise DataError(
            f"cell {int(np.flatnonzero(flat)[0])} has no volume",
            where="lattice reduction",
            mend="leave this structure out",
        )
    change = np.broadcast_to(np.eye(3, dtype=np.int64), lattices.shape).copy()
    active = np.arange(len(lattices))
    for _ in range(ROUNDS):
        basis = change[active] @ lattices[active]
        step = _one_sweep(basis)
        moved = (step != np.eye(3, dtype=np.int64)).any(axis=(1, 2))
        if not moved.any():
            return change
        active = active[moved]
        change[active] = step[moved] @ change[active]
    raise DataError("a lattice could not be reduced", where=f"cell {int(active[0])}")


def _one_sweep(basis: Floats) -> Integers:
    """Sort by length, shorten the second vector by the first and the third by both."""
    rows = np.arange(len(basis))
    squared = (basis**2).sum(axis=2)
    order = np.argsort(squared, axis=1, kind="stable")
    step = np.eye(3, dtype=np.int64)[order]
    basis = step @ basis
    gram = basis @ basis.transpose(0, 2, 1)
    # The second vector by the first.
    times = np.rint(gram[:, 0, 1] / gram[:, 0, 0]).astype(np.int64)
    gained = gram[:, 1, 1] - 2 * times * gram[:, 0, 1] + times**2 * gram[:, 0, 0]
    times = np.where(gained < gram[:, 1, 1] * (1 - 1e-9), times, 0)
    step[:, 1] -= times[:, None] * step[:, 0]
    basis[:, 1] -= times[:, None] * basis[:, 0]
    gram = basis @ basis.transpose(0, 2, 1)
    # The third by the nearest combination of the other two: around the solution of the
    # normal equations the best integers are among the neighbours.
    solved = np.linalg.solve(gram[:, :2, :2], gram[:, :2, 2:])[:, :, 0]
    around = np.array(list(product((-1, 0, 1), repeat=2)))
    tried = np.rint(solved)[:, None, :] + around  # (B, 9, 2)
    tried = np.concatenate([np.zeros_like(tried[:, :1]), tried], axis=1)
    shorter = basis[:, None, 2] - tried @ basis[:, :2]
    squared = (shorter**2).sum(axis=2)
    best = squared.argmin(axis=1)
    best = np.where(squared[rows, best] < squared[:, 0] * (1 - 1e-9), best, 0)
    chosen = tried[rows, best].astype(np.int64)
    step[:, 2] -= (chosen[:, :, None] * step[:, :2]).sum(axis=1)
    return step


def shortest_bases(reduced: Floats, tolerance: float = SAME_LENGTH) -> tuple[Integers, Integers]:
    """Return every basis as short as a reduced one, up to order and sign of its vectors.

    Parameters
    ----------
    reduced
        Minkowski-reduced cells, shape (B, 3, 3).
    tolerance
        Relative difference in the sum of squared lengths that counts as none.

    Returns
    -------
    owner
        Cell of each basis, ascending, shape (M,).
    change
        Its rows in terms of the reduced vectors, shape (M, 3, 3).
    """
    lengths = ((SHORT_VECTORS @ reduced) ** 2).sum(axis=2)  # (B, 13)
    place = np.array(
        [[np.flatnonzero((v == SHORT_VECTORS).all(axis=1))[0] for v in basis] for basis in BASES]
    )
    sums = lengths[:, place].sum(axis=2)  # (B, K)
    least = sums.min(axis=1, keepdims=True)
    owner, which = np.nonzero(sums <= least * (1 + tolerance))
    return owner, BASES[which]
