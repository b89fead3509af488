"""The flow prior: a network from noise to latents, how it is fitted, and how it is followed.

Time runs from noise at 0 to latents at 1. Flow matching (Y. Lipman et al., 2023; X. Liu et al.,
2023) learns the velocity of the straight path z_t = (1 - t) start + t z, which is z - start.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.crystals import ragged_places
from variolite.crystals.generation.conditions import (
    DROPPED_EACH,
    DROPPED_TOGETHER,
    SPACE_GROUPS,
    ConditionTensors,
    Integers,
)
from variolite.crystals.generation.starts import Start, StartMeans
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.network import attend, bf16_is_fast, feed_forward, linear
from variolite.crystals.recipe import PriorSpec
from variolite.training.device import generator
from variolite.training.loop import Resume, Trained, minimise
from variolite.training.optimiser import step_factor
from variolite.training.storage import EpochRecord

FREQUENCIES = 32

AVERAGE = 0.999  # decay of the moving average of weights; the average is what is kept
WARM_UP_STEPS = 100

CHECKS = 20  # how many times the averaged weights are evaluated on validation crystals
VALIDATION_BATCH = 512

DROPPED_GROUP = 0.1  # fraction of the training crystals whose space group is dropped


@dataclass(frozen=True)
class FlowShape:
    """Sizes of the network; its feed-forward parts are four times as wide as the rest."""

    latent: int
    elements: int
    properties: int
    width: int
    layers: int
    heads: int
    prototypes: int = 0
    sites: int = 0


class FlowNetwork(nn.Module):
    """A transformer over the atoms of each crystal: (latents, time, conditions) to velocities.

    No atom has a place in its crystal, so the network is equivariant to their order by
    construction. Conditions of the whole crystal scale and shift the normalised activations of
    every layer (adaptive layer normalisation, W. Peebles and S. Xie, 2023), by one shared network
    and a small table per layer (J. Chen et al., 2023); the element of an atom and its site in a
    prototype are added to its vector. With ``bf16`` the factors of the products of the layers are
    rounded to bfloat16 while training. Samples are drawn in float32, so that a seed means the same
    on every processor.
    """

    def __init__(self, shape: FlowShape, seed: int = 0) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.bf16 = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.enter = nn.Linear(shape.latent, width)
            self.species = nn.Embedding(shape.elements + 1, width)
            self.space_group = nn.Embedding(SPACE_GROUPS, width)
            self.number = nn.Linear(2 * FREQUENCIES, width)
            self.properties = nn.Linear(2 * shape.properties, width) if shape.properties else None
            self.time = nn.Linear(2 * FREQUENCIES, width)
            self.whole = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
            self.modulate = nn.Linear(width, 6 * width)
            self.blocks = nn.ModuleList(_Block(width, shape.heads) for _ in range(shape.layers))
            self.last = nn.Linear(width, 2 * width)
            self.leave = nn.Linear(width, shape.latent)
            # What the prototype adds to latents, and 1 where there is one.
            self.site = nn.Linear(shape.latent + 1, width, bias=False)
            nn.init.normal_(self.species.weight, std=0.5)
            nn.init.normal_(self.space_group.weight, std=0.1)
        # Every block starts as the identity and the velocity at 0, which makes deep stacks train.
        for layer in (self.modulate, self.last, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # unknown adds nothing to begin with
            self.species.weight[0].zero_()
            self.space_group.weight[0].zero_()
        self.start = Start(shape.latent, shape.elements, shape.prototypes, shape.sites)

    def forward(
        self,
        latents: Tensor,
        time: Tensor,
        layout: Layout,
        conditions: ConditionTensors,
        means: StartMeans,
    ) -> Tensor:
        """Velocities (N, L) at points of the path (N, L) and times of the crystals (B,)."""
        # Everything known of a crystal goes into one vector (B, W) ...
        # Atoms number 1 to a few hundred: the logarithm, over 8, is of order 1 as time is.
        whole = self.time(_fourier(time)) + self.number(_fourier(layout.counts.log2() / 8.0))
        whole = whole + self.space_group(conditions.space_groups)
        if self.properties is not None:
            # A mask (B, P) beside the values: 0 may be a value or stand for unknown.
            given = torch.cat([conditions.values, conditions.given], dim=1)
            whole = whole + self.properties(given)
        whole = self.whole(whole)
        # ... from which each block takes six of width W: scale, shift and gate of both its parts.
        shared = self.modulate(whole)
        kinds = means.kinds.index_select(0, layout.owner).unsqueeze(1)
        sites = means.base - self.start.mean[conditions.tokens]
        x = self.enter(latents) + self.species(conditions.tokens)
        x = x + self.site(torch.cat([sites, kinds], dim=1))
        for block in self.blocks:
            x = block(x, shared, layout, bf16=self.bf16 and self.training)
        scale, shift = self.last(whole).chunk(2, dim=1)
        velocity: Tensor = self.leave(_modulated(x, scale, shift, layout))
        return velocity


class _Block(nn.Module):
    """Attention within each crystal, then a feed-forward part; both modulated."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.randn(6 * width) * 0.02)
        self.mixing = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, shared: Tensor, layout: Layout, *, bf16: bool) -> Tensor:
        # The table (6 W,) is what this layer adds to the modulation (B, 6 W) that all share.
        scale, shift, gate, scale_2, shift_2, gate_2 = (shared + self.table).chunk(6, dim=1)
        # Queries, keys and values (N, 3 W) to (N, W); no atom sees another crystal.
        h = linear(_modulated(x, scale, shift, layout), self.mixing, bf16=bf16)
        h = linear(attend(h, layout, self.heads), self.mixed, bf16=bf16)
        # The residual stream (N, W) stays float32 in either case.
        x = x + gate.index_select(0, layout.owner) * h
        seen = _modulated(x, scale_2, shift_2, layout)
        h = feed_forward(seen, self.wide, self.narrow, bf16=bf16)
        return x + gate_2.index_select(0, layout.owner) * h


