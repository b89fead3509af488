"""Clustering algorithms behind one protocol, by name.

>>> import numpy as np
>>> x = np.array([[0.0], [0.1], [5.0], [5.1]])
>>> fitted = clusterer("kmeans", 2).fit(x, seed=0)
>>> int(fitted.predict([[4.0]])[0]) == int(fitted.predict([[5.0]])[0])
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, ModelFileError, nearest
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix
from variolite.scoring.gmm import GaussianMixture, fit_gaussian_mixture, lloyd


class FittedClusterer(Protocol):
    """What every fitted clustering can do; its state is the fields of a dataclass."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters, noise not counted."""

    def predict(self, x: ArrayLike) -> IntArray:
        """Cluster of every row [n, d] as [n]; -1 is noise."""

    @property
    def consistent(self) -> bool:
        """Whether the shapes of the state fit one another."""


class Clusterer(Protocol):
    """A clustering algorithm with its settings."""

    def fit(self, x: ArrayLike, seed: int = 0) -> FittedClusterer:
        """Fit to rows [n, d]."""


@dataclass(frozen=True)
class KMeans:
    """Fitted k-means: centres [k, d] and the within-cluster sum of squares on the training rows."""

    centres: FloatArray
    inertia: float

    @property
    def n_clusters(self) -> int:
        """Number of centres k."""
        return len(self.centres)

    @property
    def consistent(self) -> bool:
        """Whether the centres are a matrix."""
        return self.centres.ndim == 2

    def predict(self, x: ArrayLike) -> IntArray:
        """Nearest centre of every row of ``x`` [n, d], as [n]."""
        from sklearn.metrics import pairwise_distances_argmin

        matrix = as_matrix(x, width=self.centres.shape[1])
        # Centring keeps the digits of features far from zero.
        shift = self.centres.mean(axis=0)
        return np.asarray(pairwise_distances_argmin(matrix - shift, self.centres - shift), np.int64)


@dataclass(frozen=True)
class KMeansClusterer:
    """K-means with k clusters: the best of ``n_init`` k-means++ starts."""

    k: int
    n_init: int = 10

    def fit(self, x: ArrayLike, seed: int = 0) -> KMeans:
        """Fit to rows [n, d]; k is at most n."""
        fitted = lloyd(as_matrix(x), self.k, seed, self.n_init)
        return KMeans(np.asarray(fitted.cluster_centers_, np.float64), float(fitted.inertia_))


@dataclass(frozen=True)
class GaussianMixtureClusterer:
    """Gaussian mixture with k full covariances; settings as in ``fit_gaussian_mixture``."""

    k: int
    n_init: int = 1
    max_iter: int = 200
    tol: float = 1e-3
    reg_covar: float = 1e-6

    def fit(self, x: ArrayLike, seed: int = 0) -> GaussianMixture:
        """Fit to rows [n, d]."""
        return fit_gaussian_mixture(x, seed=seed, **vars(self))


# HDBSCAN with prediction for new rows, which scikit-learn does not offer.


@dataclass(frozen=True)
class DensityClusters:
    """Fitted HDBSCAN.

    A new row takes the commonest label among its nearest fitted rows, noise included, so
    that the fraction of noise among test rows can be compared with that among training rows.

    Attributes
    ----------
    rows
        Rows the clusters were found in [m, d]. They are data: do not store them
        where training rows must not be.
    labels
        Cluster of those rows [m], -1 for noise.
    neighbours
        Fitted rows that vote on a new row.
    """

    rows: FloatArray
    labels: IntArray
    neighbours: int

    @property
    def n_clusters(self) -> int:
        """Number of clusters found, noise not counted."""
        return int(self.labels.max(initial=-1)) + 1

    def predict(self, x: ArrayLike) -> IntArray:
        """Cluster of every row of ``x`` [n, d] by vote of its neighbours; -1 is noise."""
        from sklearn.neighbors import KNeighborsClassifier

        matrix = as_matrix(x, width=self.rows.shape[1])
        vote = KNeighborsClassifier(self.neighbours, weights=_nearest_decides_ties)
        return np.asarray(vote.fit(self.rows, self.labels).predict(matrix), dtype=np.int64)

    @property
    def consistent(self) -> bool:
        """Whether there is one label per row, and no more neighbours than rows."""
        return (
            self.rows.ndim == 2
            and self.labels.shape == self.rows.shape[:1]
            and 1 <= self.neighbours <= len(self.rows)
        )


def _nearest_decides_ties(distances: FloatArray) -> FloatArray:
    weights = np.ones_like(distances)
    weights[:, 0] = 1.5
    return weights


