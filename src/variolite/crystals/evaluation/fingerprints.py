"""Fingerprints of crystals: distances to neighbours, and place of the composition in the table.

The average minimum distance (D. Widdowson et al., MATCH Commun. Math. Comput. Chem. 87
(2022) 529) is the vector of distances to the first, second, ..., k-th neighbour averaged
over the atoms. It knows no elements and does not depend on cell, origin, order or
orientation, and moves by at most twice what the atoms move. Written from its definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.frame.distances import in_reduced_cells
from variolite.crystals.structures.cells import cell_heights
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.elements import HEAVIEST
from variolite.crystals.structures.formula import compositions

__all__ = [
    "NEIGHBOURS",
    "average_minimum_distances",
    "composition_distance",
    "composition_fingerprints",
]

Floats = NDArray[np.float64]

NEIGHBOURS = 100
"""Neighbours of each atom that the average minimum distance looks at."""

MARGIN = 1.1
"""Radius of the first search over that of a sphere with the wanted number of atoms."""

GROWTH = 1.3
"""Growth of the radius where the sphere held too few atoms."""


def average_minimum_distances(crystals: Crystals, k: int = NEIGHBOURS) -> Floats:
    """Return the average minimum distances of crystals in Angstrom, shape (B, k).

    Parameters
    ----------
    crystals
        Structures that are valid by distance, see
        :func:`~variolite.crystals.evaluation.distance_validity`: with atoms on top of
        each other there is no end to the neighbours.
    k
        Number of neighbours.

    Raises
    ------
    DataError
        If a crystal has no cell.
    """
    if not len(crystals):
        return np.empty((0, k))
    coordinates, lattices = in_reduced_cells(crystals)
    heights = cell_heights(lattices)

    def one(place: int) -> Floats:
        atoms = slice(crystals.offsets[place], crystals.offsets[place + 1])
        return _of_one(coordinates[atoms], lattices[place], heights[place], k)

    return np.stack([one(place) for place in range(len(crystals))])


def _of_one(coordinates: Floats, lattice: Floats, heights: Floats, k: int) -> Floats:
    size = len(coordinates)
    apart = coordinates[:, None] - coordinates[None]
    apart = ((apart - np.rint(apart)) @ lattice).reshape(-1, 3)
    squared = (apart**2).sum(axis=1)
    reach = float(np.sqrt(squared.max()))
    volume = abs(float(np.linalg.det(lattice)))
    # Besides the k neighbours the sphere holds the atom itself.
    radius = MARGIN * (3.0 * (k + 1) * volume / (4.0 * np.pi * size)) ** (1.0 / 3.0) + 0.5
    while True:
        shifts = _shifts_within(radius + reach, lattice, heights)
        if len(shifts) * size > k:
            distances = 2.0 * apart @ shifts.T
            distances += squared[:, None]
            distances += (shifts**2).sum(axis=1)
            distances = distances.reshape(size, -1)
            distances.partition(k, axis=1)
            nearest = distances[:, : k + 1]
            nearest.sort(axis=1)
            # Everything within the radius was seen, so the k-th neighbour is certain.
            if nearest[:, k].max() <= radius**2:
                return np.asarray(np.sqrt(np.maximum(nearest[:, 1:], 0.0)).mean(axis=0))
        radius *= GROWTH


def _shifts_within(radius: float, lattice: Floats, heights: Floats) -> Floats:
    """Lattice vectors no longer than a radius in Angstrom, shape (T, 3)."""
    most = np.floor(radius / heights).astype(np.int64)
    axes = [
        np.arange(-limit, limit + 1)[:, None] * row
        for limit, row in zip(most, lattice, strict=True)
    ]
    plane = axes[0][:, None] + axes[1][None]
    shifts = (plane.reshape(-1, 1, 3) + axes[2][None]).reshape(-1, 3)
    return np.asarray(shifts[(shifts**2).sum(axis=1) <= radius**2])


def _column_by_column() -> NDArray[np.int64]:
    """Atomic numbers ordered by column of the periodic table, then by row.

    Lanthanides and actinides stand in the third column, after scandium and yttrium.
    """
    noble = (2, 10, 18, 36, 54, 86, 118)
    key = np.zeros((HEAVIEST, 3), dtype=np.int64)
    for z in range(1, HEAVIEST + 1):
        row = sum(z > closed for closed in noble)
        before = noble[row - 1] if row else 0
        place, length = z - before, (noble[row] - before)
        if place <= 2 and z != 2:
            column = place
        elif length == 32 and place <= 17:
            column = 3
        else:
            column = 18 - (length - place)
        key[z - 1] = column, row, place
    return np.asarray(1 + np.lexsort(key.T[::-1]))


LINE = _column_by_column()
"""Atomic numbers in the order of the line."""


def composition_fingerprints(crystals: Crystals) -> Floats:
    """Return a fingerprint of the composition of each crystal, shape (B, 118).

    The elements are put on a line, column by column of the periodic table (the idea of
    D. Pettifor, J. Phys. C 19 (1986) 285, with the plain order), and the fingerprint is
    the cumulative share of the atoms along it. The sum of the absolute differences of two
    such vectors is the least work of turning one composition into the other, in places on
    the line (C. Hargreaves et al., Chem. Mater. 32 (2020) 10610, with their scale): the
    neighbours sodium and potassium are alike, sodium and chlorine are not.
    """
    counts = compositions(crystals).astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return np.asarray(np.cumsum(shares[:, LINE], axis=1))


def composition_distance(first: Floats, second: Floats) -> Floats:
    """Return the distances of composition fingerprints, shapes (A, 118), (B, 118) to (A, B)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(first, second, metric="cityblock"))
