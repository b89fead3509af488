"""Silhouette of clusterings of a sample of rows, many clusterings on one distance matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from variolite.scoring.arrays import FloatArray, IntArray, as_matrix

__all__ = ["distances", "silhouette_values"]


def distances(x: ArrayLike) -> FloatArray:
    """Euclidean distances between all rows of ``x`` [n, d], as [n, n].

    n should be a few thousand at most: the matrix takes 8 n^2 bytes.
    """
    matrix = as_matrix(x)
    centred = matrix - matrix.mean(axis=0)
    squares = (centred**2).sum(axis=1)
    out: FloatArray = squares[:, None] + squares - 2.0 * (centred @ centred.T)
    np.maximum(out, 0.0, out=out)
    np.sqrt(out, out=out)
    np.fill_diagonal(out, 0.0)
    return out


def silhouette_values(distance: FloatArray, clusters: IntArray) -> FloatArray:
    """Silhouette of every row, in -1..1 (P. Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53).

    Parameters
    ----------
    distance
        Distances [n, n].
    clusters
        Cluster of every row [n]; noise (-1) gets NaN and is no cluster.

    Returns
    -------
    ndarray
        [n]; 0 for the only row of its cluster; NaN for noise, and throughout
        where there are fewer than two clusters.
    """
    out = np.full(len(clusters), np.nan)
    kept = np.flatnonzero(clusters >= 0)
    names, codes = np.unique(clusters[kept], return_inverse=True)
    if len(names) < 2:
        return out
    if len(kept) < len(clusters):
        distance = distance[np.ix_(kept, kept)]
    member = (codes[:, None] == np.arange(len(names))).astype(np.float64)
    counts = member.sum(axis=0)
    sums = distance @ member
    own = np.arange(len(kept)), codes
    others = counts[codes] - 1.0
    within = sums[own] / np.maximum(others, 1.0)
    between = sums / counts
    between[own] = np.inf
    nearest = between.min(axis=1)
    largest = np.maximum(within, nearest)
    values = np.where(largest > 0, (nearest - within) / np.where(largest > 0, largest, 1.0), 0.0)
    out[kept] = np.where(others > 0, values, 0.0)
    return out
