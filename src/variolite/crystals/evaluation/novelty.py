"""Which samples repeat another sample, and which repeat a known crystal.

Two crystals are the same if the structure matcher says so. It is asked only about pairs
with the same reduced formula, nearest in their average minimum distances first, until one
matches: most samples have no such pair, and of those that have a match nearly all find it
at the first question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

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

# The structure matcher as novelty asks it: primitive cells, default tolerances, time limits.


LIMIT = 30.0
"""Seconds that one part of the work may take."""

SMALL = 50_000
"""Sum of squared numbers of atoms up to which work is done at once, without a time limit:
starting processes would take longer."""

CRYSTALS = 32
PAIRS = 256
"""Crystals made primitive, and pairs compared, in one part."""


class SameStructure(Protocol):
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
    tell
        Is told how far it is.
    """

    workers: int = 0
    tolerance: Tolerance = DEFAULT
    limit: float = LIMIT
    tell: Callable[[str], None] = lambda _: None

    def prepare(self, crystals: Crystals) -> ReducedCrystals:
        """Return crystals in primitive cells; those without one are marked as not usable."""
        reduced = reduce_crystals(crystals)
        parts = [_Cells(reduced.take(index)) for index in _parts(len(crystals), CRYSTALS)]
        found = self._done(_make_primitive, parts, "primitive cells")
        cells = [
            ReducedCrystals(part.reduced.crystals, np.zeros(len(part), dtype=bool))
            if cell is None
            else cell
            for part, cell in found
        ]
        if not cells:
            return reduced
        return ReducedCrystals(
            Crystals.concatenate([cell.crystals for cell in cells]),
            np.concatenate([cell.usable for cell in cells]),
        )

    def compare(self, first: ReducedCrystals, second: ReducedCrystals) -> NDArray[np.int8]:
        """Compare pair by pair; pairs with a crystal that is not usable are undecided."""
        parts = [
            _Pairs(first.take(index), second.take(index), self.tolerance)
            for index in _parts(len(first.usable), PAIRS)
        ]
        found = self._done(_fit, parts, "comparing structures")
        verdicts = [
            np.full(len(part), -1, dtype=np.int8) if fits is None else fits.astype(np.int8)
            for part, fits in found
        ]
        joined = np.concatenate([np.empty(0, dtype=np.int8), *verdicts])
        joined[~(first.usable & second.usable)] = -1
        return joined

    def _done(
        self, function: Callable[[Part], Result], parts: Sequence[Part], what: str
    ) -> list[tuple[Part, Result | None]]:
        """Return the parts, some of them cut into single pieces, with their results."""
        if self.workers == 0 or sum(part.work for part in parts) <= SMALL:
            return [(part, function(part)) for part in parts]
        progress = Progress(what, sum(len(part) for part in parts), self.tell)
        found = outcomes(
            function,
            parts,
            workers=self.workers,
            limit=self.limit,
            done=lambda place: progress.add(len(parts[place])),
        )
        results: list[tuple[Part, Result | None]] = []
        for part, outcome in zip(parts, found, strict=True):
            if outcome.status == "done" or len(part) == 1:
                results.append((part, outcome.value))
                continue
            pieces = [part.take(index) for index in _parts(len(part), 1)]
            results.extend(self._done(function, pieces, what))
        return results


@dataclass(frozen=True)
class _Cells:
    reduced: ReducedCrystals

    def __len__(self) -> int:
        return len(self.reduced.usable)

    @property
    def work(self) -> int:
        return int((self.reduced.crystals.counts**2).sum())

    def take(self, index: NDArray[np.int64]) -> Self:
        return type(self)(self.reduced.take(index))


@dataclass(frozen=True)
class _Pairs:
    first: ReducedCrystals
    second: ReducedCrystals
    tolerance: Tolerance

    def __len__(self) -> int:
        return len(self.first.usable)

    @property
    def work(self) -> int:
        return int((self.first.crystals.counts * self.second.crystals.counts).sum())

    def take(self, index: NDArray[np.int64]) -> Self:
        return type(self)(self.first.take(index), self.second.take(index), self.tolerance)


