"""Latents of a set of crystals: one vector for every atom, in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError

__all__ = ["Latents"]


@dataclass(frozen=True)
class Latents:
    """Posterior of B crystals with N atoms in all, or draws from a prior.

    Attributes
    ----------
    mean
        Shape (N, L).
    log_variance
        Shape (N, L); None for draws.
    offsets
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,).
    names
        Ids of the crystals, shape (B,).
    """

    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32] | None
    offsets: NDArray[np.int64]
    names: NDArray[np.str_]

    def __post_init__(self) -> None:
        if (
            self.mean.ndim != 2
            or self.offsets[-1] != len(self.mean)
            or len(self.names) != len(self.offsets) - 1
            or (self.log_variance is not None and self.log_variance.shape != self.mean.shape)
        ):
            raise DataError("the arrays of a set of latents do not fit each other")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Atoms of every crystal, shape (B,)."""
        return np.diff(self.offsets)

    @property
    def pooled(self) -> NDArray[np.float32]:
        """Mean over the atoms of every crystal, shape (B, L): one vector a crystal."""
        sums = np.add.reduceat(self.mean.astype(np.float64), self.offsets[:-1], axis=0)
        return (sums / self.counts[:, None]).astype(np.float32)
