"""Cells of originals against cells of reconstructions: lengths, angles, volume per atom."""

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
    points_path,
    sheet,
)
from variolite.report.blocks import Figure, Section, paragraph
from variolite.report.counted_cells import count_key, counted_cells
from variolite.report.crystals.run import CrystalRun, Pairs
from variolite.report.lettering import decimals, significant
from variolite.report.markup import Markup, element, join
from variolite.report.palette import ACCENT, INK, MUTED
from variolite.report.reconstruction_figure import Fit, fit_of
from variolite.report.scale import SCALE_NAMES, Kind, Scale, kind_for, limits
from variolite.report.wording import listed, unit_after

__all__ = ["parity_section"]

Floats = NDArray[np.float64]

ABREAST = 4
KEY = 190.0
FEW = 500
"""Up to so many crystals are dots; squares of one crystal each would be pale and small."""
DOT = 4.6
GUTTER, GAP, HEAD, BELOW = 52.0, 10.0, 38.0, 44.0


@dataclass(frozen=True)
class _Quantity:
    """One number of every crystal, of the original and of the reconstruction, [B] each."""

    name: str
    unit: str
    original: Floats
    rebuilt: Floats

    @property
    def fit(self) -> Fit:
        return fit_of(self.original, self.rebuilt)

    @property
    def mean_absolute_error(self) -> float:
        errors = np.abs(self.rebuilt - self.original)
        errors = errors[np.isfinite(errors)]
        return float(errors.mean()) if errors.size else float("nan")


def parity_section(run: CrystalRun) -> Section:
    """Return the parity plots, or say what is missing for them."""
    anchor, title = "cells", "Cells: original and reconstructed"
    if run.pairs is None or not len(run.pairs):
        missing = paragraph(
            "No cells to compare yet: run `variolite score` to write originals.crystals and "
            "reconstructed.crystals.",
            kind="missing",
        )
        return Section(anchor, title, (missing,))
    return Section(anchor, title, (_figure(run.pairs, run.sampling),))


def _quantities(pairs: Pairs) -> list[_Quantity]:
    (original, rebuilt), volumes = pairs.parameters, pairs.volumes
    names = ("a", "b", "c", "α", "β", "γ")
    cells = [
        _Quantity(name, "Å" if place < 3 else "°", original[:, place], rebuilt[:, place])
        for place, name in enumerate(names)
    ]
    volume = _Quantity("volume per atom", "Å³", *volumes)
    return [*cells[:3], volume, *cells[3:]]


def _figure(pairs: Pairs, sampling: str) -> Figure:
    quantities = _quantities(pairs)
    side = (WIDTH - ABREAST * (GUTTER + GAP)) / ABREAST
    drawn: list[Markup] = []
    bent: list[str] = []
    few = len(pairs) <= FEW
    for index, quantity in enumerate(quantities):
        column, tier = index % ABREAST, index // ABREAST
        frame = Frame(
            GUTTER + column * (side + GUTTER + GAP), HEAD + tier * (side + BELOW + HEAD), side, side
        )
        panel, kind = _panel(quantity, frame, few=few)
        drawn.append(panel)
        if kind != "linear":
            bent.append(f"{quantity.name} ({SCALE_NAMES[kind]})")
    if not few:
        drawn.append(count_key(WIDTH - KEY, 2 * HEAD + side + BELOW, "crystal"))
    height = 2 * (HEAD + side + BELOW) - 6
    errors = [
        f"{q.name} {significant(q.mean_absolute_error)}{unit_after(q.unit)}" for q in quantities
    ]
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    caption = (
        "Cell lengths a, b, c in Å, angles in degrees and volume per atom in Å³ of "
        f"{pairs.extent}, original against reconstructed, in the cell of the file, "
        f"{'a dot each' if few else 'as counts per square on a logarithmic colour scale'}; on the "
        "dashed line both are equal. R² and mean absolute error (MAE) are over all crystals; MAE: "
        f"{listed(errors)}. Values beyond the axes {'stand' if few else 'are counted'} at the "
        f"edge.{scales} The model has seen the crystal that it reproduces: this is no "
        f"prediction.{sampling}"
    )
    title = "Cell lengths, angles and volumes, original against reconstructed"
    return Figure("cells", sheet(height, *drawn, title=title), caption)


def _dots(x: Floats, y: Floats) -> Markup:
    return element(
        "path",
        d=points_path(x, y),
        fill="none",
        stroke=ACCENT,
        stroke_width=DOT,
        stroke_opacity=0.6,
        stroke_linecap="round",
    )


def _r2(value: float) -> str:
    """Write R² so that only a perfect one is called 1."""
    if 0.9995 <= value < 1:
        return "R² > 0.999"
    return f"R² {decimals(value, 3)}"


def _middle(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return -math.inf, math.inf
    low, high = np.quantile(known, [0.01, 0.99])
    return float(low), float(high)


def _panel(quantity: _Quantity, frame: Frame, *, few: bool) -> tuple[Markup, Kind]:
    # A few reconstructions that went astray must not stretch the axes.
    low, high = _middle(quantity.rebuilt)
    joined = np.concatenate([quantity.original, np.clip(quantity.rebuilt, low, high)])
    kind = kind_for(joined)[0]
    if kind == "log":
        low, high = (float(q) for q in np.nanquantile(joined, [0.001, 0.999]))
    else:
        kind, (low, high) = "linear", limits(joined)
        # A narrower axis would need more decimals than there is room for.
        least = 0.04 * max(abs(low), abs(high))
        slack = max(least - (high - low), 0.0) / 2
        low, high = low - slack, high + slack
    across = Scale(low, high, frame.left, frame.right, kind)
    down = Scale(low, high, frame.bottom, frame.top, kind)
    both = np.isfinite(quantity.original) & np.isfinite(quantity.rebuilt)
    unit = quantity.unit
    note = (
        f"{_r2(quantity.fit.r2)}, "
        f"MAE {significant(quantity.mean_absolute_error, 2)}{unit_after(unit)}"
        if both.any()
        else "no crystal has both values"
    )
    x, y = across.inside(quantity.original[both]), down.inside(quantity.rebuilt[both])
    panel = join(
        (
            axis_below(across, frame, f"original ({unit})", target=4, grid=False),
            axis_left(down, frame, f"reconstructed ({unit})", target=4, grid=False, gutter=40),
            Markup("") if few else counted_cells(x, y, frame),
            line(frame.left, frame.bottom, frame.right, frame.top, stroke=INK, dashes="4 3"),
            _dots(x, y) if few else Markup(""),
            box(frame, stroke=MUTED),
            letters(frame.left, frame.top - 22, quantity.name, bold=True, room=frame.width),
            letters(frame.left, frame.top - 8, note, size=10.5, room=frame.width + 10),
        )
    )
    return panel, kind
