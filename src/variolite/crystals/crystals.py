"""Crystals and their latents in flat arrays, and cell parameters as lattice vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError

Floats = NDArray[np.float64]

# Cell parameters and lattice vectors, for many cells at once.


def lattices_from_parameters(parameters: ArrayLike) -> Floats:
    """Lattice vectors as rows, (B, 3, 3), with a along x and b in the plane of x and y.

    ``parameters`` are lengths in Angstrom and angles in degrees, (B, 6). NaN where a length is
    negative or not a number, or the angles enclose no cell.

    >>> lattices_from_parameters([3.0, 4.0, 5.0, 90.0, 90.0, 90.0])[0].diagonal().tolist()
    [3.0, 4.0, 5.0]
    """
    values = np.array(parameters, dtype=np.float64).reshape(-1, 6)
    angles = values[:, 3:]
    values[(values[:, :3] < 0).any(axis=1) | ((angles <= 0) | (angles >= 180)).any(axis=1)] = np.nan
    # A right angle gives a cosine of 6e-17, and a cubic cell would not be exactly cubic.
    cosines = np.where(angles == 90.0, 0.0, np.cos(np.radians(angles)))
    sine = np.sqrt(np.maximum(1.0 - cosines[:, 2] ** 2, 0.0))
    # c is fixed by its products with a and b, and its height by its length.
    lattices = np.zeros((len(values), 3, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        shear = (cosines[:, 0] - cosines[:, 1] * cosines[:, 2]) / sine
        height = np.sqrt(1.0 - cosines[:, 1] ** 2 - shear**2)
    lattices[:, 0, 0] = values[:, 0]
    lattices[:, 1, 0] = values[:, 1] * cosines[:, 2]
    lattices[:, 1, 1] = values[:, 1] * sine
    lattices[:, 2, 0] = values[:, 2] * cosines[:, 1]
    lattices[:, 2, 1] = values[:, 2] * shear
    lattices[:, 2, 2] = values[:, 2] * height
    return lattices


def cell_parameters(lattices: ArrayLike) -> Floats:
    """Lengths in Angstrom and angles in degrees, (B, 6), of lattice vectors, (B, 3, 3)."""
    rows = np.asarray(lattices, dtype=np.float64).reshape(-1, 3, 3)
    lengths = np.linalg.norm(rows, axis=-1)
    # Alpha is the angle between b and c, and so on round.
    i, j = [1, 0, 0], [2, 2, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (rows[:, i] * rows[:, j]).sum(axis=-1) / (lengths[:, i] * lengths[:, j])
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return np.concatenate([lengths, angles], axis=-1)


def cell_heights(lattices: ArrayLike) -> Floats:
    """Distances between opposite faces of each cell in Angstrom, (B, 3).

    Entry i is the distance between the lattice planes that the other two vectors span;
    no lattice vector with a component along vector i is shorter.
    """
    rows = np.asarray(lattices, dtype=np.float64).reshape(-1, 3, 3)
    # Height = volume / area of the face of the other two vectors.
    normals = np.cross(np.roll(rows, -1, axis=1), np.roll(rows, -2, axis=1))
    volumes = np.abs((rows[:, 0] * normals[:, 0]).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights: Floats = volumes[:, None] / np.linalg.norm(normals, axis=-1)
    return np.nan_to_num(heights, nan=0.0, posinf=0.0)


# Crystals in flat arrays: atoms of all structures one after another.


def offsets_of(counts: ArrayLike) -> NDArray[np.int64]:
    """Where the atoms of each structure begin, and where the last end, (B + 1,)."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


@dataclass(frozen=True)
class Crystal:
    """One structure.

    Attributes
    ----------
    species
        Atomic numbers, shape (n,).
    coordinates
        Fractional coordinates, shape (n, 3).
    lattice
        Rows are the lattice vectors a, b, c in Angstrom, shape (3, 3).
    name
        Its id in the set it comes from.
    """

    species: NDArray[np.uint8]
    coordinates: Floats
    lattice: Floats
    name: str = ""

    def __len__(self) -> int:
        return len(self.species)


