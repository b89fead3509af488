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

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class KMeans:
    """Fitted k-means: centres [k, d] and the within-cluster sum of squares on the training rows."""

    centres: FloatArray
    inertia: float

    @property
    def n_clusters(self) -> int:
        """Number of centres k."""
        return int(self.centres.shape[0])

    def predict(self, x: ArrayLike) -> IntArray:
        """Nearest centre of every row of ``x`` [n, d], as [n]."""
        matrix = as_matrix(x)
        if matrix.shape[1] != self.centres.shape[1]:
            raise DataError(
                f"has {matrix.shape[1]} features, k-means was fitted on {self.centres.shape[1]}",
                where="features",
            )
        # The row's own square is the same for all centres and is left out. Centring first keeps
        # the digits of features far from zero.
        shift = self.centres.mean(axis=0)
        centres = self.centres - shift
        half_squares = 0.5 * (centres**2).sum(axis=1)
        nearest = np.empty(len(matrix), dtype=np.int64)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            nearest[block] = ((matrix[block] - shift) @ centres.T - half_squares).argmax(axis=1)
        return nearest

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state as a dict of arrays."""
        return {"centres": self.centres, "inertia": np.array([self.inertia])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KMeans:
        """Rebuild from :meth:`to_arrays`; ModelFileError if an array is absent or misshapen."""
        try:
            centres = np.asarray(arrays["centres"], dtype=np.float64)
            inertia = float(arrays["inertia"][0])
        except (KeyError, IndexError) as error:
            raise ModelFileError(f"lacks {error}", where="k-means") from error
        if centres.ndim != 2:
            raise ModelFileError(f"has centres of shape {centres.shape}", where="k-means")
        return cls(centres, inertia)


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
