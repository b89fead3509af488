"""Which samples repeat another sample, and which repeat a known crystal.

Two crystals are the same if the structure matcher matches them. It compares only pairs with
the same reduced formula, nearest in their average minimum distances first, until one
matches: most samples have no such pair, and of those that have a match nearly all find it
at the first comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.fingerprints import average_minimum_distances
from variolite.crystals.matching.pairs import (
    DEFAULT,
    ReducedCrystals,
    Tolerance,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
)
from variolite.training.workers import Progress, outcomes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A part of the work: some crystals, or the two sides of some pairs.
_Part = tuple[ReducedCrystals, ...]
Result = TypeVar("Result")

LIMIT = 30.0
"""Seconds that one part of the work may take."""

SMALL = 50_000
"""Sum of squared numbers of atoms up to which work is done at once, without a time limit:
starting processes would take longer."""

CRYSTALS, PAIRS = 32, 256
"""Crystals made primitive, and pairs compared, in one part."""

FARTHEST = 0.5
"""Largest difference of average minimum distances, in units of the free length per atom
(V/n)^(1/3), at which crystals are compared. Among 472 matching pairs of equal formula in
MP-20 and MPTS-52 the largest was 0.36 (benchmarks/crystal_metrics.py)."""

CANDIDATES = 256
"""Nearest crystals of its formula that a sample is compared with. Among carbon structures,
all of one formula, 64 found all but two hundredths of what 256 find."""

ROUNDS = (1, 16, CANDIDATES)
"""Nearest candidates compared by the end of each round."""


class StructureEquivalence(Protocol):
    """Decides whether crystals are the same."""

    def prepare(self, crystals: Crystals) -> ReducedCrystals:
        """Bring crystals into the cells that are compared."""

    def compare(self, first: ReducedCrystals, second: ReducedCrystals) -> NDArray[np.int8]:
        """Compare pair by pair: 1 the same, 0 not, -1 undecided (failed or out of time)."""


@dataclass(frozen=True)
class Matcher:
    """Matches in primitive cells as ``StructureMatcher.fit`` does, in worker processes.

    Attributes
    ----------
    workers
        Processes. With 0 all work is done in this one, and nothing limits its time.
    tolerance
        What counts as the same.
    limit
        Seconds for one part of the work. A part that takes longer is done again one by
        one; a single crystal or pair that still does is undecided.
    log
        Takes lines of progress.
    """

    workers: int = 0
    tolerance: Tolerance = DEFAULT
    limit: float = LIMIT
    log: Callable[[str], None] = lambda _: None

    def prepare(self, crystals: Crystals) -> ReducedCrystals:
        """Return crystals in primitive cells; those without one are marked as not usable."""
        reduced = reduce_crystals(crystals)
        parts = [(reduced.take(index),) for index in _split(len(crystals), CRYSTALS)]
        found = self._results(_primitive, parts, "primitive cells")
        cells = [
            cell or ReducedCrystals(part.crystals, np.zeros(len(part.usable), dtype=bool))
            for (part,), cell in found
        ]
        if not cells:
            return reduced
        return ReducedCrystals(
            Crystals.concatenate([cell.crystals for cell in cells]),
            np.concatenate([cell.usable for cell in cells]),
        )

    def compare(self, first: ReducedCrystals, second: ReducedCrystals) -> NDArray[np.int8]:
        """Compare pair by pair; pairs with a crystal that is not usable are undecided."""
        places = _split(len(first.usable), PAIRS)
        parts = [(first.take(index), second.take(index)) for index in places]
        results = [np.empty(0, dtype=np.int8)]
        fits = partial(_fits, self.tolerance)
        for part, found in self._results(fits, parts, "comparing structures"):
            undecided = np.full(len(part[0].usable), -1, dtype=np.int8)
            results.append(undecided if found is None else found.astype(np.int8))
        joined = np.concatenate(results)
        joined[~(first.usable & second.usable)] = -1
        return joined

    def _results(
        self, function: Callable[[_Part], Result], parts: Sequence[_Part], what: str
    ) -> list[tuple[_Part, Result | None]]:
        """Return the parts, some of them cut into single pieces, with their results."""
        atoms = [[one.crystals.counts for one in part] for part in parts]
        if self.workers == 0 or sum((of[0] * of[-1]).sum() for of in atoms) <= SMALL:
            return [(part, function(part)) for part in parts]
        sizes = [len(part[0].usable) for part in parts]
        progress = Progress(what, sum(sizes), self.log)
        found = outcomes(
            function,
            parts,
            workers=self.workers,
            limit=self.limit,
            done=lambda place: progress.add(sizes[place]),
        )
        results: list[tuple[_Part, Result | None]] = []
        for part, size, outcome in zip(parts, sizes, found, strict=True):
            if outcome.status == "done" or size == 1:
                results.append((part, outcome.value))
                continue
            pieces = [tuple(one.take(index) for one in part) for index in _split(size, 1)]
            results.extend(self._results(function, pieces, what))
        return results


def _primitive(part: _Part) -> ReducedCrystals:
    return primitive_crystals(part[0])


def _fits(tolerance: Tolerance, part: _Part) -> NDArray[np.bool_]:
    first, second = part
    return match_reduced(first, second, tolerance).fits


def _split(count: int, size: int) -> list[Integers]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


@dataclass(frozen=True)
class Candidates:
    """Pairs (P,) of a sample and a crystal that it may repeat, by sample and then nearest first.

    ``left_out``: whether candidates of a sample were left out, being farther than the nearest
    :data:`CANDIDATES`, (B,).
    """

    sample: Integers
    other: Integers
    left_out: NDArray[np.bool_]


@dataclass(frozen=True)
class Duplicates:
    """What the matcher found.

    A crystal that each sample repeats, -1 where there is none, (B,); samples with no match but
    with a pair on which the matcher failed, (B,); number of pairs that were compared.
    """

    of: Integers
    undecided: NDArray[np.bool_]
    compared: int

    @property
    def none(self) -> NDArray[np.bool_]:
        """Samples that certainly repeat nothing, shape (B,)."""
        return np.asarray((self.of < 0) & ~self.undecided)


def nearest_known(
    formulas: NDArray[np.str_],
    distances: Floats,
    known_formulas: NDArray[np.str_],
    known_distances: Floats,
    *,
    earlier: bool = False,
) -> Candidates:
    """Return known crystals that samples may be.

    Parameters
    ----------
    formulas, known_formulas
        Reduced formulas, shapes (B,) and (M,).
    distances, known_distances
        Average minimum distances over the free length, see :func:`in_free_lengths`,
        shapes (B, k) and (M, k).
    earlier
        Whether the known crystals are the samples, and only those before a sample count.
    """
    order = np.argsort(known_formulas, kind="stable")
    ordered = known_formulas[order]
    begins = np.searchsorted(ordered, formulas, side="left")
    ends = np.searchsorted(ordered, formulas, side="right")
    samples, others = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    left_out = np.zeros(len(formulas), dtype=bool)
    for sample in np.flatnonzero(ends > begins):
        found = order[begins[sample] : ends[sample]]
        if earlier:
            found = found[found < sample]
        apart = np.abs(known_distances[found] - distances[sample]).max(axis=1, initial=0.0)
        near = apart <= FARTHEST
        found, apart = found[near], apart[near]
        left_out[sample] = len(found) > CANDIDATES
        # Equal distances in the order of the crystals, so that the result is repeatable.
        found = found[np.argsort(apart, kind="stable")][:CANDIDATES]
        samples.append(np.full(len(found), sample))
        others.append(found)
    return Candidates(np.concatenate(samples), np.concatenate(others), left_out)


def in_free_lengths(crystals: Crystals, distances: Floats) -> Floats:
    """Return average minimum distances over the free length per atom (V/n)^(1/3).

    The matcher scales both cells to one volume, so the comparison must not see the scale.
    """
    free = (crystals.volumes / np.maximum(crystals.counts, 1)) ** (1.0 / 3.0)
    return np.asarray(distances / free[:, None])


@dataclass(frozen=True)
class Novelty:
    """Which of B samples are unique, and which novel.

    What each sample repeats, among the samples and among the known crystals; and samples
    without a match some of whose candidates were farther than the nearest :data:`CANDIDATES`
    and not compared, (B,).
    """

    earlier: Duplicates
    known: Duplicates
    unsearched: NDArray[np.bool_]

    @property
    def unique(self) -> NDArray[np.bool_]:
        """No earlier sample is the same; undecided ones do not count as unique, shape (B,)."""
        return self.earlier.none

    @property
    def novel(self) -> NDArray[np.bool_]:
        """No known crystal is the same; undecided ones do not count as novel, shape (B,)."""
        return self.known.none

    def notes(self, which: str = "") -> list[str]:
        """Return what the shares rest on."""
        undecided = int((self.earlier.undecided | self.known.undecided).sum())
        notes = [
            f"{which}matching: {self.earlier.compared} pairs of samples and {self.known.compared} "
            f"pairs of sample and reference compared, {undecided} samples undecided (counted "
            "neither unique nor novel)"
        ]
        if cut := int(self.unsearched.sum()):
            notes.append(
                f"{which}matching: {cut} samples without a match have more than {CANDIDATES} "
                "candidates of their formula, of which the nearest were compared"
            )
        return notes


def find_novelty(
    samples: Crystals,
    known: Crystals,
    equivalence: StructureEquivalence,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> Novelty:
    """Find the samples that repeat another sample or a known crystal; all are valid by distance."""
    formulas, known_formulas = reduced_formulas(samples), reduced_formulas(known)
    # Fingerprints only of known crystals that a sample can be.
    shared = np.flatnonzero(np.isin(known_formulas, formulas))
    overlap = known.take(shared)
    distances = in_free_lengths(samples, average_minimum_distances(samples))
    known_distances = in_free_lengths(overlap, average_minimum_distances(overlap))
    among = nearest_known(formulas, distances, formulas, distances, earlier=True)
    outside = nearest_known(formulas, distances, known_formulas[shared], known_distances)
    log("primitive cells")
    own = _Prepared.of(samples, [among.sample, among.other, outside.sample], equivalence)
    other = _Prepared.of(overlap, [outside.other], equivalence)
    earlier = _find_duplicates(own, own, among, equivalence, log)
    found = _find_duplicates(own, other, outside, equivalence, log)
    of = np.where(found.of >= 0, shared[found.of] if len(shared) else -1, -1)
    unsearched = (among.left_out & (earlier.of < 0)) | (outside.left_out & (of < 0))
    return Novelty(earlier, Duplicates(of, found.undecided, found.compared), unsearched)


@dataclass(frozen=True)
class _Prepared:
    """Cells of the crystals that may be compared, and the row of each crystal among them or -1."""

    cells: ReducedCrystals
    row: Integers

    @classmethod
    def of(
        cls, crystals: Crystals, places: list[Integers], equivalence: StructureEquivalence
    ) -> _Prepared:
        needed = np.unique(np.concatenate(places))
        row = np.full(len(crystals), -1, dtype=np.int64)
        row[needed] = np.arange(len(needed))
        return cls(equivalence.prepare(crystals.take(needed)), row)

    def take(self, places: Integers) -> ReducedCrystals:
        return self.cells.take(self.row[places])


def _find_duplicates(
    samples: _Prepared,
    known: _Prepared,
    candidates: Candidates,
    equivalence: StructureEquivalence,
    log: Callable[[str], None],
) -> Duplicates:
    """Compare with candidates, nearest first, until each sample has a match or none."""
    total = len(samples.row)
    of = np.full(total, -1, dtype=np.int64)
    failed = np.zeros(total, dtype=bool)
    mine, others = candidates.sample, candidates.other
    # Place of each pair among the candidates of its sample.
    rank = np.arange(len(mine)) - np.searchsorted(mine, np.arange(total))[mine]
    compared, begin = 0, 0
    # The nearest crystal is mostly the match, so the first round is about it alone.
    for end in ROUNDS:
        now = np.flatnonzero((rank >= begin) & (rank < end) & (of[mine] < 0))
        begin = end
        if not len(now):
            continue
        log(f"matching {len(now)} pairs")
        same = equivalence.compare(samples.take(mine[now]), known.take(others[now]))
        compared += len(now)
        failed[mine[now[same < 0]]] = True
        # Backwards, so that the nearest of several matches stays.
        matching = now[same == 1][::-1]
        of[mine[matching]] = others[matching]
    return Duplicates(of, failed & (of < 0), compared)
