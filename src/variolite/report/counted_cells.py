"""Many points in one panel: a two-dimensional histogram in a few colour levels, and its key."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from variolite.report.axes import Frame, letters
from variolite.report.markup import Markup, compact, element, join
from variolite.report.palette import MUTED, SEQUENTIAL, blend

__all__ = ["count_key", "counted_cells"]

Floats = NDArray[np.float64]

CELLS = 44
LEVELS = 8


def counted_cells(x: Floats, y: Floats, frame: Frame) -> Markup:
    """Draw how many points [n] lie in each cell of a square frame, one path a colour level.

    ``x`` and ``y`` are in pixels; points beyond the frame count in the cells at its edge.
    The colour scale is logarithmic, from one point to the fullest cell.
    """
    if x.size == 0:
        return Markup("")
    side = frame.width / CELLS
    columns = np.clip(((x - frame.left) / side).astype(np.int64), 0, CELLS - 1)
    rows = np.clip(((y - frame.top) / side).astype(np.int64), 0, CELLS - 1)
    counts = np.zeros((CELLS, CELLS), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    top = max(math.log10(float(counts.max())), 1e-9)
    levels = np.where(
        counts > 0, 1 + np.round((LEVELS - 1) * np.log10(np.maximum(counts, 1)) / top), 0
    )
    length = compact(side)
    paths: list[Markup] = []
    for level in range(1, LEVELS + 1):
        row, column = np.nonzero(levels == level)
        if len(row):
            drawn = "".join(
                f"M{compact(frame.left + j * side)} {compact(frame.top + i * side)}"
                f"h{length}v{length}h-{length}z"
                for i, j in zip(row.tolist(), column.tolist(), strict=True)
            )
            paths.append(element("path", d=drawn, fill=_shade(level)))
    return join(paths)


def count_key(left: float, top: float, noun: str) -> Markup:
    """Draw the colour levels, from one ``noun`` to the fullest cell; 22 pixels high."""
    bars = (
        element("rect", x=left + (level - 1) * 22, y=top, width=22, height=9, fill=_shade(level))
        for level in range(1, LEVELS + 1)
    )
    return join(
        (
            *bars,
            letters(left, top + 22, f"one {noun}", size=10.5, fill=MUTED),
            letters(
                left + LEVELS * 22,
                top + 22,
                "fullest cell of the panel",
                size=10.5,
                fill=MUTED,
                anchor="end",
            ),
        )
    )


def _shade(level: int) -> str:
    return blend(SEQUENTIAL, 0.12 + 0.88 * (level - 1) / (LEVELS - 1))
