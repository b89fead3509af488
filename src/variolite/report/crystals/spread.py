"""How a number spreads over crystals: histograms, and quantiles by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.report.axes import Frame, axis_below, axis_left, box, letters, line
from variolite.report.lettering import significant
from variolite.report.markup import Markup, element, join
from variolite.report.palette import ACCENT, FAINT, INK, MUTED, SECOND, blend
from variolite.report.scale import Scale, limits
from variolite.report.wording import unit_after

__all__ = ["Measure", "histogram", "measure_scale", "quantile_rows"]

Floats = NDArray[np.float64]

BARS = 40
DECADES = 1.3
"""Values that spread over more powers of ten than this get a logarithmic axis."""
WIDEST_DECADES = 4.0


@dataclass(frozen=True)
class Measure:
    """One number of every crystal, [B], not negative; NaN where there is none."""

    title: str
    unit: str
    values: Floats

    @property
    def axis(self) -> str:
        """Title with unit."""
        return f"{self.title} ({self.unit})"

    @property
    def known(self) -> Floats:
        """The values there are."""
        return self.values[np.isfinite(self.values)]

    def summary(self) -> str:
        """Say median and 95 % mark."""
        if not self.known.size:
            return "no values"
        middle, high = (float(q) for q in np.quantile(self.known, [0.5, 0.95]))
        unit = unit_after(self.unit)
        return f"median {significant(middle, 2)}{unit}, 95 % below {significant(high, 2)}{unit}"


def measure_scale(measure: Measure, start: float, end: float) -> Scale:
    """Return a logarithmic scale where the values ask for one, otherwise one from zero."""
    known = measure.known
    positive = known[known > 0]
    if positive.size >= 20 and positive.size >= 0.5 * known.size:
        low, high = (float(q) for q in np.quantile(positive, [0.005, 0.999]))
        if high > 0 and math.log10(high / low) > DECADES:
            low = max(low, high / 10**WIDEST_DECADES)
            return Scale(low, high * 1.05, start, end, "log")
    high = limits(known)[1] if known.size else 1.0
    return Scale(0.0, max(high, 1e-9), start, end)


def histogram(measure: Measure, frame: Frame, noun: str = "crystals") -> Markup:
    """Draw how many crystals have which value, with lines at the median and at 95 %."""
    across = measure_scale(measure, frame.left, frame.right)
    places = across.inside(measure.known)
    counts, edges = np.histogram(places, bins=BARS, range=(frame.left, frame.right))
    down = Scale(0.0, max(float(counts.max(initial=0)), 1.0) * 1.06, frame.bottom, frame.top)
    pale = blend(("#ffffff", ACCENT), 0.55)
    bars = [
        element(
            "rect",
            x=left,
            y=down.at(float(count)),
            width=right - left,
            height=frame.bottom - down.at(float(count)),
            fill=pale,
            stroke=ACCENT,
            stroke_width=0.6,
        )
        for count, left, right in zip(
            counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True
        )
        if count
    ]
    marks: list[Markup] = []
    if measure.known.size:
        for share, colour, dashes in ((0.5, INK, None), (0.95, SECOND, "5 3")):
            x = float(across.inside(np.quantile(measure.known, [share]))[0])
            marks.append(
                line(x, frame.top, x, frame.bottom, stroke=colour, width=1.6, dashes=dashes)
            )
    return join(
        (
            axis_left(down, frame, noun, target=4),
            axis_below(across, frame, measure.axis, grid=False),
            *bars,
            *marks,
            letters(frame.left, frame.top - 22, measure.title, bold=True, room=frame.width),
            letters(frame.left, frame.top - 8, measure.summary(), size=10.5, room=frame.width),
        )
    )


def quantile_rows(
    measure: Measure, groups: Sequence[NDArray[np.bool_]], frame: Frame, title: str
) -> Markup:
    """Draw one row per group: 5 to 95 % as a line, 25 to 75 % as a bar, the median as a dot."""
    across = measure_scale(measure, frame.left, frame.right)
    height = frame.height / max(len(groups), 1)
    rows: list[Markup] = []
    for index, group in enumerate(groups):
        values = measure.values[group]
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        y = frame.top + (index + 0.5) * height
        shares = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        least, low, middle, high, most = across.inside(shares).tolist()
        note = (
            f"n = {values.size:,}: median {significant(float(shares[2]))}, quarters "
            f"{significant(float(shares[1]))} to {significant(float(shares[3]))}"
            f"{unit_after(measure.unit)}"
        )
        rows.append(
            element(
                "g",
                element("title", note),
                line(least, y, most, y, stroke=ACCENT, width=1.4),
                line(low, y, high, y, stroke=blend(("#ffffff", ACCENT), 0.5), width=8),
                element("circle", cx=middle, cy=y, r=3.8, fill=INK),
            )
        )
    every = (
        float(across.inside(np.array([np.median(measure.known)]))[0])
        if len(measure.known)
        else frame.left
    )
    return join(
        (
            axis_below(across, frame, measure.axis, target=4),
            line(every, frame.top, every, frame.bottom, stroke=MUTED, dashes="4 3"),
            box(frame, stroke=FAINT),
            *rows,
            letters(frame.left, frame.top - 9, title, bold=True, room=frame.width),
        )
    )
