"""The figures of a crystal run: plain arrays in, one matplotlib figure out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import binomtest

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import FAMILIES, HEAVIEST, SYMBOLS, compositions, place_in_table
from variolite.crystals.evaluation.distributions import densities
from variolite.report.clouds import PlaneMap, dot_size, fit_of, parity_panel
from variolite.report.figures import (
    ValueAxis,
    Whisker,
    colour_bar,
    draw_whiskers,
    histogram,
    number_axis,
    panels,
    titled,
)
from variolite.report.style import (
    ACCENT,
    CATEGORIES,
    DASHES,
    FAINT,
    INK,
    LETTER,
    MUTED,
    OTHER,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    axes_at,
    blend,
    ink_on,
    new_figure,
    shorten,
)
from variolite.report.tables import decimals, significant, unit_after

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]
Group = tuple[str, NDArray[np.bool_]]

ROW = 23.0
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
DECADES, WIDEST_DECADES = 1.3, 4.0
"""Values over more powers of ten than the first get a logarithmic axis, of the second at most."""
MOST_ELEMENTS = 30
BINS = 28
SHADES = 6

GROUND = blend(("#ffffff", OTHER), 0.7)
"""Colour of the crystals that a panel is not about."""
# The palest categories are left out: dots of them would vanish on white paper.
FAMILY_COLOURS = dict(
    zip(
        FAMILIES,
        (*(CATEGORIES[i] for i in (0, 1, 2, 3, 4, 5, 8, 7, 13, 9, 10)), OTHER),
        strict=True,
    )
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


@dataclass(frozen=True)
class CellQuantity:
    """One number of every crystal, of the original and of the reconstruction, [B] each."""

    name: str
    unit: str
    original: Floats
    rebuilt: Floats

    @property
    def mean_absolute_error(self) -> float:
        """Mean over the crystals that have both values, NaN without any."""
        return fit_of(self.original, self.rebuilt).mae

    @property
    def note(self) -> str:
        """R² and mean absolute error in words."""
        fit = fit_of(self.original, self.rebuilt)
        # Only a perfect one is called 1.
        r2 = "> 0.999" if 0.9995 <= fit.r2 < 1 else decimals(fit.r2, 3)
        error = f"R² {r2}, MAE {significant(fit.mae, 2)}{unit_after(self.unit)}"
        return error if fit.rows else "no crystal has both values"

    @property
    def axis(self) -> ValueAxis:
        """The axis of both values; linear unless all are positive with a long tail."""
        rebuilt = self.rebuilt
        if np.isfinite(rebuilt).any():
            # A few reconstructions that went astray must not stretch the axes.
            rebuilt = np.clip(rebuilt, *np.nanquantile(rebuilt, [0.01, 0.99]))
        joined = np.concatenate([self.original, rebuilt])
        axis = ValueAxis.fitting(joined)
        if axis.kind == "log":
            return axis
        low, high = axis.low, axis.high
        # A narrower axis would need more decimals than there is room for.
        slack = max(0.04 * max(abs(low), abs(high)) - (high - low), 0.0) / 2
        return ValueAxis(low - slack, high + slack)


def cell_parity(quantities: Sequence[CellQuantity], *, few: bool) -> Figure:
    """Draw originals against reconstructions: a dot each if they are few, otherwise counts."""
    side = (WIDTH - 54 - 6 - 3 * 62) / 4
    figure, drawn = panels(len(quantities), abreast=4, height=side, top=38, gap=62)
    for axes, quantity in zip(drawn, quantities, strict=True):
        values = (quantity.original, quantity.rebuilt)
        parity_panel(axes, values, quantity.axis, (quantity.name, quantity.note), few=few)
        unit = quantity.unit
        axes.set(xlabel=f"original ({unit})", ylabel=f"reconstructed ({unit})")
    if not few:
        place = (WIDTH - 190, 72 * figure.get_figheight() - side, 176.0, 9.0)
        colour_bar(figure, SEQUENTIAL, place, {0.12: "one crystal", 0.85: "fullest cell"})
    return figure


def error_histograms(measures: Sequence[tuple[Measure, str]]) -> Figure:
    """Draw how errors spread, each with the noun of what is counted, two panels abreast."""
    figure, drawn = panels(len(measures), abreast=2, height=150, top=38)
    for axes, (measure, noun) in zip(drawn, measures, strict=True):
        axes.grid(axis="y")
        axes.set_xlabel(f"{measure.title} ({measure.unit})")
        histogram(axes, measure.values, measure.axis, noun=noun)
        titled(axes, measure.title, measure.summary)
    return figure


def errors_by_group(
    measures: Sequence[Measure], groups: Sequence[Group], matched: Floats | None
) -> Figure:
    """Draw quantiles of errors by group of crystals, and the share that matches strictly.

    Parameters
    ----------
    measures
        Errors of B crystals, a panel each.
    groups
        Name and members, [B], of every group, drawn from top to bottom.
    matched
        1 where a crystal matches at the strict tolerance, else 0, NaN if unknown, [B].
    """
    labels = [shorten(f"{name} ({int(members.sum()):,})") for name, members in groups]
    count, rows = len(measures) + (matched is not None), np.arange(len(groups))
    left = max(len(label) for label in labels) * LETTER + 24
    figure, drawn = panels(count, abreast=count, height=ROW * len(groups), left=left, gap=26)
    for axis in drawn:
        axis.grid(axis="x")
        axis.spines["left"].set_edgecolor(FAINT)

    for axis, measure in zip(drawn, measures, strict=False):
        axis.set(title=measure.title, xlabel=f"{measure.title} ({measure.unit})")
        measure.axis.on(axis, "x", 4)
        parts = [measure.values[members] for _, members in groups]
        known = [values[np.isfinite(values)] for values in parts]
        # [groups, 5]; what lies beyond the axis is drawn at its end.
        marks = np.array([np.quantile(v, SHARES) if v.size else [np.nan] * 5 for v in known])
        least, low, middle, high, most = measure.axis.inside(marks).T
        every = float(measure.axis.inside(np.quantile(measure.known, [0.5]))[0])
        axis.axvline(every, color=MUTED, linewidth=1, linestyle=DASHES)
        axis.hlines(rows, least, most, color=ACCENT, linewidth=1.4)
        axis.hlines(rows, low, high, color=blend(("#ffffff", ACCENT), 0.5), linewidth=8)
        axis.scatter(middle, rows, s=45, color=INK, linewidths=0, zorder=3, clip_on=False)
    if matched is not None:
        drawn[-1].set(title="strict match", xlabel="share matched (%)")
        draw_whiskers(drawn[-1], [match_share(matched[members]) for _, members in groups])
    for axis in drawn:
        axis.set_yticks(rows, labels if axis is drawn[0] else [""] * len(rows))
        axis.set_ylim(len(groups) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0, pad=10)
    return figure


def match_share(matched: Floats) -> Whisker | None:
    """Return the share of crystals that match in per cent; None where no crystal was compared.

    The 95 % interval is by Wilson's score method (Wilson 1927).
    """
    known = matched[np.isfinite(matched)]
    if not known.size:
        return None
    hits, tries = int((known > 0).sum()), int(known.size)
    interval = binomtest(hits, tries).proportion_ci(method="wilson")
    return Whisker(
        mean=100 * hits / tries,
        low=100 * interval.low,
        high=100 * interval.high,
        colour=ACCENT,
    )


@dataclass(frozen=True)
class Colouring:
    """By what the dots of a map are coloured: codes, [B], -1 for none, their names and colours."""

    codes: Integers
    names: Sequence[str]
    colours: Sequence[str]

    @classmethod
    def by_family(cls, families: Strings) -> Colouring:
        """Colour by chemical family, [B], the commonest first, each always in its own colour."""
        names = families_present(families)
        codes = np.select([families == name for name in names], range(len(names)), -1)
        return cls(codes.astype(np.int64), names, [FAMILY_COLOURS[name] for name in names])

    @classmethod
    def by_number(cls, values: Floats, name: Callable[[float, float], str]) -> Colouring:
        """Colour by a number, [B], in a few shades from pale to dark, each of like many.

        ``name`` says what a shade is called from its least and its largest value.
        """
        known = np.isfinite(values)
        edges = np.unique(values[known])
        if len(edges) > SHADES:
            shares = np.linspace(0, 1, SHADES + 1)[:-1]
            edges = np.unique(np.quantile(values[known], shares, method="nearest"))
        codes = np.where(known, np.searchsorted(edges, values, side="right") - 1, -1)
        parts = [values[codes == code] for code in range(len(edges))]
        names = [name(float(part.min()), float(part.max())) for part in parts]
        # The palest shades are left out: dots of them would vanish on white paper.
        shades = [blend(SEQUENTIAL, share) for share in np.linspace(0.22, 1, len(names))]
        return cls(codes.astype(np.int64), names, shades)


def families_present(families: Strings) -> list[str]:
    """Return the families there are among crystals [B], the commonest first."""
    counts = {name: int((families == name).sum()) for name in FAMILIES}
    return sorted((name for name in FAMILIES if counts[name]), key=lambda name: -counts[name])


def family_maps(chart: PlaneMap, families: Strings) -> Figure:
    """Draw each family alone over all others, so that none is told by its colour only."""
    names = families_present(families)
    height = (WIDTH - 3 * 14 - 8) / 4 * chart.shape
    figure, drawn = panels(
        len(names), abreast=4, height=height, left=2, below=8, gap=14, xticks=[], yticks=[]
    )
    x, y = chart.scores[chart.shown].T
    size = dot_size(len(x))
    for axes, name in zip(drawn, names, strict=True):
        axes.set_title(f"{name} ({int((families == name).sum()):,})")
        axes.spines[:].set_edgecolor(FAINT)
        own = families[chart.shown] == name
        axes.scatter(x, y, s=(0.6 * size) ** 2, color=GROUND, linewidths=0, rasterized=True)
        axes.scatter(
            x[own], y[own], s=(0.94 * size) ** 2, color=FAMILY_COLOURS[name], alpha=0.75,
            linewidths=0, rasterized=True,
        )  # fmt: skip
        axes.set(xlim=chart.limits[0], ylim=chart.limits[1])
    return figure


@dataclass(frozen=True)
class ElementValues:
    """A number of every element, by atomic number.

    Attributes
    ----------
    values
        The numbers, [119].
    atoms
        How many atoms stand behind each, [119]; an element without any has no number.
    label
        What the numbers are.
    written
        Writes one of them into its cell.
    span
        Numbers at the pale and at the dark end of the colours.
    """

    values: Floats
    atoms: Integers
    label: str
    written: Callable[[float], str]
    span: tuple[float, float]


def periodic_table(elements: ElementValues) -> Figure:
    """Draw a number of every element as a periodic table, with how many atoms stand behind it."""
    cell, tall, top = 49.0, 38.0, 4.0
    figure = new_figure(top + 9 * tall + 14)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, WIDTH)
    axis.set_ylim(top + 9 * tall + 14, 0)
    pale, dark = elements.span

    def shade(value: float) -> str:
        return blend(SEQUENTIAL, 0.95 * (value - pale) / (dark - pale))

    for number in range(1, HEAVIEST + 1):
        row, column = place_in_table(number)
        x, y = 6 + column * cell, top + row * tall + (10 if row > 6 else 0)
        present, value = elements.atoms[number] > 0, float(elements.values[number])
        fill = shade(value) if present else "#ffffff"
        edge = MUTED if present else FAINT
        axis.add_artist(Rectangle((x, y), cell - 2, tall - 2, facecolor=fill, edgecolor=edge))
        if not present:
            axis.text(x + 5, y + 14, SYMBOLS[number], fontsize=SMALL, color=MUTED)
            continue
        atoms, ink = int(elements.atoms[number]), ink_on(fill)
        axis.text(x + 5, y + 14, SYMBOLS[number], fontweight="bold", color=ink)
        shown = f"{atoms:,}" if atoms < 100_000 else f"{atoms // 1000:,}k"
        for text, size, below in ((shown, 8.0, 12), (elements.written(value), SMALL, 30)):
            axis.text(x + cell - 6, y + below, text, fontsize=size, color=ink, ha="right")
    low, high = sorted(elements.span)
    shades = ListedColormap([shade(value) for value in np.linspace(low, high, 40).tolist()])
    marks = {0.06: elements.written(low), 0.94: elements.written(high)}
    left = 6 + 3 * cell
    colour_bar(figure, shades, (left, top + 16, 150, 11), marks)
    axis.text(left + 75, top + 11, elements.label, fontsize=SMALL, ha="center")
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
    height = 150.0
    figure, drawn = panels(
        3, abreast=3, height=height, top=10, foot=204, gap=66, ylabel="share of crystals (%)"
    )
    for axis, (label, sets) in zip(drawn, shown.items(), strict=True):
        axis.grid(axis="y")
        axis.set_xlabel(label)
        _spread(axis, sets, whole=axis is not drawn[0])
    fractions = [100 * own.sum(axis=0) / max(len(own), 1) for own in contained]
    most = np.max(fractions, axis=0)
    order = np.argsort(-most, kind="stable")[:MOST_ELEMENTS]
    order = order[most[order] > 0]
    places = np.arange(len(order))
    axis = axes_at(figure, 54, height + 72, WIDTH - 60, 140)
    axis.grid(axis="y")
    axis.set_ylabel("crystals with it (%)")
    ends = (places - 0.42, places + 0.42)
    axis.hlines(fractions[0][order], *ends, color=ACCENT, linewidth=2.6, label="generated")
    if reference is not None:
        axis.bar(places, fractions[1][order], 0.7, color=OTHER, label="held-out crystals")
    axis.set_xticks(places, [SYMBOLS[number] for number in order])
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, max(len(order), 15) - 0.4)
    axis.set_ylim(bottom=0)
    number_axis(axis, "y", 4)
    axis.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
    return figure


def _spread(axis: Axes, sets: Sequence[Floats], *, whole: bool) -> None:
    """Draw histograms over one another: the samples as a line, the reference as grey bars."""
    known = [values[np.isfinite(values)] for values in sets]
    joined = np.concatenate(known)
    if not joined.size:
        return
    if whole:
        edges = np.arange(joined.min() - 0.5, joined.max() + 1)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        low, high = np.quantile(joined, [0.005, 0.995])
        edges = np.linspace(low if low > 0.3 * high else 0.0, max(high, low + 1e-6), BINS + 1)
    shares = [
        100 * np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] / max(len(v), 1)
        for v in known
    ]
    if len(shares) > 1:
        axis.stairs(shares[1], edges, fill=True, color=OTHER)
    axis.stairs(shares[0], edges, color=ACCENT, linewidth=1.8)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(bottom=0)
    number_axis(axis, "y", 4)
