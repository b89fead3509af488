"""Tracks of a strip log: which curves stand together, on which scales, in which colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from variolite.records.units import can_convert, canonical_unit, convert
from variolite.report.figures import Kind, ValueAxis
from variolite.report.formatting import MINUS

Floats = NDArray[np.float64]

GREEN, BLACK, GREY = "#0b7a3b", "#1a1a1a", "#8a8d92"
RED, BLUE, ORANGE, PURPLE, BROWN = "#c8201e", "#1e56b3", "#e07b00", "#8a2d8f", "#7a5a1e"


@dataclass(frozen=True)
class Curve:
    """One log of a well: ``values`` [n] in ``unit``, and what a model makes of them."""

    name: str
    meaning: str
    unit: str
    values: Floats
    rebuilt: Floats | None = None


@dataclass(frozen=True)
class Scale:
    """What stands at the left and at the right of a track; left may be the larger."""

    left: float
    right: float
    kind: Kind = "linear"
    threshold: float = 1.0

    def place(self, values: Floats) -> Floats:
        """Return where values lie: 0 at the left of the track, 1 at its right; unlimited."""
        with np.errstate(divide="ignore", invalid="ignore"):
            left, right, at = (self._bent(v) for v in (self.left, self.right, values))
        return np.asarray((at - left) / (right - left), dtype=np.float64)

    def _bent(self, values: Floats | float) -> Floats:
        if self.kind == "linear":
            return np.asarray(values, dtype=np.float64)
        if self.kind == "symlog":
            return np.arcsinh(np.asarray(values) / self.threshold)
        # What is not above zero lies far to the left.
        return np.log10(np.maximum(values, 1e-30))

    @property
    def grid(self) -> list[tuple[float, bool]]:
        """Places of the lines between the edges of the track, and whether each is a strong one."""
        if self.kind == "linear":
            return [(step / 5, False) for step in range(1, 5)]
        size = max(abs(self.left), abs(self.right))
        first = math.log10(self.left if self.kind == "log" else self.threshold)
        decades = 10.0 ** np.arange(math.floor(first), math.log10(size) + 1)
        # Lines at 2 to 9 would fill a track of many decades.
        fine = range(1, 10) if len(decades) < 7 and self.kind == "log" else (1,)
        marks = [(decade * part, part == 1) for decade in decades.tolist() for part in fine]
        if self.kind == "symlog":
            marks += [(-mark, strong) for mark, strong in marks] + [(0.0, True)]
        at = self.place(np.array([mark for mark, _ in marks])).tolist()
        places = zip(at, (strong for _, strong in marks), strict=True)
        return [(place, strong) for place, strong in places if 0.01 < place < 0.99]

    @property
    def ends(self) -> tuple[str, str]:
        """The numbers at the ends of the scale."""
        left, right = (f"{end:g}".replace("-", MINUS) for end in (self.left, self.right))
        return left, right

    @classmethod
    def fitting(cls, values: Floats) -> Scale:
        """Return a scale with round ends that holds nearly all of the values."""
        axis = ValueAxis.fitting(values)
        if axis.kind == "linear":
            span = axis.high - axis.low
            power = 10.0 ** math.floor(math.log10(span))
            step = next(part * power for part in (0.1, 0.2, 0.5, 1) if 10 * part * power >= span)
            first, last = math.floor(axis.low / step), math.ceil(axis.high / step)
            return cls(0.0 if 0 < first < 0.2 * last else first * step, last * step)
        if axis.kind == "log":
            return cls(1 / _round_up(1 / axis.low), _round_up(axis.high), "log")
        low, high = (math.copysign(_round_up(abs(end)), end) for end in (axis.low, axis.high))
        return cls(low, high, "symlog", axis.threshold)


def _round_up(size: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size)) if size > 0 else 1.0
    return next(part * power for part in (1, 2, 5, 10) if part * power >= size * (1 - 1e-9))


class _Custom(NamedTuple):
    """How a log is drawn by custom: its scales, the usual one first, in a unit, and its line.

    One that ``floats`` has no true zero, and takes whichever scale fits it best.
    """

    meaning: str
    scales: tuple[tuple[float, float], ...]
    unit: str
    colour: str
    dashes: str = "-"
    kind: Kind = "linear"
    wraps: bool = False
    floats: bool = False


_BOREHOLE = ((6.0, 16.0), (6.0, 26.0), (6.0, 36.0))
_OHM = ((0.2, 2000.0),)
_POTENTIAL = ((-160.0, 40.0), (-100.0, 100.0), (0.0, 200.0))
# Units in which a log may be where none is stated.
_OTHERWISE = {"in": "mm", "g/cm3": "kg/m3", "m3/m3": "%", "us/ft": "us/m"}
# Logs that stand together in a track, from left to right as they are printed.
_CUSTOMS: tuple[tuple[_Custom, ...], ...] = (
    (
        _Custom("gamma_ray", ((0, 150),), "gAPI", GREEN, wraps=True),
        _Custom("caliper", _BOREHOLE, "in", BLACK, "--"),
        _Custom("bit_size", _BOREHOLE, "in", GREY, "-."),
        _Custom("spontaneous_potential", _POTENTIAL, "mV", BLUE, ":", floats=True),
    ),
    (_Custom("natural_gamma", ((0, 100),), "cps", GREEN, wraps=True),),
    (
        _Custom("deep_resistivity", _OHM, "ohm.m", RED, kind="log"),
        _Custom("medium_resistivity", _OHM, "ohm.m", PURPLE, "--", kind="log"),
        _Custom("shallow_resistivity", _OHM, "ohm.m", BLUE, ":", kind="log"),
    ),
    (
        # The pairs on which both curves meet in limestone, and in sandstone.
        _Custom("bulk_density", ((1.95, 2.95), (1.65, 2.65)), "g/cm3", RED),
        _Custom("neutron_porosity", ((0.45, -0.15), (0.6, 0.0)), "m3/m3", BLUE, "--"),
        _Custom("density_correction", ((-0.25, 0.25),), "g/cm3", BLACK, ":"),
    ),
    (
        _Custom("sonic_slowness", ((140, 40), (240, 40)), "us/ft", PURPLE),
        _Custom("shear_slowness", ((240, 40), (440, 40)), "us/ft", ORANGE, "--"),
    ),
    (_Custom("photoelectric_factor", ((0, 10),), "b/e", BROWN),),
)
CUSTOMARY = tuple(custom.meaning for customs in _CUSTOMS for custom in customs)
"""Meanings of the logs that are drawn by custom."""
_ENOUGH = 0.6  # Share of the values of a log within a scale from which it is drawn on it.
COLOURS = ("red", "green", "blue")
"""Meanings that are drawn as the colour they are, not as curves."""
_REST = (BLACK, ORANGE, BLUE, GREEN, BROWN, PURPLE)


@dataclass(frozen=True)
class Trace:
    """How one curve is drawn in its track; ``wraps``: beyond the right it begins again at left."""

    meaning: str
    unit: str
    scale: Scale
    colour: str
    dashes: str = "-"
    wraps: bool = False


@dataclass(frozen=True)
class Track:
    """Curves that are drawn over one another."""

    traces: tuple[Trace, ...]

    @property
    def meanings(self) -> set[str]:
        """What its curves mean."""
        return {trace.meaning for trace in self.traces}


def tracks_of(curves: Sequence[Curve]) -> list[Track]:
    """Arrange curves in tracks: by custom, then each other in a track of its own.

    A log that hardly fits its customary scale, such as the density of soft sediments, gets a
    scale by its values, and a track of its own.
    """
    by_meaning: Mapping[str, Curve] = {curve.meaning: curve for curve in curves}
    tracks: list[Track] = []
    for customs in _CUSTOMS:
        known = [(c, by_meaning[c.meaning]) for c in customs if c.meaning in by_meaning]
        known = [(custom, curve) for custom, curve in known if np.isfinite(curve.values).any()]
        # One place in their lists for all, so that curves of a track can be compared.
        places = range(max((len(custom.scales) for custom, _ in known), default=0))
        fits = [[_customary(custom, curve, i) for custom, curve in known] for i in places]
        traces, apart = [], []
        # The usual scales, unless they leave out much that others show.
        best = max(fits, key=lambda fit: min(np.mean([f[0] for f in fit]), 0.95), default=[])
        for (custom, curve), (share, unit, scale) in zip(known, best, strict=True):
            look = (custom.colour, custom.dashes)
            if share >= _ENOUGH:
                traces.append(Trace(custom.meaning, unit, scale, *look, custom.wraps))
            else:
                apart.append(_own(curve, *look))
        shared = [Track(tuple(traces))] if traces else []
        first = traces and traces[0].meaning == known[0][0].meaning
        tracks += [*shared, *apart] if first else [*apart, *shared]
    rest = [meaning for meaning in by_meaning if meaning not in (*CUSTOMARY, *COLOURS)]
    for meaning, colour in zip(rest, _REST * len(rest), strict=False):
        tracks.append(_own(by_meaning[meaning], colour))
    return tracks


def _own(curve: Curve, colour: str, dashes: str = "-") -> Track:
    """Return a track for one curve, on a scale by its values."""
    scale = Scale.fitting(curve.values)
    return Track((Trace(curve.meaning, curve.unit, scale, colour, dashes),))


def _unit_of(custom: _Custom, curve: Curve) -> str:
    """Return the unit of a curve; where none is stated, the first in which enough values fit."""
    if canonical_unit(curve.unit):
        return curve.unit
    for unit in (custom.unit, _OTHERWISE.get(custom.unit, custom.unit)):
        if any(_share(curve, scale, custom) >= _ENOUGH for scale in _scales(custom, unit)):
            return unit
    return custom.unit


def _scales(custom: _Custom, unit: str) -> list[Scale]:
    """Return the customary scales of a log in a unit, none where they cannot be converted."""
    if not can_convert(custom.unit, unit):
        return []
    ends = convert(np.array(custom.scales, dtype=np.float64), custom.unit, unit)
    return [Scale(float(f"{a:.3g}"), float(f"{b:.3g}"), custom.kind) for a, b in ends]


def _share(curve: Curve, scale: Scale, custom: _Custom) -> float:
    """Return the share of the values of a curve that lie within a scale."""
    at = scale.place(curve.values[np.isfinite(curve.values)])
    return float(((at >= 0) & (at <= 1 + custom.wraps)).mean())


def _customary(custom: _Custom, curve: Curve, place: int) -> tuple[float, str, Scale]:
    """Return the share of values within a customary scale, the unit of the curve, and the scale."""
    unit = _unit_of(custom, curve)
    scales = _scales(custom, unit)
    if not scales:
        return 0.0, unit, Scale(0.0, 1.0)
    scale = scales[min(place, len(scales) - 1)]
    if custom.floats:
        scale = max(scales, key=lambda one: _share(curve, one, custom))
    return _share(curve, scale, custom), unit, scale
