"""Figures that more than one field needs, and the parts they are put together from.

All of it is called within :func:`variolite.report.style.figure_style`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, Locator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from variolite.report import style
from variolite.report.formatting import MINUS
from variolite.report.style import axes_at, blend, ink_on, new_figure, shorten, to_svg

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = Literal["linear", "log", "symlog"]
Which = Literal["x", "y"]

SCALE_NAMES = {"linear": "linear", "log": "logarithmic", "symlog": "signed logarithmic"}
TAIL_RATIO = 5.0  # A tail this many times longer than the other side asks for a logarithmic axis
LINE = 18.0  # of a legend, its height


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

    def edges(self, bins: int) -> Floats:
        """Return the edges of bins, [bins + 1], that are equally wide on the paper."""
        if self.kind == "log":
            return np.geomspace(self.low, self.high, bins + 1)
        if self.kind == "symlog":
            low, high = (math.asinh(end / self.threshold) for end in (self.low, self.high))
            return self.threshold * np.sinh(np.linspace(low, high, bins + 1))
        return np.linspace(self.low, self.high, bins + 1)

    def on(self, axes: Axes, which: Which, ticks: int = 5) -> None:
        """Give axes this axis, with about so many ticks at round values."""
        locator: Locator | None = None
        if self.kind == "log":
            axes.set(**{f"{which}scale": "log"})
            decades = math.log10(self.high / self.low)
            subs = (1,) if decades > ticks - 1.5 else (1, 3) if decades > ticks / 3 else (1, 2, 5)
            locator = LogLocator(subs=subs, numticks=ticks + 1) if decades > 0.7 else None
        elif self.kind == "symlog":
            getattr(axes, f"set_{which}scale")("asinh", linear_width=self.threshold)
            # Zero and powers of ten on both sides, as many as there is room for.
            decades = math.log10(max(-self.low, self.high) / self.threshold + 1)
            stride = math.ceil(34 * decades / axes.bbox.width)
            sizes = np.arange(decades > 1.5, decades, stride)
            powers = self.threshold * 10.0**sizes
            found = np.concatenate([-powers[::-1], [0.0], powers])
            locator = FixedLocator(found[(found >= self.low) & (found <= self.high)].tolist())
        axes.set(**{f"{which}lim": (self.low, self.high)})
        number_axis(axes, which, ticks, locator)


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


def number_axis(axes: Axes, which: Which, ticks: int = 5, locator: Locator | None = None) -> None:
    """Set about so many ticks at round values, written as powers of ten beyond 1e-4 and 1e6."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    # Long numbers need twice the room.
    wide = not 1e-3 <= np.abs(axis.get_view_interval()).max() < 1e4
    even = MaxNLocator(ticks // (1 + wide) + 1, steps=[1, 2, 5, 10], min_n_ticks=2 - wide)
    axis.set_major_locator(locator or even)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_tick_text)


def _tick_text(value: float, _: float) -> str:
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:g}").replace("-", MINUS)


# Parts of figures


