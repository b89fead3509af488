"""How far two sets of atoms are from each other, whatever their order or setting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.crystals.frame import reduced_basis
from variolite.crystals.matching.images import NEIGHBOURS, shortest_vectors
from variolite.crystals.structures import Crystals

__all__ = ["change_of_atoms", "change_of_sets", "shape_change"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

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
    change = reduced_basis(crystals.lattices)
    cells = change @ crystals.lattices
    difference = np.einsum("pi,pij->pj", difference, np.rint(np.linalg.inv(change))[owner])
    wrapped = np.einsum("pi,pij->pj", difference - np.rint(difference), cells[owner])
    neighbours = NEIGHBOURS @ cells
    # In a Minkowski-reduced cell the nearest image is among 27.
    nearest = shortest_vectors(wrapped, neighbours, (neighbours**2).sum(axis=-1), owner)
    distances = np.linalg.norm(nearest, axis=1)
    order = np.lexsort((distances, owner))
    lengths = np.sort(np.linalg.norm(cells, axis=2), axis=1)
    size = np.cbrt(crystals.volumes)[:, None]
    return _Shape(distances[order], owner[order], np.concatenate([lengths, size], axis=1))
