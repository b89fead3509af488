"""Two ways to measure: a cheap one of many candidates, the real one of few.

The real value is a line in the cheap one and a rest that a surrogate predicts. Where the cheap
value is not measured it is predicted too; the part of the uncertainty that comes from it is what
a cheap measurement removes. A cheap measurement is ordered while it is expected to gain more per
money over the best value that is known or expected than the best real one gains over the best
real value: useless ones, far from any line, remove nothing and are not ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from variolite.planning.acquisition import log_expected_improvement
from variolite.planning.pool import Pool
from variolite.planning.strategies import View
from variolite.planning.surrogate import FEWEST, Prediction, Surrogate

Floats = NDArray[np.float64]

_PRIOR_SPREAD = 0.1  # Error of a line before any pair, in standard deviations of the cheap value,
_PRIOR_PAIRS = 2.0  # and the pairs that this prior counts for.
_LEAST = 0.25  # Share of the variance of real values that a line must explain to be used.
_TIGHT = 0.5  # Error of a line, as a share of what it explains, up to which it is read backwards.
_JOINT = 300  # Candidates of which cheap orders are picked, those that gain most per money.


def link(cheap: Floats, real: Floats) -> tuple[float, float, float]:
    """Return intercept, slope and error of real values as a line in cheap ones, (N,) each.

    NaN is not measured. Units may differ: what few pairs leave open is decided by a line through
    the origin.
    """
    pairs = np.isfinite(cheap) & np.isfinite(real)
    x, y, n = cheap[pairs], real[pairs], int(pairs.sum())
    spread = float(np.nanstd(cheap)) or 1.0
    if not n:
        sure = np.isfinite(real)
        slope = float(np.abs(real[sure]).mean() / np.nanmean(np.abs(cheap))) if sure.any() else 1.0
        return 0.0, slope, _PRIOR_SPREAD * slope * spread
    # One more pair at the origin, which counts for less the more there are: pairs are chosen among
    # the best, so alike that their own slope says little.
    weight = np.r_[np.ones(n), 1.0 / n]
    dx, dy = (np.r_[v, 0.0] - np.average(np.r_[v, 0.0], weights=weight) for v in (x, y))
    slope = float((weight * dx) @ dy / max((weight * dx) @ dx, 1e-12 * spread**2))
    slope = slope if n > 2 else abs(slope) or 1.0
    rest = y - y.mean() - slope * (x - x.mean())
    prior = _PRIOR_PAIRS * (_PRIOR_SPREAD * slope * spread) ** 2
    variance = float(rest @ rest + prior) / (n - 1 + _PRIOR_PAIRS)
    # What chance alone explains of a few pairs is no relation: the adjusted share counts.
    explained = (slope * spread) ** 2
    share = explained / (explained + variance) if variance else 1.0
    slope *= max(0.0, 1.0 - (1.0 - share) * (n + 2) / (n + 1)) / max(share, 1e-12)
    return float(y.mean() - slope * x.mean()), slope, variance**0.5


class Linked(Surrogate):
    """A model of the real value: a line in the cheap one, and of the rest a surrogate.

    The last two features are the cheap value, measured or predicted by ``cheap``, and its standard
    deviation, 0 where measured. There is no ``rest`` that is not predicted better than by 0.
    """

    def __init__(self, line: tuple[float, float, float], cheap: Surrogate, seed: int) -> None:
        super().__init__(seed=seed)
        self.intercept, self.slope, self.spread = line
        self.cheap = cheap
        self.rest: Surrogate | None = None

    def fit(
        self,
        x: Floats,
        y: Floats,
        noise: Floats | None = None,
        groups: NDArray[Any] | None = None,
        pool: Floats | None = None,
    ) -> Self:
        # Where the cheap value is not measured the rest may be that of its prediction.
        use = self.revealed(x) < 0.99 * self.spread
        left = (y - self.trend(x))[use]
        if len(left) >= FEWEST and np.ptp(left) > 1e-9 * np.ptp(y):
            noise, groups = (None if v is None else v[use] for v in (noise, groups))
            pool = None if pool is None else pool[:, :-1]
            rest = Surrogate(seed=self.seed).fit(x[use, :-1], left, noise, groups, pool)
            if rest.error < float(np.sqrt(np.mean(left**2))):
                self.rest, self.widths, self.calibration = rest, rest.widths, rest.calibration
        return self

    def predict(self, x: Floats) -> Prediction:
        mean, sd = self.trend(x), np.full(len(x), self.spread)
        if self.rest is not None:
            rest = self.rest.predict(x[:, :-1])
            mean, sd = mean + rest.mean, rest.sd
        sd = np.hypot(sd, self.revealed(x))
        half = self.widths[90] * sd
        return Prediction(mean, sd, mean - half, mean + half)

    def covariance(self, x: Floats) -> Floats:
        rest = np.diag(np.full(len(x), self.spread**2))
        if self.rest is not None:
            rest = self.rest.covariance(x[:, :-1])
        return np.asarray(rest + np.diag(self.revealed(x) ** 2))

    def revealed(self, x: Floats) -> Floats:
        """Return the standard deviation of the real value that the cheap one would remove, (N,)."""
        return np.asarray(abs(self.slope) * x[:, -1])

    def trend(self, x: Floats) -> Floats:
        """Return the real value by the line alone, (N,)."""
        return np.asarray(self.intercept + self.slope * x[:, -2])


def priced(pool: Pool, ordered: NDArray[np.bool_]) -> Pool:
    """Return the pool at the costs of cheap measurements where ``ordered`` is True, (N,)."""
    assert pool.cheap is not None
    costs = {
        key: np.where(ordered, getattr(pool.cheap, key), getattr(pool, key))
        for key in ("cost", "cost_low", "cost_high")
    }
    return replace(pool, cheap=replace(pool.cheap, ordered=ordered), **costs)


def to_learn_from(pool: Pool, money: float, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Candidates whose cheap values are needed before anything can be said of others, (N,).

    Without real values any; else those with a real value, to see how the two go together. Those
    not ``free`` (N,) are being measured.
    """
    assert pool.cheap is not None
    known, which = np.isfinite(pool.cheap.values), ~pool.measured
    blank = ~known & free & ~pool.aside & (pool.cheap.cost_high <= money)
    if pool.measured.sum() >= FEWEST:
        known, which = (known | ~free) & pool.measured, pool.measured
    return np.asarray(blank & which & (known.sum() < FEWEST))


