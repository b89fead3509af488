"""Clustering algorithms by name: k-means, Gaussian mixtures, HDBSCAN, hidden Markov models.

>>> import numpy as np
>>> x = np.array([[0.0], [0.1], [5.0], [5.1]])
>>> fitted = fit_clustering("kmeans", x, 2)
>>> int(fitted.predict([[4.0]])[0]) == int(fitted.predict([[5.0]])[0])
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from variolite.errors import DataError, ModelFileError
from variolite.scoring.gmm import GaussianMixture, as_matrix, fit_gaussian_mixture, lloyd
from variolite.scoring.hmm import HiddenMarkov
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences

_MOST_ROWS = 10_000  # HDBSCAN's cost grows with the square of the rows
_NEIGHBOURS = 5


@dataclass(frozen=True)
class KMeans:
    """Fitted k-means: centres [k, d] and the within-cluster sum of squares on the training rows.

    ``variance`` is that per row and feature, NaN in an old file.
    """

    centres: FloatArray
    inertia: float
    variance: float = float("nan")

    @property
    def n_clusters(self) -> int:
        return len(self.centres)

    @property
    def consistent(self) -> bool:
        return self.centres.ndim == 2

    def predict(self, x: ArrayLike) -> IntArray:
        """Nearest centre of every row of ``x`` [n, d], as [n]."""
        from sklearn.metrics import pairwise_distances_argmin

        # Centring keeps the digits of features far from zero.
        shift = self.centres.mean(axis=0)
        nearest = pairwise_distances_argmin(as_matrix(x) - shift, self.centres - shift)
        return np.asarray(nearest, np.int64)

    def probabilities(self, x: ArrayLike) -> FloatArray:
        """Probability of every cluster [n, k], as of round Gaussians of equal size and weight."""
        from sklearn.metrics import pairwise_distances

        shift = self.centres.mean(axis=0)
        distances = pairwise_distances(as_matrix(x) - shift, self.centres - shift)
        return np.asarray(softmax(-0.5 * distances**2 / self.variance, axis=1))


def fit_kmeans(x: ArrayLike, k: int, seed: int = 0, n_init: int = 10) -> KMeans:
    """Fit k centres to rows [n, d]: the best of ``n_init`` k-means++ starts."""
    matrix = as_matrix(x)
    fitted = lloyd(matrix, k, seed, n_init)
    inertia = float(fitted.inertia_)
    return KMeans(np.asarray(fitted.cluster_centers_, np.float64), inertia, inertia / matrix.size)


@dataclass(frozen=True)
class DensityClusters:
    """Fitted HDBSCAN: the rows [m, d] it was fitted on and their clusters [m], -1 for noise.

    scikit-learn's cannot predict. Here a new row takes the commonest label among its nearest
    ``neighbours`` fitted rows, noise included, so that the fraction of noise among test rows
    can be compared with that among training rows. The rows are data: do not store them where
    training rows must not be.
    """

    rows: FloatArray
    labels: IntArray
    neighbours: int

    @property
    def n_clusters(self) -> int:
        """Number of clusters found, noise not counted."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def consistent(self) -> bool:
        rows, d = len(self.rows), self.rows.ndim
        return d == 2 and self.labels.shape == (rows,) and 1 <= self.neighbours <= rows

    def predict(self, x: ArrayLike) -> IntArray:
        """Cluster of every row of ``x`` [n, d] by vote of its neighbours; -1 is noise."""
        from sklearn.neighbors import KNeighborsClassifier

        vote = KNeighborsClassifier(self.neighbours, weights=_nearest_decides_ties)
        return np.asarray(vote.fit(self.rows, self.labels).predict(as_matrix(x)), dtype=np.int64)


def _nearest_decides_ties(distances: FloatArray) -> FloatArray:
    weights = np.ones_like(distances)
    weights[:, 0] = 1.5
    return weights


