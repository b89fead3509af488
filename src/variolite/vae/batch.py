"""What one training step sees: tensors with members, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Rows on the device of the model.

    Attributes
    ----------
    numeric
        Transformed values, 0 where missing, shape (M or 1, B, D).
    observed
        True where a value was measured, shape as ``numeric``; None when complete.
    category
        Level codes, -1 where missing, shape (M or 1, B, C); None without categories.
    condition
        What the model is told, shape (M or 1, B, K); None without conditions.
    noise
        Standard normal draws for the posterior, shape (M, B, L).
    generators
        One per member where dropout is on; empty when evaluating.
    """

    numeric: Tensor
    observed: Tensor | None
    category: Tensor | None
    condition: Tensor | None
    noise: Tensor
    generators: Sequence[torch.Generator] = field(default=())
