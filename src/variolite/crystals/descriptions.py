"""Other descriptions of the same crystals, and how far two sets of atoms are apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.crystals.crystals import Crystals
from variolite.crystals.periodic import ReducedLattices, periodic_distances

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Each function draws one transformation for every crystal of a set, from a seed. None changes
# what the crystal is, except `reflection`, which gives its mirror image.

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
        """Return new crystals; their coordinates are not wrapped into the cell."""
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
    turned = random_rotations(len(crystals), np.random.default_rng([seed, 1]))
    return replace(Transformation.none(crystals), rotation=turned)


def reflection(crystals: Crystals, seed: int = 0) -> Transformation:
    """Reflect every crystal in a plane through the origin that is turned at random."""
    turned = random_rotations(len(crystals), np.random.default_rng([seed, 2]))
    mirror = turned @ np.diag([1.0, 1.0, -1.0]) @ turned.transpose(0, 2, 1)
    return replace(Transformation.none(crystals), rotation=mirror)


def shift_of_origin(crystals: Crystals, seed: int = 0) -> Transformation:
    """Move all atoms of every crystal by one fractional vector, uniform in the cell."""
    shift = np.random.default_rng([seed, 3]).uniform(size=(len(crystals), 3))
    return replace(Transformation.none(crystals), shift=shift)


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
    eye = np.eye(3, dtype=np.int64)
    change = eye[random.random((count, 3)).argsort(axis=1)]
    change = change * random.choice([-1, 1], size=(count, 3, 1))
    for _ in range(SHEARS):
        to = random.integers(3, size=count)
        other = (to + random.integers(1, 3, size=count)) % 3
        shear = np.tile(eye, (count, 1, 1))
        shear[np.arange(count), to, other] = random.choice([-1, 1], size=count)
        change = shear @ change
    return replace(Transformation.none(crystals), change=change)


# How far two sets of atoms are from each other, whatever their order or setting.

EXACT = 1e-7
"""Change below which no better pairing of atoms is looked for."""

FAR = 1e12
"""Added where two atoms are of different elements, so that they are never paired."""

FLAT = 1e-6
"""Volume of a cell over the product of its lengths up to which it counts as none."""


def change_of_atoms(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """Largest absolute difference over the atoms and columns of every crystal, shape (B,).

    ``before`` and ``after`` have a row for every atom, in the same order, (N, L); NaN where a
    value is no number.
    """
    of_atoms = np.abs(after - before).max(axis=1, initial=0.0)
    return np.asarray(np.maximum.reduceat(of_atoms, crystals.offsets[:-1]))


def change_of_sets(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """As `change_of_atoms`, in the pairing of atoms with the least sum of squares.

    Atoms that a symmetry of the crystal exchanges may exchange their rows: the crystal has
    the same set of rows. Atoms of different elements are never paired.
    """
    change = change_of_atoms(before, after, crystals)
    for place in np.flatnonzero(np.isfinite(change) & (change > EXACT)):
        atoms = slice(crystals.offsets[place], crystals.offsets[place + 1])
        differences = after[atoms][None] - before[atoms][:, None]  # (n, n, L)
        species = crystals.species[atoms]
        apart = np.where(species[:, None] == species, 0.0, FAR)
        paired = linear_sum_assignment((differences**2).sum(axis=2) + apart)
        change[place] = min(change[place], np.abs(differences[paired]).max())
    return change


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
    owner = before.owner
    first, second = (c.species[np.lexsort((c.species, owner))] for c in (before, after))
    other_elements = np.bincount(owner[first != second], minlength=len(before)) > 0
    usable = _has_shape(before) & _has_shape(after) & ~other_elements
    kept = before.take(usable), after.take(usable)
    found = np.abs(_lengths(kept[0]) - _lengths(kept[1])).max(axis=1, initial=0.0)
    # Crystals of equal sizes come in equal blocks: (M,) crystals with (M, P) distances.
    for one, other in zip(*(periodic_distances(part)[1] for part in kept), strict=True):
        ascending = np.sort(one.distances, axis=1), np.sort(other.distances, axis=1)
        apart = np.abs(ascending[0] - ascending[1]).max(axis=1)
        found[one.crystals] = np.maximum(found[one.crystals], apart)
    change = np.full(len(before), np.inf)
    change[usable] = found
    return change


def _has_shape(crystals: Crystals) -> NDArray[np.bool_]:
    """Whether cells enclose a volume, however small, and all numbers are finite, shape (B,)."""
    usable = np.asarray(np.isfinite(crystals.lattices).all(axis=(1, 2)))
    lattices = np.where(usable[:, None, None], crystals.lattices, 0.0)
    boxes = np.linalg.norm(lattices, axis=2).prod(axis=1)
    usable &= np.abs(np.linalg.det(lattices)) > FLAT * boxes
    usable[crystals.owner[~np.isfinite(crystals.coordinates).all(axis=1)]] = False
    return usable


def _lengths(crystals: Crystals) -> Floats:
    """Lengths of the three shortest lattice vectors and cubic root of the volume, (B, 4)."""
    lengths = np.linalg.norm(ReducedLattices(crystals.lattices).lattices, axis=2)
    return np.column_stack([np.sort(lengths, axis=1), np.cbrt(crystals.volumes)])
