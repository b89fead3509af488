"""The crystal VAE under Lightning's Trainer, for more than one GPU.

Network, objective and file formats are those of `variolite.crystals`; this module
brings the data to every process and makes the gradients of all processes together those
of one process on the whole batch. Nothing else in the package imports Lightning::

    module = VAEModule.from_recipe(recipe, training)
    data = CrystalDataModule(training, validation, batch_size=256)
    Trainer(devices=4, strategy="ddp", max_epochs=150, gradient_clip_val=1.0).fit(module, data)
    module.fit_prior(training)
    save_crystal_model(folder, module.model)
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystal_model import (
    CrystalModel,
    encode,
    from_format_1,
    names_from_format_1,
    network_content,
    network_from,
)
from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.generation.prior import LatentPrior, fit_prior, prior_from, prior_state
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.geometry.frame import canonical
from variolite.crystals.model import CrystalBatch, CrystalBatches, evaluation_batches
from variolite.crystals.recipe import CrystalRecipe, PriorSpec
from variolite.crystals.run import RATE, VALIDATION_SEED, build
from variolite.errors import DataError, ModelFileError
from variolite.recipe import TrainingSpec
from variolite.training.optimiser import beta_at, epoch_factor, final_beta
from variolite.vae import Posterior

try:
    from lightning import LightningDataModule, LightningModule
except ImportError:
    raise DataError(
        "lightning is not installed", hint="run pip install 'variolite[lightning]'"
    ) from None


TERMS = ("total", "reconstruction", "kl")  # Of the objective, as they are logged.


class CrystalDataModule(LightningDataModule):
    """Crystals in any cell for `VAEModule`, each process its own portion of every batch.

    ``batch_size`` are the crystals in a step of all processes together; a seed gives the same
    batches and the same noise, of ``latent`` dimensions, on any number of processes. ``features``
    are the standardised foundation features of the atoms of both sets, for a module with alignment.
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
        whole = CrystalBatch.of(canonical(training).crystals, host, known)
        self._training = CrystalBatches(whole, batch_size, latent, seed)
        self._validation = CrystalBatch.of(canonical(validation).crystals, host, held)

    def train_dataloader(self) -> Batches:
        """Portions of shuffled batches, other ones in every epoch.

        DataError if a batch has fewer crystals than there are processes.
        """
        self._require_enough(self._training.batch_size, "batch_size")
        return Batches(self._portions, self._training.steps)

    def val_dataloader(self) -> Batches:
        """Portions of the validation crystals, with fixed noise.

        DataError if there are fewer crystals than processes.
        """
        self._require_enough(len(self._validation), "validation")
        rank, world = self._place()
        latent = self._training.latent
        found = evaluation_batches(self._validation, latent, noise_seed=VALIDATION_SEED)
        own = [_portion(batch, rank, world) for batch in found if len(batch) > rank]
        # Not the list itself, which Lightning would take for several loaders.
        return Batches(lambda: iter(own), len(own))

    def transfer_batch_to_device(
        self, batch: CrystalBatch, device: torch.device, dataloader_idx: int
    ) -> CrystalBatch:
        """Move a batch, which is frozen and unknown to Lightning."""
        del dataloader_idx
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(batch, **moved)

    def _require_enough(self, crystals: int, where: str) -> None:
        _, world = self._place()
        if crystals < world:
            raise DataError(
                f"{crystals} crystals are too few for {world} processes",
                where=where,
                hint="Give more, or train in fewer processes",
            )

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _portions(self) -> Iterator[CrystalBatch]:
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        for whole in self._training.epoch(epoch):
            yield _portion(whole, *self._place())


@dataclass(frozen=True)
class Batches:
    """Batches from a function, made again in every epoch."""

    make: Callable[[], Iterator[CrystalBatch]]
    steps: int

    def __iter__(self) -> Iterator[CrystalBatch]:
        return self.make()

    def __len__(self) -> int:
        return self.steps


def _portion(whole: CrystalBatch, rank: int, world: int) -> CrystalBatch:
    """Every world-th crystal of a batch, which is sorted by size, with the noise it has there."""
    if world == 1:
        return whole
    chance = None if whole.chance is None else whole.chance[:, rank::world].contiguous()
    return replace(whole.take(np.arange(rank, len(whole), world)), chance=chance)


