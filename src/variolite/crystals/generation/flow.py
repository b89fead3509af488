"""Fitting a flow prior over latents, and the prior once it is fitted."""

from __future__ import annotations

import contextlib
import math
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
from variolite.crystals.model.network import fast_products
from variolite.errors import ModelFileError, TrainingError
from variolite.training.loop import CHECKPOINT_SECONDS, Resume, StoppedByUserError
from variolite.training.optimiser import Adam, FlatParameters
from variolite.training.storage import Checkpoint, load_checkpoint, save_checkpoint
from variolite.training.tabular_model import generator

# Training crystals of a latent prior, handed out in shuffled batches sorted by size.


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


# Fitting the network of a flow prior: Adam, a cosine rate, averaged weights.


WARM_UP_STEPS = 100
CHECKS = 20
"""How many times the averaged weights are judged on held-back crystals."""


@dataclass(frozen=True)
class FieldSettings:
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
    forgetting
        Shares of conditions hidden in training.
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
    forgetting: Forgetting = field(default_factory=Forgetting)
    precision: str = "auto"


@dataclass(frozen=True)
class Fitted:
    """How fitting went.

    Attributes
    ----------
    losses
        Mean training loss of every epoch.
    held_back
        Epoch and loss of the averaged weights on held-back crystals, at every check.
    kept_epoch
        Epoch whose averaged weights were kept: the one with the least loss on
        held-back crystals, or the last where none are held back.
    """

    losses: list[float]
    held_back: list[tuple[int, float]]
    kept_epoch: int


def fit_field(
    network: SetTransformer,
    training: LatentSets,
    held_back: LatentSets | None,
    settings: FieldSettings,
    *,
    seed: int = 0,
    resume: Resume | None = None,
    tell: Callable[[str], None] | None = None,
) -> Fitted:
    """Fit a network in place and leave it with averaged weights.

    Parameters
    ----------
    network
        On the device of the crystals.
    training, held_back
        Crystals; those held back choose the epoch that is kept.
    settings
        How to train.
    seed
        Of order, noise and times.
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
    flat = FlatParameters(network, 1)
    device = flat.values.device
    network.rounded = settings.precision == "auto" and fast_products(device)
    optimiser = Adam(flat, torch.full((1,), settings.rate, device=device), settings.clip)
    average, best = flat.values.clone(), flat.values.clone()
    steps = training.steps(settings.batch)
    losses: list[float] = []
    checks: list[tuple[int, float]] = []
    stored = load_checkpoint(resume.path, resume.fingerprint) if resume else None
    if stored is not None:
        optimiser.restore(stored.tensors, stored.steps)
        average.copy_(stored.tensors["average"])
        best.copy_(stored.tensors["best"])
        losses = list(stored.progress["losses"])
        checks = [(int(epoch), float(loss)) for epoch, loss in stored.progress["checks"]]

    def whole_epochs(fingerprint: str) -> Checkpoint:
        tensors = {**optimiser.state(), "average": average, "best": best}
        copies = {name: value.clone() for name, value in tensors.items()}
        progress = {"losses": list(losses), "checks": list(checks)}
        return Checkpoint(fingerprint, len(losses), optimiser.steps, copies, progress, [])

    network.train()
    began = saved = time.monotonic()
    first = len(losses)
    latest: Checkpoint | None = stored
    try:
        for epoch in range(first, settings.epochs):
            sums = torch.zeros((), device=device)
            for batch in training.epoch(epoch, settings.batch, seed, settings.forgetting):
                share = optimiser.steps / (steps * settings.epochs)
                rate = settings.rate * _rate_share(optimiser.steps, share)
                optimiser.rate = torch.full((1,), rate, device=device)
                loss = _loss(network, batch)
                flat.collect(loss)
                optimiser.step()
                decay = min(settings.average, (1 + optimiser.steps) / (10 + optimiser.steps))
                average.lerp_(flat.values, 1.0 - decay)
                sums += loss.detach()
            losses.append(_finite(float(sums) / steps, epoch))
            if _is_checked(epoch, settings.epochs):
                checks.append((epoch, _check(network, held_back, flat, average)))
                if checks[-1][1] <= min(loss for _, loss in checks):
                    best.copy_(average)
            if tell is not None:
                tell(_progress(epoch, settings.epochs, losses[-1], began, first))
            if resume is not None:
                latest = whole_epochs(resume.fingerprint)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(resume.path, latest)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        # Weights move within an epoch: only the copy made at the end of the last is whole.
        if resume is not None and latest is not None:
            save_checkpoint(resume.path, latest)
        kept = resume is not None and resume.path.is_file()
        raise StoppedByUserError(
            f"stopped by the user in epoch {len(losses) + 1} of {settings.epochs} of the prior",
            hint="the same command goes on from here" if kept else "nothing was stored",
        ) from None
    with torch.no_grad():
        flat.values.copy_(best)
    network.eval()
    kept_epoch = min(checks, key=lambda check: check[1])[0] if checks else -1
    return Fitted(losses, [] if held_back is None else checks, kept_epoch)


def _rate_share(step: int, share: float) -> float:
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.5 * (1.0 + math.cos(math.pi * share)), 1e-4)


def _is_checked(epoch: int, epochs: int) -> bool:
    return (epoch + 1) * CHECKS // epochs > epoch * CHECKS // epochs


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


@torch.no_grad()
def _check(
    network: SetTransformer,
    held_back: LatentSets | None,
    flat: FlatParameters,
    average: Tensor,
) -> float:
    """Loss of the averaged weights on held-back crystals; falls by itself where there are none."""
    if held_back is None:
        return 0.0
    own = flat.values.clone()
    flat.values.copy_(average)
    network.eval()
    total, atoms = 0.0, 0
    for batch in held_back.whole(512, seed=0):
        total += float(_loss(network, batch)) * len(batch.latents)
        atoms += len(batch.latents)
    flat.values.copy_(own)
    network.train()
    return total / atoms


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of the latent prior is not a finite number after epoch {epoch + 1}",
            where="prior",
            hint="lower prior.learning_rate",
        )
    return loss


def _progress(epoch: int, epochs: int, loss: float, began: float, first: int) -> str:
    left = (time.monotonic() - began) / (epoch + 1 - first) * (epochs - epoch - 1)
    return f"prior: epoch {epoch + 1}/{epochs}, loss {loss:.4f}, at most {left:.0f} s left"


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
