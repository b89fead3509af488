"""One evaluator for every model and baseline: same rows, same groups, same algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
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
    purity,
    v_measure,
)
from variolite.scoring.algorithms import Clusterer, FittedClusterer, clusterer, needs_k
from variolite.scoring.arrays import FloatArray, IntArray, as_members
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, sample_by_group
from variolite.scoring.gmm import GaussianMixture
from variolite.scoring.intervals import ScoredGroups, check_metrics, group_means
from variolite.scoring.scorecard import ScoreKey
from variolite.scoring.selection import (
    RULES,
    check_rule,
    choose_k,
    distances,
    silhouette_values,
    stability,
)

# Scores of one clustering on test groups, from its contingency tables.


_TABLE_METRICS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "ari": adjusted_rand_index,
    "ami": adjusted_mutual_information,
    "v_measure": v_measure,
    "homogeneity": homogeneity,
    "completeness": completeness,
    "purity": purity,
}
# These use the class that each cluster stands for.
_MAPPED_METRICS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "accuracy": mapped_accuracy,
    "macro_f1": macro_f1,
}

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
    """

    tables: FloatArray
    mapping: IntArray | None
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return int(self.tables.shape[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores that can be computed."""
        return (*_TABLE_METRICS, *(() if self.mapping is None else _MAPPED_METRICS))

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
        check_metrics(metrics, self.metrics)
        seeds, groups, clusters, classes = self.tables.shape
        # Pooling a resample is one row of a matrix product: weights [B, G] by tables [G, S K C].
        flat = self.tables.transpose(1, 0, 2, 3).reshape(groups, -1)
        drawn = np.rint(weights).astype(np.int64)
        drawn = drawn // np.maximum(np.gcd.reduce(drawn, axis=1), 1)[:, None]
        out = {metric: np.empty((len(weights), seeds)) for metric in metrics}
        # Resamples go in blocks, so that their pooled tables stay within about 16 MB.
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
                out[metric][part] = _MAPPED_METRICS[metric](mapped)
        return out


def score_clusters(
    clusters: Sequence[IntArray],
    held_out: HeldOut,
    level: str,
    known: Sequence[tuple[IntArray, IntArray]] = (),
) -> ClusterScores | None:
    """Count the clusters of the scored rows against their labels at one level.

    Parameters
    ----------
    clusters
        Per seed, cluster of every scored row [m]; -1 is noise, a cluster of its own.
    held_out, level
        The scored rows and the level of their labels.
    known
        Per seed, positions of some training rows and their clusters: the class that
        a cluster stands for is learned on them.

    Returns
    -------
    ClusterScores or None
        Groups without a label are left out; None where no row is labelled.
    """
    labels, train_labels = held_out.test_labels[level], held_out.train_labels[level]
    n_groups, codes = len(held_out.groups), held_out.group_codes
    k = 1 + max(int(some.max(initial=-1)) for some in (*clusters, *(some for _, some in known)))
    # Noise goes last, whatever number of clusters a seed found.
    rows = k + any((some < 0).any() for some in clusters)
    tables = np.stack(
        [count_tables(some, labels, k, codes, n_groups, noise=True)[:, :rows] for some in clusters]
    )
    learned = [
        count_tables(some, train_labels.take(at), k, noise=True)[0, :rows] for at, some in known
    ]
    mapped = bool(learned) and all(table.any() for table in learned)
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    if not len(labelled):
        return None
    return ClusterScores(
        tables=tables[:, labelled],
        mapping=majority_map(np.stack(learned)) if mapped else None,
        groups=tuple(held_out.groups[index] for index in labelled),
        classes=labels.classes,
    )


# Clusterings of one member: fitted with every k, with what the rules for k look at.


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
        "inductive": fitted on training rows, test rows are predicted.
        "transductive": fitted on the test rows themselves; optimistic, for
        comparison with work that did so.
    seeds
        Clusterings of a representation that has one member; one with several
        members is clustered once per member.
    max_train_rows
        Rows that a clustering is fitted on at most, drawn for each seed.
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
            check_rule(rule, (*RULES, "oracle"))
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


@dataclass(frozen=True)
class FitRows:
    """Rows of one member that clusterings are fitted on.

    Attributes
    ----------
    x
        Features [m, d].
    groups
        Their groups [m], which the stability rule keeps together; None for none.
    sample
        Positions of the rows that the silhouette rule looks at.
    seed
        Seed of the fits.
    """

    x: FloatArray
    groups: NDArray[np.generic] | None
    sample: IntArray
    seed: int


@dataclass(frozen=True)
class Fit:
    """A fitted clustering, and its value of every rule's criterion."""

    fitted: FittedClusterer
    criteria: Mapping[str, float]


def fit_grid(rows: FitRows, plan: ClusteringPlan) -> Iterator[tuple[str, int | None, Fit]]:
    """Fit every algorithm of a plan with every k to the rows of one member."""
    distance = distances(rows.x[rows.sample]) if "silhouette" in plan.rules else None
    for algorithm, k in plan.grid():
        method = clusterer(algorithm, k, **plan.settings.get(algorithm, {}))
        fitted = method.fit(rows.x, seed=rows.seed)
        rules = plan.rules if needs_k(algorithm) else ()
        yield algorithm, k, Fit(fitted, _criteria(method, fitted, rows, rules, distance))


def _criteria(
    method: Clusterer,
    fitted: FittedClusterer,
    rows: FitRows,
    rules: Sequence[str],
    distance: FloatArray | None,
) -> dict[str, float]:
    found: dict[str, float] = {}
    if "bic" in rules and isinstance(fitted, GaussianMixture):
        found["bic"] = fitted.bic(rows.x)
    if "silhouette" in rules and distance is not None:
        clusters = fitted.predict(rows.x[rows.sample])
        found["silhouette"] = float(silhouette_values(distance, clusters).mean())
    if "stability" in rules:
        found["stability"] = stability(method, rows.x, groups=rows.groups, seed=rows.seed)
    return found


def mean_criterion(rule: str, by_k: Mapping[int, Sequence[Fit]]) -> dict[int, float]:
    """Average a rule's criterion over seeds, so that all share the k; per k, where it has one."""
    return {
        k: float(np.mean([fit.criteria[rule] for fit in fits]))
        for k, fits in by_k.items()
        if all(rule in fit.criteria for fit in fits)
    }


def draw(generator: np.random.Generator, n: int, most: int) -> IntArray:
    """Positions of at most ``most`` of n rows, drawn at random, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(generator.choice(n, most, replace=False))


# The evaluator: fit on training rows, predict the test rows, score.


Representation = tuple[ArrayLike, ArrayLike]
"""Features of the training rows and of the test rows: [n, d], or [members, n, d]."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Predicted:
    """What one fitted clustering makes of the scored rows and of the training rows drawn."""

    fit: Fit
    clusters: IntArray
    known: tuple[IntArray, IntArray]
    silhouettes: FloatArray


def evaluate_clustering(
    representations: Mapping[str, Representation],
    held_out: HeldOut,
    plan: ClusteringPlan | None = None,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Cluster every representation and score the test rows.

    Parameters
    ----------
    representations
        Per method name, features of all training rows and of all test rows, in
        the order given to :func:`variolite.scoring.evaluation.hold_out`.
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
        of the test rows. A rule's criterion is averaged over seeds, so
        that all seeds share the k. With "hdbscan", noise is a cluster of its
        own in the agreement, and its fraction is an entry.

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
    # The same scored rows are compared with one another for every method and seed.
    sample = sample_by_group(held_out.group_codes, todo.silhouette_rows, 0)
    for name, (train, test) in members.items():
        results: dict[tuple[str, int | None], list[_Predicted]] = {}
        for run in range(runs[name]):
            known, scored = train[run % len(train)], test[run % len(test)][held_out.kept]
            drawn, rows = _fit_rows(known, scored, held_out, todo, todo.seed + run)
            distance = distances(scored[sample])
            for algorithm, k, fit in fit_grid(rows, todo):
                clusters = fit.fitted.predict(scored)
                results.setdefault((algorithm, k), []).append(
                    _Predicted(
                        fit=fit,
                        clusters=clusters,
                        known=(drawn, fit.fitted.predict(known[drawn])),
                        silhouettes=silhouette_values(distance, clusters[sample]),
                    )
                )
                done += 1
                if progress is not None:
                    progress(done, total, f"{name}, {algorithm}{'' if k is None else f' k {k}'}")
        for algorithm in todo.algorithms:
            by_k = {k: seeds for (own, k), seeds in results.items() if own == algorithm}
            key = ScoreKey("clustering", name, held_out.split, algorithm=algorithm, fit=todo.fit)
            entries += _entries(key, by_k, held_out, sample, todo.rules)
            if None in by_k:
                counts = ", ".join(str(seed.fit.fitted.n_clusters) for seed in by_k[None])
                found.append(f"{name}: {algorithm} found {counts} clusters")
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
    held_out.check(train.shape[1], test.shape[1], name)
    return train, test


def _fit_rows(
    train: FloatArray, scored: FloatArray, held_out: HeldOut, plan: ClusteringPlan, seed: int
) -> tuple[IntArray, FitRows]:
    """Draw training rows of one member, and the rows to fit on: the same or scored ones."""
    generator = np.random.default_rng([seed, 3])
    drawn = draw(generator, len(train), plan.max_train_rows)
    x, groups = train[drawn], held_out.train_groups[drawn]
    if plan.fit == "transductive":
        own = draw(generator, len(scored), plan.max_train_rows)
        x, groups = scored[own], np.array(held_out.groups)[held_out.group_codes[own]]
    return drawn, FitRows(x, groups, draw(generator, len(x), plan.silhouette_rows), seed)


def _entries(
    key: ScoreKey,
    by_k: Mapping[int | None, Sequence[_Predicted]],
    held_out: HeldOut,
    sample: IntArray,
    rules: Sequence[str],
) -> list[Entry]:
    """Return the entries of one method and algorithm: every k, then the choices of the rules."""
    scored: dict[int | None, list[tuple[str | None, ScoredGroups]]] = {}
    for k, seeds in by_k.items():
        known = [seed.known for seed in seeds]
        by_level = {
            level: score_clusters([seed.clusters for seed in seeds], held_out, level, known)
            for level in held_out.test_labels
        }
        scored[k] = [(level, part) for level, part in by_level.items() if part is not None]
        scored[k] += [(None, part) for part in _without_labels(seeds, held_out, sample)]
    chosen: list[tuple[str | None, int | None]] = [
        (None if k is None else "fixed", k) for k in scored
    ]
    fits = {k: [s.fit for s in seeds] for k, seeds in by_k.items() if k is not None}
    for rule in rules:
        criterion = mean_criterion(rule, fits)
        if np.isfinite(list(criterion.values())).any():
            chosen.append((rule, choose_k(rule, criterion)))
    entries = [
        Entry(replace(key, level=level, k=k, rule=rule), part)
        for rule, k in chosen
        for level, part in scored[k]
    ]
    return entries + (_oracle(entries) if "oracle" in rules and fits else [])


def _without_labels(
    seeds: Sequence[_Predicted], held_out: HeldOut, sample: IntArray
) -> Iterator[ScoredGroups]:
    """Score without labels: the silhouette where there is one, the fraction of noise if any."""
    silhouettes = np.stack([seed.silhouettes for seed in seeds])
    if np.isfinite(silhouettes).any():
        yield group_means("silhouette", silhouettes, held_out.group_codes[sample], held_out.groups)
    noise = np.stack([seed.clusters < 0 for seed in seeds])
    if noise.any():
        yield group_means("noise", noise, held_out.group_codes, held_out.groups)


def _oracle(entries: Sequence[Entry]) -> list[Entry]:
    """Return, per level, the fixed k that agrees best with the labels of the test rows."""
    best: dict[str, tuple[float, Entry]] = {}
    for entry in entries:
        level, part = entry.key.level, entry.scored
        if level is None or entry.key.rule != "fixed":
            continue
        ari = float(part.values(np.ones((1, len(part.groups))), ["ari"])["ari"].mean())
        if level not in best or ari > best[level][0]:
            best[level] = (ari, entry)
    return [replace(entry, key=replace(entry.key, rule="oracle")) for _, entry in best.values()]


def _label_notes(held_out: HeldOut) -> list[str]:
    notes = []
    for level, labels in held_out.test_labels.items():
        present = np.unique(labels.codes[labels.codes >= 0])
        if not len(present):
            notes.append(f"{level}: no scored row has a label, so nothing is compared with it")
        elif len(present) == 1:
            notes.append(
                f"{level}: all scored rows are {labels.classes[present[0]]!r}; "
                "agreement scores are meaningless"
            )
        if len(present) and (held_out.train_labels[level].codes < 0).all():
            notes.append(f"{level}: no training row has a label, so accuracy and F1 are left out")
    return notes
