"""Statistics of latents: active dimensions, and how far two sets of them are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Latents
from variolite.errors import DataError

Floats = NDArray[np.float64]

# Dimension by dimension, and how many dimensions carry anything.

ACTIVE_NATS = 0.01
"""A dimension is active when its KL from the standard normal exceeds this, nats per atom."""


@dataclass(frozen=True)
class LatentStatistics:
    """The aggregate posterior of atoms, dimension by dimension, (L,) each.

    ``location`` and ``scale`` are mean and standard deviation over atoms and posterior noise;
    ``kl`` the KL of the posterior from the standard normal, nats per atom, NaN where the latents
    have no variances.
    """

    location: Floats
    scale: Floats
    kl: Floats

    @property
    def active(self) -> NDArray[np.bool_]:
        """Dimensions that carry information; all of them where the KL is not known."""
        return ~(self.kl <= ACTIVE_NATS)

    def standardised(self, latents: NDArray[np.floating]) -> NDArray[np.float32]:
        """Latents with mean 0 and deviation 1 in every dimension, (N, L)."""
        return ((latents - self.location) / self.scale).astype(np.float32)

    def restored(self, standardised: NDArray[np.floating]) -> NDArray[np.float32]:
        return (standardised * self.scale + self.location).astype(np.float32)


def latent_statistics(latents: Latents) -> LatentStatistics:
    """Measure the aggregate posterior; DataError if latents are not finite."""
    mean = latents.mean.astype(np.float64)
    if not np.isfinite(mean).all():
        raise DataError("some latents are not finite numbers", where="latents")
    # Law of total variance over atoms and posterior noise: var(mean) + mean(var), each (L,).
    variance = mean.var(axis=0)
    kl = np.full(mean.shape[1], np.nan)
    if latents.log_variance is not None:
        log_variance = latents.log_variance.astype(np.float64)
        noise = np.exp(log_variance)
        variance = variance + noise.mean(axis=0)
        kl = 0.5 * (mean**2 + noise - 1.0 - log_variance).mean(axis=0)
    scale = np.sqrt(variance)
    return LatentStatistics(mean.mean(axis=0), np.where(scale > 0.0, scale, 1.0), kl)


# How far two sets of latents are apart: aggregate posterior and prior, or two samples.

PROJECTIONS = 256
MOST_ROWS = 4_000


@dataclass(frozen=True)
class LatentMismatch:
    """Distance between two sets of latents, of whole crystals as `crystal_features` describes them.

    ``crystals`` is the sliced Wasserstein-1 distance, in standard deviations of the reference; its
    floor the same between two random halves of the reference: what no mismatch looks like.
    ``classified`` is the share of crystals that a classifier puts into the right set, in 5-fold
    cross-validation, where 0.5 is no better than chance (D. Lopez-Paz, M. Oquab, 2017).
    """

    crystals: float
    crystals_floor: float
    classified: float


def latent_mismatch(found: Latents, reference: Latents, *, seed: int = 0) -> LatentMismatch:
    """Measure how far draws are from a reference.

    DataError if dimensions differ or a set has fewer than 20 crystals.
    """
    if found.mean.shape[1] != reference.mean.shape[1]:
        raise DataError(
            f"latents of {found.mean.shape[1]} and of {reference.mean.shape[1]} dimensions "
            "cannot be compared"
        )
    if min(len(found), len(reference)) < 20:
        raise DataError("at least 20 crystals are needed on either side", where="latents")
    random = np.random.default_rng(seed)
    rows, known = crystal_features(found), crystal_features(reference)
    varying = known.std(axis=0) > 1e-9
    location, scale = known.mean(axis=0)[varying], known.std(axis=0)[varying]
    rows, known = (
        (part[random.permutation(len(part))[:MOST_ROWS]][:, varying] - location) / scale
        for part in (rows, known)
    )
    # Two halves of one sample are never at distance 0: what is left between them is sampling.
    halves = np.array_split(random.permutation(known), 2)
    return LatentMismatch(
        crystals=sliced_wasserstein(rows, known, seed=seed),
        crystals_floor=sliced_wasserstein(*halves, seed=seed),
        classified=_classified(rows, known, seed),
    )


def crystal_features(latents: Latents) -> Floats:
    """Mean and deviation of latents over the atoms of each crystal, and log atoms, (B, 2 L + 1)."""
    mean = latents.pooled.astype(np.float64)
    # E[z^2] - E[z]^2 over the atoms of every crystal; rounding may leave it a little below 0.
    squares = np.add.reduceat(latents.mean.astype(np.float64) ** 2, latents.offsets[:-1], axis=0)
    spread = np.sqrt(np.maximum(squares / latents.counts[:, None] - mean**2, 0.0))
    return np.concatenate([mean, spread, np.log(latents.counts)[:, None]], axis=1)


def sliced_wasserstein(first: Floats, second: Floats, *, seed: int = 0) -> float:
    """Mean Wasserstein-1 distance of rows (n, D) and (m, D) over random directions.

    N. Bonneel et al., 2015.
    """
    directions = np.random.default_rng(seed).standard_normal((first.shape[1], PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    # In one dimension the distance is the mean difference of quantiles.
    return float(np.abs(_quantiles(first @ directions) - _quantiles(second @ directions)).mean())


def _quantiles(columns: Floats) -> Floats:
    """A thousand evenly spaced quantiles of every column, (D, 1000).

    As `numpy.quantile` interpolates them, which takes some fifty times longer.
    """
    ranks = np.arange(len(columns))
    places = (np.arange(1_000) + 0.5) / 1_000 * ranks[-1]
    return np.stack([np.interp(places, ranks, ordered) for ordered in np.sort(columns.T, axis=1)])


def _classified(found: Floats, reference: Floats, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    number = min(len(found), len(reference), MOST_ROWS // 2)
    rows = np.concatenate([found[:number], reference[:number]])
    labels = np.repeat([0, 1], number)
    model = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(model, rows, labels, cv=folds).mean())
