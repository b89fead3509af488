"""The approximate posterior q(z | x), the prior p(z), and the step from one to (z, KL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LOG_VARIANCE_RANGE = (-12.0, 6.0)
"""Posterior log-variances are clamped to this range: exp never overflows."""


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over the latent space for every row, (M, B, L).

    ``log_variance`` is as the network gave it; every use clamps it to `LOG_VARIANCE_RANGE`.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def clamped_log_variance(self) -> Tensor:
        """Log-variance within `LOG_VARIANCE_RANGE`, (M, B, L)."""
        return self.log_variance.clamp(*LOG_VARIANCE_RANGE)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, (M, B, L)."""
        return torch.exp(0.5 * self.clamped_log_variance)

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + deviation * noise; ``noise`` is standard normal, (M, B, L)."""
        return self.mean + self.deviation * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z`` in nats, summed over dimensions, (M, B)."""
        standardised = (z - self.mean) / self.deviation
        constant = self.clamped_log_variance + math.log(2.0 * math.pi)
        return -0.5 * (standardised.square() + constant).sum(-1)

    def kl_per_dimension(self) -> Tensor:
        """KL from the standard normal for each dimension in nats, (M, B, L)."""
        log_variance = self.clamped_log_variance
        return 0.5 * (self.mean.square() + log_variance.exp() - log_variance - 1.0)


# The step from the posterior to a draw and its KL, as one autograd node.
#
# A network of two thousand weights spends much of its time in bookkeeping: one autograd node
# and several temporaries for every elementwise operation. These functions do a whole stage in one
# node; the tests check each against the readable formula under plain autograd. (The dense layers
# gain nothing from the same treatment: there the matrix products rule.)


class _Reparameterise(Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_variance: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        clamped = log_variance.clamp(*LOG_VARIANCE_RANGE)
        deviation = (0.5 * clamped).exp_()
        z = torch.addcmul(mean, deviation, noise)
        # 0.5 * sum(mean^2 + variance - log variance - 1), the -1 of all dimensions at once.
        kl = torch.addcmul(mean * mean, deviation, deviation).sub_(clamped).sum(-1)
        kl = kl.sub_(mean.shape[-1]).mul_(0.5)
        ctx.save_for_backward(mean, log_variance, noise, deviation)
        return z, kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_kl: Tensor) -> tuple[Tensor, Tensor, None]:
        mean, log_variance, noise, deviation = ctx.saved_tensors
        weight = grad_kl.unsqueeze(-1)
        # d KL / d mean = mean, d KL / d(log variance) = (variance - 1) / 2.
        grad_mean = torch.addcmul(grad_z, weight, mean)
        grad_log = torch.addcmul(-0.5 * weight, 0.5 * weight, deviation * deviation)
        # dz / d(log variance) = noise * deviation / 2.
        grad_log.addcmul_(grad_z * noise, deviation, value=0.5)
        # As torch.clamp: no gradient where the clamp holds.
        held = torch.ops.aten.hardtanh_backward(grad_log, log_variance, *LOG_VARIANCE_RANGE)
        return grad_mean, held, None


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw z = mean + sd * noise, (M, B, L), and its KL from the standard normal, (M, B).

    All arguments are (M, B, L); log-variances are clamped to `LOG_VARIANCE_RANGE`. The KL is in
    nats, summed over L (Kingma and Welling 2014, appendix B).
    """
    return _Reparameterise.apply(mean, log_variance, noise)  # type: ignore[no-any-return, no-untyped-call]


class StandardNormal:
    """The prior N(0, I). A prior owns the step from the posterior to (z, KL)."""

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a posterior draw (M, B, L) and its KL in nats (M, B)."""
        return reparameterise(posterior.mean, posterior.log_variance, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, summed over dimensions."""
        return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (M, n, L) into draws from the prior."""
        return noise.clone()
