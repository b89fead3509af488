"""Crystals as tensors on a device, in batches without padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals, ragged_places
from variolite.training.device import generator

# Cells and positions as smooth numbers that a network can work with, and back.

# Order of the six numbers of a symmetric matrix.
METRIC_ENTRIES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_ROWS, _COLUMNS = map(list, zip(*METRIC_ENTRIES, strict=True))


def log_metric_tensor(
    lattices: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Half the logarithm of the metric tensor, scaled to one atom per cell, (B, 6).

    S = log(L L^T) / 2 - log(n) / 3 in the order of `METRIC_ENTRIES`, with lattice vectors in
    Angstrom as the rows of L, (B, 3, 3), and n atoms per cell, (B,). Any six numbers are a cell
    of positive volume, its volume per atom is exp(trace S), and no rotation enters.
    """
    # L L^T = V diag(w) V^T, (B, 3, 3), and half its logarithm is V diag(log(w) / 2) V^T.
    values, vectors = np.linalg.eigh(lattices @ lattices.transpose(0, 2, 1))
    logs = 0.5 * np.log(values) - np.log(counts)[:, None] / 3.0
    matrix = (vectors * logs[:, None, :]) @ vectors.transpose(0, 2, 1)
    entries: NDArray[np.float64] = matrix[:, _ROWS, _COLUMNS]
    return entries


