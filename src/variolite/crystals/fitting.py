"""From crystals in their frame to a trained network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.store import fingerprint
from variolite.crystals.model.batch import (
    CrystalBatches,
    CrystalTensors,
    coordinates_of,
    evaluation_batches,
    log_metric,
    wrapped,
)
from variolite.crystals.model.network import (
    CrystalArchitecture,
    CrystalModule,
    LossWeights,
    fast_products,
)
from variolite.errors import TrainingError
from variolite.recipe import CrystalRecipe, LossSpec
from variolite.training.device import choose_device
from variolite.training.loop import Resume, Validation, train
from variolite.training.storage import EpochRecord

ACTIVE_NATS = 0.01
"""Mean KL above which a latent dimension counts as active."""

VALIDATION_SEED = 20_240_901

BATCH_SIZE = 128
RATE = 3e-3
"""At a batch of 128 crystals; the best of 1e-3, 2e-3, 3e-3 and 5e-3 at width 128 or close to it."""

LEAST_SCALE = 0.02
"""Smallest scale of a log metric: angles of cubic cells do not vary at all."""


@dataclass(frozen=True)
class FittedCrystals:
    """A trained network and how it came about."""

    module: CrystalModule
    history: list[EpochRecord]
    best_epoch: int
    device: str
    batch_size: int
    rate: float
    parameters: int


@contextmanager
def all_threads() -> Iterator[None]:
    """Use every core for a network that is large enough, unless the user says otherwise."""
    before = torch.get_num_threads()
    if os.environ.get("VARIOLITE_DEFAULT_THREADS"):
        torch.set_num_threads(
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(recipe: CrystalRecipe, crystals: Crystals, *, features: int = 0) -> CrystalModule:
    """Return an untrained network for training crystals in their frame."""
    spec, seed = recipe.model, recipe.training.seed
    architecture = CrystalArchitecture(
        elements=tuple(int(z) for z in np.unique(crystals.species)),
        latent=spec.latent,
        width=spec.width,
        heads=spec.heads,
        feedforward=spec.feedforward,
        encoder_layers=spec.encoder_layers,
        decoder_layers=spec.decoder_layers,
        waves=spec.waves,
        species_given="species" in spec.given,
        features=features,
    )
    module = CrystalModule(architecture, _weights(recipe.loss), seed)
    metric = log_metric(crystals.lattices, crystals.counts)
    scale = np.maximum(metric.std(axis=0), LEAST_SCALE)
    module.set_metric_statistics(metric.mean(axis=0).tolist(), scale.tolist())
    return module


def _weights(spec: LossSpec) -> LossWeights:
    return LossWeights(
        reconstruction=spec.reconstruction,
        species=spec.species,
        coordinates=spec.coordinates,
        lattice=spec.lattice,
        alignment=spec.alignment,
    )


def fit_crystals(
    module: CrystalModule,
    training: Crystals,
    validation: Crystals,
    recipe: CrystalRecipe,
    *,
    features: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    on_start: Callable[[str], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> FittedCrystals:
    """Train a network in place.

    Parameters
    ----------
    module
        From `build`.
    training, validation
        In the frame of the module.
    recipe
        Its ``training`` and ``loss`` apply.
    features
        Standardised foundation features of training and validation atoms, (N, F) each.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    checkpoint
        File to keep the state in; an existing one of the same run is continued.
    on_start
        Told what was chosen.
    on_epoch
        Called after every epoch.

    Raises
    ------
    TrainingError
        If there are too few crystals or the loss diverges.
    """
    if len(training) < 2 or not len(validation):
        raise TrainingError(
            f"{len(training)} crystals to train on and {len(validation)} to validate with "
            "are too few",
            hint="give more structures, or a smaller split.test",
        )
    spec = recipe.training
    parameters = sum(p.numel() for p in module.parameters())
    atoms = len(training.species) / len(training)
    where, reason = choose_device(device, int(parameters * atoms))
    module.to(where)
    module.round_products(spec.precision == "auto" and fast_products(where))
    batch_size = BATCH_SIZE if spec.batch_size == "auto" else spec.batch_size
    rate = RATE if spec.learning_rate == "auto" else spec.learning_rate
    known, held = (None, None) if features is None else features
    tensors = CrystalTensors.of(training, where, known)
    held_back = CrystalTensors.of(validation, where, held)
    latent = module.architecture.latent
    source = CrystalBatches(tensors, batch_size, latent, spec.seed)
    if on_start is not None:
        on_start(
            f"{reason}; {len(training):,} crystals of {atoms:.1f} atoms, {source.steps} steps of "
            f"{source.batch_size}, rate {rate:.2g}, {parameters:,} weights"
        )
    resume = None
    if checkpoint is not None:
        content = recipe.model_dump(mode="json")
        # Checkpoints of earlier versions were signed with the sizes of a prior that was removed.
        content["prior"] |= {"crystals": 32, "atoms": 64}
        settings = [asdict(module.architecture), content]
        digest = hashlib.sha256(json.dumps(settings).encode())
        digest.update((fingerprint(training) + fingerprint(validation)).encode())
        resume = Resume(checkpoint, digest.hexdigest())
    with all_threads():
        trained = train(
            module,
            module.loss,
            source,
            lambda: _validate(module, held_back),
            spec,
            learning_rate=rate,
            betas=[recipe.loss.divergence],
            resume=resume,
            on_epoch=on_epoch,
        )
    module.to("cpu").eval()
    return FittedCrystals(
        module,
        trained.history,
        trained.best_epochs[0],
        reason,
        source.batch_size,
        rate,
        parameters,
    )


def _validate(module: CrystalModule, tensors: CrystalTensors) -> Validation:
    """Average the objective over validation crystals, with fixed noise, and measure the mean."""
    latent = module.architecture.latent
    one = torch.ones(1, device=tensors.species.device)
    atoms = len(tensors.species)
    parts, per_dimension, errors, lattices = [], [], [], []
    for batch in evaluation_batches(tensors, latent, noise_seed=VALIDATION_SEED):
        share = len(batch.species) / atoms
        found = module.loss(batch, one)
        parts.append(torch.stack([found.reconstruction[0], found.divergence[0]]) * share)
        posterior = module.infer(batch)
        per_dimension.append(posterior.divergence_per_dimension()[0].mean(0) * share)
        decoded = module.generate(posterior.mean[0], batch.layout, batch.species)
        difference = wrapped(coordinates_of(decoded.pairs) - batch.coordinates)
        cell = batch.lattice.index_select(0, batch.layout.owner)
        errors.append((difference.unsqueeze(1) @ cell).norm(dim=-1).squeeze(1))
        # The trace of the log metric is the logarithm of the volume per atom.
        lattices.append((decoded.metric - batch.metric)[:, :3].sum(1).abs())
    total = torch.stack(parts).sum(0)
    active = (torch.stack(per_dimension).sum(0) > ACTIVE_NATS).sum().view(1)
    distance = torch.cat(errors)
    measures = {
        "position_error_median_angstrom": _rounded(distance.median()),
        "position_error_mean_angstrom": _rounded(distance.mean()),
        "volume_error_percent": _rounded(100.0 * torch.cat(lattices).mean()),
    }
    return Validation(total[:1], total[1:], active, measures)


def _rounded(value: Tensor) -> float:
    return round(float(value), 5)
