"""Crystals for Lightning's Trainer: every process gets its own portion of every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.frame import canonical
from variolite.crystals.model import AtomBatch, CrystalTensors, Layout, evaluation_batches
from variolite.crystals.runs.fitting import VALIDATION_SEED
from variolite.crystals.structures import Crystals
from variolite.errors import DataError
from variolite.training.batches import generator

__all__ = ["Batches", "CrystalDataModule"]


class CrystalDataModule(LightningDataModule):
    """Crystals for `VAEModule`, each process its own portion of every batch.

    A seed gives the same batches and the same noise on any number of processes.

    Parameters
    ----------
    training, validation
        Crystals in any cell.
    batch_size
        Crystals in a step of all processes together.
    latent
        Latent dimensions of the module.
    seed
        Of order and noise.
    features
        Standardised foundation features of the atoms of both, for a module with alignment.
    """

    def __init__(
        self,
        training: Crystals,
        validation: Crystals,
        *,
        batch_size: int = 256,
        latent: int = 16,
        seed: int = 0,
        features: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> None:
        super().__init__()
        known, held = (None, None) if features is None else features
        host = torch.device("cpu")
        self._training = CrystalTensors.of(canonical(training).crystals, host, known)
        self._validation = CrystalTensors.of(canonical(validation).crystals, host, held)
        self._latent = latent
        self._seed = seed
        self._batch_size = min(batch_size, len(training))

    def train_dataloader(self) -> Batches:
        """Portions of shuffled batches, other ones in every epoch.

        Raises
        ------
        DataError
            If a batch has fewer crystals than there are processes.
        """
        self._require_enough(self._batch_size, "batch_size")
        return Batches(self._portions, len(self._training) // self._batch_size)

    def val_dataloader(self) -> Batches:
        """Portions of the validation crystals, with fixed noise.

        Raises
        ------
        DataError
            If there are fewer crystals than processes.
        """
        self._require_enough(len(self._validation), "validation")
        rank, world = self._place()
        found = evaluation_batches(self._validation, self._latent, noise_seed=VALIDATION_SEED)
        own = [
            _portion(self._validation, batch, rank, world)
            for batch in found
            if len(batch.order) > rank
        ]
        return Batches(lambda: iter(own), len(own))

    def transfer_batch_to_device(
        self, batch: AtomBatch, device: torch.device, dataloader_idx: int
    ) -> AtomBatch:
        """Move a batch, which is frozen and unknown to Lightning."""
        del dataloader_idx
        return _moved(batch, device)

    def _require_enough(self, crystals: int, where: str) -> None:
        _, world = self._place()
        if crystals < world:
            raise DataError(
                f"{crystals} crystals are too few for {world} processes",
                where=where,
                mend="Give more, or train in fewer processes",
            )

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _portions(self) -> Iterator[AtomBatch]:
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        rank, world = self._place()
        tensors, size = self._training, self._batch_size
        order = np.random.default_rng([self._seed, epoch]).permutation(len(tensors))
        source = generator(torch.device("cpu"), self._seed, epoch, 1)
        for start in range(0, len(tensors) // size * size, size):
            whole = tensors.batch(order[start : start + size]).drawn(self._latent, source)
            yield _portion(tensors, whole, rank, world)


class Batches:
    """Batches from a function, made anew in every epoch."""

    def __init__(self, make: Callable[[], Iterator[AtomBatch]], steps: int) -> None:
        self._make = make
        self._steps = steps

    def __iter__(self) -> Iterator[AtomBatch]:
        return self._make()

    def __len__(self) -> int:
        return self._steps


def _portion(tensors: CrystalTensors, whole: AtomBatch, rank: int, world: int) -> AtomBatch:
    """Every world-th crystal of a batch, which is sorted by size, with the noise it has there."""
    if world == 1:
        return whole
    places = np.arange(rank, len(whole.order), world)
    counts = tensors.counts[whole.order.numpy()]
    ends = np.cumsum(counts)
    atoms = np.concatenate([np.arange(ends[p] - counts[p], ends[p]) for p in places])
    own = tensors.batch(whole.order.numpy()[places])
    chance = None if whole.chance is None else whole.chance[:, rank::world].contiguous()
    return replace(own, noise=whole.noise[torch.from_numpy(atoms)], chance=chance)


def _moved(batch: AtomBatch, device: torch.device) -> AtomBatch:
    layout = batch.layout
    layout = Layout(layout.groups, layout.owner.to(device), layout.counts.to(device))
    tensors = {
        field.name: value.to(device)
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    return replace(batch, layout=layout, **tensors)
