"""Strictly increasing functions with an exact inverse and a known derivative.

These are the fitted halves of the transforms in :mod:`variolite.records.transforms`.
Each is immutable, works elementwise on float64 arrays and knows the logarithm of
its derivative, so that a density in transformed units can be stated in original
units: log p(x) = log p(y) + log |dy/dx|.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from variolite.errors import ModelFileError

__all__ = [
    "Affine",
    "BoundedLogit",
    "Identity",
    "Logarithm",
    "MonotoneMap",
    "PiecewiseLinear",
    "SignedLogarithm",
    "monotone_from_dict",
]

Array = NDArray[np.float64]
_EVERYWHERE = (-math.inf, math.inf)


class MonotoneMap(Protocol):
    """A strictly increasing function on an open interval.

    Attributes
    ----------
    domain
        Open interval on which the function is defined.
    """

    kind: ClassVar[str]

    @property
    def domain(self) -> tuple[float, float]: ...

    def forward(self, x: Array) -> Array: ...

    def inverse(self, y: Array) -> Array: ...

    def log_det(self, x: Array) -> Array: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Identity:
    """y = x."""

    kind: ClassVar[str] = "identity"
    domain: ClassVar[tuple[float, float]] = _EVERYWHERE

    def forward(self, x: Array) -> Array:
        return x

    def inverse(self, y: Array) -> Array:
        return y

    def log_det(self, x: Array) -> Array:
        return np.zeros_like(x)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


@dataclass(frozen=True)
class Affine:
    """y = (x - centre) / scale, with scale > 0."""

    centre: float
    scale: float
    kind: ClassVar[str] = "affine"
    domain: ClassVar[tuple[float, float]] = _EVERYWHERE

    def forward(self, x: Array) -> Array:
        return (x - self.centre) / self.scale

    def inverse(self, y: Array) -> Array:
        return y * self.scale + self.centre

    def log_det(self, x: Array) -> Array:
        return np.full_like(x, -math.log(self.scale))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "centre": self.centre, "scale": self.scale}


@dataclass(frozen=True)
class Logarithm:
    """y = ln(x) / ln(number), for x > 0; ``number`` is e or 10."""

    number: float
    kind: ClassVar[str] = "logarithm"
    domain: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def forward(self, x: Array) -> Array:
        # The library's own log10 keeps round numbers round.
        return np.log10(x) if self.number == 10.0 else np.log(x) / math.log(self.number)

    def inverse(self, y: Array) -> Array:
        return np.exp(y) if self.number == math.e else np.power(self.number, y)

    def log_det(self, x: Array) -> Array:
        return -np.log(x) - math.log(math.log(self.number))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "number": self.number}


@dataclass(frozen=True)
class SignedLogarithm:
    """y = sign(x) ln(1 + |x| / scale): linear near zero, logarithmic far away."""

    scale: float
    kind: ClassVar[str] = "signed_logarithm"
    domain: ClassVar[tuple[float, float]] = _EVERYWHERE

    def forward(self, x: Array) -> Array:
        return np.copysign(np.log1p(np.abs(x) / self.scale), x)

    def inverse(self, y: Array) -> Array:
        return np.copysign(np.expm1(np.abs(y)) * self.scale, y)

    def log_det(self, x: Array) -> Array:
        return -np.log(self.scale + np.abs(x))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "scale": self.scale}


@dataclass(frozen=True)
class BoundedLogit:
    """y = ln((x - lower) / (upper - x)), for lower < x < upper."""

    lower: float
    upper: float
    kind: ClassVar[str] = "bounded_logit"

    @property
    def domain(self) -> tuple[float, float]:
        return (self.lower, self.upper)

    def forward(self, x: Array) -> Array:
        return np.log(x - self.lower) - np.log(self.upper - x)

    def inverse(self, y: Array) -> Array:
        # Measured from the nearer bound, so that no digits cancel close to it.
        share = np.exp(-np.abs(y))
        part = (self.upper - self.lower) * share / (1.0 + share)
        return np.where(y < 0, self.lower + part, self.upper - part)

    def log_det(self, x: Array) -> Array:
        width = math.log(self.upper - self.lower)
        return width - np.log(x - self.lower) - np.log(self.upper - x)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "lower": self.lower, "upper": self.upper}


@dataclass(frozen=True)
class PiecewiseLinear:
    """Straight lines through knots, going on straight beyond the outer ones.

    Parameters
    ----------
    x, y
        At least two knots, both strictly increasing.
    lower_slope, upper_slope
        dy/dx below the first and above the last knot, positive.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    lower_slope: float
    upper_slope: float
    kind: ClassVar[str] = "piecewise_linear"
    domain: ClassVar[tuple[float, float]] = _EVERYWHERE
    _x: Array = field(init=False, repr=False, compare=False)
    _y: Array = field(init=False, repr=False, compare=False)
    _log_slopes: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x, dtype=float), np.asarray(self.y, dtype=float)
        slopes = np.concatenate([[self.lower_slope], np.diff(y) / np.diff(x), [self.upper_slope]])
        object.__setattr__(self, "_x", x)
        object.__setattr__(self, "_y", y)
        object.__setattr__(self, "_log_slopes", np.log(slopes))

    def forward(self, x: Array) -> Array:
        inside: Array = np.interp(x, self._x, self._y)
        below = np.minimum(x - self._x[0], 0.0) * self.lower_slope
        above = np.maximum(x - self._x[-1], 0.0) * self.upper_slope
        total: Array = inside + below + above
        return total

    def inverse(self, y: Array) -> Array:
        inside: Array = np.interp(y, self._y, self._x)
        below = np.minimum(y - self._y[0], 0.0) / self.lower_slope
        above = np.maximum(y - self._y[-1], 0.0) / self.upper_slope
        total: Array = inside + below + above
        return total

    def log_det(self, x: Array) -> Array:
        slopes = self._log_slopes[np.searchsorted(self._x, x, side="right")]
        return np.where(np.isnan(x), np.nan, slopes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "x": list(self.x),
            "y": list(self.y),
            "lower_slope": self.lower_slope,
            "upper_slope": self.upper_slope,
        }


