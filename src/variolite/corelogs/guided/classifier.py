"""A classifier that learns from a few labelled wells and from the logs of all.

Two kinds of classifier err differently: a logistic regression on a row and its surroundings, and
shares of the classes in clusters of all wells, which need labels only for the names of clusters.
Each is averaged over the three corrections of `views` and over several clusterings; their
geometric mean is what is predicted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.guided.views import Wells
from variolite.scoring.clustering import draw
from variolite.scoring.gmm import lloyd
from variolite.scoring.intervals import FloatArray, IntArray

CLUSTERS = (8, 11, 11, 15, 20, 11)
FEWER_AXES = 4  # strongest principal axes of the last clustering
ROWS_PER_WELL, MAX_ROWS = 2_000, 40_000  # labelled rows: neighbours in depth say the same
FIT_ROWS = 60_000  # for clusterings, drawn from all wells
BLOCK_ROWS = 100_000
PENALTY = 0.01  # inverse strength of the ridge of the logistic regression
PRIOR_ROWS = 10.0  # rows that the overall shares count for in a cluster
WEIGHTS = (0.4, 0.6)  # of logistic regression and clusters in the geometric mean
PRIOR_WELLS = 5  # wells that the temperature 1 counts for
_LEAST = 1e-6  # probability: one classifier alone cannot veto a class


@dataclass(frozen=True)
class Groundwork:
    """What all wells teach about one correction, without labels.

    ``mean`` [d] and ``axes`` [d, d] whiten the logs; ``centre`` and ``scale`` [f] standardise the
    features of the logistic regression. ``clusters`` hold the centres [k, d] of each clustering,
    ``spread`` its variance within a cluster per axis.
    """

    mean: FloatArray
    axes: FloatArray
    centre: FloatArray
    scale: FloatArray
    clusters: tuple[FloatArray, ...]
    spread: FloatArray

    def features(self, wells: Wells, values: FloatArray, rows: IntArray) -> FloatArray:
        """Whitened logs of ``rows`` [m] and what surrounds them, standardised, [m, f]."""
        found = np.hstack([self.whitened(values[rows]), wells.context(values, rows)])
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
            found.append(_softmax(-0.5 * distance / spread))
        return found


def lay_groundwork(wells: Wells, values: FloatArray, seed: int) -> Groundwork:
    """Fit whitening, clusterings and scales to the rows of all wells."""
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
    found = np.hstack([white, wells.context(values, rows)])
    scale = found.std(0)
    return Groundwork(
        mean,
        axes,
        found.mean(0),
        np.where(scale > 0, scale, 1.0),
        tuple(clusters),
        np.array(spread),
    )


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
        return _softmax(features @ self.slopes + self.intercepts)

    def clustered(self, memberships: Sequence[FloatArray]) -> FloatArray:
        pairs = zip(memberships, self.shares, strict=True)
        return np.asarray(np.mean([own @ shares for own, shares in pairs], axis=0))


@dataclass(frozen=True)
class _Labelled:
    """Labelled rows: codes, well and weight [m], and per correction features and memberships."""

    codes: IntArray
    wells: NDArray[np.str_]
    features: list[FloatArray]
    memberships: list[list[FloatArray]]

    def take(self, rows: NDArray[np.bool_] | IntArray) -> _Labelled:
        features = [own[rows] for own in self.features]
        memberships = [[own[rows] for own in every] for every in self.memberships]
        return _Labelled(self.codes[rows], self.wells[rows], features, memberships)


def _fit_heads(labelled: _Labelled, classes: int) -> tuple[Head, ...]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    codes = labelled.codes
    _, well, count = np.unique(labelled.wells, return_inverse=True, return_counts=True)
    weight = 1.0 / count[well]  # every well counts the same, however long
    weight *= len(weight) / weight.sum()
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


def _joined(logistic: Sequence[FloatArray], clustered: Sequence[FloatArray]) -> FloatArray:
    """Log of the geometric mean of both kinds, not normalised, [m, K]."""
    first = np.mean([np.log(p + _LEAST) for p in logistic], axis=0)
    second = np.log(np.mean(clustered, axis=0) + _LEAST)
    return np.asarray(WEIGHTS[0] * first + WEIGHTS[1] * second)


def _predict(heads: Sequence[Head], labelled: _Labelled) -> FloatArray:
    logistic = [h.logistic(x) for h, x in zip(heads, labelled.features, strict=True)]
    clustered = [h.clustered(m) for h, m in zip(heads, labelled.memberships, strict=True)]
    return _joined(logistic, clustered)


@dataclass(frozen=True)
class LeftOut:
    """How well wells are named when their own labels are left out.

    ``accuracy`` by well; ``temperature`` is what their log-probabilities are divided by so that
    they are calibrated; ``curve`` is the mean accuracy in other wells by number of labelled wells.
    """

    accuracy: Mapping[str, float]
    temperature: float
    curve: Mapping[int, float]

    def expected(self, wells: int) -> float:
        """Mean accuracy to expect with so many labelled wells: a - b / wells; NaN if unknown."""
        if len(self.curve) < 2:
            return float("nan")
        sizes = np.array([*self.curve])
        # Larger samples of wells vary less.
        slope, level = np.polyfit(1.0 / sizes, [*self.curve.values()], 1, w=np.sqrt(sizes))
        return float(np.clip(level + min(slope, 0.0) / wells, 0.0, 1.0))


@dataclass(frozen=True)
class WellClassifier:
    """Names the rows of any well, [n, K] probabilities of the sorted ``classes``."""

    classes: tuple[str, ...]
    groundwork: tuple[Groundwork, ...]
    heads: tuple[Head, ...]
    left_out: LeftOut

    def probabilities(self, wells: Wells) -> FloatArray:
        """Probability of every class, [n, K], in the order of rows before sorting."""
        found = np.empty((len(wells.values), len(self.classes)))
        corrected = wells.corrected()
        for start in range(0, len(found), BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, len(found)))
            described = _describe(self.groundwork, wells, corrected, rows)
            joint = _predict(self.heads, _Labelled(rows, wells.groups[rows], *described))
            found[wells.place[rows]] = _softmax(joint / self.left_out.temperature)
        return found


def _describe(
    groundwork: Sequence[Groundwork], wells: Wells, corrected: Sequence[FloatArray], rows: IntArray
) -> tuple[list[FloatArray], list[list[FloatArray]]]:
    pairs = list(zip(groundwork, corrected, strict=True))
    features = [own.features(wells, values, rows) for own, values in pairs]
    return features, [own.memberships(values[rows]) for own, values in pairs]


def fit_classifier(wells: Wells, labels: NDArray[np.str_], *, seed: int = 0) -> WellClassifier:
    """Learn from all ``wells`` and the labels [n] of their rows (before sorting), "" for none.

    Labels of at most 2,000 rows of a well, and 40,000 in all, are used.
    """
    known = np.flatnonzero((labels != "")[wells.place])
    classes, codes = np.unique(labels[wells.place[known]], return_inverse=True)
    corrected = wells.corrected()
    groundwork = tuple(lay_groundwork(wells, values, seed) for values in corrected)
    rng = np.random.default_rng([seed, 12])
    names = np.unique(wells.groups[known])
    most = max(min(ROWS_PER_WELL, MAX_ROWS // len(names)), 1)
    by_well = (np.flatnonzero(wells.groups[known] == name) for name in names)
    drawn = np.concatenate([rows[draw(rng, len(rows), most)] for rows in by_well])
    rows = known[drawn]
    described = _describe(groundwork, wells, corrected, rows)
    labelled = _Labelled(codes[drawn], wells.groups[rows], *described)
    heads = _fit_heads(labelled, len(classes))
    left_out = _leave_out(labelled, len(classes), seed)
    return WellClassifier(tuple(classes.tolist()), groundwork, heads, left_out)


FOLDS = 10  # of labelled wells; up to so many are left out one at a time
TRIAL_ROWS = 10_000  # labelled rows that these trials use
SIZES = (1, 2, 3, 5, 8, 12, 20)  # numbers of labelled wells of the learning curve
DRAWS = 4  # of each size


def _leave_out(labelled: _Labelled, classes: int, seed: int) -> LeftOut:
    """Predict labelled wells from the others, each left out once; of one well nothing is known."""
    rng = np.random.default_rng([seed, 13])
    labelled = labelled.take(draw(rng, len(labelled.codes), TRIAL_ROWS))
    names, well = np.unique(labelled.wells, return_inverse=True)
    if len(names) < 2:
        return LeftOut({}, 1.0, {})

    def predict(known: NDArray[np.bool_]) -> FloatArray:
        """Scores of the rows of other wells than those ``known``, [m]."""
        heads = _fit_heads(labelled.take(known), classes)
        return _predict(heads, labelled.take(~known))

    fold = rng.permutation(len(names)) % FOLDS
    joint = np.empty((len(well), classes))
    for k in np.unique(fold):
        apart = fold[well] == k
        joint[apart] = predict(~apart)
    counts = np.bincount(well)
    accuracy = np.bincount(well, weights=joint.argmax(1) == labelled.codes) / counts
    curve = {}
    for size in (size for size in SIZES if size < len(names)):
        found = []
        for _ in range(min(DRAWS, len(names))):
            known = np.isin(well, rng.choice(len(names), size, replace=False))
            right = predict(known).argmax(1) == labelled.codes[~known]
            others = np.setdiff1d(np.arange(len(names)), well[known])
            by_well = np.bincount(well[~known], weights=right, minlength=len(names)) / counts
            found.append(by_well[others].mean())
        curve[size] = float(np.mean(found))
    temperature = _calibrate(joint, labelled.codes, 1.0 / counts[well], len(names))
    return LeftOut(dict(zip(names.tolist(), accuracy.tolist(), strict=True)), temperature, curve)


def _calibrate(joint: FloatArray, codes: IntArray, weight: FloatArray, wells: int) -> float:
    """Return the temperature of the highest likelihood of left-out rows, [n, K] scores.

    Few wells say little about it: its logarithm is drawn to zero as if by `PRIOR_WELLS` more.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = joint / np.exp(log_temperature)
        peak = scaled.max(1, keepdims=True)
        total = peak[:, 0] + np.log(np.exp(scaled - peak).sum(1))
        return float(weight @ (total - scaled[np.arange(len(codes)), codes]))

    best = minimize_scalar(loss, bounds=(np.log(0.25), np.log(4.0)), method="bounded")
    return float(np.exp(best.x * wells / (wells + PRIOR_WELLS)))


def _softmax(scores: FloatArray) -> FloatArray:
    scores = scores - scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return np.asarray(scores)
