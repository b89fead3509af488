"""What a candidate is worth, with an interval that holds for families never measured.

The default averages a Gaussian process and a forest of extremely randomised trees: means are
averaged, and variances too. Neither alone is as good (`benchmarks/results/planning_crafted.md`).
Intervals are conformal: residuals of rows whose family was left out, in units of the predicted
standard deviation, set their width (J. Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018)), weighted
for what a campaign prefers to measure (R. Tibshirani et al., NeurIPS 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.ensemble import ExtraTreesRegressor

from variolite.errors import DataError
from variolite.planning.gaussian_process import GaussianProcess

Floats = NDArray[np.float64]

Kind = Literal["default", "gp", "trees"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
_TREES = 100
_ROWS_OF_TREE = 0.8  # Share of rows that a tree is grown from, drawn with replacement.
_FEATURES_OF_SPLIT = 0.5
_FOLDS = 8
_FEWEST = 5  # Rows from which intervals are calibrated.
_POOL, _BINS = 2000, 4
_CHUNK = 4096
_MOST_JOINT = 10_000


@dataclass(frozen=True)
class Prediction:
    """Mean, standard deviation and the ends of the conformal 90 % interval, (N,) each."""

    mean: Floats
    sd: Floats
    low: Floats
    high: Floats


class Surrogate:
    """A model of one target.

    ``kind`` is ``gp``, ``trees``, or ``default`` for their average. After ``fit``, ``calibration``
    maps 50, 80, 90 and 95 to the percentage of measured rows inside intervals of that level, each
    row predicted without its group and each interval set without the row's fold.
    """

    def __init__(
        self,
        kind: Kind = "default",
        seed: int = 0,
        folds: int = _FOLDS,
    ) -> None:
        self.kind = kind
        self.seed = seed
        self.folds = folds
        self.calibration: dict[int, float] = {}
        self.widths: dict[int, float] = {}

    def fit(
        self,
        x: Floats,
        y: Floats,
        noise: Floats | None = None,
        groups: NDArray[Any] | None = None,
        pool: Floats | None = None,
    ) -> Self:
        """Fit to features (n, d) and targets (n,).

        ``noise`` is the standard deviation of each target, ``groups`` the family of each row.
        Intervals are to hold for ``pool`` (N, d), else for more rows like the measured ones: a
        campaign measures what is predicted high, and residuals are larger there.
        Raises a DataError for fewer than two rows and for values that are not finite.
        """
        if len(y) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
            hint = "Measure at least two candidates, and fill empty cells of features"
            raise DataError("a surrogate needs two measured rows of finite numbers", hint=hint)
        noise = None if noise is None else np.nan_to_num(np.maximum(noise, 0.0))
        self._centre, spread = x.mean(axis=0), x.std(axis=0)
        self._spread = np.where(spread > 1e-12 * (1.0 + np.abs(self._centre)), spread, 1.0)
        scaled = self._scaled(x)
        self._models = _Models(self.kind, self.seed).fit(scaled, y, noise)
        if pool is not None and len(pool) > _POOL:
            pool = pool[np.random.default_rng(self.seed).choice(len(pool), _POOL, replace=False)]
        self._calibrate(scaled, y, noise, np.arange(len(y)) if groups is None else groups, pool)
        return self

    def predict(self, x: Floats) -> Prediction:
        """Predict targets of features (N, d), some thousand rows at a time."""
        parts = [
            self._models.predict(self._scaled(x[begin : begin + _CHUNK]))
            for begin in range(0, len(x), _CHUNK)
        ]
        mean, sd = (np.concatenate(part) for part in zip(*parts, strict=True))
        half = self.widths[90] * sd
        return Prediction(mean, sd, mean - half, mean + half)

    def covariance(self, x: Floats) -> Floats:
        """Return the joint covariance (N, N) of features (N, d)."""
        if len(x) > _MOST_JOINT:
            hint = f"Screen by mean and standard deviation, to at most {_MOST_JOINT:,}"
            raise DataError(
                f"a joint distribution of {len(x):,} candidates is too large", hint=hint
            )
        return self._models.covariance(self._scaled(x))

    def samples(self, x: Floats, count: int, seed: int) -> Floats:
        """Draw ``count`` joint samples of the targets of features (N, d), (count, N)."""
        covariance = self.covariance(x)
        covariance[np.diag_indices_from(covariance)] += 1e-6 * covariance.diagonal().max() + 1e-12
        normal = np.random.default_rng(seed).standard_normal((count, len(x)))
        drawn: Floats = self.predict(x).mean + normal @ np.linalg.cholesky(covariance).T
        return drawn

    def _scaled(self, x: Floats) -> Floats:
        scaled: Floats = (x - self._centre) / self._spread
        return scaled

    def _calibrate(
        self,
        x: Floats,
        y: Floats,
        noise: Floats | None,
        groups: NDArray[Any],
        pool: Floats | None,
    ) -> None:
        """Set half-widths of intervals, in standard deviations, and measure their coverage."""
        names, member = np.unique(groups, return_inverse=True)
        folds = min(self.folds, len(names))
        if folds < 2 or len(y) < _FEWEST:
            self.widths = {round(100 * level): float(ndtri((1 + level) / 2)) for level in LEVELS}
            return
        fold = np.random.default_rng(self.seed).permutation(len(names))[member] % folds
        distance, expected = np.empty(len(y)), np.empty(len(y))
        for place in range(folds):
            kept, left = fold != place, fold == place
            some = None if noise is None else noise[kept]
            models = _Models(self.kind, self.seed).fit(x[kept], y[kept], some, self._models)
            expected[left], sd = models.predict(x[left])
            distance[left] = np.abs(y[left] - expected[left]) / sd
        weight = np.ones(len(y))
        if pool is not None:
            weight = _shares(expected, self._models.predict(self._scaled(pool))[0])
        for level in LEVELS:
            self.widths[round(100 * level)] = _quantile(distance, weight, level)
            inside = np.empty(len(y))
            for place in range(folds):
                kept, left = fold != place, fold == place
                width = _quantile(distance[kept], weight[kept], level)
                inside[left] = distance[left] <= width
            self.calibration[round(100 * level)] = float(100 * np.average(inside, weights=weight))


def _shares(expected: Floats, of_pool: Floats) -> Floats:
    """Weigh rows so that their expected values are distributed as those of the pool."""
    edges = np.quantile(of_pool, np.arange(1, _BINS) / _BINS)
    place = np.searchsorted(edges, expected, side="right")
    weight: Floats = 1.0 / np.bincount(place, minlength=_BINS)[place]
    return weight


def _quantile(distances: Floats, weights: Floats, level: float) -> float:
    order = np.argsort(distances)
    reached = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(reached, level - 1e-9)), len(order) - 1)
    return float(distances[order[place]])


class _Models:
    """A Gaussian process, trees, or both: their means and covariances averaged."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self.seed = seed
        self.process: GaussianProcess | None = None
        self.trees: list[Any] = []

    def fit(
        self, x: Floats, y: Floats, noise: Floats | None, like: _Models | None = None
    ) -> _Models:
        if self.kind != "trees":
            start = like.process.parameters if like and like.process else None
            self.process = GaussianProcess().fit(x, y, noise, start)
        if self.kind != "gp":
            forest = ExtraTreesRegressor(
                _TREES,
                max_features=_FEATURES_OF_SPLIT,
                bootstrap=True,
                max_samples=max(1, round(_ROWS_OF_TREE * len(y))),
                random_state=self.seed,
            )
            self.trees = [tree.tree_ for tree in forest.fit(x, y).estimators_]
            # Trees that agree are not certain: no sd falls below a small share of the spread.
            self._floor = 1e-3 * float(y.std()) + 1e-12
        return self

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        found = [] if self.process is None else [self.process.predict(x)]
        if self.trees:
            drawn = self._draws(x)
            found.append((drawn.mean(axis=0), np.hypot(drawn.std(axis=0), self._floor)))
        mean = np.mean([m for m, _ in found], axis=0)
        return mean, np.sqrt(np.mean([s**2 for _, s in found], axis=0))

    def covariance(self, x: Floats) -> Floats:
        found = [] if self.process is None else [self.process.covariance(x)]
        if self.trees:
            away = self._draws(x)
            away -= away.mean(axis=0)
            found.append(away.T @ away / len(away) + self._floor**2 * np.eye(len(x)))
        return np.asarray(np.mean(found, axis=0))

    def _draws(self, x: Floats) -> Floats:
        """Return what each tree predicts (trees, N)."""
        single = np.ascontiguousarray(x, dtype=np.float32)
        return np.stack([tree.predict(single)[:, 0] for tree in self.trees])
