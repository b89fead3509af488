"""Other descriptions of the same crystals: turned, moved, re-ordered, in other cells.

Every function draws one transformation for each crystal of a set, from a seed. None of them
changes what the crystal is, except `reflection`, which gives its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures import Crystals

__all__ = [
    "Transformation",
    "move_by_whole_cells",
    "other_cell",
    "permutation",
    "random_rotations",
    "reflection",
    "rotation",
    "shift_of_origin",
]

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
