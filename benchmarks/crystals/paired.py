"""Paired comparison of two opponents on the same test crystals.

What is resampled are formulas, with replacement: crystals of one formula resemble one
another. Every resample also draws seeds. The interval is a percentile interval of the
difference (Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """First minus second, with its interval."""

    mean: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval excludes no difference."""
        return self.low > 0.0 or self.high < 0.0


Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of values (B,) under weights (R, B): one number for each resample, (R,)."""


def mean_of(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means."""
    return weights @ values / weights.sum(axis=1)


def median_of(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted medians, the lower one where two lie in the middle; infinities are values."""
    order = np.argsort(values)
    running = np.cumsum(weights[:, order], axis=1)
    place = (running < 0.5 * running[:, -1:]).sum(axis=1)
    return values[order][place]


def compare(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    formulas: Sequence[str],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
) -> Difference:
    """Difference of two opponents.

    Parameters
    ----------
    first, second
        Values of every crystal, (B,), one array for each seed.
    formulas
        Of the crystals, shape (B,).
    statistic
        What is compared.
    """
    weights, draws = _draws(formulas, (len(first), len(second)), resamples)
    whole = np.ones((1, len(formulas)))
    with np.errstate(invalid="ignore"):
        values = _over_seeds(first, weights, draws[0], statistic) - _over_seeds(
            second, weights, draws[1], statistic
        )
        at = np.mean([statistic(v, whole)[0] for v in first]) - np.mean(
            [statistic(v, whole)[0] for v in second]
        )
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.nanpercentile(values, [tail, 100.0 - tail], method="nearest")
    return Difference(float(at), float(low), float(high))


def interval(
    values: Sequence[np.ndarray],
    formulas: Sequence[str],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
) -> Difference:
    """One opponent by itself."""
    zero = [np.zeros(len(formulas))]
    return compare(values, zero, formulas, statistic, resamples=resamples)


def _draws(
    formulas: Sequence[str], seeds: tuple[int, int], resamples: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """How often each crystal is drawn, (R, B), and which seeds are, (R, S) for either side."""
    generator = np.random.default_rng(0)
    _, group = np.unique(np.asarray(formulas), return_inverse=True)
    count = int(group.max()) + 1
    if count == 1:  # one formula, as for carbon: crystals are their own groups
        group, count = np.arange(len(group)), len(group)
    times = generator.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return times[:, group].astype(float), (
        generator.integers(seeds[0], size=(resamples, seeds[0])),
        generator.integers(seeds[1], size=(resamples, seeds[1])),
    )


def _over_seeds(
    values: Sequence[np.ndarray], weights: np.ndarray, draws: np.ndarray, statistic: Statistic
) -> np.ndarray:
    by_seed = np.stack([statistic(v, weights) for v in values], axis=1)
    return np.take_along_axis(by_seed, draws, axis=1).mean(axis=1)
