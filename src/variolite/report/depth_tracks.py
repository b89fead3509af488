"""One hole drawn downwards: a track per input, a strip per classification, gaps left visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
    vertical_grid,
)
from variolite.report.classes import Classes
from variolite.report.core_runs import beds_of, gaps, row_edges, thinned
from variolite.report.lettering import text_width, wrap
from variolite.report.markup import Markup, compact, element, join
from variolite.report.palette import INK, MUTED, PAPER, SECOND, SHADE
from variolite.report.scale import Scale, tick_labels

__all__ = ["Hole", "Strip", "Track", "draw_hole"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HEAD, NAME_LINE = 32.0, 13.0
DEPTH_ROOM = 58.0
STRIP = 44.0
GAP = 9.0
WIDEST_TRACK = 230.0
BUCKET_PIXELS = 1.6
STRIP_PIXELS = 1.0
LEAST_GAP_PIXELS = 1.0


@dataclass(frozen=True)
class Track:
    """One input along the hole.

    ``observed`` and ``reconstructed`` are [n]; ``scale`` carries limits and
    kind, its pixels are set when the track is drawn.
    """

    title: str
    unit: str | None
    observed: Floats
    reconstructed: Floats | None
    scale: Scale


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
        return Hole(
            self.depth[rows],
            self.unit,
            tuple(
                replace(
                    track,
                    observed=track.observed[rows],
                    reconstructed=(
                        None if track.reconstructed is None else track.reconstructed[rows]
                    ),
                )
                for track in self.tracks
            ),
            tuple(replace(strip, codes=strip.codes[rows]) for strip in self.strips),
        )


def draw_hole(hole: Hole, height: float, title: str) -> Markup:
    """Draw the hole; ``height`` is that of the tracks, without heads and legend."""
    depth = hole.depth
    room = 0.005 * float(depth[-1] - depth[0]) or 0.5
    strips_room = len(hole.strips) * (STRIP + GAP)
    width = (WIDTH - DEPTH_ROOM - strips_room - 2) / max(len(hole.tracks), 1) - GAP
    width = min(width, WIDEST_TRACK)
    unit = f" ({hole.unit})" if hole.unit else ""
    name_lines = max((len(_named(track, width)) for track in hole.tracks), default=1)
    top = HEAD + NAME_LINE * name_lines
    down = Scale(float(depth[0]) - room, float(depth[-1]) + room, top, top + height)
    first = Frame(DEPTH_ROOM, top, width, height)
    parts = [axis_left(down, first, f"depth{unit}", target=12, grid=False, gutter=44)]
    left = DEPTH_ROOM
    for track in hole.tracks:
        frame = Frame(left, top, width, height)
        parts.append(_track(track, depth, down, frame))
        left += width + GAP
    for strip in hole.strips:
        parts.append(_strip(strip, depth, down, Frame(left, top, STRIP, height)))
        left += STRIP + GAP
    key_top = top + height + 20
    parts.append(_key(key_top, hole))
    legend_top = key_top + 16
    for strip in hole.strips:
        legend, used = _legend(strip, legend_top)
        parts.append(legend)
        legend_top += used + 4
    return sheet(legend_top, *parts, title=title)


def _track(track: Track, depth: Floats, down: Scale, frame: Frame) -> Markup:
    scale = replace(track.scale, start=frame.left, end=frame.right)
    ticks = scale.ticks(3 if scale.kind == "linear" else 4)
    buckets = max(int(frame.height / BUCKET_PIXELS), 1)
    lines: list[Markup] = []
    for values, colour, thickness in (
        (track.reconstructed, SECOND, 1.8),
        (track.observed, INK, 0.8),
    ):
        if values is not None:
            at, kept = thinned(depth, values, buckets)
            lines.append(
                element(
                    "path",
                    d=path_of(scale.inside(kept), down(at)),
                    stroke=colour,
                    stroke_width=thickness,
                    stroke_linejoin="round",
                    stroke_linecap="round",
                    fill="none",
                )
            )
    return join(
        (
            vertical_grid(scale, frame, ticks),
            _gaps(depth, down, frame),
            *lines,
            box(frame, stroke=MUTED),
            _ticks_above(scale, ticks, frame),
            _head(track, frame),
        )
    )


def _head(track: Track, frame: Frame) -> Markup:
    """Write name and unit above the ticks, the name in two lines where it needs them."""
    rows = _named(track, frame.width)
    middle = frame.left + frame.width / 2
    base = frame.top - 32
    names = [
        letters(
            middle,
            base - NAME_LINE * (len(rows) - 1 - index),
            row,
            anchor="middle",
            size=11,
            bold=True,
        )
        for index, row in enumerate(rows)
    ]
    return join(
        (
            element("title", track.title),
            *names,
            letters(
                middle,
                frame.top - 19,
                track.unit or "",
                anchor="middle",
                size=10,
                fill=MUTED,
                room=frame.width + GAP,
            ),
        )
    )


def _named(track: Track, width: float) -> list[str]:
    return wrap(track.title, width + GAP - 7, 11, lines=2, bold=True)


def _ticks_above(scale: Scale, ticks: Sequence[float], frame: Frame) -> Markup:
    """Write tick numbers over the track, moved inwards at its edges, dropped where they touch."""
    parts: list[Markup] = []
    edge = frame.left - GAP / 2
    for tick, text in zip(ticks, tick_labels(list(ticks)), strict=True):
        half = text_width(text, 9.5) / 2
        x = scale.at(tick)
        parts.append(line(x, frame.top - 3, x, frame.top))
        middle = min(max(x, frame.left - GAP / 2 + half), frame.right + GAP / 2 - half)
        if middle - half < edge + 2:
            continue
        parts.append(letters(middle, frame.top - 6, text, anchor="middle", size=9.5))
        edge = middle + half
    return join(parts)


def _strip(strip: Strip, depth: Floats, down: Scale, frame: Frame) -> Markup:
    per_pixel = (down.high - down.low) / frame.height
    beds = beds_of(depth, strip.codes, resolution=STRIP_PIXELS * per_pixel)
    tops, bases = down(beds.tops), down(beds.bases)
    tops = np.clip(tops, frame.top, frame.bottom)
    bases = np.clip(bases, frame.top, frame.bottom)
    paths: list[Markup] = []
    for code in np.unique(beds.codes).tolist():
        chosen = beds.codes == code
        drawn = "".join(
            f"M{compact(frame.left)} {top:.1f}h{compact(frame.width)}v{base - top:.1f}"
            f"h-{compact(frame.width)}z"
            for top, base in zip(tops[chosen].tolist(), bases[chosen].tolist(), strict=True)
        )
        paths.append(
            element(
                "path",
                element("title", strip.classes.names[code] if code >= 0 else "none"),
                d=drawn,
                fill=strip.classes.colour(code),
            )
        )
    middle = frame.left + frame.width / 2
    rows = wrap(strip.title, frame.width + GAP, 11, lines=2, bold=True)
    return join(
        (
            _gaps(depth, down, frame),
            *paths,
            box(frame, stroke=MUTED),
            *(
                letters(
                    middle,
                    frame.top - 6 - NAME_LINE * (len(rows) - 1 - index),
                    row,
                    anchor="middle",
                    size=11,
                    bold=True,
                )
                for index, row in enumerate(rows)
            ),
        )
    )


def _gaps(depth: Floats, down: Scale, frame: Frame) -> Markup:
    """Shade the intervals without rows; a strip or line simply stops there."""
    after = gaps(depth)
    tops, bases = row_edges(depth)
    parts: list[Markup] = []
    for top, base in zip(down(bases[after]).tolist(), down(tops[after + 1]).tolist(), strict=True):
        if base - top >= LEAST_GAP_PIXELS:
            parts.append(
                element(
                    "rect",
                    x=frame.left,
                    y=top,
                    width=frame.width,
                    height=base - top,
                    fill=SHADE,
                )
            )
    return join(parts)


def _key(top: float, hole: Hole) -> Markup:
    parts: list[Markup] = []
    x = DEPTH_ROOM
    for colour, text in ((INK, "observed"), (SECOND, "reconstructed")):
        parts.append(line(x, top, x + 26, top, stroke=colour, width=1.8))
        parts.append(letters(x + 32, top + 4, text))
        x += 118
    if len(gaps(hole.depth)):
        parts.append(box(Frame(x, top - 6, 22, 12), fill=SHADE, stroke=MUTED))
        parts.append(letters(x + 28, top + 4, "no rows (gap)"))
    return join(parts)


def _legend(strip: Strip, top: float) -> tuple[Markup, float]:
    """Name the categories that occur in this hole."""
    present = set(np.unique(strip.codes).tolist())
    entries = [
        (name, strip.classes.colours[code])
        for code, name in enumerate(strip.classes.names)
        if code in present
    ]
    if -1 in present:
        entries.append(("none", PAPER))
    title = letters(DEPTH_ROOM, top + 9.5, strip.title, bold=True, room=90)
    legend, used = swatches(entries, DEPTH_ROOM + 96, top, WIDTH - DEPTH_ROOM - 100)
    return join((title, legend)), used
