"""What is asked of a pretrained interatomic potential; calculators of ASE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_ase

if TYPE_CHECKING:
    from ase import Atoms


# What the library asks of a pretrained interatomic potential, and what it gets.


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


# Any calculator of ASE as a potential: MACE, SevenNet, MatterSim and others.
#
# Such packages bring no weights, and their model files are pickles, which run code when they
# are loaded. Loading one is therefore left to the caller, who knows where it comes from::
#
#     calculator = MACECalculator(model_paths="mace.model", device="cpu")
#     potential = AsePotential(
#         calculator,
#         name="mace",
#         version="medium",
#         width=256,
#         features=lambda atoms: calculator.get_descriptors(atoms, invariants_only=True),
#     )
#     foundation_features(crystals, potential)


class AsePotential(Potential):
    """A calculator of ASE, one crystal after another.

    Parameters
    ----------
    calculator
        Gives energies, and forces and stresses where they are asked for.
    name, version
        What features are stored under; two models must not share both.
    width
        Features per atom; 0 for none.
    features
        Gives the features of the atoms of one structure, shape (n, width).
    """

    def __init__(
        self,
        calculator: Any,
        *,
        name: str,
        version: str,
        width: int = 0,
        features: Callable[[Atoms], NDArray[Any]] | None = None,
    ) -> None:
        self.calculator = calculator
        self.name = name
        self.version = version
        self.width = width
        self._features = features

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and features; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        features = np.full((len(crystals.species), self.width), np.nan, dtype=np.float32)

        def ask(place: int, span: slice, atoms: Any) -> None:
            found = features[span]
            if self._features is not None:
                found = np.asarray(self._features(atoms), dtype=np.float32)
            energies[place] = atoms.get_potential_energy() / len(atoms)
            features[span] = found

        return Prediction(energies, features, self._each(crystals, ask))

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.species), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)

        def ask(place: int, span: slice, atoms: Any) -> None:
            found = atoms.get_forces(), atoms.get_stress(voigt=False)
            energies[place] = atoms.get_potential_energy() / len(atoms)
            forces[span], stresses[place] = found

        return Forces(energies, forces, stresses, self._each(crystals, ask))

    def _each(self, crystals: Crystals, ask: Callable[[int, slice, Any], None]) -> NDArray[np.str_]:
        """Ask about every crystal; return why it failed, or an empty text."""
        reasons = np.full(len(crystals), "", dtype=REASON)
        for place, crystal in enumerate(crystals):
            atoms = to_ase(crystal)
            atoms.calc = self.calculator
            span = slice(int(crystals.offsets[place]), int(crystals.offsets[place + 1]))
            try:
                ask(place, span, atoms)
            except (
                Exception
            ) as error:  # a calculator may raise anything, and one crystal is no loss
                reasons[place] = f"{type(error).__name__}: {error}"
        return reasons
