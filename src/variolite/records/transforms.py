"""Reversible transforms of one numeric column: what a schema asks for, and what is fitted.

A transform is asked for by name, with options where it has any, and fitted on training values
into a chain of strictly increasing functions. In YAML::

    transform: [signed_log, standardise]
    transform: [{logit: {lower: 0, upper: 255}}, standardise]
    transform: [{quantile: {knots: 200}}]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveFloat,
    ValidationError,
)

from variolite.errors import SchemaError, nearest

Array = NDArray[np.float64]

# Strictly increasing functions with an exact inverse and a known derivative: what is fitted.
# Each works elementwise on float64 arrays and knows the logarithm of its derivative, so that a
# density in transformed units can be stated in original ones: log p(x) = log p(y) + log dy/dx.


class MonotoneMap(BaseModel):
    """A strictly increasing function y(x); not finite where x is outside of its domain."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    kind: str

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        """Return y and log dy/dx."""
        return x, np.zeros_like(x)

    def forward(self, x: Array) -> Array:
        return self.evaluate(x)[0]

    def inverse(self, y: Array) -> Array:
        return y


class Identity(MonotoneMap):
    kind: Literal["identity"] = "identity"


class Affine(MonotoneMap):
    """y = (x - centre) / scale."""

    kind: Literal["affine"] = "affine"
    centre: float
    scale: PositiveFloat

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        return (x - self.centre) / self.scale, np.full_like(x, -math.log(self.scale))

    def inverse(self, y: Array) -> Array:
        return y * self.scale + self.centre


class Logarithm(MonotoneMap):
    """y = ln(x) / ln(number), for x > 0; ``number`` is e or 10."""

    kind: Literal["logarithm"] = "logarithm"
    number: PositiveFloat

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        natural, scale = np.log(x), math.log(self.number)
        # The library's own log10 keeps round numbers round.
        y = np.log10(x) if self.number == 10.0 else natural / scale
        return y, -natural - math.log(scale)

    def inverse(self, y: Array) -> Array:
        return np.exp(y) if self.number == math.e else np.power(self.number, y)


class SignedLogarithm(MonotoneMap):
    """y = sign(x) ln(1 + |x| / scale): linear near zero, logarithmic far away."""

    kind: Literal["signed_logarithm"] = "signed_logarithm"
    scale: PositiveFloat

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        size = np.abs(x)
        # log1p and expm1: near zero, 1 + |x| / scale would lose every digit of x.
        return np.copysign(np.log1p(size / self.scale), x), -np.log(self.scale + size)

    def inverse(self, y: Array) -> Array:
        return np.copysign(np.expm1(np.abs(y)) * self.scale, y)


class BoundedLogit(MonotoneMap):
    """y = ln((x - lower) / (upper - x)), for lower < x < upper."""

    kind: Literal["bounded_logit"] = "bounded_logit"
    lower: float
    upper: float

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        below, above = np.log(x - self.lower), np.log(self.upper - x)
        return below - above, math.log(self.upper - self.lower) - below - above

    def inverse(self, y: Array) -> Array:
        # Measured from the nearer bound, so that no digits cancel close to it.
        odds = np.exp(-np.abs(y))
        part = (self.upper - self.lower) * odds / (1.0 + odds)
        return np.where(y < 0, self.lower + part, self.upper - part)


class PiecewiseLinear(MonotoneMap):
    """Straight lines through two or more knots, continued beyond the outer ones.

    ``lower_slope`` and ``upper_slope`` are dy/dx below the first and above the last knot.
    """

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    x: tuple[float, ...] = Field(min_length=2)
    y: tuple[float, ...]
    lower_slope: PositiveFloat
    upper_slope: PositiveFloat

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002
        if len(self.x) != len(self.y) or min(*np.diff(self.x), *np.diff(self.y)) <= 0:
            raise ValueError("knots must increase strictly")

    def forward(self, x: Array) -> Array:
        # np.interp stays at the outer knots beyond them; the outer slopes add the rest.
        below = np.minimum(x - self.x[0], 0.0) * self.lower_slope
        above = np.maximum(x - self.x[-1], 0.0) * self.upper_slope
        total: Array = np.interp(x, self.x, self.y) + below + above
        return total

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        inner = np.diff(self.y) / np.diff(self.x)
        slopes = np.log(np.concatenate([[self.lower_slope], inner, [self.upper_slope]]))
        # Segment i lies right of knot i - 1; a value on a knot takes the slope to its right.
        segment = np.searchsorted(self.x, x, side="right")
        return self.forward(x), slopes[segment]

    def inverse(self, y: Array) -> Array:
        below = np.minimum(y - self.y[0], 0.0) / self.lower_slope
        above = np.maximum(y - self.y[-1], 0.0) / self.upper_slope
        total: Array = np.interp(y, self.y, self.x) + below + above
        return total


