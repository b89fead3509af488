"""The latent space as a map: two principal components of the posterior means."""

from __future__ import annotations

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
    points_path,
    sheet,
    swatches,
)
from variolite.report.blocks import Figure, Section, paragraph
from variolite.report.classes import Classes
from variolite.report.held_out import HeldOut
from variolite.report.lettering import plain
from variolite.report.markup import Markup, element, join
from variolite.report.palette import INK, OTHER
from variolite.report.scale import Scale
from variolite.report.wording import counted

__all__ = ["Plane", "dot_width", "latent_section", "map_limits", "map_panel", "principal_plane"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

POINTS = 4000
LAYERS = 8
DOT, LARGEST_DOT = 3.4, 6.8
MANY = 1000
"""Rows from which on dots are smallest."""
NAME_WIDTH, NAME_HEIGHT = 30.0, 13.0
SPREADING_STEPS = 40
FIRST_SQUARE = 8
"""Categories from this one on are drawn as squares, a second cue beside colour."""


@dataclass(frozen=True)
class Plane:
    """Rows in their first two principal components.

    ``scores`` is [n, 2]; ``shares`` are the two parts of the total variance, None where
    they are not known.
    """

    scores: Floats
    shares: tuple[float, float] | None = None


def principal_plane(latent: Floats) -> Plane | None:
    """Project centred latent means [n, L] on their first two principal components.

    The sign of a component is set so that its largest loading is positive,
    which makes the drawing reproducible. None with fewer than three complete
    rows, fewer than two dimensions or no variance.
    """
    complete = np.isfinite(latent).all(axis=1)
    if complete.sum() < 3 or latent.shape[1] < 2:
        return None
    centred = latent - latent[complete].mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(centred[complete], rowvar=False))
    if variances[-1] <= 0:
        return None
    pair = axes[:, [-1, -2]]
    pair = pair * np.sign(pair[np.abs(pair).argmax(axis=0), [0, 1]])
    shares = np.maximum(variances[[-1, -2]], 0) / np.maximum(variances, 0).sum()
    return Plane(centred @ pair, (float(shares[0]), float(shares[1])))


def latent_section(held_out: HeldOut | None) -> Section:
    """Return the map coloured by cluster and by label, or say what is missing for it."""
    plane = principal_plane(held_out.latent) if held_out and held_out.latent is not None else None
    if held_out is None or plane is None:
        reason = (
            "No latent map yet: run `variolite score` to encode the held-out rows."
            if held_out is None
            else "No latent map: held_out.parquet has no columns z0, z1 and so on that vary."
        )
        return Section("latent-map", "Latent map", (paragraph(reason, kind="missing"),))
    colourings = [
        (f"by {title}", classes)
        for title, classes in (
            ("cluster", held_out.clusters),
            (f"label “{plain(held_out.level or '')}”", held_out.labels),
        )
        if classes is not None
    ]
    return Section("latent-map", "Latent map", (_figure(held_out, plane, colourings),))


def _figure(held_out: HeldOut, plane: Plane, colourings: list[tuple[str, Classes]]) -> Figure:
    complete = np.flatnonzero(np.isfinite(plane.scores).all(axis=1))
    limits = map_limits(plane.scores[complete])
    inside = complete[
        ((plane.scores[complete] >= limits[:, 0]) & (plane.scores[complete] <= limits[:, 1])).all(1)
    ]
    generator = np.random.default_rng(0)
    shown = generator.permutation(inside)[:POINTS]
    columns = max(len(colourings), 1)
    side = (WIDTH - 60 * 2) / 2
    height = side * float(np.ptp(limits[1]) / np.ptp(limits[0]))
    drawn: list[Markup] = []
    depth = 0.0
    for index in range(columns):
        frame = Frame(52 + index * (side + 60), 26, side, height)
        title, classes = colourings[index] if colourings else ("held-out rows", None)
        drawn.append(map_panel(plane, shown, classes, frame, limits, title, named=index == 0))
        if classes is not None:
            legend, used = swatches(_entries(classes, shown), frame.left, frame.bottom + 48, side)
            drawn.append(legend)
            depth = max(depth, used)
    outside = len(complete) - len(inside)
    left_out = f" {counted(outside, 'outlying row')} beyond the axes." if outside else ""
    of = "" if len(shown) == len(inside) else f" of {len(inside):,}, drawn at random"
    paired = held_out.clusters is not None and held_out.labels is not None
    colours = (
        " Each cluster has the colour of the label it is paired with, one to one; other clusters "
        "have colours of their own."
        if paired
        else ""
    )
    many = any(len(classes) > FIRST_SQUARE for _, classes in colourings)
    squares = " Categories beyond the eighth are squares." if many else ""
    caption = (
        "Posterior means of held-out rows in the plane of their first two principal components "
        f"({counted(len(shown), 'row')}{of}, {counted(held_out.n_groups, held_out.group_noun)}; "
        f"both axes on one scale).{left_out}{colours}{squares}"
    )
    drawing = sheet(26 + height + 52 + depth, *drawn, title="Latent map of held-out rows")
    return Figure("latent-map", drawing, caption)


