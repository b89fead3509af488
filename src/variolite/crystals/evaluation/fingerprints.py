"""Fingerprints of crystals, and coverage of real crystals by samples.

The average minimum distance (D. Widdowson et al., MATCH Commun. Math. Comput. Chem. 87
(2022) 529) is the vector of distances to the first, second, ..., k-th neighbour averaged
over the atoms. It knows no elements and does not depend on cell, origin, order or
orientation, and moves by at most twice what the atoms move. Written from its definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_heights
from variolite.crystals.elements import HEAVIEST, compositions
from variolite.crystals.periodic import in_reduced_cells
from variolite.errors import DataError

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
    # Vectors between all ordered pairs of atoms, an atom and itself included, (n^2, 3).
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
            # |v + t|^2 = |v|^2 + 2 v t + |t|^2 for all T lattice vectors t, (n, n T).
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


# Coverage: how many real crystals lie near a sample, and how many samples near a real crystal.
#
# After T. Xie et al., ICLR 2022, appendix B (COV-R and COV-P). There, distances are those of
# CrystalNN and Magpie fingerprints with fixed cut-offs; here they are those of the average
# minimum distance and of the composition on a line of elements, with cut-offs taken from
# how near test crystals are to training crystals. The numbers cannot be compared with
# published ones.


QUANTILE = 0.9
"""Share of the test crystals that each cut-off is to reach from the training crystals."""

MOST = 1000
"""Test crystals that cut-offs are taken from."""

CHUNK = 5_000_000
"""Distances held at once."""


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of B crystals.

    Average minimum distances in Angstrom, (B, k), and cumulative fractions of the elements on
    the line, (B, 118).
    """

    structure: Floats
    composition: Floats

    def __len__(self) -> int:
        return len(self.structure)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Fingerprints:
        """Choose crystals by place or by mask."""
        return Fingerprints(self.structure[index], self.composition[index])


@dataclass(frozen=True)
class CutOffs:
    """Distances up to which two crystals count as near.

    Between average minimum distances the largest difference in Angstrom; between compositions
    the work in places on the line of elements.
    """

    structure: float
    composition: float


def fingerprints_of(crystals: Crystals) -> Fingerprints:
    """Return the fingerprints of crystals that are valid by distance."""
    return Fingerprints(average_minimum_distances(crystals), composition_fingerprints(crystals))


def coverage(
    samples: Fingerprints, real: Fingerprints, cutoffs: CutOffs
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the samples near real crystals, in composition and in structure at once.

    Returns whether each real crystal has a sample near it, and each sample a real crystal.
    """
    recalled = np.zeros(len(real), dtype=bool)
    precise = np.zeros(len(samples), dtype=bool)
    for sample, other in _near_in_composition(samples, real, cutoffs.composition):
        apart = _structure_distance(samples, real, sample, other)
        near = apart <= cutoffs.structure
        precise[sample[near]] = True
        recalled[other[near]] = True
    return recalled, precise


def calibrate(
    test: Fingerprints, training: Fingerprints, *, quantile: float = QUANTILE, seed: int = 0
) -> CutOffs:
    """Take cut-offs from the distances of test crystals to the nearest training crystals.

    The cut-off of composition is the quantile of the distance to the nearest composition;
    that of structure the same quantile of the distance to the nearest structure among the
    training crystals within the first cut-off. At most 1,000 test crystals, drawn at random,
    are used; `DataError` if one of the sets is empty.
    """
    if not len(test) or not len(training):
        raise DataError("there are no crystals to take cut-offs from", where="coverage")
    some = test.take(np.random.default_rng(seed).permutation(len(test))[:MOST])
    nearest = [found.min(axis=1) for _, found in _composition_distances(some, training)]
    composition = float(np.quantile(np.concatenate(nearest), quantile, method="higher"))
    closest = np.full(len(some), np.inf)
    for mine, other in _near_in_composition(some, training, composition):
        np.minimum.at(closest, mine, _structure_distance(some, training, mine, other))
    reached = closest[np.isfinite(closest)]
    return CutOffs(float(np.quantile(reached, quantile, method="higher")), composition)


def _composition_distances(
    first: Fingerprints, second: Fingerprints
) -> Iterator[tuple[int, Floats]]:
    """Distances (rows, B) of some crystals after the other to all others, with the first row."""
    step = max(1, CHUNK // max(len(second), 1))
    for start in range(0, len(first), step):
        rows = first.composition[start : start + step]
        yield start, composition_distance(rows, second.composition)


def _near_in_composition(
    first: Fingerprints, second: Fingerprints, cutoff: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (i, j) whose compositions are within the cut-off, in parts."""
    for start, distances in _composition_distances(first, second):
        # Sums of shares are rounded: equal compositions must stay within a cut-off of 0.
        mine, other = np.nonzero(distances <= cutoff + 1e-9)
        yield mine + start, other


def _structure_distance(
    first: Fingerprints, second: Fingerprints, mine: NDArray[np.int64], other: NDArray[np.int64]
) -> Floats:
    """Largest difference of the average minimum distances of pairs, shape (P,)."""
    distances = np.empty(len(mine))
    step = max(1, CHUNK // max(first.structure.shape[1], 1))
    for start in range(0, len(mine), step):
        part = slice(start, start + step)
        apart = first.structure[mine[part]] - second.structure[other[part]]
        distances[part] = np.abs(apart).max(axis=1)
    return distances
