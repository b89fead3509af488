"""Boosted trees of scikit-learn that are kept as arrays: a pickle could run anything.

Fitting and prediction are scikit-learn's. What is kept are the nodes of its trees, field by
field, so that a later version, with other fields, still reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.supervised import CONTEXT_BOOSTING

_FIELDS = (
    "value",
    "feature_idx",
    "num_threshold",
    "missing_go_to_left",
    "left",
    "right",
    "is_leaf",
)


@dataclass(frozen=True)
class BoostedTrees:
    """Trees of one class or of K, boosted together.

    ``baseline`` [1 or K] is the score before the first tree, ``sizes`` [trees] the nodes of each
    tree, class after class of one iteration and then the next; ``nodes`` are all nodes end to
    end, by field. ``classes`` [C] are the codes that were trained on, of ``total``.
    """

    baseline: FloatArray
    sizes: IntArray
    nodes: dict[str, NDArray[Any]]
    classes: IntArray
    total: int

    def log_probabilities(self, features: FloatArray, least: float = 1e-6) -> FloatArray:
        """Log-probability of every class [n, total], none below that of ``least``."""
        from scipy.special import log_expit, log_softmax
        from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        nodes = np.zeros(int(self.sizes.sum()), PREDICTOR_RECORD_DTYPE)
        for name, values in self.nodes.items():
            nodes[name] = values
        scores = np.tile(self.baseline, (len(features), 1))
        x, none = np.ascontiguousarray(features, np.float64), np.zeros((0, 8), np.uint32)
        columns = np.zeros(x.shape[1], np.uint32)  # of categorical features: there are none
        ends = np.cumsum(self.sizes)
        for i, end in enumerate(ends):
            own = TreePredictor(nodes[end - self.sizes[i] : end], none, none)
            scores[:, i % scores.shape[1]] += own.predict(x, none, columns, 1)
        if scores.shape[1] == 1:
            logs = np.hstack([log_expit(-scores), log_expit(scores)])
        else:
            logs = log_softmax(scores, axis=1)
        found = np.full((len(x), self.total), np.log(least))
        found[:, self.classes] = np.maximum(logs, np.log(least))
        return found


def fit_boosted_trees(
    features: FloatArray, codes: IntArray, weight: FloatArray, total: int, seed: int
) -> BoostedTrees:
    """Boost trees on features [n, f] with codes of ``total`` classes and weights [n]."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    classes = np.unique(codes)
    model = HistGradientBoostingClassifier(
        early_stopping=False, random_state=seed, **CONTEXT_BOOSTING
    ).fit(features, codes, sample_weight=weight)
    trees = [tree.nodes for iteration in model._predictors for tree in iteration]
    nodes = {name: np.concatenate([tree[name] for tree in trees]) for name in _FIELDS}
    sizes = np.array([len(tree) for tree in trees])
    return BoostedTrees(np.ravel(model._baseline_prediction), sizes, nodes, classes, total)
