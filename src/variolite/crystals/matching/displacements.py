"""Displacements of atoms between two structures, in Angstrom, up to origin and period.

The error of an atom is the distance between its true and its reconstructed place, both as
fractional coordinates laid into the TRUE lattice, to the nearest periodic image, after the
translation of the whole structure that makes the sum of squared distances least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.matching.lattices import niggli_cells
from variolite.crystals.matching.pairs import same_composition
from variolite.crystals.matching.sites import assign
from variolite.crystals.periodic import ReducedLattices
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROUNDS = 50
_CHUNK = 256


@dataclass(frozen=True)
class PeriodicErrors:
    """Distances of N atoms in B structures.

    Attributes
    ----------
    distances
        Distance of every atom of the true structures in Angstrom, NaN where a structure
        cannot be compared, shape (N,).
    offsets
        Atoms of structure i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,).
    """

    distances: Floats
    offsets: Integers

    @property
    def medians(self) -> Floats:
        """Median over the atoms of each structure in Angstrom, shape (B,)."""
        counts = np.diff(self.offsets)
        owner = np.repeat(np.arange(len(counts)), counts)
        ordered = self.distances[np.lexsort((self.distances, owner))]
        low = self.offsets[:-1] + (counts - 1) // 2
        high = self.offsets[:-1] + counts // 2
        medians: Floats = (ordered[low] + ordered[high]) / 2
        return medians

    @property
    def rms(self) -> Floats:
        """Root mean square over the atoms of each structure in Angstrom, shape (B,)."""
        sums = np.add.reduceat(self.distances**2, self.offsets[:-1])
        rms: Floats = np.sqrt(sums / np.diff(self.offsets))
        return rms


def periodic_errors(true: Crystals, reconstructed: Crystals) -> PeriodicErrors:
    """Distances between atoms that correspond by their place in the list.

    Parameters
    ----------
    true, reconstructed
        Sets of B structures with equal numbers of atoms in equal order; types may differ.

    Raises
    ------
    DataError
        If the numbers of atoms differ.

    Notes
    -----
    The translation is found by descent: from a start, atoms move to their nearest images
    and the mean displacement is taken out, until nothing changes. Starts are the circular
    mean of the displacements along each axis and the displacement of every single atom; the
    descent continues from the best two of them.
    """
    if not np.array_equal(true.counts, reconstructed.counts):
        raise DataError(
            "the structures differ in their numbers of atoms",
            where="periodic error",
            hint="Compare structures whose atoms correspond, or assign them",
        )
    if (true.counts < 1).any():
        raise DataError("a structure has no atom", where="periodic error")
    distances = np.empty(len(true.species))
    for start in range(0, len(true), _CHUNK):
        chunk = slice(start, min(start + _CHUNK, len(true)))
        atoms = slice(true.offsets[chunk.start], true.offsets[chunk.stop])
        difference = reconstructed.coordinates[atoms] - true.coordinates[atoms]
        distances[atoms] = _distances(difference, true.lattices[chunk], true.counts[chunk])
    return PeriodicErrors(distances, true.offsets)


def _distances(difference: Floats, lattices: Floats, counts: Integers) -> Floats:
    """Distances of the atoms of some structures after the best translation."""
    usable = np.asarray(np.isfinite(lattices).all(axis=(1, 2)))
    lattices = np.where(usable[:, None, None], lattices, np.eye(3))
    owner = np.repeat(np.arange(len(counts)), counts)
    finite = np.asarray(np.isfinite(difference).all(axis=1))
    usable[owner[~finite]] = False
    difference = np.where(usable[owner, None], difference, 0.0)
    frames = _frames(lattices)
    inverse = np.linalg.inv(lattices)
    best = np.full(len(counts), np.inf)
    distances = np.zeros(len(owner))
    # Each round can only lower the sum of squares: nearest images for a fixed translation,
    # then the best translation for fixed images.
    for shift in _starts(difference, frames, owner, counts):
        vectors = frames.shortest(difference - shift[owner], owner)
        for _ in range(_ROUNDS):
            mean = _means(vectors, owner, counts)
            if np.abs(mean).max(initial=0.0) < 1e-12:
                break
            shift = shift + np.einsum("bi,bij->bj", mean, inverse)
            vectors = frames.shortest(difference - shift[owner], owner)
        squares = (vectors**2).sum(axis=1)
        totals = np.bincount(owner, squares, len(counts))
        better = (totals < best)[owner]
        best = np.minimum(best, totals)
        distances[better] = np.sqrt(squares[better])
    distances[~usable[owner]] = np.nan
    return distances


def _frames(lattices: Floats) -> ReducedLattices:
    # In the bases that matching takes: where images are equally near, as in symmetric crystals,
    # the choice among them decides at which minimum the descent ends.
    return ReducedLattices(lattices, niggli_cells(lattices).transform)


def _starts(
    difference: Floats, frames: ReducedLattices, owner: Integers, counts: Integers
) -> tuple[Floats, Floats]:
    """The two best of: circular mean, displacement of each atom; fractional, (B, 3) each."""
    # Fractional differences lie on a circle; the angle of their mean phase is their mean.
    phases = np.exp(2j * np.pi * difference)
    sine, cosine = _means(phases.imag, owner, counts), _means(phases.real, owner, counts)
    circular = np.arctan2(sine, cosine) / (2 * np.pi)
    offsets = np.cumsum(counts) - counts
    # Every atom of a structure against the shift that each of its atoms proposes.
    proposer = np.repeat(np.arange(len(owner)), counts[owner])
    within = np.arange(len(proposer)) - np.repeat(
        np.cumsum(counts[owner]) - counts[owner], counts[owner]
    )
    moved = offsets[owner[proposer]] + within
    vectors = frames.shortest(difference[moved] - difference[proposer], owner[proposer])
    # The mean may be taken out at once: it only lowers the sum.
    sums = np.bincount(proposer, (vectors**2).sum(axis=1), len(owner))
    sums -= (_sums(vectors, proposer, len(owner)) ** 2).sum(axis=1) / counts[owner]
    first = np.lexsort((sums, owner))[offsets]
    return circular, difference[first]


def _sums(vectors: Floats, owner: Integers, count: int) -> Floats:
    return np.stack([np.bincount(owner, column, count) for column in vectors.T], axis=1)


def _means(vectors: Floats, owner: Integers, counts: Integers) -> Floats:
    means: Floats = _sums(vectors, owner, len(counts)) / counts[:, None]
    return means


def assigned_periodic_errors(true: Crystals, reconstructed: Crystals) -> PeriodicErrors:
    """Distances between atoms assigned to one another inside each element.

    For sets without correspondence. A structure whose composition differs from the true
    one has NaN.

    Parameters
    ----------
    true, reconstructed
        Sets of B structures.

    Notes
    -----
    One atom of each element is laid on each atom of that element in turn; from each such
    start, the assignment of least squared distances (H. Kuhn, Naval Research Logistics
    2 (1955) 83) and the best translation are found in turns until nothing changes.
    """
    same = same_composition(true, reconstructed)
    distances = np.full(len(true.species), np.nan)
    for place in np.flatnonzero(same):
        atoms = slice(true.offsets[place], true.offsets[place + 1])
        distances[atoms] = _assigned_distances(true[int(place)], reconstructed[int(place)])
    return PeriodicErrors(distances, true.offsets)


def _assigned_distances(true: Crystal, reconstructed: Crystal) -> Floats:
    count = len(true)
    if not (np.isfinite(reconstructed.coordinates).all() and np.isfinite(true.lattice).all()):
        return np.full(count, np.nan)
    frames = _frames(true.lattice[None])
    groups = [
        (np.flatnonzero(true.species == z), np.flatnonzero(reconstructed.species == z))
        for z in np.unique(true.species)
    ]
    # One start per atom of each element: its first true atom laid on every reconstructed one.
    shift = np.concatenate(
        [reconstructed.coordinates[theirs] - true.coordinates[ours[0]] for ours, theirs in groups]
    )
    totals = np.full(len(shift), np.inf)
    inverse = np.linalg.inv(true.lattice)
    chosen = np.zeros((len(shift), count, 3))
    for _ in range(_ROUNDS):
        for ours, theirs in groups:
            difference = reconstructed.coordinates[theirs] - true.coordinates[ours][:, None]
            flat = (difference - shift[:, None, None]).reshape(-1, 3)
            vectors = frames.shortest(flat, np.zeros(len(flat), np.int64))
            vectors = vectors.reshape(len(shift), len(ours), len(theirs), 3)
            # (starts, true, reconstructed, 3): one assignment problem for every start.
            taken = assign((vectors**2).sum(axis=-1))
            chosen[:, ours] = np.take_along_axis(vectors, taken[..., None, None], axis=2)[:, :, 0]
        mean = chosen.mean(axis=1)
        chosen -= mean[:, None]
        shift = shift + mean @ inverse
        found = (chosen**2).sum(axis=(1, 2))
        if (found >= totals - 1e-12).all():
            break
        totals = np.minimum(found, totals)
    best = chosen[found.argmin()]
    distances: Floats = np.sqrt((best**2).sum(axis=1))
    return distances
