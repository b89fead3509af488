"""Matching of many pairs under several settings, with their space groups, in worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
        What matching finds, by setting. Pairs that failed do not match.
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
    log: Callable[[str], None] = lambda _: None,
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
    log
        Takes lines about progress.

    Raises
    ------
    DataError
        If the sets differ in length, or a library that is needed is not installed.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} structures do not make pairs")
    if any(setting.primitive for setting in settings):
        import_extra("pymatgen")
    if symprecs:
        import_extra("spglib")
    # Properties need not travel to the workers.
    ours, theirs = (replace(crystals, properties={}) for crystals in (first, second))

    def run(parts: Sequence[Integers], what: str) -> list[tuple[Integers, Outcome]]:
        tasks = [
            _Task(ours.take(part), theirs.take(part), tuple(settings), tuple(symprecs))
            for part in parts
        ]
        if workers == 0:
            return [(p, Outcome("done", _score(t))) for p, t in zip(parts, tasks, strict=True)]
        progress = Progress(what, sum(map(len, parts)), log)
        found = outcomes(
            _score,
            tasks,
            workers=min(workers or os.cpu_count() or 1, max(1, len(tasks))),
            limit=limit,
            done=lambda place: progress.add(len(parts[place])),
        )
        return list(zip(parts, found, strict=True))

    count = len(first)
    starts = range(0, count, _PAIRS_PER_TASK)
    found = run([np.arange(s, min(s + _PAIRS_PER_TASK, count)) for s in starts], "matching")
    # One bad pair ends its whole part: there, each pair is tried by itself.
    failed = [part for part, outcome in found if outcome.value is None]
    if failed:
        found += run(list(np.concatenate(failed)[:, None]), "matching pair by pair")
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


@dataclass(frozen=True)
class _Task:
    first: Crystals
    second: Crystals
    settings: tuple[Setting, ...]
    symprecs: tuple[float, ...]


def _score(task: _Task) -> tuple[Floats, Mask, Floats]:
    """RMS [S, B], fits [S, B] and same space groups [P, B] of some pairs."""
    cells = {False: (reduce_crystals(task.first), reduce_crystals(task.second))}
    if any(setting.primitive for setting in task.settings):
        cells[True] = (primitive_crystals(cells[False][0]), primitive_crystals(cells[False][1]))
    matches = [match_reduced(*cells[s.primitive], s.tolerance) for s in task.settings]
    shape = (len(matches), len(task.first))
    rms = np.array([m.rms for m in matches]).reshape(shape)
    fits = np.array([m.fits for m in matches], dtype=bool).reshape(shape)
    same = np.full((len(task.symprecs), len(task.first)), np.nan)
    for row, symprec in enumerate(task.symprecs):
        truth = _space_groups(task.second, cells[False][1].usable, symprec)
        found = _space_groups(task.first, cells[False][0].usable, symprec)
        same[row] = np.where(truth > 0, truth == found, np.nan)
    return rms, fits, same


def _space_groups(crystals: Crystals, usable: Mask, symprec: float) -> Integers:
    """Numbers of the space groups by spglib, 0 where it finds none, shape (B,)."""
    numbers = np.zeros(len(crystals), dtype=np.int64)
    numbers[usable] = space_groups(crystals.take(usable), symprec=symprec)[0]
    return numbers
