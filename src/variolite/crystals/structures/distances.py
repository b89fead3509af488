"""Atoms that are too close to one another, in many structures at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import cell_heights
from variolite.crystals.structures.reduction import niggli_basis

__all__ = ["ClosePairs", "close_pairs"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_PAIRS = 500_000
_IMAGES = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
_HOME = 13


@dataclass(frozen=True)
class ClosePairs:
    """The closest pair of each structure that has one.

    Attributes
    ----------
    structure, first, second
        Place of the structure and of its two atoms, shape (m,); the same atom twice where
        it meets its own image.
    distance
        In Angstrom, shape (m,).
    """

    structure: Integers
    first: Integers
    second: Integers
    distance: Floats


def close_pairs(
    coordinates: Floats, lattices: Floats, offsets: Integers, chosen: Integers, within: float
) -> ClosePairs:
    """Find the closest two atoms of each structure, if closer than ``within``.

    Exact for every cell: where opposite faces are at least twice ``within`` apart, only
    the image with wrapped coordinates can be that close; other cells are reduced first
    and 27 images are tried.

    Parameters
    ----------
    coordinates, lattices, offsets
        As in :class:`~variolite.crystals.structures.Crystals`; every value finite.
    chosen
        Places of the structures to look at.
    within
        Distance in Angstrom.
    """
    heights = cell_heights(lattices[chosen])
    roomy = (heights >= 2 * within).all(axis=1)
    counts = np.diff(offsets)[chosen]
    found = []
    for count in np.unique(counts[roomy]).tolist():
        if count < 2:
            continue
        members = np.flatnonzero(roomy & (counts == count))
        pairs = np.triu_indices(count, 1)
        step = max(1, _PAIRS // len(pairs[0]))
        for start in range(0, len(members), step):
            part = members[start : start + step]
            places = chosen[part]
            atoms = coordinates[offsets[places][:, None] + np.arange(count)]
            reach = within / heights[part]
            found.append(_wrapped(places, atoms, lattices[places], pairs, reach, within))
    for place in chosen[~roomy].tolist():
        atoms = coordinates[offsets[place] : offsets[place + 1]]
        found.append(_images(place, atoms, lattices[place], within))
    structure, first, second, distance = (
        np.concatenate([part[k] for part in found]) if found else np.empty(0) for k in range(4)
    )
    order = np.lexsort((distance, structure))
    order = order[np.unique(structure[order], return_index=True)[1]]
    return ClosePairs(
        structure[order].astype(np.int64),
        first[order].astype(np.int64),
        second[order].astype(np.int64),
        distance[order].astype(np.float64),
    )


_Found = tuple[Integers, Integers, Integers, Floats]


def _wrapped(
    places: Integers,
    atoms: Floats,
    lattices: Floats,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    reach: Floats,
    within: float,
) -> _Found:
    """Look at structures of equal size; ``reach`` bounds the components of a short vector."""
    first, second = pairs
    component = atoms[:, first, 0] - atoms[:, second, 0]
    component -= np.rint(component)
    row, pair = np.nonzero(np.abs(component) < reach[:, :1])
    for axis in (1, 2):
        component = atoms[row, first[pair], axis] - atoms[row, second[pair], axis]
        component -= np.rint(component)
        near = np.abs(component) < reach[row, axis]
        row, pair = row[near], pair[near]
    vector = atoms[row, first[pair]] - atoms[row, second[pair]]
    vector -= np.rint(vector)
    distance = np.linalg.norm(np.einsum("mi,mij->mj", vector, lattices[row]), axis=1)
    near = distance < within
    row, pair = row[near], pair[near]
    return places[row], first[pair], second[pair], distance[near]


def _images(place: int, atoms: Floats, lattice: Floats, within: float) -> _Found:
    """Look at one structure in a flat or skewed cell."""
    basis = niggli_basis(lattice)
    reduced = basis @ lattice
    moved = atoms @ np.linalg.inv(basis)
    shifts = _IMAGES @ reduced
    found: list[tuple[int, int, float]] = []
    for i in range(len(moved)):
        difference = moved[i:] - moved[i]
        difference -= np.rint(difference)
        distance = np.linalg.norm((difference @ reduced)[:, None] + shifts, axis=-1)
        distance[0, _HOME] = np.inf
        nearest = distance.min(axis=1)
        j = int(nearest.argmin())
        if nearest[j] < within:
            found.append((i, i + j, float(nearest[j])))
    first, second, nearby = (np.array([pair[k] for pair in found]) for k in range(3))
    return np.full(len(found), place), first, second, nearby
