"""Clusters a geologist can read: their logs, rocks and layers, and a name in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records import Records
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences

# What a cluster with low, and one with high values of a log is called, by the log's meaning.
_WORDS = {
    "gamma_ray": ("low gamma", "high gamma"),
    "natural_gamma": ("low gamma", "high gamma"),
    "bulk_density": ("light", "dense"),
    "deep_resistivity": ("conductive", "resistive"),
    "neutron_porosity": ("low neutron porosity", "high neutron porosity"),
    "mean_porosity": ("tight", "porous"),
    "sonic_slowness": ("fast", "slow"),
    "sonic_velocity": ("slow", "fast"),
    "magnetic_susceptibility": ("hardly magnetic", "magnetic"),
    "photoelectric_factor": ("low photoelectric factor", "high photoelectric factor"),
    "red": ("dark", "bright"),
    "green": ("dark", "bright"),
    "blue": ("dark", "bright"),
}
MOST_WORDS = 3
WORTH_A_WORD = 0.1  # share of all rows between the median of a cluster and that of the others
_LABELS = 3  # that are listed for a cluster


def cluster_table(
    records: Records,
    names: tuple[str, ...],
    clusters: IntArray,
    probability: FloatArray,
    along: Sequences,
    labels: NDArray[np.str_] | None = None,
) -> pl.DataFrame:
    """Describe the clusters of rows, [n] like their ``probability``: one row for each cluster.

    Columns are cluster, name, rows, share of all rows, mean probability, median thickness of its
    layers in units of depth, commonest ``labels`` [n] with their shares of the labelled rows, and
    the 10, 50 and 90 % quantiles of every log of ``names`` in original units.
    """
    logs = {name: records.raw[:, i] for i, name in enumerate(names)}
    thickness = _thickness(clusters, along, records.order)
    numbers = np.unique(clusters[clusters >= 0]).tolist()
    profiles = {
        cluster: {name: quantiles_of(values[clusters == cluster]) for name, values in logs.items()}
        for cluster in numbers
    }
    # Where medians stand among all rows: a scale on which no log is skewed.
    ranks = {
        name: _ranks(values, np.array([profiles[cluster][name][1] for cluster in numbers]))
        for name, values in logs.items()
    }
    rows = []
    for place, cluster in enumerate(numbers):
        own = clusters == cluster
        shares = _shares(labels[own]) if labels is not None else {}
        apart = {name: float(values[place]) for name, values in ranks.items()}
        row: dict[str, Any] = {
            "cluster": cluster,
            "name": name_of(apart, shares),
            "rows": int(own.sum()),
            "share": float(own.mean()),
            "probability": float(probability[own].mean()),
            "thickness": thickness.get(cluster),
            "labels": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        }
        for name, values in profiles[cluster].items():
            row |= {f"{name}:{q}": v for q, v in zip(("10%", "50%", "90%"), values, strict=True)}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def name_of(apart: Mapping[str, float], shares: Mapping[str, float]) -> str:
    """Name a cluster by the logs whose medians stand furthest from those of other clusters.

    ``apart`` is by how much, in shares of all rows, ``shares`` of labels. For example "low gamma,
    dense, resistive (mostly Limestone 61%)".
    """
    words: dict[str, float] = {}
    for log, way in apart.items():
        plain = log.replace("_", " ")
        word = _WORDS.get(log, (f"low {plain}", f"high {plain}"))[int(way > 0)]
        if abs(way) >= WORTH_A_WORD:
            words[word] = max(words.get(word, 0.0), abs(way))
    ranked = sorted(words, key=lambda word: -words[word])[:MOST_WORDS]
    name = ", ".join(ranked) or "average logs"
    if not shares:
        return name
    label, share = next(iter(shares.items()))
    return f"{name} ({'mostly' if share > 0.5 else 'often'} {label} {share:.0%})"


def lines_of(table: pl.DataFrame, unit: str | None) -> list[str]:
    """Say every cluster in one line."""
    found = []
    for row in table.iter_rows(named=True):
        parts = [f"{row['share']:.0%} of rows"]
        if row["thickness"] is not None:
            parts.append(f"layers of {row['thickness']:.3g} {unit or ''}".strip())
        if row["probability"] == row["probability"]:
            parts.append(f"mean probability {row['probability']:.2f}")
        found.append(f"cluster {row['cluster']}: {row['name']}; {', '.join(parts)}")
    return found


def quantiles_of(values: FloatArray) -> FloatArray:
    """Return the 10, 50 and 90 % quantiles of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return np.quantile(finite, [0.1, 0.5, 0.9]) if len(finite) else np.full(3, np.nan)


def _ranks(values: FloatArray, medians: FloatArray) -> FloatArray:
    """Share of all rows below the median of each cluster, [k], less its mean over clusters."""
    finite = np.sort(values[np.isfinite(values)])
    known = np.isfinite(medians)
    if not known.any():
        return np.zeros(len(medians))
    shares = np.searchsorted(finite, medians) / len(finite)
    return np.where(known, shares - shares[known].mean(), 0.0)


def _shares(labels: NDArray[np.str_]) -> dict[str, float]:
    """Shares of the commonest labels among the labelled rows."""
    found, counts = np.unique(labels[labels != ""], return_counts=True)
    ranked = np.argsort(-counts, kind="stable")[:_LABELS]
    return {str(found[i]): float(counts[i] / counts.sum()) for i in ranked}


def _thickness(clusters: IntArray, along: Sequences, order: FloatArray | None) -> dict[int, float]:
    """Median thickness of the layers of every cluster, a single row as thick as the usual step."""
    if order is None or not np.isfinite(along.step).any():
        return {}
    new = along.start | along.boundaries(clusters)[along.rows]
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new)) - 1
    depth = order[along.rows]
    step = np.nanmedian(along.step[~along.start])
    thick = depth[last] - depth[first] + step
    of = clusters[along.rows][first]
    known = np.isfinite(thick)
    return {int(c): float(np.median(thick[known & (of == c)])) for c in np.unique(of[known])}
