"""The supervised reference: what labels of the training groups alone would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix
from variolite.scoring.cluster_scores import ClusterScores
from variolite.scoring.contingency import count_tables
from variolite.scoring.evaluation import Entry, Evaluation, ScoreKey
from variolite.scoring.held_out import HeldOut

__all__ = ["SupervisedPlan", "evaluate_supervised"]

MAX_CLASSES = 255
"""Boosting grows a tree per class and round: with a class for every few rows it never ends."""


@dataclass(frozen=True)
class SupervisedPlan:
    """Settings of the gradient boosting.

    Attributes
    ----------
    seeds
        Fits, each on its own draw of training rows.
    max_train_rows
        Rows that a fit uses at most.
    iterations
        Boosting rounds; each adds one tree per class.
    learning_rate
        Shrinkage of every tree.
    l2
        Penalty on leaf values. Without it, classes with a handful of rows make
        multi-class boosting diverge: on FORCE 2020 accuracy fell from 0.73 to 0.61.
    leaves
        Most leaves of a tree.
    seed
        First seed.
    """

    seeds: int = 1
    max_train_rows: int = 30_000
    iterations: int = 100
    learning_rate: float = 0.05
    l2: float = 10.0
    leaves: int = 15
    seed: int = 0


def evaluate_supervised(
    train: ArrayLike, test: ArrayLike, held_out: HeldOut, plan: SupervisedPlan | None = None
) -> Evaluation:
    """Train on the labels of the training groups, predict the held-out rows, and score.

    Histogram gradient boosting (scikit-learn) without class weights and without
    early stopping: its internal validation rows would be neighbours of training
    rows. The predicted classes are scored as a clustering and as a classifier.

    Parameters
    ----------
    train, test
        Features of all training rows and of all test rows, [n, d] and [m, d].
    held_out
        The rows to score, as for the clusterings.
    plan
        Settings.

    Returns
    -------
    Evaluation
        One entry per label level that has labelled rows in both parts; method
        "supervised", algorithm "gradient_boosting". A training part with a
        single class predicts that class.
    """
    settings = plan or SupervisedPlan()
    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    if len(first) != held_out.n_train or len(second) != held_out.n_test:
        raise DataError(
            f"has {len(first)} training and {len(second)} test rows, the split has "
            f"{held_out.n_train} and {held_out.n_test}",
            where="supervised reference",
        )
    scored = second[held_out.kept]
    entries: list[Entry] = []
    notes: list[str] = []
    for level, labels in held_out.test_labels.items():
        known = np.flatnonzero(held_out.train_labels[level].codes >= 0)
        if len(labels.classes) > MAX_CLASSES:
            notes.append(
                f"{level}: {len(labels.classes)} classes, no supervised reference above 255"
            )
            continue
        if not len(known) or labels.missing == len(labels.codes):
            notes.append(f"{level}: labels are missing, so there is no supervised reference")
            continue
        tables = []
        for run in range(settings.seeds):
            generator = np.random.default_rng([settings.seed + run, 5])
            rows = known
            if len(known) > settings.max_train_rows:
                rows = generator.choice(known, settings.max_train_rows, replace=False)
            classes = held_out.train_labels[level].codes[rows]
            predicted = _predict(first[rows], classes, scored, settings, settings.seed + run)
            tables.append(
                count_tables(
                    predicted,
                    labels,
                    len(labels.classes),
                    held_out.group_codes,
                    len(held_out.groups),
                )
            )
        key = ScoreKey(
            "clustering",
            "supervised",
            held_out.split,
            algorithm="gradient_boosting",
            fit="inductive",
            level=level,
        )
        entries.append(Entry(key, _scores(np.stack(tables), level, held_out)))
    return Evaluation(tuple(entries), tuple(notes))


def _predict(
    x: FloatArray, classes: IntArray, scored: FloatArray, plan: SupervisedPlan, seed: int
) -> IntArray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    present = np.unique(classes)
    if len(present) == 1:
        return np.full(len(scored), present[0], dtype=np.int64)
    model = HistGradientBoostingClassifier(
        max_iter=plan.iterations,
        learning_rate=plan.learning_rate,
        l2_regularization=plan.l2,
        max_leaf_nodes=plan.leaves,
        early_stopping=False,
        random_state=seed,
    )
    return np.asarray(model.fit(x, classes).predict(scored), dtype=np.int64)


def _scores(tables: FloatArray, level: str, held_out: HeldOut) -> ClusterScores:
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    penalty = held_out.penalties.get(level)
    n_classes = tables.shape[-1]
    return ClusterScores(
        tables=tables[:, labelled],
        mapping=np.broadcast_to(np.arange(n_classes), (len(tables), n_classes)),
        groups=tuple(held_out.groups[index] for index in labelled),
        classes=held_out.test_labels[level].classes,
        penalty=None if penalty is None else penalty.matrix,
    )
