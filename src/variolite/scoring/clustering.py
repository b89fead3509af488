"""One evaluator for every model and baseline: same rows, same groups, same algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError, nearest
from variolite.scoring.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    completeness,
    confusion,
    count_tables,
    homogeneity,
    macro_f1,
    majority_map,
    mapped_accuracy,
    mean_penalty,
    purity,
    v_measure,
)
from variolite.scoring.arrays import FloatArray, IntArray, as_members
from variolite.scoring.clusterers import Clusterer, FittedClusterer, clusterer, needs_k
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, ScoreKey, sample_by_group
from variolite.scoring.gmm import GaussianMixture
from variolite.scoring.intervals import GroupMeans, ScoredGroups, Statistic, group_means
from variolite.scoring.selection import RULES, choose_k, distances, silhouette_values, stability

# Scores of one clustering on held-out groups, from its contingency tables.


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
                    hint=f"Did you mean {close!r}?" if close else f"Have {', '.join(self.metrics)}",
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


# One clustering of one member: fit, predict the scored rows, count, and judge k.


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


Representation = tuple[ArrayLike, ArrayLike]
"""Features of the training rows and of the test rows: [n, d], or [members, n, d]."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ClusteringPlan:
    """What to cluster with.

    Attributes
    ----------
    algorithms
        Names of algorithms.
    ks
        Grid of cluster numbers.
    rules
        Rules that choose k: "bic" (Gaussian mixtures), "silhouette",
        "stability" (costs four more fits per k), "oracle".
    fit
        "inductive": fitted on training rows, held-out rows are predicted.
        "transductive": fitted on the held-out rows themselves; optimistic, for
        comparison with work that did so.
    seeds
        Clusterings of a representation that has one member; one with several
        members is clustered once per member.
    max_train_rows
        Rows that a clustering is fitted on at most, drawn anew for each seed.
    silhouette_rows
        Rows that silhouettes are computed on at most.
    settings
        Settings per algorithm, e.g. ``{"kmeans": {"n_init": 3}}``.
    seed
        First seed.
    """

    algorithms: tuple[str, ...] = ("kmeans", "gmm")
    ks: tuple[int, ...] = (4, 6, 9, 12, 15, 18)
    rules: tuple[str, ...] = ("bic", "silhouette")
    fit: str = "inductive"
    seeds: int = 3
    max_train_rows: int = 30_000
    silhouette_rows: int = 2_000
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for rule in self.rules:
            if rule not in (*RULES, "oracle"):
                close = nearest(rule, (*RULES, "oracle"))
                raise DataError(
                    f"there is no rule {rule!r} for k",
                    where="rules",
                    hint=f"Did you mean {close!r}?" if close else None,
                )
        if self.fit not in ("inductive", "transductive"):
            raise DataError(
                f"is {self.fit!r}", where="fit", hint="Choose inductive or transductive"
            )
        if not self.algorithms or self.seeds < 1 or any(k < 1 for k in self.ks):
            raise DataError("needs algorithms, seeds and k of at least one", where="clustering")
        if not self.ks and any(needs_k(name) for name in self.algorithms):
            raise DataError("needs at least one number of clusters", where="clustering")

    def grid(self) -> list[tuple[str, int | None]]:
        """Every algorithm with every k it is to be run with."""
        return [
            (name, k)
            for name in self.algorithms
            for k in (dict.fromkeys(self.ks) if needs_k(name) else (None,))
        ]


