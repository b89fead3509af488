"""Score reconstructed crystals against the true ones.

Nothing is filtered out before it is scored: a structure that a validity test would refuse
counts like any other, and a pair that fails or runs out of time is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pair_scores import (
    LIMIT,
    SETTINGS,
    SYMPRECS,
    PairScores,
    Setting,
    score_pairs,
)
from variolite.crystals.matching.pairs import reduce_crystals
from variolite.crystals.matching.periodic import (
    PeriodicErrors,
    assigned_periodic_errors,
    periodic_errors,
)
from variolite.crystals.matching.prefilter import same_composition
from variolite.crystals.structures import Crystals, cell_parameters, reduced_formulas
from variolite.errors import DataError
from variolite.scoring import Bootstrap, ScoreRow

__all__ = ["ReconstructionScores", "score_reconstruction"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

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

    def rows(
        self,
        *,
        method: str,
        split: str,
        seeds: Sequence[ReconstructionScores] = (),
        bootstrap: Bootstrap | None = None,
    ) -> list[ScoreRow]:
        """Rows of the scorecard, with intervals over formulas (and seeds).

        Parameters
        ----------
        method
            What reconstructed, e.g. "vae".
        split
            Name of the scored part.
        seeds
            Scores of the same crystals by the same method with other seeds.
        bootstrap
            How to resample.
        """
        from variolite.crystals.matching.reconstruction_rows import reconstruction_rows

        return reconstruction_rows((self, *seeds), method=method, split=split, bootstrap=bootstrap)

    def notes(self) -> list[str]:
        """What the metrics mean, one line each that begins with the metric, and failures."""
        from variolite.crystals.matching.reconstruction_rows import reconstruction_notes

        return reconstruction_notes(self)


def score_reconstruction(
    true: Crystals,
    reconstructed: Crystals,
    *,
    given: tuple[str, ...] = (),
    correspondence: bool = True,
    settings: Sequence[Setting] = SETTINGS,
    symprecs: Sequence[float] = SYMPRECS,
    workers: int | None = None,
    limit: float = LIMIT,
    tell: Callable[[str], None] = lambda _: None,
) -> ReconstructionScores:
    """Score reconstructions.

    Parameters
    ----------
    true, reconstructed
        Sets of B crystals in the same order.
    given
        What the decoder was told besides the latents: names that go into the metrics.
    correspondence
        Whether atoms correspond by their place in the list and cells are in the same
        setting. If not, atoms are assigned inside each element, and cells are compared in
        their reduced setting.
    settings
        What to match by.
    symprecs
        Tolerances in Angstrom at which space groups are compared.
    workers
        Worker processes for matching; 0 does the work in this process without time limits.
    limit
        Seconds that the matching of one crystal may take.
    tell
        Takes lines about progress.

    Raises
    ------
    DataError
        If the sets are empty or do not fit each other, or pymatgen or spglib is missing.
    """
    if not len(true):
        raise DataError("there is no crystal to score", where="reconstruction")
    if len(true) != len(reconstructed):
        raise DataError(
            f"{len(reconstructed)} crystals were reconstructed from {len(true)}",
            where="reconstruction",
        )
    ours, theirs = reduce_crystals(reconstructed), reduce_crystals(true)
    if not theirs.usable.all():
        name = true.names[int(np.flatnonzero(~theirs.usable)[0])]
        raise DataError("a true crystal has no cell or no finite coordinates", where=str(name))
    if correspondence:
        errors = periodic_errors(true, reconstructed)
        cells = (reconstructed.lattices, true.lattices)
    else:
        errors = assigned_periodic_errors(true, reconstructed)
        cells = (ours.crystals.lattices, theirs.crystals.lattices)
    pairs = score_pairs(
        reconstructed,
        true,
        settings=settings,
        symprecs=symprecs,
        workers=workers,
        limit=limit,
        tell=tell,
    )
    length, angle, volume = _cell_errors(*cells, ours.usable)
    # Where there is no crystal, nothing of it is right, whatever the arrays hold.
    lost = np.repeat(~ours.usable, true.counts)
    errors = PeriodicErrors(np.where(lost, np.nan, errors.distances), errors.offsets)
    same = same_composition(reconstructed, true) & ours.usable
    types = _type_accuracy(reconstructed, true, correspondence) * ours.usable
    return ReconstructionScores(
        names=true.names,
        formulas=reduced_formulas(true),
        given=given,
        pairs=pairs,
        errors=errors,
        type_accuracy=types,
        same_composition=same,
        length_error=length,
        angle_error=angle,
        volume_error=volume,
        shortest=_shortest(reconstructed),
        unusable=~ours.usable,
    )


def _shortest(crystals: Crystals) -> Floats:
    # Imported late: the room of evaluation builds on this one.
    from variolite.crystals.evaluation.validity import shortest_distances

    return shortest_distances(crystals)


def _cell_errors(found: Floats, true: Floats, usable: Mask) -> tuple[Floats, Floats, Floats]:
    with np.errstate(all="ignore"):
        ours, theirs = cell_parameters(found), cell_parameters(true)
        length = 100.0 * np.abs(ours[:, :3] / theirs[:, :3] - 1.0).mean(axis=1)
        angle = np.abs(ours[:, 3:] - theirs[:, 3:]).mean(axis=1)
        ratio = np.abs(np.linalg.det(found)) / np.abs(np.linalg.det(true))
    volume = 100.0 * np.abs(ratio - 1.0)
    parts = (np.where(usable, part, np.nan) for part in (length, angle, volume))
    length, angle, volume = parts
    return length, angle, volume


def _type_accuracy(found: Crystals, true: Crystals, correspondence: bool) -> Floats:
    """Share of the true atoms whose element is right: at their place, or as far as counted."""
    if correspondence:
        right = np.bincount(true.owner, found.species == true.species, len(true))
    else:
        from variolite.crystals.structures import compositions

        right = np.minimum(compositions(found), compositions(true)).sum(axis=1).astype(np.float64)
    accuracy: Floats = right / true.counts
    return accuracy
