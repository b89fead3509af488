"""Figures of generated frameworks: grey is of training rows, black of held-out, blue of generated.

Shares are in per cent of the rows that have the column. By default dots of
held-out rows have 95 % intervals of Wilson's, and what is generated the range of the members.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.stats import binomtest

from variolite.frameworks.columns import SETS, UNITS, split
from variolite.frameworks.diagnosis import diversity
from variolite.frameworks.diagnosis.findings import TOO_FEW, TOO_MANY
from variolite.frameworks.diagnosis.findings import Figure as Quantity
from variolite.frameworks.diagnosis.tallies import Layout, Tallies, Tally, tally
from variolite.report import style
from variolite.report.clouds import dot_size
from variolite.report.figures import (
    IntervalPanel,
    RowLabel,
    ValueAxis,
    Whisker,
    heat_map,
    interval_figure,
    key,
    number_axis,
    panels,
    titled,
)
from variolite.report.formatting import plain
from variolite.report.style import axes_at, blend, new_figure, shorten, to_svg

Floats = NDArray[np.float64]

REAL, HELD_OUT, MADE = style.OTHER, style.INK, style.ACCENT
HEAD_ROWS, LINE = 18, 19.0  # members of a set in a figure, and the height of each
CLASSES = ((0, 0, "none"), (1, 1, "1"), (2, 2, "2"), (3, 5, "3 to 5"), (6, 10, "6 to 10"),
           (11, 10**9, "more"))  # fmt: skip
BINS = 14
PAIRED = (7, 14)  # metals and linkers in the maps of pairs
_LOOKS = {"Angstrom": "Å", "Angstrom^3": "Å³", "degree": "°", "g/cm3": "g/cm³", "cm3/g": "cm³/g",
          "m2/g": "m²/g", "m2/cm3": "m²/cm³"}  # fmt: skip


_CALLED = {"surface_area_mass": "surface area", "surface_area_volume": "surface area, by volume",
           "net": "nets", "alpha": "α", "beta": "β", "gamma": "γ"}  # fmt: skip


def unit_of(name: str) -> str:
    """Return the unit of a column as it is printed; empty without one."""
    return _LOOKS.get(UNITS.get(name, ""), UNITS.get(name, ""))


def called(name: str) -> str:
    """Return what a column is called in prose."""
    return _CALLED.get(name, plain(name).replace("co2", "CO₂").replace(" x ", " × "))


def with_unit(name: str, *, called_so: str = "") -> str:
    """Return a name with its unit in brackets, for axes and heads."""
    unit = unit_of(name)
    return (called_so or called(name)) + (f" ({unit})" if unit else "")


@dataclass(frozen=True)
class Compared:
    """Training rows, held-out rows and those drawn of every member, in columns that all have."""

    training: pl.DataFrame
    held_out: pl.DataFrame
    drawn: tuple[pl.DataFrame, ...]
    tallies: Tallies

    @classmethod
    def of(
        cls, training: pl.DataFrame, held_out: pl.DataFrame, generated: pl.DataFrame
    ) -> Compared:
        """Take rows that nothing was asked of; DataError where no column can be compared."""
        asked = [name for name in generated.columns if name.endswith("_requested")]
        free = generated.filter(pl.all_horizontal(pl.col(asked).is_null())) if asked else generated
        drawn = tuple(free.partition_by("member", include_key=False))
        common = [n for n in training.columns if n in free.columns and n not in ("name", "family")]
        texts = [name for name in common if not training[name].dtype.is_numeric()]
        layout = Layout(
            sets=tuple(name for name in texts if name in SETS),
            categories=tuple(name for name in texts if name not in SETS),
            numbers=tuple(name for name in common if training[name].dtype.is_numeric()),
            combination=Layout.among(texts).combination,
        )
        return cls(training, held_out, drawn, tally(training, held_out, drawn, layout))

    @property
    def rows(self) -> str:
        """How many there are of each, for captions."""
        members = len(self.drawn)
        each = (
            f"{members} x {self.drawn[0].height:,}" if members > 1 else f"{self.drawn[0].height:,}"
        )
        return (
            f"{self.training.height:,} training rows, {self.held_out.height:,} rows of held-out "
            f"families, {each} generated rows"
        )

    def shares(self, column: Tally) -> Shares:
        """Shares of rows that hold each member of a set, or are of a category."""
        t = self.tallies
        parts = [split(s) if column.kind == "set" else (s,) for s in column.states]
        names = tuple(sorted({part for some in parts for part in some}))
        counts = [column.member_counts(rows) for rows in (t.train, t.held_out, *t.samples)]
        known = [column.known(rows) for rows in (t.train, t.held_out, *t.samples)]
        return Shares(names, np.array(counts), np.array(known))


@dataclass(frozen=True)
class Shares:
    """Members and how many rows hold each, (2 + M, K): training, held-out, M models; of how many
    rows, (2 + M,)."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    known: NDArray[np.int64]

    def grouped(self, groups: Sequence[NDArray[np.int64]], names: Sequence[str]) -> Shares:
        """Join members: shares of all that is held, since a row may hold several of a group."""
        joined = np.stack([self.counts[:, group].sum(axis=1) for group in groups], axis=1)
        return Shares(tuple(names), joined, self.counts.sum(axis=1))

    @property
    def order(self) -> NDArray[np.int64]:
        """Members by their frequency among real rows."""
        return np.lexsort((np.array(self.names), -self.counts[2:].sum(axis=0),
                           -self.counts[:2].sum(axis=0)))  # fmt: skip

    def take(self, chosen: NDArray[np.int64]) -> Shares:
        names = tuple(self.names[i] for i in chosen.tolist())
        return Shares(names, self.counts[:, chosen], self.known)


