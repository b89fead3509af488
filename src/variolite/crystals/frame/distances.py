"""Shortest periodic distances, for many crystals at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.frame.reduction import reduced_basis
from variolite.crystals.structures.crystals import Crystals

__all__ = [
    "VOLUME",
    "PairBlock",
    "has_cell",
    "in_reduced_cells",
    "periodic_distances",
    "shortest_distances",
]

Floats = NDArray[np.float64]

VOLUME = 0.1
"""Smallest volume of a valid cell in cubic Angstrom."""

IMAGES = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.float64)
"""In a Minkowski-reduced cell the nearest image of a wrapped difference is among these."""

CHUNK = 2_000_000
"""Distances handled at once, so that the memory stays small."""


def has_cell(crystals: Crystals) -> NDArray[np.bool_]:
    """Say which crystals have atoms, finite numbers and a cell with a volume, shape (B,).

    Distances, fingerprints and everything built on them exist for these alone.
    """
    lattices = crystals.lattices
    finite = np.isfinite(lattices).all(axis=(1, 2)) & (crystals.counts > 0)
    odd = ~np.isfinite(crystals.coordinates).all(axis=1) | (crystals.species == 0)
    finite[crystals.owner[odd]] = False
    with np.errstate(invalid="ignore", over="ignore"):
        volumes = np.abs(np.linalg.det(lattices))
        boxes = np.linalg.norm(lattices, axis=2).prod(axis=1)
        solid = (volumes >= VOLUME) & np.isfinite(boxes) & (volumes > 1e-6 * boxes)
    return np.asarray(finite & solid)


def in_reduced_cells(crystals: Crystals) -> tuple[Floats, Floats]:
    """Return fractional coordinates (N, 3) in [0, 1) and lattices (B, 3, 3) of shortest vectors.

    Raises
    ------
    DataError
        If a crystal has no cell, see :func:`has_cell`.
    """
    change = reduced_basis(crystals.lattices).astype(np.float64)
    back = np.rint(np.linalg.inv(change))
    coordinates = np.einsum("ni,nij->nj", crystals.coordinates, back[crystals.owner])
    return coordinates % 1.0, change @ crystals.lattices


def shortest_distances(crystals: Crystals) -> Floats:
    """Return the shortest distance within each crystal in Angstrom, shape (B,).

    The distances are those between any two atoms, all periodic images included, those
    of an atom to its own images too. NaN where :func:`has_cell` says no.
    """
    shortest = np.full(len(crystals), np.nan)
    sound = np.flatnonzero(has_cell(crystals))
    if not len(sound):
        return shortest
    kept = crystals.take(sound)
    found, blocks = periodic_distances(kept)
    for block in blocks:
        least = block.distances.min(axis=1)
        found[block.crystals] = np.minimum(found[block.crystals], least)
    shortest[sound] = found
    return shortest


@dataclass(frozen=True)
class PairBlock:
    """Distances between the atoms of some crystals of equal size.

    Attributes
    ----------
    crystals
        Which crystals, shape (M,).
    first, second
        The two atoms of every pair, counted over all crystals, shape (M, P) each.
    distances
        Shortest distance between them, images included, in Angstrom, shape (M, P).
    """

    crystals: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distances: Floats


def periodic_distances(crystals: Crystals) -> tuple[Floats, Iterator[PairBlock]]:
    """Measure the distances within crystals, in cells that are reduced once.

    Parameters
    ----------
    crystals
        Each with a cell, see :func:`has_cell`.

    Returns
    -------
    own
        Distance of every atom of a crystal to the nearest of its own images, the length of
        the shortest lattice vector, in Angstrom, shape (B,).
    blocks
        Distances of all pairs of different atoms; crystals of one atom have none.
    """
    coordinates, lattices = in_reduced_cells(crystals)
    # A reduced basis holds the shortest vector of the lattice.
    own = np.linalg.norm(lattices, axis=2).min(axis=1)
    return own, _pairs(crystals, coordinates, lattices)


def _pairs(crystals: Crystals, coordinates: Floats, lattices: Floats) -> Iterator[PairBlock]:
    for size in np.unique(crystals.counts[crystals.counts > 1]):
        first, second = np.triu_indices(size, 1)
        alike = np.flatnonzero(crystals.counts == size)
        step = max(1, CHUNK // (len(first) * len(IMAGES)))
        for start in range(0, len(alike), step):
            some = alike[start : start + step]
            atoms = crystals.atoms_of(some).reshape(len(some), size)
            x = coordinates[atoms]
            apart = x[:, first] - x[:, second]
            apart = (apart - np.rint(apart)) @ lattices[some]
            nearest = _nearest(apart, IMAGES @ lattices[some])
            yield PairBlock(some, atoms[:, first], atoms[:, second], nearest)


def _nearest(apart: Floats, shifts: Floats) -> Floats:
    """Shortest ``|apart + shift|`` of vectors (M, P, 3) over shifts (M, S, 3), shape (M, P)."""
    squared = 2.0 * apart @ shifts.transpose(0, 2, 1)
    squared += (apart**2).sum(axis=2)[:, :, None]
    squared += (shifts**2).sum(axis=2)[:, None, :]
    return np.asarray(np.sqrt(np.maximum(squared.min(axis=2), 0.0)))
