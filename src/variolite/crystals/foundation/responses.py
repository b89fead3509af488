"""What the library asks of a pretrained interatomic potential, and what it gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures import Crystals

__all__ = ["REASON", "Forces", "Potential", "Prediction"]

REASON = "<U64"
"""Type of the reasons why a crystal has no values."""


@dataclass(frozen=True)
class Prediction:
    """Energies and features of B crystals with N atoms in all.

    A crystal that the potential cannot treat has NaN throughout and a reason.

    Attributes
    ----------
    energies
        eV per atom, float64, shape (B,).
    features
        Of every atom, unchanged by rotation, origin and choice of cell, float32, (N, F).
    reasons
        Why there is no value; empty where there is one, shape (B,).
    """

    energies: NDArray[np.float64]
    features: NDArray[np.float32]
    reasons: NDArray[np.str_]

    @property
    def failures(self) -> dict[str, int]:
        """How many crystals have no values, by reason."""
        return dict(Counter(str(reason) for reason in self.reasons if reason))


@dataclass(frozen=True)
class Forces:
    """Energies and their derivatives; NaN and a reason as in `Prediction`.

    Attributes
    ----------
    energies
        eV per atom, float64, shape (B,).
    forces
        eV per Angstrom, float64, shape (N, 3).
    stresses
        Derivative of the energy by strain over the volume, eV per cubic Angstrom, positive
        where the crystal would shrink, float64, shape (B, 3, 3).
    reasons
        Shape (B,).
    """

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    stresses: NDArray[np.float64]
    reasons: NDArray[np.str_]


class Potential(Protocol):
    """A pretrained interatomic potential.

    Attributes
    ----------
    name, version
        What its features are stored under.
    width
        Features per atom, F.
    """

    name: str
    version: str
    width: int

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and features in one pass."""
        ...

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses."""
        ...

    def features(self, crystals: Crystals) -> NDArray[np.float32]:
        """Return the features of every atom, NaN where there are none, shape (N, F)."""
        return self.predict(crystals).features

    def energies(self, crystals: Crystals) -> NDArray[np.float64]:
        """Return eV per atom, NaN where there is none, shape (B,)."""
        return self.predict(crystals).energies
