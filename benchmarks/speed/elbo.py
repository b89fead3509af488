"""The held-out ELBO by one formula for every engine."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.speed.task import LATENT, NOISE_VARIANCE
from torch import Tensor

_DRAWS = 8
_SEED = 7_919


@torch.no_grad()
def held_out_elbo(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    rows: Tensor,
) -> float:
    """ELBO per row at the fixed noise variance, in nats (higher is better).

    The mean over eight draws of z with noise that is the same at every call, so that two models,
    or one model at two epochs, are compared on the same draws.

    Parameters
    ----------
    encode : callable
        Rows (n, d) to posterior mean and log-variance, each (n, latent).
    decode : callable
        Latents (n, latent) to the decoder's mean (n, d).
    rows : Tensor, shape (n, d)

    Returns
    -------
    float
    """
    generator = torch.Generator().manual_seed(_SEED)
    mean, log_variance = encode(rows)
    squared = 0.0
    for _ in range(_DRAWS):
        noise = torch.randn(len(rows), LATENT, generator=generator)
        output = decode(mean + noise * torch.exp(0.5 * log_variance))
        squared += (output - rows).square().sum(1).double().mean().item() / _DRAWS
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)
    constant = 0.5 * rows.shape[1] * math.log(2.0 * math.pi * NOISE_VARIANCE)
    return -(squared / (2.0 * NOISE_VARIANCE) + divergence.double().mean().item() + constant)
