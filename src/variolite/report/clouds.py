"""Clouds of points: dots, counts per cell, parity of two values, and maps of a latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from variolite.report.figures import (
    SQUARE,
    ValueAxis,
    boxes,
    closed,
    legend,
    legend_height,
    number_axis,
)
from variolite.report.style import (
    ACCENT,
    INK,
    MUTED,
    OTHER,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    axes_at,
    blend,
    new_figure,
    write,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def dots(
    axes: Axes, x: Floats, y: Floats, colours: Sequence[str], *, size: float, square: bool = False
) -> None:
    """Draw points as dots of their colours, one path for each run of one colour.

    Strokes of no length with round or square caps: a tenth of the size of markers, and sharp
    in print.
    """
    starts = [i for i in range(len(x)) if i == 0 or colours[i] != colours[i - 1]]
    for start, end in pairwise([*starts, len(x)]):
        places = np.repeat(np.column_stack([x[start:end], y[start:end]]), 2, axis=0)
        codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=np.uint8), end - start)
        # As an artist: as a patch its limits would be worked out point by point.
        axes.add_artist(
            PathPatch(
                Path(places, codes),
                fill=False,
                edgecolor=colours[start],
                linewidth=size,
                capstyle="projecting" if square else "round",
                alpha=0.75,
            )
        )


def dot_size(count: int) -> float:
    """Return how wide dots are: the fewer there are, the wider, for colours to be told apart."""
    return float(np.clip(3.4 * math.sqrt(1000 / max(count, 1)), 3.4, 6.8))


CELLS, LEVELS = 44, 8


def density(axes: Axes, x: Floats, y: Floats) -> None:
    """Draw how many points [n] lie in each cell of square axes, one path a colour level.

    Points beyond the limits count in the cells at the edge. The colour scale is logarithmic,
    from one point to the fullest cell.
    """
    if x.size == 0:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    inside = [
        np.clip(values, min(limits), max(limits))
        for values, limits in ((x, axes.get_xlim()), (y, axes.get_ylim()))
    ]
    places = np.asarray(to_axes.transform(np.column_stack(inside)))
    cells = np.clip((places * CELLS).astype(np.int64), 0, CELLS - 1)
    counts = np.zeros((CELLS, CELLS), dtype=np.int64)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    top = max(math.log10(float(counts.max())), 1e-9)
    levels = 1 + np.round((LEVELS - 1) * np.log10(np.maximum(counts, 1)) / top)
    paths, colours = [], []
    for level in range(1, LEVELS + 1):
        at = np.argwhere((levels == level) & (counts > 0))
        if len(at):
            paths.append(closed(at[:, None, :] / CELLS + SQUARE / CELLS))
            colours.append(_shade(level))
    # The thin edge closes the seams between cells.
    drawn = PathCollection(
        paths, facecolors=colours, edgecolors=colours, linewidths=0.3, transform=axes.transAxes
    )
    axes.add_collection(drawn, autolim=False)


def density_key(figure: Figure, left: float, top: float, noun: str) -> None:
    """Draw the colour levels, from one ``noun`` to the fullest cell; 22 pixels high."""
    bars = [(left + 22 * index, top, 22, 9) for index in range(LEVELS)]
    boxes(figure, bars, [_shade(level) for level in range(1, LEVELS + 1)])
    write(figure, left, top + 22, f"one {noun}", size=SMALL, colour=MUTED)
    right = left + 22 * LEVELS
    write(figure, right, top + 22, "fullest cell", size=SMALL, colour=MUTED, anchor="right")


def _shade(level: int) -> str:
    return blend(SEQUENTIAL, 0.12 + 0.88 * (level - 1) / (LEVELS - 1))


# Parity of two values


@dataclass(frozen=True)
class Fit:
    """How one quantity comes back over all rows that have both values.

    ``r2`` is 1 - SSE / SST about the mean of these rows; ``rmse`` and ``mae`` are in the unit
    of the quantity. All are NaN without any row, ``r2`` also where all values are the same.
    """

    rows: int
    r2: float
    rmse: float
    mae: float


def fit_of(observed: Floats, reconstructed: Floats) -> Fit:
    """Compare two [n] arrays in original units; rows where either is missing do not count."""
    both = np.isfinite(observed) & np.isfinite(reconstructed)
    truth, error = observed[both], reconstructed[both] - observed[both]
    if truth.size == 0:
        return Fit(0, math.nan, math.nan, math.nan)
    total = float(((truth - truth.mean()) ** 2).sum())
    squared = float((error**2).sum())
    return Fit(
        int(truth.size),
        1 - squared / total if total > 0 else math.nan,
        math.sqrt(squared / truth.size),
        float(np.abs(error).mean()),
    )


def parity_panel(
    figure: Figure,
    place: tuple[float, float, float],
    values: tuple[Floats, Floats],
    axis: ValueAxis,
    texts: tuple[str, str],
    labels: tuple[str, str],
    *,
    few: bool = False,
) -> None:
    """Draw one value against another in a square, with a dashed line where both are equal.

    Parameters
    ----------
    place
        Left and upper edge and side in pixels.
    values
        What goes across and what goes up, [n] each; beyond the axis they stand at its end.
    axis
        The axis of both.
    texts
        Title, and a note below it.
    labels
        What stands below and left of the square.
    few
        Whether to draw a dot each instead of counts per cell.
    """
    left, top, side = place
    axes = axes_at(figure, left, top, side, side, x_label=labels[0], y_label=labels[1])
    axis.on(axes, "x", 4)
    axis.on(axes, "y", 4)
    axes.spines[:].set_edgecolor(MUTED)
    both = np.isfinite(values[0]) & np.isfinite(values[1])
    x, y = (axis.inside(value[both]) for value in values)
    if not few:
        density(axes, x, y)
    axes.plot((0, 1), (0, 1), transform=axes.transAxes, color=INK, lw=1, ls=(0, (4, 3)))
    if few:
        dots(axes, x, y, [ACCENT] * len(x), size=4.6)
    write(figure, left, top - 22, texts[0], bold=True, room=side)
    write(figure, left, top - 8, texts[1], size=SMALL, room=side + 10)


# Maps of a latent space

MAP_POINTS, LAYERS = 4000, 8
FIRST_SQUARE = 8
"""Categories from this one on are drawn as squares, a second cue beside colour."""


class Coloured(Protocol):
    """Rows sorted into named, coloured categories; code -1 means that a row has none."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def colours(self) -> Sequence[str]: ...
    @property
    def codes(self) -> Integers: ...