def fit_linked(
    pool: Pool, seed: int, predict: Callable[[Surrogate], dict[str, Floats]]
) -> tuple[Pool, Linked] | None:
    """Return the pool with the two features that `Linked` needs, and its model of real values.

    ``predict`` returns means and standard deviations (N, 1) of the whole pool by a model.

    None where fewer than five cheap values are known, all are equal, or they explain too little:
    the target is then planned as if there were no cheap column.
    """
    assert pool.cheap is not None
    values, real, x = pool.cheap.values, pool.measured, pool.features
    if np.isfinite(values).sum() < FEWEST or not np.nanstd(values):
        return None
    line = intercept, slope, error = link(values, pool.values[:, 0])
    explained = (slope * float(np.nanstd(values))) ** 2
    if explained < _LEAST * (explained + error**2):
        return None
    sd = np.where(np.isnan(values) & real, error / max(abs(slope), 1e-12), 0.0)
    if error < _TIGHT * abs(slope) * np.nanstd(values):
        values = np.where(np.isnan(values) & real, (pool.values[:, 0] - intercept) / slope, values)
    known = np.isfinite(values)
    cheap = Surrogate(seed=seed, folds=0).fit(x[known], values[known])
    predicted = predict(cheap)
    two = [
        np.where(known, given, predicted[key][:, 0])
        for key, given in (("mean", values), ("sd", sd))
    ]
    pool = replace(pool, features=np.column_stack([x, *two]))
    linked = Linked(line, cheap, seed).fit(
        pool.features[real],
        pool.values[real, 0],
        pool.noise[real, 0],
        pool.groups[real] if pool.groups is not None else None,
        pool.features,
    )
    return pool, linked


def cheap_orders(
    view: View, linked: Linked, cost: Floats, size: int, keep: Sequence[int] = ()
) -> tuple[list[int], NDArray[np.bool_], float]:
    """Return which candidates of a view to measure cheaply, best first, which others not to
    measure before that (N,), and the best gain per money.

    ``cost`` (N,) is that of cheap measurements; places in ``keep`` are measured for real. Each is
    picked as if those before it had come out as expected.
    """
    mean, sd, best = view.mean, view.sd, view.best
    revealed = linked.revealed(view.features)
    expected = max(best, float(mean[view.features[:, -1] == 0].max(initial=-np.inf)))
    real, cheap = view.cost <= view.money, (revealed > 0) & (cost <= view.money)
    cheap[list(keep)] = False
    # Where most is to be learnt from the cheap value, it is measured before the real one.
    held = cheap & (revealed**2 > 0.5 * sd**2)
    real &= ~held
    real[list(keep)] = False
    # A cheap measurement is worth nothing if no money is left for the real one.
    spare = view.left - float(view.cost.min())
    per_cheap = np.maximum(cost, 1e-9)

    def gains() -> tuple[Floats, Floats]:
        low = np.full(len(mean), -np.inf)
        of_cheap = log_expected_improvement(mean, np.maximum(revealed, 1e-12), expected)
        return (
            np.where(real, log_expected_improvement(mean, sd, best), low),
            np.where(cheap & (cost <= spare), of_cheap - np.log(per_cheap), low),
        )

    some = np.argsort(-gains()[1], kind="stable")[:_JOINT]
    covariance = linked.slope**2 * linked.cheap.covariance(view.features[some, :-2])
    taken, most = list[int](), -np.inf
    for _ in range(size):
        of_real, of_cheap = gains()
        first, second = int(np.argmax(of_real)), int(np.argmax(of_cheap))
        # Real ones by gain: per money, runs of the second best that cost little would go first.
        rate = of_real[first] - np.log(max(view.cost[first], 1e-9))
        most = max(most, rate, of_cheap[second])
        if max(rate, of_cheap[second]) == -np.inf:
            break
        pick = first if rate >= of_cheap[second] else second
        real[pick] = cheap[pick] = False
        expected = max(expected, mean[pick])
        if pick == first:
            best = max(best, mean[pick])
            continue
        taken.append(pick)
        spare -= cost[pick]
        row = np.flatnonzero(some == pick)
        if len(row):
            column = covariance[:, row[0]] / np.sqrt(1.01 * covariance[row[0], row[0]])
            covariance -= np.outer(column, column)
            revealed[some] = np.where(
                revealed[some] > 0, np.sqrt(np.maximum(covariance.diagonal(), 0)), 0.0
            )
    return taken, held, float(np.exp(most))


def with_cheap(expected: Mapping[str, Floats], x: Floats) -> dict[str, Floats]:
    """Return what is expected of targets, arrays (N, T), with the cheap value behind them."""
    mean, sd = x[:, -2:].T
    more = {"mean": mean, "sd": sd, "low": mean - 1.645 * sd, "high": mean + 1.645 * sd}
    return {key: np.column_stack([values, more[key]]) for key, values in expected.items()}
