"""Priors p(z): a standard normal, a learned mixture, or the encoder's view of pseudo-inputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variolite.vae.distributions import HALF_LOG_2PI, Posterior, prior_log_prob

LOG_VARIANCE_RANGE = (-8.0, 6.0)
"""Log-variances of components are clamped to this range: a component never shrinks to a point."""

LOG_2PI = 2.0 * HALF_LOG_2PI


class Prior(ABC):
    """What a model asks of its prior; M members, L dimensions."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of points (M, B, L), (M, B)."""

    @abstractmethod
    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        """Draw points, (M, rows, L)."""

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of every dimension, (M, L)."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return z = mean + deviation * noise, (M, B, L), and an estimate of the KL, (M, B).

        The entropy of the posterior is exact, log p that of the one z: without bias, below zero
        at times.
        """
        z = posterior.sample(noise)
        entropy = 0.5 * (posterior.clamped_log_variance + (1.0 + LOG_2PI)).sum(-1)
        return z, -entropy - self.log_prob(z)

    def kl_per_dimension(self, posterior: Posterior) -> Tensor:
        """KL in nats from the normal with the mean and variance of each dimension, (M, B, L)."""
        centre, variance = (part.unsqueeze(1) for part in self.moments())
        log_variance = posterior.clamped_log_variance
        squares = (posterior.mean - centre).square() + log_variance.exp()
        return 0.5 * (squares / variance - log_variance + variance.log() - 1.0)


@dataclass(frozen=True)
class StandardNormal(Prior):
    """N(0, I) for every member; its KL is exact."""

    members: int
    latent: int

    def log_prob(self, z: Tensor) -> Tensor:
        return prior_log_prob(z)

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        return torch.randn((self.members, rows, self.latent), generator=generator)

    def moments(self) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros((self.members, self.latent))
        return zeros, zeros + 1.0

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        return posterior.draw(noise)

    def kl_per_dimension(self, posterior: Posterior) -> Tensor:
        return posterior.kl_per_dimension()


@dataclass(frozen=True)
class NormalMixture(Prior):
    """Diagonal Gaussians: ``log_weights`` (M, K), ``mean`` and ``log_variance`` (M, K, L).

    log p(z) is that of the mixture: the choice of a component is summed over, so that its KL
    is part of the bound.
    """

    log_weights: Tensor
    mean: Tensor
    log_variance: Tensor

    def log_joint(self, z: Tensor) -> Tensor:
        """Log of weight times density of every component, (M, B, K)."""
        precision = torch.exp(-self.log_variance)
        scaled = self.mean * precision
        constant = self.log_variance + self.mean * scaled + LOG_2PI
        # The square written out: one matrix product in place of a tensor (M, B, K, L).
        factors = torch.cat([-0.5 * precision, scaled], dim=-1).transpose(1, 2)
        offset = (self.log_weights - 0.5 * constant.sum(-1)).unsqueeze(1)
        return torch.baddbmm(offset, torch.cat([z.square(), z], dim=-1), factors)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.log_joint(z), dim=-1)

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        weights = self.log_weights.exp()
        component = torch.multinomial(weights, rows, replacement=True, generator=generator)
        chosen = component.unsqueeze(-1).expand(-1, -1, self.mean.shape[-1])
        noise = torch.randn(chosen.shape, generator=generator)
        deviation = torch.exp(0.5 * self.log_variance)
        return self.mean.gather(1, chosen) + deviation.gather(1, chosen) * noise

    def moments(self) -> tuple[Tensor, Tensor]:
        weights = self.log_weights.exp().unsqueeze(-1)
        centre = (weights * self.mean).sum(1)
        squares = (weights * (self.log_variance.exp() + self.mean.square())).sum(1)
        return centre, squares - centre.square()


class MixtureParameters(nn.Module):
    """Learned weights, means and variances of a mixture of ``components`` K, for one member."""

    def __init__(self, components: int, latent: int, generator: torch.Generator) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, components))
        mean = torch.empty(1, components, latent).normal_(generator=generator)
        self.mean = nn.Parameter(mean)
        self.log_variance = nn.Parameter(torch.zeros(1, components, latent))

    def forward(self) -> NormalMixture:
        """Return the mixture, weights normalised."""
        log_variance = self.log_variance.clamp(*LOG_VARIANCE_RANGE)
        return NormalMixture(torch.log_softmax(self.logits, dim=-1), self.mean, log_variance)


class PseudoInputs(nn.Module):
    """Learned encoder inputs (1, K, inputs), whose posteriors are the components of a VampPrior.

    J. Tomczak, M. Welling, AISTATS 2018. The encoder has no batch statistics, so that the
    prior is the same in training and evaluation.
    """

    def __init__(self, components: int, inputs: int, generator: torch.Generator) -> None:
        super().__init__()
        rows = torch.empty(1, components, inputs).normal_(generator=generator)
        self.rows = nn.Parameter(rows)

    def forward(self, posterior: Posterior) -> NormalMixture:
        """Return the mixture of the posteriors of the pseudo-inputs, all of the same weight."""
        components = self.rows.shape[1]
        log_weights = torch.full_like(posterior.mean[..., 0], -math.log(components))
        log_variance = posterior.log_variance.clamp(*LOG_VARIANCE_RANGE)
        return NormalMixture(log_weights, posterior.mean, log_variance)
