"""How well the inputs come back: scores per input, and observed against reconstructed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.report.axes import (
    WIDTH,
    Frame,
    axis_below,
    axis_left,
    box,
    letters,
    line,
    sheet,
)
from variolite.report.blocks import Block, Figure, Section, paragraph, table
from variolite.report.counted_cells import count_key, counted_cells
from variolite.report.held_out import HeldOut
from variolite.report.lettering import decimals, plain, significant
from variolite.report.markup import Markup, element, join
from variolite.report.palette import INK, MUTED
from variolite.report.reconstruction_scores import reconstruction_scores
from variolite.report.scale import SCALE_NAMES, kind_for, scale_for
from variolite.report.scorecard_table import score_table, task_title
from variolite.report.wording import counted, listed, unit_after
from variolite.scoring.scorecard import Scorecard

__all__ = ["Fit", "fit_of", "reconstruction_section"]

Floats = NDArray[np.float64]

ABREAST = 3
MOST_PANELS = 12


@dataclass(frozen=True)
class Fit:
    """How one input comes back over all held-out rows that have it.

    ``r2`` is 1 - SSE / SST about the mean of these rows; ``rmse`` is in the
    unit of the input.
    """

    rows: int
    r2: float
    rmse: float


def fit_of(observed: Floats, reconstructed: Floats) -> Fit:
    """Compare two [n] arrays in original units; rows where either is missing do not count."""
    both = np.isfinite(observed) & np.isfinite(reconstructed)
    truth, error = observed[both], reconstructed[both] - observed[both]
    if truth.size == 0:
        return Fit(0, math.nan, math.nan)
    total = float(((truth - truth.mean()) ** 2).sum())
    squared = float((error**2).sum())
    return Fit(
        int(truth.size),
        1 - squared / total if total > 0 else math.nan,
        math.sqrt(squared / truth.size),
    )


def reconstruction_section(scorecard: Scorecard | None, held_out: HeldOut | None) -> Section:
    """Return reconstruction scores and small multiples, or say what is missing."""
    rows = [
        row
        for row in (scorecard.rows if scorecard else ())
        if row.task in ("reconstruction", "likelihood")
    ]
    blocks: list[Block] = []
    if held_out is not None and held_out.reconstructions:
        blocks.append(_figure(held_out))
    if rows:
        scores = reconstruction_scores(rows)
        if scores is not None:
            blocks.append(scores)
        for task in dict.fromkeys(row.task for row in rows):
            blocks.append(element("h4", task_title(task)))
            blocks.append(score_table([row for row in rows if row.task == task]))
    elif held_out is not None and held_out.reconstructions:
        blocks.append(_fits(held_out))
    if not blocks:
        blocks.append(
            paragraph(
                "Not scored yet: run `variolite score` to reconstruct the held-out rows.",
                kind="missing",
            )
        )
    return Section("reconstruction", "Reconstruction", tuple(blocks))


def _figure(held_out: HeldOut) -> Figure:
    names = list(held_out.reconstructions)[:MOST_PANELS]
    abreast = min(ABREAST, len(names))
    gutter, gap, below, head = 62.0, 14.0, 46.0, 38.0
    side = min((WIDTH - abreast * (gutter + gap)) / abreast, 250)
    parts: list[Markup] = []
    for index, name in enumerate(names):
        column, tier = index % abreast, index // abreast
        frame = Frame(
            gutter + column * (side + gutter + gap), head + tier * (side + below + head), side, side
        )
        parts.append(_panel(held_out, name, frame))
    tiers = -(-len(names) // abreast)
    foot = tiers * (side + below + head)
    parts.append(count_key(gutter, foot + 2, "row"))
    more = len(held_out.reconstructions) - len(names)
    left_out = f" {counted(more, 'further input')} not drawn." if more else ""
    bent = [
        f"{plain(name)} ({SCALE_NAMES[kind]})"
        for name in names
        if (kind := kind_for(held_out.inputs[name])[0]) != "linear"
    ]
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    caption = (
        f"Observed against reconstructed values of {held_out.extent}, in original units, as "
        "counts per cell on a logarithmic colour scale; on the dashed line both are equal. R² and "
        "root mean square error (RMSE) are pooled over all rows, so that large groups weigh more. "
        "Values beyond the axes are counted in the cells at the edge. A reconstruction has seen "
        f"the value it reproduces: this is no prediction.{scales}{left_out}"
    )
    return Figure(
        "reconstruction",
        sheet(foot + 40, *parts, title="Observed and reconstructed inputs"),
        caption,
    )


def _panel(held_out: HeldOut, name: str, frame: Frame) -> Markup:
    observed, rebuilt = held_out.inputs[name], held_out.reconstructions[name]
    across = scale_for(observed, frame.left, frame.right)
    down = scale_for(observed, frame.bottom, frame.top)
    fit = fit_of(observed, rebuilt)
    unit = held_out.units.get(name, "")
    both = np.isfinite(observed) & np.isfinite(rebuilt)
    note = (
        f"R² {decimals(fit.r2, 2)}, RMSE {significant(fit.rmse)}{unit_after(unit)}"
        if fit.rows
        else "no row has both values"
    )
    return join(
        (
            axis_below(
                across, frame, f"observed{f' ({unit})' if unit else ''}", target=4, grid=False
            ),
            axis_left(
                down,
                frame,
                f"reconstructed{f' ({unit})' if unit else ''}",
                target=4,
                grid=False,
                gutter=48,
            ),
            counted_cells(across.inside(observed[both]), down.inside(rebuilt[both]), frame),
            line(frame.left, frame.bottom, frame.right, frame.top, stroke=INK, dashes="4 3"),
            box(frame, stroke=MUTED),
            letters(frame.left, frame.top - 22, plain(name), bold=True, room=frame.width),
            letters(frame.left, frame.top - 8, note, size=10.5, room=frame.width + 10),
        )
    )


def _fits(held_out: HeldOut) -> Markup:
    rows: list[tuple[str, ...]] = []
    for name, rebuilt in held_out.reconstructions.items():
        fit = fit_of(held_out.inputs[name], rebuilt)
        rows.append(
            (
                plain(name),
                held_out.units.get(name, ""),
                f"{fit.rows:,}",
                decimals(fit.r2, 3),
                significant(fit.rmse),
            )
        )
    return table(("input", "unit", "rows", "R²", "RMSE"), rows, numbers_from=2)
