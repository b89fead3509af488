"""Matching of many pairs under several settings, with their space groups, in worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import import_extra
from variolite.crystals.files.groups import space_groups
from variolite.crystals.matching.pairs import (
    CDVAE,
    DEFAULT,
    STRICT,
    Matches,
    Tolerance,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
)
from variolite.errors import DataError
from variolite.training.workers import Outcome, Progress, outcomes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LIMIT = 20.0
_PAIRS_PER_TASK = 32

SYMPRECS = (0.01, 0.1)
"""Tolerances of spglib in angstrom."""


@dataclass(frozen=True)
class Setting:
    """A tolerance, and whether cells are made primitive before they are compared."""

    tolerance: Tolerance
    primitive: bool = False

    @property
    def name(self) -> str:
        """Name in metrics, e.g. ``cdvae_unreduced``."""
        return f"{self.tolerance.name}_{'primitive' if self.primitive else 'unreduced'}"


SETTINGS = (*map(Setting, (CDVAE, DEFAULT, STRICT)), Setting(CDVAE, True), Setting(DEFAULT, True))
"""Settings of a scored reconstruction; those with primitive cells are the ones of papers."""


@dataclass(frozen=True)
class PairScores:
    """Scores of B pairs, of which those that failed do not match.

    Whether the space group is the same, by tolerance in angstrom, is 1 or 0, NaN where spglib
    finds none for the second structure. Crashed is where an error was raised or a process died.
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
    limit: float = _LIMIT,
    log: Callable[[str], None] = lambda _: None,
) -> PairScores:
    """Match pairs of structures under several settings, each pair within ``limit`` seconds.

    For a reconstruction, the reconstructed are the first and the true ones the second. Space
    groups are compared at ``symprecs``. There are as many worker processes as cores by default,
    and no more than there is work for; 0 does the work in this process, without time limits.
    Raises a DataError if the sets differ in length, or a library that is needed is not installed.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} structures do not make pairs")
    if any(setting.primitive for setting in settings):
        import_extra("pymatgen")
    if symprecs:
        import_extra("spglib")
    # Properties need not travel to the workers.
    ours, theirs = (replace(crystals, properties={}) for crystals in (first, second))
    count = len(first)
    found = in_parts(
        partial(_score, settings=tuple(settings), symprecs=tuple(symprecs)),
        lambda part: (ours.take(part), theirs.take(part)),
        (count, _PAIRS_PER_TASK),
        what="matching",
        workers=(os.cpu_count() or 1) if workers is None else workers,
        limit=limit,
        log=log,
    )
    rms = np.full((len(settings), count), np.nan)
    fits = np.zeros((len(settings), count), dtype=bool)
    same = np.zeros((len(symprecs), count))
    status = np.full(count, "done", dtype="<U9")
    for part, outcome in found:
        status[part] = outcome.status
        if outcome.value is not None:
            rms[:, part], fits[:, part], same[:, part] = outcome.value
    return PairScores(
        matches={s: Matches(rms[i], fits[i]) for i, s in enumerate(settings)},
        same_space_group={s: same[i] for i, s in enumerate(symprecs)},
        timed_out=status == "timed out",
        crashed=status == "crashed",
    )


def in_parts(
    function: Callable[[Any], Any],
    take: Callable[[Integers], Any],
    sizes: tuple[int, int],
    *,
    what: str,
    workers: int,
    limit: float,
    log: Callable[[str], None],
) -> list[tuple[Integers, Outcome]]:
    """Apply a function to parts of many items in worker processes, a part within ``limit`` seconds.

    ``take`` gives what some places hold; ``sizes`` are how many items there are, and in a part.
    The items of a part that fails are tried one by one. Returns the places of every part, in
    order, with its outcome. With 0 workers this process does the work, without time limits.
    """

    def run(parts: Sequence[Integers], what: str) -> list[tuple[Integers, Outcome]]:
        tasks = [take(part) for part in parts]
        if workers == 0:
            found = [Outcome("done", function(task)) for task in tasks]
        else:
            progress = Progress(what, sum(map(len, parts)), log)
            found = outcomes(
                function,
                tasks,
                workers=min(workers, max(1, len(tasks))),
                limit=limit,
                done=lambda place: progress.add(len(parts[place])),
            )
        return list(zip(parts, found, strict=True))

    count, size = sizes
    starts = range(0, count, size)
    found = run([np.arange(start, min(start + size, count)) for start in starts], what)
    # One bad item ends its whole part.
    failed = [part for part, outcome in found if outcome.status != "done"]
    if failed:
        again = run(list(np.concatenate(failed)[:, None]), f"{what} one by one")
        found = [one for one in found if one[1].status == "done"] + again
    return sorted(found, key=lambda one: int(one[0][0]))


def _score(
    pair: tuple[Crystals, Crystals], settings: Sequence[Setting], symprecs: Sequence[float]
) -> tuple[Floats, Mask, Floats]:
    """Return rms (S, B), fits (S, B) and same space groups (P, B) of some pairs."""
    first, second = reduced = (reduce_crystals(pair[0]), reduce_crystals(pair[1]))
    cells = {False: reduced}
    if any(setting.primitive for setting in settings):
        cells[True] = (primitive_crystals(first), primitive_crystals(second))
    matches = [match_reduced(*cells[s.primitive], s.tolerance) for s in settings]
    shape = (len(matches), len(pair[0]))
    rms = np.array([m.rms for m in matches]).reshape(shape)
    fits = np.array([m.fits for m in matches], dtype=bool).reshape(shape)
    same = np.full((len(symprecs), len(pair[0])), np.nan)
    for row, symprec in enumerate(symprecs):
        found, truth = (
            _space_groups(crystals, reduced.usable, symprec)
            for crystals, reduced in zip(pair, (first, second), strict=True)
        )
        same[row] = np.where(truth > 0, truth == found, np.nan)
    return rms, fits, same


def _space_groups(crystals: Crystals, usable: Mask, symprec: float) -> Integers:
    """Return numbers of the space groups by spglib, 0 where it finds none, shape (B,)."""
    numbers = np.zeros(len(crystals), dtype=np.int64)
    numbers[usable] = space_groups(crystals.take(usable), symprec=symprec)[0]
    return numbers
