"""Scores that are means over rows: per-group sums and counts are all that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.intervals import Statistic

__all__ = ["GroupMeans", "group_means"]


@dataclass(frozen=True)
class GroupMeans:
    """Sums and counts of one quantity per seed and group.

    Attributes
    ----------
    metric
        Name of the quantity.
    sums, counts
        Per seed and group [S, G].
    groups
        Names of the groups [G].
    """

    metric: str
    sums: FloatArray
    counts: FloatArray
    groups: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return int(self.sums.shape[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one name."""
        return (self.metric,)

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Pooled mean [B, S] for group weights [B, G]; NaN where no row is counted."""
        if any(metric != self.metric for metric in metrics):
            raise DataError(f"has {self.metric!r} only, not {tuple(metrics)}", where="metric")
        with np.errstate(invalid="ignore"):
            mean = (weights @ self.sums.T) / (weights @ self.counts.T)
        return dict.fromkeys(metrics, mean)

    def statistic(self, metric: str) -> Statistic:
        """The mean as a function of group weights, for the bootstrap."""
        return lambda weights: self.values(weights, [metric])[metric]


def group_means(
    metric: str, values: ArrayLike, group_codes: IntArray, groups: tuple[str, ...]
) -> GroupMeans:
    """Sum values [S, n] (or [n]) by group; NaN values are left out.

    Raises
    ------
    DataError
        If the values do not match the rows, or none is a number.
    """
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(group_codes):
        raise DataError(f"has shape {rows.shape} for {len(group_codes)} rows", where=metric)
    known = np.isfinite(rows)
    if not known.any():
        raise DataError("has no finite value", where=metric)
    size = len(groups)
    sums = [
        np.bincount(group_codes, np.where(k, r, 0.0), size)
        for r, k in zip(rows, known, strict=True)
    ]
    counts = [np.bincount(group_codes, k.astype(np.float64), size) for k in known]
    return GroupMeans(metric, np.stack(sums), np.stack(counts), groups)