def _modulated(x: Tensor, scale: Tensor, shift: Tensor, layout: Layout) -> Tensor:
    """Normalise atoms (N, W), then scale and shift them by vectors of their crystal (B, W)."""
    normal = functional.layer_norm(x, x.shape[-1:])
    of_atoms = [vector.index_select(0, layout.owner) for vector in (shift, scale)]
    return torch.addcmul(of_atoms[0], normal, 1.0 + of_atoms[1])


def _fourier(value: Tensor) -> Tensor:
    """Sines and cosines of a number of order 1, (B,) to (B, 2 F)."""
    # Angular frequencies from 2 to about 400 in equal ratios.
    steps = torch.arange(FREQUENCIES, device=value.device, dtype=torch.float32)
    angles = value.float().unsqueeze(1) * torch.exp(steps * (math.log(200.0) / FREQUENCIES)) * 2.0
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LatentBatch(NamedTuple):
    """Standardised latents of a few crystals (N, L), with what training makes of them.

    Noise of the atoms and the crystals that paths start from, (N + B, L), and uniform numbers that
    times are made of, (B,).
    """

    latents: Tensor
    means: StartMeans
    noise: Tensor
    uniform: Tensor
    layout: Layout
    conditions: ConditionTensors


@dataclass(frozen=True)
class LatentSet:
    """Standardised posterior means (N, L) of B crystals with N atoms on one device, and conditions.

    Atoms of crystal i are ``offsets[i]:offsets[i + 1]``. Draws from the posterior instead of the
    means would teach that atoms are a little out of place.
    """

    mean: Tensor
    conditions: ConditionTensors
    offsets: Integers
    means: StartMeans

    def batch(
        self, chosen: Integers, random: torch.Generator, *, training: bool = False
    ) -> LatentBatch:
        """Gather crystals, sorted by size, and drop conditions.

        In training at random; else as generation does, which is given elements and a space group.
        """
        counts = np.diff(self.offsets)
        chosen = chosen[np.argsort(counts[chosen], kind="stable")]
        device = self.mean.device
        layout = Layout.of(counts[chosen], device)
        places = ragged_places(self.offsets[:-1][chosen], counts[chosen])
        atoms = torch.from_numpy(places).to(device)
        conditions = self.conditions.take(atoms, torch.from_numpy(chosen).to(device))
        noise = torch.empty((len(atoms) + len(chosen), self.mean.shape[1]), device=device)
        noise.normal_(generator=random)
        # Rows: time; dropout of the space group, of all properties, of each.
        rows = 3 + conditions.values.shape[1]
        uniform = torch.rand((rows, len(chosen)), generator=random, device=device)
        group, properties = uniform[1] >= DROPPED_GROUP, uniform[3:] >= DROPPED_EACH
        properties &= uniform[2] >= DROPPED_TOGETHER
        if not training:
            group, properties = torch.ones_like(group), torch.zeros_like(properties)
        conditions = conditions.dropped(group.long(), properties.float().T)
        means = self.means.take(atoms, torch.from_numpy(chosen).to(device))
        return LatentBatch(self.mean[atoms], means, noise, uniform[0], layout, conditions)


