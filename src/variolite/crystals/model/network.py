"""Transformers over the atoms of crystals: no padding, no index of an atom."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.model.batch import Layout
from variolite.crystals.model.products import feed_forward, linear

__all__ = ["Transformer", "attend"]


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward, as Xiong et al. (2020) order them."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_feedforward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feedforward)
        self.narrow = nn.Linear(feedforward, width)

    def forward(self, atoms: Tensor, layout: Layout, *, rounded: bool) -> Tensor:
        if rounded:
            joint = linear(self.before_attention(atoms), self.joint)
            atoms = atoms + linear(attend(joint, layout, self.heads), self.out)
            return atoms + feed_forward(self.before_feedforward(atoms), self.widen, self.narrow)
        attended = attend(self.joint(self.before_attention(atoms)), layout, self.heads)
        atoms = atoms + self.out(attended)
        wide = functional.gelu(self.widen(self.before_feedforward(atoms)), approximate="tanh")
        added: Tensor = atoms + self.narrow(wide)
        return added


class Transformer(nn.Module):
    """Layers of attention among the atoms of each crystal, and a last norm.

    Parameters
    ----------
    width, heads, feedforward, layers
        Sizes; ``heads`` divides ``width``.

    Attributes
    ----------
    rounded
        Round the factors of matrix products to bfloat16 while training; see
        `variolite.crystals.model.products`.
    """

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__()
        self.rounded = False
        self.layers = nn.ModuleList(_Layer(width, heads, feedforward) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, atoms: Tensor, layout: Layout) -> Tensor:
        """Map atoms (N, width) to atoms (N, width)."""
        for layer in self.layers:
            atoms = layer(atoms, layout, rounded=self.rounded and self.training)
        normed: Tensor = self.last(atoms)
        return normed


def attend(joint: Tensor, layout: Layout, heads: int) -> Tensor:
    """Scaled dot-product attention within every crystal, (N, 3 width) to (N, width).

    ``joint`` holds queries, keys and values. Crystals of one size are one dense product,
    so that no padded place is computed.
    """
    width = joint.shape[1] // 3
    parts = []
    # One split, not a slice a group: the gradient of slices is a sum of mostly empty tensors.
    blocks = torch.split(joint, [crystals * size for crystals, size in layout.groups])
    for (crystals, size), block in zip(layout.groups, blocks, strict=True):
        heads_apart = block.view(crystals, size, 3, heads, width // heads)
        query, key, value = heads_apart.permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value)
        parts.append(found.transpose(1, 2).reshape(crystals * size, width))
    return torch.cat(parts)
