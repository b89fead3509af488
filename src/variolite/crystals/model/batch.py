"""Crystals as tensors on a device, in batches without padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.training.tabular_model import generator

# Cells and positions as smooth numbers that a network can work with, and back.


METRIC_ENTRIES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Order of the six numbers of a symmetric matrix."""

_ROWS = [i for i, _ in METRIC_ENTRIES]
_COLUMNS = [j for _, j in METRIC_ENTRIES]


def log_metric(lattices: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return half the logarithm of the metric, scaled to one atom a cell.

    S = log(L L^T) / 2 - log(n) / 3. Any six numbers are a cell of positive volume, its
    volume per atom is exp(trace S), and no rotation enters.

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3).
    counts
        Atoms per cell, shape (B,).

    Returns
    -------
    S
        In the order of `METRIC_ENTRIES`, shape (B, 6).
    """
    values, vectors = np.linalg.eigh(lattices @ lattices.transpose(0, 2, 1))
    logs = 0.5 * np.log(values) - np.log(counts)[:, None] / 3.0
    matrix = (vectors * logs[:, None, :]) @ vectors.transpose(0, 2, 1)
    entries: NDArray[np.float64] = matrix[:, _ROWS, _COLUMNS]
    return entries


def lattices_of(entries: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cells, in standard orientation, whose `log_metric` is given.

    Entries that are not finite, as networks answer to absurd latents, are cells of NaN.
    """
    sound = np.isfinite(entries).all(axis=1)
    if not sound.all():
        cells = np.full((len(entries), 3, 3), np.nan)
        cells[sound] = lattices_of(entries[sound], counts[sound])
        return cells
    matrix = np.empty((len(entries), 3, 3))
    matrix[:, _ROWS, _COLUMNS] = entries
    matrix[:, _COLUMNS, _ROWS] = entries
    values, vectors = np.linalg.eigh(matrix)
    # A quarter of a million Angstrom and its inverse: nothing physical, and nothing infinite.
    lengths = np.exp(np.clip(values + np.log(counts)[:, None] / 3.0, -12.0, 12.0))
    root = vectors * lengths[:, None, :]
    # L L^T = root root^T; the triangular factor of a QR decomposition is the Cholesky factor,
    # without squaring the condition number.
    upper: NDArray[np.float64] = np.asarray(np.linalg.qr(root.transpose(0, 2, 1), mode="r"))
    triangle = upper.transpose(0, 2, 1)
    signs = np.sign(np.diagonal(triangle, axis1=1, axis2=2))
    return np.asarray(triangle * signs[:, None, :])


def torus_features(coordinates: Tensor, waves: int) -> Tensor:
    """Return cosines and sines of 2 pi k x for k = 1 to ``waves``: (N, 3) to (N, 6 waves).

    They do not change when an integer is added to a coordinate.
    """
    order = torch.arange(1, waves + 1, device=coordinates.device, dtype=coordinates.dtype)
    phase = (2.0 * math.pi) * coordinates.unsqueeze(-1) * order
    return torch.cat([phase.cos(), phase.sin()], dim=-1).flatten(1)


def coordinates_of(pairs: Tensor) -> Tensor:
    """Return the coordinates in [0, 1) that a cosine and a sine per axis point to.

    Parameters
    ----------
    pairs
        Of any length above zero, shape (..., 6): three cosines, then three sines.
    """
    turns = torch.atan2(pairs[..., 3:], pairs[..., :3]) / (2.0 * math.pi)
    return turns - turns.floor()


def wrapped(difference: Tensor) -> Tensor:
    """Return fractional differences to the nearest image along each axis, in [-1/2, 1/2]."""
    return difference - difference.round()


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
