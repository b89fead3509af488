"""Alignment of per-atom latents with the features of a pretrained potential.

After the alignment of latents with vision models (Yao, Yang and Wang 2025, VA-VAE). With
u = W z + b, features f and the cosine c, the losses are hinges that leave small
differences alone:

    point  max(0, 1 - POINT_MARGIN - c(u_i, f_i))            mean over atoms
    pair   max(0, |c(u_i, u_j) - c(f_i, f_j)| - PAIR_MARGIN)   mean over pairs i != j

Features are standardised first: raw ones share a direction, and an output that is the
same for every atom already takes two thirds off the point loss. Pairs are drawn, as all of
them grow with the square of the batch, and separately within and across crystals, of which
the former are few but tell atoms of one structure apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

PAIR_MARGIN = 0.25
POINT_MARGIN = 0.5

SMALLEST_DEVIATION = 1e-6
"""A feature that varies less over the training atoms is a constant and left unscaled."""


@dataclass(frozen=True)
class FeatureScale:
    """Mean and standard deviation of every feature over the training atoms, shape (F,)."""

    mean: Tensor
    deviation: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Standardise features of shape (N, F); rows of NaN stay NaN."""
        return (features - self.mean) / self.deviation


def fit_scale(features: Tensor) -> FeatureScale:
    """Measure the features of training atoms, (N, F), leaving out rows without numbers."""
    known = features[torch.isfinite(features).all(1)].double()
    mean = known.mean(0)
    deviation = (known - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)
    return FeatureScale(mean.to(features.dtype), deviation.to(features.dtype))


class Projection(nn.Module):
    """The map from a latent (L,) to the space of the features (F,), u = W z + b."""

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.map = nn.Linear(latent, features)

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, L) to (N, F)."""
        projected: Tensor = self.map(z)
        return projected


@dataclass(frozen=True)
class Alignment:
    """The parts of the loss, scalars; a part without terms is 0.

    Mean over atoms with features; means over pairs of atoms of one crystal, and of different
    ones; number of atoms with features.
    """

    point: Tensor
    within: Tensor
    across: Tensor
    atoms: Tensor

    @property
    def pair(self) -> Tensor:
        """Mean of both kinds of pairs, each with the same weight."""
        return 0.5 * (self.within + self.across)

    @property
    def total(self) -> Tensor:
        """Point and pair loss together."""
        return self.point + self.pair


@dataclass(frozen=True)
class Pairs:
    """Places of the two atoms of ordered pairs, (P,), and whether there is such a pair at all."""

    first: Tensor
    second: Tensor
    exist: Tensor


def draw_pairs(owner: Tensor, known: Tensor, chance: Tensor, *, within: bool) -> Pairs:
    """Draw ordered pairs of different atoms with replacement, all equally likely.

    Nothing here waits for the device.

    Parameters
    ----------
    owner
        Crystal of every atom, non-decreasing, below N, shape (N,).
    known
        Atoms that may be drawn, bool, shape (N,).
    chance
        Uniform draws from [0, 1), float64, one for each pair, shape (P,).
    within
        Whether both atoms are of one crystal or of different ones.
    """
    order = torch.argsort(~known, stable=True)
    crystal = owner[order]
    sizes = torch.zeros_like(owner).index_add(0, owner, known.to(owner.dtype))
    size = sizes[crystal]
    start = (torch.cumsum(sizes, 0) - sizes)[crystal]
    choices = (size - 1 if within else known.sum() - size) * known[order]
    ends = torch.cumsum(choices, 0)
    rank = (chance * ends[-1]).long()
    first = torch.searchsorted(ends, rank, right=True).clamp_max(len(owner) - 1)
    # The rank also says which of the possible partners it is; the atom itself, or its
    # crystal, is stepped over.
    place = rank - (ends - choices)[first]
    if within:
        place = place + start[first]
        second = place + (place >= first)
    else:
        second = place + torch.where(place >= start[first], size[first], 0)
    second = second.clamp(0, len(owner) - 1)
    return Pairs(order[first], order[second], ends[-1] > 0)


def pair_loss(projected: Tensor, features: Tensor, pairs: Pairs) -> Tensor:
    """Mean over given pairs, a scalar; 0 where there are none."""
    ours = cosine_similarity(projected[pairs.first], projected[pairs.second], dim=1)
    theirs = cosine_similarity(features[pairs.first], features[pairs.second], dim=1)
    return ((ours - theirs).abs() - PAIR_MARGIN).clamp_min(0).mean() * pairs.exist


def align(projected: Tensor, features: Tensor, owner: Tensor, chance: Tensor) -> Alignment:
    """Compare projected latents with features.

    Parameters
    ----------
    projected
        u = W z + b, shape (N, F).
    features
        Standardised by training statistics, shape (N, F); a row with NaN is missing, and its
        atom takes no part.
    owner
        Crystal of every atom, non-decreasing, shape (N,).
    chance
        Uniform draws from [0, 1), float64, for P pairs within crystals and P across them, (2, P).
    """
    known = torch.isfinite(features).all(1)
    features = torch.where(known.unsqueeze(1), features, 0.0)
    atoms = known.sum()
    hinge = (1 - POINT_MARGIN - cosine_similarity(projected, features, dim=1)).clamp_min(0)
    within = draw_pairs(owner, known, chance[0], within=True)
    across = draw_pairs(owner, known, chance[1], within=False)
    return Alignment(
        point=(hinge * known).sum() / atoms.clamp_min(1),
        within=pair_loss(projected, features, within),
        across=pair_loss(projected, features, across),
        atoms=atoms,
    )
