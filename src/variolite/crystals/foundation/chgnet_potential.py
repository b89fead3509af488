"""CHGNet as a potential: the weights come with its wheel, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.foundation.chgnet_network import LONG, SHORT, WIDTH, Evaluation, Network
from variolite.crystals.foundation.neighbours import Bonds, bond_vectors, find_bonds, refusals
from variolite.crystals.foundation.responses import REASON, Forces, Potential, Prediction
from variolite.crystals.structures import Crystals
from variolite.errors import DataError

__all__ = ["ChgnetPotential"]

UNSEEN = (84, 85, 86, 87, 88)
"""Elements up to 94 of which CHGNet saw no structure: Po, At, Rn, Fr and Ra."""

HEAVIEST = 94

NEAREST = 0.2
"""Angstrom; two atoms nearer than this are one atom twice."""

CROWDED = 60
"""Neighbours within `SHORT` that no crystal has; diamond has 28. Angles grow with their square."""

ATOMS_AT_ONCE = {"cpu": 48, "cuda": 16_384}
"""On a CPU larger batches fall out of the cache and take longer per atom."""

ANGLES_AT_ONCE = {"cpu": 200_000, "cuda": 4_000_000}
"""Bounds the memory of a batch: an angle takes about 4 kB with its gradients."""


@dataclass(frozen=True)
class _Block:
    """Crystals evaluated together, by their places in the whole set."""

    places: NDArray[np.int64]
    crystals: Crystals
    species: Tensor
    owner: Tensor
    bonds: Bonds
    vector: Tensor


class ChgnetPotential(Potential):
    """CHGNet 0.3.0 (Deng et al. 2023), trained on relaxations of the Materials Project.

    Its energies contain the corrections of the Materials Project. They differ from those of
    other potentials by some .06 eV per atom and must not be mixed with them.

    Parameters
    ----------
    device
        Where to run.

    Raises
    ------
    DataError
        If the package chgnet is not installed or has no such weights, or cannot run there.
    """

    name = "chgnet"
    version = "0.3.0"
    width = WIDTH

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type not in ATOMS_AT_ONCE:
            raise DataError(
                f"CHGNet does not run on the device {self.device.type}",
                mend=f"Choose from {', '.join(ATOMS_AT_ONCE)}",
            )
        self._network = Network(_weights(self.version, self.device))

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and the features before the last message; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        features = np.full((len(crystals.species), self.width), np.nan, dtype=np.float32)
        reasons = _reasons(crystals)
        with _one_thread(), torch.no_grad():
            for block in self._blocks(crystals, reasons):
                found = self._evaluate(block)
                energies[block.places] = found.energies.cpu().numpy() / block.crystals.counts
                features[crystals.atoms_of(block.places)] = found.features.cpu().numpy()
        _mark_broken(energies, reasons)
        return Prediction(energies, features, reasons)

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.species), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)
        reasons = _reasons(crystals)
        with _one_thread():
            for block in self._blocks(crystals, reasons):
                energy, force, virial = (values.cpu().numpy() for values in self._derived(block))
                of_block = block.crystals
                energies[block.places] = energy / of_block.counts
                forces[crystals.atoms_of(block.places)] = force
                stresses[block.places] = virial / of_block.volumes[:, None, None]
        _mark_broken(energies, reasons)
        return Forces(energies, forces, stresses, reasons)

    def _derived(self, block: _Block) -> tuple[Tensor, Tensor, Tensor]:
        """Total energies (B,), forces (N, 3) and derivatives by strain (B, 3, 3)."""
        first, second = block.bonds.first, block.bonds.second
        vector = block.vector.requires_grad_(True)
        energies = self._evaluate(block).energies
        (pull,) = torch.autograd.grad(energies.sum(), vector)
        pull, vector = pull.double(), vector.detach().double()
        # The energy knows the atoms through the bonds alone, hence dE/dx of either end.
        force = pull.new_zeros((len(block.species), 3))
        force.index_add_(0, first, pull).index_add_(0, second, -pull)
        virial = pull.new_zeros((len(block.places), 3, 3))
        virial.index_add_(0, block.owner[first], vector.unsqueeze(2) * pull.unsqueeze(1))
        return energies.detach(), force, virial

    def _evaluate(self, block: _Block) -> Evaluation:
        return self._network(
            block.species, block.owner, len(block.places), block.bonds, block.vector
        )

    def _blocks(self, crystals: Crystals, reasons: NDArray[np.str_]) -> Iterator[_Block]:
        """Cut the set into batches; writes the reasons of crystals that it leaves out."""
        fit = np.flatnonzero(reasons == "")
        before = np.cumsum(crystals.counts[fit]) - crystals.counts[fit]
        block = before // ATOMS_AT_ONCE[self.device.type]
        for places in np.split(fit, np.flatnonzero(np.diff(block)) + 1):
            if len(places):
                yield from self._connected(crystals, places, reasons)

    def _connected(
        self, crystals: Crystals, places: NDArray[np.int64], reasons: NDArray[np.str_]
    ) -> Iterator[_Block]:
        chosen = crystals.take(places)
        owner = torch.from_numpy(chosen.owner).to(self.device)
        coordinates = torch.from_numpy(chosen.coordinates).to(self.device)
        lattices = torch.from_numpy(chosen.lattices).to(self.device)
        bonds = find_bonds(coordinates, lattices, owner, LONG)
        angles, found = _judge(bonds, owner, len(chosen))
        if (found != "").any():
            reasons[places] = found
            if (found == "").any():
                yield from self._connected(crystals, places[found == ""], reasons)
            return
        if angles > ANGLES_AT_ONCE[self.device.type] and len(places) > 1:
            for half in np.array_split(places, 2):
                yield from self._connected(crystals, half, reasons)
            return
        species = torch.from_numpy(chosen.species.astype(np.int64)).to(self.device)
        vector = bond_vectors(bonds, coordinates, lattices, owner).float()
        yield _Block(places, chosen, species, owner, bonds, vector)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches are too small to share out: threads would spend their time waiting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights(version: str, device: torch.device) -> dict[str, Tensor]:
    """Read the weights in the package's folder, without importing it and without unpickling."""
    found = find_spec("chgnet")
    if found is None or not found.submodule_search_locations:
        raise DataError("chgnet is not installed", mend="pip install 'variolite[crystals]'")
    folder = Path(found.submodule_search_locations[0]) / "pretrained" / version
    files = sorted(folder.glob("*.pth.tar"))
    if not files:
        raise DataError(
            f"the installed chgnet has no weights of version {version}",
            where=str(folder),
            mend="pip install 'chgnet>=0.4.2'",
        )
    content = torch.load(files[0], map_location=device, weights_only=True)
    state: dict[str, Tensor] = content["model"]["state_dict"]
    return state


