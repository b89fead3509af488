"""Figures of generated frameworks: grey is of training rows, black of held-out, blue of generated.

Shares are in per cent of the rows that have the column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from polars import selectors

from variolite.errors import counted
from variolite.frameworks.columns import SETS, UNITS
from variolite.frameworks.diagnosis import diversity
from variolite.frameworks.diagnosis.findings import Figure as Quantity
from variolite.frameworks.diagnosis.tallies import Layout, Tallies, tally
from variolite.report import style
from variolite.report.clouds import dot_size
from variolite.report.figures import (
    IntervalPanel,
    RowLabel,
    ValueAxis,
    Whisker,
    interval_figure,
    key,
    number_axis,
    panels,
    share_whisker,
    shares_by_bin,
    titled,
)
from variolite.report.formatting import plain
from variolite.report.page import Figure
from variolite.report.style import to_svg

REAL, HELD_OUT, MADE, BUILT = style.OTHER, style.INK, style.ACCENT, style.OKABE_ITO[2]
MEMBERS, BINS = 12, 16  # members of a set, and bins of numbers, in a figure
_CALLED = {
    "surface_area_mass": "surface area",
    "net": "nets",
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
}


def called(name: str) -> str:
    """Return what a column is called in prose."""
    return _CALLED.get(name, plain(name).replace("co2", "CO₂").replace(" x ", " × "))


def with_unit(name: str, *, called_so: str = "") -> str:
    """Return a name with its unit in brackets, for axes and heads."""
    unit = UNITS.get(name)
    return (called_so or called(name)) + (f" ({unit})" if unit else "")


def compared(training: pl.DataFrame, held_out: pl.DataFrame, generated: pl.DataFrame) -> Tallies:
    """Code the columns that all have; of generated rows those that nothing was asked of.

    DataError where no column can be compared.
    """
    drawn = asked_nothing(generated).partition_by("member", include_key=False)
    common = [n for n in training.columns if n in generated.columns and n not in ("name", "family")]
    texts = [name for name in common if not training[name].dtype.is_numeric()]
    layout = Layout(
        sets=tuple(name for name in texts if name in SETS),
        categories=tuple(name for name in texts if name not in SETS),
        numbers=tuple(name for name in common if name not in texts),
        combination=Layout.among(texts).combination,
    )
    return tally(training, held_out, drawn, layout)


def asked_nothing(generated: pl.DataFrame) -> pl.DataFrame:
    """Rows that were drawn without a request."""
    asked = [name for name in generated.columns if name.endswith("_requested")]
    return generated.filter(pl.all_horizontal(pl.col(asked).is_null())) if asked else generated


def shares_figure(t: Tallies, name: str) -> Markup:
    """Draw the share of rows that hold each of the commonest members of a set, or categories."""
    column, parts = t.columns[name], (t.train, t.held_out, *t.samples)
    counts = np.array([column.member_counts(rows) for rows in parts])  # (2 + seeds, M)
    known = [column.known(rows) for rows in parts]
    order = np.lexsort((-counts[2:].sum(axis=0), -counts[:2].sum(axis=0)))[:MEMBERS]
    whiskers: list[Whisker | None] = []
    for hits in counts[:, order].T.tolist():
        training, *made = [100 * n / max(k, 1) for n, k in zip(hits, known, strict=True)]
        del made[0]
        low, high = (min(made), max(made)) if len(made) > 1 else (math.nan, math.nan)
        whiskers += [
            Whisker(sum(made) / len(made), low, high, MADE),
            share_whisker(hits[1], known[1], HELD_OUT),
            Whisker(training, math.nan, math.nan, REAL),
            None,
        ]
    texts = [column.members[place] for place in order.tolist()]
    labels = [
        RowLabel(text.removeprefix("node_").removeprefix("linker_"), 4 * row + 1)
        for row, text in enumerate(texts)
    ]
    many = len(column.members) > MEMBERS
    extent = f"the {MEMBERS} commonest of {len(column.members):,}" if many else "all of them"
    panel = IntervalPanel(f"{called(name)}: {extent}", "share of rows (%)", whiskers)
    names = [("generated", MADE), ("held-out families", HELD_OUT), ("training rows", REAL)]
    title = f"Shares of {called(name)}"
    return interval_figure(labels, [panel], title=title, row=8.0, widest=560, key=names)


def numbers_figure(t: Tallies, names: Sequence[str], quantities: Sequence[Quantity]) -> Markup:
    """Draw histograms of numeric columns, four panels abreast."""
    figure, drawn = panels(
        len(names), abreast=4, height=116, top=40, below=48, gap=40, left=40, foot=22
    )
    tvd = {one.of: one for one in quantities if one.quantity == "marginal TVD"}
    parts = (np.concatenate(t.samples), t.held_out, t.train)
    for axes, name in zip(drawn, names, strict=True):
        column = t.frame[name].to_numpy()
        axis = ValueAxis.fitting(column[np.r_[t.train, t.held_out]], tail=0.004)
        axis.on(axes, "x", 4)
        colours = (MADE, HELD_OUT, REAL)
        shares_by_bin(axes, axis.edges(BINS), [column[rows] for rows in parts], colours)
        axes.set(xlabel=UNITS.get(name, ""))
        axes.set_ylim(bottom=0)
        number_axis(axes, "y", 3)
        found = tvd.get(name)
        note = f"TVD {found.value:.2f}, floor {found.reference:.2f}" if found else ""
        titled(axes, called(name), note)
    handles = [Patch(color=REAL), Line2D([], [], color=HELD_OUT), Line2D([], [], color=MADE)]
    texts = ["training rows", "held-out families", "generated"]
    key(figure, handles, texts, 40, 72 * figure.get_figheight() - 20, ncols=3)
    return to_svg(figure, "Distributions of numeric columns")


def diversity_figure(t: Tallies) -> Markup:
    """Draw different combinations over the number of draws, beside those that are expected."""
    column, random = t.combination, np.random.default_rng(0)
    real = column.counts(t.train)
    p, support = diversity.shares(real), int((real > 0).sum())
    most = min(column.known(rows) for rows in t.samples)
    sizes = np.unique(np.geomspace(1, most, 36).round().astype(int))
    expected = np.array([diversity.expected_distinct(p, n) for n in sizes])
    half = [1.96 * (random.multinomial(n, p, size=200) > 0).sum(axis=1).std() for n in sizes]
    # Chances of every state to be seen, (seeds, sizes, states).
    seen = np.array(
        [
            [diversity.chance_of_being_seen(column.counts(rows), int(n)) for n in sizes]
            for rows in t.samples
        ]
    )
    figure, (axes,) = panels(1, abreast=1, height=270, foot=24, right=26)
    axes.grid()
    axes.plot(sizes, np.minimum(sizes, support), color=style.MUTED, lw=1, ls=style.DASHES)
    low, high = np.maximum(expected - half, 1), np.minimum(expected + half, support)
    axes.fill_between(sizes, low, high, color=REAL, alpha=0.5, lw=0)
    axes.plot(sizes, expected, color=style.INK, lw=1.3)
    for lines, dash in ((seen.sum(axis=2), "-"), (seen[:, :, real > 0].sum(axis=2), (0, (2, 2)))):
        axes.plot(sizes, lines.mean(axis=0), color=MADE, lw=1.7, ls=dash)
        axes.fill_between(sizes, lines.min(axis=0), lines.max(axis=0), color=MADE, alpha=0.2, lw=0)
    ValueAxis(1, most, "log").on(axes, "x", 5)
    ValueAxis(1, 1.1 * max(float(seen.sum(axis=2).max()), support), "log").on(axes, "y", 5)
    axes.set(xlabel="rows drawn", ylabel=f"distinct {called(column.name)}")
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


def requests_figure(frame: pl.DataFrame, caption: str, notes: Mapping[str, str]) -> Figure | None:
    """Draw what was predicted, measured as built, and simulated, against what was requested.

    A panel per property, with ``notes`` over it; None where nothing was requested and answered.
    """
    parts = {}
    # Names and categories can be requested too.
    for column in frame.select(selectors.numeric() & selectors.ends_with("_requested")).columns:
        name, rows = column.removesuffix("_requested"), frame.filter(pl.col(column).is_not_null())
        answers = (f"{name}_predicted", f"{name}_simulated", name)
        if any(rows[answer].count() for answer in answers if answer in rows.columns):
            parts[name] = rows
    if not parts:
        return None
    figure, drawn = panels(len(parts), abreast=2, height=300, top=40, gap=70, foot=24, left=58)
    handles: dict[str, Any] = {}
    for axes, (name, rows) in zip(drawn, parts.items(), strict=True):
        ends = ("_requested", "_predicted", "_low", "_high", "_simulated", "_simulated_error", "")
        asked, value, low, high, run, error, built = (
            rows[name + end].cast(pl.Float64).to_numpy()
            if name + end in rows.columns
            else np.full(rows.height, np.nan)
            for end in ends
        )
        # A little to both sides, so that intervals of one request stay apart.
        step = 0.2 * np.ptp(asked) / max(len(np.unique(asked)), 2)
        moved = asked + np.random.default_rng(0).uniform(-step, step, len(asked))
        ValueAxis.fitting(np.concatenate([moved, asked]), tail=0).on(axes, "x", 5)
        bounds = np.r_[low, high][np.isfinite(np.r_[low, high])]
        bounds = np.quantile(bounds, [0.02, 0.98]) if bounds.size else bounds
        ValueAxis.fitting(np.r_[value, run, built, asked, bounds], tail=0).on(axes, "y", 5)
        axes.grid()
        what = []
        if np.isfinite(value).any():
            what.append("predicted")
            handles["90 % interval of the surrogate"] = axes.vlines(
                moved, low, high, color=REAL, linewidth=0.7, alpha=0.7
            )
            size = dot_size(len(asked)) ** 2
            handles["predicted"] = axes.scatter(
                moved, value, s=size, color=MADE, alpha=0.7, linewidths=0, zorder=3
            )
        if np.isfinite(built).any():
            what.append("as built")
            handles["as built"] = axes.scatter(moved, built, s=36, marker="D", color=BUILT)
        if np.isfinite(run).any():
            what.append("simulated")
            look: Any = {"fmt": "s", "ms": 6, "color": style.SECOND, "lw": 1.4, "zorder": 4}
            handles["simulated"] = axes.errorbar(moved, run, np.nan_to_num(error), **look)
        line = np.array(axes.get_xlim())
        (handles["as requested"],) = axes.plot(
            line, line, color=style.INK, lw=1, ls=style.DASHES, scaley=False
        )
        axes.set_xlabel(with_unit(name, called_so="requested"))
        axes.set_ylabel(with_unit(name, called_so=", ".join(what)))
        values = counted(len(np.unique(asked)), "value")
        titled(axes, called(name), f"{notes.get(name, '')} {values}, {rows.height:,} rows".strip())
    foot = 72 * figure.get_figheight() - 20
    key(figure, [*handles.values()], [*handles], 58, foot, ncols=4)
    return Figure("requested", to_svg(figure, "Requested against predicted"), caption)
