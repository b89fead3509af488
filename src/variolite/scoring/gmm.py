"""Gaussian mixtures with full covariances, by expectation maximisation in two matrix products.

The log-density of a Gaussian is linear in the monomials ``1, z_i, z_i z_j``, and the moments
that the M step needs are averages of the same monomials. One iteration is therefore two matrix
products per block of rows; a block is small enough to stay in the cache. Formulas: C. M. Bishop,
Pattern Recognition and Machine Learning (2006), section 9.2.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from variolite.errors import DataError
from variolite.scoring.intervals import FloatArray, IntArray

if TYPE_CHECKING:
    from sklearn.cluster import KMeans as ScikitKMeans

_BLOCK_ROWS = 4096
_RESEEDS = 5
_LOG_TWO_PI = float(np.log(2.0 * np.pi))


def as_matrix(values: ArrayLike, name: str = "features") -> FloatArray:
    """Return ``values`` as a finite float64 matrix [n, d]."""
    matrix = as_finite(values, name)
    if matrix.ndim != 2:
        raise DataError(f"has shape {matrix.shape}, expected (rows, features)", where=name)
    return matrix


def as_finite(values: ArrayLike, name: str) -> FloatArray:
    """Return ``values`` as a float64 array that is not empty and holds finite numbers only."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("is not a regular array of numbers", where=name) from None
    if array.size == 0:
        raise DataError(f"is empty (shape {array.shape})", where=name)
    # One sum is NaN or infinite whenever an entry is, and needs no array of its own.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum())
    if suspicious and (bad := ~np.isfinite(array)).any():
        raise DataError(
            f"holds {int(bad.sum())} values that are NaN or infinite, the first in "
            f"feature {int(np.argwhere(bad)[0][-1])}",
            where=name,
            hint="Drop or fill the rows with missing values first",
        )
    return array


class _Parameters(NamedTuple):
    """Mixing weights [k], means [k, d] and covariances [k, d, d]."""

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    def scaled(self, shift: FloatArray, scale: FloatArray) -> _Parameters:
        """Parameters of (x - shift) / scale."""
        outer = scale[:, None] * scale
        return _Parameters(self.weights, (self.means - shift) / scale, self.covariances / outer)


class _Fit(NamedTuple):
    """Parameters in scaled units, mean log-likelihood of the scaled rows, and how it ended."""

    parameters: _Parameters
    log_likelihood: float
    iterations: int
    converged: bool


def _scaled_rows(x: FloatArray, shift: FloatArray, scale: FloatArray) -> FloatArray:
    """Scaled rows, features first: [d, n]. The monomials lose digits far from the origin."""
    return np.ascontiguousarray(((x - shift) / scale).T)


