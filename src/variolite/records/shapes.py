"""Choosing a transform for a column by how close it brings the values to a normal curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.records.transforms import fit_transform_chain

__all__ = ["Shape", "choose_transform", "normality"]

Array = NDArray[np.float64]
_SAMPLE = 20_000
_GROSS = 10.0  # Robust standard deviations beyond which a value is a gross outlier.


@dataclass(frozen=True)
class Shape:
    """The transform found for a column.

    Attributes
    ----------
    transform
        Steps, as a schema file spells them.
    before, after
        Lack of normality without and with it: 1 - r2 of the normal probability plot.
    outliers
        Whether values lie grossly beyond the rest even after the transform.
    """

    transform: list[Any]
    before: float
    after: float
    outliers: bool


def normality(values: Array) -> float:
    """Return 1 - r2 of the normal probability plot of ``values``, shape [n].

    0 for values that follow a normal curve exactly (Shapiro and Francia, Journal of
    the American Statistical Association 67, 1972).
    """
    ordered = np.sort(values)
    n = ordered.size
    scores = np.interp((np.arange(1, n + 1) - 0.375) / (n + 0.25), *_normal_table())
    spread = ordered.std()
    if n < 3 or not spread > 0:
        return 1.0
    return float(1.0 - np.corrcoef(ordered, scores)[0, 1] ** 2)


@cache
def _normal_table() -> tuple[Array, Array]:
    """Exact quantiles at 2,001 places evenly spaced in the score."""
    scores = np.linspace(-6.0, 6.0, 2001)
    return np.array([NormalDist().cdf(score) for score in scores]), scores


def choose_transform(values: Array, bounds: tuple[float, float] | None = None) -> Shape:
    """Choose among none, log10, signed log and logit, always followed by standardise.

    The simplest is kept unless another halves the lack of normality of the bulk
    (between the 0.1 % and 99.9 % quantiles).

    Parameters
    ----------
    values
        Finite values, shape [n], not all equal.
    bounds
        Natural bounds, such as (0, 1), which open the way to a logit.
    """
    step = -(-values.size // _SAMPLE)
    sample = values[::step]
    bulk = np.clip(sample, *np.quantile(sample, [0.001, 0.999]))
    if bulk.min() == bulk.max():
        return Shape(["standardise"], 1.0, 1.0, outliers=False)
    candidates = _candidates(values, bulk, bounds)
    scored = [(normality(fit_transform_chain(c, bulk).forward(bulk)), c) for c in candidates]
    before = scored[0][0]
    after, best = min(scored, key=lambda item: item[0])
    if before < 0.05 or after > 0.5 * before:
        after, best = scored[0]
    whole = fit_transform_chain(best, bulk).forward(values)
    whole = whole[np.isfinite(whole)]
    low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
    sd = max((high - low) / 1.349, 1e-12 * max(abs(middle), 1e-12))
    outliers = bool(np.abs(whole - middle).max() > _GROSS * sd)
    return Shape([*best, "standardise"], before, after, outliers)


def _candidates(
    values: Array, bulk: Array, bounds: tuple[float, float] | None
) -> Sequence[list[Any]]:
    found: list[list[Any]] = [[]]
    if values.min() > 0:
        found.append(["log10"])
    found.append(["signed_log"])
    size = float(np.median(np.abs(bulk)))
    if size > 0:
        scale = float(10.0 ** np.floor(np.log10(size)))
        if scale != 1.0:
            found.append([{"signed_log": {"scale": scale}}])
    if bounds is not None:
        margin = 0.005 * (bounds[1] - bounds[0])
        found.append([{"logit": {"lower": bounds[0] - margin, "upper": bounds[1] + margin}}])
    return found
