"""The posterior q(z | x), the prior p(z) and the likelihoods p(x | z)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from variolite.vae.sets import Members

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

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

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return z = mean + deviation * noise, (M, B, L), and its KL from the prior, (M, B).

        The KL is in nats, summed over L (Kingma and Welling 2014, appendix B).
        """
        return _Reparameterise.apply(self.mean, self.log_variance, noise)  # type: ignore[no-any-return, no-untyped-call]

    def sample(self, noise: Tensor) -> Tensor:
        """Return the draw alone; ``noise`` is standard normal, (M, B, L)."""
        return self.mean + self.deviation * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z`` in nats, summed over dimensions, (M, B)."""
        standardised = (z - self.mean) / self.deviation
        constant = self.clamped_log_variance + 2.0 * HALF_LOG_2PI
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


def prior_log_prob(z: Tensor) -> Tensor:
    """Log-density under the prior N(0, I) in nats, summed over dimensions, (M, B)."""
    return -0.5 * (z.square() + 2.0 * HALF_LOG_2PI).sum(-1)


# Likelihoods: distribution objects with log_prob, sample and mean.
#
# A numeric likelihood covers all numeric columns in transformed units; the log-determinant of the
# transforms turns its densities into original units. Entries that were not observed contribute
# nothing.


class Numeric(ABC):
    """What a model asks of the likelihood of its numeric columns."""

    mean: Tensor
    """Expected value in transformed units, (M, B, D)."""

    @property
    @abstractmethod
    def deviation(self) -> Tensor:
        """Standard deviation in transformed units, broadcastable to (M, B, D)."""

    @abstractmethod
    def elementwise(self, x: Tensor) -> Tensor:
        """Log-density of every entry in nats, (M, B, D)."""

    @abstractmethod
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one value for every entry, (M, B, D)."""

    def log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density of the observed entries of each row in nats, (M, B)."""
        densities = self.elementwise(x)
        if observed is not None:
            # Filled and not multiplied: what lies under the mask may be NaN.
            densities = densities.masked_fill(~observed, 0.0)
        return densities.sum(-1)


class _GaussianLogProb(Function):
    """Complete rows with one scale per feature: one autograd node, as `_Reparameterise`.

    ``x``, (M or 1, B, D), gets no gradient; ``mean`` is (M, B, D), ``log_scale`` (M, 1, D).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        standardised = (x - mean).mul_((-log_scale).exp())
        # The constant is one number per member, (M, 1), and not one per entry.
        constant = log_scale.sum(-1) + HALF_LOG_2PI * mean.shape[-1]
        result = (standardised * standardised).sum(-1).mul_(-0.5).sub_(constant)
        ctx.save_for_backward(standardised, log_scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        standardised, log_scale = ctx.saved_tensors
        weighted = gradient.unsqueeze(-1) * standardised
        grad_scale = None
        if ctx.needs_input_grad[2]:
            # d log p / d(log scale) = standardised^2 - 1, summed over the rows that share it.
            grad_scale = (weighted * standardised).sum(1, keepdim=True)
            grad_scale.sub_(gradient.sum(1, keepdim=True).unsqueeze(-1))
        return None, weighted.mul_((-log_scale).exp()), grad_scale


@dataclass(frozen=True)
class Gaussian(Numeric):
    """Independent Gaussians; ``log_scale`` is (M, 1, D) per feature or (M, B, D) per row."""

    mean: Tensor
    log_scale: Tensor

    @property
    def deviation(self) -> Tensor:
        return self.log_scale.exp()

    def elementwise(self, x: Tensor) -> Tensor:
        standardised = (x - self.mean) * torch.exp(-self.log_scale)
        return -0.5 * standardised.square() - self.log_scale - HALF_LOG_2PI

    def log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        if observed is None and self.log_scale.shape[1] == 1:
            return _GaussianLogProb.apply(x, self.mean, self.log_scale)  # type: ignore[no-any-return, no-untyped-call]
        return super().log_prob(x, observed)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + self.deviation * noise


@dataclass(frozen=True)
class StudentT(Numeric):
    """Independent Student-t distributions: heavy tails for logs with spikes.

    ``mean`` is the location, which it is as the degrees of ``freedom``, (M, 1, D), exceed 2;
    ``log_scale`` is (M, 1, D) per feature or (M, B, D) per row.
    """

    mean: Tensor
    log_scale: Tensor
    freedom: Tensor

    @property
    def deviation(self) -> Tensor:
        return self.log_scale.exp() * torch.sqrt(self.freedom / (self.freedom - 2.0))

    def elementwise(self, x: Tensor) -> Tensor:
        half = 0.5 * self.freedom
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half)
        constant = constant - 0.5 * torch.log(self.freedom * math.pi) - self.log_scale
        standardised = (x - self.mean) * torch.exp(-self.log_scale)
        return constant - (half + 0.5) * torch.log1p(standardised.square() / self.freedom)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        # A normal over the root of a gamma.
        shape, device = self.mean.shape, self.mean.device
        noise = torch.randn(shape, generator=generator, device=device)
        half = (0.5 * self.freedom).expand(shape).contiguous()
        gamma = torch._standard_gamma(half, generator=generator)
        return self.mean + self.log_scale.exp() * noise * torch.sqrt(half / gamma)