def map_panel(
    plane: Plane,
    shown: Integers,
    classes: Classes | None,
    frame: Frame,
    limits: Floats,
    title: str,
    *,
    named: bool,
) -> Markup:
    """Draw the rows ``shown`` [m] as dots in their colours, with axes.

    ``limits`` come from :func:`map_limits`; ``named`` writes the name of each category
    near the median of its rows.
    """
    across = Scale(limits[0, 0], limits[0, 1], frame.left, frame.right)
    down = Scale(limits[1, 0], limits[1, 1], frame.bottom, frame.top)
    x, y = across(plane.scores[shown, 0]), down(plane.scores[shown, 1])
    codes = classes.codes[shown] if classes is not None else np.full(len(shown), -1)
    return join(
        (
            axis_below(across, frame, _component(1, plane.shares)),
            axis_left(down, frame, _component(2, plane.shares), gutter=40),
            box(frame),
            _dots(x, y, codes, classes),
            _numbers(x, y, codes, classes) if named and classes is not None else Markup(""),
            letters(frame.left, frame.top - 9, title, bold=True, room=frame.width),
        )
    )


def _component(number: int, shares: tuple[float, float] | None) -> str:
    share = f" ({shares[number - 1]:.0%} of latent variance)" if shares else ""
    return f"principal component {number}{share}"


def _dots(x: Floats, y: Floats, codes: Integers, classes: Classes | None) -> Markup:
    """Draw dots in layers that each hold every category, so that none hides the others."""
    paths: list[Markup] = []
    dot = dot_width(len(x))
    for layer in np.array_split(np.arange(len(x)), LAYERS):
        for code in np.unique(codes[layer]).tolist():
            rows = layer[codes[layer] == code]
            paths.append(
                element(
                    "path",
                    d=points_path(x[rows], y[rows]),
                    stroke=classes.colour(code) if classes and code >= 0 else OTHER,
                    stroke_width=round(dot if code < FIRST_SQUARE else 0.88 * dot, 2),
                    stroke_linecap="round" if code < FIRST_SQUARE else "square",
                )
            )
    return element("g", *paths, fill="none", stroke_opacity=0.75)


def dot_width(count: int) -> float:
    """Return how wide dots are: the fewer there are, the wider, for colours to be told apart."""
    return float(np.clip(DOT * np.sqrt(MANY / max(count, 1)), DOT, LARGEST_DOT))


def _numbers(x: Floats, y: Floats, codes: Integers, classes: Classes) -> Markup:
    """Write each cluster's name near the median of its rows, with a white edge around it."""
    present = [code for code in range(len(classes)) if (codes == code).any()]
    places = np.array(
        [[np.median(x[codes == code]), np.median(y[codes == code])] for code in present]
    ).reshape(-1, 2)
    for _ in range(SPREADING_STEPS):
        places = _moved_apart(places)
    return join(
        element(
            "text",
            classes.names[code],
            x=across,
            y=down + 4,
            text_anchor="middle",
            font_weight="bold",
            fill=INK,
            stroke="#ffffff",
            stroke_width=3,
            paint_order="stroke",
        )
        for code, (across, down) in zip(present, places.tolist(), strict=True)
    )


def _moved_apart(places: Floats) -> Floats:
    """Push names that cover one another half of the way apart, up and down."""
    offset = places[:, None, :] - places[None, :, :]
    covered = (np.abs(offset[..., 0]) < NAME_WIDTH) & (np.abs(offset[..., 1]) < NAME_HEIGHT)
    np.fill_diagonal(covered, False)
    order = np.arange(len(places))
    upward = np.where(offset[..., 1] == 0, np.sign(order[:, None] - order), np.sign(offset[..., 1]))
    push = (covered * upward * (NAME_HEIGHT - np.abs(offset[..., 1]))).sum(axis=1) / 2
    return np.column_stack([places[:, 0], places[:, 1] + np.clip(push, -4, 4)])


def _entries(classes: Classes, shown: Integers) -> list[tuple[str, str]]:
    entries = list(zip(classes.names, classes.colours, strict=True))
    return [*entries, ("none", OTHER)] if (classes.codes[shown] < 0).any() else entries


def map_limits(scores: Floats) -> Floats:
    """Return [2, 2] limits of both components that hold all but 0.2 % on each side."""
    low, high = np.quantile(scores, [0.002, 0.998], axis=0)
    room = 0.05 * np.max(high - low)
    # A very flat map would leave no height to read; the scale stays common to both axes.
    least = 0.45 * float(high[0] - low[0])
    slack = max(least - float(high[1] - low[1]), 0.0) / 2
    return np.array(
        [[low[0] - room, high[0] + room], [low[1] - room - slack, high[1] + room + slack]]
    )
