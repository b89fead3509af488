"""The source's loss: squared errors of bare numbers, none of them periodic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from variolite.crystals.source.cells import parameters_of
from variolite.vae import Posterior

__all__ = [
    "DIVERGENCE_WEIGHT",
    "SourceOutput",
    "SourceWeights",
    "divergence",
    "draw",
    "reconstruction",
]

LOG_VARIANCE_RANGE = (-30.0, 20.0)

DIVERGENCE_WEIGHT = 1e-5
"""Weight of the divergence, in nats per atom."""


@dataclass(frozen=True)
class SourceWeights:
    """Weights of the parts of the reconstruction, as published."""

    species: float = 1.0
    lengths: float = 1.0
    angles: float = 10.0
    coordinates: float = 10.0


@dataclass(frozen=True)
class SourceOutput:
    """What the decoder gives.

    Attributes
    ----------
    species_logits
        Shape (N, E).
    coordinates
        Unbounded fractional coordinates, shape (N, 3).
    lengths
        Cell lengths in Angstrom over the cube root of the number of atoms, unbounded, (B, 3).
    angles
        Cell angles in radians, unbounded, shape (B, 3).
    """

    species_logits: Tensor
    coordinates: Tensor
    lengths: Tensor
    angles: Tensor


def reconstruction(
    found: SourceOutput,
    species: Tensor,
    coordinates: Tensor,
    lattice: Tensor,
    counts: Tensor,
    weights: SourceWeights,
) -> Tensor:
    """Weighted sum of cross-entropy and mean squared errors, a scalar.

    An atom that is put at .999 instead of .001 costs as if it were at the other end of the
    cell: coordinates are compared as they stand.
    """
    lengths, angles = parameters_of(lattice)
    scaled = lengths / counts.to(lengths)[:, None].pow(1.0 / 3.0)
    return (
        weights.species * functional.cross_entropy(found.species_logits, species)
        + weights.lengths * functional.mse_loss(found.lengths, scaled)
        + weights.angles * functional.mse_loss(found.angles, angles)
        + weights.coordinates * functional.mse_loss(found.coordinates, coordinates)
    )


def divergence(posterior: Posterior) -> Tensor:
    """KL from the standard normal in nats, mean over atoms of the sum over dimensions."""
    log_variance = posterior.log_variance.clamp(*LOG_VARIANCE_RANGE)
    squared = posterior.mean.square()
    nats = 0.5 * (squared + log_variance.exp() - log_variance - 1.0).sum(-1)
    return nats.mean()


def draw(posterior: Posterior, noise: Tensor) -> Tensor:
    """Latents of atoms for the given standard normal noise, shape of the mean."""
    log_variance = posterior.log_variance.clamp(*LOG_VARIANCE_RANGE)
    return posterior.mean + torch.exp(0.5 * log_variance) * noise