AnyMap = Annotated[
    Identity | Affine | Logarithm | SignedLogarithm | BoundedLogit | PiecewiseLinear,
    Field(discriminator="kind"),
]


class FittedChain(BaseModel):
    """Functions applied one after the other; strictly increasing as a whole."""

    model_config = ConfigDict(frozen=True)
    steps: tuple[AnyMap, ...] = ()

    def evaluate(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return y and log dy/dx, any shape; both NaN where x is NaN or outside the domain."""
        y = np.asarray(x, dtype=np.float64)
        log_det = np.zeros_like(y)
        with np.errstate(all="ignore"):
            for step in self.steps:
                y, more = step.evaluate(y)
                # The chain rule: derivatives multiply, so their logarithms add.
                log_det = log_det + more
        inside = np.isfinite(y)
        return np.where(inside, y, np.nan), np.where(inside, log_det, np.nan)

    def inverse(self, y: ArrayLike) -> Array:
        """Return to original units; overflows to infinity, never fails."""
        x = np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore"):
            for step in reversed(self.steps):
                x = step.inverse(x)
        return x


# What a schema asks for, and fitting it.


class Settings(BaseModel):
    """Settings that people write: the first problem becomes one SchemaError with a hint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    noun: ClassVar[str] = ""  # What errors call these settings, before their name.

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise self._explain(error.errors(), data) from None

    @classmethod
    def _explain(cls, problems: Sequence[Any], data: Mapping[str, Any]) -> SchemaError:
        first, known = problems[0], ", ".join(cls.model_fields) or "none"
        where = ".".join(map(str, first["loc"]))
        what = f"{first['msg']}, not {first['input']!r:.80}"
        hint = f"Its options: {known}" if cls.noun == "transform" else None
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SchemaError):
            what, hint = cause.what, cause.hint or hint
            where = ": ".join(filter(None, (where, cause.where)))
        elif first["type"] == "extra_forbidden":
            what, close = f"unknown key {where!r}", nearest(where, cls.model_fields)
            hint = f"Did you mean {close!r}?" if close else f"Known keys: {known}"
        elif first["type"] == "missing":
            what = first["msg"]
        if len(problems) > 1:
            what += f" (and {len(problems) - 1} more)"
        name = data.get("name", getattr(cls, "name", "?"))
        places = (cls.noun and f"{cls.noun} {name!r}", where)
        return SchemaError(what, where=", ".join(filter(None, places)) or None, hint=hint)


class TransformSpec(Settings):
    """One step that a schema asks for, here the identity; all are in ``TRANSFORMS``."""

    noun: ClassVar[str] = "transform"
    name: ClassVar[str] = "identity"

    def fit(self, values: Array) -> AnyMap:  # noqa: ARG002
        """Fit on finite training values, shape (n,), n >= 1."""
        return Identity()


class _Log(TransformSpec):
    name: ClassVar[str] = "log"
    base: ClassVar[float] = math.e

    def fit(self, values: Array) -> AnyMap:
        hint = "Use signed_log, or exclude such values with 'valid: [lowest, null]'"
        _require(values > 0, values, "the logarithm needs values above 0", hint)
        return Logarithm(number=self.base)


class _Log10(_Log):
    name: ClassVar[str] = "log10"
    base: ClassVar[float] = 10.0


class _SignedLog(TransformSpec):
    name: ClassVar[str] = "signed_log"
    scale: PositiveFloat = 1.0

    def fit(self, values: Array) -> AnyMap:  # noqa: ARG002
        return SignedLogarithm(scale=self.scale)


class _Logit(TransformSpec):
    name: ClassVar[str] = "logit"
    lower: float = 0.0
    upper: float = 1.0

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002
        if self.lower >= self.upper:
            raise SchemaError(f"lower ({self.lower:g}) must be below upper ({self.upper:g})")

    def fit(self, values: Array) -> AnyMap:
        need = f"logit needs values strictly between {self.lower:g} and {self.upper:g}"
        hint = (
            "Widen its bounds a little beyond the possible values (for whole numbers 0 to 255: "
            "-0.5 to 255.5), or exclude such values with 'valid'"
        )
        _require((values > self.lower) & (values < self.upper), values, need, hint)
        return BoundedLogit(lower=self.lower, upper=self.upper)