def _piecewise(data: Mapping[str, Any]) -> PiecewiseLinear:
    x = tuple(float(value) for value in data["x"])
    y = tuple(float(value) for value in data["y"])
    slopes = float(data["lower_slope"]), float(data["upper_slope"])
    increasing = all(np.all(np.diff(knots) > 0) for knots in (x, y))
    if len(x) != len(y) or len(x) < 2 or not increasing or min(slopes) <= 0:
        raise ValueError("knots must increase strictly")
    return PiecewiseLinear(x, y, *slopes)


def _positive(data: Mapping[str, Any], key: str) -> float:
    value = float(data[key])
    if not 0 < value < math.inf:
        raise ValueError(f"{key} must be positive")
    return value


_READERS: dict[str, Callable[[Mapping[str, Any]], MonotoneMap]] = {
    Identity.kind: lambda _: Identity(),
    Affine.kind: lambda data: Affine(float(data["centre"]), _positive(data, "scale")),
    Logarithm.kind: lambda data: Logarithm(_positive(data, "number")),
    SignedLogarithm.kind: lambda data: SignedLogarithm(_positive(data, "scale")),
    BoundedLogit.kind: lambda data: BoundedLogit(float(data["lower"]), float(data["upper"])),
    PiecewiseLinear.kind: _piecewise,
}


def monotone_from_dict(data: Mapping[str, Any]) -> MonotoneMap:
    """Rebuild a fitted function from the output of its ``to_dict``.

    Raises
    ------
    ModelFileError
        If the kind is unknown or a number is missing or impossible.
    """
    try:
        return _READERS[data["kind"]](data)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"a fitted transform cannot be read: {data!r:.200} ({error})",
            mend="The model file is damaged or was written by a newer version",
        ) from error
