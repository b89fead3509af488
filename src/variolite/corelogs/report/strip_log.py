"""Strip logs of held-out holes: inputs against depth, with clusters and labels beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import Classes, HeldOut
from variolite.report.figures import (
    SCALE_NAMES,
    ValueAxis,
    boxes,
    key,
    legend,
    legend_height,
    number_axis,
    tick_texts,
)
from variolite.report.page import Alternatives, Figure, Paragraph, Section
from variolite.report.style import (
    INK,
    MUTED,
    PAPER,
    SECOND,
    SHADE,
    WIDTH,
    axes_at,
    new_figure,
    text_width,
    to_svg,
    wrap,
    write,
)
from variolite.report.tables import counted, decimals, listed, plain, significant

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOLES, TRACKS = 5, 9
FEWEST_ROWS = 20
OVERVIEW_HEIGHT, DETAIL_HEIGHT = 640.0, 460.0
DETAIL_ROWS = 200
WORTH_DETAIL = 2.0
"""A detail is drawn of holes that have this many times its rows."""
GAP_STEPS = 3.0
"""A distance of more than this many usual steps between rows is a gap."""

# Pixels of the drawing.
HEAD, NAME_LINE = 32.0, 13.0
DEPTH_ROOM, STRIP, GAP = 58.0, 44.0, 9.0
WIDEST_TRACK = 230.0
BUCKET = 1.6
LEAST_GAP = 1.0


@dataclass(frozen=True)
class Track:
    """One input along the hole, [n] values observed and, where there are any, reconstructed."""

    title: str
    unit: str | None
    observed: Floats
    reconstructed: Floats | None
    axis: ValueAxis


@dataclass(frozen=True)
class Strip:
    """One classification along the hole: [n] codes of ``classes``."""

    title: str
    classes: Classes
    codes: Integers


@dataclass(frozen=True)
class Hole:
    """Rows of one hole sorted by depth, [n] depths, with its tracks and strips."""

    depth: Floats
    unit: str | None
    tracks: tuple[Track, ...]
    strips: tuple[Strip, ...]

    def part(self, rows: slice) -> Hole:
        """Return the hole with the given rows only."""
        tracks = (
            replace(
                track,
                observed=track.observed[rows],
                reconstructed=None if track.reconstructed is None else track.reconstructed[rows],
            )
            for track in self.tracks
        )
        strips = (replace(strip, codes=strip.codes[rows]) for strip in self.strips)
        return Hole(self.depth[rows], self.unit, tuple(tracks), tuple(strips))

    @property
    def after_unit(self) -> str:
        """The unit of depth, to stand after a number."""
        return f" {self.unit}" if self.unit else ""


# Depth series: gaps, thinning, beds


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


@dataclass(frozen=True)
class Beds:
    """Intervals of one category: tops and bases in depth, codes of the category."""

    tops: Floats
    bases: Floats
    codes: Integers


def beds_of(depth: Floats, codes: Integers, resolution: float = 0.0) -> Beds:
    """Merge consecutive rows of equal code into beds.

    Parameters
    ----------
    depth
        [n] sorted depths.
    codes
        [n] category codes.
    resolution
        Where above the usual step, rows are first replaced by the most
        frequent code within each interval of this length.
    """
    if len(depth) == 0:
        empty = np.empty(0)
        return Beds(empty, empty, np.empty(0, dtype=np.int64))
    if resolution > usual_step(depth) > 0:
        # One row per interval, with the code that most of its rows have.
        buckets, bucket = np.unique(_bucket(depth, resolution), return_inverse=True)
        kinds, kind = np.unique(codes, return_inverse=True)
        counts = np.zeros((len(buckets), len(kinds)), dtype=np.int64)
        np.add.at(counts, (bucket, kind), 1)
        depth = depth[0] + (buckets + 0.5) * resolution
        codes = kinds[counts.argmax(axis=1)].astype(np.int64)
    tops, bases = row_edges(depth)
    # A bed begins where the code changes and after every gap; it ends before the next begins.
    starts = np.ones(len(depth), dtype=bool)
    starts[1:] = codes[1:] != codes[:-1]
    starts[gaps(depth) + 1] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(depth)) - 1
    return Beds(tops[first], bases[last], codes[first])


def thinned(depth: Floats, values: Floats, buckets: int) -> tuple[Floats, Floats]:
    """Keep the least and the greatest value of each depth interval, in depth order.

    A NaN stands between parts that a gap separates, so that a line drawn
    through the result is lifted there. Nothing is left out where there are no
    more than two rows per bucket.
    """
    cut = gaps(depth)
    if len(depth) > 2 * buckets:
        bucket = _bucket(depth, (depth[-1] - depth[0]) / buckets)
        finite = np.isfinite(values)
        # Rows of one bucket stand together, finite values first and in rising order, so that
        # the first row of a bucket is its least and the last finite one its greatest.
        order = np.lexsort((values, ~finite, bucket))
        edges = np.flatnonzero(np.diff(bucket[order])) + 1
        firsts = np.concatenate([[0], edges])
        sizes = np.diff(np.append(firsts, len(depth)))
        valid = np.add.reduceat(finite[order].astype(np.int64), firsts)
        lowest = order[firsts]
        highest = order[firsts + np.maximum(np.minimum(valid, sizes) - 1, 0)]
        kept = np.unique(np.concatenate([lowest, highest]))
    else:
        kept = np.arange(len(depth))
    breaks = np.searchsorted(kept, cut, side="right")
    breaks = np.unique(breaks[(breaks > 0) & (breaks < len(kept))])
    return np.insert(depth[kept], breaks, np.nan), np.insert(values[kept], breaks, np.nan)


def liveliest_window(depth: Floats, codes: Integers, rows: int) -> slice:
    """Return the run of ``rows`` sorted rows with the most categories, then the most changes.

    Changes across a gap count against a window, as they show nothing.
    """
    if len(depth) <= rows:
        return slice(0, len(depth))
    changes = np.concatenate([[0], (codes[1:] != codes[:-1]).astype(np.int64)])
    broken = np.zeros(len(depth), dtype=np.int64)
    broken[gaps(depth) + 1] = 1
    best, best_score = 0, (-1.0, 0)
    for start in range(0, len(depth) - rows + 1, max(rows // 10, 1)):
        window = slice(start, start + rows)
        present, counts = np.unique(codes[window][codes[window] >= 0], return_counts=True)
        kinds = int((counts >= 0.02 * rows).sum()) if len(present) else 0
        score = (kinds - 0.5 * float(broken[window].sum()), int(changes[window].sum()))
        if score > best_score:
            best, best_score = start, score
    return slice(best, best + rows)


def _bucket(depth: Floats, length: float) -> Integers:
    bucket: Integers = np.floor((depth - depth[0]) / length).astype(np.int64)
    return bucket


# One hole, drawn downwards


def draw_hole(hole: Hole, height: float, title: str) -> Markup:
    """Draw a track per input and a strip per classification, gaps left visible.

    ``height`` is that of the tracks in pixels, without heads and legend.
    """
    depth = hole.depth
    room = 0.005 * float(depth[-1] - depth[0]) or 0.5
    limits = (float(depth[-1]) + room, float(depth[0]) - room)
    width = (WIDTH - DEPTH_ROOM - len(hole.strips) * (STRIP + GAP) - 2) / max(len(hole.tracks), 1)
    width = min(width - GAP, WIDEST_TRACK)
    heads = [wrap(track.title, width + GAP - 7, 11, lines=2, bold=True) for track in hole.tracks]
    top = HEAD + NAME_LINE * max((len(head) for head in heads), default=1)
    foot = top + height + 20
    keys = [_entries(strip) for strip in hole.strips]
    key_room = WIDTH - DEPTH_ROOM - 100
    key_heights = [legend_height([name for name, _ in entries], key_room) + 4 for entries in keys]
    figure = new_figure(foot + 16 + sum(key_heights))

    def down(depths: Floats) -> Floats:
        return top + np.clip((depths - limits[1]) / (limits[0] - limits[1]), 0, 1) * height

    def fill(left: float, width: float, edges: Floats, colour: str, note: str = "") -> None:
        places = [(left, upper, width, lower - upper) for upper, lower in edges.tolist()]
        boxes(figure, places, [colour] * len(places), title=note)

    tops, bases = row_edges(depth)
    after = gaps(depth)
    upper, lower = down(bases[after]), down(tops[after + 1])
    shades = np.column_stack([upper, lower])[lower - upper >= LEAST_GAP]
    left = DEPTH_ROOM
    for track, head in zip(hole.tracks, heads, strict=True):
        fill(left, width, shades, SHADE)
        axes = axes_at(figure, left, top, width, height)
        axes.set_ylim(limits)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(left == DEPTH_ROOM)
        axes.spines[:].set(edgecolor=MUTED, zorder=5)
        if left == DEPTH_ROOM:
            number_axis(axes, "y", 12)
            label = f"depth ({hole.unit})" if hole.unit else "depth"
            axes.set_ylabel(label, rotation_mode="anchor")
        _draw_track(figure, axes, track, depth, left, top, width)
        _head(figure, head, left + width / 2, top - 32)
        unit = track.unit or ""
        write(figure, left + width / 2, top - 19, unit, size=10, colour=MUTED, anchor="center",
              room=width + GAP)  # fmt: skip
        left += width + GAP
    pixel = (limits[0] - limits[1]) / height
    for strip in hole.strips:
        fill(left, STRIP, shades, SHADE)
        beds = beds_of(depth, strip.codes, resolution=pixel)
        for code in np.unique(beds.codes).tolist():
            own = beds.codes == code
            name = strip.classes.names[code] if code >= 0 else "none"
            edges = np.column_stack([down(beds.tops[own]), down(beds.bases[own])])
            fill(left, STRIP, edges, strip.classes.colour(code), name)
        boxes(figure, [(left, top, STRIP, height)], ["none"], edge=MUTED, width=1.0)
        _head(figure, wrap(strip.title, STRIP + GAP, 11, bold=True), left + STRIP / 2, top - 6)
        left += STRIP + GAP

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, lw=1.8, label="observed"),
        Line2D([], [], color=SECOND, lw=1.8, label="reconstructed"),
    ]
    if len(after):
        handles.append(Patch(facecolor=SHADE, edgecolor=MUTED, label="no rows (gap)"))
    key(figure, handles, DEPTH_ROOM, foot)
    foot += 16
    for strip, entries, used in zip(hole.strips, keys, key_heights, strict=True):
        write(figure, DEPTH_ROOM, foot + 9.5, strip.title, bold=True, room=90)
        legend(figure, entries, DEPTH_ROOM + 96, foot, key_room)
        foot += used
    return to_svg(figure, title)


def _draw_track(
    figure: Drawing,
    axes: Axes,
    track: Track,
    depth: Floats,
    left: float,
    top: float,
    width: float,
) -> None:
    track.axis.on(axes, "x", 3 if track.axis.kind == "linear" else 4)
    buckets = max(int(axes.bbox.height / BUCKET), 1)
    for values, colour, thickness in (
        (track.reconstructed, SECOND, 1.8),
        (track.observed, INK, 0.8),
    ):
        if values is not None:
            at, kept = _with_dots(*thinned(depth, values, buckets))
            axes.plot(
                track.axis.inside(kept),
                at,
                color=colour,
                linewidth=thickness,
                solid_capstyle="round",
            )
    # Numbers over the track, moved inwards at its edges, dropped where they would touch.
    ticks = [t for t in axes.xaxis.get_majorticklocs() if track.axis.low <= t <= track.axis.high]
    edge = left - GAP / 2
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        place = float(axes.transData.transform((tick, depth[0]))[0])
        axes.axvline(tick, color="#dfe1e4", linewidth=1, zorder=0.5)
        half = text_width(text, 9.5) / 2
        middle = min(max(place, left - GAP / 2 + half), left + width + GAP / 2 - half)
        if middle - half >= edge + 2:
            write(figure, middle, top - 6, text, size=9.5, anchor="center")
            edge = middle + half


def _with_dots(depth: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Repeat each value that stands alone between gaps, so that its round cap shows as a dot."""
    present = np.concatenate([[False], np.isfinite(values) & np.isfinite(depth), [False]])
    alone = np.flatnonzero(present[1:-1] & ~present[:-2] & ~present[2:])
    return np.insert(depth, alone, depth[alone]), np.insert(values, alone, values[alone])


