"""The figures of a crystal run: plain arrays in, one matplotlib figure out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import binomtest

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import FAMILIES, HEAVIEST, SYMBOLS, compositions, place_in_table
from variolite.crystals.evaluation.distributions import densities
from variolite.report.clouds import (
    PlaneMap,
    density_key,
    dot_size,
    dots,
    fit_of,
    parity_panel,
)
from variolite.report.figures import (
    ValueAxis,
    Whisker,
    draw_whiskers,
    histogram,
    number_axis,
)
from variolite.report.style import (
    ACCENT,
    CATEGORIES,
    FAINT,
    INK,
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
    text_width,
    tooltip,
    write,
)
from variolite.report.tables import counted, decimals, significant, unit_after

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
    gutter, gap, head, below = 52.0, 10.0, 38.0, 44.0
    side = WIDTH / 4 - gutter - gap
    figure = new_figure(2 * (head + side + below) - 6)
    for place, quantity in enumerate(quantities):
        left = gutter + place % 4 * (side + gutter + gap)
        top = head + place // 4 * (side + below + head)
        parity_panel(
            figure,
            (left, top, side),
            (quantity.original, quantity.rebuilt),
            quantity.axis,
            (quantity.name, quantity.note),
            (f"original ({quantity.unit})", f"reconstructed ({quantity.unit})"),
            few=few,
        )
    if not few:
        density_key(figure, WIDTH - 190, 2 * head + side + below, "crystal")
    return figure


def error_histograms(measures: Sequence[tuple[Measure, str]]) -> Figure:
    """Draw how errors spread, each with the noun of what is counted, two panels abreast."""
    width, height = (WIDTH - 2 * 62) / 2, 150.0
    figure = new_figure(-(-len(measures) // 2) * (height + 82) - 8)
    for place, (measure, noun) in enumerate(measures):
        left, top = 54 + place % 2 * (width + 66), 38 + place // 2 * (height + 82)
        axes = axes_at(
            figure, left, top, width, height, x_label=f"{measure.title} ({measure.unit})", grid="y"
        )
        histogram(axes, measure.values, measure.axis, noun=noun)
        write(figure, left, top - 22, measure.title, bold=True, room=width)
        write(figure, left, top - 8, measure.summary, size=SMALL, room=width)
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
    labels = [f"{name} ({int(members.sum()):,})" for name, members in groups]
    panels, gap, height = len(measures) + (matched is not None), 26.0, ROW * len(groups)
    room = min(max(text_width(label) for label in labels), 240.0) + 16
    width = (WIDTH - room - 12 - gap * (panels - 1)) / panels
    figure = new_figure(height + 68)
    rows = np.arange(len(groups))

    def panel(place: int, title: str, x_label: str) -> Axes:
        axis = axes_at(
            figure, room + place * (width + gap), 26, width, height,
            title=title, x_label=x_label, grid="x",
        )  # fmt: skip
        axis.spines["left"].set_edgecolor(FAINT)
        axis.tick_params(axis="y", length=0, pad=10)
        axis.set_yticks(rows, ["" if place else shorten(label, 240) for label in labels])
        axis.set_ylim(len(groups) - 0.5, -0.5)
        return axis

    for place, measure in enumerate(measures):
        axis = panel(place, measure.title, f"{measure.title} ({measure.unit})")
        measure.axis.on(axis, "x", 4)
        parts = [measure.values[members] for _, members in groups]
        known = [values[np.isfinite(values)] for values in parts]
        # [groups, 5]; what lies beyond the axis is drawn at its end.
        marks = np.array([np.quantile(v, SHARES) if v.size else [np.nan] * 5 for v in known])
        unit = unit_after(measure.unit)
        notes = [
            f"n = {len(values):,}: median {significant(middle)}, quarters {significant(low)} to "
            f"{significant(high)}{unit}"
            for values, (_, low, middle, high, _) in zip(known, marks.tolist(), strict=True)
        ]
        least, low, middle, high, most = measure.axis.inside(marks).T
        every = float(measure.axis.inside(np.quantile(measure.known, [0.5]))[0])
        axis.axvline(every, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axis.hlines(rows, least, most, color=ACCENT, linewidth=1.4)
        axis.hlines(rows, low, high, color=blend(("#ffffff", ACCENT), 0.5), linewidth=8)
        dot = axis.scatter(middle, rows, s=45, color=INK, linewidths=0, zorder=3, clip_on=False)
        tooltip(dot, *notes)
    if matched is not None:
        axis = panel(panels - 1, "strict match", "share matched (%)")
        draw_whiskers(axis, [match_share(matched[members]) for _, members in groups])
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
        note=f"{hits:,} of {tries:,} crystals",
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
    gap, width = 14.0, (WIDTH - 3 * 14 - 4) / 4
    height = width * chart.shape
    figure = new_figure(-(-len(names) // 4) * (height + 34))
    x, y = chart.scores[chart.shown].T
    size = dot_size(len(x))
    for place, name in enumerate(names):
        left, top = 2 + place % 4 * (width + gap), 24 + place // 4 * (height + 34)
        title = f"{name} ({int((families == name).sum()):,})"
        axes = axes_at(figure, left, top, width, height, title=title)
        axes.spines[:].set_edgecolor(FAINT)
        axes.set(xticks=[], yticks=[])
        own = families[chart.shown] == name
        # The same cloud in every panel: as a picture it costs little.
        axes.scatter(x, y, s=(0.6 * size) ** 2, color=GROUND, linewidths=0, rasterized=True)
        dots(axes, x[own], y[own], [FAMILY_COLOURS[name]] * int(own.sum()), size=0.94 * size)
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
    written, precise
        Write one of them into its cell, and with its unit where the pointer rests.
    span
        Numbers at the pale and at the dark end of the colours.
    """

    values: Floats
    atoms: Integers
    label: str
    written: Callable[[float], str]
    precise: Callable[[float], str]
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
        box = Rectangle(
            (x, y), cell - 2, tall - 2, facecolor=fill, edgecolor=MUTED if present else FAINT
        )
        axis.add_patch(box)
        if not present:
            axis.text(x + 5, y + 14, SYMBOLS[number], fontsize=SMALL, color=MUTED)
            continue
        atoms, ink = int(elements.atoms[number]), ink_on(fill)
        note = f"{elements.precise(value)} of {counted(atoms, 'atom')}"
        tooltip(box, f"{SYMBOLS[number]}: {note}")
        axis.text(x + 5, y + 14, SYMBOLS[number], fontweight="bold", color=ink)
        shown = f"{atoms:,}" if atoms < 100_000 else f"{atoms // 1000:,}k"
        for text, size, below in ((shown, 8.0, 12), (elements.written(value), SMALL, 30)):
            axis.text(x + cell - 6, y + below, text, fontsize=size, color=ink, ha="right")
    left, width = 6 + 3 * cell, 150.0
    low, high = sorted(elements.span)
    key = axes_at(figure, left, top + 16, width, 11)
    colours = [to_rgb(shade(value)) for value in np.linspace(low, high, 40).tolist()]
    key.imshow(np.array([colours]), aspect="auto", interpolation="nearest")
    key.spines[:].set_edgecolor(MUTED)
    key.set(xticks=[], yticks=[])
    write(figure, left + width / 2, top + 11, elements.label, size=SMALL, anchor="center")
    for value, at, anchor in ((low, left, "left"), (high, left + width, "right")):
        text = elements.written(value)
        write(figure, at, top + 41, text, size=SMALL, anchor=anchor, colour=MUTED)
    return figure