def wilson(hits: int, of: int) -> tuple[float, float, float]:
    """Share in per cent with its 95 % interval of Wilson's."""
    found = binomtest(hits, of).proportion_ci(method="wilson")
    return 100 * hits / of, 100 * float(found.low), 100 * float(found.high)


def _share_panel(axes: Axes, shares: Shares) -> None:
    """Draw a row per member, on a logarithmic axis, at whose end stands what is zero."""
    rows = np.arange(len(shares.names))
    low = 10.0 ** math.floor(math.log10(50 / shares.known[0]))
    ValueAxis(low, 100.0, "log").on(axes, "x", 4)
    axes.grid(axis="x")
    axes.set(xlabel="share of rows (%)", ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(rows, [shorten(_bare(name), 42) for name in shares.names])
    axes.tick_params(axis="y", length=0, pad=8)
    training, _, *made = 100 * shares.counts / np.maximum(shares.known, 1)[:, None]
    real = np.maximum(training, low)
    axes.scatter(real, rows, s=190, marker="|", linewidths=4, color=REAL, clip_on=False)
    for row, hits in enumerate(shares.counts[1].tolist()):
        value, least, most = wilson(hits, int(shares.known[1]))
        _dot(axes, row - 0.17, (value, least, most), low, HELD_OUT)
    for row in rows.tolist():
        values = [float(one[row]) for one in made]
        _dot(axes, row + 0.17, (float(np.mean(values)), min(values), max(values)), low, MADE)


def _dot(axes: Axes, at: float, found: tuple[float, float, float], low: float, colour: str) -> None:
    value, *ends = np.maximum(found, low)
    axes.hlines(at, *ends, color=colour, linewidth=1.3)
    face = style.PAPER if value <= low else colour
    axes.scatter(value, at, s=22, color=face, edgecolors=colour, zorder=3, clip_on=False)


def _key(figure: object, top: float, left: float = 54.0) -> None:
    handles = [
        Line2D([], [], color=REAL, marker="|", ms=12, mew=4, lw=0),
        Line2D([], [], color=HELD_OUT, marker="o", ms=5, lw=1.3),
        Line2D([], [], color=MADE, marker="o", ms=5, lw=1.3),
    ]
    names = ["training rows", "held-out families", "generated"]
    key(figure, handles, names, left, top, ncols=3)  # type: ignore[arg-type]


def shares_figure(name: str, shares: Shares) -> Markup:
    """Draw the commonest members and, beside many, all by how often training rows hold them."""
    head = shares.take(shares.order[:HEAD_ROWS])
    left = 18 + style.LETTER * min(max(len(_bare(one)) for one in head.names), 42)
    gap, height = 110.0, LINE * len(head.names)
    wide = (style.WIDTH - left - 12 - gap) / 2
    figure = new_figure(38 + height + 70)
    axes = axes_at(figure, left, 38, wide, height)
    _share_panel(axes, head)
    many = len(shares.names) > HEAD_ROWS
    extent = f"the {HEAD_ROWS} commonest of {len(shares.names)}" if many else "all of them"
    titled(axes, called(name), extent)
    if many:
        often = shares.counts[0]
        groups = [np.flatnonzero((often >= least) & (often <= most)) for least, most, _ in CLASSES]
        tail = shares.grouped(groups, [label for *_, label in CLASSES])
        axes = axes_at(figure, left + wide + gap, 38, wide, 2.2 * LINE * len(CLASSES))
        _share_panel(axes, tail)
        axes.set_xlabel(f"share of all {called(name)} (%)")
        titled(axes, f"{called(name)}: head to tail", "by how many training rows hold it")
    _key(figure, 38 + height + 48, left)
    return to_svg(figure, f"Shares of {called(name)}")


def numbers_figure(c: Compared, names: Sequence[str], quantities: Sequence[Quantity]) -> Markup:
    """Draw histograms of numeric columns, four panels abreast."""
    figure, drawn = panels(
        len(names), abreast=4, height=116, top=40, below=48, gap=40, left=40, foot=22
    )
    tvd = {one.of: one for one in quantities if one.quantity == "marginal TVD"}
    for axes, name in zip(drawn, names, strict=True):
        values = [
            frame[name].cast(pl.Float64).to_numpy() for frame in (c.training, c.held_out, *c.drawn)
        ]
        known = [one[np.isfinite(one)] for one in values]
        axis = ValueAxis.fitting(np.concatenate(known[:2]), tail=0.004)
        axis.on(axes, "x", 4)
        edges = _edges(axis)
        counts = [np.histogram(axis.inside(one), bins=edges)[0] for one in known]
        training, _, *made = (100 * n / max(n.sum(), 1) for n in counts)
        axes.stairs(training, edges, fill=True, color=blend((style.PAPER, REAL), 0.75))
        model = np.array(made)
        if len(made) > 1:
            axes.stairs(model.max(axis=0), edges, baseline=model.min(axis=0), fill=True,
                        color=MADE, alpha=0.25)  # fmt: skip
        axes.stairs(model.mean(axis=0), edges, color=MADE, linewidth=1.5, baseline=None)
        middles = (edges[1:] + edges[:-1]) / 2
        top = max(float(one.max(initial=0)) for one in (training, *made))
        for x, hits in zip(middles, counts[1].tolist(), strict=True):
            if counts[1].sum() and hits:
                share, low, high = wilson(hits, int(counts[1].sum()))
                top = max(top, high)
                axes.vlines(x, low, high, color=HELD_OUT, linewidth=0.9)
                axes.scatter(x, share, s=9, color=HELD_OUT, zorder=3, linewidths=0)
        axes.set(ylim=(0, 1.06 * top or 1), xlabel=unit_of(name))
        number_axis(axes, "y", 3)
        found = tvd.get(name)
        note = f"TVD {found.value:.2f}, floor {found.reference:.2f}" if found else ""
        titled(axes, called(name), note)
    _key(figure, 72 * figure.get_figheight() - 20, 40)
    return to_svg(figure, "Distributions of numeric columns")


def _edges(axis: ValueAxis) -> Floats:
    if axis.kind == "log":
        return np.geomspace(axis.low, axis.high, BINS + 1)
    if axis.kind == "symlog":
        low, high = np.arcsinh(np.array([axis.low, axis.high]) / axis.threshold).tolist()
        return axis.threshold * np.sinh(np.linspace(low, high, BINS + 1))
    return np.linspace(axis.low, axis.high, BINS + 1)


def pairs_figure(c: Compared, first: str, second: str) -> Markup:
    """Draw which share of rows holds a member of one set and one of another."""
    t, (one, other) = c.tallies, (c.tallies.columns[name] for name in (first, second))
    ways = [c.shares(column) for column in (one, other)]
    chosen = [s.order[:most] for s, most in zip(ways, PAIRED, strict=True)]
    across, down = (
        [shorten(_bare(way.names[i]), 34) for i in own.tolist()]
        for way, own in zip(ways, chosen, strict=True)
    )
    left = 18 + style.LETTER * max(map(len, down))
    tall = max(map(len, across))
    below = 34 if tall < 4 else 30 + 1.1 * style.LETTER * tall
    figure, drawn = panels(
        3, abreast=3, height=20.0 * len(down), left=left, gap=14, top=40, below=below
    )
    parts = {"training rows": [t.train], "held-out families": [t.held_out], "generated": t.samples}
    for axes, (title, samples) in zip(drawn, parts.items(), strict=True):
        found = []
        for rows in samples:
            rows = rows[(one.code[rows] >= 0) & (other.code[rows] >= 0)]
            held = (column.content[column.code[rows]] > 0 for column in (one, other))
            a, b = (content.astype(np.float64) for content in held)
            found.append(100 * (b.T @ a).toarray()[np.ix_(chosen[1], chosen[0])] / len(rows))
        share = np.mean(found, axis=0)
        # By the square root: rare pairs stay in sight.
        colours = style.SEQUENTIAL(np.sqrt(np.minimum(share / 20, 1)))
        colours[share == 0] = (1, 1, 1, 1)
        texts = [[_percent(value) for value in line] for line in share.tolist()]
        heat_map(axes, colours, texts)
        axes.set_xticks(np.arange(len(across)) + 0.5, across, rotation=0 if tall < 4 else 90)
        labels = down if axes is drawn[0] else []
        axes.set_yticks((np.arange(len(down)) + 0.5) if labels else [], labels)
        titled(axes, title, f"{sum(map(len, samples)):,} rows")
    return to_svg(figure, f"{first} with {second}")


def _bare(unit: str) -> str:
    """Return the name of a building unit without its kind, which the title states."""
    return unit.removeprefix("node_").removeprefix("linker_")


def _percent(value: float) -> str:
    return "" if value < 0.05 else f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def diversity_figure(c: Compared) -> Markup:
    """Draw different combinations over the number of draws, and over those that are expected."""
    t, rng = c.tallies, np.random.default_rng(0)
    column = t.combination
    real = column.counts(t.train)
    p, support = diversity.shares(real), int((real > 0).sum())
    counts = [column.counts(rows) for rows in t.samples]
    most = min(int(one.sum()) for one in counts)
    sizes = np.unique(np.geomspace(1, most, 36).round().astype(int))
    expected = np.array([diversity.expected_distinct(p, n) for n in sizes])
    drawn = [(rng.multinomial(n, p, size=200) > 0).sum(axis=1) for n in sizes]
    half = 1.96 * np.std(drawn, axis=1)
    low, high = np.maximum(expected - half, 1), np.minimum(expected + half, support)
    seen = [[diversity.chance_of_being_seen(one, int(n)) for n in sizes] for one in counts]
    every = np.array([[chance.sum() for chance in one] for one in seen])
    known = np.array([[chance[real > 0].sum() for chance in one] for one in seen])
    figure, (left, right) = panels(2, abreast=2, height=250, foot=24, gap=76, right=26)
    left.grid()
    right.grid(axis="y")
    left.plot(sizes, np.minimum(sizes, support), color=style.MUTED, lw=1, ls=style.DASHES)
    left.fill_between(sizes, low, high, color=REAL, alpha=0.5, lw=0)
    left.plot(sizes, expected, color=style.INK, lw=1.3)
    right.axhspan(TOO_FEW, TOO_MANY, color=style.SHADE, lw=0)
    right.fill_between(sizes, low / expected, high / expected, color=REAL, alpha=0.5, lw=0)
    right.axhline(1, color=style.INK, lw=1.3)
    for lines, dash in ((every, "-"), (known, (0, (2, 2)))):
        for axes, shown in ((left, lines), (right, lines / expected)):
            axes.plot(sizes, shown.mean(axis=0), color=MADE, lw=1.7, ls=dash)
            if len(shown) > 1:
                axes.fill_between(sizes, shown.min(axis=0), shown.max(axis=0), color=MADE,
                                  alpha=0.2, lw=0)  # fmt: skip
    whole = ValueAxis(1, most, "log")
    for axes in (left, right):
        whole.on(axes, "x", 5)
        axes.set_xlabel("rows drawn")
    ValueAxis(1, 1.1 * max(float(every.max()), support), "log").on(left, "y", 5)
    ratios = np.concatenate([every / expected, known / expected])
    ends = min(float(ratios.min()), 0.5) / 1.1, max(float(ratios.max()), 2.0) * 1.1
    ValueAxis(*ends, "log").on(right, "y", 5)
    left.set(title=f"distinct {called(column.name)}", ylabel="distinct")
    right.set(title="over what draws from training rows show", ylabel="distinct over expected")
    handles = [
        Line2D([], [], color=style.MUTED, lw=1, ls=style.DASHES),
        (Patch(facecolor=REAL, alpha=0.5), Line2D([], [], color=style.INK, lw=1.3)),
        Line2D([], [], color=MADE, lw=1.7),
        Line2D([], [], color=MADE, lw=1.7, ls=(0, (2, 2))),
    ]
    names = [f"ceiling, {support:,} among training rows", "drawn from training rows (95 %)",
             "generated", "generated, without novel ones"]  # fmt: skip
    key(figure, handles, names, 54, 72 * figure.get_figheight() - 20, ncols=4)
    return to_svg(figure, "Distinct combinations over the number of draws")


_PARTS = {"head coverage": "head", "tail coverage": "tail", "new held-out found": "new held-out"}


def coverage_figure(quantities: Sequence[Quantity]) -> Markup | None:
    """Draw which share of head, tail and new held-out states is shown; None without figures."""
    found = [one for one in quantities if one.quantity in _PARTS and one.shown]
    sizes = sorted({one.n for one in found if one.n})
    rows = list(dict.fromkeys((one.of, one.quantity) for one in found))
    if not rows:
        return None
    shown = []
    for n in sizes:
        whiskers: list[Whisker | None] = []
        for of, part in rows:
            values = [one for one in found if (one.of, one.quantity, one.n) == (of, part, n)]
            whiskers += _beside(values[0] if values else None)
        shown.append(IntervalPanel(f"{n:,} draws", "share shown (%)", whiskers))
    labels = [
        RowLabel(f"{called(of.removesuffix(', members'))}: {_PARTS[part]}", 3 * i + 0.5)
        for i, (of, part) in enumerate(rows)
    ]
    names = [("generated", MADE), ("possible, or expected of training rows", HELD_OUT)]
    return interval_figure(labels, shown, title="Coverage", row=10.0, widest=300, key=names)


def _beside(one: Quantity | None) -> list[Whisker | None]:
    if one is None:
        return [None, None, None]
    reference = Whisker(100 * one.reference, math.nan, math.nan, HELD_OUT, hollow=True)
    value = Whisker(100 * one.value, 100 * one.low, 100 * one.high, MADE)
    return [value, reference, None]


def joint_figure(quantities: Sequence[Quantity], words: Sequence[str]) -> Markup | None:
    """Draw how far pairs and triples of columns are from held-out rows; None without figures.

    Pairs of ``words`` are shown each, those with numbers as their mean.
    """
    of: dict[str, dict[str, Quantity]] = {}
    for one in quantities:
        if one.quantity.startswith("joint TVD"):
            of.setdefault(one.of, {})[one.quantity] = one
    wanted = [" x ".join(pair) for pair in combinations(words, 2)]
    wanted += ["pairs", "pairs of numbers", "triples"]
    rows = [name for name in wanted if "joint TVD" in of.get(name, {})]
    if not rows:
        return None
    whiskers: list[Whisker | None] = []
    for name in rows:
        model, apart = of[name]["joint TVD"], of[name]["joint TVD, independent marginals"]
        whiskers += [
            Whisker(model.value, model.low, model.high, MADE),
            Whisker(apart.value, apart.low, apart.high, style.SECOND),
            Whisker(model.reference, math.nan, math.nan, HELD_OUT, hollow=True),
            None,
        ]
    labels = [RowLabel(called(name), 4 * i + 1) for i, name in enumerate(rows)]
    names = [("generated", MADE), ("columns drawn independently", style.SECOND),
             ("as many real rows", HELD_OUT)]  # fmt: skip
    panel = IntervalPanel("distance from held-out families", "total variation", whiskers)
    return interval_figure(
        labels, [panel], title="Pairs and triples", row=12, widest=420, key=names
    )


def requests_figure(
    parts: Sequence[pl.DataFrame], names: Sequence[str], notes: Sequence[str]
) -> Markup:
    """Draw what was predicted and, where there is such a column, simulated, against requests."""
    abreast = 2
    figure, drawn = panels(
        len(names), abreast=abreast, height=300, top=40, gap=70, foot=24, left=58
    )
    simulated = False
    for axes, rows, name, note in zip(drawn, parts, names, notes, strict=True):
        asked, value, low, high, run, error = (
            rows[f"{name}_{end}"].cast(pl.Float64).to_numpy()
            if f"{name}_{end}" in rows.columns
            else np.full(rows.height, np.nan)
            for end in ("requested", "predicted", "low", "high", "simulated", "simulated_error")
        )
        # A little to both sides, so that intervals of one request stay apart.
        step = 0.2 * np.ptp(asked) / max(len(np.unique(asked)), 2)
        moved = asked + np.random.default_rng(0).uniform(-step, step, len(asked))
        ValueAxis.fitting(np.concatenate([moved, asked]), tail=0).on(axes, "x", 5)
        ends = np.concatenate([value, run, asked, np.nanquantile(np.r_[low, high], [0.02, 0.98])
                               if np.isfinite(low).any() else []])  # fmt: skip
        ValueAxis.fitting(ends, tail=0).on(axes, "y", 5)
        axes.grid()
        axes.vlines(moved, low, high, color=REAL, linewidth=0.7, alpha=0.7)
        size = dot_size(len(asked)) ** 2
        axes.scatter(moved, value, s=size, color=MADE, alpha=0.7, linewidths=0, zorder=3)
        if known := bool(np.isfinite(run).any()):
            simulated = True
            axes.errorbar(moved, run, np.nan_to_num(error), fmt="s", ms=6, color=style.SECOND,
                          lw=1.4, ls="none", zorder=4)  # fmt: skip
        line = np.array(axes.get_xlim())
        axes.plot(line, line, color=style.INK, lw=1, ls=style.DASHES, scaley=False)
        axes.set(
            xlabel=with_unit(name, called_so="requested"),
            ylabel=with_unit(name, called_so="predicted, simulated" if known else "predicted"),
        )
        titled(axes, called(name), note)
    handles = [
        Line2D([], [], color=MADE, marker="o", ms=5, lw=0),
        Line2D([], [], color=REAL, lw=1.5),
        Line2D([], [], color=style.INK, lw=1, ls=style.DASHES),
        Line2D([], [], color=style.SECOND, marker="s", ms=6, lw=1.4),
    ]
    texts = ["predicted", "90 % interval of the surrogate", "as requested", "simulated"]
    shown = 4 if simulated else 3
    key(figure, handles[:shown], texts[:shown], 58, 72 * figure.get_figheight() - 20, ncols=4)
    return to_svg(figure, "Requested against predicted")
