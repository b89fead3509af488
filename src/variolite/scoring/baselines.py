"""What a model is compared with: simple representations, and the supervised reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.agreement import count_tables
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix
from variolite.scoring.clustering import ClusterScores
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, ScoreKey

# Representations to compare a model with, fitted on training rows only.


@dataclass(frozen=True)
class Whitening:
    """Principal components scaled to variance 1.

    Attributes
    ----------
    mean
        Mean of the training rows [d].
    components
        Principal directions [c, d], strongest first, unit length.
    sd
        Standard deviation along each [c].
    """

    mean: FloatArray
    components: FloatArray
    sd: FloatArray

    def apply(self, x: ArrayLike) -> FloatArray:
        """Whitened scores [n, c] of rows [n, d].

        Raises
        ------
        DataError
            If the number of features differs from that of the training rows.
        """
        matrix = as_matrix(x)
        if matrix.shape[1] != len(self.mean):
            raise DataError(
                f"has {matrix.shape[1]} features, fitted on {len(self.mean)}", where="whitening"
            )
        return np.asarray((matrix - self.mean) @ self.components.T / self.sd)


def fit_pca_whitening(x: ArrayLike, n_components: int | None = None) -> Whitening:
    """Fit principal components to training rows [n, d] and the scale that whitens them.

    Directions without variance (below 1e-12 of the strongest) are left out: whitened,
    they would be amplified rounding.

    Parameters
    ----------
    x
        Training rows [n, d], finite.
    n_components
        Components kept at most, strongest first; all by default.

    Raises
    ------
    DataError
        If no direction varies, or ``n_components`` is not within 1..d.
    """
    matrix = as_matrix(x)
    n, d = matrix.shape
    most = d if n_components is None else n_components
    if not 1 <= most <= d:
        raise DataError(
            f"{most} components were asked of {d} features",
            where="PCA",
            hint="Choose between 1 and the number of features",
        )
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / max(n - 1, 1))
    order = np.argsort(variances)[::-1][:most]
    variances, directions = variances[order], directions[:, order].T
    kept = variances > 1e-12 * max(float(variances[0]), np.finfo(np.float64).tiny)
    if not kept.any() or variances[0] <= 0:
        raise DataError("no feature varies among the training rows", where="PCA")
    # The sign of a direction is arbitrary; fix it, so that equal data give equal numbers.
    directions = directions[kept]
    peak = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), peak])
    return Whitening(mean, directions * signs[:, None], np.sqrt(variances[kept]))


def pca_whitened(
    train: ArrayLike, test: ArrayLike, n_components: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Whitened principal components of training rows and of test rows."""
    whitening = fit_pca_whitening(train, n_components)
    return whitening.apply(train), whitening.apply(test)


def raw(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Standardise features by mean and standard deviation of the training rows.

    Features are expected in the form a model would get them (logarithms taken
    and so on); a feature that does not vary becomes zero.
    """
    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"training rows have {first.shape[1]} features, test rows {second.shape[1]}",
            where="raw features",
        )
    mean, sd = first.mean(axis=0), first.std(axis=0)
    # Rounding gives a constant feature a tiny spread, so the range decides.
    scale = np.where(np.ptp(first, axis=0) > 0, sd, 1.0)
    return (first - mean) / scale, (second - mean) / scale


# The supervised reference: what labels of the training groups alone would give.


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
