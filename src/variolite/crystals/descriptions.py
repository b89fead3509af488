"""Other descriptions of the same crystals, and how far two sets of atoms are apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.crystals.crystals import Crystals
from variolite.crystals.periodic import ReducedLattices

# Other descriptions of the same crystals: turned, moved, re-ordered, in other cells.
#
# Every function draws one transformation for each crystal of a set, from a seed. None of them
# changes what the crystal is, except `reflection`, which gives its mirror image.


Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHEARS = 3
"""Times that one vector of a cell is added to, or taken from, another in `other_cell`."""


@dataclass(frozen=True)
class Transformation:
    """One change of description for each of B crystals with N atoms in all.

    With the rows of L as lattice vectors, a crystal (L, x) becomes (U L R, x'), where
    x' = (x + t) U^-1 + k, and then its atoms are put in another order.

    Attributes
    ----------
    rotation
        Orthogonal R, of determinant 1 or -1, shape (B, 3, 3).
    shift
        Fractional t, which moves the origin, shape (B, 3).
    change
        Unimodular U: the new lattice vectors in terms of the old, shape (B, 3, 3).
    whole
        Whole cells k that every atom is moved by, shape (N, 3).
    order
        ``order[i]`` is the place, in the set as given, of atom i of the new set, shape (N,).
        Values of the new atoms are brought back to the old order by ``undo``.
    """

    rotation: Floats
    shift: Floats
    change: Integers
    whole: Integers
    order: Integers

    @classmethod
    def none(cls, crystals: Crystals) -> Transformation:
        """Return the transformation that leaves everything as it is."""
        count, atoms = len(crystals), len(crystals.species)
        return cls(
            rotation=np.tile(np.eye(3), (count, 1, 1)),
            shift=np.zeros((count, 3)),
            change=np.tile(np.eye(3, dtype=np.int64), (count, 1, 1)),
            whole=np.zeros((atoms, 3), dtype=np.int64),
            order=np.arange(atoms),
        )

    def apply(self, crystals: Crystals) -> Crystals:
        """Describe crystals anew; what is given stays untouched.

        Coordinates are not wrapped into the cell.
        """
        owner = crystals.owner
        back = np.rint(np.linalg.inv(self.change))
        moved = crystals.coordinates + self.shift[owner]
        coordinates = np.einsum("ni,nij->nj", moved, back[owner]) + self.whole
        return replace(
            crystals,
            species=crystals.species[self.order],
            coordinates=coordinates[self.order],
            lattices=self.change @ crystals.lattices @ self.rotation,
        )

    def undo(self, values: Floats) -> Floats:
        """Bring one row for each new atom back to the order of the old atoms, (N, ...)."""
        back = np.empty_like(values)
        back[self.order] = values
        return back


def random_rotations(number: int, random: np.random.Generator) -> Floats:
    """Draw rotations uniformly, shape (number, 3, 3).

    A quaternion of four standard normal numbers points in every direction with equal
    density; its unit vector is a uniform rotation (Shoemake 1992).
    """
    q = random.normal(size=(number, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def rotation(crystals: Crystals, seed: int = 0) -> Transformation:
    """Turn every crystal at random, uniformly."""
    random = np.random.default_rng([seed, 1])
    turned = random_rotations(len(crystals), random)
    return replace(Transformation.none(crystals), rotation=turned)


def reflection(crystals: Crystals, seed: int = 0) -> Transformation:
    """Reflect every crystal in a plane through the origin that is turned at random."""
    turned = random_rotations(len(crystals), np.random.default_rng([seed, 2]))
    mirror = turned @ np.diag([1.0, 1.0, -1.0]) @ turned.transpose(0, 2, 1)
    return replace(Transformation.none(crystals), rotation=mirror)


def shift_of_origin(crystals: Crystals, seed: int = 0) -> Transformation:
    """Move all atoms of every crystal by one fractional vector, uniform in the cell."""
    random = np.random.default_rng([seed, 3])
    return replace(Transformation.none(crystals), shift=random.uniform(size=(len(crystals), 3)))


def move_by_whole_cells(crystals: Crystals, seed: int = 0) -> Transformation:
    """Move every atom on its own by -2 to 2 whole cells along each axis."""
    whole = np.random.default_rng([seed, 4]).integers(-2, 3, size=(len(crystals.species), 3))
    return replace(Transformation.none(crystals), whole=whole)


def permutation(crystals: Crystals, seed: int = 0) -> Transformation:
    """Put the atoms of every crystal in a random order."""
    draws = np.random.default_rng([seed, 5]).random(len(crystals.species))
    return replace(Transformation.none(crystals), order=np.lexsort((draws, crystals.owner)))


def other_cell(crystals: Crystals, seed: int = 0) -> Transformation:
    """Choose another primitive basis of the same lattice for every crystal.

    The basis vectors are put in a random order with random signs, and three times one of
    them is added to another or taken from it. The change has determinant 1 or -1.
    """
    random = np.random.default_rng([seed, 6])
    count = len(crystals)
    rows = np.arange(count)
    eye = np.eye(3, dtype=np.int64)
    change = eye[random.random((count, 3)).argsort(axis=1)]
    change = change * random.choice([-1, 1], size=(count, 3, 1))
    for _ in range(SHEARS):
        to = random.integers(3, size=count)
        other = (to + random.integers(1, 3, size=count)) % 3
        shear = np.tile(eye, (count, 1, 1))
        shear[rows, to, other] = random.choice([-1, 1], size=count)
        change = shear @ change
    return replace(Transformation.none(crystals), change=change)


# How far two sets of atoms are from each other, whatever their order or setting.


EXACT = 1e-7
"""Change below which no better pairing of atoms is looked for."""

FAR = 1e12
"""Added where two atoms are of different elements, so that they are never paired."""

FLAT = 1e-6
"""Volume of a cell, as a share of the product of its lengths, that counts as none."""


def change_of_atoms(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """Largest absolute difference over the atoms and columns of every crystal.

    Parameters
    ----------
    before, after
        A row for every atom, in the same order, shape (N, L).
    crystals
        Those of the atoms, B of them.

    Returns
    -------
    ndarray, shape (B,)
        NaN where a value is no number.
    """
    largest: Floats = np.maximum.reduceat(
        np.abs(after - before).max(axis=1, initial=0.0), crystals.offsets[:-1]
    )
    return largest


def change_of_sets(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """As `change_of_atoms`, in the pairing of atoms with the least sum of squares.

    Atoms that a symmetry of the crystal exchanges may exchange their rows: the crystal has
    the same set of rows. Atoms of different elements are never paired.
    """
    change = change_of_atoms(before, after, crystals)
    for place in np.flatnonzero(np.isfinite(change) & (change > EXACT)):
        atoms = slice(crystals.offsets[place], crystals.offsets[place + 1])
        differences = after[atoms][None] - before[atoms][:, None]
        species = crystals.species[atoms]
        apart = np.where(species[:, None] == species, 0.0, FAR)
        paired = linear_sum_assignment((differences**2).sum(axis=2) + apart)
        change[place] = min(change[place], np.abs(differences[paired]).max())
    return change


@dataclass(frozen=True)
class _Shape:
    """What no choice of cell, origin, orientation or order of atoms touches.

    Attributes
    ----------
    distances
        Shortest distances of all pairs of atoms in Angstrom, ascending in every crystal.
    owner
        Crystal of every distance.
    lengths
        Of the three shortest independent lattice vectors and the cubic root of the volume,
        in Angstrom, shape (B, 4).
    """

    distances: Floats
    owner: Integers
    lengths: Floats


def shape_change(before: Crystals, after: Crystals) -> Floats:
    """Largest difference of shape between crystals in any settings, in Angstrom, shape (B,).

    Compared are the ascending shortest distances between all pairs of atoms, the lengths of
    the three shortest independent lattice vectors, and the cubic root of the volume.

    Parameters
    ----------
    before, after
        B crystals with equal numbers of atoms. Infinite where the numbers of atoms of an
        element differ, where a cell has no volume, or something is no number.
    """
    usable = _has_shape(before) & _has_shape(after) & _same_elements(before, after)
    change = np.full(len(before), np.inf)
    first, second = (_shape(crystals.take(usable)) for crystals in (before, after))
    found = np.abs(first.lengths - second.lengths).max(axis=1, initial=0.0)
    np.maximum.at(found, first.owner, np.abs(first.distances - second.distances))
    change[usable] = found
    return change


def _has_shape(crystals: Crystals) -> NDArray[np.bool_]:
    """Whether cells enclose a volume and all numbers are finite, shape (B,)."""
    usable = np.asarray(np.isfinite(crystals.lattices).all(axis=(1, 2)))
    lattices = np.where(usable[:, None, None], crystals.lattices, 0.0)
    volumes = np.abs(np.linalg.det(lattices))
    usable &= volumes > FLAT * np.linalg.norm(lattices, axis=2).prod(axis=1)
    broken = ~np.isfinite(crystals.coordinates).all(axis=1)
    usable[crystals.owner[broken]] = False
    return usable


def _same_elements(before: Crystals, after: Crystals) -> NDArray[np.bool_]:
    owner = before.owner
    first, second = (c.species[np.lexsort((c.species, owner))] for c in (before, after))
    differing = np.bincount(owner[first != second], minlength=len(before))
    same: NDArray[np.bool_] = differing == 0
    return same


def _shape(crystals: Crystals) -> _Shape:
    counts = crystals.counts
    squares = counts**2
    owner = np.repeat(np.arange(len(crystals)), squares)
    within = np.arange(squares.sum()) - np.repeat(np.cumsum(squares) - squares, squares)
    first, second = within // counts[owner], within % counts[owner]
    pair = first < second
    owner = owner[pair]
    start = crystals.offsets[:-1][owner]
    difference = (
        crystals.coordinates[start + second[pair]] - crystals.coordinates[start + first[pair]]
    )
    reduced = ReducedLattices(crystals.lattices)
    distances = np.linalg.norm(reduced.shortest(difference, owner), axis=1)
    order = np.lexsort((distances, owner))
    lengths = np.sort(np.linalg.norm(reduced.lattices, axis=2), axis=1)
    size = np.cbrt(crystals.volumes)[:, None]
    return _Shape(distances[order], owner[order], np.concatenate([lengths, size], axis=1))