Part = TypeVar("Part", _Cells, _Pairs)
Result = TypeVar("Result")


def _make_primitive(part: _Cells) -> ReducedCrystals:
    return primitive_crystals(part.reduced)


def _fit(part: _Pairs) -> NDArray[np.bool_]:
    return match_reduced(part.first, part.second, part.tolerance).fits


def _parts(count: int, size: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FARTHEST = 0.5
"""Largest difference of average minimum distances, in units of the free length per atom
(V/n)^(1/3), at which the matcher is asked. Among 472 matching pairs of equal formula in
MP-20 and MPTS-52 the largest was 0.36 (benchmarks/crystal_metrics.py)."""

CANDIDATES = 256
"""Nearest crystals of its formula that a sample is compared with. Among carbon structures,
all of one formula, 64 found all but two hundredths of what 256 find."""

ROUNDS = (1, 16, CANDIDATES)
"""Nearest candidates asked about by the end of each round."""


@dataclass(frozen=True)
class Candidates:
    """Crystals that samples may repeat.

    Attributes
    ----------
    sample, other
        Pairs, by sample and then nearest first, shape (P,).
    left_out
        Whether candidates of a sample were left out, being farther than the nearest
        :data:`CANDIDATES`, shape (B,).
    """

    sample: Integers
    other: Integers
    left_out: NDArray[np.bool_]


@dataclass(frozen=True)
class Repeats:
    """What the matcher found.

    Attributes
    ----------
    of
        A crystal that each sample repeats, -1 where there is none, shape (B,).
    undecided
        Samples with no match, but with a pair on which the matcher failed, shape (B,).
    asked
        Pairs that the matcher was asked about.
    """

    of: Integers
    undecided: NDArray[np.bool_]
    asked: int


def nearest_known(
    formulas: NDArray[np.str_],
    distances: Floats,
    known_formulas: NDArray[np.str_],
    known_distances: Floats,
) -> Candidates:
    """Return known crystals that samples may be.

    Parameters
    ----------
    formulas, known_formulas
        Reduced formulas, shapes (B,) and (M,).
    distances, known_distances
        Average minimum distances over the free length, see :func:`in_free_lengths`.
    """
    return _candidates(formulas, distances, known_formulas, known_distances, earlier=False)


def nearest_samples(formulas: NDArray[np.str_], distances: Floats) -> Candidates:
    """Return earlier samples that samples may repeat; see :func:`nearest_known`."""
    return _candidates(formulas, distances, formulas, distances, earlier=True)


def _candidates(
    formulas: NDArray[np.str_],
    distances: Floats,
    known_formulas: NDArray[np.str_],
    known_distances: Floats,
    *,
    earlier: bool,
) -> Candidates:
    order = np.argsort(known_formulas, kind="stable")
    ordered = known_formulas[order]
    begins = np.searchsorted(ordered, formulas, side="left")
    ends = np.searchsorted(ordered, formulas, side="right")
    samples, others = [], []
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
    empty = np.empty(0, dtype=np.int64)
    return Candidates(np.concatenate([empty, *samples]), np.concatenate([empty, *others]), left_out)


@dataclass(frozen=True)
class _Prepared:
    """Crystals in the cells that are compared, of those alone that can be asked about.

    Attributes
    ----------
    cells
        The cells.
    row
        Place of each crystal among them, -1 for the others.
    """

    cells: ReducedCrystals
    row: Integers

    def take(self, places: Integers) -> ReducedCrystals:
        return self.cells.take(self.row[places])


def _prepared(crystals: Crystals, places: Integers, same: SameStructure) -> _Prepared:
    needed = np.unique(places)
    row = np.full(len(crystals), -1, dtype=np.int64)
    row[needed] = np.arange(len(needed))
    return _Prepared(same.prepare(crystals.take(needed)), row)


def _find_repeats(
    samples: _Prepared,
    known: _Prepared,
    candidates: Candidates,
    same: SameStructure,
    tell: Callable[[str], None],
) -> Repeats:
    """Ask the matcher about candidates, nearest first, until each sample has a match or none."""
    total = len(samples.row)
    of = np.full(total, -1, dtype=np.int64)
    failed = np.zeros(total, dtype=bool)
    mine, others = candidates.sample, candidates.other
    rank = np.arange(len(mine)) - np.searchsorted(mine, np.arange(total))[mine]
    asked, begin = 0, 0
    # The nearest crystal is mostly the match, so the first question is about it alone.
    for end in ROUNDS:
        now = np.flatnonzero((rank >= begin) & (rank < end) & (of[mine] < 0))
        begin = end
        if not len(now):
            continue
        tell(f"matching {len(now)} pairs")
        verdicts = same.compare(samples.take(mine[now]), known.take(others[now]))
        asked += len(now)
        failed[mine[now[verdicts < 0]]] = True
        # Backwards, so that the nearest of several matches stays.
        matching = now[verdicts == 1][::-1]
        of[mine[matching]] = others[matching]
    return Repeats(of, failed & (of < 0), asked)


def in_free_lengths(crystals: Crystals, distances: Floats) -> Floats:
    """Return average minimum distances over the free length per atom (V/n)^(1/3).

    The matcher scales both cells to one volume, so the comparison must not see the scale.
    """
    free = (crystals.volumes / np.maximum(crystals.counts, 1)) ** (1.0 / 3.0)
    return np.asarray(distances / free[:, None])


@dataclass(frozen=True)
class Newness:
    """Which of B samples are new.

    Attributes
    ----------
    earlier, known
        What each sample repeats, among the samples and among the known crystals.
    unsearched
        Samples without a match some of whose candidates were not compared, being
        farther than the nearest :data:`CANDIDATES`, shape (B,).
    """

    earlier: Repeats
    known: Repeats
    unsearched: NDArray[np.bool_]

    @property
    def unique(self) -> NDArray[np.bool_]:
        """No earlier sample is the same; undecided ones do not count as unique, shape (B,)."""
        return np.asarray((self.earlier.of < 0) & ~self.earlier.undecided)

    @property
    def novel(self) -> NDArray[np.bool_]:
        """No known crystal is the same; undecided ones do not count as novel, shape (B,)."""
        return np.asarray((self.known.of < 0) & ~self.known.undecided)


def judge_newness(
    samples: Crystals,
    known: Crystals,
    same: SameStructure,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Newness:
    """Find the samples that repeat another sample or a known crystal.

    Parameters
    ----------
    samples, known
        Structures that are valid by distance.
    same
        The matcher.
    tell
        Is told how far it is.
    """
    formulas = reduced_formulas(samples)
    known_formulas = reduced_formulas(known)
    # Fingerprints only of known crystals that a sample can be.
    shared = np.flatnonzero(np.isin(known_formulas, formulas))
    overlap = known.take(shared)
    distances = in_free_lengths(samples, average_minimum_distances(samples))
    among = nearest_samples(formulas, distances)
    outside = nearest_known(
        formulas,
        distances,
        known_formulas[shared],
        in_free_lengths(overlap, average_minimum_distances(overlap)),
    )
    places = np.concatenate([among.sample, among.other, outside.sample])
    tell("primitive cells")
    own = _prepared(samples, places, same)
    other = _prepared(overlap, outside.other, same)
    earlier = _find_repeats(own, own, among, same, tell)
    found = _find_repeats(own, other, outside, same, tell)
    of = np.where(found.of >= 0, shared[found.of] if len(shared) else -1, -1)
    unsearched = (among.left_out & (earlier.of < 0)) | (outside.left_out & (of < 0))
    return Newness(earlier, Repeats(of, found.undecided, found.asked), unsearched)
