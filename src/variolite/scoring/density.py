"""HDBSCAN with prediction for new rows.

The fit is scikit-learn's (R. Campello, D. Moulavi, J. Sander, PAKDD 2013). A new
row takes the commonest label among its nearest fitted rows, noise included, so
that the share of noise on held-out rows can be compared with that on training
rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, ModelFileError
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix

__all__ = ["DensityClusters", "fit_density_clusters"]


@dataclass(frozen=True)
class DensityClusters:
    """Fitted HDBSCAN.

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

    @property
    def noise_fraction(self) -> float:
        """Share of the fitted rows that belong to no cluster."""
        return float((self.labels < 0).mean())

    def predict(self, x: ArrayLike) -> IntArray:
        """Cluster of every row of ``x`` [n, d] by vote of its neighbours; -1 is noise."""
        from scipy.spatial import cKDTree

        matrix = as_matrix(x)
        if matrix.shape[1] != self.rows.shape[1]:
            raise DataError(
                f"has {matrix.shape[1]} features, the clusters were found in {self.rows.shape[1]}",
                where="features",
            )
        nearest = cKDTree(self.rows).query(matrix, k=np.arange(1, self.neighbours + 1))[1]
        votes = np.zeros((len(matrix), self.n_clusters + 1), dtype=np.int64)
        own = self.labels[nearest] + 1
        for column in own.T:
            votes[np.arange(len(matrix)), column] += 1
        # The nearest row decides a tie.
        votes *= 2
        votes[np.arange(len(matrix)), own[:, 0]] += 1
        return np.asarray(votes.argmax(axis=1) - 1, dtype=np.int64)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state as a dict of arrays; it holds the fitted rows."""
        return {
            "rows": self.rows,
            "labels": self.labels,
            "neighbours": np.array([self.neighbours], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DensityClusters:
        """Rebuild from :meth:`to_arrays`; ModelFileError if an array is absent or misshapen."""
        try:
            rows = np.asarray(arrays["rows"], dtype=np.float64)
            labels = np.asarray(arrays["labels"], dtype=np.int64)
            neighbours = int(arrays["neighbours"][0])
        except (KeyError, IndexError) as error:
            raise ModelFileError(f"lacks {error}", where="HDBSCAN") from error
        if rows.ndim != 2 or labels.shape != rows.shape[:1] or not 1 <= neighbours <= len(rows):
            raise ModelFileError(
                f"has rows {rows.shape}, labels {labels.shape} and {neighbours} neighbours, which "
                "do not fit one another",
                where="HDBSCAN",
            )
        return cls(rows, labels, neighbours)


def fit_density_clusters(
    x: ArrayLike,
    *,
    seed: int = 0,
    min_cluster_size: int | None = None,
    max_rows: int = 10_000,
    neighbours: int = 5,
) -> DensityClusters:
    """Find clusters of any shape and number; rows in thin regions are noise.

    Parameters
    ----------
    x
        Training rows [n, d], finite.
    seed
        Seed of the draw of rows.
    min_cluster_size
        Least rows of a cluster; by default 1 % of the rows used, at least 5.
    max_rows
        Rows used at most, drawn at random: the cost grows with their square.
    neighbours
        Fitted rows that vote on a new row.

    Raises
    ------
    DataError
        If there are fewer than five rows or ``x`` cannot be used.
    """
    from sklearn.cluster import HDBSCAN

    matrix = as_matrix(x)
    if len(matrix) > max_rows:
        rows = np.random.default_rng(seed).choice(len(matrix), max_rows, replace=False)
        matrix = matrix[np.sort(rows)]
    n = len(matrix)
    if n < 5:
        raise DataError(f"needs at least five rows, {n} were given", where="HDBSCAN")
    size = max(5, n // 100) if min_cluster_size is None else min_cluster_size
    if not 2 <= size <= n:
        raise DataError(
            f"the least cluster size {size} is not within 2..{n}",
            where="HDBSCAN",
            mend="Choose min_cluster_size between 2 and the number of rows",
        )
    # `min_samples` as in scikit-learn's default; `copy` keeps the caller's array unchanged.
    labels = HDBSCAN(min_cluster_size=size, copy=True).fit(matrix).labels_
    return DensityClusters(
        matrix.copy(), np.asarray(labels, dtype=np.int64), min(max(1, neighbours), n)
    )
