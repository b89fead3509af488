"""Reversible transforms of one numeric column: what a schema asks for, and fitting it.

A transform is *specified* by name, with options where it has any, and *fitted* on
training values into a chain of strictly increasing functions. In YAML::

    transform: [signed_log, standardise]
    transform: [{logit: {lower: 0, upper: 255}}, standardise]
    transform: [{quantile: {knots: 200}}]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from variolite.errors import ModelFileError, SchemaError, nearest

Array = NDArray[np.float64]

# Strictly increasing functions with an exact inverse and a known derivative: the fitted
# halves of the transforms. Each is immutable, works elementwise on float64 arrays and
# knows the logarithm of its derivative, so that a density in transformed units can be
# stated in original units: log p(x) = log p(y) + log |dy/dx|.


@dataclass(frozen=True)
class MonotoneMap:
    """A strictly increasing function y(x) on the open interval ``domain``; here y = x."""

    kind: ClassVar[str] = "identity"

    @property
    def domain(self) -> tuple[float, float]:
        return (-math.inf, math.inf)

    def forward(self, x: Array) -> Array:
        return x

    def inverse(self, y: Array) -> Array:
        return y

    def log_det(self, x: Array) -> Array:
        """Return log dy/dx."""
        return np.zeros_like(x)

    def to_dict(self) -> dict[str, Any]:
        """Return the kind and every parameter as plain JSON types."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        lists = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
        return {"kind": self.kind, **lists}


@dataclass(frozen=True)
class Affine(MonotoneMap):
    """y = (x - centre) / scale, with scale > 0."""

    centre: float
    scale: float
    kind: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        _check_positive(scale=self.scale)

    def forward(self, x: Array) -> Array:
        return (x - self.centre) / self.scale

    def inverse(self, y: Array) -> Array:
        return y * self.scale + self.centre

    def log_det(self, x: Array) -> Array:
        return np.full_like(x, -math.log(self.scale))


@dataclass(frozen=True)
class Logarithm(MonotoneMap):
    """y = ln(x) / ln(number), for x > 0; ``number`` is e or 10."""

    number: float
    kind: ClassVar[str] = "logarithm"

    def __post_init__(self) -> None:
        _check_positive(number=self.number)

    @property
    def domain(self) -> tuple[float, float]:
        return (0.0, math.inf)

    def forward(self, x: Array) -> Array:
        # The library's own log10 keeps round numbers round.
        return np.log10(x) if self.number == 10.0 else np.log(x) / math.log(self.number)

    def inverse(self, y: Array) -> Array:
        return np.exp(y) if self.number == math.e else np.power(self.number, y)

    def log_det(self, x: Array) -> Array:
        return -np.log(x) - math.log(math.log(self.number))


@dataclass(frozen=True)
class SignedLogarithm(MonotoneMap):
    """y = sign(x) ln(1 + |x| / scale): linear near zero, logarithmic far away."""

    scale: float
    kind: ClassVar[str] = "signed_logarithm"

    def __post_init__(self) -> None:
        _check_positive(scale=self.scale)

    def forward(self, x: Array) -> Array:
        # log1p and expm1: near zero, 1 + |x| / scale would lose every digit of x.
        return np.copysign(np.log1p(np.abs(x) / self.scale), x)

    def inverse(self, y: Array) -> Array:
        return np.copysign(np.expm1(np.abs(y)) * self.scale, y)

    def log_det(self, x: Array) -> Array:
        return -np.log(self.scale + np.abs(x))


@dataclass(frozen=True)
class BoundedLogit(MonotoneMap):
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
        odds = np.exp(-np.abs(y))
        part = (self.upper - self.lower) * odds / (1.0 + odds)
        return np.where(y < 0, self.lower + part, self.upper - part)

    def log_det(self, x: Array) -> Array:
        width = math.log(self.upper - self.lower)
        return width - np.log(x - self.lower) - np.log(self.upper - x)


