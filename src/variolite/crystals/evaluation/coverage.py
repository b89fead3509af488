"""Coverage: how many real crystals lie near a sample, and how many samples near a real crystal.

After T. Xie et al., ICLR 2022, appendix B (COV-R and COV-P). There, distances are those of
CrystalNN and Magpie fingerprints with fixed cut-offs; here they are those of the average
minimum distance and of the composition on a line of elements, with cut-offs taken from
how near held-out crystals are to training crystals. The numbers cannot be compared with
published ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation.fingerprints import (
    average_minimum_distances,
    composition_distance,
    composition_fingerprints,
)
from variolite.crystals.structures.crystals import Crystals
from variolite.errors import DataError

__all__ = ["Coverage", "CutOffs", "Fingerprints", "calibrate", "coverage", "fingerprints_of"]

Floats = NDArray[np.float64]

QUANTILE = 0.9
"""Share of the held-out crystals that each cut-off is to reach from the training crystals."""

MOST = 1000
"""Held-out crystals that cut-offs are taken from."""

CHUNK = 5_000_000
"""Distances held at once."""


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of B crystals.

    Attributes
    ----------
    structure
        Average minimum distances in Angstrom, shape (B, k).
    composition
        Cumulative shares of the elements, shape (B, 118).
    """

    structure: Floats
    composition: Floats

    def __len__(self) -> int:
        return len(self.structure)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Fingerprints:
        """Choose crystals by place or by mask."""
        return Fingerprints(self.structure[index], self.composition[index])


@dataclass(frozen=True)
class CutOffs:
    """Distances below which two crystals count as near.

    Attributes
    ----------
    structure
        Largest difference between average minimum distances, in Angstrom.
    composition
        Work between compositions, in places on the line of elements.
    """

    structure: float
    composition: float


@dataclass(frozen=True)
class Coverage:
    """Who is near whom.

    Attributes
    ----------
    recalled
        Whether each real crystal has a sample near it.
    precise
        Whether each sample has a real crystal near it.
    """

    recalled: NDArray[np.bool_]
    precise: NDArray[np.bool_]


def fingerprints_of(crystals: Crystals) -> Fingerprints:
    """Return the fingerprints of crystals that are valid by distance."""
    return Fingerprints(average_minimum_distances(crystals), composition_fingerprints(crystals))


def coverage(samples: Fingerprints, real: Fingerprints, cutoffs: CutOffs) -> Coverage:
    """Find the samples near real crystals, in composition and in structure at once."""
    recalled = np.zeros(len(real), dtype=bool)
    precise = np.zeros(len(samples), dtype=bool)
    for sample, other in _near_in_composition(samples, real, cutoffs.composition):
        apart = _structure_distance(samples, real, sample, other)
        near = apart <= cutoffs.structure
        precise[sample[near]] = True
        recalled[other[near]] = True
    return Coverage(recalled, precise)


def calibrate(
    held_out: Fingerprints, training: Fingerprints, *, quantile: float = QUANTILE, seed: int = 0
) -> CutOffs:
    """Take cut-offs from the distances of held-out crystals to the nearest training crystals.

    The cut-off of composition is the quantile of the distance to the nearest composition;
    that of structure the same quantile of the distance to the nearest structure among the
    training crystals within the first cut-off.

    Parameters
    ----------
    held_out, training
        Fingerprints; at most 1,000 held-out crystals, drawn at random, are used.
    quantile
        The quantile.
    seed
        Seed of the draw.

    Raises
    ------
    DataError
        If one of the sets is empty.
    """
    if not len(held_out) or not len(training):
        raise DataError("there are no crystals to take cut-offs from", where="coverage")
    drawn = np.random.default_rng(seed).permutation(len(held_out))[:MOST]
    some = held_out.take(drawn)
    nearest = np.full(len(some), np.inf)
    for rows, distances in _composition_distances(some, training):
        nearest[rows] = distances.min(axis=1)
    composition = float(np.quantile(nearest, quantile, method="higher"))
    closest = np.full(len(some), np.inf)
    for mine, other in _near_in_composition(some, training, composition):
        np.minimum.at(closest, mine, _structure_distance(some, training, mine, other))
    reached = closest[np.isfinite(closest)]
    return CutOffs(float(np.quantile(reached, quantile, method="higher")), composition)


def _composition_distances(
    first: Fingerprints, second: Fingerprints
) -> Iterator[tuple[slice, Floats]]:
    step = max(1, CHUNK // max(len(second), 1))
    for start in range(0, len(first), step):
        rows = slice(start, start + step)
        yield rows, composition_distance(first.composition[rows], second.composition)


def _near_in_composition(
    first: Fingerprints, second: Fingerprints, cutoff: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (i, j) whose compositions are within the cut-off, in parts."""
    for rows, distances in _composition_distances(first, second):
        # Sums of shares are rounded: equal compositions must stay within a cut-off of 0.
        mine, other = np.nonzero(distances <= cutoff + 1e-9)
        yield mine + rows.start, other


def _structure_distance(
    first: Fingerprints, second: Fingerprints, mine: NDArray[np.int64], other: NDArray[np.int64]
) -> Floats:
    distances = np.empty(len(mine))
    step = max(1, CHUNK // max(first.structure.shape[1], 1))
    for start in range(0, len(mine), step):
        part = slice(start, start + step)
        apart = first.structure[mine[part]] - second.structure[other[part]]
        distances[part] = np.abs(apart).max(axis=1)
    return distances
