"""Contingency tables: how often each cluster meets each label, kept apart by group.

Every agreement score is a function of such a table, and the table of a set of
groups is the sum of theirs. Counting once per group is all that a bootstrap over
groups needs: a resample is a weighted sum of small tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_labels

__all__ = ["LabelCodes", "count_tables", "drop_rare", "encode_labels"]


@dataclass(frozen=True)
class LabelCodes:
    """Labels as integers.

    Attributes
    ----------
    codes
        Index into ``classes`` per row [n]; -1 where the label is missing.
    classes
        Class names in sorted order.
    """

    codes: IntArray
    classes: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Number of rows without a label."""
        return int((self.codes < 0).sum())

    def take(self, rows: ArrayLike) -> LabelCodes:
        """Return the codes of some rows, over the same classes."""
        return LabelCodes(self.codes[np.asarray(rows)], self.classes)


def encode_labels(labels: ArrayLike, classes: Sequence[str] | None = None) -> LabelCodes:
    """Turn labels [n] into codes; the empty label, None and NaN count as missing.

    Parameters
    ----------
    labels
        Text labels; numbers are read as text.
    classes
        Class names in the order wanted, e.g. that of a penalty matrix; by
        default those that occur, sorted.

    Raises
    ------
    DataError
        If a label is not among ``classes``.
    """
    text = as_labels(labels)
    found, inverse = np.unique(text, return_inverse=True)
    names = tuple(str(name) for name in found if name != "") if classes is None else tuple(classes)
    position = {name: index for index, name in enumerate(names)}
    unknown = [str(name) for name in found if name != "" and name not in position]
    if unknown:
        raise DataError(
            f"{len(unknown)} labels are not among the classes given: {', '.join(unknown[:5])}",
            where="labels",
        )
    lookup = np.array([position.get(str(name), -1) for name in found], dtype=np.int64)
    codes = lookup[inverse] if len(found) else np.empty(0, dtype=np.int64)
    return LabelCodes(codes, names)


def drop_rare(labels: ArrayLike, minimum: int) -> NDArray[np.str_]:
    """Return a copy of the labels with classes of fewer than ``minimum`` rows set to missing."""
    text = as_labels(labels).copy()
    names, counts = np.unique(text, return_counts=True)
    text[np.isin(text, names[counts < minimum])] = ""
    return text


def count_tables(
    clusters: ArrayLike,
    labels: LabelCodes,
    n_clusters: int,
    groups: ArrayLike | None = None,
    n_groups: int = 1,
    *,
    noise: bool = False,
) -> FloatArray:
    """Count cluster against label per group; rows without a label are left out.

    Parameters
    ----------
    clusters
        Cluster of every row [n] in 0..n_clusters-1, or -1 for noise.
    labels
        Codes of the same rows.
    n_clusters
        Number of clusters K.
    groups
        Group index of every row [n] in 0..n_groups-1; all one group by default.
    n_groups
        Number of groups G.
    noise
        Whether rows may be noise; they are then counted in an additional last
        row of the tables, as a cluster of their own.

    Returns
    -------
    ndarray
        Counts [G, K, C], or [G, K + 1, C] with noise.

    Raises
    ------
    DataError
        If the arrays differ in length or an index is out of range.
    """
    cluster = np.asarray(clusters, dtype=np.int64)
    group = np.zeros(len(cluster), np.int64) if groups is None else np.asarray(groups, np.int64)
    if not len(cluster) == len(labels.codes) == len(group):
        raise DataError(
            f"{len(cluster)} clusters, {len(labels.codes)} labels and {len(group)} groups were "
            "given; there must be one of each per row",
            where="contingency table",
        )
    _check_range(cluster, -1 if noise else 0, n_clusters, "clusters")
    _check_range(group, 0, n_groups, "groups")
    rows, columns = n_clusters + noise, len(labels.classes)
    cluster = np.where(cluster < 0, n_clusters, cluster)
    kept = labels.codes >= 0
    flat = (group[kept] * rows + cluster[kept]) * columns + labels.codes[kept]
    counts = np.bincount(flat, minlength=n_groups * rows * columns)
    return counts.reshape(n_groups, rows, columns).astype(np.float64)


def _check_range(index: IntArray, low: int, high: int, name: str) -> None:
    if index.size and (index.min() < low or index.max() >= high):
        raise DataError(
            f"holds indices {index.min()} to {index.max()}, expected {low} to {high - 1}",
            where=name,
        )