@dataclass(frozen=True)
class PiecewiseLinear(MonotoneMap):
    """Straight lines through two or more knots, continued beyond the outer ones.

    ``lower_slope`` and ``upper_slope`` are dy/dx below the first and above the last knot.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    lower_slope: float
    upper_slope: float
    kind: ClassVar[str] = "piecewise_linear"

    def __post_init__(self) -> None:
        _check_positive(lower_slope=self.lower_slope, upper_slope=self.upper_slope)
        increasing = all(np.all(np.diff(knots) > 0) for knots in self._knots)
        if len(self.x) != len(self.y) or len(self.x) < 2 or not increasing:
            raise ValueError("knots must increase strictly")

    @cached_property
    def _knots(self) -> tuple[Array, Array]:
        return np.asarray(self.x), np.asarray(self.y)

    @cached_property
    def _log_slopes(self) -> Array:
        x, y = self._knots
        inner = np.diff(y) / np.diff(x)
        slopes: Array = np.log(np.concatenate([[self.lower_slope], inner, [self.upper_slope]]))
        return slopes

    def forward(self, x: Array) -> Array:
        knots, images = self._knots
        # np.interp stays at the outer knots beyond them; the outer slopes add the rest.
        below = np.minimum(x - knots[0], 0.0) * self.lower_slope
        above = np.maximum(x - knots[-1], 0.0) * self.upper_slope
        total: Array = np.interp(x, knots, images) + below + above
        return total

    def inverse(self, y: Array) -> Array:
        knots, images = self._knots
        below = np.minimum(y - images[0], 0.0) / self.lower_slope
        above = np.maximum(y - images[-1], 0.0) / self.upper_slope
        total: Array = np.interp(y, images, knots) + below + above
        return total

    def log_det(self, x: Array) -> Array:
        # Segment i lies right of knot i - 1; a value on a knot takes the slope to its right.
        slopes: Array = self._log_slopes[np.searchsorted(self._knots[0], x, side="right")]
        return np.where(np.isnan(x), np.nan, slopes)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive")


_MAPS: dict[str, type[MonotoneMap]] = {
    kind.kind: kind
    for kind in (MonotoneMap, Affine, Logarithm, SignedLogarithm, BoundedLogit, PiecewiseLinear)
}


def _monotone_from_dict(data: Mapping[str, Any]) -> MonotoneMap:
    """Rebuild a fitted function from its ``to_dict``; ModelFileError where that is damaged."""
    try:
        kind = _MAPS[data["kind"]]
        given = {f.name: data[f.name] for f in fields(kind)}
        numbers = {
            name: tuple(map(float, value)) if isinstance(value, list) else float(value)
            for name, value in given.items()
        }
        return kind(**numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"a fitted transform cannot be read: {data!r:.200} ({error})",
            hint="The model file is damaged or was written by a newer version",
        ) from error


# What a schema asks for, and fitting it.


_LARGEST = 1e100  # Squares and differences of larger values would overflow.


class TransformSpec(BaseModel):
    """One step asked for by a schema, here the identity; subclasses are in ``TRANSFORMS``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: ClassVar[str] = "identity"

    def fit(self, values: Array) -> MonotoneMap:  # noqa: ARG002
        """Fit on finite training values, shape [n], n >= 1."""
        return MonotoneMap()


class _Log(TransformSpec):
    name: ClassVar[str] = "log"
    base: ClassVar[float] = math.e

    def fit(self, values: Array) -> MonotoneMap:
        _require(
            values > 0,
            values,
            "the logarithm needs values above 0",
            "Use signed_log, or exclude such values with 'valid: [lowest, null]'",
        )
        return Logarithm(self.base)


class _Log10(_Log):
    name: ClassVar[str] = "log10"
    base: ClassVar[float] = 10.0


class _SignedLog(TransformSpec):
    name: ClassVar[str] = "signed_log"
    scale: float = Field(default=1.0, gt=0)

    def fit(self, values: Array) -> MonotoneMap:  # noqa: ARG002
        return SignedLogarithm(self.scale)


