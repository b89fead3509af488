"""Score reconstructed crystals against the true ones.

Nothing is filtered out before it is scored: a structure that a validity test would refuse
counts like any other, and a pair that fails or runs out of time is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.frame.distances import shortest_distances
from variolite.crystals.matching.pair_scores import (
    LIMIT,
    SETTINGS,
    SYMPRECS,
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
from variolite.crystals.matching.reconstruction_scores import ReconstructionScores
from variolite.crystals.structures import Crystals, cell_parameters, reduced_formulas
from variolite.errors import DataError

__all__ = ["score_reconstruction"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


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
        shortest=shortest_distances(reconstructed),
        unusable=~ours.usable,
    )


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
