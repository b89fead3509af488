"""Named ways to score candidates; the highest total score that the money buys is the batch.

`default` is ours. Those of the published MOF campaign are here under `published_` as baselines;
on its own data they find fewer good frameworks than drawing at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.planning import acquisition
from variolite.planning.surrogate import Surrogate

Floats = NDArray[np.float64]

DEFAULT = "top"
_SAMPLES = 512
_BONUS, _DECAY = 2.0, 0.9


@dataclass
class View:
    """Open candidates as a strategy sees them, N of them; larger values are better.

    ``means`` and ``sds`` are (N, T); ``observed`` (n, T) are values measured so far; ``share`` is
    the money left as a share of the budget; ``generated`` marks candidates that a model made.
    """

    surrogates: tuple[Surrogate, ...]
    features: Floats
    means: Floats
    sds: Floats
    observed: Floats
    cost: Floats
    share: float
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
    def samples(self) -> Floats:
        """Joint draws of the first target, (S, N)."""
        return self.surrogates[0].samples(self.features, _SAMPLES, int(self.random.integers(2**31)))


Strategy = Callable[[View], Floats]


def _top(view: View) -> Floats:
    if view.means.shape[1] > 1:
        return acquisition.hypervolume_improvement(view.means, view.sds, view.observed)
    return acquisition.top_probability(view.samples, view.observed[:, 0])


def _thompson(view: View) -> Floats:
    """How often a candidate is the best of a draw: a batch is filled from as many draws."""
    return acquisition.thompson(view.samples)


STRATEGIES: dict[str, Strategy] = {
    "top": _top,
    "random": lambda view: view.random.random(len(view.mean)),
    "greedy": lambda view: view.mean,
    "ucb": lambda view: acquisition.upper_confidence_bound(view.mean, view.sd),
    "ei": lambda view: np.exp(acquisition.log_expected_improvement(view.mean, view.sd, view.best)),
    "ei_per_cost": lambda view: (
        np.exp(acquisition.log_expected_improvement(view.mean, view.sd, view.best))
        / np.maximum(view.cost, 1e-9) ** view.share
    ),
    "thompson": _thompson,
    "exploration": lambda view: view.sd,
    "gittins": lambda view: acquisition.gittins_index(view.mean, view.sd, view.cost),
    "published_uncertainty": lambda view: view.sd / np.maximum(view.cost, 1e-9),
    "published_value": lambda view: (
        np.maximum(view.mean, 0.0) * view.sd / np.maximum(view.cost, 1e-9)
    ),
    "published_bonus": lambda view: (
        view.sd / np.maximum(view.cost, 1e-9) + _BONUS * _DECAY**view.round * view.generated
    ),
}
