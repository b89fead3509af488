"""Kinds of crystal networks behind one face: the frame they see crystals in, and decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from variolite.crystals.frame import Frame, canonical
from variolite.crystals.frame.distances import has_cell
from variolite.crystals.latents import Latents
from variolite.crystals.model.batch import (
    AtomBatch,
    CrystalTensors,
    Layout,
    evaluation_batches,
)
from variolite.crystals.model.geometry import coordinates_of, lattices_of
from variolite.crystals.model.module import CrystalArchitecture, CrystalModule, Decoded
from variolite.crystals.source.architecture import SourceArchitecture
from variolite.crystals.source.loading import niggli
from variolite.crystals.source.network import SourceModule
from variolite.crystals.structures import SYMBOLS, Crystals
from variolite.errors import DataError
from variolite.vae import Parts, Posterior

__all__ = ["Network", "decode", "element_table", "encode", "framed", "require_known"]


class Network(Protocol):
    """What encoding, decoding and training need of a module."""

    architecture: CrystalArchitecture | SourceArchitecture

    def infer(self, batch: AtomBatch) -> Posterior: ...

    def generate(self, z: Tensor, layout: Layout, species: Tensor | None = None) -> Decoded: ...

    def loss(self, batch: AtomBatch, beta: Tensor) -> Parts: ...


def _source_frame(crystals: Crystals) -> Frame:
    return niggli(crystals)


@dataclass(frozen=True)
class _Kind:
    frame: Callable[[Crystals], Frame]
    table: Callable[[nn.Module], NDArray[np.uint8]]


def _own_table(module: nn.Module) -> NDArray[np.uint8]:
    assert isinstance(module, CrystalModule)
    return np.array(module.architecture.elements, dtype=np.uint8)


def _source_table(module: nn.Module) -> NDArray[np.uint8]:
    assert isinstance(module, SourceModule)
    # The source has a place for element 0 and reads it as hydrogen.
    return np.arange(module.architecture.elements).clip(1).astype(np.uint8)


_KINDS: Mapping[type[nn.Module], _Kind] = {
    CrystalModule: _Kind(canonical, _own_table),
    SourceModule: _Kind(_source_frame, _source_table),
}


def framed(module: nn.Module, crystals: Crystals) -> Frame:
    """Return crystals in the frame that a module sees them in.

    Raises
    ------
    DataError
        If one has no atoms, no cell, or numbers that are not finite.
    """
    broken = np.flatnonzero(~has_cell(crystals))
    if broken.size:
        place = int(broken[0])
        raise DataError(
            "the structure has no atoms, no cell of a volume, an element 0, or numbers that are "
            "not finite",
            where=str(crystals.names[place]) or f"crystal {place}",
            mend="leave such structures out: `variolite crystals pack` lists them with reasons",
        )
    return _KINDS[type(module)].frame(crystals)


def element_table(module: nn.Module) -> NDArray[np.uint8]:
    """Atomic number of every place of the species logits."""
    return _KINDS[type(module)].table(module)


def require_known(module: nn.Module, crystals: Crystals) -> None:
    """Say clearly which crystal holds an element that a module was not trained on.

    Raises
    ------
    DataError
        If there is one.
    """
    strange = np.flatnonzero(~np.isin(crystals.species, element_table(module)))
    if strange.size:
        crystal = int(crystals.owner[strange[0]])
        symbol = SYMBOLS[int(crystals.species[strange[0]])]
        raise DataError(
            f"the model was not trained on {symbol}",
            where=str(crystals.names[crystal]) or f"crystal {crystal}",
            mend="leave such structures out, or train a model on data that have them",
        )


@torch.no_grad()
def encode(module: nn.Module, crystals: Crystals) -> Latents:
    """Encode crystals that are in the module's frame; posterior means and log-variances."""
    require_known(module, crystals)
    network: Network = module  # type: ignore[assignment]
    latent = network.architecture.latent
    device = next(module.parameters()).device
    mean = np.empty((len(crystals.species), latent), dtype=np.float32)
    log_variance = np.empty_like(mean)
    tensors = CrystalTensors.of(crystals, device)
    for batch in evaluation_batches(tensors, latent, noise_seed=None):
        posterior = network.infer(batch)
        atoms = crystals.atoms_of(batch.order.cpu().numpy())
        mean[atoms] = posterior.mean[0].cpu().numpy()
        log_variance[atoms] = posterior.clamped_log_variance[0].cpu().numpy()
    return Latents(mean, log_variance, crystals.offsets, crystals.names)


@torch.no_grad()
def decode(
    module: nn.Module, latents: Latents, *, species: NDArray[np.integer] | None = None
) -> Crystals:
    """Decode latents to crystals in the module's frame.

    Parameters
    ----------
    module
        In evaluation mode.
    latents
        Of the width of the module.
    species
        Atomic numbers, shape (N,), where the module is given them.
    """
    network: Network = module  # type: ignore[assignment]
    width = network.architecture.latent
    if latents.mean.shape[1] != width:
        raise DataError(
            f"the latents have {latents.mean.shape[1]} dimensions, the model has {width}",
            mend="decode latents with the model that encoded them",
        )
    if species is not None:
        _require_known_species(module, np.asarray(species), latents)
    device = next(module.parameters()).device
    order = np.argsort(latents.counts, kind="stable")
    found = np.empty(len(latents.mean), dtype=np.uint8)
    coordinates = np.empty((len(latents.mean), 3))
    lattices = np.empty((len(latents), 3, 3))
    table = element_table(module)
    for chosen in _portions(latents.counts, order):
        counts = latents.counts[chosen]
        begins = np.cumsum(counts) - counts
        atoms = np.arange(counts.sum()) + np.repeat(latents.offsets[:-1][chosen] - begins, counts)
        z = torch.from_numpy(latents.mean[atoms]).to(device)
        told = None
        if species is not None:
            told = torch.from_numpy(np.asarray(species)[atoms].astype(np.int64)).to(device)
        decoded = network.generate(z, Layout.of(counts, device), told)
        coordinates[atoms] = coordinates_of(decoded.pairs).double().cpu().numpy()
        lattices[chosen] = lattices_of(decoded.metric.double().cpu().numpy(), counts)
        if decoded.species_logits is None:
            assert species is not None
            found[atoms] = np.asarray(species)[atoms]
        else:
            found[atoms] = table[decoded.species_logits.argmax(1).cpu().numpy()]
    return Crystals(found, coordinates, lattices, latents.offsets, latents.names)


def _require_known_species(
    module: nn.Module, species: NDArray[np.integer], latents: Latents
) -> None:
    if species.shape != (len(latents.mean),):
        raise DataError(
            f"{species.size} elements were given for {len(latents.mean)} atoms",
            where="species",
            mend="give one atomic number for every row of the latents",
        )
    strange = np.flatnonzero(~np.isin(species, element_table(module)))
    if strange.size:
        number = int(species[strange[0]])
        name = SYMBOLS[number] if 0 < number < len(SYMBOLS) else f"atomic number {number}"
        crystal = int(np.searchsorted(latents.offsets, strange[0], side="right")) - 1
        raise DataError(
            f"the model was not trained on {name}",
            where=str(latents.names[crystal]) or f"crystal {crystal}",
            mend="give other elements, or train a model on data that have them",
        )


def _portions(counts: NDArray[np.int64], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut crystals, sorted by size, into portions of about 16,000 atoms."""
    total = np.cumsum(counts[order])
    cuts = np.searchsorted(total, np.arange(16_384, total[-1:].sum(), 16_384))
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]
