"""Layers of several models at once.

Every parameter has shape (M, ...), and member m computes what a model of its own would. Rows enter
as (M, B, in), or as (1, B, in) where all members see the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["none", "layer"]


class Linear(nn.Module):
    """x @ weight + bias for every member; a new layer has one.

    Starts as ``torch.nn.Linear`` does: uniform within one over the root of the number of inputs.
    With ``joined`` (in, out) an output sees only the inputs it is joined to; the others do not
    count.
    """

    joined: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, joined: Tensor | None = None
    ) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(max(inputs, 1))
        self.weight, self.bias = (
            nn.Parameter(torch.empty(1, rows, outputs).uniform_(-bound, bound, generator=generator))
            for rows in (inputs, 1)
        )
        self.register_buffer("joined", None if joined is None else joined[None], persistent=False)
        if joined is not None:
            with torch.no_grad():
                wider = (inputs / joined.sum(0).clamp(min=1)).sqrt()
                self.weight.mul_(joined * wider)
                self.bias.mul_(wider)

    def forward(self, x: Tensor) -> Tensor:
        """Map (M or 1, B, in) to (M, B, out), or (B, in) to (B, out) for a single member."""
        weight = self.weight if self.joined is None else self.weight * self.joined
        if x.dim() == 2:  # one matrix product is quicker than a batch of one
            return torch.addmm(self.bias.squeeze(0), x, weight.squeeze(0))
        return torch.baddbmm(self.bias, x.expand(weight.shape[0], -1, -1), weight)


class Embedding(nn.Module):
    """One learned vector per level of a category; code -1 (missing) gives zeros."""

    def __init__(self, levels: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, levels, size).normal_(generator=generator))

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (M or 1, B) to vectors (M, B, size)."""
        members = self.weight.shape[0]
        codes = codes.expand(members, -1)
        rows = torch.arange(members, device=codes.device).unsqueeze(1)
        vectors = self.weight[rows, codes.clamp(min=0)]
        return vectors * (codes >= 0).unsqueeze(-1)


class Stack(nn.Module):
    """Linear layers of the given ``sizes``, input to output, with ReLU between them.

    ``norm`` layer normalises each hidden row after its ReLU (no batch statistics: a row's code
    never depends on its neighbours); ``dropout`` is the fraction of hidden units set to zero in
    training.

    With ``blocks`` it is G networks side by side, each of the hidden sizes: which inputs,
    (in, G), and outputs, (out, G), belong to each.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        norm: Norm,
        dropout: float,
        generator: torch.Generator,
        blocks: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = dropout
        self.blocks = 1
        joined: list[Tensor | None] = [None] * (len(sizes) - 1)
        if blocks is not None:
            self.blocks = blocks[0].shape[1]
            own = torch.eye(self.blocks)
            hidden = [own.repeat_interleave(size, dim=0) for size in sizes[1:-1]]
            ends = [blocks[0].float(), *hidden, blocks[1].float()]
            joined = [(a @ b.T > 0).float() for a, b in pairwise(ends)]
            sizes = [len(end) for end in ends]
        self.layers = nn.ModuleList(
            Linear(a, b, generator, those)
            for (a, b), those in zip(pairwise(sizes), joined, strict=True)
        )

    def forward(self, x: Tensor, generators: Sequence[torch.Generator] = ()) -> Tensor:
        """Map (M or 1, B, in) to (M, B, out).

        ``generators``, one per member, switch dropout on: each draws from its own, as if alone.
        """
        single = x.shape[0] == 1 and next(self.parameters()).shape[0] == 1
        x = x.squeeze(0) if single else x
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == last:
                break
            x = torch.relu_(x)
            if self.norm == "layer":
                # Each block by itself: what one sees must not move another.
                apart = x.view(*x.shape[:-1], self.blocks, -1)
                x = torch.nn.functional.layer_norm(apart, apart.shape[-1:]).view(x.shape)
            if self.dropout > 0.0 and generators:
                x = x * self._keep(x, generators)
        return x.unsqueeze(0) if single else x

    def _keep(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Zero, or one over the fraction that is kept: the mean stays, as does evaluation."""
        keep = torch.empty_like(x)
        blocks = keep if x.dim() == 3 else (keep,)
        for member, generator in zip(blocks, generators, strict=True):
            member.bernoulli_(1.0 - self.dropout, generator=generator)
        return keep.mul_(1.0 / (1.0 - self.dropout))