def _head(figure: Drawing, rows: Sequence[str], middle: float, base: float) -> None:
    for index, row in enumerate(reversed(rows)):
        write(figure, middle, base - NAME_LINE * index, row, size=11, anchor="center", bold=True)


def _entries(strip: Strip) -> list[tuple[str, str]]:
    """Name the categories that occur in this hole, with their colours."""
    present = set(np.unique(strip.codes).tolist())
    entries = [
        (name, strip.classes.colours[code])
        for code, name in enumerate(strip.classes.names)
        if code in present
    ]
    return [*entries, ("none", PAPER)] if -1 in present else entries


# The section of the page


def strip_log_section(held_out: HeldOut | None) -> Section:
    """Return strip logs of a few held-out holes, or say what is missing for them."""
    title = "Strip logs"
    if held_out is None:
        missing = "No strip logs yet: run `variolite score` to write the held-out rows."
        return Section("strip-log", title, (Paragraph(missing, "missing"),))
    names = _chosen(held_out)
    if not names or not held_out.inputs:
        missing = (
            "No strip logs: they need groups such as holes, each of at least "
            f"{FEWEST_ROWS} rows with an order column such as depth."
        )
        return Section("strip-log", title, (Paragraph(missing, "missing"),))
    axes = {name: ValueAxis.fitting(values) for name, values in held_out.inputs.items()}
    holes = [(name, _hole(held_out, name, axes)) for name in names]
    options = tuple((name, _figures(held_out, name, hole)) for name, hole in holes)
    return Section("strip-log", title, (Alternatives(held_out.group_noun.capitalize(), options),))