def _monomials(z: FloatArray) -> FloatArray:
    """Rows ``1, z_i, z_i z_j (i <= j)`` of scaled features ``z`` [d, n]."""
    d, n = z.shape
    out = np.empty((1 + d + d * (d + 1) // 2, n))
    out[0] = 1.0
    out[1 : 1 + d] = z
    first = 1 + d
    for i in range(d):
        # Each product of two features once: row i of the upper triangle.
        np.multiply(z[i], z[i:], out=out[first : first + d - i])
        first += d - i
    return out


def _coefficients(parameters: _Parameters) -> FloatArray:
    """Coefficients [k, m] of the monomials in log(weight x density)."""
    weights, means, covariances = parameters
    k, d = means.shape
    factors = np.linalg.cholesky(covariances)
    half_log_determinant = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    # (z - m)' P (z - m) multiplied out: m' P m - 2 (P m)' z + z' P z.
    precisions = np.linalg.inv(covariances)
    tilted = np.einsum("kij,kj->ki", precisions, means)
    i, j = np.triu_indices(d)
    out = np.empty((k, 1 + d + len(i)))
    with np.errstate(divide="ignore"):
        out[:, 0] = np.log(weights) - half_log_determinant - 0.5 * d * _LOG_TWO_PI
    out[:, 0] -= 0.5 * (tilted * means).sum(axis=1)
    out[:, 1 : 1 + d] = tilted
    # z_i z_j stands for both halves of the symmetric matrix where i differs from j.
    out[:, 1 + d :] = precisions[:, i, j] * np.where(i == j, -0.5, -1.0)
    return out


def _expectation_maximisation(
    rows: FloatArray,
    start: IntArray,
    k: int,
    floor: FloatArray,
    max_iter: int,
    tol: float,
    generator: np.random.Generator,
) -> _Fit:
    """Run EM on scaled rows [d, n] from the component of every row, ``start`` [n].

    ``floor`` [d] is added to the diagonal of every covariance. The reported log-likelihood is
    that of the last E step, one M step before the returned parameters.
    """
    parameters = _maximise(_start_moments(rows, start, k), floor)
    previous = mean = -np.inf
    reseeds = iteration = 0
    for iteration in range(1, max_iter + 1):
        moments, scores = _expect(rows, _coefficients(parameters))
        parameters = _maximise(moments, floor)
        mean = float(scores.mean())
        # A component that holds less than half a row is empty.
        empty = np.flatnonzero(moments[:, 0] < 0.5)
        if empty.size and reseeds < _RESEEDS:
            reseeds += 1
            parameters = _reseed(parameters, empty, rows, scores, generator)
            previous = -np.inf
            continue
        if abs(mean - previous) < tol:
            return _Fit(parameters, mean, iteration, converged=True)
        previous = mean
    return _Fit(parameters, mean, iteration, converged=False)


def _blocks(n: int) -> list[slice]:
    return [slice(begin, begin + _BLOCK_ROWS) for begin in range(0, n, _BLOCK_ROWS)]


def _expect(rows: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E step and the moments of the M step in one pass over blocks: [k, m] and scores [n]."""
    moments = np.zeros(coefficients.shape)
    scores = np.empty(rows.shape[1])
    for block in _blocks(rows.shape[1]):
        powers = _monomials(rows[:, block])
        joint = coefficients @ powers
        # In place from here: log-densities become responsibilities without another array.
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
    for block in _blocks(n):
        member = (start[block] == np.arange(k)[:, None]).astype(np.float64)
        moments += member @ _monomials(rows[:, block]).T
    return moments


def _maximise(moments: FloatArray, floor: FloatArray) -> _Parameters:
    d = len(floor)
    counts = moments[:, 0] + 10 * np.finfo(np.float64).eps
    means = moments[:, 1 : 1 + d] / counts[:, None]
    i, j = np.triu_indices(d)
    covariances = np.empty((len(counts), d, d))
    covariances[:, i, j] = moments[:, 1 + d :] / counts[:, None]
    covariances[:, j, i] = covariances[:, i, j]
    # E[z z'] - E[z] E[z]': harmless, since the rows are scaled to be near the origin.
    covariances -= means[:, :, None] * means[:, None, :]
    covariances[:, np.arange(d), np.arange(d)] += floor
    try:
        np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        # Rounding pushed an eigenvalue below the floor: lift it.
        values, vectors = np.linalg.eigh(covariances)
        values = np.maximum(values, max(float(floor.min()), 1e-12))
        covariances = (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1)
    return _Parameters(counts / counts.sum(), means, covariances)


def _reseed(
    parameters: _Parameters,
    empty: IntArray,
    rows: FloatArray,
    scores: FloatArray,
    generator: np.random.Generator,
) -> _Parameters:
    """Set empty components on badly described rows, as wide as the average component."""
    weights, means, covariances = (part.copy() for part in parameters)
    # Among the worst hundredth, so that a single outlier is not chosen again and again.
    worst = np.argsort(scores)[: max(len(empty), len(scores) // 100)]
    chosen = generator.choice(worst, size=len(empty), replace=False)
    filled = np.setdiff1d(np.arange(len(weights)), empty)
    means[empty] = rows[:, chosen].T
    covariances[empty] = np.einsum("k,kij->ij", weights[filled], covariances[filled])
    weights[empty] = 1.0 / len(weights)
    return _Parameters(weights / weights.sum(), means, covariances)


@dataclass(frozen=True)
class GaussianMixture:
    """A fitted mixture: ``weights`` [k], ``means`` [k, d] and ``covariances`` [k, d, d].

    ``log_likelihood`` is the mean per training row in nats at the last E step, ``iterations``
    counts those of the restart that was kept. ``collapsed`` are the components whose smallest
    variance is at the floor ``reg_covar``: they describe a point or a plane, not a cloud.
    ``constant`` are the features that did not vary among the training rows; their variance is
    ``reg_covar`` and they count as no parameters.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.concatenate([np.zeros((50, 1)), np.ones((50, 1)) * 9.0])
    >>> x = x + np.random.default_rng(0).normal(size=x.shape)
    >>> mixture = fit_gaussian_mixture(x, 2)
    >>> np.sort(mixture.means[:, 0]).round()
    array([0., 9.])
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray
    log_likelihood: float = math.nan
    iterations: int = 0
    converged: bool = True
    collapsed: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()

    @property
    def n_clusters(self) -> int:
        return len(self.means)

    @property
    def n_parameters(self) -> int:
        """Free parameters: k (d + d (d + 1) / 2) + k - 1, with d features that vary."""
        k, d = self.means.shape
        d -= len(self.constant)
        return int(k * (d + d * (d + 1) // 2) + k - 1)

    def score_samples(self, x: ArrayLike) -> FloatArray:
        """Log-density of every row of ``x`` [n, d] in nats, [n]."""
        joint = self._joint(x)
        peak = joint.max(axis=0)
        total: FloatArray = peak + np.log(np.exp(joint - peak).sum(axis=0))
        return total

    def predict(self, x: ArrayLike) -> IntArray:
        """Most probable component of every row, [n]."""
        return np.asarray(self._joint(x).argmax(axis=0), dtype=np.int64)

    def probabilities(self, x: ArrayLike) -> FloatArray:
        """Probability of every component given each row of ``x`` [n, d], [n, k]."""
        return np.asarray(softmax(self._joint(x).T, axis=1))

    def bic(self, x: ArrayLike) -> float:
        """Bayesian information criterion on ``x``: p log n - 2 log-likelihood (lower is better).

        G. Schwarz, Annals of Statistics 6 (1978) 461.
        """
        scores = self.score_samples(x)
        return float(self.n_parameters * np.log(len(scores)) - 2.0 * scores.sum())

    @property
    def consistent(self) -> bool:
        """Whether the shapes of weights, means and covariances fit one another."""
        if self.means.ndim != 2:
            return False
        k, d = self.means.shape
        return self.weights.shape == (k,) and self.covariances.shape == (k, d, d)

    def _joint(self, x: ArrayLike) -> FloatArray:
        """Log of weight times density, [k, n]."""
        matrix = as_matrix(x)
        # Scaled by the mixture's own mean and spread, so that new rows need no other state.
        shift = self.weights @ self.means
        within = np.diagonal(self.covariances, axis1=1, axis2=2)
        scale = _positive(np.sqrt(self.weights @ (within + (self.means - shift) ** 2)))
        parameters = _Parameters(self.weights, self.means, self.covariances)
        coefficients = _coefficients(parameters.scaled(shift, scale))
        rows = _scaled_rows(matrix, shift, scale)
        joint = np.empty((self.n_clusters, len(matrix)))
        for block in _blocks(len(matrix)):
            np.matmul(coefficients, _monomials(rows[:, block]), out=joint[:, block])
        joint -= np.log(scale).sum()
        return joint


def fit_gaussian_mixture(
    x: ArrayLike,
    k: int,
    *,
    seed: int = 0,
    n_init: int = 1,
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    start: ArrayLike | None = None,
) -> GaussianMixture:
    """Fit k Gaussians with full covariances to finite rows ``x`` [n, d].

    The best of ``n_init`` restarts from k-means is kept; ``start``, a component for every row
    [n], takes their place. EM stops when the mean log-likelihood per row gains less than
    ``tol`` nats. ``reg_covar``, in squared units of ``x``, is added to the diagonal of every
    covariance. A component left without rows is moved to the rows that the mixture describes
    worst, up to five times per restart. Raises DataError if k is not within 1..n.
    """
    matrix = as_matrix(x)
    d = matrix.shape[1]
    generator = np.random.default_rng(seed)
    if start is not None:
        starts = [np.asarray(start, np.int64)]
    else:
        seeds = [int(generator.integers(2**31)) for _ in range(max(1, n_init))]
        starts = [lloyd(matrix, k, own, 1).predict(matrix).astype(np.int64) for own in seeds]
    # A constant feature cannot separate components; it is put back afterwards.
    varies = np.ptp(matrix, axis=0) > 0
    varying, constant = np.flatnonzero(varies), np.flatnonzero(~varies)
    shift = matrix[:, varying].mean(axis=0)
    scale = _positive(matrix[:, varying].std(axis=0))
    rows = _scaled_rows(matrix[:, varying], shift, scale)
    floor = reg_covar / scale**2
    best = max(
        (_expectation_maximisation(rows, s, k, floor, max_iter, tol, generator) for s in starts),
        key=lambda fit: fit.log_likelihood,
    )
    weights, means, covariances = best.parameters.scaled(-shift / scale, 1.0 / scale)
    all_means = np.tile(matrix[0], (k, 1))
    all_means[:, varying] = means
    all_covariances = np.tile(reg_covar * np.eye(d), (k, 1, 1))
    all_covariances[np.ix_(np.arange(k), varying, varying)] = covariances
    log_scale = float(np.log(scale).sum())
    log_scale += 0.5 * len(constant) * float(np.log(2.0 * np.pi * reg_covar))
    return GaussianMixture(
        weights=weights,
        means=all_means,
        covariances=all_covariances,
        log_likelihood=best.log_likelihood - log_scale,
        iterations=best.iterations,
        converged=best.converged,
        collapsed=_collapsed(best.parameters.covariances, floor),
        constant=tuple(constant.tolist()),
    )


def lloyd(x: FloatArray, k: int, seed: int, n_init: int) -> ScikitKMeans:
    """Fit k-means with k-means++ starts (Lloyd's algorithm) to rows [n, d]."""
    from sklearn.cluster import KMeans as ScikitKMeans
    from sklearn.exceptions import ConvergenceWarning

    if not 1 <= k <= len(x):
        raise DataError(
            f"cannot fit {k} clusters to {len(x)} rows",
            where="k",
            hint="Choose k between 1 and the number of rows",
        )
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: some centres coincide, which does no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ScikitKMeans(k, n_init=n_init, random_state=seed).fit(x)


def _positive(scale: FloatArray) -> FloatArray:
    return np.where(scale > 0, scale, 1.0)


def _collapsed(covariances: FloatArray, floor: FloatArray) -> tuple[int, ...]:
    if not len(floor):
        return ()
    # Scaled by the floor itself, an eigenvalue near 1 is regularisation and nothing else.
    root = np.sqrt(floor)
    relative = np.linalg.eigvalsh(covariances / (root[:, None] * root))[:, 0]
    return tuple(np.flatnonzero(relative < 10.0).tolist())
