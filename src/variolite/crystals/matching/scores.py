"""Everything about a pair of structures that needs matching or symmetry."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.groups import space_groups
from variolite.crystals.matching.pairs import (
    Matches,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
    same_composition,
)
from variolite.crystals.matching.sites import assign
from variolite.crystals.matching.tolerances import CDVAE, DEFAULT, STRICT, Tolerance
from variolite.crystals.periodic import ReducedLattices
from variolite.errors import DataError
from variolite.training.workers import Progress, outcomes

# Displacements of atoms between two structures, in Angstrom, up to origin and period.
#
# The error of an atom is the distance between its true and its reconstructed place, both as
# fractional coordinates laid into the TRUE lattice, to the nearest periodic image, after the
# translation of the whole structure that makes the sum of squared distances least.


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
    descent goes on from the best two of them.
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
    frames = ReducedLattices(lattices)
    inverse = np.linalg.inv(lattices)
    best = np.full(len(counts), np.inf)
    distances = np.zeros(len(owner))
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
    """The two best of: circular mean, displacement of each atom; fractional, (B, 3) each."""
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
    frames = ReducedLattices(true.lattice[None])
    groups = [
        (np.flatnonzero(true.species == z), np.flatnonzero(reconstructed.species == z))
        for z in np.unique(true.species)
    ]
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


# Everything about a pair of structures that needs matching or symmetry, in worker processes.


Mask = NDArray[np.bool_]

LIMIT = 20.0
"""Seconds that one pair may take."""

SYMPRECS = (0.01, 0.1)
"""Tolerances of spglib in Angstrom."""

_PAIRS_PER_TASK = 32


@dataclass(frozen=True)
class Setting:
    """A tolerance, and whether cells are made primitive before they are compared."""

    tolerance: Tolerance
    primitive: bool = False

    @property
    def name(self) -> str:
        """Name in metrics, e.g. ``cdvae_unreduced``."""
        return f"{self.tolerance.name}_{'primitive' if self.primitive else 'unreduced'}"


SETTINGS = (
    Setting(CDVAE),
    Setting(DEFAULT),
    Setting(STRICT),
    Setting(CDVAE, primitive=True),
    Setting(DEFAULT, primitive=True),
)
"""Settings of a scored reconstruction; those with primitive cells are the ones of papers."""


@dataclass(frozen=True)
class PairScores:
    """Scores of B pairs.

    Attributes
    ----------
    matches
        What matching says, by setting. Pairs that failed do not match.
    same_space_group
        Whether both structures have the same space group, by tolerance in Angstrom: 1 or
        0, NaN where spglib finds none for the second structure, shape (B,) each.
    timed_out, crashed
        Pairs that took too long, and pairs on which an error was raised or a process died,
        shape (B,) each.
    """

    matches: Mapping[Setting, Matches]
    same_space_group: Mapping[float, Floats]
    timed_out: Mask
    crashed: Mask


def score_pairs(
    first: Crystals,
    second: Crystals,
    *,
    settings: Sequence[Setting] = SETTINGS,
    symprecs: Sequence[float] = (),
    workers: int | None = None,
    limit: float = LIMIT,
    tell: Callable[[str], None] = lambda _: None,
) -> PairScores:
    """Match pairs of structures under several settings, each pair within a time limit.

    Parameters
    ----------
    first, second
        Sets of B structures; for a reconstruction, the reconstructed and the true ones.
    settings
        What to match by.
    symprecs
        Tolerances at which space groups are compared.
    workers
        Worker processes; by default as many as there are cores, and no more than there is
        work for. 0 does the work in this process, without time limits.
    limit
        Seconds that one pair may take under all settings together.
    tell
        Takes lines about progress.

    Raises
    ------
    DataError
        If the sets differ in length, or a library that is needed is not installed.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} structures do not make pairs")
    needed = [("pymatgen", any(s.primitive for s in settings)), ("spglib", bool(symprecs))]
    for library, wanted in needed:
        if wanted and find_spec(library) is None:
            raise DataError(f"{library} is not installed", hint="pip install 'variolite[crystals]'")
    bare = (_without_properties(first), _without_properties(second))
    spans = [
        (i, min(i + _PAIRS_PER_TASK, len(first))) for i in range(0, len(first), _PAIRS_PER_TASK)
    ]
    status = np.full(len(first), "done", dtype="<U9")
    progress = Progress("matching", len(first), tell)
    if workers == 0:
        parts = [_score_span(_task(bare, span, settings, symprecs)) for span in spans]
        return _joined(spans, parts, status, settings, symprecs)
    crew = min(workers or os.cpu_count() or 1, max(1, len(spans)))

    def run(wanted: Sequence[tuple[int, int]]) -> list[tuple[str, _Arrays | None]]:
        found = outcomes(
            _score_span,
            [_task(bare, span, settings, symprecs) for span in wanted],
            workers=crew,
            limit=limit,
            done=lambda place: progress.add(wanted[place][1] - wanted[place][0]),
        )
        return [(outcome.status, outcome.value) for outcome in found]

    found = run(spans)
    kept = [(span, part) for span, (_, part) in zip(spans, found, strict=True) if part is not None]
    # One bad pair ends its whole span: there, each pair is tried by itself.
    left = [span for span, (_, part) in zip(spans, found, strict=True) if part is None]
    singles = [(place, place + 1) for start, stop in left for place in range(start, stop)]
    if singles:
        progress = Progress("matching pair by pair", len(singles), tell)
        for span, (outcome, part) in zip(singles, run(singles), strict=True):
            status[span[0]] = outcome
            if part is not None:
                kept.append((span, part))
    return _joined(
        [span for span, _ in kept], [part for _, part in kept], status, settings, symprecs
    )


