"""Clustering algorithms behind one protocol, by name.

>>> import numpy as np
>>> x = np.array([[0.0], [0.1], [5.0], [5.1]])
>>> fitted = clusterer("kmeans", 2).fit(x, seed=0)
>>> int(fitted.predict([[4.0]])[0]) == int(fitted.predict([[5.0]])[0])
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, nearest
from variolite.scoring.arrays import IntArray
from variolite.scoring.density import DensityClusters, fit_density_clusters
from variolite.scoring.gmm import GaussianMixture, fit_gaussian_mixture
from variolite.scoring.kmeans import KMeans, fit_kmeans

__all__ = [
    "CLUSTERERS",
    "Clusterer",
    "DensityClusterer",
    "FittedClusterer",
    "GaussianMixtureClusterer",
    "KMeansClusterer",
    "clusterer",
    "fitted_from_arrays",
    "needs_k",
]


class FittedClusterer(Protocol):
    """What every fitted clustering can do."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters, noise not counted."""

    def predict(self, x: ArrayLike) -> IntArray:
        """Cluster of every row [n, d] as [n]; -1 is noise."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Fitted state as arrays."""


class Clusterer(Protocol):
    """A clustering algorithm with its settings."""

    def fit(self, x: ArrayLike, seed: int = 0) -> FittedClusterer:
        """Fit to rows [n, d]."""


@dataclass(frozen=True)
class KMeansClusterer:
    """K-means with k clusters and ``n_init`` starts."""

    k: int
    n_init: int = 10

    def fit(self, x: ArrayLike, seed: int = 0) -> KMeans:
        """Fit to rows [n, d]."""
        return fit_kmeans(x, self.k, seed=seed, n_init=self.n_init)


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
        return fit_gaussian_mixture(
            x,
            self.k,
            seed=seed,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            reg_covar=self.reg_covar,
        )


@dataclass(frozen=True)
class DensityClusterer:
    """HDBSCAN; finds the number of clusters itself."""

    k: None = None
    min_cluster_size: int | None = None
    max_rows: int = 10_000
    neighbours: int = 5

    def fit(self, x: ArrayLike, seed: int = 0) -> DensityClusters:
        """Fit to rows [n, d]."""
        return fit_density_clusters(
            x,
            seed=seed,
            min_cluster_size=self.min_cluster_size,
            max_rows=self.max_rows,
            neighbours=self.neighbours,
        )


CLUSTERERS: Mapping[str, Callable[..., Clusterer]] = MappingProxyType(
    {"kmeans": KMeansClusterer, "gmm": GaussianMixtureClusterer, "hdbscan": DensityClusterer}
)

_FITTED: Mapping[str, Callable[[Mapping[str, NDArray[Any]]], FittedClusterer]] = MappingProxyType(
    {
        "kmeans": KMeans.from_arrays,
        "gmm": GaussianMixture.from_arrays,
        "hdbscan": DensityClusters.from_arrays,
    }
)


def needs_k(name: str) -> bool:
    """Whether the algorithm must be told the number of clusters."""
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
    _check_name(name)
    if needs_k(name) != (k is not None):
        raise DataError(
            "needs a number of clusters" if k is None else "finds the number of clusters itself",
            where=name,
            mend=f"Give k to {name}" if k is None else "Leave k out",
        )
    try:
        return CLUSTERERS[name](k, **settings)
    except TypeError as error:
        raise DataError(f"does not know a setting: {error}", where=name) from error


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
    return _FITTED[name](arrays)


def _check_name(name: str) -> None:
    if name not in CLUSTERERS:
        close = nearest(name, CLUSTERERS)
        raise DataError(
            f"there is no clustering algorithm {name!r}",
            where="algorithm",
            mend=f"Did you mean {close!r}?" if close else f"Choose from {', '.join(CLUSTERERS)}",
        )
