"""Clouds of points: parity of two values, and maps of a latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from variolite.report.figures import ValueAxis, legend, legend_height, number_axis, panels, titled
from variolite.report.style import ACCENT, DASHES, INK, MUTED, OTHER, SEQUENTIAL, WIDTH

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CELLS = 44


def dot_size(count: int) -> float:
    """Return how wide dots are: the fewer there are, the wider, for colours to be distinguished."""
    return float(np.clip(3.4 * math.sqrt(1000 / max(count, 1)), 3.4, 6.8))


def density(axes: Axes, x: Floats, y: Floats) -> None:
    """Draw how many points [n] lie in each cell of square axes with a logarithmic colour scale.

    Points beyond the limits count in the cells at the edge.
    """
    if x.size == 0:
        return
    # Cells are even on the paper, whatever the scales of the axes are.
    to_axes = axes.transData + axes.transAxes.inverted()
    across, up = np.clip(np.asarray(to_axes.transform(np.column_stack([x, y]))), 0, 1).T
    counts, _, _ = np.histogram2d(across, up, bins=CELLS, range=[[0, 1], [0, 1]])
    axes.imshow(
        np.ma.masked_equal(counts.T, 0),
        cmap=SEQUENTIAL,
        norm=LogNorm(0.5, max(counts.max(), 2)),
        extent=(0, 1, 0, 1),
        transform=axes.transAxes,
        origin="lower",
        aspect="auto",
    )


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
    total, squared = float(((truth - truth.mean()) ** 2).sum()), float((error**2).sum())
    r2 = 1 - squared / total if total > 0 else math.nan
    return Fit(truth.size, r2, math.sqrt(squared / truth.size), float(np.abs(error).mean()))


def parity_panel(
    axes: Axes,
    values: tuple[Floats, Floats],
    axis: ValueAxis,
    texts: tuple[str, str],
    *,
    few: bool = False,
) -> None:
    """Draw one value against another, [n] each, with a dashed line where both are equal.

    Values beyond the axis stand at its end. ``texts`` are the title and the note below it; a
    ``few`` points are a dot each, more are counts per cell.
    """
    axis.on(axes, "x", 4)
    axis.on(axes, "y", 4)
    axes.spines[:].set_edgecolor(MUTED)
    both = np.isfinite(values[0]) & np.isfinite(values[1])
    x, y = (axis.inside(value[both]) for value in values)
    if few:
        axes.scatter(x, y, s=21, color=ACCENT, alpha=0.75, linewidths=0, rasterized=True)
    else:
        density(axes, x, y)
    axes.plot((0, 1), (0, 1), transform=axes.transAxes, color=INK, lw=1, ls=DASHES)
    titled(axes, *texts)


# Maps of a latent space

MAP_POINTS = 4000
FIRST_SQUARE = 8  # categories from this one on are drawn as squares, a second cue beside colour


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
    """Rows in a plane of two components, ``scores`` [n, 2].

    ``shown`` rows are drawn, in a random order so that no category covers another; ``limits``
    [2, 2] are the lowest and highest value of both components, ``inside`` and ``outside`` the
    numbers of rows within and beyond them.
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
        """Draw all shown rows in the colours of their codes, [n], as one picture."""
        own = codes[self.shown]
        size = dot_size(len(own))
        # A code of -1 takes the last colour.
        shades = np.array([*colours, OTHER])[own]
        for marker, chosen in (("o", own < FIRST_SQUARE), ("s", own >= FIRST_SQUARE)):
            x, y = self.scores[self.shown[chosen]].T
            axes.scatter(
                x, y, s=size**2, c=shades[chosen], marker=marker, alpha=0.75, linewidths=0,
                rasterized=True,
            )  # fmt: skip
        axes.set(xlim=self.limits[0], ylim=self.limits[1])


def latent_map(
    chart: PlaneMap, colourings: Sequence[tuple[str, Coloured | None]], labels: tuple[str, str]
) -> tuple[Figure, list[Axes]]:
    """Draw a map once for each of one or two titled colourings, None for a plain one.

    ``labels`` name both components. The axes are returned too, for what else is to be drawn.
    """
    side = (WIDTH - 120) / 2
    keys: list[list[tuple[str, str]]] = []
    for _, colouring in colourings:
        key = [] if colouring is None else [*zip(colouring.names, colouring.colours, strict=True)]
        if colouring is not None and (colouring.codes[chart.shown] < 0).any():
            key.append(("none", OTHER))
        keys.append(key)
    foot = max(legend_height([name for name, _ in key], side) for key in keys) + 6
    figure, drawn = panels(
        len(colourings), abreast=2, height=side * chart.shape, foot=foot, xlabel=labels[0],
        ylabel=labels[1],
    )  # fmt: skip
    for axes, (title, colouring), key in zip(drawn, colourings, keys, strict=True):
        codes = np.full(len(chart.scores), -1) if colouring is None else colouring.codes
        chart.draw(axes, codes, () if colouring is None else colouring.colours)
        axes.set_title(title)
        axes.grid()
        number_axis(axes, "x")
        number_axis(axes, "y")
        legend(figure, key, axes.bbox.x0, 72 * figure.get_figheight() - foot + 2, side)
    return figure, drawn
