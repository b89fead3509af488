"""A transformer over sets that moves noise towards latents, and the paths it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.generation.conditions import Conditions
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.network import attend, bf16_feed_forward, bf16_linear

# A transformer over sets: what moves noise towards latents, given time and conditions.
#
# No vector has a place in the set, so the network is equivariant to the order of
# atoms by construction. Conditions of the whole crystal scale and shift the
# normalised activations of every layer (adaptive layer normalisation, W. Peebles
# and S. Xie, 2023), by one shared network and a small table per layer (J. Chen
# et al., 2023); what is known of an atom is added to its vector.


SPACE_GROUPS = 231
FREQUENCIES = 32


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes
    ----------
    latent
        Dimensions of a vector.
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

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return asdict(self)


class SetTransformer(nn.Module):
    """A field over sets: (vectors, time, conditions) to one vector for every vector.

    Attributes
    ----------
    shape
        Its sizes.
    rounded
        Round the factors of the products of the layers to bfloat16 while training; see
        `variolite.crystals.model.products`. Samples are drawn in float32, so that a seed
        means the same on every processor.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.rounded = False
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
        for layer in (self.modulate, self.last, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.species.weight, std=0.5)
        nn.init.normal_(self.space_group.weight, std=0.1)
        with torch.no_grad():  # unknown adds nothing to begin with
            self.species.weight[0].zero_()
            self.space_group.weight[0].zero_()

    def forward(self, vectors: Tensor, time: Tensor, layout: Layout, known: Conditions) -> Tensor:
        """Return the field.

        Parameters
        ----------
        vectors
            Shape (N, L).
        time
            Between 0 and 1 for every set, shape (B,).
        layout
            How the vectors belong to sets.
        known
            Conditions.

        Returns
        -------
        Tensor
            Shape (N, L).
        """
        whole = self.time(_waves(time)) + self.number(_waves(layout.counts.log2() / 8.0))
        whole = whole + self.space_group(known.space_groups)
        if self.properties is not None:
            whole = whole + self.properties(torch.cat([known.values, known.given], dim=1))
        whole = self.whole(whole)
        shared = self.modulate(whole)
        x = self.enter(vectors) + self.species(known.tokens)
        for block in self.blocks:
            x = block(x, shared, layout, rounded=self.rounded and self.training)
        scale, shift = self.last(whole).chunk(2, dim=1)
        x = _modulated(x, scale, shift, layout)
        field: Tensor = self.leave(x)
        return field


class _Block(nn.Module):
    """Attention within each set, then a feed-forward part; both modulated."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.randn(6 * width) * 0.02)
        self.mixing = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, shared: Tensor, layout: Layout, *, rounded: bool) -> Tensor:
        parts = (shared + self.table).chunk(6, dim=1)
        owner = layout.owner
        seen = _modulated(x, parts[0], parts[1], layout)
        h = bf16_linear(seen, self.mixing) if rounded else self.mixing(seen)
        h = attend(h, layout, self.heads)
        mixed = bf16_linear(h, self.mixed) if rounded else self.mixed(h)
        x = x + parts[2].index_select(0, owner) * mixed
        seen = _modulated(x, parts[3], parts[4], layout)
        if rounded:
            h = bf16_feed_forward(seen, self.wide, self.narrow)
        else:
            h = self.narrow(functional.gelu(self.wide(seen), approximate="tanh"))
        moved: Tensor = x + parts[5].index_select(0, owner) * h
        return moved


def _modulated(x: Tensor, scale: Tensor, shift: Tensor, layout: Layout) -> Tensor:
    normal = functional.layer_norm(x, x.shape[-1:])
    return torch.addcmul(
        shift.index_select(0, layout.owner), normal, 1.0 + scale.index_select(0, layout.owner)
    )


def _waves(value: Tensor) -> Tensor:
    """Sines and cosines of a number of order 1, shape (B, 2 F)."""
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
