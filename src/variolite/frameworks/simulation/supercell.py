"""The smallest supercell for a cutoff: all faces at least so far apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal
from variolite.crystals.geometry.periodic import reduced_basis

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_CANDIDATES = 150


def compact_supercell(lattice: Floats, width: float) -> Integers:
    """Return the smallest supercell whose faces are all ``width`` apart, as rows of integers.

    Time grows with the square of its atoms. The usual multiples of the three edges hold 1.6 times
    as many on the average, as oblique cells are wide where it does not help.
    """
    basis = reduced_basis(lattice[None])[0]
    lattice = basis @ lattice
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    plain = np.diag(np.ceil(width / heights - 1e-9).astype(int))
    reach = max(1.6 * width, float(np.linalg.norm(plain @ lattice, axis=1).max()))
    steps = _grid(np.ceil(reach / heights).astype(int))
    steps = steps[len(steps) // 2 + 1 :]  # of each pair of opposite ones
    lengths = np.linalg.norm(steps @ lattice, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] >= width - 1e-9][:_CANDIDATES]
    steps = np.concatenate([plain, steps[order]])
    edges = steps @ lattice
    areas = np.linalg.norm(np.cross(edges[:, None], edges), axis=2)
    first, second = np.nonzero(np.triu(areas >= width**2 - 1e-6, 1))
    volumes = np.abs(np.cross(edges[first], edges[second]) @ edges.T)
    faces = np.maximum(areas[first, second][:, None], np.maximum(areas[first], areas[second]))
    wide = volumes >= (width - 1e-9) * faces
    volumes[~wide] = np.inf
    pair, third = np.unravel_index(np.argmin(volumes), volumes.shape)
    found = steps[[first[pair], second[pair], third]] @ basis
    return np.asarray(found if np.linalg.det(found) > 0 else -found, dtype=np.int64)


def _grid(reach: Integers) -> Integers:
    """All triples of integers from -reach to reach, (n, 3); the middle one is 0, 0, 0."""
    axes = [np.arange(-int(n), int(n) + 1) for n in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def repeated(crystal: Crystal, cells: Integers) -> tuple[Floats, Integers, Floats]:
    """Return fractional places in a supercell, the atom that each repeats, and its lattice."""
    inverse = np.linalg.inv(cells)
    reach = np.abs(cells).sum(axis=0)
    shifts = _grid(reach)
    inside = shifts @ inverse
    shifts = shifts[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
    places = ((crystal.coordinates % 1.0) + shifts[:, None]).reshape(-1, 3) @ inverse
    origin = np.tile(np.arange(len(crystal)), len(shifts))
    return places % 1.0, origin, cells @ crystal.lattice