def lattices_of(entries: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cells (B, 3, 3), in standard orientation, whose `log_metric_tensor` is given.

    Entries that are not finite, as networks answer to absurd latents, are cells of NaN.
    """
    sound = np.isfinite(entries).all(axis=1)
    if not sound.all():
        cells = np.full((len(entries), 3, 3), np.nan)
        cells[sound] = lattices_of(entries[sound], counts[sound])
        return cells
    matrix = np.empty((len(entries), 3, 3))
    # Six numbers fill a symmetric matrix (B, 3, 3), whatever they are.
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


def fourier_features(coordinates: Tensor, number: int) -> Tensor:
    """Cosines and sines of 2 pi k x for k = 1 to ``number``: (N, 3) to (N, 6 number).

    They do not change when an integer is added to a coordinate.
    """
    order = torch.arange(1, number + 1, device=coordinates.device, dtype=coordinates.dtype)
    phase = (2.0 * math.pi) * coordinates.unsqueeze(-1) * order  # (N, 3, number)
    return torch.cat([phase.cos(), phase.sin()], dim=-1).flatten(1)


def coordinates_of(pairs: Tensor) -> Tensor:
    """Coordinates (..., 3) in [0, 1) that three cosines, then three sines, (..., 6), point to."""
    # The length of a pair cancels: only its direction says where on the circle an atom is.
    turns = torch.atan2(pairs[..., 3:], pairs[..., :3]) / (2.0 * math.pi)
    return turns - turns.floor()


def wrapped(difference: Tensor) -> Tensor:
    """Fractional differences to the nearest image along each axis, in [-1/2, 1/2]."""
    return difference - difference.round()


# Pairs within crystals, and as many across them, that are aligned in every step.
PAIRS_PER_ATOM = 4
EVALUATION_ATOMS = 8_192  # Atoms in one batch where nothing is trained.


@dataclass(frozen=True)
class Layout:
    """Which atoms of a batch belong together.

    ``groups`` are runs of neighbouring crystals of equal size: (number of crystals, atoms in
    each); ``owner``, (N,), is the crystal of every atom, ``counts``, (B,), the atoms of each.
    """

    groups: tuple[tuple[int, int], ...]
    owner: Tensor
    counts: Tensor

    @classmethod
    def of(cls, counts: NDArray[np.int64], device: torch.device) -> Layout:
        """Lay out crystals of given sizes, (B,); ascending ones make the fewest groups."""
        # Attention and means over a run of B crystals of n atoms are dense: (B n, W) is a view of
        # (B, n, W), and no place is padding.
        edges = [0, *(np.flatnonzero(np.diff(counts)) + 1), len(counts)] if len(counts) else []
        groups = tuple((int(end - begin), int(counts[begin])) for begin, end in pairwise(edges))
        on_device = torch.from_numpy(np.ascontiguousarray(counts)).to(device)
        owner = torch.repeat_interleave(torch.arange(len(counts), device=device), on_device)
        return cls(groups, owner, on_device)


@dataclass(frozen=True)
class CrystalBatch:
    """Some crystals on a device, or a whole set of them, atom after atom.

    Of N atoms: ``species`` atomic numbers (N,), ``coordinates`` (N, 3) fractional in the
    canonical frame, ``features`` (N, F) of the foundation model (NaN where missing, None without
    alignment), ``noise`` (N, L) standard normal draws for the posterior (None before `drawn`).
    Of B crystals: ``lattice`` (B, 3, 3) in Angstrom, ``log_metric`` (B, 6), ``counts`` (B,),
    ``order`` (B,) their places in the set that they were taken from. ``chance`` (2, P) are
    uniform draws that choose the pairs of atoms to align.
    """

    species: Tensor
    coordinates: Tensor
    lattice: Tensor
    log_metric: Tensor
    # In numpy: batches are laid out on the host, so that nothing is read back from the device.
    counts: NDArray[np.int64]
    order: Tensor
    features: Tensor | None = None
    noise: Tensor | None = None
    chance: Tensor | None = None

    @classmethod
    def of(
        cls, crystals: Crystals, device: torch.device, features: NDArray[np.float32] | None = None
    ) -> CrystalBatch:
        """Copy a set of crystals to a device once, in its own order."""

        def put(array: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        return cls(
            species=torch.from_numpy(crystals.species.astype(np.int64)).to(device),
            coordinates=put(crystals.coordinates),
            lattice=put(crystals.lattices),
            log_metric=put(log_metric_tensor(crystals.lattices, crystals.counts)),
            counts=crystals.counts,
            order=torch.arange(len(crystals), device=device),
            features=None if features is None else torch.from_numpy(features).to(device),
        )

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.counts, self.species.device)

    def take(self, chosen: NDArray[np.int64]) -> CrystalBatch:
        """Gather crystals, sorted by size."""
        device = self.species.device
        # Sorted, since crystals of one size are one dense block for attention and means.
        chosen = chosen[np.argsort(self.counts[chosen], kind="stable")]
        counts = self.counts[chosen]
        atoms = torch.from_numpy(ragged_places(self._starts[chosen], counts)).to(device)
        crystals = torch.from_numpy(chosen).to(device)
        return CrystalBatch(
            species=self.species.index_select(0, atoms),
            coordinates=self.coordinates.index_select(0, atoms),
            lattice=self.lattice.index_select(0, crystals),
            log_metric=self.log_metric.index_select(0, crystals),
            counts=counts,
            order=self.order.index_select(0, crystals),
            features=None if self.features is None else self.features.index_select(0, atoms),
            noise=None if self.noise is None else self.noise.index_select(0, atoms),
        )

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.asarray(np.cumsum(self.counts) - self.counts)

    def drawn(self, latent: int, source: torch.Generator | None) -> CrystalBatch:
        """The batch with its random numbers; without a source the noise is zero."""
        device = self.species.device
        noise = torch.zeros((len(self.species), latent), device=device)
        if source is not None:
            noise.normal_(generator=source)
        chance = None
        if self.features is not None:
            pairs = (2, PAIRS_PER_ATOM * len(self.species))
            # In double precision: a draw times the number of atoms has to reach every atom.
            chance = torch.rand(pairs, generator=source, device=device, dtype=torch.float64)
        return replace(self, noise=noise, chance=chance)


class CrystalBatches:
    """Shuffled batches for every epoch; the same epoch always gives the same ones.

    The few crystals left over when their number is not a multiple of the batch size sit an epoch
    out. ``latent`` is the width of the noise; ``seed`` that of order and noise.
    """

    def __init__(self, crystals: CrystalBatch, batch_size: int, latent: int, seed: int) -> None:
        self.crystals = crystals
        self.batch_size = min(batch_size, len(crystals))
        self.steps = len(crystals) // self.batch_size
        self.latent = latent
        self.seed = seed

    def epoch(self, number: int) -> Iterator[CrystalBatch]:
        device = self.crystals.species.device
        # Order and noise are functions of seed and epoch: a resumed run sees the same ones.
        order = np.random.default_rng([self.seed, number]).permutation(len(self.crystals))
        source = generator(device, self.seed, number, 1)
        for step in range(self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.crystals.take(chosen).drawn(self.latent, source)


def portions(counts: NDArray[np.int64], atoms: int) -> list[NDArray[np.int64]]:
    """Cut crystals, sorted by size, into portions of about ``atoms`` atoms; places in each."""
    # Cut where the running sum of atoms passes a multiple: crystals stay whole, and since they
    # ascend in size a portion has few groups.
    order = np.argsort(counts, kind="stable")
    total = np.cumsum(counts[order])
    cuts = np.searchsorted(total, np.arange(atoms, total[-1:].sum(), atoms))
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]


def evaluation_batches(
    crystals: CrystalBatch, latent: int, *, noise_seed: int | None
) -> Iterator[CrystalBatch]:
    """Yield every crystal once, in batches of similar size.

    ``noise_seed`` fixes the noise, so that a monitored value moves with the weights
    alone; None gives zeros, for uses of the posterior mean.
    """
    device = crystals.species.device
    for number, chosen in enumerate(portions(crystals.counts, EVALUATION_ATOMS)):
        source = None if noise_seed is None else generator(device, noise_seed, number)
        yield crystals.take(chosen).drawn(latent, source)
