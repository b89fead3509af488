"""The figures of a crystal run: plain arrays in, one matplotlib figure out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import (
    FAMILIES,
    SYMBOLS,
    compositions,
    densities,
    place_in_table,
)
from variolite.report import style
from variolite.report.clouds import PlaneMap, dot_size, fit_of, parity_panel
from variolite.report.figures import (
    ValueAxis,
    colour_bar,
    draw_whiskers,
    histogram,
    number_axis,
    panels,
    share_whisker,
    shares_by_bin,
    titled,
)
from variolite.report.formatting import decimals, significant, unit_after
from variolite.report.style import axes_at, blend, ink_on, new_figure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]

FEW = (
    500  # up to this number crystals are dots; squares of one crystal each would be pale and small
)
DECADES, WIDEST_DECADES = 1.3, 4.0  # logarithmic axes: powers of ten at least, and at most
MOST_ELEMENTS = 30
BINS, SHADES = 28, 7
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GROUND = blend((style.PAPER, style.OTHER), 0.7)  # colour of the crystals that a panel is not about
# The palest categories are left out: dots of them would vanish on white paper.
_COLOURS = [style.CATEGORIES[i] for i in (0, 1, 2, 3, 4, 5, 8, 7, 13, 9, 10)]
FAMILY_COLOURS = dict(zip(FAMILIES, [*_COLOURS, style.OTHER], strict=True))
# Columns of `Pairs.parameters` in the order of the panels.
_CELL = (
    *((name, "Å", column) for column, name in enumerate("abc")),
    ("volume per atom", "Å³", 6),
    *((name, "°", column) for column, name in enumerate("αβγ", 3)),
)


@dataclass(frozen=True)
class Measure:
    """One number of every crystal, [B], not negative; NaN where there is none."""

    title: str
    unit: str
    values: Floats

    @property
    def known(self) -> Floats:
        """The values there are."""
        return self.values[np.isfinite(self.values)]

    @property
    def axis(self) -> ValueAxis:
        """The axis of the values: logarithmic where they ask for it, otherwise from zero."""
        known = self.known
        positive = known[known > 0]
        if positive.size >= 20 and positive.size >= 0.5 * known.size:
            low, high = (float(q) for q in np.quantile(positive, [0.005, 0.999]))
            if math.log10(high / low) > DECADES:
                return ValueAxis(max(low, high / 10**WIDEST_DECADES), high * 1.05, "log")
        high = 1.05 * float(np.quantile(known, 0.999)) if known.size else 1.0
        return ValueAxis(0.0, max(high, 1e-9))

    @property
    def summary(self) -> str:
        """Median and 95 % mark in words."""
        if not self.known.size:
            return "no values"
        middle, high = (significant(float(q), 2) for q in np.quantile(self.known, [0.5, 0.95]))
        unit = unit_after(self.unit)
        return f"median {middle}{unit}, 95 % below {high}{unit}"


def cell_parity(original: Floats, rebuilt: Floats) -> Figure:
    """Draw cell parameters and volumes per atom, [B, 7], of originals against reconstructions.

    A dot for each of a few crystals, counts per square for many.
    """
    few = len(original) <= FEW
    side = (style.WIDTH - 54 - 6 - 3 * 62) / 4
    figure, drawn = panels(len(_CELL), abreast=4, height=side, top=38, gap=62)
    for axes, (name, unit, column) in zip(drawn, _CELL, strict=True):
        x, y = original[:, column], rebuilt[:, column]
        fit = fit_of(x, y)
        # Only a perfect one is called 1.
        r2 = "> 0.999" if 0.9995 <= fit.r2 < 1 else decimals(fit.r2, 3)
        error = f"R² {r2}, MAE {significant(fit.mae, 2)}{unit_after(unit)}"
        title = (name, error if fit.rows else "no crystal has both values")
        parity_panel(axes, (x, y), _parity_axis(x, y), title, few=few)
        axes.set(xlabel=f"original ({unit})", ylabel=f"reconstructed ({unit})")
    if not few:
        place = (style.WIDTH - 190, 72 * figure.get_figheight() - side, 176.0, 9.0)
        colour_bar(figure, style.SEQUENTIAL, place, {0.12: "one crystal", 0.85: "fullest cell"})
    return figure


def _parity_axis(original: Floats, rebuilt: Floats) -> ValueAxis:
    if np.isfinite(rebuilt).any():
        # A few reconstructions that went astray must not stretch the axes.
        rebuilt = np.clip(rebuilt, *np.nanquantile(rebuilt, [0.01, 0.99]))
    axis = ValueAxis.fitting(np.concatenate([original, rebuilt]))
    if axis.kind == "log":
        return axis
    # A narrower axis would need more decimals than there is room for.
    least = 0.04 * max(abs(axis.low), abs(axis.high))
    slack = max(least - (axis.high - axis.low), 0.0) / 2
    return ValueAxis(axis.low - slack, axis.high + slack)


def error_histograms(measures: Sequence[tuple[Measure, str]]) -> Figure:
    """Draw how errors spread, each with the noun of what is counted, two panels abreast."""
    figure, drawn = panels(len(measures), abreast=2, height=150, top=38)
    for axes, (measure, noun) in zip(drawn, measures, strict=True):
        axes.grid(axis="y")
        axes.set_xlabel(f"{measure.title} ({measure.unit})")
        histogram(axes, measure.values, measure.axis, noun=noun)
        titled(axes, measure.title, measure.summary)
    return figure


@dataclass(frozen=True)
class Groups:
    """Crystals sorted into named groups, each with its colour: codes, [B], -1 for none."""

    codes: Integers
    names: Sequence[str]
    colours: Sequence[str]

    @classmethod
    def by_family(cls, families: Strings) -> Groups:
        """Group by chemical family, [B], the commonest first, each always in its own colour."""
        counts = {name: int((families == name).sum()) for name in FAMILIES}
        names = sorted((name for name in FAMILIES if counts[name]), key=lambda n: -counts[n])
        places = {name: code for code, name in enumerate(names)}
        codes = np.array([places.get(family, -1) for family in families.tolist()], dtype=np.int64)
        return cls(codes, names, [FAMILY_COLOURS[name] for name in names])

    @classmethod
    def by_number(cls, values: Floats, name: Callable[[float, float], str]) -> Groups:
        """Group by a number, [B], into a few shades from pale to dark, each of like many.

        ``name`` says what a group is called from its least and its largest value.
        """
        known = values[np.isfinite(values)]
        edges = np.unique(known)
        if len(edges) > SHADES:
            shares = np.linspace(0, 1, SHADES + 1)[:-1]
            edges = np.unique(np.quantile(known, shares, method="nearest"))
        codes = np.searchsorted(edges, values, side="right") - 1
        codes[~np.isfinite(values)] = -1
        parts = [values[codes == code] for code in range(len(edges))]
        names = [name(float(part.min()), float(part.max())) for part in parts]
        # The palest shades are left out: dots of them would vanish on white paper.
        shades = [blend(style.SEQUENTIAL, share) for share in np.linspace(0.22, 1, len(names))]
        return cls(codes, names, shades)

    @property
    def labels(self) -> list[str]:
        """Names with how many crystals are in each."""
        return [f"{name} ({int((self.codes == i).sum()):,})" for i, name in enumerate(self.names)]


def errors_by_group(measures: Sequence[Measure], groups: Groups, matched: Floats | None) -> Figure:
    """Draw quantiles of errors by group, a row each, and the share that matches strictly.

    ``matched`` is 1 where a crystal does, else 0, NaN if unknown, [B].
    """
    count, rows = len(measures) + (matched is not None), np.arange(len(groups.names))
    left = max(len(label) for label in groups.labels) * style.LETTER + 24
    figure, drawn = panels(count, abreast=count, height=23.0 * len(rows), left=left, gap=26)

    def by_group(values: Floats) -> list[Floats]:
        return [values[(groups.codes == row) & np.isfinite(values)] for row in rows]

    for axes, measure in zip(drawn, measures, strict=False):
        axes.set(title=measure.title, xlabel=f"{measure.title} ({measure.unit})")
        measure.axis.on(axes, "x", 4)
        known = by_group(measure.values)
        marks = [np.quantile(v, QUANTILES) if v.size else [np.nan] * 5 for v in known]
        # What lies beyond the axis is drawn at its end.
        least, low, middle, high, most = measure.axis.inside(np.array(marks)).T
        every = float(measure.axis.inside(np.quantile(measure.known, [0.5]))[0])
        axes.axvline(every, color=style.MUTED, linewidth=1, linestyle=style.DASHES)
        axes.hlines(rows, least, most, color=style.ACCENT, linewidth=1.4)
        axes.hlines(rows, low, high, color=blend((style.PAPER, style.ACCENT), 0.5), linewidth=8)
        axes.scatter(middle, rows, s=45, color=style.INK, linewidths=0, zorder=3, clip_on=False)
    if matched is not None:
        drawn[-1].set(title="strict match", xlabel="share matched (%)")
        shares = [
            share_whisker(int((some > 0).sum()), len(some)) if some.size else None
            for some in by_group(matched)
        ]
        draw_whiskers(drawn[-1], shares)
    for axes in drawn:
        axes.grid(axis="x")
        axes.spines["left"].set_edgecolor(style.FAINT)
        axes.set_yticks(rows, groups.labels if axes is drawn[0] else [""] * len(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, pad=10)
    return figure


def group_maps(chart: PlaneMap, groups: Groups) -> Figure:
    """Draw each group alone over all others, so that none is known by its colour only."""
    height = (style.WIDTH - 3 * 14 - 8) / 4 * chart.shape
    figure, drawn = panels(
        len(groups.names), abreast=4, height=height, left=2, below=8, gap=14, xticks=[], yticks=[]
    )
    x, y = chart.scores[chart.shown].T
    size = dot_size(len(x))
    dots: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    for code, (axes, colour) in enumerate(zip(drawn, groups.colours, strict=True)):
        axes.set_title(groups.labels[code])
        axes.spines[:].set_edgecolor(style.FAINT)
        own = groups.codes[chart.shown] == code
        axes.scatter(x, y, s=(0.6 * size) ** 2, color=GROUND, **dots)
        axes.scatter(x[own], y[own], s=(0.94 * size) ** 2, color=colour, alpha=0.75, **dots)
        axes.set(xlim=chart.limits[0], ylim=chart.limits[1])
    return figure


def periodic_table(
    values: Floats, atoms: Integers, label: str, written: Callable[[float], str],
    span: tuple[float, float],
) -> Figure:  # fmt: skip
    """Draw a number of every element as a periodic table.

    Values and how many atoms stand behind each, by atomic number, [119]; an element without any
    atom has no number. ``span`` is what the pale and the dark end of the colours stand for.
    """
    cell, tall, top = 49.0, 38.0, 4.0
    height = top + 9 * tall + 14
    figure = new_figure(height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, style.WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    pale, dark = span

    def shade(value: float) -> str:
        return blend(style.SEQUENTIAL, 0.95 * (value - pale) / (dark - pale))

    for z, symbol in enumerate(SYMBOLS[1:], 1):
        row, column = place_in_table(z)
        x, y = 6 + column * cell, top + row * tall + (10 if row > 6 else 0)
        present, number = atoms[z] > 0, int(atoms[z])
        fill, edge = (
            (shade(float(values[z])), style.MUTED) if present else (style.PAPER, style.FAINT)
        )
        axes.add_artist(Rectangle((x, y), cell - 2, tall - 2, facecolor=fill, edgecolor=edge))
        if not present:
            axes.text(x + 5, y + 14, symbol, fontsize=style.SMALL, color=style.MUTED)
            continue
        ink = ink_on(fill)
        axes.text(x + 5, y + 14, symbol, fontweight="bold", color=ink)
        shown = f"{number:,}" if number < 100_000 else f"{number // 1000:,}k"
        axes.text(x + cell - 6, y + 12, shown, fontsize=8.0, color=ink, ha="right")
        value = written(float(values[z]))
        axes.text(x + cell - 6, y + 30, value, fontsize=style.SMALL, color=ink, ha="right")
    low, high = sorted(span)
    shades = ListedColormap([shade(value) for value in np.linspace(low, high, 40).tolist()])
    ends, left = {0.06: written(low), 0.94: written(high)}, 6 + 3 * cell
    colour_bar(figure, shades, (left, top + 16, 150, 11), ends)
    axes.text(left + 75, top + 11, label, fontsize=style.SMALL, ha="center")
    return figure


def sample_distributions(samples: Crystals, reference: Crystals | None) -> Figure:
    """Draw what generated crystals are made of over bars of what the reference is made of."""
    both = [samples] if reference is None else [samples, reference]
    contained = [compositions(crystals) > 0 for crystals in both]
    with np.errstate(invalid="ignore", divide="ignore"):
        shown = {
            "density (g/cm³)": [densities(crystals) for crystals in both],
            "atoms in the cell": [crystals.counts.astype(np.float64) for crystals in both],
            "different elements": [own.sum(axis=1).astype(np.float64) for own in contained],
        }
    figure, drawn = panels(
        3, abreast=3, height=150, top=10, foot=204, gap=66, ylabel="share of crystals (%)"
    )
    for axes, (label, sets) in zip(drawn, shown.items(), strict=True):
        axes.set_xlabel(label)
        _spread(axes, sets, whole=axes is not drawn[0])
    fractions = [100 * own.sum(axis=0) / max(len(own), 1) for own in contained]
    most = np.max(fractions, axis=0)
    order = np.argsort(-most, kind="stable")[:MOST_ELEMENTS]
    order = order[most[order] > 0]
    places = np.arange(len(order))
    below = axes_at(figure, 54, 222, style.WIDTH - 60, 140)
    below.set_ylabel("crystals with it (%)")
    ends = (places - 0.42, places + 0.42)
    below.hlines(fractions[0][order], *ends, color=style.ACCENT, linewidth=2.6, label="generated")
    if reference is not None:
        below.bar(places, fractions[1][order], 0.7, color=style.OTHER, label="held-out crystals")
    below.set_xticks(places, [SYMBOLS[number] for number in order])
    below.tick_params(axis="x", length=0)
    below.set_xlim(-0.6, max(len(order), 15) - 0.4)
    below.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
    for axes in (*drawn, below):
        axes.grid(axis="y")
        axes.set_ylim(bottom=0)
        number_axis(axes, "y", 4)
    return figure


def _spread(axes: Axes, sets: Sequence[Floats], *, whole: bool) -> None:
    """Draw histograms over one another: the samples as a line, the reference as grey bars."""
    known = [values[np.isfinite(values)] for values in sets]
    joined = np.concatenate(known)
    if not joined.size:
        return
    if whole:
        edges = np.arange(joined.min() - 0.5, joined.max() + 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        edges = np.linspace(0.0, max(float(np.quantile(joined, 0.995)), 1e-6), BINS + 1)
        number_axis(axes, "x")
    shares_by_bin(axes, edges, known, (style.ACCENT, style.OTHER))
