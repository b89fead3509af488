"""Which to buy next: a cheap measurement of one candidate, or the real one of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.planning.acquisition import log_expected_improvement

Floats = NDArray[np.float64]

_PRIOR_SPREAD = 0.1  # Error of a cheap value before any pair, in standard deviations of the cheap.
_PRIOR_PAIRS = 2.0  # Pairs that this prior counts for.


@dataclass(frozen=True)
class Purchase:
    """A candidate, whether its real measurement is bought, and the gain expected per money."""

    row: int
    real: bool
    rate: float


def next_purchase(
    cheap: Floats,
    real: Floats,
    mean: Floats,
    sd: Floats,
    cheap_cost: Floats,
    real_cost: Floats,
) -> Purchase | None:
    """Return what gains most per unit of money, or None where all is measured.

    ``cheap`` and ``real`` (N,) are measured values in one unit, NaN where there is none; ``mean``
    and ``sd`` (N,) predict the cheap value. A real measurement gains over the best real value so
    far, over the mean of the cheap ones before the first; a cheap one gains over the best value
    that is known or expected from a cheap one. So cheap ones go first while they may find better
    candidates, and the real ones begin when that is less likely, per money, than a real gain.
    """
    known, sure = np.isfinite(cheap), np.isfinite(real)
    ratio, error = _link(cheap, real)
    waiting, blank = np.flatnonzero(known & ~sure), np.flatnonzero(~known & ~sure)
    found: list[Purchase] = []
    best = float(real[sure].max()) if sure.any() else ratio * float(cheap[known].mean())
    if len(waiting):
        gain = log_expected_improvement(ratio * cheap[waiting], np.full(len(waiting), error), best)
        # Real ones in the order of gain: divided by cost, cheap runs of the second best go first.
        place = int(np.argmax(gain))
        rate = float(np.exp(gain[place])) / float(real_cost[waiting[place]])
        found.append(Purchase(int(waiting[place]), True, rate))
    if len(blank):
        expected = max(best, float((ratio * cheap[waiting]).max(initial=-np.inf)))
        gain = log_expected_improvement(ratio * mean[blank], ratio * sd[blank], expected)
        rates = np.exp(gain - np.log(cheap_cost[blank]))
        place = int(np.argmax(rates))
        found.append(Purchase(int(blank[place]), False, float(rates[place])))
    # Of equal rates, the real measurement.
    return max(found, key=lambda purchase: purchase.rate, default=None)


def _link(cheap: Floats, real: Floats) -> tuple[float, float]:
    """Return the ratio of real to cheap values and its error, shrunk towards 1 and the prior."""
    known = cheap[np.isfinite(cheap)]
    pairs = np.isfinite(cheap) & np.isfinite(real)
    x, y = cheap[pairs], real[pairs]
    weight = _PRIOR_PAIRS * float(known.var())
    if not weight:
        return 1.0, 1e-9
    ratio = float((x @ y + weight) / (x @ x + weight))
    squares = float(((y - ratio * x) ** 2).sum()) + weight * _PRIOR_SPREAD**2
    return ratio, float(np.sqrt(squares / (len(x) + _PRIOR_PAIRS)))
