"""Displacements of atoms between two structures, in angstrom, up to origin and period.

The error of an atom is the distance between its true and its reconstructed place, both as
fractional coordinates laid into the TRUE lattice, to the nearest periodic image, after the
translation of the whole structure that makes the sum of squared distances least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.geometry.periodic import ReducedLattices
from variolite.crystals.matching.lattices import niggli_cells, spread
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROUNDS = 50
_CHUNK = 256


@dataclass(frozen=True)
class PeriodicErrors:
    """Distances in angstrom (N,) of all atoms of B structures; NaN where they have none.

    Atoms of structure i are ``offsets[i]:offsets[i + 1]``.
    """

    distances: Floats
    offsets: Integers

    @property
    def medians(self) -> Floats:
        """Median over the atoms of each structure in angstrom, shape (B,)."""
        counts = np.diff(self.offsets)
        owner = np.repeat(np.arange(len(counts)), counts)
        # Sorted within each structure, the median is the mean of its two middle entries.
        ordered = self.distances[np.lexsort((self.distances, owner))]
        low = self.offsets[:-1] + (counts - 1) // 2
        high = self.offsets[:-1] + counts // 2
        medians: Floats = (ordered[low] + ordered[high]) / 2
        return medians


def periodic_errors(true: Crystals, reconstructed: Crystals) -> PeriodicErrors:
    """Return distances between atoms that correspond by their place in the list; types may differ.

    The translation is found by descent: from a start, atoms move to their nearest images
    and the mean displacement is taken out, until nothing changes. Starts are the circular
    mean of the displacements along each axis, and the best of the displacements of single
    atoms. Raises a DataError if the numbers of atoms differ.
    """
    if not np.array_equal(true.counts, reconstructed.counts):
        what = "the structures differ in their numbers of atoms"
        hint = "Compare structures whose atoms correspond"
        raise DataError(what, where="periodic error", hint=hint)
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
    """Return the distances of the atoms of some structures after the best translation."""
    # What is not finite is computed as something else, so that all arrays stay aligned, and is
    # NaN in the end.
    usable = np.asarray(np.isfinite(lattices).all(axis=(1, 2)))
    lattices = np.where(usable[:, None, None], lattices, np.eye(3))
    owner = np.repeat(np.arange(len(counts)), counts)
    usable[owner[~np.isfinite(difference).all(axis=1)]] = False
    difference = np.where(usable[owner, None], difference, 0.0)
    # In the bases that matching takes: where images are equally near, as in symmetric crystals,
    # the choice among them decides at which minimum the descent ends.
    frames = ReducedLattices(lattices, niggli_cells(lattices).transform)
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


def _starts(
    difference: Floats, frames: ReducedLattices, owner: Integers, counts: Integers
) -> tuple[Floats, Floats]:
    """Return the circular mean, and the best displacement of one atom; fractional, (B, 3) each."""
    # Fractional differences lie on a circle; the angle of their mean phase is their mean.
    phases = np.exp(2j * np.pi * difference)
    sine, cosine = (_means(part, owner, counts) for part in (phases.imag, phases.real))
    circular = np.arctan2(sine, cosine) / (2 * np.pi)
    offsets = np.cumsum(counts) - counts
    # Every atom of a structure against the shift that each of its atoms proposes.
    proposer, within = spread(counts[owner])
    moved = offsets[owner[proposer]] + within
    vectors = frames.shortest(difference[moved] - difference[proposer], owner[proposer])
    # The mean may be taken out at once: it only lowers the sum.
    sums = np.bincount(proposer, (vectors**2).sum(axis=1), len(owner))
    sums -= (_sums(vectors, proposer, len(owner)) ** 2).sum(axis=1) / counts[owner]
    first = np.lexsort((sums, owner))[offsets]
    return circular, difference[first]


def _means(vectors: Floats, owner: Integers, counts: Integers) -> Floats:
    means: Floats = _sums(vectors, owner, len(counts)) / counts[:, None]
    return means


def _sums(vectors: Floats, owner: Integers, count: int) -> Floats:
    """Return the sums of the vectors (V, 3) of each owner, shape (count, 3)."""
    return np.stack([np.bincount(owner, column, count) for column in vectors.T], axis=1)
