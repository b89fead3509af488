"""Scales from data to pixels, with tick marks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from variolite.report.lettering import MINUS, decimals

__all__ = [
    "SCALE_NAMES",
    "Kind",
    "Scale",
    "kind_for",
    "limits",
    "log_ticks",
    "nice_ticks",
    "scale_for",
    "tick_labels",
]

Floats = NDArray[np.float64]
Kind = Literal["linear", "log", "symlog"]

SCALE_NAMES: dict[Kind, str] = {
    "linear": "linear",
    "log": "logarithmic",
    "symlog": "signed logarithmic",
}

TAIL_RATIO = 5.0
"""A tail this many times longer than the other side asks for a logarithmic axis."""


@dataclass(frozen=True)
class Scale:
    """A monotonic map from ``[low, high]`` in the data to ``[start, end]`` in pixels.

    ``symlog`` is ``sign(x) log10(1 + |x| / threshold)``: logarithmic in both
    tails and smooth through zero.
    """

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "linear"
    threshold: float = 1.0

    def __call__(self, values: Floats) -> Floats:
        """Return pixels for an array of values, outside the limits too."""
        warp = _WARPS[self.kind]
        first, last = warp(np.array([self.low, self.high]), self.threshold)
        share = (warp(np.asarray(values, dtype=np.float64), self.threshold) - first) / (
            last - first
        )
        return np.asarray(self.start + share * (self.end - self.start))

    def at(self, value: float) -> float:
        """Return the pixel of one value."""
        return float(self(np.array([value]))[0])

    def inside(self, values: Floats) -> Floats:
        """Return pixels with values beyond the limits moved to the nearer one."""
        return self(np.clip(values, self.low, self.high))

    def ticks(self, target: int = 5) -> list[float]:
        """Return about ``target`` round values within the limits."""
        return _TICKS[self.kind](self, target)


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Return evenly spaced values in ``[low, high]``, steps 1, 2 or 5 times a power of ten.

    Of all such steps the one that gives a count nearest to ``target`` is taken,
    never fewer than two where the interval is wider than rounding error.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high < low:
        raise ValueError(f"ticks need finite limits in order, not {low} and {high}")
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-290):
        return [low]
    power = math.floor(math.log10(span / target))
    best: list[float] = []
    for exponent in (power - 1, power, power + 1):
        for factor in (1, 2, 5):
            ticks = _multiples(low, high, factor, exponent)
            if len(ticks) >= 2 and abs(len(ticks) - target) <= abs((len(best) or 10**6) - target):
                best = ticks
    return best


def log_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Return powers of ten in ``[low, high]``, with 3, or 2 and 5, between when these are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**power for power in range(first, last + 1)]
    best: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [
            value
            for value in (factor * decade for decade in decades for factor in factors)
            if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)
        ]
        if len(factors) == 1 and len(ticks) > target:
            return ticks[:: math.ceil(len(ticks) / target)]
        if len(ticks) >= 2 and (not best or abs(len(ticks) - target) < abs(len(best) - target)):
            best = ticks
    return best or nice_ticks(low, high, target)


def tick_labels(ticks: list[float]) -> list[str]:
    """Write ticks with the same number of decimals, or as powers of ten when they are extreme."""
    spaced = [value for value in ticks if value != 0]
    if not spaced:
        return ["0" for _ in ticks]
    largest = max(abs(value) for value in spaced)
    if largest >= 1e6 or largest < 1e-4:
        return [
            f"{value:.4g}".replace("e+0", "e")
            .replace("e-0", "e-")
            .replace("e+", "e")
            .replace("-", MINUS)
            for value in ticks
        ]
    return [decimals(value, _places(value if value else largest, ticks)) for value in ticks]


def limits(values: Floats, *, tail: float = 0.001, margin: float = 0.04) -> tuple[float, float]:
    """Return limits that hold all but the outermost ``tail`` of the finite values on each side."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(edge) for edge in np.quantile(finite, [tail, 1 - tail]))
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = (high - low) * margin
    return low - room, high + room