@dataclass(frozen=True)
class PlaneMap:
    """Rows in a plane of two components.

    Attributes
    ----------
    scores
        Both components of every row, [n, 2].
    shown
        Rows that are drawn, in a random order so that no category covers another.
    limits
        Lowest and highest value of both components, [2, 2].
    inside, outside
        Number of rows within and beyond the limits.
    """

    scores: Floats
    shown: Integers
    limits: Floats
    inside: int
    outside: int

    @classmethod
    def of(cls, scores: Floats) -> PlaneMap:
        """Lay out rows [n, 2], all but 0.2 % on each side; some must be known and differ."""
        known = np.isfinite(scores).all(axis=1)
        low, high = np.quantile(scores[known], [0.002, 0.998], axis=0)
        room = 0.05 * np.max(high - low)
        # A very flat map would leave no height to read; the scale stays common to both axes.
        slack = max(0.45 * (high[0] - low[0]) - (high[1] - low[1]), 0.0) / 2
        limits = np.array(
            [[low[0] - room, high[0] + room], [low[1] - room - slack, high[1] + room + slack]]
        )
        with np.errstate(invalid="ignore"):
            inside = ((scores >= limits[:, 0]) & (scores <= limits[:, 1])).all(axis=1)
        shown = np.random.default_rng(0).permutation(np.flatnonzero(inside))[:MAP_POINTS]
        return cls(scores, shown, limits, int(inside.sum()), int(known.sum() - inside.sum()))

    @property
    def shape(self) -> float:
        """Height of the map for a width of 1."""
        return float(np.ptp(self.limits[1]) / np.ptp(self.limits[0]))

    def draw(self, axes: Axes, codes: Integers, colours: Sequence[str]) -> None:
        """Draw all shown rows in the colours of their codes, [n]."""
        # Categories are sorted in a few layers only: they stay mixed, and the drawing small.
        own = codes[self.shown]
        order = np.lexsort((own, np.arange(len(own)) * LAYERS // max(len(own), 1)))
        size = dot_size(len(order))
        for square in (False, True):
            chosen = order[(own[order] >= FIRST_SQUARE) == square]
            shades = [colours[code] if code >= 0 else OTHER for code in own[chosen].tolist()]
            x, y = self.scores[self.shown[chosen]].T
            dots(axes, x, y, shades, size=0.88 * size if square else size, square=square)
        axes.set(xlim=self.limits[0], ylim=self.limits[1])


def latent_map(
    chart: PlaneMap, panels: Sequence[tuple[str, Coloured | None]], labels: tuple[str, str]
) -> tuple[Figure, list[Axes]]:
    """Draw a map once for each of one or two titled colourings, None for a plain one.

    ``labels`` name both components. The axes are returned too, for what else is to be drawn.
    """
    side = (WIDTH - 120) / 2
    height = side * chart.shape
    keys = []
    for _, colouring in panels:
        key = [] if colouring is None else [*zip(colouring.names, colouring.colours, strict=True)]
        if colouring is not None and (colouring.codes[chart.shown] < 0).any():
            key.append(("none", OTHER))
        keys.append(key)
    figure = new_figure(78 + height + max(legend_height([n for n, _ in key], side) for key in keys))
    drawn: list[Axes] = []
    for place, ((title, colouring), key) in enumerate(zip(panels, keys, strict=True)):
        left = 52 + place * (side + 60)
        axes = axes_at(
            figure, left, 26, side, height, title=title, grid="both",
            x_label=labels[0], y_label=labels[1],
        )  # fmt: skip
        codes = np.full(len(chart.scores), -1) if colouring is None else colouring.codes
        chart.draw(axes, codes, () if colouring is None else colouring.colours)
        number_axis(axes, "x")
        number_axis(axes, "y")
        legend(figure, key, left, 26 + height + 48, side)
        drawn.append(axes)
    return figure, drawn
