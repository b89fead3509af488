"""Everything about a pair of structures that needs matching or symmetry, in worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pairs import Matches, match_reduced, reduce_crystals
from variolite.crystals.matching.pool import Progress, run_in_workers
from variolite.crystals.matching.primitive import primitive_crystals
from variolite.crystals.matching.tolerances import CDVAE, DEFAULT, STRICT, Tolerance
from variolite.crystals.structures import Crystals
from variolite.crystals.structures.prototypes import space_groups
from variolite.errors import DataError

__all__ = ["LIMIT", "SETTINGS", "SYMPRECS", "PairScores", "Setting", "score_pairs"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LIMIT = 20.0
"""Seconds that one pair may take."""

SYMPRECS = (0.01, 0.1)
"""Tolerances of spglib in Angstrom."""

_CHUNK = 32


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
            raise DataError(f"{library} is not installed", mend="pip install 'variolite[crystals]'")
    bare = (_without_properties(first), _without_properties(second))
    spans = [(i, min(i + _CHUNK, len(first))) for i in range(0, len(first), _CHUNK)]
    status = np.full(len(first), "done", dtype="<U9")
    progress = Progress("matching", len(first), tell)
    if workers == 0:
        parts = [_score_span(_task(bare, span, settings, symprecs)) for span in spans]
        return _joined(spans, parts, status, settings, symprecs)
    crew = min(workers or os.cpu_count() or 1, max(1, len(spans)))

    def run(wanted: Sequence[tuple[int, int]]) -> list[tuple[str, _Arrays | None]]:
        outcomes = run_in_workers(
            _score_span,
            [_task(bare, span, settings, symprecs) for span in wanted],
            workers=crew,
            limit=limit,
            told=lambda place: progress.add(wanted[place][1] - wanted[place][0]),
        )
        return [(outcome.status, outcome.value) for outcome in outcomes]

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
