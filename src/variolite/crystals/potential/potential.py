"""What is asked of a pretrained interatomic potential, and how one is loaded and set to work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_ase
from variolite.errors import DataError, nearest
from variolite.training.workers import WorkerDiedError, Workers

if TYPE_CHECKING:
    import torch
    from ase import Atoms

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


class AsePotential(Potential):
    """A calculator of ASE, one crystal after another: MACE, SevenNet, MatterSim and others.

    Such packages bring no weights, and their model files are pickles, which run code when
    they are loaded. Loading one is therefore left to the caller, who knows where it comes
    from::

        calculator = MACECalculator(model_paths="mace.model", device="cpu")
        potential = AsePotential(
            calculator,
            name="mace",
            version="medium",
            width=256,
            features=lambda atoms: calculator.get_descriptors(atoms, invariants_only=True),
        )
        foundation_features(crystals, potential)

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
            except Exception as error:  # A calculator may raise anything; only this crystal fails.
                reasons[place] = f"{type(error).__name__}: {error}"
        return reasons


POTENTIALS = ("chgnet",)
"""Names of the potentials whose weights come with their package."""


def load_potential(name: str = "chgnet", *, device: torch.device | str = "cpu") -> Potential:
    """Load a pretrained potential whose weights come with its package; nothing is downloaded.

    Parameters
    ----------
    name
        One of `POTENTIALS`.
    device
        Where to run.

    Raises
    ------
    DataError
        If the name is unknown or its package is missing.
    """
    if name not in POTENTIALS:
        close = nearest(name, POTENTIALS)
        raise DataError(
            f"there is no potential {name!r}",
            hint=f"did you mean {close}?"
            if close
            else f"choose from {', '.join(POTENTIALS)}, or wrap a calculator in AsePotential",
        )
    from variolite.crystals.potential.chgnet import ChgnetPotential

    return ChgnetPotential(device)


@dataclass(frozen=True)
class Source:
    """Which potential to load, see `load_potential`; worker processes use the CPU."""

    name: str = "chgnet"
    device: str = "cpu"

    def load(self) -> Potential:
        """Load it."""
        return load_potential(self.name, device=self.device)


Part = TypeVar("Part")
Result = TypeVar("Result")
Work = Callable[[Potential, Part], Result]

_LOADED: list[Potential] = []
"""The potential of this worker process, loaded once for all its tasks."""


def _load(name: str) -> None:
    _LOADED.append(load_potential(name))


def _perform(work: Work[Part, Result], part: Part) -> Result:
    return work(_LOADED[0], part)


def computed_parts(
    work: Work[Part, Result],
    parts: Sequence[Part],
    potential: Potential,
    source: Source | Potential,
    workers: int,
) -> Generator[tuple[int, Result], None, None]:
    """Apply work to parts and yield each result with its place as soon as it is there.

    Parameters
    ----------
    work
        A function of a module, so that a worker process can find it.
    parts
        What it takes beside the potential.
    potential
        What ``source`` loads, for work in this process.
    source
        Loaded once by each worker process; a potential itself works in this process only.
    workers
        Processes; 1 works in this one.

    Raises
    ------
    DataError
        If a worker process dies, or a potential that is no `Source` should work in several.
    """
    if min(workers, len(parts)) <= 1:
        for place, part in enumerate(parts):
            yield place, work(potential, part)
        return
    if not isinstance(source, Source):
        raise DataError(
            "a potential given as an object works in one process",
            where="workers",
            hint="Leave them at 1",
        )
    # Leaving the block early, by an error or an interruption, kills the processes.
    with Workers(workers, initializer=_load, initargs=(source.name,)) as pool:
        places = {pool.submit(_perform, work, part): place for place, part in enumerate(parts)}
        for future in as_completed(places):
            try:
                result = future.result()
            except WorkerDiedError as error:
                raise DataError(
                    f"a worker process ended before its work was done: {error}",
                    where="workers",
                    hint="It may have run out of memory: use fewer workers",
                ) from None
            yield places[future], result
