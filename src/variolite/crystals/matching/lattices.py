"""Reduction of many lattices at once, and all bases that resemble a given cell.

Lattices are (B, 3, 3) with lattice vectors in angstrom as rows; a basis of a lattice is
``transform @ lattice`` with an integer matrix of determinant 1 or -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import cell_heights, cell_parameters
from variolite.crystals.geometry.periodic import niggli_steps

# LLL reduction of many lattices at once.

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOVASZ = 0.75


def reduce_lll(lattices: Floats) -> tuple[Floats, Integers]:
    """Reduce lattices by A. Lenstra, H. Lenstra, L. Lovász (Math. Ann. 261 (1982) 515).

    Returns the reduced lattices, with the factor 3/4 in the exchange condition, and the
    transforms that lead to them, (B, 3, 3) each.
    """
    vectors = np.array(lattices, dtype=np.float64)
    transform = np.broadcast_to(np.eye(3), vectors.shape).copy()
    # The basis vector that is treated next; 3 where a lattice is done. All lattices at the same
    # vector take their step together, whatever the others do.
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
    """Treat the second vectors of the chosen lattices, in place; return what comes next."""
    # Size reduction of the second vector by the first, then the exchange condition of Lovász
    # on what stands at right angles to the first.
    a = vectors[index]
    norm = _dot(a[:, 0], a[:, 0])
    share = _dot(a[:, 1], a[:, 0]) / norm
    multiple = np.rint(share)
    _subtract(vectors, transform, index, 1, 0, multiple)
    rest = a[:, 1] - share[:, None] * a[:, 0]
    # What is left of the share after size reduction adds to the length that is compared.
    holds = _dot(rest, rest) >= (_LOVASZ - (share - multiple) ** 2) * norm
    _exchange(vectors, transform, index[~holds], 0, 1)
    return np.where(holds, 2, 1)


def _treat_third(vectors: Floats, transform: Floats, index: Integers) -> Integers:
    """Treat the third vectors of the chosen lattices, in place; return what comes next."""
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
    # Taking out multiples of the second vector has changed the share on the first.
    _subtract(vectors, transform, index, 2, 0, np.rint(on_first - multiple * share_second))
    holds = _dot(third, third) >= (_LOVASZ - on_second**2) * norm_second
    # After an exchange the new second vector has to be treated again.
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
        array[index[:, None], [first, second]] = array[index[:, None], [second, first]]


# All lattice vectors within a radius, and all bases of a lattice that resemble a given cell.
#
# Everything is ragged: the vectors or bases of all lattices stand one after another, each
# with the index of its lattice (its owner), in the order of the owners.

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LatticeVectors:
    """Vectors of B lattices, V in all, in the order of their owners."""

    owner: Integers  # lattice of every vector (V,)
    indices: Integers  # coefficients in the basis of the lattice (V, 3)
    vectors: Floats  # Cartesian, in angstrom (V, 3)
    lengths: Floats  # in angstrom (V,)

    def take(self, index: Integers | Mask) -> LatticeVectors:
        """Choose vectors, which must keep the order of the owners."""
        return LatticeVectors(
            self.owner[index], self.indices[index], self.vectors[index], self.lengths[index]
        )


@dataclass(frozen=True)
class Bases:
    """Bases of B lattices, C in all, in the order of their owners."""

    owner: Integers  # lattice of every basis (C,)
    transform: Integers  # (C, 3, 3)
    lattices: Floats  # the three vectors in rows, in angstrom (C, 3, 3)


def vectors_within(lattices: Floats, radius: Floats) -> LatticeVectors:
    """Return all lattice vectors but zero that are not longer than a radius (B,) in angstrom."""
    # No vector within the radius has a component beyond radius / height; boxes differ in
    # size, so that all of them are counted through in one ragged list.
    reach = np.floor(radius[:, None] / cell_heights(lattices) + 1e-9).astype(np.int64)
    extent = 2 * reach + 1
    owner, within = spread(extent.prod(axis=1))
    # The place within the box, written in the mixed radix of its three sides.
    second, third = extent[owner, 1], extent[owner, 2]
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
    """Return all triples of lattice vectors that span a cell with nearly the given shape.

    Lengths in angstrom and angles in degrees are (B, 3). Ratios of lengths must lie between
    1 / (1 + t) and 1 + t for the length tolerance t (B,), differences of angles within the angle
    tolerance in degrees. Of a basis and its inverse (all three vectors negated)
    ``one_of_each_pair`` gives only the one whose first index that is not zero is positive. Bases
    are ordered by owner, then by first, second and third vector in the order of ``found``.
    """
    count = len(lengths)
    ratio = found.lengths[:, None] / lengths[found.owner]
    upper = 1.0 + length_tolerance[found.owner, None]
    fits = (ratio < upper) & (ratio > 1.0 / upper)
    if one_of_each_pair:
        fits[:, 0] &= _leads_positive(found.indices)
    first, second, third = (np.flatnonzero(chosen) for chosen in fits.T)
    unit = found.vectors / found.lengths[:, None]

    def near(one: Integers, other: Integers, axis: int) -> Mask:
        cosines = np.clip(np.einsum("pi,pi->p", unit[one], unit[other]), -1.0, 1.0)
        difference = np.degrees(np.arccos(cosines)) - angles[found.owner[one], axis]
        close: Mask = np.abs(difference) <= angle_tolerance
        return close

    # Pairs first, thinned out by their angle, before triples: all triples would be too many.
    row, b = _join(found.owner[first], found.owner[second], count)
    a, b = first[row], second[b]
    kept = near(a, b, 2)
    a, b = a[kept], b[kept]
    row, c = _join(found.owner[a], found.owner[third], count)
    c = third[c]
    # The two angles of the third vector one after the other: the first leaves few.
    for side, axis in ((a, 1), (b, 0)):
        kept = near(side[row], c, axis)
        row, c = row[kept], c[kept]
    triples = np.stack([a[row], b[row], c], axis=1)
    transform = found.indices[triples]
    # Three vectors of one plane have determinant 0, any other three at least 1.
    spanning = np.abs(np.linalg.det(transform)) > 0.5 if len(triples) else np.empty(0, bool)
    triples, transform = triples[spanning], transform[spanning]
    return Bases(found.owner[triples[:, 0]], transform, found.vectors[triples])


def spread(counts: Integers) -> tuple[Integers, Integers]:
    """Return owner and place within the owner of every element of a ragged array."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _join(left: Integers, right: Integers, count: int) -> tuple[Integers, Integers]:
    """Return the places of all pairs of a left and a right element that have the same owner.

    Given are their owners out of ``count``, ascending.
    """
    per_owner = np.bincount(right, minlength=count)
    starts = np.cumsum(per_owner) - per_owner
    row, within = spread(per_owner[left])
    return row, starts[left[row]] + within


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
    """Niggli cells of B lattices."""

    lattices: Floats  # reduced, of positive volume, in the orientation given (B, 3, 3)
    transform: Integers  # (B, 3, 3)
    found: Mask  # whether a reduced cell was found; the others keep what was given (B,)


