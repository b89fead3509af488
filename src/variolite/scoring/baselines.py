"""What a model is compared with: simple representations, and the supervised reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.clustering import MAX_TRAIN_ROWS, score_clusters
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut
from variolite.scoring.gmm import as_matrix
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.scorecard import ScoreKey

# Representations, fitted on training rows only.


def pca_whitened(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Principal components of training rows [n, d] and test rows [m, d], scaled to variance 1.

    Directions without variance (below 1e-12 of the strongest) are left out: whitened, they
    would be amplified rounding. Raises DataError if no feature varies.
    """
    from sklearn.decomposition import PCA

    first, second = _both(train, test)
    if not np.ptp(first, axis=0).any():
        raise DataError("no feature varies among the training rows", where="PCA")
    pca = PCA(whiten=True).fit(first)
    kept = pca.explained_variance_ > 1e-12 * pca.explained_variance_[0]
    return pca.transform(first)[:, kept], pca.transform(second)[:, kept]


def raw(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Standardise features by mean and standard deviation of the training rows.

    Features are expected in the form a model would get them (logarithms taken and so on); a
    feature that does not vary becomes zero.
    """
    from sklearn.preprocessing import StandardScaler

    first, second = _both(train, test)
    scaler = StandardScaler().fit(first)
    return scaler.transform(first), scaler.transform(second)


def _both(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    return as_matrix(train, "training rows"), as_matrix(test, "test rows")


# The supervised reference: what labels of the training groups alone would give.

MAX_CLASSES = 255
"""Boosting grows a tree per class and round: with a class for every few rows it never ends."""


_ROUNDS = 100


def evaluate_supervised(
    train: ArrayLike, test: ArrayLike, held_out: HeldOut, seeds: int = 1
) -> Evaluation:
    """Train on the labels of the training groups, predict the test rows, and score.

    Histogram gradient boosting (scikit-learn) without class weights and without early stopping:
    its internal validation rows would be neighbours of training rows. The predicted classes are
    scored as a clustering and as a classifier: one entry, method "supervised", per label level
    that has labelled rows in both parts. Each seed draws its own training rows.
    """
    first, second = _both(train, test)
    scored = second[held_out.kept]
    key = ScoreKey("clustering", "supervised", held_out.split, "gradient_boosting", "inductive")
    entries: list[Entry] = []
    notes: list[str] = []
    for level, labels in held_out.test_labels.items():
        codes = held_out.train_labels[level].codes
        known = np.flatnonzero(codes >= 0)
        if (n_classes := len(labels.classes)) > MAX_CLASSES:
            notes.append(f"{level}: {n_classes} classes, no supervised reference above 255")
            continue
        if not len(known) or labels.missing == len(labels.codes):
            notes.append(f"{level}: labels are missing, so there is no supervised reference")
            continue
        clusters = []
        for seed in range(seeds):
            rows = known
            if len(known) > MAX_TRAIN_ROWS:
                generator = np.random.default_rng([seed, 5])
                rows = generator.choice(known, MAX_TRAIN_ROWS, replace=False)
            clusters.append(_predict(first[rows], codes[rows], scored, seed))
        scores = score_clusters(clusters, held_out, level)
        assert scores is not None  # some scored row has a label
        # Predicted classes are clusters that stand for themselves.
        itself = np.tile(np.arange(scores.tables.shape[2]), (seeds, 1))
        entries.append(Entry(replace(key, level=level), replace(scores, mapping=itself)))
    return Evaluation(tuple(entries), tuple(notes))


def _predict(x: FloatArray, classes: IntArray, scored: FloatArray, seed: int) -> IntArray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    if (classes == classes[0]).all():
        return np.full(len(scored), classes[0], dtype=np.int64)
    # Without the penalty on leaf values, classes with a handful of rows make multi-class
    # boosting diverge: on a real set accuracy fell from 0.73 to 0.61.
    model = HistGradientBoostingClassifier(
        max_iter=_ROUNDS,
        learning_rate=0.05,
        l2_regularization=10.0,
        max_leaf_nodes=15,
        early_stopping=False,
        random_state=seed,
    )
    return np.asarray(model.fit(x, classes).predict(scored), dtype=np.int64)
