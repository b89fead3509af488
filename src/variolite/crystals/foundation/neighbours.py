"""Bonds and angles of a batch of crystals under periodic boundaries, all crystals at once.

A bond of atom i and the image of atom j in cell s has the vector (x_j + s - x_i) L.
For fractional components d = x_j - x_i and plane spacings h the images within the
cutoff r obey |d_k + s_k| <= r / h_k on every axis, so that each pair of atoms is
tried with its own small box of images and nothing is missed, however skewed the
cell is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.structures import Crystals

__all__ = ["Bonds", "angles_between", "bond_vectors", "find_bonds", "refusals"]

MOST_IMAGES = 20_000_000
"""Images to try for one crystal; a flat or collapsed cell can ask for any number."""

TRIED_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Bonds:
    """Every pair of atoms within a cutoff, each counted once.

    Attributes
    ----------
    first, second
        Atoms at the two ends, int64, shape (E,), ordered by crystal.
    image
        Cell of the second atom relative to the first, shape (E, 3).
    length
        Angstrom, shape (E,).
    """

    first: Tensor
    second: Tensor
    image: Tensor
    length: Tensor


def refusals(crystals: Crystals, cutoff: float) -> NDArray[np.str_]:
    """Say which crystals cannot be given bonds at all, and why.

    Returns
    -------
    NDArray
        The reason, or an empty text, shape (B,).
    """
    reasons = np.full(len(crystals), "", dtype="<U48")
    heights = np.full((len(crystals), 3), np.nan)
    with np.errstate(all="ignore"):
        finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
        sound = finite & (crystals.volumes > 1e-3)
        heights[sound] = 1 / np.linalg.norm(np.linalg.inv(crystals.lattices[sound]), axis=1)
        boxes = np.prod(2 * cutoff / heights + 2, axis=1) * crystals.counts**2 / 2
    reasons[~(boxes <= MOST_IMAGES)] = "the cell is too flat or too dense"
    unplaced = crystals.owner[~np.isfinite(crystals.coordinates).all(axis=1)]
    reasons[unplaced] = "a coordinate is not a number"
    reasons[~sound] = "the cell has no volume"
    reasons[crystals.counts == 0] = "there are no atoms"
    return reasons


def _enumerated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group and the place within it of every element of groups of given sizes."""
    group = torch.repeat_interleave(counts)
    starts = torch.cumsum(counts, 0) - counts
    return group, torch.arange(len(group), device=counts.device) - starts[group]


def find_bonds(coordinates: Tensor, lattices: Tensor, owner: Tensor, cutoff: float) -> Bonds:
    """Find all bonds up to a length.

    Parameters
    ----------
    coordinates
        Fractional, float64, shape (N, 3); any cell.
    lattices
        Rows are a, b, c in Angstrom, float64, of positive volume, shape (B, 3, 3).
    owner
        Crystal of every atom, int64, non-decreasing, shape (N,).
    cutoff
        Greatest length in Angstrom.
    """
    ends = torch.cumsum(torch.bincount(owner, minlength=len(lattices)), 0)
    places = torch.arange(len(owner), device=owner.device)
    first, later = _enumerated(ends[owner] - places)
    second = first + later
    apart = coordinates[second] - coordinates[first]
    reach = (cutoff * torch.linalg.inv(lattices).norm(dim=1))[owner[first]]
    lowest = torch.ceil(-reach - apart)
    sizes = (torch.floor(reach - apart) - lowest + 1).clamp_min(0).long()
    tried = sizes.prod(dim=1)
    pieces = []
    cuts = torch.div(torch.cumsum(tried, 0), TRIED_AT_ONCE, rounding_mode="floor")
    for pairs in torch.split(
        torch.arange(len(first), device=owner.device),
        torch.unique_consecutive(cuts, return_counts=True)[1].tolist(),
    ):
        pair, place = _enumerated(tried[pairs])
        pair = pairs[pair]
        size = sizes[pair]
        box = torch.stack(
            [
                torch.div(place, size[:, 1] * size[:, 2], rounding_mode="floor"),
                torch.div(place, size[:, 2], rounding_mode="floor") % size[:, 1],
                place % size[:, 2],
            ],
            dim=1,
        )
        image = lowest[pair] + box
        steps = apart[pair] + image
        cell = lattices[owner[first[pair]]]
        length = torch.linalg.vector_norm((steps.unsqueeze(1) @ cell).squeeze(1), dim=1)
        # An atom and its own image meet twice, as s and as -s: keep the half above zero.
        a, b, c = image.unbind(1)
        above = (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
        found = (length <= cutoff) & ((first[pair] != second[pair]) | above)
        chosen = pair[found]
        pieces.append((first[chosen], second[chosen], image[found], length[found]))
    if not pieces:
        none = places.new_empty(0)
        return Bonds(none, none, coordinates.new_empty((0, 3)), coordinates.new_empty(0))
    return Bonds(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def bond_vectors(bonds: Bonds, coordinates: Tensor, lattices: Tensor, owner: Tensor) -> Tensor:
    """Return the vectors from the first to the second atoms in Angstrom, shape (E, 3)."""
    steps = coordinates[bonds.second] + bonds.image - coordinates[bonds.first]
    return (steps.unsqueeze(1) @ lattices[owner[bonds.first]]).squeeze(1)


def angles_between(centres: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """List every ordered pair of different directed bonds that leave the same atom.

    Parameters
    ----------
    centres
        Atom that every directed bond leaves, shape (D,).
    atoms
        Number of atoms.

    Returns
    -------
    Tensor, Tensor
        The two directed bonds of each angle, int64, shape (A,).
    """
    order = torch.argsort(centres, stable=True)
    degree = torch.bincount(centres, minlength=atoms)
    starts = torch.cumsum(degree, 0) - degree
    sorted_centres = centres[order]
    left, place = _enumerated((degree - 1)[sorted_centres])
    right = starts[sorted_centres[left]] + place
    right = right + (right >= left)
    return order[left], order[right]
