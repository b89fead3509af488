"""The supervised reference: what the labels of the training groups alone would give.

A ceiling is only as good as the classifier, so three that a careful user would try compete on
validation groups: logistic regression and boosting, both on logs less half of each group's
median, which takes out much of what differs between boreholes and instruments but not between
rocks, the latter with the logs around each row; and boosting on the logs as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records.context import running
from variolite.scoring.baselines import fill_gaps, pca_whitened
from variolite.scoring.clustering import draw, score_clusters
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.scorecard import ScoreKey

MAX_CLASSES = 255
"""Boosting grows a tree per class and round: with a class for every few rows it never ends."""

WINDOWS = (5, 21, 81)  # rows of the running means and deviations
MAX_TRAIN_ROWS = 60_000  # drawn for each seed; on a real set 100,000 gained nothing more
_TRIAL_ROWS = 10_000  # that a classifier is fitted on, and tried on, when one is chosen


@dataclass(frozen=True)
class Logs:
    """Features [n, d], NaN where not observed, with group and depth or other order [n] of rows."""

    values: FloatArray
    groups: NDArray[np.str_]
    order: FloatArray | None = None


def less_half_median(logs: Logs) -> FloatArray:
    """Return the features less half of the median of each group's observed values, [n, d]."""
    frame = pl.DataFrame(logs.values).fill_nan(None).with_columns(group=pl.Series(logs.groups))
    medians = frame.select(pl.exclude("group").median().over("group")).fill_null(0.0)
    return np.asarray(logs.values - 0.5 * medians.to_numpy())


def with_context(logs: Logs) -> FloatArray:
    """Return features less half their median, then their running means and deviations.

    Windows of 5, 21 and 81 rows are centred, stay within a group and leave out what was not
    observed: [n, 7 d]. Without an order there are no windows, [n, d].
    """
    values = less_half_median(logs)
    if logs.order is None:
        return values
    order = np.lexsort((logs.order, logs.groups))
    statistics = running(values[order], logs.groups[order], WINDOWS)
    found = np.empty((len(order), (1 + 2 * len(WINDOWS)) * values.shape[1]))
    both = [part for pair in zip(*statistics, strict=True) for part in pair]
    found[order] = np.concatenate([values[order].astype(np.float32), *both], axis=1)
    return found


def _logistic(x: FloatArray, classes: IntArray, scored: FloatArray, _seed: int) -> IntArray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    first, second = pca_whitened(x, scored)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter
        model = LogisticRegression(C=0.1, max_iter=200).fit(first, classes)
    return np.asarray(model.predict(second), np.int64)


def _boosting(**settings: float) -> Callable[[FloatArray, IntArray, FloatArray, int], IntArray]:
    """Return histogram gradient boosting without class weights and without early stopping.

    Rows set aside for stopping would be neighbours of training rows. Without the penalty on leaf
    values, classes with a handful of rows make multi-class boosting diverge: on a real set
    accuracy fell from 0.73 to 0.61.
    """

    def predict(x: FloatArray, classes: IntArray, scored: FloatArray, seed: int) -> IntArray:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(
            early_stopping=False, random_state=seed, **settings
        ).fit(x, classes)
        return np.asarray(model.predict(scored), np.int64)

    return predict


CONTEXT_BOOSTING: Mapping[str, Any] = {
    "max_iter": 120,
    "learning_rate": 0.1,
    "l2_regularization": 20.0,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 100,
    "max_features": 0.4,
}
"""Of boosting on logs with context; chosen on real wells."""

CLASSIFIERS = {
    "logistic_regression": _logistic,
    "boosting_with_context": _boosting(**CONTEXT_BOOSTING),
    "gradient_boosting": _boosting(
        max_iter=100, learning_rate=0.05, l2_regularization=10.0, max_leaf_nodes=15
    ),
}


