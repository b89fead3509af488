"""A classifier that learns from a few labelled wells and from the logs of all.

Four kinds of classifier err differently: a logistic regression on a row and its surroundings;
shares of the classes in clusters of all wells, which need labels only for the names of clusters;
boosted trees; and a semi-supervised autoencoder. The first two are averaged over the corrections
of `views`, the clusters also over several clusterings; the weighted geometric mean of all four is
what is predicted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from variolite.corelogs.guided.boosted_trees import BoostedTrees, fit_boosted_trees
from variolite.corelogs.guided.semi_supervised import SemiSupervised, fit_semi_supervised
from variolite.corelogs.guided.views import Wells
from variolite.scoring.clustering import draw
from variolite.scoring.gmm import lloyd
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.training.group_shift import GroupShift

CLUSTERS = (8, 11, 11, 15, 20, 11)
FEWER_AXES = 4  # strongest principal axes of the last clustering
BOOSTED = (0, 2)  # corrections that trees are boosted on: a third adds nothing
ROWS_PER_WELL, MAX_ROWS = 2_000, 80_000  # labelled rows: neighbours in depth say the same
FIT_ROWS = 60_000  # for clusterings, drawn from all wells
BLOCK_ROWS = 100_000
PENALTY = 0.01  # inverse strength of the ridge of the logistic regression
PRIOR_ROWS = 10.0  # rows that the overall shares count for in a cluster
# Of logistic regression, clusters, trees and the semi-supervised model in the geometric mean:
# trees need many wells, and the model is for few.
FEW_WEIGHTS, MANY_WEIGHTS, MANY_WELLS = (0.32, 0.32, 0.16, 0.2), (0.25, 0.25, 0.35, 0.15), 20
SEMI_SUPERVISED = 2  # the correction that the semi-supervised model is trained on
FOLDS = 10  # of labelled wells; up to ten are left out one at a time
TRIAL_ROWS = 10_000  # labelled rows that these trials use
SIZES = (1, 2, 3, 5, 8, 12, 20)  # numbers of labelled wells of the learning curve
DRAWS = 4  # of each size
_LEAST_BELIEF = 1e-4  # of a class, for the semi-supervised model
_LEAST = 1e-6  # probability: one classifier alone cannot veto a class


@dataclass(frozen=True)
class Groundwork:
    """What all wells teach about one correction, without labels.

    ``mean`` [d] and ``axes`` [d, d] whiten the logs; ``centre`` and ``scale`` [f] standardise the
    features. ``clusters`` hold the centres [k, d] of each clustering, ``spread`` its variance
    within a cluster per axis.
    """

    mean: FloatArray
    axes: FloatArray
    centre: FloatArray
    scale: FloatArray
    clusters: tuple[FloatArray, ...]
    spread: FloatArray

    def features(self, values: FloatArray, context: FloatArray) -> FloatArray:
        """Whitened logs of rows [m, d] and what surrounds them, standardised, [m, f]."""
        found = np.hstack([self.whitened(values), context])
        return (found - self.centre) / self.scale

    def whitened(self, values: FloatArray) -> FloatArray:
        return (values - self.mean) @ self.axes

    def memberships(self, values: FloatArray) -> list[FloatArray]:
        """Probability of every cluster, [m, k] for each clustering."""
        white, found = self.whitened(values), []
        for centres, spread in zip(self.clusters, self.spread, strict=True):
            x = white[:, : centres.shape[1]]
            # |x - c|^2 without |x|^2, which is the same for all clusters.
            distance = (centres * centres).sum(1) - 2.0 * x @ centres.T
            found.append(softmax(-0.5 * distance / spread, axis=1))
        return found


def lay_groundwork(wells: Wells, seed: int) -> tuple[Groundwork, ...]:
    """Learn what needs no labels from the rows of all wells, for each correction."""
    return tuple(_lay(*view, seed) for view in wells.views)


def _lay(values: FloatArray, context: FloatArray, seed: int) -> Groundwork:
    """Fit whitening, clusterings and scales to corrected logs [n, d] and context [n, c]."""
    rng = np.random.default_rng([seed, 11])
    rows = draw(rng, len(values), FIT_ROWS)
    mean = values[rows].mean(0)
    _, singular, directions = np.linalg.svd(values[rows] - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(rows))
    kept = deviation > 1e-6 * deviation[0]
    axes = directions[kept].T / deviation[kept]
    white = (values[rows] - mean) @ axes
    clusters, spread = [], []
    for i, k in enumerate(CLUSTERS):
        own = white[:, :FEWER_AXES] if i == len(CLUSTERS) - 1 else white
        fitted = lloyd(own, min(k, len(own)), seed * len(CLUSTERS) + i, 2)
        clusters.append(np.asarray(fitted.cluster_centers_, np.float64))
        spread.append(max(float(fitted.inertia_) / own.size, 1e-9))
    found = np.hstack([white, context[rows]])
    centre, scale = found.mean(0), found.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return Groundwork(mean, axes, centre, scale, tuple(clusters), np.array(spread))


@dataclass(frozen=True)
class Described:
    """Rows as classifiers see them: well [m], and per correction features and memberships."""

    wells: NDArray[np.str_]
    features: list[FloatArray]
    memberships: list[list[FloatArray]]

    @classmethod
    def of(cls, wells: Wells, groundwork: Sequence[Groundwork], rows: IntArray) -> Described:
        """Describe some rows of wells."""
        parts = [(values[rows], context[rows]) for values, context in wells.views]
        features = [own.features(*part) for own, part in zip(groundwork, parts, strict=True)]
        memberships = [
            own.memberships(values) for own, (values, _) in zip(groundwork, parts, strict=True)
        ]
        return cls(wells.groups[rows], features, memberships)

    def take(self, rows: NDArray[np.bool_] | IntArray) -> Described:
        features = [own[rows] for own in self.features]
        memberships = [[own[rows] for own in every] for every in self.memberships]
        return Described(self.wells[rows], features, memberships)


@dataclass(frozen=True)
class Head:
    """What labels add to the groundwork of one correction.

    ``slopes`` [f, K] and ``intercepts`` [K] are of the logistic regression, ``shares`` the
    probability of each class in the clusters of each clustering, [k, K].
    """

    slopes: FloatArray
    intercepts: FloatArray
    shares: tuple[FloatArray, ...]

    def logistic(self, features: FloatArray) -> FloatArray:
        return np.asarray(softmax(features @ self.slopes + self.intercepts, axis=1))

    def clustered(self, memberships: Sequence[FloatArray]) -> FloatArray:
        pairs = zip(memberships, self.shares, strict=True)
        return np.asarray(np.mean([own @ shares for own, shares in pairs], axis=0))


def _fit_heads(
    labelled: Described, codes: IntArray, weight: FloatArray, classes: int
) -> tuple[Head, ...]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    one_hot = np.eye(classes)[codes] * weight[:, None]
    prior = one_hot.sum(0) / weight.sum()
    known = np.flatnonzero(prior)
    heads = []
    for features, memberships in zip(labelled.features, labelled.memberships, strict=True):
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
        shares = []
        for own in memberships:
            counted = own.T @ one_hot + PRIOR_ROWS * prior
            shares.append(counted / counted.sum(1, keepdims=True))
        heads.append(Head(slopes, intercepts, tuple(shares)))
    return tuple(heads)


@dataclass(frozen=True)
class LeftOut:
    """How well wells are named when their own labels are left out.

    ``accuracy`` by well; ``curve`` is the mean accuracy in other wells by number of labelled
    wells. Both are of logistic regression and clusters alone, which take no time to fit again.
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

    ``weights`` are those of logistic regression, clusters, boosted trees and the semi-supervised
    model in the geometric mean; it is calibrated as long as they sum to one. ``shift`` infers the
    shifts of wells.
    """

    classes: tuple[str, ...]
    groundwork: tuple[Groundwork, ...]
    heads: tuple[Head, ...]
    boosted: tuple[BoostedTrees, ...]
    model: SemiSupervised
    weights: tuple[float, float, float, float]
    left_out: LeftOut
    shift: GroupShift | None = None

    @property
    def sees_context(self) -> bool:
        """Whether features hold more than the logs of a row: what surrounds it."""
        return bool(len(self.groundwork[0].centre) > self.groundwork[0].axes.shape[1])

    def probabilities(self, wells: Wells) -> FloatArray:
        """Probability of every class, [n, K], in the order of rows before sorting."""
        found = np.empty((len(wells.values), len(self.classes)))
        for start in range(0, len(found), BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, len(found)))
            described = Described.of(wells, self.groundwork, rows)
            parts = self.log_probabilities(described)
            joint = np.sum([w * part for w, part in zip(self.weights, parts, strict=True)], axis=0)
            found[wells.place[rows]] = softmax(joint, axis=1)
        return found

    def log_probabilities(self, rows: Described) -> tuple[FloatArray, ...]:
        """Logarithms of the probabilities by each of the four, [m, K] each."""
        trees = [
            own.log_probabilities(rows.features[view])
            for view, own in zip(BOOSTED, self.boosted, strict=True)
        ]
        logs = self.groundwork[SEMI_SUPERVISED].axes.shape[1]
        joint = self.model.log_probabilities(rows.features[SEMI_SUPERVISED], logs)
        return *_predict(self.heads, rows), np.mean(trees, axis=0), joint


def _predict(heads: Sequence[Head], rows: Described) -> tuple[FloatArray, FloatArray]:
    """Logarithms of the probabilities of logistic regression and of clusters, [m, K] each."""
    logistic = [np.log(h.logistic(x) + _LEAST) for h, x in zip(heads, rows.features, strict=True)]
    clustered = [h.clustered(m) for h, m in zip(heads, rows.memberships, strict=True)]
    return np.mean(logistic, axis=0), np.log(np.mean(clustered, axis=0) + _LEAST)


def fit_classifier(
    wells: Wells,
    labels: NDArray[np.str_],
    *,
    seed: int = 0,
    groundwork: tuple[Groundwork, ...] = (),
    estimate: bool = True,
) -> WellClassifier:
    """Learn from all ``wells`` and the labels [n] of their rows (before sorting), "" for none.

    ``groundwork`` is laid unless it is given; ``estimate`` also leaves labelled wells out, for
    `LeftOut`. Labels of at most 2,000 rows of a well, and 80,000
    in all, are used; every well counts the same.
    """
    known = np.flatnonzero((labels != "")[wells.place])
    classes, codes = np.unique(labels[wells.place[known]], return_inverse=True)
    groundwork = groundwork or lay_groundwork(wells, seed)
    rng = np.random.default_rng([seed, 12])
    names = np.unique(wells.groups[known])
    most = max(min(ROWS_PER_WELL, MAX_ROWS // len(names)), 1)
    by_well = (np.flatnonzero(wells.groups[known] == name) for name in names)
    drawn = np.concatenate([rows[draw(rng, len(rows), most)] for rows in by_well])
    labelled = Described.of(wells, groundwork, known[drawn])
    codes, count = codes[drawn], len(classes)
    weight = _equal(labelled.wells)
    heads = _fit_heads(labelled, codes, weight, count)
    some = Described.of(wells, groundwork, draw(rng, len(wells.values), FIT_ROWS))
    model = fit_semi_supervised(
        some.features[SEMI_SUPERVISED],
        np.log(softmax(np.mean(_predict(heads, some), axis=0), axis=1) + _LEAST_BELIEF),
        labelled.features[SEMI_SUPERVISED],
        codes,
        weight,
        groundwork[SEMI_SUPERVISED].axes.shape[1],
        count,
        seed,
    )
    return WellClassifier(
        tuple(classes.tolist()),
        groundwork,
        heads,
        tuple(
            fit_boosted_trees(labelled.features[view], codes, weight, count, seed)
            for view in BOOSTED
        ),
        model,
        FEW_WEIGHTS if len(names) < MANY_WELLS else MANY_WEIGHTS,
        _leave_out(labelled, codes, count, seed) if estimate else LeftOut({}, {}),
    )


def _equal(wells: NDArray[np.str_]) -> FloatArray:
    """Weights of rows [m], 1 in the mean, of the same sum for every well, however long."""
    _, well, count = np.unique(wells, return_inverse=True, return_counts=True)
    return np.asarray(len(wells) / len(count) / count[well])


def _leave_out(labelled: Described, codes: IntArray, classes: int, seed: int) -> LeftOut:
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
        first, second = _predict(heads, labelled.take(~known))
        correct = (first + second).argmax(1) == codes[~known]
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
