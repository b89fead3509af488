"""A Gaussian process with a length scale per feature and known noise per row.

Kernel: Matern 5/2 with automatic relevance determination (C. Rasmussen, C. Williams, Gaussian
Processes for Machine Learning (2006), chapters 4 and 5). Hyperparameters maximise the marginal
likelihood times log-normal priors; that of the length scales grows with the square root of the
number of features (C. Hvarfner et al., ICML 2024), so that sixty features from thirty rows do not
overfit. scikit-learn's has no priors, and its gradient needs an (n, n, d) array. Averaged with the
trees, its process with one length scale is worse in five of eight comparisons and better in one;
that with a scale per feature takes 6 to 100 times as long (`benchmarks/results/
planning_surrogates.md`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

_ROOT5 = 5**0.5
_JITTER = 1e-6
_SCALE_CENTRE, _SCALE_SPREAD = 1.4, 1.7  # Of log length scale, over half the log of d.
_NOISE_CENTRE, _NOISE_SPREAD = -4.0, 1.5  # Of log noise variance, in variances of the target.
_ITERATIONS = 60


class GaussianProcess:
    """Fit once, then predict; features should have mean zero and unit spread."""

    def fit(
        self, x: Floats, y: Floats, noise: Floats | float = 0.0, start: Floats | None = None
    ) -> GaussianProcess:
        """Fit to x (n, d) and y (n,), with the standard deviation of each row's noise (n,).

        ``start`` are ``parameters`` of a fit to similar rows: it then takes fewer iterations.
        """
        self.centre = float(y.mean())
        self.spread = float(y.std()) or 1.0
        target = (y - self.centre) / self.spread
        known = (noise / self.spread) ** 2
        d = x.shape[1]
        iterations = _ITERATIONS if start is None else _ITERATIONS // 4
        if start is None:
            start = np.r_[np.full(d, 0.5 * np.log(d)), 0.0, -2.5]
        bounds = [(-3.0, 9.0)] * d + [(-4.0, 4.0), (-9.0, 1.0)]
        found = minimize(
            _loss,
            start,
            args=(x, target, known),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": iterations},
        )
        self.parameters: Floats = found.x
        self._scales = np.exp(self.parameters[:d])
        self._variance = float(np.exp(self.parameters[d]))
        self._x = x / self._scales
        kernel = self._kernel(self._x, self._x)
        kernel[np.diag_indices_from(kernel)] += np.exp(self.parameters[d + 1]) + known + _JITTER
        self._root: Floats = np.asarray(np.linalg.cholesky(kernel))
        self._weights: Floats = cho_solve((self._root, True), target)
        return self

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the noiseless function, (N,) each."""
        across = self._kernel(x / self._scales, self._x)
        shrunk = solve_triangular(self._root, across.T, lower=True)
        variance = np.maximum(self._variance - (shrunk**2).sum(axis=0), 1e-9)
        mean: Floats = self.centre + self.spread * across @ self._weights
        return mean, self.spread * np.sqrt(variance)

    def covariance(self, x: Floats) -> Floats:
        """Return the posterior covariance (N, N)."""
        scaled = x / self._scales
        shrunk = solve_triangular(self._root, self._kernel(scaled, self._x).T, lower=True)
        found: Floats = self.spread**2 * (self._kernel(scaled, scaled) - shrunk.T @ shrunk)
        return found

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        kernel: Floats = self._variance * _matern(_distances(a, b))[0]
        return kernel


def _distances(a: Floats, b: Floats) -> Floats:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
    distances: Floats = np.sqrt(np.maximum(squared, 0.0))
    return distances


def _matern(distances: Floats) -> tuple[Floats, Floats]:
    """Return the correlation, and minus its slope over half the squared distance."""
    scaled = _ROOT5 * distances
    decay = np.exp(-scaled)
    return (1.0 + scaled + scaled**2 / 3.0) * decay, 5.0 / 3.0 * (1.0 + scaled) * decay


def _loss(parameters: Floats, x: Floats, y: Floats, known: Floats) -> tuple[float, Floats]:
    """Return minus the log posterior of hyperparameters, and its gradient."""
    n, d = x.shape
    variance, noise = np.exp(parameters[d]), np.exp(parameters[d + 1])
    scaled = x / np.exp(parameters[:d])
    correlation, slope = _matern(_distances(scaled, scaled))
    kernel = variance * correlation
    kernel[np.diag_indices(n)] += noise + known + _JITTER
    root = np.linalg.cholesky(kernel)
    inverse = cho_solve((root, True), np.eye(n))
    weights = inverse @ y
    loss = 0.5 * y @ weights + np.log(np.diag(root)).sum()
    # d loss / d kernel = (inverse - weights weights') / 2. Over log length scale k it is the sum
    # over pairs of pull_ij (x_ik - x_jk)^2 / 2, which expands into two matrix products.
    outer = inverse - np.outer(weights, weights)
    pull = variance * outer * slope
    gradient = np.empty_like(parameters)
    gradient[:d] = (pull.sum(axis=1) @ scaled**2) - ((pull @ scaled) * scaled).sum(axis=0)
    gradient[d] = 0.5 * variance * (outer * correlation).sum()
    gradient[d + 1] = 0.5 * noise * np.trace(outer)
    centre = np.r_[np.full(d, _SCALE_CENTRE + 0.5 * np.log(d)), 0.0, _NOISE_CENTRE]
    spread = np.r_[np.full(d, _SCALE_SPREAD), 1.0, _NOISE_SPREAD]
    away = (parameters - centre) / spread
    return float(loss + 0.5 * away @ away), gradient + away / spread
