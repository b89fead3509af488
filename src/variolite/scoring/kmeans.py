"""K-means: fitted by scikit-learn, kept as its centres alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, ModelFileError
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix


@dataclass(frozen=True)
class KMeans:
    """Fitted k-means: centres [k, d] and the within-cluster sum of squares on the training rows."""

    centres: FloatArray
    inertia: float

    @property
    def n_clusters(self) -> int:
        """Number of centres k."""
        return len(self.centres)

    def predict(self, x: ArrayLike) -> IntArray:
        """Nearest centre of every row of ``x`` [n, d], as [n]."""
        from sklearn.metrics import pairwise_distances_argmin

        matrix = as_matrix(x, width=self.centres.shape[1])
        # Centring keeps the digits of features far from zero.
        shift = self.centres.mean(axis=0)
        return np.asarray(pairwise_distances_argmin(matrix - shift, self.centres - shift), np.int64)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state as a dict of arrays."""
        return {"centres": self.centres, "inertia": np.array([self.inertia])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KMeans:
        """Rebuild from :meth:`to_arrays`; ModelFileError if an array is absent or misshapen."""
        try:
            centres, inertia = arrays["centres"], float(arrays["inertia"][0])
        except (KeyError, IndexError) as error:
            raise ModelFileError(f"lacks {error}", where="k-means") from error
        if centres.ndim != 2:
            raise ModelFileError(f"has centres of shape {centres.shape}", where="k-means")
        return cls(centres.astype(np.float64), inertia)


def fit_kmeans(x: ArrayLike, k: int, *, seed: int = 0, n_init: int = 10) -> KMeans:
    """Fit k-means with ``n_init`` k-means++ starts (Lloyd's algorithm, scikit-learn).

    Parameters
    ----------
    x
        Training rows [n, d], finite.
    k
        Number of clusters, at most n.
    seed
        Seed of the starts.
    n_init
        Number of starts; the one with the least inertia is kept.

    Raises
    ------
    DataError
        If k is not within 1..n or ``x`` cannot be used.
    """
    from sklearn.cluster import KMeans as ScikitKMeans
    from sklearn.exceptions import ConvergenceWarning

    matrix = as_matrix(x)
    if not 1 <= k <= len(matrix):
        raise DataError(
            f"{k} clusters were asked of {len(matrix)} rows",
            where="k-means",
            hint="Choose k between 1 and the number of rows",
        )
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: some centres coincide, which predict() survives.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = ScikitKMeans(k, n_init=n_init, random_state=seed).fit(matrix)
    return KMeans(np.asarray(fitted.cluster_centers_, dtype=np.float64), float(fitted.inertia_))
