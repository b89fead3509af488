"""Figures that more than one field needs, and the parts they are put together from.

All of it is called within :func:`variolite.report.style.figure_style`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, Formatter, Locator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from variolite.report.style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    PAPER,
    SECOND,
    SMALL,
    WIDTH,
    axes_at,
    blend,
    new_figure,
    text_width,
    to_svg,
    tooltip,
    write,
)
from variolite.report.tables import MINUS, decimals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = Literal["linear", "log", "symlog"]

SCALE_NAMES: dict[Kind, str] = {
    "linear": "linear",
    "log": "logarithmic",
    "symlog": "signed logarithmic",
}
TAIL_RATIO = 5.0
"""A tail this many times longer than the other side asks for a logarithmic axis."""
REACH = 10.0
"""How far the number of a tick may reach beyond its axis."""
LINE = 18.0
"""Height of one line of a legend."""


# Axes that suit the values


@dataclass(frozen=True)
class ValueAxis:
    """Limits and kind of an axis; ``symlog`` is logarithmic in both tails, linear near zero."""

    low: float
    high: float
    kind: Kind = "linear"
    threshold: float = 1.0

    @classmethod
    def fitting(cls, values: Floats, *, tail: float = 0.001, margin: float = 0.04) -> ValueAxis:
        """Return the axis of an input: all but the outermost ``tail`` of each side is inside.

        It is logarithmic where one tail is very long: ``log`` where at least 99.9 % of the
        finite values are above zero, ``symlog`` otherwise, with a power of ten near the median
        size as its threshold.
        """
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            return cls(0.0, 1.0)
        low, high = (float(edge) for edge in np.quantile(finite, [tail, 1 - tail]))
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            room = abs(low) * 0.1 or 1.0
            return cls(low - room, high + room)
        kind, threshold = _kind_for(finite)
        room = (high - low) * margin if kind == "linear" else 0.0
        return cls(low - room, high + room, kind, threshold)

    def inside(self, values: Floats) -> Floats:
        """Return values with those beyond the limits moved to the nearer one; NaN stays."""
        return np.clip(values, self.low, self.high)

    def on(self, axes: Axes, which: Literal["x", "y"], ticks: int = 5) -> None:
        """Give axes this axis, with about so many ticks at round values."""
        if self.kind == "log":
            axes.set(**{f"{which}scale": "log"})
        elif self.kind == "symlog":
            getattr(axes, f"set_{which}scale")("asinh", linear_width=self.threshold)
        axes.set(**{f"{which}lim": (self.low, self.high)})
        number_axis(axes, which, ticks, locator=self._locator(ticks))

    def _locator(self, ticks: int) -> Locator | None:
        if self.kind == "log":
            decades = math.log10(self.high / self.low)
            subs = (1,) if decades > ticks - 1.5 else (1, 3) if decades > ticks / 3 else (1, 2, 5)
            return LogLocator(subs=subs, numticks=ticks + 1) if decades > 0.7 else None
        if self.kind == "symlog":
            return FixedLocator(_symlog_ticks(self, ticks))
        return None


def _kind_for(finite: Floats) -> tuple[Kind, float]:
    if finite.size < 20:
        return "linear", 1.0
    least, low, middle, high = (float(q) for q in np.quantile(finite, [0.001, 0.02, 0.5, 0.98]))
    if high - middle <= TAIL_RATIO * max(middle - low, 0.0) or high <= low:
        return "linear", 1.0
    if least > 0:
        return "log", 1.0
    size = float(np.median(np.abs(finite)))
    return "symlog", 10.0 ** math.floor(math.log10(size)) if size > 0 else 1.0


def _symlog_ticks(axis: ValueAxis, target: int) -> list[float]:
    """Return zero and powers of ten times the threshold, as many as there is room for."""
    low, high = (math.asinh(end / axis.threshold) for end in (axis.low, axis.high))
    room = (high - low) / target
    top = math.ceil(math.log10(max(abs(axis.low), abs(axis.high)) / axis.threshold + 1))
    sizes = [axis.threshold * 10.0**power for power in range(top + 1)]
    kept: list[float] = [0.0]
    for sign in (1, -1):
        last = 0.0
        for size in sizes:
            place = math.asinh(size / axis.threshold)
            if axis.low <= sign * size <= axis.high and place - last >= 0.55 * room:
                kept.append(sign * size)
                last = place
    return sorted(value for value in kept if axis.low <= value <= axis.high)


class Numbers(Formatter):
    """Ticks with equally many decimals; what would touch another number is left out."""

    def __init__(self, axes: Axes, which: Literal["x", "y"]) -> None:
        self._axes, self._upright = axes, which == "y"

    def __call__(self, value: float, pos: int | None = None) -> str:  # noqa: ARG002
        return tick_texts([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the text of each tick."""
        texts = tick_texts(list(values))
        if self._upright or not texts:
            return texts
        # Pixels from the left end of the axis.
        size = self._axes.xaxis.get_major_ticks(1)[0].label1.get_fontsize()
        to_pixels = self._axes.get_xaxis_transform()
        places = to_pixels.transform([(value, 0.0) for value in values])[:, 0]
        low, high = self._axes.bbox.x0 - 0.5, self._axes.bbox.x1 + 0.5
        edge = -math.inf
        for index, place in enumerate(places.tolist()):
            if not low <= place <= high:
                continue
            half = text_width(texts[index], size) / 2
            if place - half < max(edge + 6, low - REACH) or place + half > high + REACH:
                texts[index] = ""
            else:
                edge = place + half
        return texts


