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

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

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
        nodes = len(self.value)
        for name in ("roots", "feature", "left", "right"):
            places, least = getattr(self, name), np.arange(nodes)
            # Children come behind their parents, so that no row goes round in circles.
            least = least if name in ("left", "right") else np.zeros(len(places), dtype=int)
            most = np.inf if name == "feature" else nodes
            whole = len(places) == (len(self.roots) if name == "roots" else nodes)
            whole = whole and places.ndim == 1 and places.dtype.kind == "i"
            if not (whole and (places >= least).all() and (places < most).all()):
                raise ValueError(f"{name} of a surrogate makes no trees")
        numbers = np.concatenate(
            [self.threshold, self.value, [self.floor, self.width, self.r2, self.mae]]
        )
        if len(numbers) != 2 * nodes + 4 or not np.isfinite(numbers).all():
            raise ValueError("a surrogate has values that are not finite")

    @classmethod
    def fit(cls, rows: Floats, target: Floats, families: Sequence[str], seed: int = 0) -> Surrogate:
        """Fit to rows (n, D) and a property (n,); errors are of families left out in turn."""
        from sklearn.model_selection import GroupKFold

        left_out, spread = np.empty_like(target), np.empty_like(target)
        for known, others in GroupKFold(FOLDS).split(rows, target, families):
            trees = _flat(rows[known], target[known], seed)
            predicted = _leaves(trees, rows[others])
            left_out[others], spread[others] = predicted.mean(axis=0), predicted.std(axis=0)
        error = np.abs(target - left_out)
        floor = float(np.median(spread))
        # Normalised conformal prediction (H. Papadopoulos et al., 2002), over the folds.
        rank = min(np.ceil(LEVEL * (len(error) + 1)) / len(error), 1.0)
        width = float(np.quantile(error / (floor + spread), rank, method="higher"))
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
    roots = np.cumsum([0] + [tree.node_count for tree in trees[:-1]])
    parts: dict[str, list[Any]] = {}
    for root, tree in zip(roots, trees, strict=True):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        for name, values in (
            ("feature", np.where(leaf, 0, tree.feature)),
            ("threshold", tree.threshold),
            ("left", root + np.where(leaf, own, tree.children_left)),
            ("right", root + np.where(leaf, own, tree.children_right)),
            ("value", tree.value[:, 0, 0]),
        ):
            parts.setdefault(name, []).append(values)
    return {"roots": roots, **{name: np.concatenate(arrays) for name, arrays in parts.items()}}


def _leaves(trees: Mapping[str, Any], rows: Floats) -> Floats:
    """Value of the leaf that every tree leads a row to, (T, n)."""
    feature, threshold = trees["feature"], trees["threshold"]
    # The trees compare single precision, as scikit-learn grew them.
    single = rows.astype(np.float32)
    at = np.repeat(np.asarray(trees["roots"])[:, None], len(rows), axis=1)
    row = np.arange(len(rows))
    while True:
        below = single[row, feature[at]] <= threshold[at]
        following = np.where(below, trees["left"][at], trees["right"][at])
        if (following == at).all():
            return np.asarray(trees["value"][at], dtype=np.float64)
        at = following