def niggli_cells(lattices: Floats) -> NiggliCells:
    """Reduce lattices by R. Grosse-Kunstleve, N. Sauter, P. Adams (Acta Cryst. A60 (2004) 1).

    The steps are those of gemmi, the choice of axes among equal cells is that of pymatgen.
    Lattices must be finite and of nonzero volume.
    """
    if not len(lattices):
        empty = np.empty((0, 3, 3))
        return NiggliCells(empty, empty.astype(np.int64), np.empty(0, bool))
    reduced, transform = reduce_lll(lattices)
    tolerance = _RELATIVE_TOLERANCE * np.abs(np.linalg.det(lattices)) ** (1 / 3)
    # With the tolerance of pymatgen, else other cells come out where it decides.
    parameters = cell_parameters(reduced).tolist()
    steps = list(map(niggli_steps, parameters, tolerance.tolist()))
    transform = np.array(steps) @ transform
    cells = transform @ lattices
    metric = cells @ cells.transpose(0, 2, 1)
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
    """Return vectors of about the length of a basis vector in the order of pymatgen.

    It lists them by octant of the Cartesian vector, then by descending indices.
    """
    indices = np.einsum("vi,bij->bvj", _COEFFICIENTS, transform)
    vectors = np.einsum("bvi,bij->bvj", indices.astype(np.float64), lattices)
    norms = np.sqrt((vectors**2).sum(axis=-1))
    near = np.abs(norms[:, :, None] / lengths[:, None, :] - 1) < 2 * tolerance[:, None, None]
    owner, place = np.nonzero(near.any(axis=-1))
    listed = LatticeVectors(
        owner, indices[owner, place], vectors[owner, place], norms[owner, place]
    )
    # The tolerance of pymatgen decides on the borders of the octants. Sorted is by the last key
    # first, hence the reversals.
    octants = (listed.vectors >= -2e-8).T
    descending = -listed.indices.T
    return listed.take(np.lexsort((*descending[::-1], *octants[::-1], listed.owner)))