def kind_for(values: Floats) -> tuple[Kind, float]:
    """Choose the axis for values of an input: logarithmic where one tail is very long.

    Returns
    -------
    kind, threshold
        ``log`` where at least 99.9 % of the finite values are above zero,
        ``symlog`` otherwise; the threshold of ``symlog`` is a power of ten
        near the median size.
    """
    finite = values[np.isfinite(values)]
    if finite.size < 20:
        return "linear", 1.0
    least, low, middle, high = (float(q) for q in np.quantile(finite, [0.001, 0.02, 0.5, 0.98]))
    if high - middle <= TAIL_RATIO * max(middle - low, 0.0) or high <= low:
        return "linear", 1.0
    if least > 0:
        return "log", 1.0
    size = float(np.median(np.abs(finite)))
    return "symlog", 10.0 ** math.floor(math.log10(size)) if size > 0 else 1.0


def scale_for(values: Floats, start: float, end: float) -> Scale:
    """Return a scale that suits the values of one input, robust to outliers."""
    kind, threshold = kind_for(values)
    if kind == "linear":
        low, high = limits(values)
        return Scale(low, high, start, end)
    finite = values[np.isfinite(values)]
    low, high = (float(edge) for edge in np.quantile(finite, [0.001, 0.999]))
    return Scale(low, high, start, end, kind, threshold)


def _multiples(low: float, high: float, factor: int, exponent: int) -> list[float]:
    # Dividing by a positive power of ten keeps 0.1 and 0.3 exact where multiplying would not.
    unit = 10.0 ** abs(exponent)
    step = factor * unit if exponent >= 0 else factor / unit
    slack = 1e-9 * (high - low)
    first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
    if last - first > 200:
        return []
    return [
        (index * factor) * unit if exponent >= 0 else (index * factor) / unit
        for index in range(first, last + 1)
    ]


def _symlog_ticks(scale: Scale, target: int) -> list[float]:
    ends = _symlog(np.array([scale.low, scale.high]), scale.threshold)
    room = (ends[1] - ends[0]) / max(target - 1, 1)
    top = math.ceil(math.log10(max(abs(scale.low), abs(scale.high)) / scale.threshold + 1))
    stride = max(1, math.ceil(room - 0.5))
    sizes = [scale.threshold * 10.0**power for power in range(0, top + 1, stride)]
    every = [*(-size for size in reversed(sizes)), 0.0, *sizes]
    kept: list[float] = []
    places = _symlog(np.array(every), scale.threshold)
    for value, place in zip(every, places, strict=True):
        if not scale.low <= value <= scale.high:
            continue
        if kept and place - _symlog(np.array([kept[-1]]), scale.threshold)[0] < 0.55 * room:
            if value != 0.0:
                continue
            kept.pop()
        kept.append(value)
    return kept if len(kept) >= 2 else nice_ticks(scale.low, scale.high, target)


def _places(value: float, ticks: list[float]) -> int:
    gaps = [abs(after - before) for before, after in pairwise(ticks)]
    even = gaps and max(gaps) - min(gaps) < 1e-6 * max(gaps)
    smallest = min(gaps) if even else abs(value)
    places = max(0, -math.floor(math.log10(smallest) + 1e-9))
    return places + (round(smallest * 10.0**places, 6) % 1 != 0)


def _identity(values: Floats, threshold: float) -> Floats:
    del threshold
    return values


def _log(values: Floats, threshold: float) -> Floats:
    del threshold
    return np.log10(np.maximum(values, 1e-300))


def _symlog(values: Floats, threshold: float) -> Floats:
    return np.asarray(np.sign(values) * np.log10(1 + np.abs(values) / threshold))


_WARPS: dict[Kind, Callable[[Floats, float], Floats]] = {
    "linear": _identity,
    "log": _log,
    "symlog": _symlog,
}
_TICKS: dict[Kind, Callable[[Scale, int], list[float]]] = {
    "linear": lambda scale, target: nice_ticks(scale.low, scale.high, target),
    "log": lambda scale, target: log_ticks(scale.low, scale.high, target),
    "symlog": _symlog_ticks,
}