@dataclass(frozen=True)
class Crystals:
    """A set of B structures with N atoms in all.

    Attributes
    ----------
    species
        Atomic numbers, shape (N,).
    coordinates
        Fractional coordinates, shape (N, 3).
    lattices
        Rows are the lattice vectors a, b, c in Angstrom, shape (B, 3, 3).
    offsets
        Atoms of structure i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,).
    names
        Ids, shape (B,).
    properties
        Columns of numbers (NaN where missing) or text by name, each of shape (B,).
    """

    species: NDArray[np.uint8]
    coordinates: Floats
    lattices: Floats
    offsets: NDArray[np.int64]
    names: NDArray[np.str_]
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, atoms = len(self.lattices), len(self.species)
        consistent = (
            self.offsets.shape == (count + 1,)
            and self.offsets[0] == 0
            and self.offsets[-1] == atoms
            and self.coordinates.shape == (atoms, 3)
            and self.lattices.shape == (count, 3, 3)
            and self.names.shape == (count,)
            and all(values.shape == (count,) for values in self.properties.values())
        )
        if not consistent:
            raise DataError("the arrays of a set of crystals do not fit each other")

    @classmethod
    def of(cls, crystals: Iterable[Crystal]) -> Crystals:
        """Join single structures."""
        found = list(crystals)
        return cls(
            species=np.concatenate([c.species for c in found] or [np.empty(0, np.uint8)]),
            coordinates=np.concatenate([c.coordinates for c in found] or [np.empty((0, 3))]),
            lattices=np.array([c.lattice for c in found], dtype=np.float64).reshape(-1, 3, 3),
            offsets=offsets_of([len(c) for c in found]),
            names=np.array([c.name for c in found], dtype=np.str_),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Crystals]) -> Crystals:
        """Join sets; only properties that all of them have are kept."""
        shared = [n for n in parts[0].properties if all(n in part.properties for part in parts)]
        return cls(
            species=np.concatenate([part.species for part in parts]),
            coordinates=np.concatenate([part.coordinates for part in parts]),
            lattices=np.concatenate([part.lattices for part in parts]),
            offsets=offsets_of(np.concatenate([part.counts for part in parts])),
            names=np.concatenate([part.names for part in parts]),
            properties={n: np.concatenate([part.properties[n] for part in parts]) for n in shared},
        )

    def __len__(self) -> int:
        return len(self.lattices)

    def __getitem__(self, index: int) -> Crystal:
        atoms = slice(self.offsets[index], self.offsets[index + 1])
        name = str(self.names[index])
        return Crystal(self.species[atoms], self.coordinates[atoms], self.lattices[index], name)

    def __iter__(self) -> Iterator[Crystal]:
        return (self[index] for index in range(len(self)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Atoms per structure, shape (B,)."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> NDArray[np.int64]:
        """Structure of every atom, shape (N,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def volumes(self) -> Floats:
        """Cell volumes in cubic Angstrom, shape (B,)."""
        volumes: Floats = np.abs(np.linalg.det(self.lattices))
        return volumes

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether a structure has atoms, and all its numbers are finite, shape (B,)."""
        finite = np.isfinite(self.lattices).all(axis=(1, 2)) & (self.counts > 0)
        finite[self.owner[~np.isfinite(self.coordinates).all(axis=1)]] = False
        return np.asarray(finite)

    def atoms_of(self, index: NDArray[np.integer]) -> NDArray[np.int64]:
        """Places of the atoms of the chosen structures, in their order."""
        return ragged_places(self.offsets[:-1][index], self.counts[index])

    def made_of(self, elements: ArrayLike) -> NDArray[np.bool_]:
        """Whether a structure holds none but these atomic numbers, shape (B,)."""
        strange = self.owner[~np.isin(self.species, elements)]
        return np.asarray(np.bincount(strange, minlength=len(self)) == 0)

    def in_cells(self, change: NDArray[Any]) -> Crystals:
        """The same crystals in cells with other vectors of their lattices, coordinates in [0, 1).

        ``change``, (B, 3, 3), has integer rows in terms of the given vectors, and determinants of
        1 or -1.
        """
        # Atoms stay where they are: x L = x' (U L), hence x' = x U^-1.
        back = np.rint(np.linalg.inv(change))[self.owner]
        coordinates = np.einsum("ni,nij->nj", self.coordinates, back)
        coordinates -= np.floor(coordinates)
        # A coordinate just below 0 is 1 after rounding.
        coordinates[coordinates >= 1.0] = 0.0
        return replace(self, coordinates=coordinates, lattices=change @ self.lattices)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Crystals:
        """Choose structures by place or by mask."""
        chosen = np.arange(len(self))[index]
        atoms = self.atoms_of(chosen)
        return Crystals(
            species=self.species[atoms],
            coordinates=self.coordinates[atoms],
            lattices=self.lattices[chosen],
            offsets=offsets_of(self.counts[chosen]),
            names=self.names[chosen],
            properties={name: values[chosen] for name, values in self.properties.items()},
        )


def ragged_places(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of ``counts`` neighbours from each of ``starts`` on, one run after another."""
    # Place k of the result is k - begins of its run, which starts at starts.
    begins = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(starts - begins, counts)
    return places


@dataclass(frozen=True)
class Latents:
    """Posterior of B crystals with N atoms in all, or draws from a prior.

    Attributes
    ----------
    mean
        Shape (N, L).
    log_variance
        Shape (N, L); None for draws.
    offsets
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,).
    names
        Ids of the crystals, shape (B,).
    """

    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32] | None
    offsets: NDArray[np.int64]
    names: NDArray[np.str_]

    def __post_init__(self) -> None:
        if (
            self.mean.ndim != 2
            or self.offsets[-1] != len(self.mean)
            or len(self.names) != len(self.offsets) - 1
            or (self.log_variance is not None and self.log_variance.shape != self.mean.shape)
        ):
            raise DataError("the arrays of a set of latents do not fit each other")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Atoms of every crystal, shape (B,)."""
        return np.diff(self.offsets)

    @property
    def pooled(self) -> NDArray[np.float32]:
        """Mean over the atoms of every crystal, shape (B, L): one vector a crystal."""
        sums = np.add.reduceat(self.mean.astype(np.float64), self.offsets[:-1], axis=0)
        return (sums / self.counts[:, None]).astype(np.float32)
