"""Two stages of a small VAE as single autograd nodes with their own gradients.

A network of two thousand weights spends much of its time in bookkeeping: one
autograd node and several temporaries for every elementwise operation. These
functions do a whole stage in one node. Each is checked against the readable
formula under plain autograd in the tests. (The dense layers gain nothing from
the same treatment: there the matrix products rule.)

All tensors carry a leading *members* axis M: several models at once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LOG_VARIANCE_RANGE = (-12.0, 6.0)
"""Posterior log-variances are clamped to this range: exp never overflows."""

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class _Reparameterise(Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_variance: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        clamped = log_variance.clamp(*LOG_VARIANCE_RANGE)
        deviation = (0.5 * clamped).exp_()
        z = torch.addcmul(mean, deviation, noise)
        kl = torch.addcmul(mean * mean, deviation, deviation).sub_(clamped).sum(-1)
        kl = kl.sub_(mean.shape[-1]).mul_(0.5)
        ctx.save_for_backward(mean, log_variance, noise, deviation)
        return z, kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_kl: Tensor) -> tuple[Tensor, Tensor, None]:
        mean, log_variance, noise, deviation = ctx.saved_tensors
        weight = grad_kl.unsqueeze(-1)
        grad_mean = torch.addcmul(grad_z, weight, mean)
        grad_log = torch.addcmul(-0.5 * weight, 0.5 * weight, deviation * deviation)
        grad_log.addcmul_(grad_z * noise, deviation, value=0.5)
        # As torch.clamp: no gradient where the clamp holds.
        held = torch.ops.aten.hardtanh_backward(grad_log, log_variance, *LOG_VARIANCE_RANGE)
        return grad_mean, held, None


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw z = mean + sd * noise and the KL from the standard normal.

    Parameters
    ----------
    mean, log_variance, noise
        Shape (M, B, L); log-variances are clamped to `LOG_VARIANCE_RANGE`.

    Returns
    -------
    z
        Shape (M, B, L).
    kl
        KL(N(mean, sd^2) || N(0, 1)) in nats, summed over L, shape (M, B);
        Kingma and Welling (2014), appendix B.
    """
    return _Reparameterise.apply(mean, log_variance, noise)  # type: ignore[no-any-return, no-untyped-call]


class _GaussianLogProb(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        standardised = (x - mean).mul_((-log_scale).exp())
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
            grad_scale = (weighted * standardised).sum(1, keepdim=True)
            grad_scale.sub_(gradient.sum(1, keepdim=True).unsqueeze(-1))
        return None, weighted.mul_((-log_scale).exp()), grad_scale


def gaussian_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of complete rows under a Gaussian with one scale per feature.

    Parameters
    ----------
    x
        Data, shape (M, B, D) or (1, B, D); gets no gradient.
    mean
        Shape (M, B, D).
    log_scale
        Log standard deviation, shape (M, 1, D).

    Returns
    -------
    Tensor
        Nats per row, summed over D, shape (M, B).
    """
    return _GaussianLogProb.apply(x, mean, log_scale)  # type: ignore[no-any-return, no-untyped-call]