class LatentBatches:
    """Shuffled batches of the crystals at some places (n,) of a set, for every epoch.

    Everything random is a function of (seed, epoch), so that an interrupted run
    can be resumed exactly. The few crystals left over are not used in that epoch.
    """

    def __init__(self, crystals: LatentSet, places: Integers, batch_size: int, seed: int) -> None:
        self.crystals, self.places, self.batch_size, self.seed = crystals, places, batch_size, seed
        self.steps = max(1, len(places) // batch_size)

    def epoch(self, number: int) -> Iterator[LatentBatch]:
        """Yield the batches of one epoch."""
        random = generator(self.crystals.mean.device, self.seed, number)
        order = np.random.default_rng((self.seed, number)).permutation(len(self.places))
        for start in range(0, self.steps * self.batch_size, self.batch_size):
            chosen = self.places[order[start : start + self.batch_size]]
            yield self.crystals.batch(chosen, random, training=True)


def fit_flow(
    network: FlowNetwork,
    training: LatentBatches,
    validation: Integers,
    spec: PriorSpec,
    *,
    precision: str,
    resume: Resume | None,
    log: Callable[[str], None],
) -> Trained:
    """Fit a network, on the device of the crystals, in place; leave it with averaged weights.

    The crystals at the places ``validation`` of the same set choose the epoch that is kept; where
    there are none, it is the last. The learning rate of ``spec`` is the largest, reached over the
    first hundred steps and left along half a cosine. ``precision`` "auto" rounds matrix products
    to bfloat16 where the processor has them, "float32" never does.
    """
    device = training.crystals.mean.device
    network.bf16 = precision == "auto" and bf16_is_fast(device)
    steps = training.steps * spec.epochs
    began, passed = time.monotonic(), count(1)

    def validate() -> Tensor:
        random, total, atoms = generator(device, 0), torch.zeros(1, device=device), 0
        for start in range(0, len(validation), VALIDATION_BATCH):
            batch = training.crystals.batch(validation[start : start + VALIDATION_BATCH], random)
            total += _squared_error(network, batch) * len(batch.latents)
            atoms += len(batch.latents)
        return total / atoms

    def on_epoch(record: EpochRecord) -> None:
        left = (time.monotonic() - began) / next(passed) * (spec.epochs - record.epoch - 1)
        log(
            f"prior: epoch {record.epoch + 1}/{spec.epochs}, loss {record.train_total[0]:.4f}, "
            f"at most {left:.0f} s left"
        )

    trained = minimise(
        network,
        lambda batch: _squared_error(network, batch),
        training.epoch,
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
    """Mean squared error of velocities over atoms and dimensions, (1,).

    In units of how far paths lead: with a prototype they are short, and errors count more.
    """
    # Logit-normal times (B,): the middle of the path is the hard part (P. Esser et al., 2024).
    times = torch.sigmoid(torch.special.ndtri(batch.uniform.clamp(1e-4, 1.0 - 1e-4)))
    start = network.start(batch.noise, batch.means, batch.layout)
    order = matched(start, batch.latents, batch.layout, batch.conditions.tokens)
    start, means = start[order], batch.means._replace(base=batch.means.base[order])
    point = torch.lerp(start, batch.latents, times[batch.layout.owner].unsqueeze(1))
    with _half_precision(point.device):
        found = network(point, times, batch.layout, batch.conditions, means)
    # Along a straight path the velocity is the same everywhere.
    error = (found.float() - (batch.latents - start)).square().mean(dim=1)
    far = network.start.deviations
    weight = (far[0] / far).square()[means.kinds].index_select(0, batch.layout.owner)
    loss: Tensor = (error * weight).mean().view(1)
    return loss


def matched(start: Tensor, latents: Tensor, layout: Layout, tokens: Tensor) -> Tensor:
    """Reorder starts (N, L) among equal atoms of each crystal, so that paths to latents are short.

    Returns the places (N,) that they come from. Equal atoms have no order, so any pairing of
    starts and latents is right; the one of the least squared distances (minimum-cost assignment)
    leaves the fewest paths that cross (A. Tong et al., 2024; L. Klein et al., 2023).
    """
    key = (layout.owner * (int(tokens.max()) + 1) + tokens).cpu().numpy()
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order], prepend=-1, append=-1))
    here, there = start.double().cpu().numpy(), latents.double().cpu().numpy()
    source = np.arange(len(key))
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if last - first > 1:
            atoms = order[first:last]
            ours, theirs = linear_sum_assignment(here[atoms] @ there[atoms].T, maximize=True)
            source[atoms[theirs]] = atoms[ours]
    return torch.from_numpy(source).to(start.device)


def _half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Use bfloat16 where a GPU makes it cheap."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Move noise (N, L) to latents along velocities ((N, L), time ()), in equal steps.

    Heun's rule: two evaluations a step, but one in the last.
    """
    times = torch.linspace(0.0, 1.0, steps + 1, device=noise.device)
    z = noise
    for step in range(steps):
        here, there = times[step], times[step + 1]
        width = there - here
        slope = velocity(z, here)
        if step + 1 < steps:
            # The slope at the end of a plain Euler step, averaged with that at its start.
            slope = 0.5 * (slope + velocity(z + width * slope, there))
        z = z + width * slope
    return z


def guided_velocity(
    network: FlowNetwork,
    layout: Layout,
    known: ConditionTensors,
    free: ConditionTensors,
    means: StartMeans,
    guidance: float,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Bind layout, conditions and guidance: velocities (N, L) of points (N, L) at a time ().

    Guidance is the weight w in free + w (known - free) (J. Ho and T. Salimans, 2022): 1 follows
    the conditions as they were learned, and costs half of any other weight. It strengthens what
    is ``known`` and not in ``free``.
    """
    differ = any(not torch.equal(a, b) for a, b in zip(known, free, strict=True))
    guided = guidance != 1.0 and differ

    def velocity(z: Tensor, time: Tensor) -> Tensor:
        times = time.expand(len(layout.counts))
        with _half_precision(z.device):
            own: Tensor = network(z, times, layout, known, means).float()
            if not guided:
                return own
            return torch.lerp(network(z, times, layout, free, means).float(), own, guidance)

    return velocity
