"""The structure matcher as novelty asks it: primitive cells, default tolerances, time limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pairs import ReducedCrystals, match_reduced, reduce_crystals
from variolite.crystals.matching.pool import Progress, run_in_workers
from variolite.crystals.matching.primitive import primitive_crystals
from variolite.crystals.matching.tolerances import DEFAULT, Tolerance
from variolite.crystals.structures.crystals import Crystals

__all__ = ["LIMIT", "Matcher", "SameStructure"]

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
        outcomes = run_in_workers(
            function,
            parts,
            workers=self.workers,
            limit=self.limit,
            told=lambda place: progress.add(len(parts[place])),
        )
        results: list[tuple[Part, Result | None]] = []
        for part, outcome in zip(parts, outcomes, strict=True):
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
