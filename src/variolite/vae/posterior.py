"""The approximate posterior q(z | x), the prior p(z), and the step from one to (z, KL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from variolite.vae.kernels import LOG_VARIANCE_RANGE, reparameterise

# The approximate posterior q(z | x): a diagonal Gaussian for every row.


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over the latent space.

    Attributes
    ----------
    mean, log_variance
        Shape (M, B, L): members, rows, latent dimensions. The log-variance is
        as the network gave it; every use clamps it to `LOG_VARIANCE_RANGE`.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def clamped_log_variance(self) -> Tensor:
        """Log-variance within `LOG_VARIANCE_RANGE`, shape (M, B, L)."""
        return self.log_variance.clamp(*LOG_VARIANCE_RANGE)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, shape (M, B, L)."""
        return torch.exp(0.5 * self.clamped_log_variance)

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + deviation * noise; ``noise`` is standard normal, (M, B, L)."""
        return self.mean + self.deviation * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z`` in nats, summed over dimensions, shape (M, B)."""
        standardised = (z - self.mean) / self.deviation
        constant = self.clamped_log_variance + math.log(2.0 * math.pi)
        return -0.5 * (standardised.square() + constant).sum(-1)

    def kl_per_dimension(self) -> Tensor:
        """KL from the standard normal for each dimension in nats, shape (M, B, L)."""
        log_variance = self.clamped_log_variance
        return 0.5 * (self.mean.square() + log_variance.exp() - log_variance - 1.0)


# Priors p(z). A prior owns the step from the posterior to (z, KL).


class Prior(Protocol):
    """What a model asks of a prior."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a posterior draw (M, B, L) and its KL in nats (M, B)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, summed over dimensions."""
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (M, n, L) into draws from the prior."""
        ...


class StandardNormal:
    """N(0, I), with the KL in closed form."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a posterior draw (M, B, L) and its KL in nats (M, B)."""
        return reparameterise(posterior.mean, posterior.log_variance, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, summed over dimensions."""
        return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Standard normal noise is already a draw."""
        return torch.clone(noise)
