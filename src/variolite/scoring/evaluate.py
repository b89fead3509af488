"""One evaluator for every model and baseline: same rows, same groups, same algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError, nearest
from variolite.scoring.arrays import FloatArray, as_members
from variolite.scoring.clusterers import clusterer, needs_k
from variolite.scoring.clustering_run import (
    FitRows,
    OneClustering,
    cluster_once,
    fit_rows,
    level_scores,
    row_scores,
)
from variolite.scoring.evaluation import Entry, Evaluation, ScoreKey
from variolite.scoring.held_out import HeldOut
from variolite.scoring.intervals import ScoredGroups
from variolite.scoring.selection import RULES, choose_k

__all__ = ["ClusteringPlan", "Representation", "evaluate_clustering"]

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
                    mend=f"Did you mean {close!r}?" if close else None,
                )
        if self.fit not in ("inductive", "transductive"):
            raise DataError(
                f"is {self.fit!r}", where="fit", mend="Choose inductive or transductive"
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
            mend="Give the same members and features for both",
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
