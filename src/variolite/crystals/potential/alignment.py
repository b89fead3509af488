"""Alignment of per-atom latents with the features of a pretrained potential.

After that with vision models (Yao, Yang and Wang 2025, VA-VAE). With u = W z + b, features f and
the cosine c, the losses are hinges that leave small differences alone:

    point  max(0, 1 - POINT_MARGIN - c(u_i, f_i))            mean over atoms
    pair   max(0, |c(u_i, u_j) - c(f_i, f_j)| - PAIR_MARGIN)   mean over pairs i != j

Features are standardised first: raw ones share a direction, and an output that is the same for
every atom already takes two thirds off the point loss. Pairs are drawn, as all of them grow with
the square of the batch, and separately within and across crystals, of which the former are few
but distinguish atoms of one structure.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

PAIR_MARGIN, POINT_MARGIN = 0.25, 0.5
SMALLEST_DEVIATION = 1e-6  # a feature that varies less over training atoms is left unscaled


def standardise(features: Tensor, training: Tensor) -> Tensor:
    """Subtract the mean of training atoms and divide by their deviation, (N, F) each.

    Training rows without numbers are left out; rows of NaN stay NaN.
    """
    known = training[torch.isfinite(training).all(1)].double()
    mean = known.mean(0)
    deviation = (known - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)
    return (features - mean.to(training.dtype)) / deviation.to(training.dtype)


class Alignment(NamedTuple):
    """Means over atoms and over pairs of one crystal and of different ones, 0 without any, ()."""

    point: Tensor
    within: Tensor
    across: Tensor

    @property
    def total(self) -> Tensor:
        """Point and pair loss together; both kinds of pairs have the same weight."""
        return self.point + 0.5 * (self.within + self.across)


def draw_pairs(
    owner: Tensor, known: Tensor, chance: Tensor, *, within: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ordered pairs of different atoms with replacement, all equally likely.

    From the crystal of every atom, non-decreasing, below N, (N,), the atoms that may be drawn,
    (N,), and uniform draws from [0, 1), float64, one for each pair, (P,), to the places of both
    atoms, (P,) each, and whether there is such a pair at all, (). Both atoms are of one crystal or
    of different ones. Nothing here waits for the device.
    """
    # Known atoms first, crystal by crystal: those of one crystal are size places from start on.
    order = torch.argsort(~known, stable=True)
    crystal = owner[order]
    sizes = torch.zeros_like(owner).index_add(0, owner, known.to(owner.dtype))
    size = sizes[crystal]
    start = (torch.cumsum(sizes, 0) - sizes)[crystal]
    # Pairs are ranked by their first atom; it has `choices` partners, and its ranks end at `ends`.
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
    # Without any pair the places mean nothing, but have to exist.
    second = second.clamp(0, len(owner) - 1)
    return order[first], order[second], ends[-1] > 0


def align(projected: Tensor, features: Tensor, owner: Tensor, chance: Tensor) -> Alignment:
    """Compare projected latents u with standardised features, (N, F) each.

    A row of features with NaN is missing, and its atom takes no part. ``owner`` and ``chance`` are
    those of `draw_pairs`, the latter for P pairs within crystals and P across them, (2, P).
    """
    known = torch.isfinite(features).all(1)
    # Zeros instead of NaN, whose gradient would be NaN even where it is masked.
    features = torch.where(known.unsqueeze(1), features, 0.0)
    hinge = (1 - POINT_MARGIN - cosine_similarity(projected, features, dim=1)).clamp_min(0)
    pairs = []
    for draws, within in ((chance[0], True), (chance[1], False)):
        first, second, exist = draw_pairs(owner, known, draws, within=within)
        ours = cosine_similarity(projected[first], projected[second], dim=1)
        theirs = cosine_similarity(features[first], features[second], dim=1)
        pairs.append(((ours - theirs).abs() - PAIR_MARGIN).clamp_min(0).mean() * exist)
    return Alignment((hinge * known).sum() / known.sum().clamp_min(1), *pairs)
