"""What measuring a candidate next is expected to bring: larger is better, costs are left out.

Each function takes means and standard deviations (N,) of candidates, of a target that is to be
large, and returns a score (N,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

Floats = NDArray[np.float64]

_BISECTIONS = 60
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def log_expected_improvement(mean: Floats, sd: Floats, best: float) -> Floats:
    """Log of E[max(value - best, 0)], exact where it underflows (S. Ament et al., NeurIPS 2023)."""
    score: Floats = np.log(sd) + _log_improvement((mean - best) / sd)
    return score


def thompson(samples: Floats) -> Floats:
    """Share of joint samples (S, N) in which a candidate is the best of all."""
    best = samples.argmax(axis=1)
    return np.bincount(best, minlength=samples.shape[1]) / len(samples)


def top_threshold(mean: Floats, sd: Floats, observed: Floats, count: float) -> float:
    """Return the value above which ``count`` candidates, measured ones included, are expected."""
    margin = 10.0 * float(sd.max(initial=0.0)) + 1e-9
    everything = np.concatenate([mean, observed])
    low, high = float(everything.min()) - margin, float(everything.max()) + margin
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        above = (observed >= middle).sum() + ndtr((mean - middle) / sd).sum()
        low, high = (middle, high) if above > count else (low, middle)
    return (low + high) / 2.0


def top_probability(mean: Floats, sd: Floats, observed: Floats, count: float) -> Floats:
    """Probability of being among the ``count`` best of candidates and measured values (n,)."""
    score: Floats = ndtr((mean - top_threshold(mean, sd, observed, count)) / sd)
    return score


def gittins_index(mean: Floats, sd: Floats, cost: Floats) -> Floats:
    """Return the sure prize g that measuring just equals: E[max(value - g, 0)] = cost.

    It is the optimal order of Pandora's box (M. Weitzman, Econometrica 47, 641 (1979)): measure
    the largest, stop when the best found exceeds all. Costs are in the unit of the target.
    """
    ratio = np.log(cost / sd)
    # The standardised improvement of z lies between z and z + 1 for z > 0.
    low, high = np.full_like(ratio, -40.0), np.maximum(np.exp(np.minimum(ratio, 700.0)), 1.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        above = _log_improvement(middle) > ratio
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    index: Floats = mean - sd * (low + high) / 2.0
    return index


def hypervolume_improvement(mean: Floats, sd: Floats, front: Floats, reference: Floats) -> Floats:
    """Expected gain in the area that two targets dominate, means and sds (N, 2) independent.

    ``front`` are measured values (n, 2), dominated ones allowed; area counts above ``reference``
    (2,). The area between front and candidate is a sum over vertical strips, each the product of
    two one-dimensional expected improvements (K. Yang et al., J. Glob. Optim. 75, 3 (2019)).
    """
    front = front[(front > reference).all(axis=1)]
    front = front[np.argsort(-front[:, 0], kind="stable")]
    # From the right: a strip is as high as the best second target at or beyond it.
    heights = np.r_[reference[1], np.maximum.accumulate(front[:, 1])]
    edges = np.r_[np.inf, front[:, 0], reference[0]]
    score = np.zeros(len(mean))
    beyond = np.zeros(len(mean))
    for edge, height in zip(edges[1:], heights, strict=True):
        width = np.exp(log_expected_improvement(mean[:, 0], sd[:, 0], edge))
        score += (width - beyond) * np.exp(log_expected_improvement(mean[:, 1], sd[:, 1], height))
        beyond = width
    return score


def look_ahead(
    mean: Floats,
    covariance: Floats,
    threshold: float,
    size: int,
    later: int,
    discount: float = 0.3,
    shortlist: int = 60,
) -> Floats:
    """Score candidates as an efficient non-myopic search for all that lie above a threshold.

    A candidate is worth its own probability of being above, plus ``discount`` times what its value
    is expected to add to the ``later`` best probabilities after it (S. Jiang et al., ICML 2017): a
    find counts less the later it comes. A batch is the ``size`` best: each is picked as if those
    before it had been measured and came out as expected, which narrows what resembles them.
    ``covariance`` is (N, N); only the ``shortlist`` most probable look ahead.
    """
    covariance = covariance.copy()
    score = np.full(len(mean), -np.inf)
    free = np.ones(len(mean), dtype=bool)
    ceiling = np.inf
    for place in range(min(size, len(mean))):
        sd = np.sqrt(np.maximum(covariance.diagonal(), 1e-12))
        chance = np.where(free, ndtr((mean - threshold) / sd), 0.0)
        value = chance.copy()
        after = min(later + size - place - 1, int(free.sum()) - 1)
        if after > 0 and discount > 0:
            value *= 1.0 - discount
            likely = np.argsort(-chance, kind="stable")[:shortlist]
            likely = likely[free[likely]]
            usual = np.partition(chance, -after)[-after:].sum()
            for row in likely:
                future = _after(row, mean, covariance, sd, threshold, free, after)
                value[row] = chance[row] + discount * (future - usual)
        value[~free] = -np.inf
        best = int(np.argmax(value))
        ceiling = min(ceiling, float(value[best]))
        score[best] = ceiling
        free[best] = False
        covariance -= np.outer(covariance[best], covariance[best]) / (1.01 * sd[best] ** 2)
    rest = np.where(free, value, -np.inf)
    return np.where(free, np.minimum(rest, np.nextafter(ceiling, -np.inf)), score)


def _after(
    row: int,
    mean: Floats,
    covariance: Floats,
    sd: Floats,
    threshold: float,
    free: NDArray[np.bool_],
    count: int,
) -> float:
    """Expected sum of the ``count`` best probabilities once the value of ``row`` is known."""
    slope = covariance[row] / (np.sqrt(1.01) * sd[row])
    left = np.sqrt(np.maximum(sd**2 - slope**2, 1e-12))
    chance = ndtr((mean + _NODES[:, None] * slope - threshold) / left)
    chance[:, ~free] = 0.0
    chance[:, row] = 0.0
    best = np.partition(chance, -count, axis=1)[:, -count:].sum(axis=1)
    return float(best @ _WEIGHTS)


def _log_improvement(z: Floats) -> Floats:
    """Log of E[max(Z + z, 0)] for a standard normal Z."""
    low = np.minimum(z, -1.0)
    # pdf(z) (1 + z cdf(z) / pdf(z)), the ratio by erfcx; far out the bracket tends to 1 / z^2.
    ratio = np.sqrt(np.pi / 2.0) * erfcx(-low / np.sqrt(2.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        bracket = np.where(low > -1e4, np.log1p(low * ratio), -2.0 * np.log(-low))
    tail = -0.5 * low**2 - 0.5 * np.log(2.0 * np.pi) + bracket
    high = np.maximum(z, -1.0)
    body = np.log(np.exp(-0.5 * high**2) / np.sqrt(2.0 * np.pi) + high * ndtr(high))
    score: Floats = np.where(z < -1.0, tail, body)
    return score
