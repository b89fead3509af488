"""Fingerprints of crystals, and coverage of real crystals by samples.

The average minimum distance (D. Widdowson et al., MATCH Commun. Math. Comput. Chem. 87
(2022) 529) is the vector of distances to the first, second, ..., k-th neighbour averaged
over the atoms. It knows no elements, does not depend on how a crystal is written, and moves by
at most twice what the atoms move. Written from its definition.

Coverage is after T. Xie et al., ICLR 2022, appendix B (COV-R and COV-P), whose distances are
those of CrystalNN and Magpie fingerprints with fixed cut-offs. Here cut-offs are taken from how
near test crystals are to training crystals: the numbers cannot be compared with published ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_heights
from variolite.crystals.elements import HEAVIEST, compositions, place_in_table
from variolite.crystals.geometry.periodic import in_reduced_cells
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBOURS = 100  # neighbours of each atom that the average minimum distance looks at
MARGIN = 1.1  # radius of the first search over that of a sphere with the wanted number of atoms
GROWTH = 1.3  # growth of the radius where the sphere held too few atoms

QUANTILE = 0.9  # share of the test crystals that a cut-off is to reach from training crystals
MOST = 1000  # test crystals that cut-offs are taken from
CHUNK = 5_000_000  # distances held at once


def average_minimum_distances(crystals: Crystals, k: int = NEIGHBOURS) -> Floats:
    """Return the average minimum distances of crystals in Angstrom, shape (B, k).

    They have to be valid by distance, see `distance_validity`: with atoms on top of each other
    there is no end to the neighbours. `DataError` if a crystal has no cell.
    """
    found = np.empty((len(crystals), k))
    if not len(crystals):
        return found
    reduced = in_reduced_cells(crystals)
    heights = cell_heights(reduced.lattices)
    for place, crystal in enumerate(reduced):
        found[place] = _of_one(crystal.coordinates, crystal.lattice, heights[place], k)
    return found


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
    a, b, c = (
        np.arange(-limit, limit + 1)[:, None] * row
        for limit, row in zip(most, lattice, strict=True)
    )
    shifts = ((a[:, None] + b).reshape(-1, 1, 3) + c).reshape(-1, 3)
    return np.asarray(shifts[(shifts**2).sum(axis=1) <= radius**2])


# Lanthanides and actinides, which the table shows below it, belong to the third column.
_COLUMNS = [2 if row > 6 else column for row, column in map(place_in_table, range(1, HEAVIEST + 1))]
LINE = 1 + np.argsort(_COLUMNS, kind="stable")
"""Atomic numbers on a line: column by column of the periodic table, then by row."""


def element_fractions(crystals: Crystals) -> Floats:
    """Return the fraction of each element among the atoms, by atomic number, shape (B, 119)."""
    return np.asarray(compositions(crystals) / np.maximum(crystals.counts, 1)[:, None])


def composition_fingerprints(crystals: Crystals) -> Floats:
    """Return a fingerprint of the composition of each crystal, shape (B, 118).

    The cumulative share of the atoms along the line of elements (the idea of D. Pettifor,
    J. Phys. C 19 (1986) 285, with the plain order). The sum of the absolute differences of two
    such vectors is the least work of turning one composition into the other, in places on
    the line (C. Hargreaves et al., Chem. Mater. 32 (2020) 10610, with their scale).
    """
    return np.asarray(np.cumsum(element_fractions(crystals)[:, LINE], axis=1))


@dataclass(frozen=True)
class Fingerprints:
    """Average minimum distances of B crystals in Angstrom, (B, k), and cumulative fractions of
    the elements on the line, (B, 118)."""

    structure: Floats
    composition: Floats

    def __len__(self) -> int:
        return len(self.structure)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Fingerprints:
        """Choose crystals by place or by mask."""
        return Fingerprints(self.structure[index], self.composition[index])


@dataclass(frozen=True)
class CutOffs:
    """Largest difference of average minimum distances, in Angstrom, and work between
    compositions, in places on the line of elements, up to which two crystals are near."""

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
        near = _structure_distance(samples, real, sample, other) <= cutoffs.structure
        precise[sample[near]] = True
        recalled[other[near]] = True
    return recalled, precise


def calibrate(test: Fingerprints, training: Fingerprints, *, seed: int = 0) -> CutOffs:
    """Take cut-offs from the distances of test crystals to the nearest training crystals.

    The cut-off of composition is the quantile of the distance to the nearest composition;
    that of structure the same quantile of the distance to the nearest structure among the
    training crystals within the first cut-off. `DataError` if one of the sets is empty.
    """
    if not len(test) or not len(training):
        raise DataError("there are no crystals to take cut-offs from", where="coverage")
    some = test.take(np.random.default_rng(seed).permutation(len(test))[:MOST])
    nearest = [found.min(axis=1) for _, found in _composition_distances(some, training)]
    composition = float(np.quantile(np.concatenate(nearest), QUANTILE, method="higher"))
    closest = np.full(len(some), np.inf)
    for mine, other in _near_in_composition(some, training, composition):
        np.minimum.at(closest, mine, _structure_distance(some, training, mine, other))
    reached = closest[np.isfinite(closest)]
    return CutOffs(float(np.quantile(reached, QUANTILE, method="higher")), composition)


def _composition_distances(
    first: Fingerprints, second: Fingerprints
) -> Iterator[tuple[int, Floats]]:
    """Distances (rows, B) of some crystals after the other to all others, with the first row."""
    from scipy.spatial.distance import cdist

    step = max(1, CHUNK // max(len(second), 1))
    for start in range(0, len(first), step):
        rows = first.composition[start : start + step]
        yield start, cdist(rows, second.composition, metric="cityblock")


def _near_in_composition(
    first: Fingerprints, second: Fingerprints, cutoff: float
) -> Iterator[tuple[Integers, Integers]]:
    """Pairs (i, j) whose compositions are within the cut-off, in parts."""
    for start, distances in _composition_distances(first, second):
        # Sums of shares are rounded: equal compositions must stay within a cut-off of 0.
        mine, other = np.nonzero(distances <= cutoff + 1e-9)
        yield mine + start, other


def _structure_distance(
    first: Fingerprints, second: Fingerprints, mine: Integers, other: Integers
) -> Floats:
    """Largest difference of the average minimum distances of pairs, shape (P,)."""
    distances = np.empty(len(mine))
    step = max(1, CHUNK // first.structure.shape[1])
    for start in range(0, len(mine), step):
        part = slice(start, start + step)
        apart = first.structure[mine[part]] - second.structure[other[part]]
        distances[part] = np.abs(apart).max(axis=1)
    return distances
