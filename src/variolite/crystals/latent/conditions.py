"""What is known of crystals, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from variolite.crystals.latent.known import Known, Vocabulary
from variolite.crystals.model.batch import Layout

__all__ = ["Conditions"]


@dataclass(frozen=True)
class Conditions:
    """What is known of B crystals, as tensors.

    Attributes
    ----------
    tokens
        Element of every atom, 0 where free, shape (N,).
    space_groups
        0 where free, shape (B,).
    values
        Standardised properties, 0 where free, shape (B, P).
    given
        1 where the property is known, shape (B, P).
    """

    tokens: Tensor
    space_groups: Tensor
    values: Tensor
    given: Tensor

    @classmethod
    def of(cls, known: Known, vocabulary: Vocabulary, device: torch.device) -> Conditions:
        """Turn facts into tensors."""
        values = vocabulary.standardised(known.properties)
        given = np.isfinite(values)
        return cls(
            tokens=torch.from_numpy(vocabulary.tokens(known.species)).to(device),
            space_groups=torch.from_numpy(known.space_groups).to(device),
            values=torch.from_numpy(np.where(given, values, 0.0)).float().to(device),
            given=torch.from_numpy(given).float().to(device),
        )

    def dropped(
        self, layout: Layout, species: Tensor, space_groups: Tensor, given: Tensor
    ) -> Conditions:
        """Forget conditions where a mask is false: (B,) for two of them, (B, P) for properties."""
        kept = self.given * given
        return Conditions(
            tokens=self.tokens * species[layout.owner],
            space_groups=self.space_groups * space_groups,
            values=self.values * kept,
            given=kept,
        )

    def free(self) -> Conditions:
        """Forget everything."""
        return Conditions(*(torch.zeros_like(field) for field in self.fields))

    @property
    def fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All tensors in the order of the attributes."""
        return self.tokens, self.space_groups, self.values, self.given

    @property
    def any(self) -> bool:
        """Whether anything is known."""
        return any(bool(field.any()) for field in self.fields)