def panels(
    count: int,
    *,
    abreast: int,
    height: float,
    left: float = 54.0,
    right: float = 12.0,
    top: float = 26.0,
    below: float = 46.0,
    gap: float = 60.0,
    foot: float = 0.0,
    widest: float = style.WIDTH,
    **settings: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows, each with room at its top and below, all in pixels.

    ``left`` and ``right`` are the margins of the figure, ``gap`` is between the panels of a row,
    ``foot`` below everything; ``settings`` are given to each of the axes.
    """
    width = min((style.WIDTH - left - right - gap * (abreast - 1)) / abreast, widest)
    whole = top + height + below
    figure = new_figure(-(-count // abreast) * whole + foot)
    drawn = []
    for place in range(count):
        row, column = divmod(place, abreast)
        axes = axes_at(figure, left + column * (width + gap), row * whole + top, width, height)
        axes.set(**settings)
        drawn.append(axes)
    return figure, drawn


def wrapped(name: str, width: float) -> str:
    """Break a name into at most two bold lines of about a width in pixels."""
    most = max(int(width / 7), 3)
    return "\n".join(textwrap.wrap(shorten(name, 80), most, max_lines=2, placeholder="…"))


def titled(axes: Axes, title: str, note: str) -> None:
    """Write a title over axes, and a note in smaller letters below it."""
    axes.set_title(shorten(title, int(axes.bbox.width / style.LETTER)), pad=19)
    note_over(axes, shorten(note, int(axes.bbox.width / 5.9)))


def note_over(axes: Axes, note: str, up: float = 6.0) -> None:
    """Write in small letters so many pixels over axes."""
    place = {"xytext": (0, up), "xycoords": "axes fraction", "textcoords": "offset pixels"}
    axes.annotate(note, (0, 1), fontsize=style.SMALL, color=style.MUTED, **place)  # type: ignore[arg-type]


def legend_height(names: Sequence[str], width: float) -> float:
    """Return the height that :func:`legend` will need."""
    return -(-len(names) // _columns(names, width)) * LINE


def legend(
    figure: Figure, entries: Sequence[tuple[str, str]], left: float, top: float, width: float
) -> None:
    """Explain colours by (name, colour) pairs in columns that fit ``width`` pixels."""
    names = [shorten(name) for name, _ in entries]
    boxes = [Patch(facecolor=colour, edgecolor=style.MUTED, linewidth=0.5) for _, colour in entries]
    key(figure, boxes, names, left, top, ncols=_columns(names, width), handlelength=1.0)


def key(
    figure: Figure, handles: Sequence[Any], names: Sequence[str], left: float, top: float,
    **settings: Any,
) -> None:  # fmt: skip
    """Set matplotlib's legend with its upper left corner at pixels of the figure."""
    place = (left / style.WIDTH, 1 - top / (72 * figure.get_figheight()))
    figure.legend(handles, names, loc="upper left", bbox_to_anchor=place, **settings)


def _columns(names: Sequence[str], width: float) -> int:
    """Return how many columns fit: each is as wide as its longest name."""
    widths = [len(shorten(name)) * 1.1 * style.LETTER + 42 for name in names]
    counts = range(len(names), 1, -1)
    return next((n for n in counts if sum(map(max, np.array_split(widths, n))) < width + 20), 1)


def heat_map(axes: Axes, colours: Floats, texts: Sequence[Sequence[str]]) -> None:
    """Fill cells of the axes with colours, [rows, columns, 4] of RGBA, and texts, from the top."""
    rows, columns = colours.shape[:2]
    axes.pcolormesh(
        np.arange(columns + 1), np.arange(rows + 1), colours, ec=style.PAPER, linewidth=1
    )
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            ink = ink_on(to_hex(colours[row, column]))
            place = (column + 0.5, row + 0.5)
            axes.text(*place, text, ha="center", va="center", fontsize=style.SMALL, color=ink)


def colour_bar(
    figure: Figure, colours: Colormap, place: tuple[float, float, float, float],
    marks: Mapping[float, str],
) -> None:  # fmt: skip
    """Draw the key of a colour map in a box of pixels, with texts at fractions of its length."""
    box = axes_at(figure, *place)
    lies = "horizontal" if place[2] > place[3] else "vertical"
    bar = figure.colorbar(ScalarMappable(cmap=colours), cax=box, orientation=lies)
    bar.set_ticks(list(marks), labels=list(marks.values()))
    assert bar.solids is not None
    bar.solids.set_rasterized(True)
    bar.outline.set(edgecolor=style.MUTED, linewidth=0.5)
    box.tick_params(length=0, pad=5, labelsize=style.SMALL, labelcolor=style.MUTED)


def histogram(axes: Axes, values: Floats, axis: ValueAxis, *, noun: str, bins: int = 40) -> None:
    """Draw how many of the values [n] lie where, with lines at the median and at 95 %."""
    axis.on(axes, "x")
    known = axis.inside(values[np.isfinite(values)])
    counts, edges = np.histogram(known, bins=axis.edges(bins))
    shade = blend(("#ffffff", style.ACCENT), 0.55)
    axes.stairs(counts, edges, fill=True, facecolor=shade, edgecolor=style.ACCENT)
    axes.set_ylim(0, max(float(counts.max(initial=0)), 1.0) * 1.06)
    axes.set_ylabel(noun)
    number_axis(axes, "y", 4)
    if known.size:
        middle, high = np.quantile(known, [0.5, 0.95])
        axes.axvline(middle, color=style.INK, linewidth=1.6)
        axes.axvline(high, color=style.SECOND, linewidth=1.6, linestyle=style.DASHES)


def shares_by_bin(
    axes: Axes, edges: Floats, values: Sequence[Floats], colours: Sequence[str]
) -> None:
    """Draw which per cent of values [n] lie in each bin, those beyond the edges at the ends.

    One line above another; what has the colour `style.OTHER` is bars behind all of them.
    """
    for some, colour in zip(values, colours, strict=False):
        known, filled = some[np.isfinite(some)], colour == style.OTHER
        counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
        share = 100 * counts / max(len(known), 1)
        axes.stairs(share, edges, fill=filled, color=colour, linewidth=1.8, zorder=2 - filled)
    axes.set_xlim(edges[0], edges[-1])


# Intervals


@dataclass(frozen=True)
class Whisker:
    """A score with its interval, NaN where there is none."""

    mean: float
    low: float
    high: float
    colour: str
    hollow: bool = False
    strong: bool = False

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def share_whisker(hits: int, of: int, colour: str = style.ACCENT) -> Whisker:
    """Return a share in per cent with its 95 % interval by Wilson's score method (Wilson 1927)."""
    # By hand: loading scipy.stats for it would take longer than drawing the figure.
    z, share = 1.959963984540054, hits / of
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    return Whisker(100 * share, 100 * (middle - half), 100 * (middle + half), colour)


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
    shown: Sequence[IntervalPanel],
    *,
    title: str,
    row: float = 23.0,
    widest: float = style.WIDTH,
    key: Sequence[tuple[str, str]] = (),
) -> Markup:
    """Draw dots with whiskers, a row per method and up to three panels abreast, one a measure.

    The interval of the first strong whisker is drawn down its panel as a pale band, so that an
    overlap is seen without a ruler. ``key`` names colours below.
    """
    texts = [shorten(label.text, 44) for label in labels]
    left = max(len(text) for text in texts) * style.LETTER + 24
    abreast = max(min(3, len(shown)), 1)
    height = row * max(len(panel.whiskers) for panel in shown)
    foot = legend_height([name for name, _ in key], style.WIDTH - left) + 4
    figure, drawn = panels(
        len(shown), abreast=abreast, height=height, left=left, gap=26, foot=foot, widest=widest
    )
    for place, (axes, panel) in enumerate(zip(drawn, shown, strict=True)):
        axes.grid(axis="x")
        most = int((axes.bbox.width + 10) / 6.9)
        axes.set(title=shorten(panel.title, most), xlabel=shorten(panel.axis, most + 8))
        draw_whiskers(axes, panel.whiskers)
        if place % abreast == 0:
            axes.set_yticks([label.at for label in labels], texts)
            for label, written in zip(labels, axes.get_yticklabels(), strict=True):
                written.set_fontweight("bold" if label.bold else "normal")
    if key:
        legend(figure, key, left, 72 * figure.get_figheight() - foot, style.WIDTH - left)
    return to_svg(figure, title)


