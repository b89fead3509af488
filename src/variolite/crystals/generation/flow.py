"""The flow prior: latents in training batches, fitting the network, and drawing from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Latents
from variolite.crystals.generation.conditions import (
    Conditions,
    ConditionTensors,
    Vocabulary,
    atoms_of,
)
from variolite.crystals.generation.flow_network import (
    FlowNetwork,
    integrate,
    point_and_velocity,
    training_times,
)
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.latents import LatentStatistics
from variolite.crystals.model.network import bf16_is_fast
from variolite.crystals.recipe import PriorSpec
from variolite.training.device import generator
from variolite.training.loop import Resume, Trained, minimise
from variolite.training.schedules import step_factor
from variolite.training.storage import EpochRecord

AVERAGE = 0.999
"""Decay of the moving average of weights; the average is what is kept."""

WARM_UP_STEPS = 100

CHECKS = 20
"""How many times the averaged weights are evaluated on validation crystals."""

VALIDATION_BATCH = 512

ATOMS_AT_ONCE = 4_096
"""Atoms whose latents are drawn in one batch."""


@dataclass(frozen=True)
class ConditionDropout:
    """Fractions of the training crystals whose conditions are dropped.

    Dropped conditions teach the network what to do where nothing is asked for, and make
    guidance possible (J. Ho and T. Salimans, 2022).

    Attributes
    ----------
    species
        Of crystals whose elements are dropped, all atoms at once.
    all_others
        Of crystals whose space group and properties are dropped together: what generation
        without conditions needs.
    each_other
        Of crystals, among the rest, whose space group is dropped, and each property alike.
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
    layout, conditions
        Sizes and conditions.
    """

    latents: Tensor
    noise: Tensor
    uniform: Tensor
    layout: Layout
    conditions: ConditionTensors


@dataclass(frozen=True)
class LatentSet:
    """Standardised posteriors of B crystals with N atoms on one device.

    Attributes
    ----------
    mean
        Shape (N, L).
    deviation
        Shape (N, L); None where the latents have no variances.
    conditions
        Of the crystals.
    offsets
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,).
    """

    mean: Tensor
    deviation: Tensor | None
    conditions: ConditionTensors
    offsets: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        latents: Latents,
        conditions: Conditions,
        vocabulary: Vocabulary,
        statistics: LatentStatistics,
        device: torch.device,
    ) -> LatentSet:
        """Standardise latents and copy them to a device."""
        deviation = None
        if latents.log_variance is not None:
            scaled = np.exp(0.5 * latents.log_variance) / statistics.scale
            deviation = torch.from_numpy(scaled.astype(np.float32)).to(device)
        return cls(
            torch.from_numpy(statistics.standardised(latents.mean)).to(device),
            deviation,
            ConditionTensors.of(conditions, vocabulary, device),
            latents.offsets,
        )

    def batch(
        self,
        chosen: NDArray[np.int64],
        random: torch.Generator,
        dropout: ConditionDropout | None = None,
    ) -> LatentBatch:
        """Gather crystals, sorted by size, draw from their posteriors, and drop conditions."""
        counts = np.diff(self.offsets)
        chosen = chosen[np.argsort(counts[chosen], kind="stable")]
        device = self.mean.device
        layout = Layout.of(counts[chosen], device)
        atoms = torch.from_numpy(atoms_of(self.offsets, chosen)).to(device)
        places = torch.from_numpy(chosen).to(device)
        # One row of noise starts the path, the other draws from the posterior.
        noise = torch.empty((2, len(atoms), self.mean.shape[1]), device=device)
        noise.normal_(generator=random)
        latents = self.mean[atoms]
        if self.deviation is not None:
            latents = torch.addcmul(latents, self.deviation[atoms], noise[1])
        conditions = ConditionTensors(
            self.conditions.tokens[atoms],
            self.conditions.space_groups[places],
            self.conditions.values[places],
            self.conditions.given[places],
        )
        # Rows: time; dropout of elements, of all others, of the space group, of each property.
        rows = 4 + conditions.values.shape[1]
        uniform = torch.rand((rows, len(chosen)), generator=random, device=device)
        if dropout is not None:
            kept = (uniform[3:] >= dropout.each_other) & (uniform[2] >= dropout.all_others)
            conditions = conditions.dropped(
                layout,
                (uniform[1] >= dropout.species).long(),
                kept[0].long(),
                kept[1:].float().T,
            )
        return LatentBatch(latents, noise[0], uniform[0], layout, conditions)


class LatentBatches:
    """Shuffled batches of some crystals of a set for every epoch.

    Everything random is a function of (seed, epoch), so that an interrupted run
    can be resumed exactly. The few crystals left over are not used in that epoch.

    Parameters
    ----------
    crystals
        The set.
    places
        Of those to train on, shape (n,).
    batch_size
        Crystals in a step.
    seed
        Of order, noise and times.
    dropout
        Of conditions.
    """

    def __init__(
        self,
        crystals: LatentSet,
        places: NDArray[np.int64],
        batch_size: int,
        seed: int,
        dropout: ConditionDropout,
    ) -> None:
        self.crystals, self.places, self.batch_size = crystals, places, batch_size
        self.seed, self.dropout = seed, dropout
        self.steps = max(1, len(places) // batch_size)

    def epoch(self, number: int) -> Iterator[LatentBatch]:
        """Yield the batches of one epoch."""
        random = generator(self.crystals.mean.device, self.seed, number)
        order = self.places[
            np.random.default_rng((self.seed, number)).permutation(len(self.places))
        ]
        for start in range(0, self.steps * self.batch_size, self.batch_size):
            yield self.crystals.batch(order[start : start + self.batch_size], random, self.dropout)


def fit_flow(
    network: FlowNetwork,
    training: LatentBatches,
    validation: NDArray[np.int64],
    spec: PriorSpec,
    *,
    precision: str = "auto",
    resume: Resume | None = None,
    log: Callable[[str], None] | None = None,
) -> Trained:
    """Fit a network in place and leave it with averaged weights.

    Parameters
    ----------
    network
        On the device of the crystals.
    training
        Batches of crystals.
    validation
        Places in the same set of the crystals that choose the epoch that is kept; where
        there are none, it is the last.
    spec
        Its epochs and its learning rate apply: that is the largest, reached over the first
        hundred steps and left along half a cosine.
    precision
        ``auto`` rounds matrix products to bfloat16 where the processor has them;
        ``float32`` never does.
    resume
        Where to keep the state of training; an existing one is continued.
    log
        Called with the progress after every epoch.

    Raises
    ------
    TrainingError
        If the loss stops being a finite number.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    device = training.crystals.mean.device
    network.bf16 = precision == "auto" and bf16_is_fast(device)
    steps = training.steps * spec.epochs
    began, passed = time.monotonic(), 0

    def loss(batch: LatentBatch) -> Tensor:
        return _squared_error(network, batch).view(1)

    def validate() -> Tensor:
        random, total, atoms = generator(device, 0), torch.zeros(1, device=device), 0
        for start in range(0, len(validation), VALIDATION_BATCH):
            batch = training.crystals.batch(validation[start : start + VALIDATION_BATCH], random)
            total += loss(batch) * len(batch.latents)
            atoms += len(batch.latents)
        return total / atoms

    def on_epoch(record: EpochRecord) -> None:
        nonlocal passed
        passed += 1
        left = (time.monotonic() - began) / passed * (spec.epochs - record.epoch - 1)
        if log is not None:
            log(
                f"prior: epoch {record.epoch + 1}/{spec.epochs}, "
                f"loss {record.train_total[0]:.4f}, at most {left:.0f} s left"
            )

    trained = minimise(
        network,
        loss,
        training,
        validate,
        epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        step_factor=lambda step: step_factor(step, steps, WARM_UP_STEPS),
        average=AVERAGE,
        checks=CHECKS if len(validation) else 0,
        part="prior",
        resume=resume,
        on_epoch=on_epoch,
    )
    network.eval()
    return trained


