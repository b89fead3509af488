"""Figures of the model: how well inputs come back, and what each latent dimension carries."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import HeldOut
from variolite.errors import counted
from variolite.report import figures, style
from variolite.report.clouds import fit_of, parity_panel
from variolite.report.formatting import MINUS, decimals, listed, plain, significant, unit_after
from variolite.report.page import (
    Block,
    Figure,
    Finding,
    Heading,
    Paragraph,
    Section,
    Table,
    missing,
)
from variolite.report.scores import interval_wording, method_colour, method_name
from variolite.report.style import axes_at, new_figure, shorten, to_svg
from variolite.scoring.health import ACTIVE_NATS, Health
from variolite.scoring.scorecard import ScoreRow

Floats = NDArray[np.float64]


# How well the inputs come back

PARITY_ABREAST, MOST_PARITIES, MOST_INPUTS = 3, 12, 24


def parity_figure(held_out: HeldOut) -> Figure:
    """Draw observed against reconstructed values of every input as counts per cell."""
    names = list(held_out.reconstructions)[:MOST_PARITIES]
    side = (style.WIDTH - 66 - 2 * 80) / PARITY_ABREAST
    figure, drawn = figures.panels(
        len(names), abreast=PARITY_ABREAST, height=side, top=38, gap=80, foot=36, widest=side
    )
    bent: list[str] = []
    for axes, name in zip(drawn, names, strict=True):
        observed, rebuilt = held_out.inputs[name], held_out.reconstructions[name]
        unit, axis = held_out.units.get(name, ""), figures.ValueAxis.fitting(observed)
        fit = fit_of(observed, rebuilt)
        error = f"R² {decimals(fit.r2, 2)}, RMSE {significant(fit.rmse)}{unit_after(unit)}"
        note = error if fit.rows else "no row has both values"
        parity_panel(axes, (observed, rebuilt), axis, (plain(name), note))
        in_unit = shorten(f" ({unit})" if unit else "", 24)
        axes.set(xlabel=f"observed {in_unit}", ylabel=f"reconstructed {in_unit}")
        if axis.kind != "linear":
            bent.append(f"{plain(name)} ({figures.SCALE_NAMES[axis.kind]})")
    foot = 72 * figure.get_figheight() - 32
    figures.colour_bar(
        figure, style.SEQUENTIAL, (54, foot, 176, 9), {0.1: "one row", 0.85: "fullest cell"}
    )
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


def reconstruction_scores(rows: Sequence[ScoreRow]) -> Figure | None:
    """Draw R² by input and method; None where the scorecard has none."""
    chosen = [row for row in rows if row.metric == "r2" and row.feature]
    inputs = list(dict.fromkeys(row.feature or "" for row in chosen))[:MOST_INPUTS]
    if not inputs:
        return None
    methods = list(dict.fromkeys(row.method for row in chosen))
    lookup = {
        (row.feature, row.method): figures.Whisker(
            row.mean, row.low, row.high, method_colour(row.method)
        )
        for row in chosen
    }
    # An empty row above, below and between inputs keeps them apart.
    whiskers: list[figures.Whisker | None] = [None]
    labels: list[figures.RowLabel] = []
    for feature in inputs:
        labels.append(figures.RowLabel(plain(feature), len(whiskers) + (len(methods) - 1) / 2))
        whiskers += [*(lookup.get((feature, method)) for method in methods), None]
    drawing = figures.interval_figure(
        labels,
        [figures.IntervalPanel("reconstruction of each input", "R², 1 at best", whiskers)],
        title="R² of the reconstruction by input",
        row=15.0,
        widest=520.0,
        key=[(method_name(method), method_colour(method)) for method in methods],
    )
    caption = (
        "R² of the reconstruction of each input on held-out groups, in original units or, where an "
        "input is modelled in logarithms, on that scale: share of "
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
        reason = (
            "Not examined yet: run `variolite score` or `variolite doctor` to look into the latent "
            "space."
        )
        return missing(anchor, title, reason)
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
    names = [shorten(plain(name), 32) for name in inputs]
    left = max(max((len(name) for name in names), default=0) * style.LETTER + 16, 64)
    cell = min((style.WIDTH - left - HEALTH_RIGHT) / len(dimensions), WIDEST_BAR)
    width, top = cell * len(dimensions), 10 + BARS + 54
    figure = new_figure(max(top + HEALTH_ROW * len(inputs) + 8, top + 110) if inputs else top - 20)
    axes = axes_at(figure, left, 10, width, BARS)
    axes.grid(axis="y")
    places = np.arange(len(dimensions)) + 0.5
    kl = np.array([entry.kl for entry in dimensions])
    highest = max(np.nanmax(kl, initial=0.0), 10 * ACTIVE_NATS) * 1.1
    axes.set(xlim=(0, len(dimensions)), ylim=(0, highest), ylabel="KL (nats)")
    axes.set_xticks(places, [f"z{entry.index}" for entry in dimensions])
    axes.tick_params(axis="x", length=0)
    figures.number_axis(axes, "y", 4)
    axes.spines[["top", "right"]].set_visible(False)
    colours = [style.ACCENT if entry.active else style.OTHER for entry in dimensions]
    bars = axes.bar(places, np.maximum(kl, 0.005 * highest), width=0.72, color=colours)
    if cell > 42:
        written = [significant(value, 2) if math.isfinite(value) else "" for value in kl.tolist()]
        axes.bar_label(bars, written, padding=3, fontsize=10, color=style.MUTED)
    axes.axhline(ACTIVE_NATS, color=style.INK, lw=1, ls=style.DASHES)
    text, place = f"active above {ACTIVE_NATS}", axes.get_yaxis_transform()
    look = {"va": "center", "fontsize": style.SMALL, "color": style.MUTED}
    axes.text(1.01, ACTIVE_NATS, text, look, transform=place)
    caption = (
        f"KL divergence of each of {counted(len(health.dimensions), 'latent dimension')} from "
        f"the prior, mean over held-out rows, most informative first; blue: active, that is above "
        f"{ACTIVE_NATS} nats."
    )
    if inputs:
        axes = axes_at(figure, left, top, width, HEALTH_ROW * len(inputs))
        values = np.array(
            [[e.correlation.get(name, np.nan) for e in dimensions] for name in inputs]
        )
        digits = 2 if cell >= 30 else 1
        texts = [[_bare(r, digits) for r in row] for row in values.tolist()]
        kept = np.where([entry.active for entry in dimensions], 1.0, IDLE)[:, None]
        shades = 1 - kept * (1 - style.DIVERGING((values + 1) / 2))
        shades[np.isnan(values)] = 1.0
        figures.heat_map(axes, shades, texts)
        axes.set(xticks=[], title="correlation of its mean with each input")
        axes.set_yticks(np.arange(len(inputs)) + 0.5, names)
        marks = {0.0: f"{MINUS}1", 0.5: "0", 1.0: "r = 1"}
        figures.colour_bar(figure, style.DIVERGING, (left + width + 30, top, 11, 96), marks)
        caption += (
            " Below: Spearman rank correlation of the posterior mean with each input, pale where "
            "the dimension is not active and the correlation is one of noise."
        )
    return Figure("latent-health", to_svg(figure, "KL divergence by latent dimension"), caption)


def _bare(correlation: float, digits: int) -> str:
    """Write a number without what needs no room: a zero before the point, zeros after a one."""
    if math.isnan(correlation):
        return ""
    return re.sub(r"0(?=\.)|(?<=1)\.0+$", "", f"{correlation:z.{digits}f}").replace("-", MINUS)