def _figures(held_out: HeldOut, name: str, hole: Hole) -> tuple[Figure, ...]:
    overview = _overview(held_out, name, hole)
    if len(hole.depth) < WORTH_DETAIL * DETAIL_ROWS:
        return (overview,)
    return overview, _detail(held_out, name, hole)


def _chosen(held_out: HeldOut) -> list[str]:
    """Return the holes worth a drawing: all inputs measured, most label classes, most rows."""
    if held_out.groups is None or held_out.order is None:
        return []
    found: list[tuple[int, int, int, str]] = []
    classes = held_out.labels or held_out.clusters
    for name in np.unique(held_out.groups).tolist():
        rows = (held_out.groups == name) & np.isfinite(held_out.order)
        if rows.sum() < FEWEST_ROWS or np.ptp(held_out.order[rows]) <= 0:
            continue
        unmeasured = sum(not np.isfinite(values[rows]).any() for values in held_out.inputs.values())
        codes = classes.codes[rows] if classes else np.empty(0, dtype=np.int64)
        counts = np.bincount(codes[codes >= 0])
        kinds = int((counts >= 0.005 * rows.sum()).sum())
        found.append((unmeasured, -kinds, -int(rows.sum()), str(name)))
    return [hole[-1] for hole in sorted(found)][:HOLES]