def _squared_error(network: FlowNetwork, batch: LatentBatch) -> Tensor:
    """Mean squared error of velocities over atoms and dimensions."""
    time_of_crystal = training_times(batch.uniform)
    time_of_atom = time_of_crystal[batch.layout.owner].unsqueeze(1)
    seen, answer = point_and_velocity(batch.latents, batch.noise, time_of_atom)
    with _half_precision(seen.device):
        found = network(seen, time_of_crystal, batch.layout, batch.conditions)
    error: Tensor = (found.float() - answer).square().mean()
    return error


def _half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Use bfloat16 where a GPU makes it cheap."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@dataclass(frozen=True)
class FlowPrior:
    """A fitted network with what its conditions mean.

    Attributes
    ----------
    network
        In evaluation mode.
    vocabulary
        Of its conditions.
    """

    network: FlowNetwork
    vocabulary: Vocabulary

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        *,
        seed: int,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> NDArray[np.float32]:
        """Draw standardised latents for crystals of known sizes, shape (N, L).

        Parameters
        ----------
        conditions
            Sizes and what else is wanted.
        seed
            Of the noise.
        temperature
            Deviation of the noise that the path starts from.
        guidance
            Weight w of what is asked for: free + w (conditioned - free) (J. Ho and T.
            Salimans, 2022). 1 follows the conditions as they were learned, and costs
            half of any other weight.
        steps
            Of the solver.
        """
        device = next(self.network.parameters()).device
        found = np.empty((len(conditions.species), self.network.shape.latent), dtype=np.float32)
        # Sorted by size, so that attention works on few groups of crystals of equal size.
        order = np.argsort(conditions.counts, kind="stable")
        part = (np.cumsum(conditions.counts[order]) - 1) // ATOMS_AT_ONCE
        for number in np.unique(part):
            chosen = order[part == number]
            some = conditions.take(chosen)
            noise = torch.randn(
                (len(some.species), found.shape[1]),
                generator=generator(device, seed, int(number)),
                device=device,
            )
            drawn = self._follow(noise * temperature, some, guidance, steps)
            found[atoms_of(conditions.offsets, chosen)] = drawn.float().cpu().numpy()
        return found

    def _follow(self, noise: Tensor, some: Conditions, guidance: float, steps: int) -> Tensor:
        layout = Layout.of(some.counts, noise.device)
        conditions = ConditionTensors.of(some, self.vocabulary, noise.device)
        free = conditions.free()
        guided = guidance != 1.0 and conditions.any

        def velocity(z: Tensor, time: Tensor) -> Tensor:
            times = time.expand(len(layout.counts))
            with _half_precision(z.device):
                own: Tensor = self.network(z, times, layout, conditions).float()
                if not guided:
                    return own
                return torch.lerp(self.network(z, times, layout, free).float(), own, guidance)

        return integrate(velocity, noise, steps)
