"""The objective in named parts, normalised the same way everywhere: nats per row."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Parts", "evidence_parts"]


@dataclass(frozen=True)
class Parts:
    """The negative evidence lower bound and what it is made of.

    Attributes
    ----------
    total
        reconstruction + beta * divergence, nats per row, shape (M,).
    reconstruction
        Minus the log-likelihood of the observed values, nats per row, shape (M,).
    divergence
        KL of the posterior from the prior, nats per row, shape (M,).
    """

    total: Tensor
    reconstruction: Tensor
    divergence: Tensor


def evidence_parts(log_likelihood: Tensor, divergence: Tensor, beta: Tensor) -> Parts:
    """Average rows (M, B) to the parts of the objective (Higgins et al. 2017).

    A beta other than 1 is a bound of another model; with a Gaussian decoder of
    fixed variance it only rescales that variance, sigma^2 to beta * sigma^2.
    """
    reconstruction = -log_likelihood.mean(dim=1)
    mean_divergence = divergence.mean(dim=1)
    return Parts(reconstruction + beta * mean_divergence, reconstruction, mean_divergence)
