"""The network of the flow prior, and the path from noise to latents that it follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.generation.conditions import SPACE_GROUPS, ConditionTensors
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.network import attend, bf16_feed_forward, bf16_linear

FREQUENCIES = 32


@dataclass(frozen=True)
class FlowShape:
    """Sizes of the network.

    Attributes
    ----------
    latent
        Dimensions of a latent.
    elements, properties
        Numbers of elements and of numeric conditions.
    width, layers, heads
        Of the transformer; the feed-forward part is four times as wide.
    """

    latent: int
    elements: int
    properties: int
    width: int = 128
    layers: int = 6
    heads: int = 4


class FlowNetwork(nn.Module):
    """A transformer over the atoms of each crystal: (latents, time, conditions) to velocities.

    No atom has a place in its crystal, so the network is equivariant to their order by
    construction. Conditions of the whole crystal scale and shift the normalised activations
    of every layer (adaptive layer normalisation, W. Peebles and S. Xie, 2023), by one
    shared network and a small table per layer (J. Chen et al., 2023); the element of an
    atom is added to its vector.

    Attributes
    ----------
    shape
        Its sizes.
    bf16
        Round the factors of the products of the layers to bfloat16 while training. Samples
        are drawn in float32, so that a seed means the same on every processor.
    """

    def __init__(self, shape: FlowShape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.bf16 = False
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
        # Every block starts as the identity and the velocity at 0, which makes deep stacks train.
        for layer in (self.modulate, self.last, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.species.weight, std=0.5)
        nn.init.normal_(self.space_group.weight, std=0.1)
        with torch.no_grad():  # unknown adds nothing to begin with
            self.species.weight[0].zero_()
            self.space_group.weight[0].zero_()

    @classmethod
    def seeded(cls, shape: FlowShape, seed: int) -> FlowNetwork:
        """Return a network whose starting weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(shape)

    def forward(
        self, latents: Tensor, time: Tensor, layout: Layout, conditions: ConditionTensors
    ) -> Tensor:
        """Return velocities, shape (N, L).

        Parameters
        ----------
        latents
            On the path, shape (N, L).
        time
            Between 0 and 1 for every crystal, shape (B,).
        layout
            How atoms belong to crystals.
        conditions
            Of the crystals.
        """
        # Everything known of a crystal goes into one vector (B, W) ...
        whole = self.time(_fourier(time)) + self.number(_fourier(layout.counts.log2() / 8.0))
        whole = whole + self.space_group(conditions.space_groups)
        if self.properties is not None:
            given = torch.cat([conditions.values, conditions.given], dim=1)
            whole = whole + self.properties(given)
        whole = self.whole(whole)
        # ... from which each block takes six of width W: scale, shift and gate of both its parts.
        shared = self.modulate(whole)
        x = self.enter(latents) + self.species(conditions.tokens)
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
        scale, shift, gate, scale_2, shift_2, gate_2 = (shared + self.table).chunk(6, dim=1)
        seen = _modulated(x, scale, shift, layout)
        h = bf16_linear(seen, self.mixing) if bf16 else self.mixing(seen)
        h = attend(h, layout, self.heads)
        mixed = bf16_linear(h, self.mixed) if bf16 else self.mixed(h)
        x = x + gate.index_select(0, layout.owner) * mixed
        seen = _modulated(x, scale_2, shift_2, layout)
        if bf16:
            h = bf16_feed_forward(seen, self.wide, self.narrow)
        else:
            h = self.narrow(functional.gelu(self.wide(seen), approximate="tanh"))
        moved: Tensor = x + gate_2.index_select(0, layout.owner) * h
        return moved


def _modulated(x: Tensor, scale: Tensor, shift: Tensor, layout: Layout) -> Tensor:
    """Normalise atoms (N, W), then scale and shift them by vectors of their crystal (B, W)."""
    normal = functional.layer_norm(x, x.shape[-1:])
    return torch.addcmul(
        shift.index_select(0, layout.owner), normal, 1.0 + scale.index_select(0, layout.owner)
    )


def _fourier(value: Tensor) -> Tensor:
    """Fourier features of a number of order 1: sines and cosines, shape (B, 2 F)."""
    # Angular frequencies from 2 to about 400 in equal ratios.
    steps = torch.arange(FREQUENCIES, device=value.device, dtype=torch.float32)
    angles = value.float().unsqueeze(1) * torch.exp(steps * (math.log(200.0) / FREQUENCIES)) * 2.0
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# The path from noise to latents, how it is learned, and how it is followed.
#
# Time runs from noise at 0 to latents at 1. Flow matching (Y. Lipman et al., 2023;
# X. Liu et al., 2023) learns the velocity of the straight path
# z_t = (1 - t) noise + t z, which is z - noise, and solves the ordinary differential
# equation with Heun's rule.


Velocity = Callable[[Tensor, Tensor], Tensor]
"""Network with layout, conditions and guidance bound: ((N, L), time ()) to (N, L)."""


def training_times(uniform: Tensor) -> Tensor:
    """Turn uniform numbers into logit-normal times (P. Esser et al., 2024).

    The middle of the path is the hard part.
    """
    return torch.sigmoid(torch.special.ndtri(uniform.clamp(1e-4, 1.0 - 1e-4)))


def point_and_velocity(latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the network sees and what it should answer; ``time`` has shape (N, 1)."""
    return torch.lerp(noise, latents, time), latents - noise


def integrate(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Move noise (N, L) to latents by Heun's rule in equal steps.

    Two evaluations a step, one in the last.
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
