"""The potential in the form that scoring asks for: functions of crystals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.foundation.cache import foundation_features
from variolite.crystals.foundation.relaxation import RelaxationLimits, relax
from variolite.crystals.foundation.responses import Potential
from variolite.crystals.foundation.workers import Source, silent
from variolite.crystals.structures import Crystals

__all__ = ["energy_function", "relaxation_function"]


def energy_function(
    source: Source | Potential = Source(),
    *,
    folder: Path | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = silent,
) -> Callable[[Crystals], NDArray[np.float64]]:
    """Return a function from B crystals to eV per atom, NaN where there is none, shape (B,).

    The parameters are those of `foundation_features`. The zero of the energies is that of the
    potential; formation energies need references of the elements in the same potential.
    """

    def energies(crystals: Crystals) -> NDArray[np.float64]:
        found = foundation_features(crystals, source, folder=folder, workers=workers, tell=tell)
        return found.energies

    return energies


def relaxation_function(
    source: Source | Potential = Source(),
    *,
    limits: RelaxationLimits = RelaxationLimits(),
    workers: int = 1,
    tell: Callable[[str], None] = silent,
) -> Callable[[Crystals], Crystals]:
    """Return a function from crystals to relaxed crystals in the same order.

    The parameters are those of `relax`. A crystal that has not converged is returned as far
    as it came.
    """

    def relaxed(crystals: Crystals) -> Crystals:
        return relax(crystals, source, limits=limits, workers=workers, tell=tell).crystals

    return relaxed
