"""How the scores depend on the number of clusters, where several were scored."""

from __future__ import annotations

import math

import numpy as np

from variolite.report.axes import (
    WIDTH,
    Frame,
    axis_left,
    box,
    letters,
    line,
    path_of,
    sheet,
    swatches,
)
from variolite.report.blocks import Figure
from variolite.report.headline import Setup
from variolite.report.lettering import plain
from variolite.report.markup import Markup, element, join
from variolite.report.palette import FAINT
from variolite.report.scale import Scale
from variolite.report.wording import (
    algorithm_name,
    interval_wording,
    method_colour,
    method_name,
    metric_of,
    with_interval,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["figure_by_k"]

METRICS = ("ari", "ami")
HEIGHT = 210.0
FEWEST = 3


def figure_by_k(scorecard: Scorecard, setup: Setup) -> Figure | None:
    """Draw scores against k for the algorithm of ``setup``; None with fewer than three k."""
    rows = [
        row
        for row in scorecard.rows
        if row.task == "clustering"
        and row.rule == "fixed"
        and row.k is not None
        and (row.split, row.level, row.fit) == (setup.split, setup.level, setup.fit)
        and row.algorithm == setup.algorithm
        and row.metric in METRICS
        and math.isfinite(row.mean)
    ]
    counts = sorted({row.k for row in rows if row.k is not None})
    metrics = [name for name in METRICS if any(row.metric == name for row in rows)]
    if len(counts) < FEWEST:
        return None
    methods = list(dict.fromkeys(row.method for row in rows))
    width = (WIDTH - 62 * len(metrics)) / len(metrics)
    drawn: list[Markup] = []
    for index, metric in enumerate(metrics):
        frame = Frame(56 + index * (width + 66), 12, width - 8, HEIGHT)
        drawn.append(_panel([row for row in rows if row.metric == metric], methods, counts, frame))
    legend, depth = swatches(
        [(method_name(method), method_colour(method)) for method in methods],
        56,
        HEIGHT + 58,
        WIDTH - 60,
    )
    algorithm = f" by {algorithm_name(setup.algorithm)}" if setup.algorithm else ""
    level = f" of the label “{plain(setup.level)}”" if setup.level else ""
    caption = (
        f"Agreement{level} against the number of clusters k, set beforehand, "
        f"clustered{algorithm}; split {setup.split}, fit {setup.fit or 'not named'}. "
        f"{interval_wording(rows)} Dots are moved sideways a little so that "
        "whiskers stay apart. Picking the highest k here would be choosing with the labels."
    )
    drawing = sheet(HEIGHT + 62 + depth, *drawn, legend, title="Scores against number of clusters")
    return Figure("scores-by-k", drawing, caption)


def _panel(rows: list[ScoreRow], methods: list[str], counts: list[int], frame: Frame) -> Markup:
    ends = [
        value for row in rows for value in (row.mean, row.low, row.high) if math.isfinite(value)
    ]
    room = 0.06 * (max(ends) - min(ends) or 0.1)
    low = min(ends) - room
    down = Scale(
        0.0 if 0 <= min(ends) < 0.6 * max(ends) else low, max(ends) + room, frame.bottom, frame.top
    )
    places = {k: index for index, k in enumerate(counts)}
    across = Scale(-0.5, len(counts) - 0.5, frame.left, frame.right)
    ticks = [
        line(across.at(places[k]), frame.bottom, across.at(places[k]), frame.bottom + 4)
        for k in counts
    ]
    metric = metric_of(rows[0].metric)
    parts: list[Markup] = [axis_left(down, frame, metric.title), box(frame, stroke=FAINT), *ticks]
    parts += [
        letters(across.at(places[k]), frame.bottom + 16, str(k), anchor="middle", size=11)
        for k in counts
    ]
    parts.append(
        letters(
            frame.left + frame.width / 2, frame.bottom + 34, "number of clusters k", anchor="middle"
        )
    )
    spread = min(0.5 / max(len(methods), 1), 0.14)
    for index, method in enumerate(methods):
        shift = (index - (len(methods) - 1) / 2) * spread
        own = sorted((row for row in rows if row.method == method), key=lambda row: row.k or 0)
        parts.append(_series(own, [places[row.k or 0] + shift for row in own], across, down))
    return join(parts)


def _series(rows: list[ScoreRow], places: list[float], across: Scale, down: Scale) -> Markup:
    colour = method_colour(rows[0].method)
    x = across(np.array(places))
    y = down(np.array([row.mean for row in rows]))
    parts = [
        element(
            "path",
            d=path_of(x, y),
            fill="none",
            stroke=colour,
            stroke_width=1.6,
            stroke_opacity=0.6,
        )
    ]
    for row, column, height in zip(rows, x.tolist(), y.tolist(), strict=True):
        note = f"{method_name(row.method)}, k = {row.k}: {with_interval(row)}"
        bars: list[str] = [element("title", note)]
        if math.isfinite(row.low) and math.isfinite(row.high):
            bars.append(
                line(column, down.at(row.low), column, down.at(row.high), stroke=colour, width=1.4)
            )
        bars.append(element("circle", cx=column, cy=height, r=3.6, fill=colour))
        parts.append(element("g", *bars))
    return join(parts)
