"""What is asked of a pretrained interatomic potential, and how one is loaded and set to work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_ase
from variolite.errors import DataError, nearest
from variolite.training.workers import WorkerDiedError, Workers

if TYPE_CHECKING:
    import torch
    from ase import Atoms

Floats = NDArray[np.float64]

REASON = "<U64"
"""Type of the reasons why a crystal has no values."""


class Prediction(NamedTuple):
    """Energies in eV per atom (B,), features of every atom (N, F), and why there are none (B,).

    Features do not change with rotation, origin and choice of cell. A crystal that the potential
    cannot treat has NaN throughout and a reason, others an empty one.
    """

    energies: Floats
    features: NDArray[np.float32]
    reasons: NDArray[np.str_]


class Forces(NamedTuple):
    """Energies as in `Prediction` and their derivatives.

    Forces in eV per Angstrom (N, 3); stresses, the derivative of the energy by strain over the
    volume, in eV per cubic Angstrom, positive where the crystal would shrink, (B, 3, 3).
    """

    energies: Floats
    forces: Floats
    stresses: Floats
    reasons: NDArray[np.str_]


class Potential(Protocol):
    """A pretrained potential; ``width`` features per atom are stored under name and version."""

    name: str
    version: str
    width: int

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and features in one pass."""

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses."""


@dataclass
class AsePotential:
    """A calculator of ASE, one crystal after another: MACE, SevenNet, MatterSim and others.

    Such packages bring no weights, and their model files are pickles, which run code when they are
    loaded. Loading one is therefore left to the caller, who knows where it comes from::

        calculator = MACECalculator(model_paths="mace.model", device="cpu")
        potential = AsePotential(
            calculator,
            name="mace",
            version="medium",
            width=256,
            features=lambda atoms: calculator.get_descriptors(atoms, invariants_only=True),
        )
        foundation_features(crystals, potential)

    No two models may share name and version; ``features`` gives those of the atoms of one
    structure, (n, width), and may be left out with a width of 0.
    """

    calculator: Any
    _: KW_ONLY
    name: str
    version: str
    width: int = 0
    features: Callable[[Atoms], NDArray[Any]] | None = None

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and features; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        features = np.full((len(crystals.species), self.width), np.nan, dtype=np.float32)

        def ask(place: int, span: slice, atoms: Any) -> None:
            found = features[span] if self.features is None else self.features(atoms)
            energy = atoms.get_potential_energy() / len(atoms)
            features[span], energies[place] = found, energy

        return Prediction(energies, features, self._each(crystals, ask))

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.species), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)

        def ask(place: int, span: slice, atoms: Any) -> None:
            # All values are there before any is kept: a crystal that fails has none.
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
            try:
                ask(place, slice(*crystals.offsets[place : place + 2].tolist()), atoms)
            except Exception as error:  # A calculator may raise anything; only this crystal fails.
                reasons[place] = f"{type(error).__name__}: {error}"
        return reasons


def potential_title(source: str | Potential = "chgnet") -> str:
    """Return name and version of a potential as they stand beside its energies: CHGNet 0.3.0."""
    potential = load_potential(source)
    name = "CHGNet" if potential.name == "chgnet" else potential.name
    return f"{name} {potential.version}"


def load_potential(
    name: str | Potential = "chgnet", *, device: torch.device | str = "cpu"
) -> Potential:
    """Load a potential whose weights come with its package, or return the one that is given.

    That is chgnet so far. Nothing is downloaded. Raises `DataError` if there is none of this name,
    or its package is missing.
    """
    if not isinstance(name, str):
        return name
    if name != "chgnet":
        close, other = "did you mean chgnet?", "choose chgnet, or wrap a calculator in AsePotential"
        hint = close if nearest(name, ["chgnet"]) else other
        raise DataError(f"there is no potential {name!r}", hint=hint)
    return _chgnet(str(device))


@cache
def _chgnet(device: str) -> Potential:
    """Read the weights once in a process, be it a worker's or not."""
    from variolite.crystals.potential.chgnet import ChgnetPotential

    return ChgnetPotential(device)


Work = Callable[[Potential, Crystals], Any]


def _perform(work: Work, source: str, part: Crystals) -> Any:
    return work(load_potential(source), part)


def computed_parts(
    work: Work, parts: Sequence[Crystals], source: str | Potential, workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Apply a function of a module to crystals; yield each result and its place once it is there.

    Raises `DataError` if a worker process dies, or if several should work with a potential that is
    not given by its name.
    """
    if min(workers, len(parts)) <= 1:
        for place, part in enumerate(parts):
            yield place, work(load_potential(source), part)
        return
    if not isinstance(source, str):
        raise DataError(
            "a potential given as an object works in one process",
            where="workers",
            hint="Leave them at 1",
        )
    # Leaving the block early, by an error or an interruption, kills the processes.
    with Workers(workers) as pool:
        futures = (pool.submit(_perform, work, source, part) for part in parts)
        places = {future: place for place, future in enumerate(futures)}
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
