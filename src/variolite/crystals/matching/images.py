"""Nearest periodic images."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.niggli import niggli_cells

__all__ = ["NEIGHBOURS", "ReducedFrames", "shortest_vectors"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# One of each pair of opposite lattice translations among the 26 neighbours.
NEIGHBOURS: Floats = np.array(
    [shift for shift in product((-1.0, 0.0, 1.0), repeat=3) if shift > (0.0, 0.0, 0.0)]
)


class ReducedFrames:
    """Niggli cells of B lattices, in which the nearest image is among 27.

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3).
    """

    def __init__(self, lattices: Floats) -> None:
        cells = niggli_cells(lattices)
        self.lattices = cells.lattices
        self._inverse = np.rint(np.linalg.inv(cells.transform))
        self._neighbours = NEIGHBOURS @ self.lattices
        self._norms = (self._neighbours**2).sum(axis=-1)

    def shortest(self, fractional: Floats, owner: Integers) -> Floats:
        """Shortest Cartesian vectors, in Angstrom, that equal the given ones up to a period.

        Parameters
        ----------
        fractional
            Vectors in fractional coordinates of the lattices as given, shape (N, 3).
        owner
            Lattice of every vector, shape (N,).
        """
        wrapped = np.einsum("ni,nij->nj", fractional, self._inverse[owner])
        wrapped -= np.rint(wrapped)
        vectors = np.einsum("ni,nij->nj", wrapped, self.lattices[owner])
        return shortest_vectors(vectors, self._neighbours, self._norms, owner)


def shortest_vectors(vectors: Floats, neighbours: Floats, norms: Floats, owner: Integers) -> Floats:
    """Replace wrapped vectors by their shortest images among 27.

    Parameters
    ----------
    vectors
        Cartesian vectors whose fractional coordinates in a reduced cell lie between -1/2
        and 1/2, shape (N, 3).
    neighbours, norms
        Lattice vectors of :data:`NEIGHBOURS` in that cell and their squared lengths, shape
        (B, 13, 3) and (B, 13).
    owner
        Lattice of every vector, shape (N,).
    """
    shortest = vectors.copy()
    # Shorter than half the shortest lattice vector: nothing is nearer.
    squares = (vectors**2).sum(axis=-1)
    far = np.flatnonzero(squares > norms.min(axis=1)[owner] / 4)
    cell = owner[far]
    along = np.einsum("ni,nki->nk", vectors[far], neighbours[cell])
    gain = norms[cell] - 2.0 * np.abs(along)
    best = gain.argmin(axis=1)
    better = np.flatnonzero(gain[np.arange(len(far)), best] < 0)
    far, cell, best = far[better], cell[better], best[better]
    shortest[far] -= np.sign(along[better, best])[:, None] * neighbours[cell, best]
    return shortest