def _hole(held_out: HeldOut, name: str, axes: dict[str, ValueAxis]) -> Hole:
    assert held_out.groups is not None
    assert held_out.order is not None
    rows = np.flatnonzero((held_out.groups == name) & np.isfinite(held_out.order))
    rows = rows[np.argsort(held_out.order[rows], kind="stable")]
    rebuilt = held_out.reconstructions
    tracks = tuple(
        Track(
            title=plain(column),
            unit=held_out.units.get(column),
            observed=values[rows],
            reconstructed=rebuilt[column][rows] if column in rebuilt else None,
            axis=axes[column],
        )
        for column, values in list(held_out.inputs.items())[:TRACKS]
    )
    strips = tuple(
        Strip(title, classes, classes.codes[rows])
        for title, classes in (
            ("cluster", held_out.clusters),
            (plain(held_out.level or "label"), held_out.labels),
        )
        if classes is not None
    )
    return Hole(held_out.order[rows], held_out.order_unit, tracks, strips)


def _overview(held_out: HeldOut, name: str, hole: Hole) -> Figure:
    drawing = draw_hole(hole, OVERVIEW_HEIGHT, f"Strip log of {held_out.group_noun} {name}")
    more = len(held_out.inputs) - len(hole.tracks)
    left_out = f" {counted(more, 'further input')} not drawn." if more else ""
    pixel = (hole.depth[-1] - hole.depth[0]) / OVERVIEW_HEIGHT
    thin = (
        " Lines keep the least and greatest value of every interval of "
        f"{significant(BUCKET * pixel, 2)}{hole.after_unit}, strips the most frequent class of "
        f"every {significant(pixel, 2)}{hole.after_unit}."
        if pixel > usual_step(hole.depth)
        else ""
    )
    caption = (
        f"Held-out {held_out.group_noun} {name}: {counted(len(hole.depth), 'row')}, "
        f"{_depths(hole)}. {_reading(held_out, hole)}{thin}{left_out}"
    )
    return Figure(f"strip-log-{name}", drawing, caption)


