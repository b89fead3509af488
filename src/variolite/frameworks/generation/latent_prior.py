"""The fitted prior: a mixture of Gaussians over latents and numeric conditions together.

A VAE draws latents from N(0, I), whatever is asked for; but the posteriors of its rows do not
fill N(0, I), and what they have to do with a condition is lost (aggregate-posterior mismatch). A
mixture over both is drawn from in closed form, given any of the conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import multivariate_normal

Floats = NDArray[np.float64]

DRAWS = 8  # draws from the posterior of each row that a mixture is fitted to
COMPONENTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class LatentPrior:
    """Mixture of K Gaussians over D = latents + conditions, in the model's own units.

    ``weights`` (K,), ``means`` (K, D), ``covariances`` (K, D, D); the first ``latent`` of D are
    latents.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    latent: int

    def __post_init__(self) -> None:
        """Raise a ValueError where this is no mixture, as of a damaged file."""
        count, size = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, size, size):
            raise ValueError("the parts of a prior have different sizes")
        if not (self.weights.min() >= 0.0 and np.isfinite(self.means).all()):
            raise ValueError("a prior has weights or means that are impossible")
        np.linalg.cholesky(self.covariances)

    @classmethod
    def fit(cls, mean: Floats, log_variance: Floats, conditions: Floats, seed: int) -> LatentPrior:
        """Fit to posteriors (n, L) and conditions (n, k) of training rows; K by the BIC."""
        from sklearn.mixture import GaussianMixture

        random = np.random.default_rng(seed)
        deviation = np.exp(0.5 * log_variance)
        # Draws and not means: the aggregate posterior is as wide as its posteriors.
        latents = [mean + deviation * random.standard_normal(mean.shape) for _ in range(DRAWS)]
        rows = np.concatenate([np.column_stack([z, conditions]) for z in latents])
        n, size = mean.shape[0], rows.shape[1]
        most = [k for k in COMPONENTS if k == 1 or k * size <= n]
        mixtures = [
            GaussianMixture(k, reg_covar=1e-3, n_init=2, max_iter=300, random_state=seed).fit(rows)
            for k in most
        ]
        # The draws of one row count as one observation: the BIC of n rows, and not of all.
        best = min(mixtures, key=lambda m: m._n_parameters() * np.log(n) - 2.0 * n * m.score(rows))
        return cls(best.weights_, best.means_, best.covariances_, mean.shape[1])

    def sample(
        self, count: int, given: Mapping[int, float], random: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Draw latents (n, L) and conditions (n, k), some of which are ``given`` by position."""
        places = np.array([self.latent + i for i in given], dtype=int)
        values = np.array([*given.values()], dtype=np.float64)
        free = np.setdiff1d(np.arange(self.means.shape[1]), places)
        chances = np.log(self.weights)
        if given:
            chances = chances + [
                multivariate_normal.logpdf(values, mean[places], covariance[np.ix_(places, places)])
                for mean, covariance in zip(self.means, self.covariances, strict=True)
            ]
        chosen = random.choice(len(chances), size=count, p=softmax(chances))
        rows = np.empty((count, self.means.shape[1]))
        rows[:, places] = values
        for k in np.unique(chosen):
            at = np.flatnonzero(chosen == k)
            mean, covariance = self.means[k], self.covariances[k]
            # Of a Gaussian given some of its coordinates: C. Bishop, 2006, equations 2.81, 2.82.
            across = covariance[np.ix_(free, places)]
            gain = np.linalg.solve(covariance[np.ix_(places, places)], across.T).T
            centre = mean[free] + gain @ (values - mean[places])
            spread = covariance[np.ix_(free, free)] - gain @ across.T
            rows[np.ix_(at, free)] = random.multivariate_normal(
                centre, spread, len(at), method="cholesky"
            )
        return rows[:, : self.latent], rows[:, self.latent :]
