"""A measured quantity with its definition and its interval over formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.scoring import Bootstrap, Interval, ScoreRow, bootstrap_interval

__all__ = ["Measure", "count", "resampled", "share"]

Floats = NDArray[np.float64]

CHUNK = 4_000_000
"""Weights of resampled crystals held at once."""


@dataclass(frozen=True)
class Measure:
    """One number about a set of generated crystals.

    Attributes
    ----------
    metric
        Its name, which says what it is.
    unit
        Of the value: "share", "count", "angstrom", "g/cm3", "eV/atom", "1".
    definition
        What exactly was computed, in one or two sentences.
    interval
        The value with its interval; the interval is NaN where there is none.
    n
        Crystals behind it.
    n_groups
        Distinct reduced formulas among them, the units that are resampled.
    """

    metric: str
    unit: str
    definition: str
    interval: Interval
    n: int
    n_groups: int

    def row(self, method: str, split: str) -> ScoreRow:
        """Return it as a row of a scorecard."""
        return ScoreRow(
            task="generation",
            method=method,
            algorithm=None,
            fit=None,
            split=split,
            level=None,
            k=None,
            rule=None,
            metric=self.metric,
            feature=None,
            unit=self.unit,
            mean=self.interval.mean,
            low=self.interval.low,
            high=self.interval.high,
            n_groups=self.n_groups,
            seeds=1,
        )


def count(metric: str, value: int, definition: str) -> Measure:
    """Return a count: exact, hence without an interval."""
    nan = float("nan")
    return Measure(metric, "count", definition, Interval(float(value), nan, nan), value, value)


def share(
    metric: str,
    holds: NDArray[np.bool_],
    groups: NDArray[np.str_],
    definition: str,
    *,
    asked: NDArray[np.bool_] | None = None,
    bootstrap: Bootstrap | None = None,
) -> Measure:
    """Return the share of crystals of which something holds, with an interval over formulas.

    Parameters
    ----------
    metric, definition
        Name and definition.
    holds
        Whether it holds, shape (n,).
    groups
        Formula of each crystal, shape (n,).
    asked
        Crystals that count at all; all by default, shape (n,).
    bootstrap
        How to resample.
    """
    kept = np.ones(len(holds), dtype=bool) if asked is None else asked
    return resampled(
        metric,
        "share",
        definition,
        groups[kept],
        lambda weights: weights @ holds[kept].astype(np.float64),
        bootstrap=bootstrap,
        bounds=(0.0, 1.0),
    )


def resampled(
    metric: str,
    unit: str,
    definition: str,
    groups: NDArray[np.str_],
    statistic: Callable[[Floats], Floats],
    *,
    bootstrap: Bootstrap | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Measure:
    """Return a statistic of weighted crystals with an interval over their formulas.

    Parameters
    ----------
    metric, unit, definition
        Name, unit and definition.
    groups
        Formula of each crystal, shape (n,).
    statistic
        Function of weights (R, n), each row summing to 1, to values (R,).
    bootstrap
        How to resample.
    bounds
        Range of the quantity, within which its interval is kept.
    """
    n = len(groups)
    nan = float("nan")
    if not n:
        return Measure(metric, unit, definition, Interval(nan, nan, nan), 0, 0)
    names, group = np.unique(groups, return_inverse=True)

    def of_groups(drawn: Floats) -> Floats:
        values = np.empty(len(drawn))
        step = max(1, CHUNK // n)
        for start in range(0, len(drawn), step):
            weights = drawn[start : start + step][:, group]
            weights = weights / weights.sum(axis=1, keepdims=True)
            values[start : start + step] = statistic(weights)
        return values[:, None]

    found = bootstrap_interval(of_groups, len(names), bootstrap=bootstrap)
    low, high = np.clip([found.low, found.high], *bounds)
    kept = Interval(found.mean, float(low), float(high))
    return Measure(metric, unit, definition, kept, n, len(names))