def fit_hdbscan(x: ArrayLike, seed: int = 0) -> DensityClusters:
    """Find clusters of any shape and number in rows [n, d]; rows in thin regions are noise.

    R. Campello, D. Moulavi, J. Sander, PAKDD 2013. A cluster has at least 1 % of the rows used,
    at least 5. Of more than 10,000 rows, 10,000 drawn at random are used. Raises DataError if
    there are fewer than five.
    """
    from sklearn.cluster import HDBSCAN

    matrix = as_matrix(x)
    if len(matrix) > _MOST_ROWS:
        drawn = np.random.default_rng(seed).choice(len(matrix), _MOST_ROWS, replace=False)
        matrix = matrix[np.sort(drawn)]
    n = len(matrix)
    if n < 5:
        raise DataError(f"needs at least five rows, {n} were given", where="HDBSCAN")
    # `copy` keeps the caller's array unchanged.
    labels = HDBSCAN(min_cluster_size=max(5, n // 100), copy=True).fit(matrix).labels_
    return DensityClusters(matrix.copy(), labels.astype(np.int64), _NEIGHBOURS)


FittedClusterer: TypeAlias = KMeans | GaussianMixture | DensityClusters | HiddenMarkov

_FITTED: Mapping[str, type[FittedClusterer]] = {
    "kmeans": KMeans,
    "gmm": GaussianMixture,
    "prior": GaussianMixture,
    "hdbscan": DensityClusters,
    "hmm": HiddenMarkov,
}
# How fields that are not arrays come back out of arrays, by their annotation.
_SCALARS: Mapping[str, Callable[[NDArray[Any]], Any]] = {
    "float": lambda array: float(array[0]),
    "int": lambda array: int(array[0]),
    "bool": lambda array: bool(array[0]),
    "tuple[int, ...]": lambda array: tuple(array.tolist()),
}


def fit_clustering(name: str, x: ArrayLike, k: int | None, seed: int = 0) -> FittedClusterer:
    """Fit "kmeans", "gmm" or "hdbscan" to rows [n, d]; the last finds k itself."""
    if k is None:
        return fit_hdbscan(x, seed)
    if name == "kmeans":
        return fit_kmeans(x, k, seed)
    # Single starts end in optima apart by a tenth of a nat on real logs, five hardly do.
    return fit_gaussian_mixture(x, k, seed=seed, n_init=5)


def predict_along(
    fitted: FittedClusterer, x: FloatArray, sequences: Sequences, rows: IntArray | None = None
) -> IntArray:
    """Cluster of every row of ``x`` [n, d], or of those at ``rows`` [m] alone.

    A hidden Markov model looks at all rows along depth.
    """
    some = slice(None) if rows is None else rows
    if isinstance(fitted, HiddenMarkov):
        return fitted.predict(x, sequences)[some]
    return fitted.predict(x[some])


def probability_along(
    fitted: FittedClusterer, x: FloatArray, clusters: IntArray, sequences: Sequences
) -> FloatArray:
    """Probability of the cluster that every row has been given, [n]; NaN where there is none."""
    if isinstance(fitted, DensityClusters):
        return np.full(len(x), np.nan)
    along = (sequences,) if isinstance(fitted, HiddenMarkov) else ()
    found = fitted.probabilities(x, *along)
    return np.asarray(found[np.arange(len(x)), clusters])


def fitted_to_arrays(fitted: FittedClusterer) -> dict[str, NDArray[Any]]:
    """Return the state of a fitted clustering as arrays; that of HDBSCAN holds rows."""
    return {
        name: np.atleast_1d(
            np.asarray(value, None if isinstance(value, float | np.ndarray) else np.int64)
        )
        for name, value in vars(fitted).items()
    }


def fitted_from_arrays(name: str, arrays: Mapping[str, NDArray[Any]]) -> FittedClusterer:
    """Rebuild a clustering of the named algorithm; ModelFileError if an array does not fit."""
    state: dict[str, Any] = {}
    for field in fields(_FITTED[name]):
        if field.name not in arrays and field.default is not MISSING:
            continue  # of an old file
        if field.name not in arrays or not arrays[field.name].ndim:
            raise ModelFileError(f"the array {field.name} is absent or no array", where=name)
        restore: Callable[[NDArray[Any]], Any] = _SCALARS.get(str(field.type), np.asarray)
        try:
            state[field.name] = restore(arrays[field.name])
        except IndexError:
            raise ModelFileError(f"the array {field.name} is empty", where=name) from None
    fitted = _FITTED[name](**state)
    if not fitted.consistent:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise ModelFileError(f"the shapes do not fit one another: {shapes}", where=name)
    return fitted
