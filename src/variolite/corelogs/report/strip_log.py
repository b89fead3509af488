"""Strip logs of held-out holes: inputs against depth, with clusters and labels beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import Classes, HeldOut
from variolite.report import style
from variolite.report.figures import (
    SCALE_NAMES,
    ValueAxis,
    key,
    legend,
    legend_height,
    note_over,
    number_axis,
    wrapped,
)
from variolite.report.formatting import counted, decimals, listed, plain, significant
from variolite.report.page import Alternatives, Figure, Section, missing
from variolite.report.style import axes_at, new_figure, shorten, to_svg

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOLES, TRACKS = 5, 9
FEWEST_ROWS = 20
OVERVIEW_HEIGHT, DETAIL_HEIGHT = 640.0, 460.0
DETAIL_ROWS, WORTH_DETAIL = 200, 400
"""A detail is drawn of holes of so many rows."""
GAP_STEPS = 3.0
"""A distance of more than this many usual steps between rows is a gap."""

# Pixels of the drawing.
HEAD, NAME_LINE = 36.0, 14.0
DEPTH_ROOM, STRIP, GAP = 58.0, 54.0, 9.0
WIDEST_TRACK = 230.0


# Depth series: gaps and beds


def usual_step(depth: Floats) -> float:
    """Return the median distance between consecutive sorted depths, 0 where there is none."""
    steps = np.diff(depth)
    steps = steps[steps > 0]
    return float(np.median(steps)) if steps.size else 0.0


def gaps(depth: Floats) -> Integers:
    """Return the indices i of sorted depths after which a gap comes, before row i + 1."""
    step = usual_step(depth)
    return np.flatnonzero(np.diff(depth) > GAP_STEPS * step).astype(np.int64)


def row_edges(depth: Floats) -> tuple[Floats, Floats]:
    """Return the top and base of the interval that each row of sorted depths stands for.

    Rows meet half way; beside a gap and at the ends a row reaches half a usual step.
    """
    half = usual_step(depth) / 2
    middles = (depth[1:] + depth[:-1]) / 2
    tops = np.concatenate([depth[:1] - half, middles])
    bases = np.concatenate([middles, depth[-1:] + half])
    after = gaps(depth)
    bases[after] = depth[after] + half
    tops[after + 1] = depth[after + 1] - half
    return tops, bases


def beds_of(
    depth: Floats, codes: Integers, resolution: float = 0.0
) -> tuple[Floats, Floats, Integers]:
    """Merge consecutive rows of equal code into beds, from sorted depths and codes, [n] each.

    Returns tops, bases and codes of the beds, [beds] each.
    Where ``resolution`` is above the usual step, rows are first replaced by the most frequent
    code within each interval of this length.
    """
    if resolution > usual_step(depth) > 0:
        # One row per interval, with the code that most of its rows have.
        interval = np.floor((depth - depth[0]) / resolution)
        intervals, place = np.unique(interval, return_inverse=True)
        kinds, kind = np.unique(codes, return_inverse=True)
        counts = np.zeros((len(intervals), len(kinds)), dtype=np.int64)
        np.add.at(counts, (place, kind), 1)
        depth = depth[0] + (intervals + 0.5) * resolution
        codes = kinds[counts.argmax(axis=1)].astype(np.int64)
    tops, bases = row_edges(depth)
    # A bed begins where the code changes and after every gap; it ends before the next begins.
    starts = np.ones(len(depth), dtype=bool)
    starts[1:] = codes[1:] != codes[:-1]
    starts[gaps(depth) + 1] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(depth)) - 1
    return tops[first], bases[last], codes[first]


def liveliest_window(depth: Floats, codes: Integers, rows: int) -> slice:
    """Return the run of ``rows`` of more sorted rows with the most changes of category.

    Gaps count against a window, as they show nothing; rows without a category do not count.
    """
    before, after = codes[:-1], codes[1:]
    changes = ((before != after) & (before >= 0) & (after >= 0)).astype(np.float64)
    changes[gaps(depth)] = -1.0
    best = int(np.convolve(changes, np.ones(rows - 1), "valid").argmax())
    return slice(best, best + rows)


# One hole, drawn downwards


@dataclass(frozen=True)
class Hole:
    """Some rows of one hole, [n] indices of the held-out rows by depth, [n]; an axis by input."""

    held_out: HeldOut
    rows: Integers
    depth: Floats
    axes: Mapping[str, ValueAxis]

    def part(self, rows: slice) -> Hole:
        """Return the hole with the given rows only."""
        return Hole(self.held_out, self.rows[rows], self.depth[rows], self.axes)

    @property
    def strips(self) -> list[tuple[str, Classes]]:
        """What rows are sorted into, by title, clusters before labels."""
        clusters, labels = self.held_out.clusters, self.held_out.labels
        named = (("cluster", clusters), (plain(self.held_out.level or "label"), labels))
        return [(title, classes) for title, classes in named if classes is not None]

    @property
    def unit(self) -> str:
        """The unit of depth, to stand after a number."""
        return f" {self.held_out.order_unit}" if self.held_out.order_unit else ""


def draw_hole(hole: Hole, height: float, title: str) -> Markup:
    """Draw a track per input and a strip per classification, gaps left visible.

    ``height`` is that of the tracks in pixels, without heads and legend.
    """
    depth, strips, unit = hole.depth, hole.strips, hole.held_out.order_unit
    room = 0.005 * float(depth[-1] - depth[0]) or 0.5
    limits = (float(depth[-1]) + room, float(depth[0]) - room)
    width = (style.WIDTH - DEPTH_ROOM - len(strips) * (STRIP + GAP) - 8) / len(hole.axes) - GAP
    width = min(width, WIDEST_TRACK)
    heads = [wrapped(plain(name), width + GAP) for name in hole.axes]
    top = HEAD + NAME_LINE * max(1 + head.count("\n") for head in heads)
    keys = [_entries(classes, hole.rows) for _, classes in strips]
    foot, key_room = top + height + 12, style.WIDTH - DEPTH_ROOM - 124
    key_heights = [legend_height([name for name, _ in entries], key_room) + 4 for entries in keys]
    figure = new_figure(foot + 24 + sum(key_heights))
    tops, bases = row_edges(depth)
    after = gaps(depth)
    panels = []
    left = DEPTH_ROOM
    for across in (*[width] * len(heads), *[STRIP] * len(strips)):
        axes = axes_at(figure, left, top, across, height)
        axes.set(ylim=limits, xticks=[], yticks=[])
        axes.spines[:].set(edgecolor=style.MUTED, zorder=5)
        _fill(axes, bases[after], tops[after + 1], style.SHADE, "no rows (gap)")
        panels.append(axes)
        left += across + GAP
    panels[0].set_ylabel(shorten(f"depth ({unit})" if unit else "depth"))
    number_axis(panels[0], "y", 12)
    for axes, head, name in zip(panels, heads, hole.axes, strict=False):
        axes.set_title(head, pad=32)
        named = shorten(hole.held_out.units.get(name, ""), int((width + GAP) / 6))
        note_over(axes, named, up=20)
        _draw_track(axes, hole, name, after)
    pixel = (limits[0] - limits[1]) / height
    for axes, (name, classes) in zip(panels[len(heads) :], strips, strict=True):
        tops, bases, codes = beds_of(depth, classes.codes[hole.rows], resolution=pixel)
        for code in np.unique(codes).tolist():
            own = codes == code
            _fill(axes, tops[own], bases[own], classes.colour(code))
        axes.set_title(wrapped(name, STRIP + GAP))
    key(figure, *panels[0].get_legend_handles_labels(), DEPTH_ROOM, foot, ncols=3)
    foot += 22
    for (name, _), entries, used in zip(strips, keys, key_heights, strict=True):
        key(figure, [Line2D([], [], lw=0)], [shorten(name, 17)], DEPTH_ROOM, foot, handlelength=0,
            handletextpad=0, prop={"weight": "bold"})  # fmt: skip
        legend(figure, entries, DEPTH_ROOM + 120, foot, key_room)
        foot += used
    return to_svg(figure, title)


def _fill(axes: Axes, tops: Floats, bases: Floats, colour: str, label: str = "") -> None:
    """Fill intervals of depth from side to side of the axes, as one path."""
    if len(tops):
        across = np.broadcast_to([0.0, 1.0, 1.0, 0.0], (len(tops), 4))
        corners = np.stack([across, np.column_stack([tops, tops, bases, bases])], axis=-1)
        path = Path.make_compound_path_from_polys(corners)
        down = axes.get_yaxis_transform()
        axes.add_artist(PathPatch(path, fc=colour, lw=0, transform=down, zorder=0.4, label=label))


def _draw_track(axes: Axes, hole: Hole, name: str, after: Integers) -> None:
    axis = hole.axes[name]
    axis.on(axes, "x", 3)
    # Numbers near the edges would touch those of the next track.
    to_axes = axes.transScale + axes.transLimits
    ticks = [(tick, to_axes.transform((tick, 0.0))[0]) for tick in axes.get_xticks()]
    axes.set_xticks([tick for tick, place in ticks if 0.1 <= place <= 0.9])
    axes.tick_params(axis="x", length=0, pad=3, labelsize=9.5, labeltop=True, labelbottom=False)
    axes.grid(axis="x", color=style.FAINT)
    at = np.insert(hole.depth, after + 1, np.nan)
    for values, colour, thickness, label in (
        (hole.held_out.reconstructions.get(name), style.SECOND, 1.8, "reconstructed"),
        (hole.held_out.inputs[name], style.INK, 0.8, "observed"),
    ):
        if values is None:
            continue
        drawn = np.insert(axis.inside(values[hole.rows]), after + 1, np.nan)
        axes.plot(drawn, at, color=colour, lw=thickness, solid_capstyle="round", label=label)
        # A value between gaps makes no line.
        finite = np.isfinite(drawn)
        alone = finite & (np.convolve(finite, [1, 1, 1], "same") == 1)
        if alone.any():
            axes.scatter(drawn[alone], at[alone], s=6, color=colour, linewidths=0, rasterized=True)


def _entries(classes: Classes, rows: Integers) -> list[tuple[str, str]]:
    """Name the categories that occur in some rows, with their colours."""
    present = set(classes.codes[rows].tolist())
    named = enumerate(zip(classes.names, classes.colours, strict=True))
    entries = [entry for code, entry in named if code in present]
    return [*entries, ("none", style.PAPER)] if -1 in present else entries


# The section of the page


def strip_log_section(held_out: HeldOut | None) -> Section:
    """Return strip logs of a few held-out holes, or say what is missing for them."""
    anchor, title = "strip-log", "Strip logs"
    holes = {} if held_out is None else _holes(held_out)
    if held_out is None:
        reason = "No strip logs yet: run `variolite score` to write the held-out rows."
        return missing(anchor, title, reason)
    if not holes or not held_out.inputs:
        reason = (
            "No strip logs: they need groups such as holes, each of at least "
            f"{FEWEST_ROWS} rows with an order column such as depth."
        )
        return missing(anchor, title, reason)
    options = tuple((name, _figures(name, hole)) for name, hole in holes.items())
    return Section(anchor, title, (Alternatives(held_out.group_noun.capitalize(), options),))


def _holes(held_out: HeldOut) -> dict[str, Hole]:
    """Return the holes worth a drawing: all inputs measured, most label classes, most rows."""
    if held_out.groups is None or held_out.order is None:
        return {}
    found: list[tuple[int, int, int, str, Integers]] = []
    classes = held_out.labels or held_out.clusters
    for name in np.unique(held_out.groups).tolist():
        rows = np.flatnonzero((held_out.groups == name) & np.isfinite(held_out.order))
        if len(rows) < FEWEST_ROWS or np.ptp(held_out.order[rows]) <= 0:
            continue
        unmeasured = sum(not np.isfinite(values[rows]).any() for values in held_out.inputs.values())
        codes = classes.codes[rows] if classes else np.empty(0, dtype=np.int64)
        kinds = int((np.bincount(codes[codes >= 0]) >= 0.005 * len(rows)).sum())
        rows = rows[np.argsort(held_out.order[rows], kind="stable")]
        found.append((unmeasured, -kinds, -len(rows), name, rows))
    inputs = list(held_out.inputs.items())[:TRACKS]
    axes = {name: ValueAxis.fitting(values) for name, values in inputs}
    chosen = sorted(found, key=lambda hole: hole[:-1])[:HOLES]
    return {name: Hole(held_out, rows, held_out.order[rows], axes) for *_, name, rows in chosen}


def _figures(name: str, hole: Hole) -> tuple[Figure, ...]:
    noun, depth = hole.held_out.group_noun, hole.depth
    more = len(hole.held_out.inputs) - len(hole.axes)
    left_out = f" {counted(more, 'further input')} not drawn." if more else ""
    pixel = (depth[-1] - depth[0]) / OVERVIEW_HEIGHT
    thin = f" Strips show the most frequent class of every {significant(pixel, 2)}{hole.unit}."
    caption = (
        f"Held-out {noun} {name}: {counted(len(depth), 'row')}, {_depths(hole)}. {_reading(hole)}"
        f"{thin if pixel > usual_step(depth) else ''}{left_out}"
    )
    drawing = draw_hole(hole, OVERVIEW_HEIGHT, f"Strip log of {noun} {name}")
    overview = Figure(f"strip-log-{name}", drawing, caption)
    if len(depth) < WORTH_DETAIL:
        return (overview,)
    codes = hole.strips[-1][1].codes[hole.rows] if hole.strips else np.zeros(len(depth), np.int64)
    part = hole.part(liveliest_window(depth, codes, DETAIL_ROWS))
    caption = (
        f"Detail of held-out {noun} {name}: the {DETAIL_ROWS} consecutive rows with the most bed "
        f"changes, {_depths(part)}; every row is drawn. {_reading(part)}"
    )
    drawing = draw_hole(part, DETAIL_HEIGHT, f"Detail of {noun} {name}")
    return overview, Figure(f"strip-log-detail-{name}", drawing, caption)


def _reading(hole: Hole) -> str:
    matched = hole.held_out.clusters is not None and hole.held_out.labels is not None
    colours = " A cluster has the colour of the label it is paired with." if matched else ""
    bent = [
        f"{plain(name)} ({SCALE_NAMES[axis.kind]})"
        for name, axis in hole.axes.items()
        if axis.kind != "linear"
    ]
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    inputs = hole.held_out.inputs
    unmeasured = [
        plain(name) for name in hole.axes if not np.isfinite(inputs[name][hole.rows]).any()
    ]
    imputed = f" Not measured here, so that the line is an imputation: {listed(unmeasured)}."
    return (
        "Values beyond a track's axis are drawn at its edge; the reconstruction is the model's "
        f"mean for the same row.{imputed if unmeasured else ''}{colours}{scales}"
    )


def _depths(hole: Hole) -> str:
    step = usual_step(hole.depth)
    places = min(max(math.ceil(-math.log10(step)), 0), 3) if step > 0 else 1
    top, base = (decimals(float(edge), places) for edge in (hole.depth[0], hole.depth[-1]))
    return f"{top} to {base}{hole.unit}"
