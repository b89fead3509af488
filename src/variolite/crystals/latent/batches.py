"""Training crystals of a latent prior, handed out in shuffled batches sorted by size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.latent.conditions import Conditions
from variolite.crystals.latent.known import Known, Vocabulary, atoms_of
from variolite.crystals.latent.standardise import LatentStatistics
from variolite.crystals.latents import Latents
from variolite.crystals.model.batch import Layout
from variolite.training.batches import generator

__all__ = ["Forgetting", "LatentBatch", "LatentSets"]


@dataclass(frozen=True)
class Forgetting:
    """Shares of training crystals whose conditions are hidden.

    Hidden conditions teach the network what to do where nothing is asked for, and
    make guidance possible (J. Ho and T. Salimans, 2022).

    Attributes
    ----------
    species
        Of crystals whose elements are hidden, all atoms at once.
    all_others
        Of crystals whose space group and properties are hidden together: what generation
        without conditions needs.
    each_other
        Of crystals, among the rest, whose space group is hidden, and each property alike.
    """

    species: float = 0.15
    all_others: float = 0.4
    each_other: float = 0.3


@dataclass(frozen=True)
class LatentBatch:
    """Latents of a few crystals, standardised, with noise to start from.

    Attributes
    ----------
    latents, noise
        Shape (N, L).
    uniform
        Numbers between 0 and 1 that training times are made of, shape (B,).
    layout, known
        Sizes and conditions.
    """

    latents: Tensor
    noise: Tensor
    uniform: Tensor
    layout: Layout
    known: Conditions


class LatentSets:
    """Standardised latents of crystals on one device.

    Everything random is a function of (seed, epoch), so that a stopped run goes on as
    if it had not stopped.
    """

    def __init__(
        self,
        latents: Latents,
        known: Known,
        vocabulary: Vocabulary,
        statistics: LatentStatistics,
        device: torch.device,
    ) -> None:
        self.device = device
        self.offsets = latents.offsets
        self.counts = latents.counts
        self.known = Conditions.of(known, vocabulary, device)
        self.mean = torch.from_numpy(statistics.standardised(latents.mean)).to(device)
        self.deviation: Tensor | None = None
        if latents.log_variance is not None:
            deviation = np.exp(0.5 * latents.log_variance) / statistics.scale
            self.deviation = torch.from_numpy(deviation.astype(np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.counts)

    def steps(self, batch: int) -> int:
        """Batches in an epoch; the few crystals left over sit it out."""
        return max(1, len(self) // batch)

    def epoch(
        self, number: int, batch: int, seed: int, forgetting: Forgetting
    ) -> Iterator[LatentBatch]:
        """Yield the batches of one epoch."""
        random = generator(self.device, seed, number)
        order = np.random.default_rng((seed, number)).permutation(len(self))
        for step in range(self.steps(batch)):
            chosen = order[step * batch : (step + 1) * batch]
            yield self._batch(chosen, random, forgetting)

    def whole(self, batch: int, seed: int) -> Iterator[LatentBatch]:
        """Yield all crystals once with noise that depends on the seed alone; nothing is hidden."""
        random = generator(self.device, seed)
        for start in range(0, len(self), batch):
            yield self._batch(np.arange(start, min(start + batch, len(self))), random, None)

    def _batch(
        self,
        chosen: NDArray[np.int64],
        random: torch.Generator,
        forgetting: Forgetting | None,
    ) -> LatentBatch:
        chosen = chosen[np.argsort(self.counts[chosen], kind="stable")]
        layout = Layout.of(self.counts[chosen], self.device)
        atoms = torch.from_numpy(atoms_of(self.offsets, chosen)).to(self.device)
        places = torch.from_numpy(chosen).to(self.device)
        noise = torch.empty((2, len(atoms), self.mean.shape[1]), device=self.device)
        noise.normal_(generator=random)
        latents = self.mean[atoms]
        if self.deviation is not None:
            latents = torch.addcmul(latents, self.deviation[atoms], noise[1])
        known = Conditions(
            self.known.tokens[atoms],
            self.known.space_groups[places],
            self.known.values[places],
            self.known.given[places],
        )
        count, numbers = len(chosen), known.values.shape[1]
        uniform = torch.rand((4 + numbers, count), generator=random, device=self.device)
        if forgetting is not None:
            told = (uniform[3:] >= forgetting.each_other) & (uniform[2] >= forgetting.all_others)
            known = known.dropped(
                layout,
                (uniform[1] >= forgetting.species).long(),
                told[0].long(),
                told[1:].float().T,
            )
        return LatentBatch(latents, noise[0], uniform[0], layout, known)
