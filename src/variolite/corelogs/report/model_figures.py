"""Figures of the model: how well inputs come back, and what each latent dimension carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import HeldOut
from variolite.corelogs.report.cluster_figures import missing
from variolite.report.clouds import (
    density_key,
    fit_of,
    parity_panel,
)
from variolite.report.figures import (
    SCALE_NAMES,
    Cell,
    IntervalPanel,
    RowLabel,
    ValueAxis,
    Whisker,
    interval_figure,
    matrix,
    number_axis,
    ramp,
)
from variolite.report.page import (
    Block,
    Figure,
    Finding,
    Heading,
    Paragraph,
    Section,
    Table,
)
from variolite.report.scores import (
    Score,
    interval_wording,
    method_colour,
    method_name,
    with_interval,
)
from variolite.report.style import (
    ACCENT,
    DIVERGING,
    INK,
    MUTED,
    OTHER,
    PAPER,
    SMALL,
    WIDTH,
    axes_at,
    blend,
    ink_on,
    new_figure,
    text_width,
    to_svg,
    tooltip,
    write,
)
from variolite.report.tables import (
    MINUS,
    counted,
    decimals,
    listed,
    plain,
    significant,
    unit_after,
)
from variolite.scoring.health import ACTIVE_NATS, Dimension, Health

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# How well the inputs come back

PARITY_ABREAST, MOST_PARITIES, MOST_INPUTS = 3, 12, 24


def parity_figure(held_out: HeldOut) -> Figure:
    """Draw observed against reconstructed values of every input as counts per cell."""
    names = list(held_out.reconstructions)[:MOST_PARITIES]
    abreast = min(PARITY_ABREAST, len(names))
    gutter, gap, below, head = 62.0, 14.0, 46.0, 38.0
    side = min((WIDTH - abreast * (gutter + gap)) / abreast, 250)
    foot = math.ceil(len(names) / abreast) * (side + below + head)
    figure = new_figure(foot + 40)
    bent: list[str] = []
    for index, name in enumerate(names):
        left = gutter + index % abreast * (side + gutter + gap)
        top = head + index // abreast * (side + below + head)
        observed, rebuilt = held_out.inputs[name], held_out.reconstructions[name]
        unit, axis, fit = (
            held_out.units.get(name, ""),
            ValueAxis.fitting(observed),
            fit_of(observed, rebuilt),
        )
        in_unit = f" ({unit})" if unit else ""
        note = (
            f"R² {decimals(fit.r2, 2)}, RMSE {significant(fit.rmse)}{unit_after(unit)}"
            if fit.rows
            else "no row has both values"
        )
        parity_panel(
            figure,
            (left, top, side),
            (observed, rebuilt),
            axis,
            (plain(name), note),
            (f"observed{in_unit}", f"reconstructed{in_unit}"),
        )
        if axis.kind != "linear":
            bent.append(f"{plain(name)} ({SCALE_NAMES[axis.kind]})")
    density_key(figure, gutter, foot + 2, "row")
    more = len(held_out.reconstructions) - len(names)
    left_out = f" {counted(more, 'further input')} not drawn." if more else ""
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    caption = (
        f"Observed against reconstructed values of {held_out.extent}, in original units, as "
        "counts per cell on a logarithmic colour scale, each panel up to its own fullest cell; on "
        "the dashed line both are equal. R² and "
        "root mean square error (RMSE) are pooled over all rows, so that large groups weigh more. "
        "Values beyond the axes are counted in the cells at the edge. A reconstruction has seen "
        f"the value it reproduces: this is not a prediction.{scales}{left_out}"
    )
    return Figure("reconstruction", to_svg(figure, "Observed and reconstructed inputs"), caption)


def fits_table(held_out: HeldOut) -> Table:
    """Return how well each input comes back, where the scorecard does not say."""
    rows: list[tuple[str, ...]] = []
    for name, rebuilt in held_out.reconstructions.items():
        fit = fit_of(held_out.inputs[name], rebuilt)
        unit = held_out.units.get(name, "")
        rows.append(
            (plain(name), unit, f"{fit.rows:,}", decimals(fit.r2, 3), significant(fit.rmse))
        )
    return Table(("input", "unit", "rows", "R²", "RMSE"), rows, numbers_from=2)


def reconstruction_scores(rows: Sequence[Score]) -> Figure | None:
    """Draw R² by input and method; None where the scorecard has none."""
    chosen = [row for row in rows if row.metric == "r2" and row.feature]
    inputs = list(dict.fromkeys(row.feature or "" for row in chosen))[:MOST_INPUTS]
    if not inputs:
        return None
    methods = list(dict.fromkeys(row.method for row in chosen))
    lookup = {(row.feature, row.method): row for row in chosen}
    # An empty row above, below and between inputs keeps them apart.
    whiskers: list[Whisker | None] = [None]
    labels: list[RowLabel] = []
    for feature in inputs:
        labels.append(RowLabel(plain(feature), len(whiskers) + (len(methods) - 1) / 2))
        for method in methods:
            row = lookup.get((feature, method))
            note = "" if row is None else f"{plain(feature)}, {method_name(method)}: R² "
            whiskers.append(
                None
                if row is None
                else Whisker(row.mean, row.low, row.high, method_colour(method),
                             note + with_interval(row))
            )  # fmt: skip
        whiskers.append(None)
    drawing = interval_figure(
        labels,
        [IntervalPanel("reconstruction of each input", "R², 1 at best", whiskers)],
        title="R² of the reconstruction by input",
        row=15.0,
        widest=520.0,
        key=[(method_name(method), method_colour(method)) for method in methods],
    )
    caption = (
        "R² of the reconstruction of each input on held-out groups, in original units: share of "
        "the squared deviation from the mean that the reconstruction explains, below 0 where the "
        f"mean would do better. {interval_wording(chosen)}"
    )
    return Figure("reconstruction-scores", drawing, caption)


# Latent health: how much each dimension carries, and what

BARS, HEALTH_ROW, WIDEST_BAR, HEALTH_RIGHT = 150.0, 22.0, 58.0, 130.0
IDLE = 0.25
"""How much of its colour a correlation keeps where the dimension is not active."""


def health_section(health: Health | None) -> Section:
    """Return the latent dimensions with findings and advice, or say what is missing."""
    anchor, title = "health", "Latent health"
    if health is None:
        return missing(
            anchor,
            title,
            "Not examined yet: run `variolite score` or `variolite doctor` to look into the latent "
            "space.",
        )
    blocks: list[Block] = [
        Paragraph(
            f"{health.active_units} of {len(health.dimensions)} latent dimensions are active; "
            f"together they carry {significant(health.total_kl)} nats per row."
        ),
        *(Finding(entry.level, entry.text, entry.advice or "") for entry in health.findings),
    ]
    if health.dimensions:
        blocks.append(_health(health))
    if health.noise:
        rows = [
            (plain(name), significant(sigma), significant(sigma**2))
            for name, sigma in health.noise.items()
        ]
        blocks += [
            Heading("Noise the decoder learned"),
            Paragraph(
                "Standard deviation σ of the noise around the reconstruction, in transformed "
                "units. Where an input is standardised, σ² is the share of its variance left "
                "unexplained."
            ),
            Table(("input", "noise σ", "variance σ²"), rows, numbers_from=1),
        ]
    return Section(anchor, title, blocks)


def _health(health: Health) -> Figure:
    dimensions = sorted(
        health.dimensions, key=lambda entry: -entry.kl if math.isfinite(entry.kl) else math.inf
    )
    inputs = list(dict.fromkeys(name for entry in dimensions for name in entry.correlation))
    left = max((text_width(plain(name)) for name in inputs), default=0.0)
    left = max(min(left + 16, 200), 64)
    cell = min((WIDTH - left - HEALTH_RIGHT) / len(dimensions), WIDEST_BAR)
    right, top = left + cell * len(dimensions), 24 + BARS + 44
    height = max(top + HEALTH_ROW * len(inputs) + 8, top + 110) if inputs else top - 8
    figure = new_figure(height)
    axes = axes_at(figure, left, 24, right - left, BARS, y_label="KL (nats)", grid="y")
    _bars(figure, axes, dimensions, left, cell)
    if inputs:
        write(figure, left, top - 10, "correlation of its mean with each input", bold=True)
        rows = [[_correlation(name, entry, cell) for entry in dimensions] for name in inputs]
        matrix(figure, left, top, (cell, HEALTH_ROW), rows)
        for index, name in enumerate(inputs):
            y = top + index * HEALTH_ROW + 15
            write(figure, left - 8, y, plain(name), anchor="right", room=left - 10)
        marks = ((0.0, f"{MINUS}1"), (0.5, "0"), (0.965, "r = 1"))
        ramp(figure, DIVERGING, (right + 30, top, 11, 96), marks)
    caption = (
        f"KL divergence of each of {counted(len(health.dimensions), 'latent dimension')} from "
        f"the prior, mean over held-out rows, most informative first; blue: active, that is above "
        f"{ACTIVE_NATS} nats."
    )
    if inputs:
        caption += (
            " Below: Spearman rank correlation of the posterior mean with each input, pale where "
            "the dimension is not active and the correlation is one of noise."
        )
    return Figure("latent-health", to_svg(figure, "KL divergence by latent dimension"), caption)


def _bars(
    figure: Drawing, axes: Axes, dimensions: list[Dimension], left: float, cell: float
) -> None:
    known = [(i, entry) for i, entry in enumerate(dimensions) if math.isfinite(entry.kl)]
    top = max([*(entry.kl for _, entry in known), 10 * ACTIVE_NATS]) * 1.1
    axes.set(xlim=(0, len(dimensions)), ylim=(0, top), xticks=[])
    number_axis(axes, "y", 4)
    axes.spines[["top", "right"]].set_visible(False)
    bars = axes.bar(
        [i + 0.5 for i, _ in known],
        [max(entry.kl, 0.005 * top) for _, entry in known],
        width=0.72,
        color=[ACCENT if entry.active else OTHER for _, entry in known],
    )
    for bar, (index, entry) in zip(bars, known, strict=True):
        spread = (
            f", standard deviation of its mean {significant(entry.mean_sd)}"
            if entry.mean_sd is not None
            else ""
        )
        tooltip(bar, f"z{entry.index}: {significant(entry.kl)} nats{spread}")
        written = significant(entry.kl, 2)
        if text_width(written, 10) < cell - 2:
            y = 24 + BARS * (1 - max(entry.kl, 0) / top) - 4
            write(figure, left + (index + 0.5) * cell, y, written, anchor="center", size=10,
                  colour=MUTED)  # fmt: skip
    for index, entry in enumerate(dimensions):
        write(figure, left + (index + 0.5) * cell, 24 + BARS + 15, f"z{entry.index}",
              anchor="center", size=11, room=cell)  # fmt: skip
    axes.axhline(ACTIVE_NATS, color=INK, lw=1, ls=(0, (4, 3)))
    y = 24 + BARS * (1 - ACTIVE_NATS / top) + 3
    write(figure, left + cell * len(dimensions) + 6, y, f"active above {ACTIVE_NATS}", size=SMALL,
          colour=MUTED)  # fmt: skip


def _correlation(name: str, entry: Dimension, room: float) -> Cell:
    """Write a correlation without its leading zero, to one decimal where cells are narrow."""
    value = entry.correlation.get(name, math.nan)
    if not math.isfinite(value):
        return Cell(PAPER, "", INK, "not defined")
    places = 2 if room >= text_width(f"{MINUS}.88", SMALL) + 2 else 1
    size = f"{abs(value):.{places}f}"
    bare = size.removeprefix("0").rstrip("0") if float(size) in (0, 1) else size.removeprefix("0")
    written = (MINUS if value < 0 and float(size) else "") + (bare.rstrip(".") or "0")
    note = f"z{entry.index} and {plain(name)}: r = {value:.3f}"
    colour = blend(DIVERGING, (value + 1) / 2)
    if entry.active:
        return Cell(colour, written, ink_on(colour), note)
    return Cell(blend((PAPER, colour), IDLE), written, MUTED, note)
