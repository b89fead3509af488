"""Named ways to score candidates; the highest total score that the money buys is the batch.

`search`, the default, looks ahead for as many of the best as the money that is left can find. Those
of the published MOF campaign are here under `published_` as baselines
(`benchmarks/results/planning_strategies.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.planning import acquisition
from variolite.planning.surrogate import Surrogate

Floats = NDArray[np.float64]

_SAMPLES = 512
_JOINT = 1_500  # Candidates whose joint distribution is worked out, the best by upper bound.
TOP = 0.05  # Share of the pool that a campaign is to find.
_BONUS, _DECAY = 2.0, 0.9


@dataclass
class View:
    """Open candidates as a strategy sees them, N of them; larger values are better.

    ``means`` and ``sds`` are (N, T), ``observed`` (n, T) are values measured so far, ``cost`` is
    (N,). ``share`` is the money left as a share of the budget, ``money`` that of this round,
    ``batch`` the most candidates of it and ``total`` how many the pool holds. ``generated`` marks
    candidates that a model made.
    """

    surrogates: tuple[Surrogate, ...]
    features: Floats
    means: Floats
    sds: Floats
    observed: Floats
    cost: Floats
    money: float
    left: float
    share: float
    batch: int
    total: int
    round: int
    generated: NDArray[np.bool_]
    random: np.random.Generator

    @property
    def mean(self) -> Floats:
        return self.means[:, 0]

    @property
    def sd(self) -> Floats:
        return self.sds[:, 0]

    @property
    def best(self) -> float:
        return float(self.observed[:, 0].max())

    @cached_property
    def joint(self) -> NDArray[np.int64]:
        """Places of the candidates with the highest upper bounds, whose joint law is computed."""
        return np.argsort(-(self.mean + 2 * self.sd), kind="stable")[:_JOINT]

    def spread(self, score: Floats) -> Floats:
        """Scores of all candidates (N,) from those of `joint`: others come after those."""
        whole = np.full(len(self.mean), -np.inf)
        whole[self.joint] = score
        return whole


Strategy = Callable[[View], Floats]


def _search(view: View) -> Floats:
    """Look ahead over the measurements that the rest of the money buys."""
    if view.means.shape[1] == 2:
        return _hypervolume(view)
    mean = view.mean[view.joint]
    wanted = max(1.0, TOP * view.total)
    threshold = acquisition.top_threshold(view.mean, view.sd, view.observed[:, 0], wanted)
    usual = float(np.median(view.cost)) or 1.0
    size = int(np.clip(view.money / usual, 1, view.batch))
    later = int(np.clip(view.left / usual - size, 0, len(mean)))
    covariance = view.surrogates[0].covariance(view.features[view.joint])
    # A knapsack over unequal costs needs scores of more candidates than it takes.
    size = size if np.ptp(view.cost) == 0 else min(3 * size, len(mean))
    return view.spread(acquisition.look_ahead(mean, covariance, threshold, size, later))


def _hypervolume(view: View) -> Floats:
    reference = view.observed.min(axis=0)
    return acquisition.hypervolume_improvement(view.means, view.sds, view.observed, reference)


def _top_probability(view: View) -> Floats:
    wanted = max(1.0, TOP * view.total)
    return acquisition.top_probability(view.mean, view.sd, view.observed[:, 0], wanted)


def _thompson(view: View) -> Floats:
    seed = int(view.random.integers(2**31))
    samples = view.surrogates[0].samples(view.features[view.joint], _SAMPLES, seed)
    return view.spread(acquisition.thompson(samples))


def _improvement(view: View) -> Floats:
    return np.exp(acquisition.log_expected_improvement(view.mean, view.sd, view.best))


def _per_cost(score: Floats, view: View, power: float = 1.0) -> Floats:
    return score / np.maximum(view.cost, 1e-9) ** power


STRATEGIES: Mapping[str, Strategy] = {
    "search": _search,
    "random": lambda view: view.random.random(len(view.mean)),
    "greedy": lambda view: view.mean,
    "ucb": lambda view: view.mean + view.sd,
    "ei": _improvement,
    # Cooled as money runs out (E. Lee et al., arXiv:2003.10870).
    "ei_per_cost": lambda view: _per_cost(_improvement(view), view, view.share),
    "top_probability": _top_probability,
    "thompson": _thompson,
    "exploration": lambda view: view.sd,
    "gittins": lambda view: acquisition.gittins_index(view.mean, view.sd, view.cost),
    "published_uncertainty": lambda view: _per_cost(view.sd, view),
    "published_value": lambda view: _per_cost(np.maximum(view.mean, 0.0) * view.sd, view),
    "published_bonus": lambda view: (
        _per_cost(view.sd, view) + _BONUS * _DECAY**view.round * view.generated
    ),
}
