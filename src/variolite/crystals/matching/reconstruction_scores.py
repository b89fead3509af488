"""What is known of reconstructed crystals, crystal by crystal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pair_scores import PairScores, Setting
from variolite.crystals.matching.periodic import PeriodicErrors

__all__ = ["SHORTEST", "ReconstructionScores"]

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