def evaluate_supervised(
    train: Logs,
    test: Logs,
    held_out: HeldOut,
    seeds: int = 1,
    *,
    validation: NDArray[np.bool_] | None = None,
    methods: tuple[str, ...] = tuple(CLASSIFIERS),
) -> Evaluation:
    """Train on the labels of the training groups, predict the test rows, and score.

    Of ``methods`` the one with the highest mean of accuracy and adjusted Rand index on the training
    rows of ``validation`` [n], or of a quarter of the groups, is trained on all of them. The
    predicted classes are scored as a clustering and as a classifier: entries of method
    "supervised" per label level that has labelled rows in both parts. Each seed draws its own
    training rows.
    """
    filled = fill_gaps(train.values, test.values)
    halved = [
        less_half_median(replace(part, values=values))
        for part, values in zip((train, test), filled, strict=True)
    ]
    features = {
        "logistic_regression": (halved[0], halved[1][held_out.kept]),
        "boosting_with_context": (with_context(train), with_context(test)[held_out.kept]),
        "gradient_boosting": (train.values, test.values[held_out.kept]),
    }
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
        tried = {name: features[name][0] for name in methods}
        right = _trial(tried, held_out, level, validation) if len(methods) > 1 else {}
        chosen = max(right, key=lambda name: right[name], default=methods[-1])
        if right:
            listed = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
            how = "by mean of accuracy and ARI on validation groups"
            notes.append(f"{level}: supervised reference {how}: {listed}")
        x, scored = features[chosen]
        clusters = []
        for seed in range(seeds):
            rows = known[draw(np.random.default_rng([seed, 5]), len(known), MAX_TRAIN_ROWS)]
            clusters.append(_predict(chosen, x[rows], codes[rows], scored, seed))
        entries += class_entries(clusters, held_out, level, "supervised", chosen)
    return Evaluation(tuple(entries), tuple(notes))


def class_entries(
    predicted: Sequence[IntArray], held_out: HeldOut, level: str, method: str, algorithm: str
) -> list[Entry]:
    """Score predicted classes of the scored rows, [m] per seed, as clusters and as classes."""
    entries = []
    for part in held_out.parts:
        scores = score_clusters(predicted, held_out, level, part=part)
        if scores is not None:
            # Predicted classes are clusters that stand for themselves.
            itself = np.tile(np.arange(scores.tables.shape[2]), (len(predicted), 1))
            key = ScoreKey("clustering", method, held_out.split, algorithm, "inductive")
            key = replace(key, level=level, rows=part)
            entries.append(Entry(key, replace(scores, mapping=itself)))
    return entries


def _predict(
    name: str, x: FloatArray, classes: IntArray, scored: FloatArray, seed: int
) -> IntArray:
    if (classes == classes[0]).all():
        return np.full(len(scored), classes[0], dtype=np.int64)
    return CLASSIFIERS[name](x, classes, scored, seed)


def _trial(
    features: Mapping[str, FloatArray],
    held_out: HeldOut,
    level: str,
    validation: NDArray[np.bool_] | None,
) -> dict[str, float]:
    """Mean of accuracy and ARI of every classifier on validation rows; empty where there are none.

    Accuracy alone is nearly blind to the rare classes, as one class often has most rows.
    """
    from sklearn.metrics import adjusted_rand_score

    has_label = held_out.train_labels[level].codes >= 0
    if validation is None or not (has_label & validation).any() or not has_label[~validation].any():
        # Where few groups have labels, they are held out of one another.
        names = np.random.default_rng(0).permutation(np.unique(held_out.train_groups[has_label]))
        apart = names[: max(1, len(names) // 4)] if len(names) > 1 else names[:0]
        validation = np.isin(held_out.train_groups, apart)
        if not len(apart):
            return {}
    trial = held_out.within_training(validation, _TRIAL_ROWS)
    if trial is None:
        return {}
    fitted_on, tried_on, inner = trial
    codes, truth = inner.train_labels[level].codes, inner.test_labels[level].codes
    known, labelled = np.flatnonzero(codes >= 0), np.flatnonzero(truth >= 0)
    if not len(known) or not len(labelled):
        return {}
    rows, scored = fitted_on[known], tried_on[inner.kept[labelled]]
    true = truth[labelled]
    found = {}
    for name, x in features.items():
        predicted = _predict(name, x[rows], codes[known], x[scored], 0)
        found[name] = float(np.mean(predicted == true) + adjusted_rand_score(true, predicted)) / 2
    return found
