"""Scores of one clustering on held-out groups, from its contingency tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from variolite.errors import DataError, nearest
from variolite.scoring.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    completeness,
    homogeneity,
    purity,
    v_measure,
)
from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.intervals import Statistic
from variolite.scoring.mapping import confusion, macro_f1, mapped_accuracy, mean_penalty

__all__ = ["METRICS", "ClusterScores"]

_TABLE_METRICS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "ari": adjusted_rand_index,
        "ami": adjusted_mutual_information,
        "v_measure": v_measure,
        "homogeneity": homogeneity,
        "completeness": completeness,
        "purity": purity,
    }
)
_MAPPED_METRICS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {"accuracy": mapped_accuracy, "macro_f1": macro_f1}
)
METRICS: tuple[str, ...] = (*_TABLE_METRICS, *_MAPPED_METRICS, "penalty")
"""Names of the agreement scores; "accuracy", "macro_f1" and "penalty" use the training map."""

_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class ClusterScores:
    """Contingency tables of one clustering at one label level.

    Attributes
    ----------
    tables
        Cluster against class per seed and held-out group, [S, G, K, C].
    mapping
        Class that each cluster stands for, learned on training rows, [S, K];
        None where no training row has a label.
    groups
        Names of the groups [G].
    classes
        Names of the classes [C].
    penalty
        Penalty matrix [C, C] of the level, or None.
    """

    tables: FloatArray
    mapping: IntArray | None
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    penalty: FloatArray | None = None

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return int(self.tables.shape[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores that can be computed."""
        names = tuple(_TABLE_METRICS)
        if self.mapping is not None:
            names = (*names, *_MAPPED_METRICS)
            if self.penalty is not None:
                names = (*names, "penalty")
        return names

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] of the pooled tables, for group weights [B, G].

        Weights are how often a group was drawn. A common factor of all weights
        is taken out: drawing everything twice gives no more information, and
        the correction for chance must not think so.

        Raises
        ------
        DataError
            If a metric is unknown, or cannot be computed here.
        """
        for metric in metrics:
            if metric not in self.metrics:
                close = nearest(metric, self.metrics)
                raise DataError(
                    f"there is no score {metric!r} here",
                    where="metric",
                    mend=f"Did you mean {close!r}?" if close else f"Have {', '.join(self.metrics)}",
                )
        seeds, groups, clusters, classes = self.tables.shape
        flat = self.tables.transpose(1, 0, 2, 3).reshape(groups, -1)
        drawn = np.rint(weights).astype(np.int64)
        drawn = drawn // np.maximum(np.gcd.reduce(drawn, axis=1), 1)[:, None]
        out = {metric: np.empty((len(weights), seeds)) for metric in metrics}
        block = max(1, _BLOCK_CELLS // max(1, flat.shape[1]))
        for start in range(0, len(weights), block):
            part = slice(start, start + block)
            pooled = (drawn[part].astype(np.float64) @ flat).reshape(-1, seeds, clusters, classes)
            mapped = None
            for metric in metrics:
                if metric in _TABLE_METRICS:
                    out[metric][part] = _TABLE_METRICS[metric](pooled)
                    continue
                assert self.mapping is not None  # or the metric would not be listed
                mapped = confusion(pooled, self.mapping) if mapped is None else mapped
                if metric in _MAPPED_METRICS:
                    out[metric][part] = _MAPPED_METRICS[metric](mapped)
                elif self.penalty is not None:
                    out[metric][part] = mean_penalty(mapped, self.penalty)
        return out

    def statistic(self, metric: str) -> Statistic:
        """One metric as a function of group weights, for the bootstrap."""
        return lambda weights: self.values(weights, [metric])[metric]
