"""Crystals as tensors on a device, in batches without padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.model.geometry import log_metric
from variolite.crystals.structures.crystals import Crystals
from variolite.training.batches import generator

__all__ = ["AtomBatch", "CrystalBatches", "CrystalTensors", "Layout", "evaluation_batches"]

PAIRS_PER_ATOM = 4
"""Pairs within crystals, and as many across them, that are aligned in every step."""

EVALUATION_ATOMS = 8_192
"""Atoms in one batch where nothing is trained."""


@dataclass(frozen=True)
class Layout:
    """Which atoms belong together. Crystals are sorted by their number of atoms.

    Attributes
    ----------
    groups
        Runs of crystals of equal size, in order: (number of crystals, atoms in each).
    owner
        Crystal of every atom, shape (N,).
    counts
        Atoms of every crystal, shape (B,).
    """

    groups: tuple[tuple[int, int], ...]
    owner: Tensor
    counts: Tensor

    @classmethod
    def of(cls, counts: NDArray[np.int64], device: torch.device) -> Layout:
        """Lay out crystals whose ``counts`` ascend."""
        sizes, numbers = np.unique(counts, return_counts=True)
        on_device = torch.from_numpy(np.ascontiguousarray(counts)).to(device)
        owner = torch.repeat_interleave(torch.arange(len(counts), device=device), on_device)
        groups = tuple((int(b), int(n)) for b, n in zip(numbers, sizes, strict=True))
        return cls(groups, owner, on_device)


@dataclass(frozen=True)
class AtomBatch:
    """Some crystals, atom after atom.

    Attributes
    ----------
    layout
        Which atoms belong together.
    species
        Atomic numbers, shape (N,).
    coordinates
        Fractional, canonical frame, shape (N, 3).
    lattice
        Canonical frame, Angstrom, shape (B, 3, 3).
    metric
        Logarithm of the metric, see `log_metric`, shape (B, 6).
    noise
        Standard normal draws for the posterior, shape (N, L).
    order
        Place of every crystal in the set that it was taken from, shape (B,).
    features
        Foundation features, shape (N, F), NaN where missing; None without alignment.
    chance
        Uniform draws that choose the pairs of atoms to align, shape (2, P); None without
        alignment.
    """

    layout: Layout
    species: Tensor
    coordinates: Tensor
    lattice: Tensor
    metric: Tensor
    noise: Tensor
    order: Tensor
    features: Tensor | None = None
    chance: Tensor | None = None

    def drawn(self, latent: int, source: torch.Generator | None) -> AtomBatch:
        """Return the batch with its random numbers; without a source the noise is zero."""
        device = self.species.device
        shape = (len(self.species), latent)
        if source is None:
            noise = torch.zeros(shape, device=device)
        else:
            noise = torch.randn(shape, generator=source, device=device)
        chance = None
        if self.features is not None:
            pairs = (2, PAIRS_PER_ATOM * len(self.species))
            chance = torch.rand(pairs, generator=source, device=device, dtype=torch.float64)
        return replace(self, noise=noise, chance=chance)


@dataclass(frozen=True)
class CrystalTensors:
    """A whole set of crystals on one device.

    ``counts`` and ``starts`` stay in numpy: batches are laid out on the host, so that
    nothing is read back from the device.
    """

    species: Tensor
    coordinates: Tensor
    lattice: Tensor
    metric: Tensor
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    features: Tensor | None = None

    @classmethod
    def of(
        cls,
        crystals: Crystals,
        device: torch.device,
        features: NDArray[np.float32] | None = None,
    ) -> CrystalTensors:
        """Copy crystals to a device once."""

        def put(array: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        return cls(
            species=torch.from_numpy(crystals.species.astype(np.int64)).to(device),
            coordinates=put(crystals.coordinates),
            lattice=put(crystals.lattices),
            metric=put(log_metric(crystals.lattices, crystals.counts)),
            counts=crystals.counts,
            starts=np.ascontiguousarray(crystals.offsets[:-1]),
            features=None if features is None else torch.from_numpy(features).to(device),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def batch(self, chosen: NDArray[np.int64]) -> AtomBatch:
        """Gather crystals, sorted by size, with noise still to be given."""
        device = self.species.device
        chosen = chosen[np.argsort(self.counts[chosen], kind="stable")]
        counts = self.counts[chosen]
        total = int(counts.sum())
        begins = np.cumsum(counts) - counts
        places = np.arange(total) + np.repeat(self.starts[chosen] - begins, counts)
        atoms = torch.from_numpy(places).to(device)
        order = torch.from_numpy(chosen).to(device)
        return AtomBatch(
            layout=Layout.of(counts, device),
            species=self.species.index_select(0, atoms),
            coordinates=self.coordinates.index_select(0, atoms),
            lattice=self.lattice.index_select(0, order),
            metric=self.metric.index_select(0, order),
            noise=torch.empty((total, 0), device=device),
            order=order,
            features=None if self.features is None else self.features.index_select(0, atoms),
        )


class CrystalBatches:
    """Shuffled batches for every epoch; the same epoch always gives the same ones.

    The few crystals left over when their number is no multiple of the batch size
    sit an epoch out.

    Parameters
    ----------
    tensors
        Training crystals.
    batch_size
        Crystals a step; at most all.
    latent
        Width of the noise.
    seed
        Of order and noise.
    """

    def __init__(self, tensors: CrystalTensors, batch_size: int, latent: int, seed: int) -> None:
        self.tensors = tensors
        self.batch_size = min(batch_size, len(tensors))
        self.steps = len(tensors) // self.batch_size
        self.latent = latent
        self.seed = seed

    def epoch(self, number: int) -> Iterator[AtomBatch]:
        """Yield the batches of one epoch."""
        device = self.tensors.species.device
        order = np.random.default_rng([self.seed, number]).permutation(len(self.tensors))
        source = generator(device, self.seed, number, 1)
        for step in range(self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.tensors.batch(chosen).drawn(self.latent, source)


def evaluation_batches(
    tensors: CrystalTensors, latent: int, *, noise_seed: int | None
) -> Iterator[AtomBatch]:
    """Yield every crystal once, in batches of similar size.

    ``noise_seed`` fixes the noise, so that a monitored value moves with the weights
    alone; None gives zeros, for uses of the posterior mean.
    """
    device = tensors.species.device
    order = np.argsort(tensors.counts, kind="stable")
    total = np.cumsum(tensors.counts[order])
    cuts = np.searchsorted(total, np.arange(EVALUATION_ATOMS, total[-1:].sum(), EVALUATION_ATOMS))
    for number, chosen in enumerate(np.split(order, np.unique(cuts))):
        if not len(chosen):
            continue
        source = None if noise_seed is None else generator(device, noise_seed, number)
        yield tensors.batch(chosen).drawn(latent, source)
