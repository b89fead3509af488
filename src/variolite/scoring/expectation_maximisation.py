"""Expectation maximisation for Gaussians with full covariances, in two matrix products.

The log-density of a Gaussian is linear in the monomials ``1, z_i, z_i z_j``, and
the moments that the M step needs are averages of the same monomials. One
iteration is therefore two matrix products per block of rows; a block is small
enough to stay in the cache. Formulas: C. M. Bishop, Pattern Recognition and
Machine Learning (2006), section 9.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from variolite.scoring.arrays import FloatArray, IntArray

__all__ = ["EMFit", "Scaling", "coefficients_of", "expectation_maximisation", "joint_density"]

_BLOCK_ROWS = 4096
_RESEEDS = 5
_LOG_TWO_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Scaling:
    """Per-feature shift and scale: the monomials lose digits far from the origin."""

    shift: FloatArray
    scale: FloatArray

    @classmethod
    def of_rows(cls, x: FloatArray) -> Scaling:
        return cls(x.mean(axis=0), _positive(x.std(axis=0)))

    @classmethod
    def of_mixture(cls, weights: FloatArray, means: FloatArray, covariances: FloatArray) -> Scaling:
        shift = weights @ means
        within = np.diagonal(covariances, axis1=1, axis2=2)
        variance = weights @ (within + (means - shift) ** 2)
        return cls(shift, _positive(np.sqrt(variance)))

    def rows(self, x: FloatArray) -> FloatArray:
        """Scaled rows, features first: [d, n]."""
        return np.ascontiguousarray(((x - self.shift) / self.scale).T)

    def forward(
        self, weights: FloatArray, means: FloatArray, covariances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        outer = self.scale[:, None] * self.scale
        return weights, (means - self.shift) / self.scale, covariances / outer

    def backward(
        self, weights: FloatArray, means: FloatArray, covariances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        outer = self.scale[:, None] * self.scale
        return weights, means * self.scale + self.shift, covariances * outer


def _positive(scale: FloatArray) -> FloatArray:
    return np.where(scale > 0, scale, 1.0)


def monomials(z: FloatArray) -> FloatArray:
    """Rows ``1, z_i, z_i z_j (i <= j)`` of scaled features ``z`` [d, n]."""
    d, n = z.shape
    out = np.empty((1 + d + d * (d + 1) // 2, n))
    out[0] = 1.0
    out[1 : 1 + d] = z
    first = 1 + d
    for i in range(d):
        np.multiply(z[i], z[i:], out=out[first : first + d - i])
        first += d - i
    return out


def coefficients_of(weights: FloatArray, means: FloatArray, covariances: FloatArray) -> FloatArray:
    """Coefficients [k, m] of the monomials in log(weight x density)."""
    k, d = means.shape
    half_log_determinant = _half_log_determinant(covariances)
    precisions = np.linalg.inv(covariances)
    tilted = np.einsum("kij,kj->ki", precisions, means)
    upper = np.triu_indices(d)
    out = np.empty((k, 1 + d + len(upper[0])))
    with np.errstate(divide="ignore"):
        out[:, 0] = np.log(weights) - half_log_determinant - 0.5 * d * _LOG_TWO_PI
    out[:, 0] -= 0.5 * (tilted * means).sum(axis=1)
    out[:, 1 : 1 + d] = tilted
    out[:, 1 + d :] = precisions[:, upper[0], upper[1]] * np.where(upper[0] == upper[1], -0.5, -1.0)
    return out


def _half_log_determinant(covariances: FloatArray) -> FloatArray:
    factors = np.linalg.cholesky(covariances)
    total: FloatArray = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    return total


@dataclass(frozen=True)
class EMFit:
    """Parameters in scaled units, mean log-likelihood of the scaled rows, and how it ended."""

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray
    log_likelihood: float
    iterations: int
    converged: bool


def expectation_maximisation(
    rows: FloatArray,
    start: IntArray,
    k: int,
    floor: FloatArray,
    max_iter: int,
    tol: float,
    generator: np.random.Generator,
) -> EMFit:
    """Run EM on scaled rows [d, n] from the component of every row, ``start`` [n].

    ``floor`` [d] is added to the diagonal of every covariance. The reported
    log-likelihood is that of the last E step, one M step before the returned
    parameters.
    """
    parameters = _maximise(_start_moments(rows, start, k), floor)
    previous, mean = -np.inf, -np.inf
    reseeds = 0
    iteration = 0
    for iteration in range(1, max_iter + 1):
        moments, scores = _expect(rows, coefficients_of(*parameters))
        parameters = _maximise(moments, floor)
        mean = float(scores.mean())
        empty = np.flatnonzero(moments[:, 0] < 0.5)
        if empty.size and reseeds < _RESEEDS:
            reseeds += 1
            parameters = _reseed(parameters, empty, rows, scores, generator)
            previous = -np.inf
            continue
        if abs(mean - previous) < tol:
            return EMFit(*parameters, mean, iteration, converged=True)
        previous = mean
    return EMFit(*parameters, mean, iteration, converged=False)


def joint_density(rows: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Log of weight times density of scaled rows [d, n] under every component, [k, n]."""
    joint = np.empty((len(coefficients), rows.shape[1]))
    for begin in range(0, rows.shape[1], _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        np.matmul(coefficients, monomials(rows[:, block]), out=joint[:, block])
    return joint


def _expect(rows: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E step and the moments of the M step in one pass over blocks: [k, m] and scores [n]."""
    n = rows.shape[1]
    moments = np.zeros(coefficients.shape)
    scores = np.empty(n)
    for begin in range(0, n, _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        powers = monomials(rows[:, block])
        joint = coefficients @ powers
        peak = joint.max(axis=0)
        joint -= peak
        np.exp(joint, out=joint)
        total = joint.sum(axis=0)
        scores[block] = peak + np.log(total)
        joint /= total
        moments += joint @ powers.T
    return moments, scores


def _start_moments(rows: FloatArray, start: IntArray, k: int) -> FloatArray:
    d, n = rows.shape
    moments = np.zeros((k, 1 + d + d * (d + 1) // 2))
    for begin in range(0, n, _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        member = (start[block] == np.arange(k)[:, None]).astype(np.float64)
        moments += member @ monomials(rows[:, block]).T
    return moments


def _maximise(moments: FloatArray, floor: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    d = len(floor)
    counts = moments[:, 0] + 10 * np.finfo(np.float64).eps
    means = moments[:, 1 : 1 + d] / counts[:, None]
    upper = np.triu_indices(d)
    covariances = np.empty((len(counts), d, d))
    covariances[:, upper[0], upper[1]] = moments[:, 1 + d :] / counts[:, None]
    covariances[:, upper[1], upper[0]] = covariances[:, upper[0], upper[1]]
    covariances -= means[:, :, None] * means[:, None, :]
    covariances[:, np.arange(d), np.arange(d)] += floor
    return counts / counts.sum(), means, _positive_definite(covariances, floor)


def _positive_definite(covariances: FloatArray, floor: FloatArray) -> FloatArray:
    """Lift eigenvalues that rounding pushed below the floor; the usual case returns at once."""
    try:
        np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariances)
        least = max(float(floor.min()), 1e-12)
        values = np.maximum(values, least)
        return np.asarray((vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1))
    return covariances


def _reseed(
    parameters: tuple[FloatArray, FloatArray, FloatArray],
    empty: IntArray,
    rows: FloatArray,
    scores: FloatArray,
    generator: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Set empty components on badly described rows, as wide as the average component."""
    weights, means, covariances = (part.copy() for part in parameters)
    worst = np.argsort(scores)[: max(len(empty), len(scores) // 100)]
    chosen = generator.choice(worst, size=len(empty), replace=False)
    filled = np.setdiff1d(np.arange(len(weights)), empty)
    means[empty] = rows[:, chosen].T
    covariances[empty] = np.einsum("k,kij->ij", weights[filled], covariances[filled])
    weights[empty] = 1.0 / len(weights)
    return weights / weights.sum(), means, covariances
