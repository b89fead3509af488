"""Reduction of many lattices at once, and all bases that resemble a given cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import cell_heights, cell_parameters
from variolite.crystals.periodic import niggli_steps

# LLL reduction of many lattices at once.


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
    # Size reduction of the second vector by the first, then the exchange condition of Lovász
    # on what stands at right angles to the first.
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
    # Gram and Schmidt: the part of the second vector at right angles to the first, and that of
    # the third at right angles to both.
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


# All lattice vectors within a radius, and all bases of a lattice that resemble a given cell.
#
# Everything is ragged: the vectors or bases of all lattices stand one after another, each
# with the index of its lattice (its owner), in the order of the owners.


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
    # No vector within the radius has a component beyond radius / height; boxes differ in
    # size, so that all of them are counted through in one ragged list.
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

    # Pairs first, thinned out by their angle, before triples: all triples would be too many.
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
    # Three vectors of one plane have determinant 0, any other three at least 1.
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


# Niggli cells of many lattices at once, in the choice of axes that pymatgen makes.
#
# Where a cell has several Niggli bases that differ by less than the numerical tolerance
# (a symmetric or nearly symmetric cell), structure matching sees which of them was taken:
# its candidate cells are compared with this one. To give the same results, the choice must
# be the same. It is the first basis, in the order in which the lattice vectors are listed,
# whose lengths agree within the tolerance and whose angles agree within one degree.


_RELATIVE_TOLERANCE = 1e-5
_ANGLE_TOLERANCE = 1.0
# Vectors of the length of a Niggli basis vector have coefficients of at most 1 in that
# basis; 2 leaves room for the tolerance.
_COEFFICIENTS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True)
class NiggliCells:
    """Niggli cells of B lattices.

    Attributes
    ----------
    lattices
        Reduced lattices of positive volume, in the orientation given, shape (B, 3, 3).
    transform
        Integer matrices with ``lattices = transform @ given``, shape (B, 3, 3).
    found
        Whether a reduced cell was found; the others keep what was given, shape (B,).
    """

    lattices: Floats
    transform: Integers
    found: Mask


def niggli_cells(lattices: Floats) -> NiggliCells:
    """Reduce lattices by R. Grosse-Kunstleve, N. Sauter, P. Adams (Acta Cryst. A60 (2004) 1).

    The steps are those of gemmi, the choice of axes among equal cells is that of pymatgen.

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3); finite, of nonzero volume.
    """
    if not len(lattices):
        empty = np.empty((0, 3, 3))
        return NiggliCells(empty, empty.astype(np.int64), np.empty(0, bool))
    reduced, transform = reduce_lll(lattices)
    tolerance = _RELATIVE_TOLERANCE * np.abs(np.linalg.det(lattices)) ** (1 / 3)
    # With the tolerance of pymatgen, else other cells come out where it decides.
    steps = [
        niggli_steps(parameters, epsilon)
        for parameters, epsilon in zip(
            cell_parameters(reduced).tolist(), tolerance.tolist(), strict=True
        )
    ]
    transform = np.array(steps) @ transform
    cells = transform @ lattices
    return _choose_axes(lattices, cells @ cells.transpose(0, 2, 1), transform, tolerance)


def _choose_axes(
    lattices: Floats, metric: Floats, transform: Integers, tolerance: Floats
) -> NiggliCells:
    lengths = np.sqrt(np.einsum("bii->bi", metric))
    cosines = metric[:, [1, 0, 0], [2, 2, 1]] / (lengths[:, [1, 0, 0]] * lengths[:, [2, 2, 1]])
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    listed = _listed(lattices, transform, lengths, tolerance)
    bases = bases_like(listed, lengths, angles, tolerance, _ANGLE_TOLERANCE)
    # The first that keeps the handedness; where none does, the first of all.
    improper = np.linalg.det(bases.transform) < 0 if len(bases.owner) else np.empty(0, bool)
    order = np.lexsort((np.arange(len(improper)), improper, bases.owner))
    owners, first = np.unique(bases.owner[order], return_index=True)
    chosen = np.broadcast_to(np.eye(3, dtype=np.int64), metric.shape).copy()
    chosen[owners] = bases.transform[order[first]]
    reduced = chosen @ lattices
    negative = np.linalg.det(reduced) < 0
    chosen[negative] *= -1
    reduced[negative] *= -1
    found = np.zeros(len(lattices), dtype=bool)
    found[owners] = True
    return NiggliCells(reduced, chosen, found)


def _listed(
    lattices: Floats, transform: Integers, lengths: Floats, tolerance: Floats
) -> LatticeVectors:
    """Vectors of about the length of a basis vector, in the order in which pymatgen lists them.

    That order is by octant of the Cartesian vector, then by descending indices.
    """
    indices = np.einsum("vi,bij->bvj", _COEFFICIENTS, transform)
    vectors = np.einsum("bvi,bij->bvj", indices.astype(np.float64), lattices)
    norms = np.sqrt((vectors**2).sum(axis=-1))
    near = np.abs(norms[:, :, None] / lengths[:, None, :] - 1) < 2 * tolerance[:, None, None]
    owner, place = np.nonzero(near.any(axis=-1))
    listed = LatticeVectors(
        owner, indices[owner, place], vectors[owner, place], norms[owner, place]
    )
    # pymatgen lists points by octant of the sphere; its tolerance decides on the borders.
    octants = (listed.vectors >= -2e-8).T
    descending = -listed.indices.T
    order = np.lexsort((*descending[::-1], *octants[::-1], listed.owner))
    return listed.take(order)