class _Standardise(TransformSpec):
    name: ClassVar[str] = "standardise"

    def fit(self, values: Array) -> AnyMap:
        scale = float(values.std())
        if not _least_spread(values) < scale < math.inf:
            hint = "Leave the column out, or give it 'transform: [identity]'"
            raise SchemaError(f"its spread is {scale:g}, so it cannot be standardised", hint=hint)
        return Affine(centre=float(values.mean()), scale=scale)


class _Quantile(TransformSpec):
    """From training quantiles to standard normal quantiles, in straight lines."""

    name: ClassVar[str] = "quantile"
    knots: int = Field(default=500, ge=2, le=100_000)

    def fit(self, values: Array) -> AnyMap:
        # Every segment rests on ten values or more: fewer would make the density, which is the
        # slope, noise, and would store the training values themselves.
        count = max(2, min(self.knots, values.size // 10))
        probability = (np.arange(count) + 0.5) / count
        x = np.quantile(values, probability)
        # Ties share one knot at their mean probability; knots that float64 can barely
        # distinguish count as ties, else the slope between them would be meaningless.
        knot_of = np.concatenate([[0], np.cumsum(np.diff(x) > _least_spread(x))])
        sizes = np.bincount(knot_of)
        if sizes.size < 2:
            what = "almost all of its values are equal, so its quantiles do not differ"
            raise SchemaError(what, hint="Use another transform, or leave the column out")
        x = np.bincount(knot_of, weights=x) / sizes
        shares = np.bincount(knot_of, weights=probability) / sizes
        y = np.array([NormalDist().inv_cdf(share) for share in shares])
        # Beyond the outer knots: the mean slope over one unit of normal score. A single outer
        # segment is too short to trust with an extrapolation.
        last = len(y) - 1
        low = min(max(int(np.searchsorted(y, y[0] + 1.0)), 1), last)
        high = max(min(int(np.searchsorted(y, y[-1] - 1.0, side="right")), last) - 1, 0)
        return PiecewiseLinear(
            x=tuple(x.tolist()),
            y=tuple(y.tolist()),
            lower_slope=float((y[low] - y[0]) / (x[low] - x[0])),
            upper_slope=float((y[-1] - y[high]) / (x[-1] - x[high])),
        )


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


def parse_transform(value: object) -> TransformSpec:
    """Read one step: a name, or ``{name: {option: value}}``; SchemaError where impossible."""
    if isinstance(value, TransformSpec):
        return value
    name, options = value, None
    if isinstance(value, Mapping) and len(value) == 1:
        name, options = next(iter(value.items()))
    options = {} if options is None else options
    known = f"Known transforms: {', '.join(TRANSFORMS)}"
    if not isinstance(name, str) or not isinstance(options, Mapping):
        what = f"a transform is a name or {{name: {{option: value}}}}, not {value!r:.80}"
        raise SchemaError(what, hint=known)
    if name not in TRANSFORMS:
        close = nearest(name, TRANSFORMS)
        hint = f"Did you mean {close!r}? " if close else ""
        raise SchemaError(f"unknown transform {name!r}", hint=hint + known)
    return TRANSFORMS[name](**{str(key): option for key, option in options.items()})


def dump_transform(spec: TransformSpec) -> str | dict[str, Any]:
    """Write one step as a schema file spells it; inverse of `parse_transform`."""
    options = spec.model_dump(exclude_defaults=True)
    return {spec.name: options} if options else spec.name


AnyTransform = Annotated[
    TransformSpec, BeforeValidator(parse_transform), PlainSerializer(dump_transform)
]


_LARGEST = 1e100  # Squares and differences of larger values would overflow.


def fit_transform_chain(specs: Iterable[object], values: ArrayLike) -> FittedChain:
    """Fit each step, parsed or as a schema file spells it, on the output of the one before.

    Training ``values``, shape (n,), are left out where NaN. SchemaError where none is left, one
    is infinite or a step cannot take them.
    """
    current = np.asarray(values, dtype=np.float64).ravel()
    absent = np.isnan(current)
    if absent.any():
        current = current[~absent]
    if not current.size:
        raise SchemaError("it holds no value to fit a transform on")
    largest = np.abs(current).max()
    if math.isinf(largest):
        raise SchemaError("it holds infinite values", hint="Exclude them with 'valid'")
    if largest > _LARGEST:
        hint = "Exclude them with 'valid', or name them under 'sentinels'"
        raise SchemaError(f"it holds values beyond {_LARGEST:g}", hint=hint)
    steps: list[AnyMap] = []
    for spec in specs:
        if steps:
            current = steps[-1].forward(current)
        steps.append(parse_transform(spec).fit(current))
    return FittedChain(steps=tuple(steps))