class _Logit(TransformSpec):
    name: ClassVar[str] = "logit"
    lower: float = 0.0
    upper: float = 1.0

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002
        if self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower:g}) must be below upper ({self.upper:g})")

    def fit(self, values: Array) -> MonotoneMap:
        _require(
            (values > self.lower) & (values < self.upper),
            values,
            f"logit needs values strictly between {self.lower:g} and {self.upper:g}",
            "Widen its bounds a little beyond the possible values (for whole numbers 0 to 255: "
            "-0.5 to 255.5), or exclude such values with 'valid'",
        )
        return BoundedLogit(self.lower, self.upper)


class _Quantile(TransformSpec):
    name: ClassVar[str] = "quantile"
    knots: int = Field(default=500, ge=2, le=100_000)

    def fit(self, values: Array) -> MonotoneMap:
        return _normal_scores(values, self.knots)


class _Standardise(TransformSpec):
    name: ClassVar[str] = "standardise"

    def fit(self, values: Array) -> MonotoneMap:
        scale = float(values.std())
        if not scale > _least_spread(values) or not math.isfinite(scale):
            raise SchemaError(
                f"its spread is {scale:g}, so it cannot be standardised",
                hint="Leave the column out, or give it 'transform: [identity]'",
            )
        return Affine(float(values.mean()), scale)


TRANSFORMS: dict[str, type[TransformSpec]] = {
    spec.name: spec
    for spec in (TransformSpec, _Log, _Log10, _SignedLog, _Logit, _Quantile, _Standardise)
}


def _least_spread(values: Array) -> float:
    """Return the difference below which values are equal but for rounding."""
    return max(1e-12 * float(np.abs(values).max()), 1e-250)


def _require(good: NDArray[np.bool_], values: Array, need: str, hint: str) -> None:
    bad = values[~good]
    if bad.size:
        raise SchemaError(
            f"{need}, but {bad.size} of {values.size} training values are not (such as {bad[0]:g})",
            hint=hint,
        )