def _detail(held_out: HeldOut, name: str, hole: Hole) -> Figure:
    codes = hole.strips[-1].codes if hole.strips else np.zeros(len(hole.depth), dtype=np.int64)
    part = hole.part(liveliest_window(hole.depth, codes, DETAIL_ROWS))
    drawing = draw_hole(part, DETAIL_HEIGHT, f"Detail of {held_out.group_noun} {name}")
    caption = (
        f"Detail of held-out {held_out.group_noun} {name}: the {len(part.depth)} consecutive "
        f"rows with the most classes and bed changes, {_depths(part)}; every row is drawn. "
        f"{_reading(held_out, part)}"
    )
    return Figure(f"strip-log-detail-{name}", drawing, caption)


def _reading(held_out: HeldOut, hole: Hole) -> str:
    matched = held_out.clusters is not None and held_out.labels is not None
    colours = " A cluster has the colour of the label it is paired with." if matched else ""
    bent = [
        f"{track.title} ({SCALE_NAMES[track.axis.kind]})"
        for track in hole.tracks
        if track.axis.kind != "linear"
    ]
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    unmeasured = [track.title for track in hole.tracks if not np.isfinite(track.observed).any()]
    imputed = (
        f" Not measured here, so what is drawn is the model's imputation: {listed(unmeasured)}."
        if unmeasured
        else ""
    )
    return (
        "Values beyond a track's axis are drawn at its edge; "
        f"the reconstruction is the model's mean for the same row.{imputed}{colours}{scales}"
    )


def _depths(hole: Hole) -> str:
    step = usual_step(hole.depth)
    places = min(max(math.ceil(-math.log10(step)), 0), 3) if step > 0 else 1
    top, base = (decimals(float(edge), places) for edge in (hole.depth[0], hole.depth[-1]))
    return f"{top} to {base}{hole.after_unit}"