@dataclass(frozen=True)
class Mixed(Numeric):
    """Student-t where ``heavy``, (D,), is True, else Gaussian; both are over all columns."""

    gaussian: Gaussian
    student: StudentT
    heavy: Tensor

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return torch.where(self.heavy, self.student.mean, self.gaussian.mean)

    @property
    def deviation(self) -> Tensor:
        return torch.where(self.heavy, self.student.deviation, self.gaussian.deviation)

    def elementwise(self, x: Tensor) -> Tensor:
        return torch.where(self.heavy, self.student.elementwise(x), self.gaussian.elementwise(x))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        student, gaussian = self.student.sample(generator), self.gaussian.sample(generator)
        return torch.where(self.heavy, student, gaussian)


@dataclass(frozen=True)
class Categorical:
    """One categorical column; ``logits`` has shape (M, B, levels)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Probability of every level, (M, B, levels)."""
        return torch.softmax(self.logits, dim=-1)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-probability of level codes (M or 1, B); code -1 (missing) counts nothing."""
        codes = codes.expand(self.logits.shape[:-1])
        chosen = codes.clamp(min=0).unsqueeze(-1)
        result = torch.log_softmax(self.logits, dim=-1).gather(-1, chosen).squeeze(-1)
        return result.masked_fill(codes < 0, 0.0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one level code for every row, (M, B)."""
        flat = self.mean.reshape(-1, self.logits.shape[-1])
        drawn = torch.multinomial(flat, 1, generator=generator)
        return drawn.reshape(self.logits.shape[:-1])


@dataclass(frozen=True)
class Joint:
    """All columns of a table: independent given z.

    ``presence`` are the logits of a numeric value being observed, (M, B, D).
    """

    numeric: Numeric | None
    categories: tuple[Categorical, ...] = ()
    sets: tuple[Members, ...] = ()
    presence: Tensor | None = None

    def log_presence(self, observed: Tensor | None) -> Tensor:
        """Log-probability of what was observed and what was not, in nats, (M, B)."""
        assert self.presence is not None
        sign = 1.0 if observed is None else 2.0 * observed.to(self.presence.dtype) - 1.0
        return logsigmoid(sign * self.presence).sum(-1)

    def log_prob(
        self,
        numeric: Tensor,
        observed: Tensor | None,
        category: Tensor | None,
        sets: Sequence[Tensor] = (),
    ) -> Tensor:
        """Log-probability of the observed entries of each row in nats, (M, B)."""
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric.log_prob(numeric, observed))
        if category is not None:
            parts += [c.log_prob(category[..., i]) for i, c in enumerate(self.categories)]
        parts += [s.log_prob(codes) for s, codes in zip(self.sets, sets, strict=True)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
