"""The surrogate: properties of a framework predicted from its record, with intervals.

Extremely randomised trees (P. Geurts et al., 2006), fitted on families that the generator has not
seen, so that a prediction about what it made is independent of it. Trees are kept as plain
arrays: scikit-learn can only store them as pickles, which run code when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.scoring.conformal import folds_by_group, half_widths, predict_left_out

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

TREES = 200
FOLDS = 5
LEAF = 2
LEVEL = 0.9
FEWEST = 40  # rows of other families that a surrogate needs


@dataclass(frozen=True)
class Surrogate:
    """A forest for one property: T trees of N nodes in all.

    ``roots`` (T,), and by node: ``feature``, ``threshold``, ``left`` and ``right`` (a leaf is its
    own child), ``value``. ``width`` is the half-width of the interval of level `LEVEL` over
    ``floor`` + the spread of the trees. ``r2`` and ``mae`` are of families left out.
    """

    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats
    floor: float
    width: float
    r2: float
    mae: float

    def __post_init__(self) -> None:
        """Raise a ValueError where arrays do not make trees, as of a damaged file."""
        nodes, own = len(self.value), np.arange(len(self.value))
        numbers = np.r_[self.threshold, self.value, self.floor, self.width, self.r2, self.mae]
        places = np.concatenate([self.roots, self.feature, self.left, self.right])
        whole = {len(self.feature), len(self.threshold), len(self.left), len(self.right)} == {nodes}
        # Children come behind their parents, so that no row goes round in circles.
        if not (
            whole
            and places.dtype.kind == "i"
            and min(self.roots.min(), self.feature.min()) >= 0
            and max(self.roots.max(), self.left.max(), self.right.max()) < nodes
            and (np.minimum(self.left, self.right) >= own).all()
            and np.isfinite(numbers).all()
        ):
            raise ValueError("the arrays of a surrogate make no trees")

    @classmethod
    def fit(cls, rows: Floats, target: Floats, families: Sequence[str], seed: int = 0) -> Surrogate:
        """Fit to rows (n, D) and a property (n,); errors are of families left out in turn."""

        def predict(known: Mask, left: Mask) -> tuple[Floats, Floats]:
            found = _leaves(_flat(rows[known], target[known], seed), rows[left])
            return found.mean(axis=0), found.std(axis=0)

        mean, spread = predict_left_out(folds_by_group(families, FOLDS, seed), predict)
        error, floor = np.abs(target - mean), float(np.median(spread))
        # Normalised conformal prediction (H. Papadopoulos et al., 2002).
        width = float(half_widths(error / (floor + spread), LEVEL))
        r2 = 1.0 - float(np.sum(error**2) / np.sum((target - target.mean()) ** 2))
        trees = _flat(rows, target, seed)
        return cls(**trees, floor=floor, width=width, r2=r2, mae=float(error.mean()))

    def predict(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, and lowest and highest value of the interval, each (n,)."""
        # Trees side by side in memory: sums that do not depend on how many rows there are.
        found = np.ascontiguousarray(_leaves(vars(self), rows).T)
        mean, half = found.mean(axis=1), self.width * (self.floor + found.std(axis=1))
        return mean, mean - half, mean + half


def _flat(rows: Floats, target: Floats, seed: int) -> dict[str, Any]:
    """Fit trees and lay their nodes one behind the other."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, random_state=seed)
    trees = [tree.tree_ for tree in forest.fit(rows, target).estimators_]
    counts = [tree.node_count for tree in trees]
    roots = np.cumsum([0, *counts[:-1]])
    feature, threshold, left, right = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("feature", "threshold", "children_left", "children_right")
    )
    # A leaf has no feature and no children: it is its own child, whatever is compared.
    leaf, own, start = left < 0, np.arange(len(left)), np.repeat(roots, counts)
    return {
        "roots": roots,
        "feature": np.where(leaf, 0, feature),
        "threshold": threshold,
        "left": np.where(leaf, own, start + left),
        "right": np.where(leaf, own, start + right),
        "value": np.concatenate([tree.value[:, 0, 0] for tree in trees]),
    }


def _leaves(trees: Mapping[str, Any], rows: Floats) -> Floats:
    """Value of the leaf that every tree leads a row to, (T, n)."""
    # The trees compare single precision, as scikit-learn grew them.
    single, row = rows.astype(np.float32), np.arange(len(rows))
    at = np.repeat(trees["roots"][:, None], len(rows), axis=1)
    while True:
        below = single[row, trees["feature"][at]] <= trees["threshold"][at]
        following = np.where(below, trees["left"][at], trees["right"][at])
        if (following == at).all():
            return np.asarray(trees["value"][at], dtype=np.float64)
        at = following
