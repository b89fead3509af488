"""All lattice vectors within a radius, and all bases of a lattice that resemble a given cell.

Everything is ragged: the vectors or bases of all lattices stand one after another, each
with the index of its lattice (its owner), in the order of the owners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures import cell_heights

__all__ = ["Bases", "LatticeVectors", "bases_like", "vectors_within"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LatticeVectors:
    """Vectors of B lattices, V in all.

    Attributes
    ----------
    owner
        Lattice of every vector, ascending, shape (V,).
    indices
        Integer coefficients in the basis of the lattice, shape (V, 3).
    vectors
        Cartesian vectors in Angstrom, shape (V, 3).
    lengths
        Their lengths in Angstrom, shape (V,).
    """

    owner: Integers
    indices: Integers
    vectors: Floats
    lengths: Floats

    def take(self, index: Integers | Mask) -> LatticeVectors:
        """Choose vectors, which must keep the order of the owners."""
        return LatticeVectors(
            self.owner[index], self.indices[index], self.vectors[index], self.lengths[index]
        )


@dataclass(frozen=True)
class Bases:
    """Bases of B lattices, C in all.

    Attributes
    ----------
    owner
        Lattice of every basis, ascending, shape (C,).
    transform
        Integer coefficients of the three vectors in rows, shape (C, 3, 3).
    lattices
        The three vectors in rows, Angstrom, shape (C, 3, 3).
    """

    owner: Integers
    transform: Integers
    lattices: Floats


def vectors_within(lattices: Floats, radius: Floats) -> LatticeVectors:
    """All lattice vectors not longer than a radius, the zero vector left out.

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3).
    radius
        Radius in Angstrom, shape (B,).
    """
    reach = np.floor(radius[:, None] / cell_heights(lattices) + 1e-9).astype(np.int64)
    extent = 2 * reach + 1
    owner, within = _spread(extent.prod(axis=1))
    third = extent[owner, 2]
    second = extent[owner, 1]
    indices = np.stack(
        [within // (second * third), within // third % second, within % third], axis=1
    )
    indices -= reach[owner]
    vectors = np.einsum("vi,vij->vj", indices.astype(np.float64), lattices[owner])
    lengths = np.sqrt((vectors**2).sum(axis=1))
    kept = (lengths <= radius[owner] * (1 + 1e-9)) & indices.any(axis=1)
    return LatticeVectors(owner, indices, vectors, lengths).take(kept)


def bases_like(
    found: LatticeVectors,
    lengths: Floats,
    angles: Floats,
    length_tolerance: Floats,
    angle_tolerance: float,
    *,
    one_of_each_pair: bool = False,
) -> Bases:
    """All triples of lattice vectors with nearly the given lengths and angles.

    Parameters
    ----------
    found
        The vectors to choose from.
    lengths, angles
        Wanted lengths in Angstrom and angles in degrees, shape (B, 3).
    length_tolerance
        Ratios of lengths must lie between 1 / (1 + t) and 1 + t, shape (B,).
    angle_tolerance
        Largest difference of an angle in degrees.
    one_of_each_pair
        Of a basis and its inverse (all three vectors negated) give only the one whose
        first index that is not zero is positive.

    Returns
    -------
    Bases
        Those that span a cell, ordered by owner, then by first, second and third vector
        in the order of ``found``.
    """
    count = len(lengths)
    ratio = found.lengths[:, None] / lengths[found.owner]
    upper = 1.0 + length_tolerance[found.owner, None]
    fits = (ratio < upper) & (ratio > 1.0 / upper)
    first_fits = fits[:, 0]
    if one_of_each_pair:
        first_fits = first_fits & _leads_positive(found.indices)
    first, second, third = (
        np.flatnonzero(chosen) for chosen in (first_fits, fits[:, 1], fits[:, 2])
    )
    unit = found.vectors / found.lengths[:, None]

    def near(one: Integers, other: Integers, axis: int) -> Mask:
        cosines = np.clip(np.einsum("pi,pi->p", unit[one], unit[other]), -1.0, 1.0)
        difference = np.degrees(np.arccos(cosines)) - angles[found.owner[one], axis]
        close: Mask = np.abs(difference) <= angle_tolerance
        return close

    a, b = _join(found.owner, first, second, count)
    kept = near(a, b, 2)
    a, b = a[kept], b[kept]
    place, c = _join(found.owner[a], np.arange(len(a)), third, count, found.owner)
    kept = near(a[place], c, 1)
    place, c = place[kept], c[kept]
    kept = near(b[place], c, 0)
    place, c = place[kept], c[kept]
    triples = np.stack([a[place], b[place], c], axis=1)
    transform = found.indices[triples]
    spanning = np.abs(np.linalg.det(transform)) > 0.5 if len(triples) else np.empty(0, bool)
    triples, transform = triples[spanning], transform[spanning]
    return Bases(found.owner[triples[:, 0]], transform, found.vectors[triples])


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """Owner and place within the owner of every element of a ragged array."""
    owner = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, within


def _join(
    left_owner: Integers,
    left: Integers,
    right: Integers,
    count: int,
    right_owner: Integers | None = None,
) -> tuple[Integers, Integers]:
    """All pairs of a left and a right element with the same owner.

    ``left`` indexes ``left_owner`` and ``right`` indexes ``right_owner``, which defaults to
    the same; owners ascend in both.
    """
    owners = left_owner if right_owner is None else right_owner
    per_owner = np.bincount(owners[right], minlength=count)
    starts = np.cumsum(per_owner) - per_owner
    owner = left_owner[left]
    repeats = per_owner[owner]
    row, within = _spread(repeats)
    return left[row], right[starts[owner[row]] + within]


def _leads_positive(indices: Integers) -> Mask:
    i, j, k = indices.T
    positive: Mask = (i > 0) | ((i == 0) & ((j > 0) | ((j == 0) & (k > 0))))
    return positive
