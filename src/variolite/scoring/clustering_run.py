"""One clustering of one member: fit, predict the scored rows, count, and judge k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.cluster_scores import ClusterScores
from variolite.scoring.clusterers import Clusterer, FittedClusterer
from variolite.scoring.contingency import count_tables
from variolite.scoring.gmm import GaussianMixture
from variolite.scoring.group_means import GroupMeans, group_means
from variolite.scoring.held_out import HeldOut, sample_by_group
from variolite.scoring.mapping import majority_map
from variolite.scoring.selection import stability
from variolite.scoring.silhouette import distances, silhouette_values

__all__ = ["FitRows", "OneClustering", "cluster_once", "fit_rows", "level_scores", "row_scores"]


@dataclass(frozen=True)
class FitRows:
    """Features of one member, and the rows of it that clusterings are fitted on.

    Attributes
    ----------
    fitted
        Features that clusterings are fitted on [m, d].
    fitted_groups
        Their groups [m].
    train
        Features of the training rows that the class map is learned on [t, d].
    train_kept
        Positions of those rows among the training rows [t].
    test
        Features of the scored rows [n, d].
    seed
        Seed of the fits.
    fitted_sample, fitted_distances
        Rows of ``fitted`` for the silhouette rule, and their distances.
    test_sample, test_distances
        Scored rows for the silhouette, and their distances.
    """

    fitted: FloatArray
    fitted_groups: np.ndarray
    train: FloatArray
    train_kept: IntArray
    test: FloatArray
    seed: int
    fitted_sample: IntArray
    fitted_distances: FloatArray | None
    test_sample: IntArray
    test_distances: FloatArray


@dataclass(frozen=True)
class OneClustering:
    """Counts and criteria of one fitted clustering."""

    n_clusters: int
    tables: Mapping[str, FloatArray]
    maps: Mapping[str, IntArray | None]
    silhouettes: FloatArray
    noise: FloatArray
    criteria: Mapping[str, float]


def fit_rows(
    train: FloatArray,
    test: FloatArray,
    held_out: HeldOut,
    *,
    fit: str,
    seed: int,
    max_rows: int,
    silhouette_rows: int,
    needs_silhouette: bool,
) -> FitRows:
    """Draw the rows of one member: training rows [n, d], test rows [m, d]."""
    scored = test[held_out.kept]
    generator = np.random.default_rng([seed, 3])
    train_kept = _draw(generator, len(train), max_rows)
    if fit == "inductive":
        fitted, groups = train[train_kept], held_out.train_groups[train_kept]
    else:
        rows = _draw(generator, len(scored), max_rows)
        fitted, groups = scored[rows], held_out.group_codes[rows]
    fitted_sample = _draw(generator, len(fitted), silhouette_rows)
    # The same scored rows for every method and seed.
    test_sample = sample_by_group(held_out.group_codes, silhouette_rows, 0)
    return FitRows(
        fitted=fitted,
        fitted_groups=groups,
        train=train[train_kept],
        train_kept=train_kept,
        test=scored,
        seed=seed,
        fitted_sample=fitted_sample,
        fitted_distances=distances(fitted[fitted_sample]) if needs_silhouette else None,
        test_sample=test_sample,
        test_distances=distances(scored[test_sample]),
    )


def cluster_once(
    algorithm: Clusterer, rows: FitRows, held_out: HeldOut, rules: Sequence[str]
) -> OneClustering:
    """Fit one clustering, count clusters against labels, and evaluate the rules' criteria."""
    fitted = algorithm.fit(rows.fitted, seed=rows.seed)
    on_test, on_train = fitted.predict(rows.test), fitted.predict(rows.train)
    k, n_groups = fitted.n_clusters, len(held_out.groups)
    tables, maps = {}, {}
    for level, labels in held_out.test_labels.items():
        tables[level] = count_tables(on_test, labels, k, held_out.group_codes, n_groups, noise=True)
        train_labels = held_out.train_labels[level].take(rows.train_kept)
        known = count_tables(on_train, train_labels, k, noise=True)[0]
        maps[level] = majority_map(known) if known.any() else None
    return OneClustering(
        n_clusters=k,
        tables=tables,
        maps=maps,
        silhouettes=silhouette_values(rows.test_distances, on_test[rows.test_sample]),
        noise=(on_test < 0).astype(np.float64),
        criteria=_criteria(algorithm, fitted, rows, rules),
    )


def level_scores(
    level: str, seeds: Sequence[OneClustering], held_out: HeldOut
) -> ClusterScores | None:
    """Stack the tables of all seeds at one level; None where no scored row is labelled.

    Groups without a label at this level are left out.
    """
    noise = any(seed.noise.any() for seed in seeds)
    most = max(seed.n_clusters for seed in seeds)
    classes = held_out.test_labels[level].classes
    tables = np.zeros((len(seeds), len(held_out.groups), most + 1, len(classes)))
    maps = np.zeros((len(seeds), most + 1), dtype=np.int64)
    mapped = True
    for index, seed in enumerate(seeds):
        own = np.r_[np.arange(seed.n_clusters), most]  # noise goes last, whatever the seed's k
        tables[index][:, own] = seed.tables[level]
        learned = seed.maps[level]
        if learned is None:
            mapped = False
        else:
            maps[index, own] = learned
    if not noise:
        tables, maps = tables[:, :, :most], maps[:, :most]
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    if not len(labelled):
        return None
    penalty = held_out.penalties.get(level)
    return ClusterScores(
        tables=tables[:, labelled],
        mapping=maps if mapped else None,
        groups=tuple(held_out.groups[index] for index in labelled),
        classes=classes,
        penalty=None if penalty is None else penalty.matrix,
    )


def row_scores(
    seeds: Sequence[OneClustering], rows: FitRows, held_out: HeldOut
) -> tuple[GroupMeans, ...]:
    """Scores without labels: the silhouette where there is one, the share of noise if any."""
    out = []
    silhouettes = np.stack([seed.silhouettes for seed in seeds])
    if np.isfinite(silhouettes).any():
        codes = held_out.group_codes[rows.test_sample]
        out.append(group_means("silhouette", silhouettes, codes, held_out.groups))
    noise = np.stack([seed.noise for seed in seeds])
    if noise.any():
        out.append(group_means("noise", noise, held_out.group_codes, held_out.groups))
    return tuple(out)


def _criteria(
    algorithm: Clusterer, fitted: FittedClusterer, rows: FitRows, rules: Sequence[str]
) -> dict[str, float]:
    out: dict[str, float] = {}
    if "bic" in rules and isinstance(fitted, GaussianMixture):
        out["bic"] = fitted.bic(rows.fitted)
    if "silhouette" in rules and rows.fitted_distances is not None:
        clusters = fitted.predict(rows.fitted[rows.fitted_sample])
        values = silhouette_values(rows.fitted_distances, clusters)
        out["silhouette"] = float(values.mean())
    if "stability" in rules:
        out["stability"] = stability(
            algorithm, rows.fitted, groups=rows.fitted_groups, seed=rows.seed
        )
    return out


def _draw(generator: np.random.Generator, n: int, most: int) -> IntArray:
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.sort(generator.choice(n, most, replace=False)).astype(np.int64)
