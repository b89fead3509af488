"""Statistics of latents, dimension by dimension, and how many dimensions carry anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latents import Latents
from variolite.errors import DataError, ModelFileError

__all__ = ["ACTIVE_NATS", "LatentStatistics", "latent_statistics", "posterior_draw"]

ACTIVE_NATS = 0.01
"""A dimension is active when its KL from the standard normal exceeds this, nats per atom."""


@dataclass(frozen=True)
class LatentStatistics:
    """The aggregate posterior of atoms, dimension by dimension.

    Attributes
    ----------
    location, scale
        Mean and standard deviation over atoms and posterior noise, shape (L,).
    divergence
        KL of the posterior from the standard normal, nats per atom, shape (L,); NaN where
        the latents have no variances.
    """

    location: NDArray[np.float64]
    scale: NDArray[np.float64]
    divergence: NDArray[np.float64]

    @property
    def active(self) -> NDArray[np.bool_]:
        """Dimensions that carry information; all of them where the KL is not known."""
        return ~(self.divergence <= ACTIVE_NATS)

    def standardised(self, latents: NDArray[np.floating]) -> NDArray[np.float32]:
        """Latents with mean 0 and deviation 1 in every dimension, shape (N, L)."""
        return ((latents - self.location) / self.scale).astype(np.float32)

    def restored(self, standardised: NDArray[np.floating]) -> NDArray[np.float32]:
        """Invert `standardised`."""
        return (standardised * self.scale + self.location).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the statistics as arrays."""
        return {"location": self.location, "scale": self.scale, "divergence": self.divergence}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> LatentStatistics:
        """Rebuild statistics from `to_arrays`.

        Raises
        ------
        ModelFileError
            If an array is absent, of another size, or not positive where it must be.
        """
        try:
            parts = [
                np.asarray(arrays[name], dtype=np.float64)
                for name in ("location", "scale", "divergence")
            ]
        except KeyError as error:
            raise ModelFileError(f"the prior lacks the latent statistics {error}") from None
        if any(part.shape != parts[0].shape or part.ndim != 1 for part in parts) or not (
            np.isfinite(parts[0]).all() and (parts[1] > 0.0).all()
        ):
            raise ModelFileError("the latent statistics of the prior do not hold together")
        return cls(*parts)


def latent_statistics(latents: Latents) -> LatentStatistics:
    """Measure the aggregate posterior.

    Raises
    ------
    DataError
        If latents are not finite.
    """
    mean = latents.mean.astype(np.float64)
    if not np.isfinite(mean).all():
        raise DataError("some latents are not finite numbers", where="latents")
    variance = mean.var(axis=0)
    divergence = np.full(mean.shape[1], np.nan)
    if latents.log_variance is not None:
        log_variance = latents.log_variance.astype(np.float64)
        noise = np.exp(log_variance)
        variance = variance + noise.mean(axis=0)
        divergence = 0.5 * (mean**2 + noise - 1.0 - log_variance).mean(axis=0)
    scale = np.sqrt(variance)
    return LatentStatistics(mean.mean(axis=0), np.where(scale > 0.0, scale, 1.0), divergence)


def posterior_draw(latents: Latents, seed: int) -> NDArray[np.float32]:
    """Draw from the posterior of every atom, shape (N, L); the means where it has no variance."""
    if latents.log_variance is None:
        return latents.mean
    noise = np.random.default_rng(seed).standard_normal(latents.mean.shape, dtype=np.float32)
    drawn = latents.mean + np.exp(0.5 * latents.log_variance) * noise
    return np.asarray(drawn, dtype=np.float32)
