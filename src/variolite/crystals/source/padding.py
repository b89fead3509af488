"""Crystals of different size side by side in dense tensors, filled up with padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Padding"]


@dataclass(frozen=True)
class Padding:
    """Where the atoms of a batch lie in a dense block of B crystals by M places.

    Attributes
    ----------
    owner
        Crystal of every atom, shape (N,).
    place
        Its number within the crystal, from 0, shape (N,).
    counts
        Atoms of every crystal, shape (B,).
    present
        True where a place holds an atom, shape (B, M).
    """

    owner: Tensor
    place: Tensor
    counts: Tensor
    present: Tensor

    @classmethod
    def of(cls, owner: Tensor, counts: Tensor, places: int | None = None) -> Padding:
        """Lay out atoms that lie crystal by crystal.

        Parameters
        ----------
        places
            M; None takes the size of the largest crystal.
        """
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(owner), device=owner.device) - starts[owner]
        most = int(counts.max()) if places is None else places
        present = torch.arange(most, device=owner.device) < counts[:, None]
        return cls(owner, place, counts, present)

    def spread(self, values: Tensor) -> Tensor:
        """Put values of atoms (N, d) into their places, zero elsewhere, (B, M, d)."""
        block = values.new_zeros(*self.present.shape, values.shape[-1])
        return block.index_put((self.owner, self.place), values)

    def gather(self, block: Tensor) -> Tensor:
        """Take the atoms (N, d) out of a block (B, M, d)."""
        return block[self.owner, self.place]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the atoms (N, d) of every crystal, (B, d)."""
        sums = values.new_zeros(len(self.counts), values.shape[-1])
        return sums.index_add(0, self.owner, values) / self.counts[:, None]
