"""What a model is compared with: simple representations, and the supervised reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix
from variolite.scoring.clustering import score_clusters
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut
from variolite.scoring.scorecard import ScoreKey

# Representations to compare a model with, fitted on training rows only.


def pca_whitened(
    train: ArrayLike, test: ArrayLike, n_components: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Principal components of training rows [n, d] and test rows [m, d], scaled to variance 1.

    Directions without variance (below 1e-12 of the strongest) are left out: whitened,
    they would be amplified rounding.

    Raises
    ------
    DataError
        If no feature varies, or ``n_components`` is not within 1..d.
    """
    from sklearn.decomposition import PCA

    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    if not np.ptp(first, axis=0).any():
        raise DataError("no feature varies among the training rows", where="PCA")
    try:
        pca = PCA(n_components, whiten=True).fit(first)
        parts = pca.transform(first), pca.transform(second)
    except ValueError as error:
        raise DataError(str(error), where="PCA") from None
    kept = pca.explained_variance_ > 1e-12 * pca.explained_variance_[0]
    return parts[0][:, kept], parts[1][:, kept]


def raw(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Standardise features by mean and standard deviation of the training rows.

    Features are expected in the form a model would get them (logarithms taken
    and so on); a feature that does not vary becomes zero.
    """
    from sklearn.preprocessing import StandardScaler

    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"training rows have {first.shape[1]} features, test rows {second.shape[1]}",
            where="raw features",
        )
    scaler = StandardScaler().fit(first)
    return scaler.transform(first), scaler.transform(second)


# The supervised reference: what labels of the training groups alone would give.


MAX_CLASSES = 255
"""Boosting grows a tree per class and round: with a class for every few rows it never ends."""


@dataclass(frozen=True)
class SupervisedPlan:
    """Settings of the gradient boosting.

    Attributes
    ----------
    seeds
        Fits, each on its own draw of training rows; seeds count from 0.
    max_train_rows
        Rows that a fit uses at most.
    iterations
        Boosting rounds; each adds one tree per class.
    """

    seeds: int = 1
    max_train_rows: int = 30_000
    iterations: int = 100


def evaluate_supervised(
    train: ArrayLike, test: ArrayLike, held_out: HeldOut, plan: SupervisedPlan | None = None
) -> Evaluation:
    """Train on the labels of the training groups, predict the test rows, and score.

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
    held_out.check(len(first), len(second), "supervised reference")
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
        clusters = []
        for seed in range(settings.seeds):
            rows = known
            if len(known) > settings.max_train_rows:
                generator = np.random.default_rng([seed, 5])
                rows = generator.choice(known, settings.max_train_rows, replace=False)
            classes = held_out.train_labels[level].codes[rows]
            clusters.append(_predict(first[rows], classes, scored, settings.iterations, seed))
        scores = score_clusters(clusters, held_out, level)
        assert scores is not None  # some scored row has a label
        # Predicted classes are clusters that stand for themselves.
        seeds, _, n_clusters, _ = scores.tables.shape
        itself = np.tile(np.arange(n_clusters), (seeds, 1))
        key = ScoreKey(
            "clustering",
            "supervised",
            held_out.split,
            algorithm="gradient_boosting",
            fit="inductive",
            level=level,
        )
        entries.append(Entry(key, replace(scores, mapping=itself)))
    return Evaluation(tuple(entries), tuple(notes))


def _predict(
    x: FloatArray, classes: IntArray, scored: FloatArray, iterations: int, seed: int
) -> IntArray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    present = np.unique(classes)
    if len(present) == 1:
        return np.full(len(scored), present[0], dtype=np.int64)
    # Without the penalty on leaf values, classes with a handful of rows make multi-class
    # boosting diverge: on a real set accuracy fell from 0.73 to 0.61.
    model = HistGradientBoostingClassifier(
        max_iter=iterations,
        learning_rate=0.05,
        l2_regularization=10.0,
        max_leaf_nodes=15,
        early_stopping=False,
        random_state=seed,
    )
    return np.asarray(model.fit(x, classes).predict(scored), dtype=np.int64)