def evaluate_clustering(
    representations: Mapping[str, Representation],
    held_out: HeldOut,
    plan: ClusteringPlan | None = None,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Cluster every representation and score the held-out rows.

    Parameters
    ----------
    representations
        Per method name, features of all training rows and of all test rows, in
        the order given to :func:`variolite.scoring.held_out.hold_out`.
    held_out
        The rows to score, shared by all methods.
    plan
        What to cluster with.
    progress
        Called with fits done, fits in all, and what was done last.

    Returns
    -------
    Evaluation
        For every method, algorithm, and k (rule "fixed" and every rule that
        applies): agreement with the labels of every level, and the silhouette
        of the held-out rows. A rule's criterion is averaged over seeds, so
        that all seeds share the k. With "hdbscan", noise is a cluster of its
        own in the agreement, and its share is an entry.

    Raises
    ------
    DataError
        If arrays do not fit one another, or a number of clusters exceeds the rows.
    """
    todo = plan or ClusteringPlan()
    members = {name: _members(name, pair, held_out) for name, pair in representations.items()}
    if not members:
        raise DataError("there is no representation to cluster", where="representations")
    runs = {name: len(m[0]) if len(m[0]) > 1 else todo.seeds for name, m in members.items()}
    total = sum(runs.values()) * len(todo.grid())
    done = 0
    entries: list[Entry] = []
    found: list[str] = []
    for name, (train, test) in members.items():
        results: dict[tuple[str, int | None], list[OneClustering]] = {}
        for run in range(runs[name]):
            rows = fit_rows(
                train[run % len(train)],
                test[run % len(test)],
                held_out,
                fit=todo.fit,
                seed=todo.seed + run,
                max_rows=todo.max_train_rows,
                silhouette_rows=todo.silhouette_rows,
                needs_silhouette="silhouette" in todo.rules,
            )
            for algorithm, k in todo.grid():
                method = clusterer(algorithm, k, **todo.settings.get(algorithm, {}))
                rules = todo.rules if needs_k(algorithm) else ()
                one = cluster_once(method, rows, held_out, rules)
                results.setdefault((algorithm, k), []).append(one)
                done += 1
                if progress is not None:
                    progress(done, total, f"{name}, {algorithm}{'' if k is None else f' k {k}'}")
        entries += _entries(name, results, rows, held_out, todo)
        found += [
            f"{name}: {algorithm} found {', '.join(str(one.n_clusters) for one in seeds)} clusters"
            for (algorithm, k), seeds in results.items()
            if k is None
        ]
    notes = [*held_out.notes, *_label_notes(held_out), *found]
    return Evaluation(tuple(entries), tuple(dict.fromkeys(notes)))


def _members(name: str, pair: Representation, held_out: HeldOut) -> tuple[FloatArray, FloatArray]:
    train = as_members(pair[0], f"{name}, training rows")
    test = as_members(pair[1], f"{name}, test rows")
    if train.shape[::2] != test.shape[::2]:
        raise DataError(
            f"training features have shape {train.shape}, test features {test.shape}",
            where=name,
            hint="Give the same members and features for both",
        )
    if train.shape[1] != held_out.n_train or test.shape[1] != held_out.n_test:
        raise DataError(
            f"has {train.shape[1]} training and {test.shape[1]} test rows, the split has "
            f"{held_out.n_train} and {held_out.n_test}",
            where=name,
        )
    return train, test


def _entries(
    method: str,
    results: Mapping[tuple[str, int | None], Sequence[OneClustering]],
    rows: FitRows,
    held_out: HeldOut,
    plan: ClusteringPlan,
) -> list[Entry]:
    entries: list[Entry] = []
    for algorithm in plan.algorithms:
        by_k = {k: seeds for (name, k), seeds in results.items() if name == algorithm}
        chosen = _chosen(by_k, plan.rules)
        scored: dict[int | None, list[tuple[str | None, ScoredGroups]]] = {}
        for k, seeds in by_k.items():
            levels = {level: level_scores(level, seeds, held_out) for level in held_out.test_labels}
            scored[k] = [(level, scores) for level, scores in levels.items() if scores is not None]
            scored[k] += [(None, scores) for scores in row_scores(seeds, rows, held_out)]
        key = ScoreKey("clustering", method, held_out.split, algorithm=algorithm, fit=plan.fit)
        for k, parts in scored.items():
            rule = None if k is None else "fixed"
            entries += [Entry(replace(key, level=lv, k=k, rule=rule), part) for lv, part in parts]
        for rule, k in chosen.items():
            entries += [Entry(replace(key, level=lv, k=k, rule=rule), s) for lv, s in scored[k]]
        if "oracle" in plan.rules and needs_k(algorithm):
            entries += _oracle(key, scored)
    return entries


def _chosen(
    by_k: Mapping[int | None, Sequence[OneClustering]], rules: Sequence[str]
) -> dict[str, int]:
    """Return k by every rule whose criterion the algorithm has, averaged over seeds."""
    chosen = {}
    for rule in rules:
        criterion = {
            k: float(np.mean([seed.criteria[rule] for seed in seeds]))
            for k, seeds in by_k.items()
            if k is not None and all(rule in seed.criteria for seed in seeds)
        }
        if np.isfinite(list(criterion.values())).any():
            chosen[rule] = choose_k(rule, criterion)
    return chosen


def _oracle(
    key: ScoreKey, scored: Mapping[int | None, Sequence[tuple[str | None, ScoredGroups]]]
) -> list[Entry]:
    """Return, per level, the scores of the k that agrees best with the held-out labels."""
    best: dict[str, tuple[float, int | None, ScoredGroups]] = {}
    for k, parts in scored.items():
        for level, part in parts:
            if level is None:
                continue
            ari = float(part.values(np.ones((1, len(part.groups))), ["ari"])["ari"].mean())
            if level not in best or ari > best[level][0]:
                best[level] = (ari, k, part)
    return [
        Entry(replace(key, level=level, k=k, rule="oracle"), part)
        for level, (_, k, part) in best.items()
    ]


def _label_notes(held_out: HeldOut) -> list[str]:
    notes = []
    for level, labels in held_out.test_labels.items():
        present = np.unique(labels.codes[labels.codes >= 0])
        if not len(present):
            notes.append(f"{level}: no scored row has a label, so nothing is compared with it")
        elif len(present) == 1:
            notes.append(
                f"{level}: all scored rows are {labels.classes[present[0]]!r}; "
                "agreement scores say nothing"
            )
        if len(present) and (held_out.train_labels[level].codes < 0).all():
            notes.append(f"{level}: no training row has a label, so accuracy and F1 are left out")
    return notes
