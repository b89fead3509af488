"""What a candidate is worth, with an interval that holds for families never measured.

A Gaussian process and a forest of extremely randomised trees are averaged: their means, and their
variances too. Neither alone is as good (`benchmarks/results/planning_crafted.md`). Intervals are
conformal: residuals of rows whose family was left out, in units of the predicted standard
deviation, set their width, weighted for what a campaign prefers to measure (R. Tibshirani et al.,
NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.ensemble import ExtraTreesRegressor

from variolite.errors import DataError
from variolite.planning.gaussian_process import GaussianProcess
from variolite.scoring.conformal import folds_by_group, predict_left_out

Floats = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
_TREES = 100
_ROWS_OF_TREE = 0.8  # Share of rows that a tree is grown from, drawn with replacement.
_FEATURES_OF_SPLIT = 0.5
_FOLDS = 8
FEWEST = 5
"""Rows from which a surrogate is fitted, and its intervals are calibrated."""
_POOL, _BINS = 2000, 4
_MOST_JOINT = 10_000


@dataclass(frozen=True)
class Prediction:
    """Mean, standard deviation and the ends of the conformal 90 % interval, (N,) each."""

    mean: Floats
    sd: Floats
    low: Floats
    high: Floats


class Model(Protocol):
    """What is averaged: mean and standard deviation (N,) of features (N, d), and covariance."""

    def predict(self, x: Floats) -> tuple[Floats, Floats]: ...

    def covariance(self, x: Floats) -> Floats: ...


class Trees:
    """Extremely randomised trees: the mean and the spread of what each of them predicts."""

    def fit(self, x: Floats, y: Floats, seed: int) -> Self:
        """Grow trees from features (n, d) and targets (n,)."""
        forest = ExtraTreesRegressor(
            _TREES,
            max_features=_FEATURES_OF_SPLIT,
            bootstrap=True,
            max_samples=max(1, round(_ROWS_OF_TREE * len(y))),
            random_state=seed,
        )
        self._trees = [tree.tree_ for tree in forest.fit(x, y).estimators_]
        # Trees that agree are not certain: no sd falls below a small share of the spread.
        self._floor = 1e-3 * float(y.std()) + 1e-12
        return self

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        drawn = self._draws(x)
        return drawn.mean(axis=0), np.hypot(drawn.std(axis=0), self._floor)

    def covariance(self, x: Floats) -> Floats:
        away = self._draws(x)
        away -= away.mean(axis=0)
        found: Floats = away.T @ away / len(away) + self._floor**2 * np.eye(len(x))
        return found

    def _draws(self, x: Floats) -> Floats:
        """Return what each tree predicts (trees, N)."""
        single = np.ascontiguousarray(x, dtype=np.float32)
        return np.stack([tree.predict(single)[:, 0] for tree in self._trees])


class Surrogate:
    """A model of one target.

    After ``fit``, ``calibration`` maps 50, 80, 90 and 95 to the percentage of measured rows inside
    intervals of that level, each row predicted without its group and each interval set without the
    row's fold.
    """

    def __init__(self, seed: int = 0, folds: int = _FOLDS) -> None:
        self.seed = seed
        self.folds = folds
        self.calibration: dict[int, float] = {}
        self.error = np.inf  # Of rows predicted without their group, the root of the mean square.
        self.widths = {round(100 * level): float(ndtri((1 + level) / 2)) for level in LEVELS}

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
        noise = np.zeros(len(y)) if noise is None else np.nan_to_num(np.maximum(noise, 0.0))
        self._centre, spread = x.mean(axis=0), x.std(axis=0)
        self._spread = np.where(spread > 1e-12 * (1.0 + np.abs(self._centre)), spread, 1.0)
        scaled = self._scaled(x)
        self._models = self.models(scaled, y, noise)
        if pool is not None and len(pool) > _POOL:
            pool = pool[np.random.default_rng(self.seed).choice(len(pool), _POOL, replace=False)]
        groups = np.arange(len(y)) if groups is None else groups
        folds = min(self.folds, len(np.unique(groups)))
        if folds > 1 and len(y) >= FEWEST:
            self._calibrate(scaled, y, noise, folds_by_group(groups, folds, self.seed), pool)
        return self

    def models(
        self, x: Floats, y: Floats, noise: Floats, like: Sequence[Model] = ()
    ) -> tuple[Model, ...]:
        """Fit what is averaged; ``like`` was fitted to similar rows, which saves time."""
        start = like[0].parameters if like and isinstance(like[0], GaussianProcess) else None
        process = GaussianProcess().fit(x, y, noise, start)
        return process, Trees().fit(x, y, self.seed)

    def predict(self, x: Floats) -> Prediction:
        """Predict targets of features (N, d)."""
        mean, sd = averaged(self._models, self._scaled(x))
        half = self.widths[90] * sd
        return Prediction(mean, sd, mean - half, mean + half)

    def covariance(self, x: Floats) -> Floats:
        """Return the joint covariance (N, N) of features (N, d)."""
        if len(x) > _MOST_JOINT:
            hint = f"Screen by mean and standard deviation, to at most {_MOST_JOINT:,}"
            raise DataError(
                f"a joint distribution of {len(x):,} candidates is too large", hint=hint
            )
        scaled = self._scaled(x)
        return np.asarray(np.mean([model.covariance(scaled) for model in self._models], axis=0))

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
        self, x: Floats, y: Floats, noise: Floats, fold: NDArray[np.int64], pool: Floats | None
    ) -> None:
        """Set half-widths of intervals, in standard deviations, and measure their coverage."""
        expected, sd = predict_left_out(
            fold,
            lambda known, left: averaged(
                self.models(x[known], y[known], noise[known], self._models), x[left]
            ),
        )
        self.error = float(np.sqrt(np.mean((y - expected) ** 2)))
        distance, weight = np.abs(y - expected) / sd, np.ones(len(y))
        if pool is not None:
            weight = _shares(expected, self.predict(pool).mean)

        def width(rows: NDArray[np.bool_], level: float) -> float:
            return float(
                np.quantile(distance[rows], level, weights=weight[rows], method="inverted_cdf")
            )

        for level in LEVELS:
            limit = np.empty(len(y))
            for k in np.unique(fold):
                limit[fold == k] = width(fold != k, level)
            self.widths[round(100 * level)] = width(fold >= 0, level)
            inside = np.average(distance <= limit, weights=weight)
            self.calibration[round(100 * level)] = float(100 * inside)


def averaged(models: Sequence[Model], x: Floats) -> tuple[Floats, Floats]:
    """Average means, and variances, of models for features (N, d): mean and sd (N,)."""
    means, sds = np.swapaxes([model.predict(x) for model in models], 0, 1)
    return means.mean(axis=0), np.sqrt((sds**2).mean(axis=0))


def _shares(expected: Floats, of_pool: Floats) -> Floats:
    """Weigh rows so that their expected values are distributed as those of the pool."""
    edges = np.quantile(of_pool, np.arange(1, _BINS) / _BINS)
    place = np.searchsorted(edges, expected, side="right")
    weight: Floats = 1.0 / np.bincount(place, minlength=_BINS)[place]
    return weight