def sample_distributions(samples: Crystals, reference: Crystals | None) -> Figure:
    """Draw what generated crystals are made of over bars of what the reference is made of."""
    both = [samples] if reference is None else [samples, reference]
    contained = [compositions(crystals) > 0 for crystals in both]
    with np.errstate(invalid="ignore", divide="ignore"):
        panels = {
            "density (g/cm³)": [densities(crystals) for crystals in both],
            "atoms in the cell": [crystals.counts.astype(np.float64) for crystals in both],
            "different elements": [own.sum(axis=1).astype(np.float64) for own in contained],
        }
    width, height = (WIDTH - 3 * 62) / 3, 150.0
    figure = new_figure(height + 260)
    for place, (label, sets) in enumerate(panels.items()):
        left = 52 + place * (width + 66)
        axis = axes_at(figure, left, 10, width, height, x_label=label, grid="y")
        axis.set_ylabel("share of crystals (%)")
        _spread(axis, sets, whole=place > 0)
    shares = [100 * own.sum(axis=0) / max(len(own), 1) for own in contained]
    most = np.max(shares, axis=0)
    order = np.argsort(-most, kind="stable")[:MOST_ELEMENTS]
    order = order[most[order] > 0]
    places = np.arange(len(order))
    axis = axes_at(figure, 52, height + 72, WIDTH - 60, 140, grid="y")
    axis.set_ylabel("crystals with it (%)")
    ends = (places - 0.42, places + 0.42)
    axis.hlines(shares[0][order], *ends, color=ACCENT, linewidth=2.6, label="generated")
    if reference is not None:
        axis.bar(places, shares[1][order], 0.7, color=OTHER, label="held-out crystals")
    axis.set_xticks(places, [SYMBOLS[number] for number in order])
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, max(len(order), 15) - 0.4)
    axis.set_ylim(bottom=0)
    number_axis(axis, "y", 4)
    axis.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.16), ncols=2, borderpad=0)
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