def _normal_scores(values: Array, knots: int) -> PiecewiseLinear:
    """Fit a piecewise linear map from training quantiles to standard normal quantiles.

    Every segment rests on ten values or more: fewer would make the density, which
    is the slope, noise, and would store the training values themselves.
    """
    count = max(2, min(knots, values.size // 10))
    probability = (np.arange(count) + 0.5) / count
    x = np.quantile(values, probability)
    # Ties share one knot at their mean probability; knots that float64 can barely
    # tell apart count as ties, else the slope between them would be meaningless.
    apart = np.diff(x) > _least_spread(x)
    member = np.concatenate([[0], np.cumsum(apart)])
    sizes = np.bincount(member)
    if sizes.size < 2:
        raise SchemaError(
            "almost all of its values are equal, so quantiles cannot be told apart",
            hint="Use another transform, or leave the column out",
        )
    x = np.bincount(member, weights=x) / sizes
    shares = np.bincount(member, weights=probability) / sizes
    y = np.array([NormalDist().inv_cdf(share) for share in shares])
    # Beyond the outer knots: the mean slope over one unit of normal score. A single
    # outer segment is too short to trust with an extrapolation.
    last = len(y) - 1
    low = min(max(int(np.searchsorted(y, y[0] + 1.0)), 1), last)
    high = max(min(int(np.searchsorted(y, y[-1] - 1.0, side="right")), last) - 1, 0)
    lower_slope = (y[low] - y[0]) / (x[low] - x[0])
    upper_slope = (y[-1] - y[high]) / (x[-1] - x[high])
    return PiecewiseLinear(
        tuple(x.tolist()), tuple(y.tolist()), float(lower_slope), float(upper_slope)
    )


def parse_transform(value: object) -> TransformSpec:
    """Read one step: a name, or ``{name: {option: value}}``; SchemaError where impossible."""
    if isinstance(value, TransformSpec):
        return value
    name: object = value
    options: object = {}
    if isinstance(value, Mapping) and len(value) == 1:
        name, options = next(iter(value.items()))
        options = {} if options is None else options
    known = f"Known transforms: {', '.join(TRANSFORMS)}"
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise SchemaError(
            f"a transform is a name or {{name: {{option: value}}}}, not {value!r:.80}", hint=known
        )
    if name not in TRANSFORMS:
        close = nearest(name, TRANSFORMS)
        hint = f"Did you mean {close!r}? " if close else ""
        raise SchemaError(f"unknown transform {name!r}", hint=hint + known)
    try:
        return TRANSFORMS[name](**options)
    except (ValidationError, TypeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SchemaError(
            f"transform {name!r} does not take {dict(options)!r} ({reason})",
            hint=f"Its options: {', '.join(TRANSFORMS[name].model_fields) or 'none'}",
        ) from None


def dump_transform(spec: TransformSpec) -> str | dict[str, Any]:
    """Write one step as a schema file spells it; inverse of :func:`parse_transform`."""
    options = spec.model_dump(exclude_defaults=True)
    return {spec.name: options} if options else spec.name


AnyTransform = Annotated[
    TransformSpec, BeforeValidator(parse_transform), PlainSerializer(dump_transform)
]


@dataclass(frozen=True)
class FittedChain:
    """Transforms applied one after the other; strictly increasing as a whole."""

    steps: tuple[MonotoneMap, ...] = ()

    def evaluate(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return y and log |dy/dx|, any shape; both NaN where x is outside the domain."""
        y = np.asarray(x, dtype=np.float64)
        log_det = np.where(np.isnan(y), np.nan, 0.0)
        for step in self.steps:
            y = _within(step.domain, y)
            with np.errstate(over="ignore"):
                # The chain rule: derivatives multiply, so their logarithms add.
                log_det = log_det + step.log_det(y)
                y = step.forward(y)
        return y, log_det

    def forward(self, x: ArrayLike) -> Array:
        """Transform; NaN where x is NaN or outside the domain."""
        y = np.asarray(x, dtype=np.float64)
        for step in self.steps:
            y = step.forward(_within(step.domain, y))
        return y

    def inverse(self, y: ArrayLike) -> Array:
        """Return to original units; overflows to infinity, never fails."""
        x = np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore"):
            for step in reversed(self.steps):
                x = step.inverse(x)
        return x

    def log_det(self, x: ArrayLike) -> Array:
        """Elementwise log |dy/dx|; NaN where x is NaN or outside the domain."""
        return self.evaluate(x)[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"steps": [step.to_dict() for step in self.steps]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedChain:
        """Rebuild from :meth:`to_dict`; ModelFileError when damaged."""
        return cls(tuple(_monotone_from_dict(step) for step in data.get("steps", ())))


def _within(domain: tuple[float, float], values: Array) -> Array:
    """Set values outside of an open interval to NaN; nothing to do where it has no end."""
    lower, upper = domain
    if math.isinf(lower) and math.isinf(upper):
        return values
    return np.where((values > lower) & (values < upper), values, np.nan)


def fit_transform_chain(
    specs: Sequence[TransformSpec] | Iterable[object], values: ArrayLike
) -> FittedChain:
    """Fit each step on the output of the one before it.

    Parameters
    ----------
    specs
        Steps in order, parsed or as a schema file spells them.
    values
        Training values, shape [n]; NaN entries are left out.

    Raises
    ------
    SchemaError
        If no value is left, a value is infinite, or a step cannot take the values.

    Examples
    --------
    >>> chain = fit_transform_chain(["log10", "standardise"], [1.0, 100.0])
    >>> chain.forward([10.0, 100.0]).tolist()
    [0.0, 1.0]
    >>> chain.inverse(1.0).item()
    100.0
    """
    current = np.asarray(values, dtype=np.float64).ravel()
    absent = np.isnan(current)
    if absent.any():
        current = current[~absent]
    if not current.size:
        raise SchemaError("it holds no value to fit a transform on")
    if not np.isfinite(current).all():
        raise SchemaError("it holds infinite values", hint="Exclude them with 'valid'")
    if np.abs(current).max() > _LARGEST:
        raise SchemaError(
            f"it holds values beyond {_LARGEST:g}",
            hint="Exclude them with 'valid', or name them under 'sentinels'",
        )
    steps: list[MonotoneMap] = []
    for spec in specs:
        if steps:
            current = steps[-1].forward(current)
        steps.append(parse_transform(spec).fit(current))
    return FittedChain(tuple(steps))
