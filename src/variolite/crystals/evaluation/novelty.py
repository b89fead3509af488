"""Which samples repeat another sample, and which repeat a known crystal.

Two crystals are the same if the structure matcher matches them. It compares only pairs with
the same reduced formula, nearest in their average minimum distances first, until one
matches: most samples have no such pair, and of those that have a match nearly all find it
at the first comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.fingerprints import average_minimum_distances
from variolite.crystals.matching.pairs import (
    DEFAULT,
    ReducedCrystals,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
)
from variolite.crystals.matching.scores import in_parts
from variolite.training.workers import Outcome

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Log = Callable[[str], None]
Cells = Callable[[Integers], ReducedCrystals]
Candidates = tuple[Integers, Integers, Mask]
"""Places of sample and other crystal of each pair, (P,) each, by sample and then nearest first;
of which samples farther candidates than the nearest `CANDIDATES` were left out, (B,)."""

LIMIT = 30.0  # seconds that one part of the work may take
# Sum of squared numbers of atoms up to which work is done at once, without a time limit: starting
# processes would take longer.
SMALL = 50_000
CRYSTALS, PAIRS = 32, 256  # crystals made primitive, and pairs compared, in one part

# Largest difference of average minimum distances, in units of the free length per atom
# (V/n)^(1/3), at which crystals are compared. Among 472 matching pairs of equal formula in MP-20
# and MPTS-52 the largest was 0.36 (benchmarks/crystal_metrics.py).
FARTHEST = 0.5
# Nearest crystals of its formula that a sample is compared with. Among carbon structures, all of
# one formula, 64 found all but two hundredths of what 256 find.
CANDIDATES = 256
ROUNDS = (1, 16, CANDIDATES)  # nearest candidates compared by the end of each round


@dataclass(frozen=True)
class Matcher:
    """Matches in primitive cells as ``StructureMatcher.fit`` does at default tolerances.

    With ``workers`` processes a part of the work that takes longer than `LIMIT` is done again
    one by one; a single crystal or pair that still does is undecided. With 0 all work is done
    in this process, and nothing limits its time.
    """

    workers: int = 0
    log: Log = lambda _: None

    def prepare(self, crystals: Crystals) -> ReducedCrystals:
        """Return crystals in primitive cells; those without one are marked as not usable."""
        reduced = reduce_crystals(crystals)
        cells = [reduced.take(slice(0, 0))]
        work = crystals.counts**2
        made = self._in_parts(primitive_crystals, reduced.take, work, CRYSTALS, "primitive cells")
        for part, found in made:
            unusable = ReducedCrystals(crystals.take(part), np.zeros(len(part), dtype=bool))
            cells.append(found.value or unusable)
        return ReducedCrystals(
            Crystals.concatenate([cell.crystals for cell in cells]),
            np.concatenate([cell.usable for cell in cells]),
        )

    def compare(self, first: ReducedCrystals, second: ReducedCrystals) -> NDArray[np.int8]:
        """Compare pair by pair: 1 the same, 0 not, -1 undecided (not usable or out of time)."""
        same = np.full(len(first.usable), -1, dtype=np.int8)
        for part, found in self._in_parts(
            _fits,
            lambda part: (first.take(part), second.take(part)),
            first.crystals.counts * second.crystals.counts,
            PAIRS,
            "comparing structures",
        ):
            if found.status == "done":
                same[part] = found.value
        same[~(first.usable & second.usable)] = -1
        return same

    def _in_parts(
        self,
        function: Callable[[Any], Any],
        take: Callable[[Integers], Any],
        work: Integers,
        size: int,
        what: str,
    ) -> list[tuple[Integers, Outcome]]:
        how: dict[str, Any] = {"what": what, "limit": LIMIT, "log": self.log}
        workers = self.workers if work.sum() > SMALL else 0
        return in_parts(function, take, (len(work), size), workers=workers, **how)


def _fits(pairs: tuple[ReducedCrystals, ReducedCrystals]) -> NDArray[np.int8]:
    return match_reduced(*pairs, DEFAULT).fits.astype(np.int8)


def nearest_known(
    formulas: NDArray[np.str_],
    distances: Floats,
    known_formulas: NDArray[np.str_],
    known_distances: Floats,
    *,
    earlier: bool = False,
) -> Candidates:
    """Return pairs of a sample, of B, and a known crystal, of M, that it may be.

    By reduced formulas and by `in_free_lengths`, (B, k) and (M, k). With ``earlier`` the known
    crystals are the samples, and only those before a sample count.
    """
    # Known crystals sorted by formula: those of one formula are a run between two places.
    order = np.argsort(known_formulas, kind="stable")
    begins, ends = (
        np.searchsorted(known_formulas[order], formulas, side=side) for side in ("left", "right")
    )
    samples, others = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    left_out = np.zeros(len(formulas), dtype=bool)
    for sample in np.flatnonzero(ends > begins):
        found = order[begins[sample] : ends[sample]]
        if earlier:
            found = found[found < sample]
        apart = np.abs(known_distances[found] - distances[sample]).max(axis=1, initial=0.0)
        found, apart = found[apart <= FARTHEST], apart[apart <= FARTHEST]
        left_out[sample] = len(found) > CANDIDATES
        # Equal distances in the order of the crystals, so that the result is repeatable.
        others.append(found[np.argsort(apart, kind="stable")][:CANDIDATES])
        samples.append(np.full(len(others[-1]), sample))
    return np.concatenate(samples), np.concatenate(others), left_out


def in_free_lengths(crystals: Crystals) -> Floats:
    """Return average minimum distances over the free length per atom (V/n)^(1/3), (B, k).

    The matcher scales both cells to one volume, so the comparison must not see the scale.
    """
    free = (crystals.volumes / np.maximum(crystals.counts, 1)) ** (1.0 / 3.0)
    return np.asarray(average_minimum_distances(crystals) / free[:, None])


@dataclass(frozen=True)
class Duplicates:
    """A crystal that each of B samples repeats, or -1, (B,); samples with no match, but with a
    pair on which the matcher failed, (B,), or with candidates that were left out, (B,); number of
    pairs that were compared."""

    of: Integers
    undecided: Mask
    unsearched: Mask
    compared: int

    @property
    def none(self) -> Mask:
        """Samples that certainly repeat nothing, shape (B,)."""
        return np.asarray((self.of < 0) & ~self.undecided)


@dataclass(frozen=True)
class Novelty:
    """What each of B samples repeats, among the earlier samples and among the known crystals.

    Undecided ones count as neither unique nor novel, (B,).
    """

    earlier: Duplicates
    known: Duplicates

    @property
    def unique(self) -> Mask:
        return self.earlier.none

    @property
    def novel(self) -> Mask:
        return self.known.none

    def notes(self, which: str = "") -> list[str]:
        """Return what the shares rest on."""
        undecided = int((self.earlier.undecided | self.known.undecided).sum())
        notes = [
            f"{which}matching: {self.earlier.compared} pairs of samples and {self.known.compared} "
            f"pairs of sample and reference compared, {undecided} samples undecided (counted "
            "neither unique nor novel)"
        ]
        if cut := int((self.earlier.unsearched | self.known.unsearched).sum()):
            notes.append(
                f"{which}matching: {cut} samples without a match have more than {CANDIDATES} "
                "candidates of their formula, of which the nearest were compared"
            )
        return notes


def find_novelty(
    samples: Crystals, known: Crystals, matcher: Matcher, *, log: Log = lambda _: None
) -> Novelty:
    """Find the samples that repeat another sample or a known crystal; all are valid by distance."""
    formulas, known_formulas = reduced_formulas(samples), reduced_formulas(known)
    # Fingerprints only of known crystals that a sample can be.
    shared = np.flatnonzero(np.isin(known_formulas, formulas))
    overlap = known.take(shared)
    distances = in_free_lengths(samples)
    among = nearest_known(formulas, distances, formulas, distances, earlier=True)
    outside = nearest_known(formulas, distances, known_formulas[shared], in_free_lengths(overlap))

    def prepared(crystals: Crystals, *places: Integers) -> Cells:
        # Cells only of those that may be compared, found again by their place.
        needed = np.unique(np.concatenate(places))
        cells = matcher.prepare(crystals.take(needed))
        return lambda wanted: cells.take(np.searchsorted(needed, wanted))

    def duplicates(candidates: Candidates, other: Cells) -> Duplicates:
        # Nearest first, until each sample has a match or none.
        of = np.full(len(samples), -1, dtype=np.int64)
        failed = np.zeros(len(samples), dtype=bool)
        mine, others, left_out = candidates
        # Place of each pair among the candidates of its sample.
        rank = np.arange(len(mine)) - np.searchsorted(mine, np.arange(len(samples)))[mine]
        compared, begin = 0, 0
        # The nearest crystal is mostly the match, so the first round is about it alone.
        for end in ROUNDS:
            now = np.flatnonzero((rank >= begin) & (rank < end) & (of[mine] < 0))
            begin = end
            if not len(now):
                continue
            log(f"matching {len(now)} pairs")
            same = matcher.compare(own(mine[now]), other(others[now]))
            compared += len(now)
            failed[mine[now[same < 0]]] = True
            # Backwards, so that the nearest of several matches stays.
            matching = now[same == 1][::-1]
            of[mine[matching]] = others[matching]
        return Duplicates(of, failed & (of < 0), left_out & (of < 0), compared)

    log("primitive cells")
    own = prepared(samples, among[0], among[1], outside[0])
    earlier = duplicates(among, own)
    found = duplicates(outside, prepared(overlap, outside[1]))
    # Places among those of a shared formula, as places among all known ones.
    of = np.append(shared, -1)[found.of]
    return Novelty(earlier, replace(found, of=of))
