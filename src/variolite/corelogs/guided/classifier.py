"""A classifier that learns from a few labelled wells and from the logs of all.

Four kinds of classifier err differently: a logistic regression on a row and its surroundings;
shares of the classes in the states of hidden Markov models of all wells, which need labels only
for the names of states; boosted trees; and a semi-supervised autoencoder. The first and the third
are averaged over corrections of `views`, the states over several models; the weighted geometric
mean of all four is what is predicted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from variolite.corelogs.guided.boosted_trees import BoostedTrees, fit_boosted_trees
from variolite.corelogs.guided.features import (
    DRIFTING,
    FIT_ROWS,
    FeatureExtractor,
    Rows,
    WellFeatures,
)
from variolite.corelogs.guided.semi_supervised import SemiSupervised, fit_semi_supervised
from variolite.corelogs.guided.views import Wells
from variolite.scoring.clustering import draw
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.training.group_shift import GroupShift

BOOSTED = (0, DRIFTING)  # views that trees are boosted on: a third adds nothing
ROWS_PER_WELL, MAX_ROWS = 2_000, 80_000  # labelled rows: neighbours in depth say the same
BLOCK_ROWS = 100_000
PENALTY = 0.01  # inverse strength of the ridge of the logistic regression
PRIOR_ROWS = 10.0  # rows that the overall shares count for in a state
# Of logistic regression, states, trees and the semi-supervised model in the geometric mean:
# trees need many wells, and the model is for few.
FEW_WEIGHTS, MANY_WEIGHTS, MANY_WELLS = (0.32, 0.32, 0.16, 0.2), (0.25, 0.25, 0.35, 0.15), 20
FOLDS = 10  # of labelled wells; up to ten are left out one at a time
TRIAL_ROWS = 10_000  # labelled rows that these trials use
SIZES = (1, 2, 3, 5, 8, 12, 20)  # numbers of labelled wells of the learning curve
DRAWS = 4  # of each size
_LEAST_BELIEF = 1e-4  # of a class, for the semi-supervised model
_LEAST = 1e-6  # probability: one classifier alone cannot veto a class


@dataclass(frozen=True)
class Heads:
    """What labels add to the features of all wells.

    ``slopes`` [f, K] and ``intercepts`` [K] of the logistic regression of every correction;
    ``shares`` [k, K], the probability of each class in the states of every hidden Markov model.
    """

    slopes: tuple[FloatArray, ...]
    intercepts: tuple[FloatArray, ...]
    shares: tuple[FloatArray, ...]

    def logistic(self, rows: Rows) -> FloatArray:
        """Logarithm of the geometric mean over corrections, [m, K]."""
        every = zip(rows.features, self.slopes, self.intercepts, strict=True)
        logs = [np.log(softmax(x @ slopes + level, axis=1) + _LEAST) for x, slopes, level in every]
        return np.asarray(np.mean(logs, axis=0))

    def by_states(self, rows: Rows) -> FloatArray:
        """Logarithm of the mean over models, [m, K]."""
        pairs = zip(rows.states, self.shares, strict=True)
        return np.asarray(np.log(np.mean([x @ own for x, own in pairs], axis=0) + _LEAST))

    def joint(self, rows: Rows) -> FloatArray:
        """Logarithm of the geometric mean of both, up to a constant of the row, [m, K]."""
        return 0.5 * (self.logistic(rows) + self.by_states(rows))


def _fit_heads(rows: Rows, codes: IntArray, weight: FloatArray, classes: int) -> Heads:
    one_hot = np.eye(classes)[codes] * weight[:, None]
    prior = one_hot.sum(0) / weight.sum()
    known = np.flatnonzero(prior)
    slopes, intercepts = zip(
        *(_regress(x, codes, weight, known, classes) for x in rows.features), strict=True
    )
    counted = [own.T @ one_hot + PRIOR_ROWS * prior for own in rows.states]
    shares = tuple(count / count.sum(1, keepdims=True) for count in counted)
    return Heads(slopes, intercepts, shares)


def _regress(
    features: FloatArray, codes: IntArray, weight: FloatArray, known: IntArray, classes: int
) -> tuple[FloatArray, FloatArray]:
    """Slopes [f, K] and intercepts [K] of a logistic regression on the classes ``known``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    slopes = np.zeros((features.shape[1], classes))
    intercepts = np.full(classes, np.log(_LEAST))  # a class that these wells lack
    intercepts[known] = 0.0
    if len(known) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter
            model = LogisticRegression(C=PENALTY, max_iter=300)
            model.fit(features, codes, sample_weight=weight)
        # Of two classes scikit-learn keeps the second alone.
        both = len(known) == 2
        slopes[:, known[-1:] if both else known] = model.coef_.T
        intercepts[known[-1:] if both else known] = model.intercept_
    return slopes, intercepts


@dataclass(frozen=True)
class LeftOut:
    """How well wells are named when their own labels are left out.

    ``accuracy`` by well; ``curve`` is the mean accuracy in other wells by number of labelled
    wells. Both are of logistic regression and states alone, which take no time to fit again.
    """

    accuracy: Mapping[str, float]
    curve: Mapping[int, float]

    def expected(self, wells: int) -> float:
        """Mean accuracy to expect with ``wells`` labelled, a - b / wells; NaN if unknown."""
        if len(self.curve) < 2:
            return float("nan")
        sizes = np.array([*self.curve])
        # Larger samples of wells vary less.
        slope, level = np.polyfit(1.0 / sizes, [*self.curve.values()], 1, w=np.sqrt(sizes))
        return float(np.clip(level + min(slope, 0.0) / wells, 0.0, 1.0))