class VAEModule(LightningModule):
    """`CrystalModule` with its objective, optimiser and schedules.

    ``network`` is what `network_content` returns, ``training`` the fields of `TrainingSpec`, of
    which schedules, learning rate and seed apply: all plain data, so that a checkpoint restores
    them without running code.
    """

    def __init__(self, network: Mapping[str, Any], training: Mapping[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.spec = TrainingSpec.model_validate(dict(training))
        self.vae = network_from(network, self.spec.seed)
        self.prior: LatentPrior | None = None
        self._sums: list[Tensor] = []

    @classmethod
    def from_recipe(cls, recipe: CrystalRecipe, training: Crystals, *, features: int = 0) -> Self:
        """Make an untrained module for crystals to train on; see `run.build`."""
        untrained = build(recipe, canonical(training).crystals, features=features)
        made = cls(network_content(untrained), recipe.training.model_dump(mode="json"))
        made.vae.load_state_dict(untrained.state_dict())
        return made

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: torch.device | str | None = None
    ) -> Self:
        """Load weights, hyperparameters and prior; nothing in the file is executed.

        ModelFileError if the file is missing, damaged, of something else, or holds code.
        """
        where = str(checkpoint_path)
        try:
            content = torch.load(where, map_location=map_location or "cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise ModelFileError(
                "the checkpoint is damaged or holds more than tensors and plain data",
                where=where,
                hint="only load checkpoints of VAEModule",
            ) from None
        except (OSError, RuntimeError, EOFError, ValueError, LookupError):
            raise ModelFileError(
                "the checkpoint is missing or damaged", where=where, hint="copy it again"
            ) from None
        try:
            settings, weights = content["hyper_parameters"], content["state_dict"]
            if "network" not in settings:  # as the first version wrote them
                loss = {**settings["weights"], "kl": settings["divergence"]}
                network = from_format_1({"architecture": settings["architecture"], "weights": loss})
                settings = {"network": network, "training": settings["training"]}
                bare = {name.removeprefix("vae."): value for name, value in weights.items()}
                weights = {f"vae.{k}": v for k, v in names_from_format_1(bare).items()}
            made = cls(**settings)
            made.load_state_dict(weights)
            made.on_load_checkpoint(content)
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise ModelFileError(
                f"this is not a checkpoint of VAEModule ({' '.join(str(error).split())[:200]})",
                where=where,
                hint="give one that Trainer.save_checkpoint wrote",
            ) from None
        return made.eval()

    @property
    def model(self) -> CrystalModel:
        """The same network as every other command knows it, to be saved or applied."""
        return CrystalModel(self.vae.eval(), self.prior)

    def encode(self, crystals: Crystals) -> Latents:
        return self.model.encode(crystals)

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        return self.model.decode(latents, species=species)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        return self.model.reconstruct(crystals)

    def sample(self, number: int, **settings: Any) -> Crystals:
        """Generate valid crystals from the fitted prior; ``settings`` are those of `Sampling`."""
        return self.model.sample(number, Sampling(**settings)).crystals

    def fit_prior(self, training: Crystals, spec: PriorSpec | None = None) -> None:
        """Fit the prior that `sample` draws from to the latents of the training crystals."""
        self.vae.eval()
        crystals = canonical(training).crystals
        latents = encode(self.vae, crystals)
        self.prior = fit_prior(latents, crystals, spec, seed=self.spec.seed)

    def forward(self, batch: CrystalBatch) -> Posterior:
        return self.vae.infer(batch)

    def configure_optimizers(self) -> Any:
        spec = self.spec
        rate = RATE if spec.learning_rate == "auto" else spec.learning_rate
        optimiser = torch.optim.Adam(self.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(epoch_factor, spec))
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def training_step(self, batch: CrystalBatch, batch_idx: int) -> Tensor:
        """Objective of this process's portion, weighed as part of the whole batch."""
        del batch_idx
        beta = beta_at(self.spec.beta, self.current_epoch) * self.vae.weights.kl
        own = torch.tensor([float(len(batch.species)), float(len(batch))], device=self.device)
        # Fractions of the whole batch, times the processes: their mean over the processes is 1,
        # and the mean of the gradients is the gradient of the whole batch.
        fractions = own / self._summed(own) * self.trainer.world_size
        terms = self.vae.loss(
            batch,
            torch.full((1,), beta, device=self.device),
            atom_fraction=fractions[0],
            crystal_fraction=fractions[1],
        )
        found = {f"train/{name}": getattr(terms, name)[0] for name in TERMS}
        self.log_dict(found, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        return terms.total[0]

    def _summed(self, values: Tensor) -> Tensor:
        # The copy, as the sum is written over what it is given.
        summed: Tensor = self.trainer.strategy.reduce(values.clone(), reduce_op="sum")
        return summed

    def validation_step(self, batch: CrystalBatch, batch_idx: int) -> None:
        """Objective with the final beta and the fixed noise of the batch."""
        del batch_idx
        beta = final_beta(self.spec.beta) * self.vae.weights.kl
        terms = self.vae.loss(batch, torch.full((1,), beta, device=self.device))
        found = torch.stack([getattr(terms, name)[0] for name in TERMS])
        atoms = found.new_tensor([float(len(batch.species))])
        self._sums.append(torch.cat([found * atoms, atoms]))

    def on_validation_epoch_end(self) -> None:
        """Average over all atoms of all processes; each may have had another number of batches."""
        own = sum(self._sums, torch.zeros(4, device=self.device))
        self._sums.clear()
        *sums, atoms = self._summed(own).unbind()
        for name, value in zip(TERMS, sums, strict=True):
            self.log(f"val/{name}", value / atoms, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.prior is not None:
            checkpoint["latent_prior"] = prior_state(self.prior)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "latent_prior" in checkpoint:
            self.prior = prior_from(*checkpoint["latent_prior"])