_Task = tuple[Crystals, Crystals, tuple[Setting, ...], tuple[float, ...]]
_Arrays = tuple[Floats, Mask, Floats]


def _task(
    pair: tuple[Crystals, Crystals],
    span: tuple[int, int],
    settings: Sequence[Setting],
    symprecs: Sequence[float],
) -> _Task:
    part = slice(*span)
    return pair[0].take(part), pair[1].take(part), tuple(settings), tuple(symprecs)


def _score_span(task: _Task) -> _Arrays:
    """RMS [S, B], fits [S, B] and same space groups [P, B] of some pairs."""
    first, second, settings, symprecs = task
    cells = {False: (reduce_crystals(first), reduce_crystals(second))}
    if any(setting.primitive for setting in settings):
        cells[True] = (primitive_crystals(cells[False][0]), primitive_crystals(cells[False][1]))
    matches = [match_reduced(*cells[s.primitive], s.tolerance) for s in settings]
    rms = np.array([m.rms for m in matches]).reshape(len(settings), len(first))
    fits = np.array([m.fits for m in matches], dtype=bool).reshape(len(settings), len(first))
    same = np.full((len(symprecs), len(first)), np.nan)
    for row, symprec in enumerate(symprecs):
        truth = _space_groups(second, cells[False][1].usable, symprec)
        found = _space_groups(first, cells[False][0].usable, symprec)
        same[row] = np.where(truth > 0, truth == found, np.nan)
    return rms, fits, same


def _space_groups(crystals: Crystals, usable: Mask, symprec: float) -> NDArray[np.int64]:
    """Numbers of the space groups by spglib, 0 where it finds none, shape (B,)."""
    numbers = np.zeros(len(crystals), dtype=np.int64)
    numbers[usable] = space_groups(crystals.take(usable), symprec=symprec)[0]
    return numbers


def _joined(
    spans: Sequence[tuple[int, int]],
    parts: Sequence[_Arrays],
    status: NDArray[np.str_],
    settings: Sequence[Setting],
    symprecs: Sequence[float],
) -> PairScores:
    count = len(status)
    rms = np.full((len(settings), count), np.nan)
    fits = np.zeros((len(settings), count), dtype=bool)
    same = np.where(status == "done", np.nan, 0.0) * np.ones((len(symprecs), 1))
    for (start, stop), part in zip(spans, parts, strict=True):
        rms[:, start:stop], fits[:, start:stop], same[:, start:stop] = part
    return PairScores(
        matches={s: Matches(rms[i], fits[i]) for i, s in enumerate(settings)},
        same_space_group={s: same[i] for i, s in enumerate(symprecs)},
        timed_out=status == "timed out",
        crashed=status == "crashed",
    )


def _without_properties(crystals: Crystals) -> Crystals:
    return Crystals(
        crystals.species,
        crystals.coordinates,
        crystals.lattices,
        crystals.offsets,
        crystals.names,
    )


# What is known of reconstructed crystals, crystal by crystal.


SHORTEST = 0.5
"""Distance in Angstrom below which two atoms are too close."""


@dataclass(frozen=True)
class ReconstructionScores:
    """Scores of B reconstructed crystals with N atoms, crystal by crystal.

    Attributes
    ----------
    names, formulas
        Ids and reduced formulas of the true crystals, shape (B,).
    given
        What the decoder was told besides the latents, e.g. ("species",).
    pairs
        Matching under every setting, space groups, failures.
    errors
        Displacement of every atom in Angstrom.
    type_accuracy
        Share of atoms of the right element, shape (B,).
    same_composition
        Whether the numbers of atoms of every element are right, shape (B,).
    length_error, angle_error, volume_error
        Mean relative error of the three lengths in per cent, mean error of the three
        angles in degrees, relative error of the volume in per cent; NaN where the
        reconstructed cell is none, shape (B,) each.
    shortest
        Shortest distance within the reconstructed crystal in Angstrom, shape (B,).
    unusable
        Reconstructions with numbers that are not finite, or without a cell, shape (B,):
        they have no right atom, no error of a place and no match.
    """

    names: NDArray[np.str_]
    formulas: NDArray[np.str_]
    given: tuple[str, ...]
    pairs: PairScores
    errors: PeriodicErrors
    type_accuracy: Floats
    same_composition: Mask
    length_error: Floats
    angle_error: Floats
    volume_error: Floats
    shortest: Floats
    unusable: Mask

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Settings that were matched by."""
        return tuple(self.pairs.matches)
