"""Fitting a flow prior over latents, and the prior once it is fitted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.generation.conditions import Conditions, Known, Vocabulary, atoms_of
from variolite.crystals.generation.flow_network import (
    SetTransformer,
    Shape,
    integrate,
    point_and_velocity,
    training_times,
)
from variolite.crystals.latents import Latents, LatentStatistics
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.network import bf16_is_fast
from variolite.errors import ModelFileError
from variolite.recipe import ConstantBeta, TrainingSpec
from variolite.training.loop import Resume, Trained, Validation, train
from variolite.training.schedules import step_factor
from variolite.training.storage import EpochRecord
from variolite.training.tabular_model import generator
from variolite.vae import LossTerms

# Training crystals of a latent prior, handed out in shuffled batches sorted by size.


@dataclass(frozen=True)
class ConditionDropout:
    """Fractions of the training crystals whose conditions are dropped.

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
        *,
        batch_size: int = 32,
        seed: int = 0,
        dropout: ConditionDropout | None = None,
    ) -> None:
        self.device = device
        self.batch_size, self.seed, self.dropout = batch_size, seed, dropout
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

    @property
    def steps(self) -> int:
        """Batches in an epoch; the few crystals left over sit it out."""
        return max(1, len(self) // self.batch_size)

    def epoch(self, number: int) -> Iterator[LatentBatch]:
        """Yield the batches of one epoch."""
        random = generator(self.device, self.seed, number)
        order = np.random.default_rng((self.seed, number)).permutation(len(self))
        for step in range(self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch(chosen, random, self.dropout)

    def whole(self, batch: int, seed: int) -> Iterator[LatentBatch]:
        """Yield all crystals once with noise that depends on the seed alone; nothing is hidden."""
        random = generator(self.device, seed)
        for start in range(0, len(self), batch):
            yield self._batch(np.arange(start, min(start + batch, len(self))), random, None)

    def _batch(
        self,
        chosen: NDArray[np.int64],
        random: torch.Generator,
        dropout: ConditionDropout | None,
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
        if dropout is not None:
            told = (uniform[3:] >= dropout.each_other) & (uniform[2] >= dropout.all_others)
            known = known.dropped(
                layout,
                (uniform[1] >= dropout.species).long(),
                told[0].long(),
                told[1:].float().T,
            )
        return LatentBatch(latents, noise[0], uniform[0], layout, known)


# Fitting the network of a flow prior: Adam, a cosine rate, averaged weights.


WARM_UP_STEPS = 100
CHECKS = 20
"""How many times the averaged weights are evaluated on validation crystals."""


@dataclass(frozen=True)
class FlowSettings:
    """How a flow prior is fitted.

    Attributes
    ----------
    width, layers, heads
        Of the set transformer.
    epochs
        Passes over the training crystals.
    batch
        Crystals a step.
    rate
        Largest learning rate; it rises over the first hundred steps and falls to
        nothing along a half cosine.
    average
        Decay of the moving average of weights; the average is what is kept.
    clip
        Largest norm of a gradient.
    dropout
        Fractions of conditions hidden in training.
    precision
        ``auto`` rounds matrix products to bfloat16 where the processor has them;
        ``float32`` never does.
    """

    width: int = 128
    layers: int = 6
    heads: int = 4
    epochs: int = 100
    batch: int = 32
    rate: float = 5e-3
    average: float = 0.999
    clip: float = 1.0
    dropout: ConditionDropout = field(default_factory=ConditionDropout)
    precision: str = "auto"


def fit_flow(
    network: SetTransformer,
    training: LatentSets,
    validation: LatentSets | None,
    settings: FlowSettings,
    *,
    resume: Resume | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Fit a network in place and leave it with averaged weights.

    Parameters
    ----------
    network
        On the device of the crystals.
    training, validation
        Crystals; those for validation choose the epoch that is kept, without any it is
        the last.
    settings
        How to train.
    resume
        Where to keep the state of training; an existing one is continued.
    tell
        Called with the progress after every epoch.

    Raises
    ------
    TrainingError
        If the loss stops being a finite number.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    network.rounded = settings.precision == "auto" and bf16_is_fast(training.device)
    began, told = time.monotonic(), 0

    def on_epoch(record: EpochRecord) -> None:
        nonlocal told
        told += 1
        left = (time.monotonic() - began) / told * (settings.epochs - record.epoch - 1)
        if tell is not None:
            tell(
                f"prior: epoch {record.epoch + 1}/{settings.epochs}, "
                f"loss {record.train_total[0]:.4f}, at most {left:.0f} s left"
            )

    def validate() -> Validation:
        assert validation is not None
        total, atoms = torch.zeros(1, device=validation.device), 0
        for batch in validation.whole(512, seed=0):
            total += _loss(network, batch) * len(batch.latents)
            atoms += len(batch.latents)
        return Validation(total / atoms, torch.zeros_like(total), torch.zeros_like(total))

    def loss(batch: LatentBatch, beta: Tensor) -> LossTerms:
        error = _loss(network, batch).view(1)
        return LossTerms(error, error, beta)

    steps = training.steps * settings.epochs
    trained = train(
        network,
        loss,
        training,
        None if validation is None else validate,
        TrainingSpec(
            beta=ConstantBeta(value=0.0),
            epochs=settings.epochs,
            patience=None,
            gradient_clip=settings.clip,
        ),
        learning_rate=settings.rate,
        betas=[0.0],
        step_factor=lambda step: step_factor(step, steps, WARM_UP_STEPS),
        average=settings.average,
        checks=0 if validation is None else CHECKS,
        part="prior",
        resume=resume,
        on_epoch=on_epoch,
    )
    network.eval()
    return trained


def _loss(network: SetTransformer, batch: LatentBatch) -> Tensor:
    """Mean squared error over atoms and dimensions."""
    time_of_set = training_times(batch.uniform)
    seen, answer = point_and_velocity(
        batch.latents, batch.noise, time_of_set[batch.layout.owner].unsqueeze(1)
    )
    with half_precision(seen.device):
        found = network(seen, time_of_set, batch.layout, batch.known)
    error: Tensor = (found.float() - answer).square().mean()
    return error


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Use bfloat16 where a GPU makes it cheap."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


# A flow prior once it is fitted: conditions in, standardised latents out.


ATOMS_AT_ONCE = 4_096


@dataclass(frozen=True)
class FlowPrior:
    """A set transformer that moves noise to latents.

    Attributes
    ----------
    network
        Fitted, in evaluation mode.
    vocabulary
        Of its conditions.
    """

    network: SetTransformer
    vocabulary: Vocabulary

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        return self.network.shape.latent

    def to(self, device: torch.device) -> None:
        """Move the network to another device."""
        self.network.to(device)

    def sample(
        self,
        known: Known,
        *,
        seed: int,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> NDArray[np.float32]:
        """Draw standardised latents for crystals of known sizes, shape (N, L).

        Parameters
        ----------
        known
            Sizes and conditions.
        seed
            Of the noise.
        temperature
            Deviation of the noise that the path starts from.
        guidance
            Weight w of what is asked for: free + w (told - free) (J. Ho and T.
            Salimans, 2022). 1 follows the conditions as they were learned, and costs
            half of any other weight.
        steps
            Of the sampler.
        """
        device = next(self.network.parameters()).device
        order = np.argsort(known.counts, kind="stable")
        found = np.empty((len(known.species), self.network.shape.latent), dtype=np.float32)
        ends = np.cumsum(known.counts[order])
        part = (ends - 1) // ATOMS_AT_ONCE
        for number in np.unique(part):
            chosen = order[part == number]
            some = known.take(chosen)
            layout = Layout.of(some.counts, device)
            told = Conditions.of(some, self.vocabulary, device)
            shape = (len(some.species), found.shape[1])
            noise = torch.randn(
                shape, generator=generator(device, seed, int(number)), device=device
            )
            drawn = self._follow(noise * temperature, layout, told, guidance, steps)
            found[atoms_of(known.offsets, chosen)] = drawn.float().cpu().numpy()
        return found

    @torch.no_grad()
    def _follow(
        self, noise: Tensor, layout: Layout, told: Conditions, guidance: float, steps: int
    ) -> Tensor:
        free = told.free()
        guided = guidance != 1.0 and told.any

        def velocity(z: Tensor, time: Tensor) -> Tensor:
            times = time.expand(len(layout.counts))
            with half_precision(z.device):
                own: Tensor = self.network(z, times, layout, told).float()
                if not guided:
                    return own
                return torch.lerp(self.network(z, times, layout, free).float(), own, guidance)

        return integrate(velocity, noise, steps)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: value.detach().cpu() for name, value in self.network.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Return the sizes of the network, JSON-able."""
        return self.network.shape.to_dict()

    @classmethod
    def rebuild(
        cls,
        description: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        vocabulary: Vocabulary,
    ) -> FlowPrior:
        """Rebuild a prior from `description` and `to_tensors`.

        Raises
        ------
        ModelFileError
            If the tensors do not fit the sizes.
        """
        shape = Shape(**{name: int(description[name]) for name in Shape.__dataclass_fields__})
        network = blank_network(shape, seed=0)
        load_exactly(network, tensors, "the network of the prior")
        return cls(network.eval(), vocabulary)


def blank_network(shape: Shape, seed: int) -> SetTransformer:
    """Return a network whose starting weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SetTransformer(shape)


def load_exactly(module: torch.nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load a state whose names, shapes and types are those of the module.

    Raises
    ------
    ModelFileError
        If a tensor is missing, foreign or of another shape or type.
    """
    expected = module.state_dict()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            raise ModelFileError(
                f"tensor {name} of {what} should be {tuple(own.shape)} {own.dtype}, found {found}"
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ModelFileError(f"unexpected tensor {extra[0]} in {what}")
    module.load_state_dict(dict(tensors))