@dataclass(frozen=True)
class DensityClusterer:
    """HDBSCAN (R. Campello, D. Moulavi, J. Sander, PAKDD 2013); it finds the number of clusters.

    Attributes
    ----------
    min_cluster_size
        Least rows of a cluster; by default 1 % of the rows used, at least 5.
    max_rows
        Rows used at most, drawn at random: the cost grows with their square.
    neighbours
        Fitted rows that vote on a new row.
    """

    k: None = None
    min_cluster_size: int | None = None
    max_rows: int = 10_000
    neighbours: int = 5

    def fit(self, x: ArrayLike, seed: int = 0) -> DensityClusters:
        """Find clusters of any shape and number in rows [n, d]; rows in thin regions are noise.

        Raises
        ------
        DataError
            If there are fewer than five rows, or fewer than a cluster needs.
        """
        from sklearn.cluster import HDBSCAN

        matrix = as_matrix(x)
        if len(matrix) > self.max_rows:
            drawn = np.random.default_rng(seed).choice(len(matrix), self.max_rows, replace=False)
            matrix = matrix[np.sort(drawn)]
        n = len(matrix)
        if n < 5:
            raise DataError(f"needs at least five rows, {n} were given", where="HDBSCAN")
        size = max(5, n // 100) if self.min_cluster_size is None else self.min_cluster_size
        if not 2 <= size <= n:
            raise DataError(
                f"the least cluster size {size} is not within 2..{n}",
                where="HDBSCAN",
                hint="Choose min_cluster_size between 2 and the number of rows",
            )
        # `copy` keeps the caller's array unchanged.
        labels = HDBSCAN(min_cluster_size=size, copy=True).fit(matrix).labels_
        return DensityClusters(matrix.copy(), labels.astype(np.int64), min(self.neighbours, n))


CLUSTERERS: Mapping[str, Callable[..., Clusterer]] = MappingProxyType(
    {"kmeans": KMeansClusterer, "gmm": GaussianMixtureClusterer, "hdbscan": DensityClusterer}
)

_FITTED: Mapping[str, type[KMeans] | type[GaussianMixture] | type[DensityClusters]] = {
    "kmeans": KMeans,
    "gmm": GaussianMixture,
    "hdbscan": DensityClusters,
}
# How fields that are not arrays come back out of arrays, by their annotation.
_SCALARS: Mapping[str, Callable[[NDArray[Any]], Any]] = {
    "float": lambda array: float(array[0]),
    "int": lambda array: int(array[0]),
    "bool": lambda array: bool(array[0]),
    "tuple[int, ...]": lambda array: tuple(array.tolist()),
}


def needs_k(name: str) -> bool:
    """Whether the algorithm needs the number of clusters."""
    _check_name(name)
    return name != "hdbscan"


def clusterer(name: str, k: int | None = None, **settings: Any) -> Clusterer:
    """Return the algorithm of that name with k clusters.

    Parameters
    ----------
    name
        "kmeans", "gmm" or "hdbscan".
    k
        Number of clusters; None for "hdbscan", which finds it.
    settings
        Further settings of the algorithm, as in its dataclass.

    Raises
    ------
    DataError
        If the name or a setting is unknown, or k is given or absent where it must not be.
    """
    if needs_k(name) != (k is not None):
        raise DataError(
            "needs a number of clusters" if k is None else "finds the number of clusters itself",
            where=name,
            hint=f"Give k to {name}" if k is None else "Leave k out",
        )
    try:
        return CLUSTERERS[name](k, **settings)
    except TypeError as error:
        raise DataError(f"does not know a setting: {error}", where=name) from error


def fitted_to_arrays(fitted: FittedClusterer) -> dict[str, NDArray[Any]]:
    """Return the state of a fitted clustering as arrays; that of HDBSCAN holds rows."""
    return {
        name: np.atleast_1d(
            np.asarray(value, None if isinstance(value, float | np.ndarray) else np.int64)
        )
        for name, value in vars(fitted).items()
    }


def fitted_from_arrays(name: str, arrays: Mapping[str, NDArray[Any]]) -> FittedClusterer:
    """Rebuild a fitted clustering of the named algorithm from its arrays.

    Raises
    ------
    DataError
        If the name is unknown.
    ModelFileError
        If an array is absent or misshapen.
    """
    _check_name(name)
    state: dict[str, Any] = {}
    for field in fields(_FITTED[name]):
        if field.name not in arrays or not arrays[field.name].ndim:
            raise ModelFileError(f"the array {field.name} is absent or no array", where=name)
        restore: Callable[[NDArray[Any]], Any] = _SCALARS.get(str(field.type), np.asarray)
        try:
            state[field.name] = restore(arrays[field.name])
        except IndexError:
            raise ModelFileError(f"the array {field.name} is empty", where=name) from None
    build: Callable[..., FittedClusterer] = _FITTED[name]
    fitted = build(**state)
    if not fitted.consistent:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise ModelFileError(f"the shapes do not fit one another: {shapes}", where=name)
    return fitted


def _check_name(name: str) -> None:
    if name not in CLUSTERERS:
        close = nearest(name, CLUSTERERS)
        raise DataError(
            f"there is no clustering algorithm {name!r}",
            where="algorithm",
            hint=f"Did you mean {close!r}?" if close else f"Choose from {', '.join(CLUSTERERS)}",
        )
