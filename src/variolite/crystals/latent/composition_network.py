"""The network of the composition model: logits of the next element and of its atoms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CompositionNetwork"]

WIDTH = 96


class CompositionNetwork(nn.Module):
    """Logits of the next element and of its number of atoms.

    Parameters
    ----------
    elements, properties
        Numbers of elements and of numeric conditions.
    largest
        Most atoms of a crystal.
    """

    def __init__(self, elements: int, properties: int, largest: int) -> None:
        super().__init__()
        self.elements = elements
        self.largest = largest
        self.element = nn.Embedding(elements + 1, WIDTH)
        self.amount = nn.Embedding(largest + 1, WIDTH)
        self.left = nn.Embedding(largest + 1, WIDTH)
        self.whole = nn.Embedding(largest + 1, WIDTH)
        self.group = nn.Embedding(231, WIDTH)
        self.conditions = nn.Linear(2 * properties, WIDTH) if properties else None
        self.each = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.state = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * WIDTH, WIDTH),
        )
        self.to_element = nn.Linear(WIDTH, elements)
        self.to_amount = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, largest + 1)
        )
        for table in (self.element, self.amount, self.left, self.whole, self.group):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, chosen: Tensor, amounts: Tensor, sizes: Tensor, told: Tensor) -> Tensor:
        """Summarise what is chosen so far, shape (B, W).

        Parameters
        ----------
        chosen, amounts
            Tokens of elements (0 for none) and their atoms, shape (B, K).
        sizes
            Atoms of the crystal, shape (B,).
        told
            Space group, then values and masks of properties, shape (B, 1 + 2 P).
        """
        present = (chosen > 0).unsqueeze(-1)
        parts = self.each(self.element(chosen) + self.amount(amounts)) * present
        left = sizes - amounts.sum(1)
        state = parts.sum(1) + self.left(left) + self.whole(sizes) + self.group(told[:, 0].long())
        if self.conditions is not None:
            state = state + self.conditions(told[:, 1:])
        summary: Tensor = state + self.state(state)
        return summary

    def element_logits(self, summary: Tensor, chosen: Tensor) -> Tensor:
        """Logits of the next element, minus infinity for those chosen already, (B, E)."""
        logits: Tensor = self.to_element(summary)
        taken = torch.zeros(len(chosen), self.elements + 1, dtype=torch.bool, device=chosen.device)
        taken.scatter_(1, chosen, value=True)
        return logits.masked_fill(taken[:, 1:], -torch.inf)

    def amount_logits(self, summary: Tensor, token: Tensor, most: Tensor) -> Tensor:
        """Logits of 0 to M atoms of the next element; only 1 to ``most`` are possible, (B, M+1)."""
        logits: Tensor = self.to_amount(torch.cat([summary, self.element(token)], dim=1))
        numbers = torch.arange(self.largest + 1, device=token.device)
        possible = (numbers >= 1) & (numbers <= most.unsqueeze(1))
        return logits.masked_fill(~possible, -torch.inf)