def _reasons(crystals: Crystals) -> NDArray[np.str_]:
    """Refuse what has no bonds or holds an element the network never saw."""
    reasons = refusals(crystals, LONG).astype(REASON)
    strange = (crystals.species < 1) | (crystals.species > HEAVIEST)
    strange |= np.isin(crystals.species, UNSEEN)
    reasons[crystals.owner[strange]] = "an element CHGNet does not know"
    return reasons


def _judge(bonds: Bonds, owner: Tensor, crystals: int) -> tuple[int, NDArray[np.str_]]:
    """Count the angles of a batch, and say which crystals the network cannot treat."""
    ends = torch.cat([bonds.first, bonds.second])
    degree = torch.bincount(ends, minlength=len(owner))
    near = bonds.length < SHORT
    short_ends = torch.cat([bonds.first[near], bonds.second[near]])
    short_degree = torch.bincount(short_ends, minlength=len(owner))
    reasons = np.full(crystals, "", dtype=REASON)
    for faulty, reason in (
        (owner[degree == 0], f"an atom has no neighbour within {LONG:g} Angstrom"),
        (owner[short_degree > CROWDED], f"over {CROWDED} atoms within {SHORT:g} Angstrom of one"),
        (owner[bonds.first[bonds.length < NEAREST]], "two atoms in one place"),
    ):
        reasons[faulty.cpu().numpy()] = reason
    return int((short_degree * (short_degree - 1)).sum()), reasons


def _mark_broken(energies: NDArray[np.float64], reasons: NDArray[np.str_]) -> None:
    reasons[~np.isfinite(energies) & (reasons == "")] = "the potential gave no number"
