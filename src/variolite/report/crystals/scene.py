"""What is drawn of a structure: one cell with the atoms on its faces, and bonds between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, cell_parameters, lattices_from_parameters
from variolite.crystals.elements import METALLIC
from variolite.report.crystals.appearance import COVALENT_RADII

__all__ = ["LINES", "Scene", "scene_of", "scenes_of_pair"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ATOM_SHARE = 0.45
"""Drawn radius of an atom in covalent radii, small enough to leave bonds in sight."""
BOND_FACTOR = 1.15
ON_FACE = 0.02
"""Atoms within this fraction of a cell edge from a face are drawn on the opposite one too."""
MOST_ATOMS = 400
EDGE_PIECES, FINE = 8, 6
LINES = ("bond", "edge")


@dataclass(frozen=True)
class Scene:
    """One structure ready to be turned; lengths in Angstrom from the middle of the cell.

    Attributes
    ----------
    points
        Places of the atoms, shape (n, 3), with a along x and b in the plane of x and y.
    species
        Their atomic numbers, shape (n,).
    lines
        Both ends of the pieces of bonds and cell edges outside the atoms, shape (m, 2, 3).
    kinds
        What each piece belongs to, one of ``LINES`` by place, shape (m,).
    lattice
        Rows are a, b, c, shape (3, 3).
    """

    points: Floats
    species: Integers
    lines: Floats
    kinds: Integers
    lattice: Floats

    @property
    def radii(self) -> Floats:
        """Drawn radii of the atoms, shape (n,)."""
        return ATOM_SHARE * COVALENT_RADII[self.species]

    @property
    def outermost(self) -> Floats:
        """Corners of the cell and places of the atoms, shape (n + 8, 3)."""
        return np.concatenate([_CORNERS @ self.lattice, self.points])

    @property
    def reach(self) -> float:
        """Radius of a sphere around the middle that holds everything."""
        radius = self.radii.max(initial=0.0)
        return float(np.linalg.norm(self.outermost, axis=1).max() + radius)


_CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def scene_of(crystal: Crystal) -> Scene:
    """Return the scene of one structure."""
    inside = _into_cell(crystal.coordinates)
    atoms, shifts = _images(inside)
    return _scene(crystal, atoms, inside[atoms] + shifts)


def scenes_of_pair(original: Crystal, rebuilt: Crystal) -> tuple[Scene, Scene]:
    """Return the scenes of a structure and its reconstruction, atom beside atom.

    Each reconstructed atom is drawn at its periodic image next to the original one, after the
    shift common to all atoms, the circular mean of their differences, is taken out: neither
    means anything in a crystal.
    """
    inside = _into_cell(original.coordinates)
    atoms, shifts = _images(inside)
    difference = rebuilt.coordinates - inside
    common = np.angle(np.exp(2j * np.pi * difference).mean(axis=0)) / (2 * np.pi)
    moved = difference - common
    beside = inside + moved - np.round(moved)
    return (
        _scene(original, atoms, inside[atoms] + shifts),
        _scene(rebuilt, atoms, beside[atoms] + shifts),
    )


def _into_cell(coordinates: Floats) -> Floats:
    """Wrap to [0, 1), with what lies a hair below 1 at 0 - a hair."""
    wrapped = coordinates - np.floor(coordinates)
    return np.where(wrapped > 1 - 1e-3, wrapped - 1.0, wrapped)


def _images(inside: Floats) -> tuple[Integers, Floats]:
    """Return which atoms are drawn and by how many cells each is shifted, [n] and [n, 3]."""
    corners = _CORNERS + 0.5
    allowed = ((inside[:, None, :] < ON_FACE) | (corners[None] == 0)).all(axis=2)
    atoms, corner = np.nonzero(allowed)
    if len(atoms) > MOST_ATOMS:
        return np.arange(len(inside)), np.zeros_like(inside)
    return atoms, corners[corner]


def _scene(crystal: Crystal, atoms: Integers, fractional: Floats) -> Scene:
    lattice = lattices_from_parameters(cell_parameters(crystal.lattice))[0]
    # Cell parameters do not tell a structure from its mirror image.
    lattice[:, 2] *= np.sign(np.linalg.det(crystal.lattice)) or 1.0
    points = (fractional - 0.5) @ lattice
    species = crystal.species.astype(np.int64)[atoms]
    radii = ATOM_SHARE * COVALENT_RADII[species]
    bonds = _bonds(points, species, radii)
    edges = _edges(lattice, points, radii)
    kinds = np.repeat([LINES.index("bond"), LINES.index("edge")], [len(bonds), len(edges)])
    return Scene(points, species, np.concatenate([bonds, edges]), kinds, lattice)


def _bonds(points: Floats, species: Integers, radii: Floats) -> Floats:
    """Return both halves of every bond between the surfaces of its atoms, [m, 2, 3].

    Atoms are bonded where they are nearer than their covalent radii allow, two metals never.
    """
    first, second = np.triu_indices(len(points), k=1)
    apart = np.linalg.norm(points[second] - points[first], axis=1)
    reach = BOND_FACTOR * (COVALENT_RADII[species[first]] + COVALENT_RADII[species[second]])
    bonded = (apart < reach) & (apart > radii[first] + radii[second])
    bonded &= ~(METALLIC[species[first]] & METALLIC[species[second]])
    first, second, apart = first[bonded], second[bonded], apart[bonded, None]
    along = (points[second] - points[first]) / apart
    start = points[first] + along * radii[first, None]
    end = points[second] - along * radii[second, None]
    middle = (start + end) / 2
    return np.concatenate([np.stack([start, middle], axis=1), np.stack([middle, end], axis=1)])


def _edges(lattice: Floats, points: Floats, radii: Floats) -> Floats:
    """Return the twelve cell edges outside the atoms, [m, 2, 3].

    They are cut into pieces short enough to be sorted by depth.
    """
    pieces: list[Floats] = []
    steps = np.linspace(-0.5, 0.5, EDGE_PIECES * FINE + 1)
    for direction in range(3):
        for corner in _CORNERS[_CORNERS[:, direction] < 0]:
            ends = np.tile(corner, (len(steps), 1))
            ends[:, direction] = steps
            places = ends @ lattice
            middles = (places[:-1] + places[1:]) / 2
            apart = np.linalg.norm(middles[:, None] - points[None], axis=2)
            seen = np.flatnonzero((apart > radii).all(axis=1))
            breaks = np.flatnonzero((np.diff(seen) > 1) | (seen[1:] % FINE == 0)) + 1
            pieces += [places[[run[0], run[-1] + 1]] for run in np.split(seen, breaks) if len(run)]
    return np.array(pieces).reshape(-1, 2, 3)