@dataclass(frozen=True)
class WellClassifier:
    """Names the rows of any well, [n, K] probabilities of the sorted ``classes``.

    ``weights`` are those of logistic regression, states, boosted trees and the semi-supervised
    model in the geometric mean; it is calibrated as long as they sum to one. ``shift`` infers the
    shifts of wells.
    """

    classes: tuple[str, ...]
    extractor: FeatureExtractor
    heads: Heads
    boosted: tuple[BoostedTrees, ...]
    model: SemiSupervised
    weights: tuple[float, float, float, float]
    left_out: LeftOut
    shift: GroupShift | None = None

    @property
    def sees_context(self) -> bool:
        """Whether features hold more than the logs of a row: what surrounds it."""
        return bool(len(self.extractor.features[0].centre) > self.extractor.features[0].logs)

    def probabilities(self, wells: Wells) -> FloatArray:
        """Probability of every class, [n, K], in the order of rows before sorting."""
        features = WellFeatures(wells, self.extractor)
        found = np.empty((len(wells.values), len(self.classes)))
        for start in range(0, len(found), BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, len(found)))
            parts = self.log_probabilities(features.rows(rows))
            joint = np.sum([w * part for w, part in zip(self.weights, parts, strict=True)], axis=0)
            found[wells.place[rows]] = softmax(joint, axis=1)
        return found

    def log_probabilities(self, rows: Rows) -> tuple[FloatArray, ...]:
        """Logarithms of the probabilities by each of the four, [m, K] each."""
        trees = [
            own.log_probabilities(rows.features[view])
            for view, own in zip(BOOSTED, self.boosted, strict=False)
        ]
        logs = self.extractor.features[DRIFTING].logs
        joint = self.model.log_probabilities(rows.features[DRIFTING], logs)
        return self.heads.logistic(rows), self.heads.by_states(rows), np.mean(trees, axis=0), joint


def fit_classifier(
    features: WellFeatures, labels: NDArray[np.str_], *, seed: int = 0, estimate: bool = True
) -> WellClassifier:
    """Learn from all wells and the labels [n] of their rows (before sorting), "" for none.

    ``estimate`` also leaves labelled wells out, for `LeftOut`. Labels of at most 2,000 rows of a
    well, and 80,000 in all, are used; every well counts the same.
    """
    wells = features.wells
    known = np.flatnonzero((labels != "")[wells.place])
    classes, codes = np.unique(labels[wells.place[known]], return_inverse=True)
    rng = np.random.default_rng([seed, 12])
    names = np.unique(wells.groups[known])
    most = max(min(ROWS_PER_WELL, MAX_ROWS // len(names)), 1)
    by_well = (np.flatnonzero(wells.groups[known] == name) for name in names)
    drawn = np.concatenate([rows[draw(rng, len(rows), most)] for rows in by_well])
    labelled = features.rows(known[drawn])
    codes, count = codes[drawn], len(classes)
    weight = _equal(labelled.wells)
    heads = _fit_heads(labelled, codes, weight, count)
    some = features.rows(draw(rng, len(wells.values), FIT_ROWS))
    believed = softmax(heads.joint(some), axis=1)
    model = fit_semi_supervised(
        some.features[DRIFTING],
        np.log(believed + _LEAST_BELIEF),
        labelled.features[DRIFTING],
        codes,
        weight,
        features.extractor.features[DRIFTING].logs,
        count,
        seed,
    )
    return WellClassifier(
        tuple(classes.tolist()),
        features.extractor,
        heads,
        tuple(
            fit_boosted_trees(labelled.features[view], codes, weight, count, seed)
            for view in BOOSTED[: len(labelled.features)]
        ),
        model,
        FEW_WEIGHTS if len(names) < MANY_WELLS else MANY_WEIGHTS,
        _leave_out(labelled, codes, count, seed) if estimate else LeftOut({}, {}),
    )


def _equal(wells: NDArray[np.str_]) -> FloatArray:
    """Weights of rows [m], 1 in the mean, of the same sum for every well, however long."""
    _, well, count = np.unique(wells, return_inverse=True, return_counts=True)
    return np.asarray(len(wells) / len(count) / count[well])


def _leave_out(labelled: Rows, codes: IntArray, classes: int, seed: int) -> LeftOut:
    """Predict labelled wells from the others, each left out once; of one well nothing is known."""
    rng = np.random.default_rng([seed, 13])
    rows = draw(rng, len(codes), TRIAL_ROWS)
    labelled, codes = labelled.take(rows), codes[rows]
    names, well = np.unique(labelled.wells, return_inverse=True)
    if len(names) < 2:
        return LeftOut({}, {})

    def right(known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Share of rows that are named right in each well, by those known; NaN in these."""
        weight = _equal(labelled.wells[known])
        heads = _fit_heads(labelled.take(known), codes[known], weight, classes)
        correct = heads.joint(labelled.take(~known)).argmax(1) == codes[~known]
        counts = np.bincount(well[~known], minlength=len(names))
        with np.errstate(invalid="ignore"):
            return np.bincount(well[~known], weights=correct, minlength=len(names)) / counts

    fold = rng.permutation(len(names)) % FOLDS
    accuracy = np.nanmax([right(fold[well] != k) for k in np.unique(fold)], axis=0)
    curve = {
        size: float(
            np.mean(
                [
                    np.nanmean(right(np.isin(well, rng.choice(len(names), size, replace=False))))
                    for _ in range(min(DRAWS, len(names)))
                ]
            )
        )
        for size in SIZES
        if size < len(names)
    }
    return LeftOut(dict(zip(names.tolist(), accuracy.tolist(), strict=True)), curve)
