"""Two ways to learn and to follow a path from noise to latents, with one network between them.

Time runs from noise at 0 to latents at 1. Flow matching (Y. Lipman et al., 2023;
X. Liu et al., 2023) learns the velocity of the straight path and solves the
ordinary differential equation with Heun's rule. Diffusion learns v (T. Salimans
and J. Ho, 2022) on the circle alpha^2 + sigma^2 = 1 and takes the steps of DDIM
(J. Song et al., 2021), which draw no further noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["OBJECTIVES", "Field", "Objective"]

Field = Callable[[Tensor, Tensor], Tensor]
"""Network with layout, conditions and guidance bound: ((N, L), time ()) to (N, L)."""


class Objective(Protocol):
    """What the network is taught, and how it is followed."""

    def times(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers into training times."""
        ...

    def example(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network sees and what it should answer; ``time`` has shape (N, 1)."""
        ...

    def follow(self, field: Field, noise: Tensor, steps: int) -> Tensor:
        """Move noise (N, L) to latents."""
        ...


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths z_t = (1 - t) noise + t z, velocity z - noise."""

    def times(self, uniform: Tensor) -> Tensor:
        """Logit-normal times (P. Esser et al., 2024): the middle of the path is the hard part."""
        return torch.sigmoid(torch.special.ndtri(uniform.clamp(1e-4, 1.0 - 1e-4)))

    def example(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Point on the path and velocity."""
        return torch.lerp(noise, latents, time), latents - noise

    def follow(self, field: Field, noise: Tensor, steps: int) -> Tensor:
        """Heun's rule in equal steps; two evaluations a step, one in the last."""
        times = torch.linspace(0.0, 1.0, steps + 1, device=noise.device)
        z = noise
        for step in range(steps):
            here, there = times[step], times[step + 1]
            width = there - here
            slope = field(z, here)
            ahead = z + width * slope
            if step + 1 < steps:
                slope = 0.5 * (slope + field(ahead, there))
            z = z + width * slope
        return z


@dataclass(frozen=True)
class Diffusion:
    """Variance-preserving paths z_t = sin(pi t / 2) z + cos(pi t / 2) noise."""

    def times(self, uniform: Tensor) -> Tensor:
        """Uniform times: on the circle, equal steps of angle."""
        return uniform

    def example(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Point on the path and v = alpha noise - sigma z."""
        signal, spread = self._weights(time)
        return signal * latents + spread * noise, signal * noise - spread * latents

    def follow(self, field: Field, noise: Tensor, steps: int) -> Tensor:
        """DDIM: estimate latents and noise, and mix them anew for the next time."""
        times = torch.linspace(0.0, 1.0, steps + 1, device=noise.device)
        z = noise
        for step in range(steps):
            signal, spread = self._weights(times[step])
            v = field(z, times[step])
            latents, left = signal * z - spread * v, spread * z + signal * v
            signal, spread = self._weights(times[step + 1])
            z = signal * latents + spread * left
        return z

    @staticmethod
    def _weights(time: Tensor) -> tuple[Tensor, Tensor]:
        angle = 0.5 * math.pi * time
        return angle.sin(), angle.cos()


OBJECTIVES: Mapping[str, Objective] = {"flow": FlowMatching(), "diffusion": Diffusion()}
"""Objectives by the name of the prior that uses them."""