def draw_whiskers(axes: Axes, whiskers: Sequence[Whisker | None]) -> None:
    """Draw one row per whisker from top to bottom; None leaves its row empty."""
    present = [
        (place, whisker)
        for place, whisker in enumerate(whiskers)
        if whisker and math.isfinite(whisker.mean)
    ]
    low, high = interval_limits(x for _, w in present for x in (w.mean, w.low, w.high))
    axes.set(xlim=(low, high), ylim=(len(whiskers) - 0.5, -0.5), yticks=[])
    axes.tick_params(axis="y", length=0, pad=10)
    number_axis(axes, "x", 4)
    axes.spines["left"].set_edgecolor(style.FAINT)
    if low < 0 < high:
        axes.axvline(0, color=style.INK, linewidth=0.7)
    strong = next((whisker for _, whisker in present if whisker.strong), None)
    if strong and strong.bounded:
        axes.axvspan(strong.low, strong.high, color=strong.colour, alpha=0.1, linewidth=0)
    bounded = [(place, whisker) for place, whisker in present if whisker.bounded]
    rows, colours = [place for place, _ in bounded], [w.colour for _, w in bounded]
    lows, highs = [w.low for _, w in bounded], [w.high for _, w in bounded]
    axes.hlines(rows, lows, highs, colors=colours, linewidth=1.6)
    axes.scatter([*lows, *highs], rows * 2, s=49, c=colours * 2, marker="|", linewidths=1.6)
    axes.scatter(
        [w.mean for _, w in present],
        [place for place, _ in present],
        s=70,
        c=[style.PAPER if w.hollow else w.colour for _, w in present],
        edgecolors=[w.colour for _, w in present],
        linewidths=1.6,
        zorder=3,
        clip_on=False,
    )


def interval_limits(values: Iterable[float]) -> tuple[float, float]:
    """Return limits that hold means and ends of intervals, from zero where the least is near."""
    ends = [value for value in values if math.isfinite(value)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) * 0.1 or 0.1), high + (abs(high) * 0.1 or 0.1)
    room = 0.08 * (high - low)
    return (0.0 if 0 <= low < 0.6 * high else low - room), high + room
