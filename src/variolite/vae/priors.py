"""Priors p(z). A prior owns the step from the posterior to (z, KL)."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from variolite.vae.kernels import reparameterise
from variolite.vae.posterior import Posterior

__all__ = ["Prior", "StandardNormal"]


class Prior(Protocol):
    """What a model asks of a prior."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a posterior draw (M, B, L) and its divergence in nats (M, B)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, summed over dimensions."""
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (M, n, L) into draws from the prior."""
        ...


class StandardNormal:
    """N(0, I), with the divergence in closed form."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a posterior draw (M, B, L) and its divergence in nats (M, B)."""
        return reparameterise(posterior.mean, posterior.log_variance, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, summed over dimensions."""
        return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Standard normal noise is already a draw."""
        return torch.clone(noise)