def number_axis(
    axes: Axes, which: Literal["x", "y"], ticks: int = 5, *, locator: Locator | None = None
) -> None:
    """Set about so many ticks at round values, and their numbers as on the rest of the page."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(locator or MaxNLocator(nbins=ticks + 1, steps=[1, 2, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(Numbers(axes, which))


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Write ticks with the same number of decimals, or as powers of ten where they are extreme."""
    largest = max((abs(value) for value in ticks), default=0.0)
    if largest == 0:
        return ["0" for _ in ticks]
    if largest >= 1e6 or largest < 1e-4:
        return [_power(value) for value in ticks]
    gaps = [abs(after - before) for before, after in pairwise(ticks)]
    if gaps and max(gaps) - min(gaps) < 1e-6 * max(gaps):
        places = _places(max(gaps))
        return [decimals(value, places) for value in ticks]
    return [decimals(value, _places(abs(value) or largest)) for value in ticks]


def _places(step: float) -> int:
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return places + (round(step * 10.0**places, 6) % 1 != 0)


def _power(value: float) -> str:
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    written = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return written.replace("-", MINUS)


# Parts of figures


SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], dtype=np.float64)
"""The corners of a box, closed."""


def boxes(
    figure: Figure,
    places: Floats | Sequence[tuple[float, float, float, float]],
    colours: Sequence[str],
    *,
    edge: str = "none",
    width: float = 0.5,
    title: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Fill rectangles, [n, 4] of left, top, width and height in pixels of the figure.

    ``notes`` are shown when the pointer rests on a rectangle, ``title`` on any of them; without
    ``notes`` those of one colour become one path.
    """
    places = np.asarray(places, dtype=np.float64).reshape(-1, 4)
    corners = from_top(figure, places[:, None, :2] + SQUARE * places[:, None, 2:])
    shades = list(colours if notes else dict.fromkeys(colours))
    owners = np.arange(len(places)) if notes else np.array([shades.index(c) for c in colours])
    drawn = PathCollection(
        [closed(corners[owners == index]) for index in range(len(shades))],
        facecolors=shades,
        edgecolors=edge,
        linewidths=0 if edge == "none" else width,
        transform=figure.transSubfigure,
    )
    if notes or title:
        tooltip(drawn, *(notes or (title,)))
    figure.add_artist(drawn)


def closed(corners: Floats) -> Path:
    """Return one path of closed shapes, [n, 5, 2]."""
    codes = np.array([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], dtype=np.uint8)
    return Path(corners.reshape(-1, 2), np.tile(codes, len(corners)))


def from_top(figure: Figure, pixels: Floats) -> Floats:
    """Turn pixels [..., 2] from the upper left corner into shares of the figure."""
    shares: Floats = np.abs(pixels / (figure.get_size_inches() * 72) - (0, 1))
    return shares


def legend_height(names: Sequence[str], width: float) -> float:
    """Return the height that :func:`legend` will need."""
    return _flow(names, width)[-1][1] + LINE if names else 0.0


def legend(
    figure: Figure, entries: Sequence[tuple[str, str]], left: float, top: float, width: float
) -> None:
    """Draw (name, colour) pairs as squares with names, in lines that fit ``width`` pixels."""
    if not entries:
        return
    places = [(left + x, top + y) for x, y in _flow([name for name, _ in entries], width)]
    boxes(
        figure, [(x, y, 11, 11) for x, y in places], [colour for _, colour in entries], edge=MUTED
    )
    for (name, _), (x, y) in zip(entries, places, strict=True):
        write(figure, x + 16, y + 9.5, name, room=min(width - 20, 260))


def key(figure: Figure, handles: Sequence[Artist], left: float, top: float) -> None:
    """Explain strokes and shades by their labels, in one line whose middle is at ``top``."""
    width, height = figure.get_size_inches() * 72
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(left / width, 1 - top / height),
        borderpad=0,
        borderaxespad=0,
        ncols=len(handles),
    )


def _flow(names: Sequence[str], width: float) -> list[tuple[float, float]]:
    """Return where each square of a legend stands, line after line."""
    x = y = 0.0
    places: list[tuple[float, float]] = []
    for name in names:
        need = 34 + min(text_width(name), width - 20, 260)
        if x > 0 and x + need - 18 > width:
            x, y = 0.0, y + LINE
        places.append((x, y))
        x += need
    return places


def histogram(axes: Axes, values: Floats, axis: ValueAxis, *, noun: str, bins: int = 40) -> None:
    """Draw how many of the values [n] lie where, with lines at the median and at 95 %."""
    axis.on(axes, "x")
    known = axis.inside(values[np.isfinite(values)])
    edges = np.linspace(axis.low, axis.high, bins + 1)
    if axis.kind == "log":
        edges = np.geomspace(axis.low, axis.high, bins + 1)
    counts, _ = np.histogram(known, bins=edges)
    axes.stairs(
        counts, edges, fill=True, facecolor=blend(("#ffffff", ACCENT), 0.55), edgecolor=ACCENT
    )
    axes.set_ylim(0, max(float(counts.max(initial=0)), 1.0) * 1.06)
    axes.set_ylabel(noun)
    number_axis(axes, "y", 4)
    if known.size:
        middle, high = np.quantile(known, [0.5, 0.95])
        axes.axvline(middle, color=INK, linewidth=1.6)
        axes.axvline(high, color=SECOND, linewidth=1.6, dashes=(5 / 1.6, 3 / 1.6))


# Intervals


@dataclass(frozen=True)
class Whisker:
    """A score with its interval; ``note`` is shown when the pointer rests on it."""

    mean: float
    low: float
    high: float
    colour: str
    note: str
    hollow: bool = False
    strong: bool = False

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class IntervalPanel:
    """One measure: a whisker per row, None where there is no such score."""

    title: str
    axis: str
    whiskers: Sequence[Whisker | None]


@dataclass(frozen=True)
class RowLabel:
    """What stands left of an interval figure; ``at`` counts rows from 0, halves allowed."""

    text: str
    at: float
    bold: bool = False


def interval_figure(
    labels: Sequence[RowLabel],
    panels: Sequence[IntervalPanel],
    *,
    title: str,
    row: float = 23.0,
    abreast: int = 3,
    widest: float = WIDTH,
    key: Sequence[tuple[str, str]] = (),
) -> Markup:
    """Draw dots with whiskers, a row per method and a panel per measure.

    The interval of the first strong whisker is drawn down its panel as a pale band, so that an
    overlap is seen without a ruler. ``key`` names colours below.
    """
    top, below, gap = 26.0, 72.0, 26.0
    room = min(max(text_width(label.text, bold=True) for label in labels) + 4, 270)
    abreast = max(min(abreast, len(panels)), 1)
    width = min((WIDTH - room - 24 - gap * (abreast - 1)) / abreast, widest)
    height = row * max(len(panel.whiskers) for panel in panels)
    tiers = math.ceil(len(panels) / abreast)
    foot = top + tiers * (height + below) - 32
    figure = new_figure(foot + legend_height([name for name, _ in key], WIDTH - room - 24) + 4)
    for index, panel in enumerate(panels):
        left = room + 14 + index % abreast * (width + gap)
        upper = top + index // abreast * (height + below)
        axes = axes_at(
            figure, left, upper, width, height, title=panel.title, x_label=panel.axis, grid="x"
        )
        draw_whiskers(axes, panel.whiskers)
        if index % abreast == 0:
            for label in labels:
                write(
                    figure,
                    left - 10,
                    upper + (label.at + 0.5) * row + 4,
                    label.text,
                    anchor="right",
                    bold=label.bold,
                    room=room,
                )
    legend(figure, key, room + 14, foot, WIDTH - room - 24)
    return to_svg(figure, title)


def draw_whiskers(axes: Axes, whiskers: Sequence[Whisker | None]) -> None:
    """Draw one row per whisker from top to bottom; None leaves its row empty."""
    present = [
        (place, whisker)
        for place, whisker in enumerate(whiskers)
        if whisker and math.isfinite(whisker.mean)
    ]
    low, high = interval_limits(x for _, w in present for x in (w.mean, w.low, w.high))
    axes.set(xlim=(low, high), ylim=(len(whiskers) - 0.5, -0.5))
    number_axis(axes, "x", 4)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_edgecolor(FAINT)
    if low < 0 < high:
        axes.axvline(0, color=INK, linewidth=0.7)
    strong = next((whisker for _, whisker in present if whisker.strong), None)
    if strong and strong.bounded:
        axes.axvspan(strong.low, strong.high, color=strong.colour, alpha=0.1, linewidth=0)
    if not present:
        return
    bounded = [(place, whisker) for place, whisker in present if whisker.bounded]
    cap = 3.5 / (axes.bbox.height / len(whiskers))
    bars = [[(w.low, y), (w.high, y)] for y, w in bounded]
    caps = [[(x, y - cap), (x, y + cap)] for y, w in bounded for x in (w.low, w.high)]
    colours = [w.colour for _, w in bounded]
    axes.add_collection(
        LineCollection(
            [*bars, *caps],
            colors=[*colours, *(c for c in colours for _ in range(2))],
            linewidths=1.6,
        )
    )
    marks = axes.scatter(
        [w.mean for _, w in present],
        [y for y, _ in present],
        s=8.4**2,
        c=[PAPER if w.hollow else w.colour for _, w in present],
        edgecolors=[w.colour for _, w in present],
        linewidths=1.6,
        zorder=3,
        clip_on=False,
    )
    tooltip(marks, *(w.note for _, w in present))


def interval_limits(values: Iterable[float]) -> tuple[float, float]:
    """Return limits that hold means and ends of intervals, from zero where the least is near."""
    ends = [value for value in values if math.isfinite(value)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) * 0.1 or 0.1), high + (abs(high) * 0.1 or 0.1)
    room = 0.08 * (high - low)
    return (0.0 if 0 <= low < 0.6 * high else low - room), high + room


# Colours as values


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix; ``note`` is shown when the pointer rests on it."""

    colour: str
    text: str
    ink: str
    note: str


def matrix(
    figure: Figure, left: float, top: float, size: tuple[float, float], rows: Sequence[list[Cell]]
) -> None:
    """Draw rows of coloured cells, each of a width and height in pixels, with text in them."""
    width, height = size
    placed = [
        (left + column * width, top + row * height, cell)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    ]
    boxes(
        figure,
        [(x + 0.5, y + 0.5, width - 1, height - 1) for x, y, _ in placed],
        [cell.colour for *_, cell in placed],
        notes=[cell.note for *_, cell in placed],
    )
    for x, y, cell in placed:
        if cell.text:
            middle = (x + width / 2, y + height / 2 + 4)
            write(figure, *middle, cell.text, size=SMALL, anchor="center", colour=cell.ink)


def ramp(
    figure: Figure,
    colours: LinearSegmentedColormap,
    place: tuple[float, float, float, float],
    marks: Sequence[tuple[float, str]],
) -> None:
    """Draw the key of a colour map in a box, with texts at shares of its length."""
    left, top, width, height = place
    shares = np.arange(48) / 48
    rest = 1 - shares
    zero, one = np.zeros(48), np.ones(48)
    # Each step reaches to the end and the next covers it, so that no seams show.
    steps = (shares, zero, rest, one) if width > height else (zero, zero, one, rest)
    bars = np.column_stack(steps) * (width, height, width, height) + (left, top, 0, 0)
    boxes(figure, bars, [blend(colours, float(share)) for share in shares * 48 / 47])
    boxes(figure, [place], ["none"], edge=MUTED)
    for share, text in marks:
        if width > height:
            x, y, anchor = left + share * width, top + height + 13, "center"
        else:
            x, y, anchor = left + width + 5, top + height * (1 - share) + 4, "left"
        write(figure, x, y, text, size=SMALL, colour=MUTED, anchor=anchor)
