"""Drawing one strip log on a sheet: heads, tracks, strips, formations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from variolite.corelogs.striplog.beds import beds_of, means, thinned
from variolite.corelogs.striplog.sheet import Sheet
from variolite.corelogs.striplog.tracks import Track
from variolite.corelogs.striplog.well_log import Strip, WellLog
from variolite.report import style
from variolite.report.style import shorten

Floats = NDArray[np.float64]

CROSSOVER, WASHOUT, DOUBT = "#ffe24a", "#d9d5cc", "#9a8fb0"
DEPTH_WIDTH, TOPS_WIDTH, STRIP_WIDTH, COLOUR_WIDTH, GAP = 44.0, 84.0, 56.0, 40.0, 6.0
WIDEST_TRACK, NARROWEST_TRACK = 210.0, 58.0
HEAD_LINE, LINE = 31.0, 11.0
FINEST = 0.25
"""What is closer than this number of pixels is drawn as one: a twentieth of a millimetre on A4."""


# Where things stand from left to right


@dataclass(frozen=True)
class Layout:
    """The left and right of every column of a sheet, in pixels."""

    depth: tuple[float, float]
    tops: tuple[float, float] | None
    tracks: list[tuple[float, float]]
    colours: list[tuple[float, float]]
    strips: list[tuple[float, float]]
    doubt: tuple[float, float] | None

    @property
    def right(self) -> float:
        """The right edge of the last column."""
        columns = [self.depth, *self.tracks, *self.colours, *self.strips]
        return max(right for _, right in [*columns, *([self.doubt] if self.doubt else [])])


def room_for_tracks(log: WellLog) -> float:
    """Return the pixels that curves can have beside everything else."""
    strips = len(log.strips) + (log.doubt is not None)
    colours = len(log.pictures)
    tops = TOPS_WIDTH if log.formations is not None else 0.0
    taken = DEPTH_WIDTH + tops + strips * (STRIP_WIDTH + GAP) + colours * (COLOUR_WIDTH + GAP)
    return style.WIDTH - taken


def layout_of(log: WellLog, tracks: Sequence[Track]) -> Layout:
    """Give every column its place: depth behind the gamma ray as in printed logs, or first."""
    width = min(room_for_tracks(log) / max(len(tracks), 1), WIDEST_TRACK)
    left = 0.0

    def column(size: float, before: float = 0.0) -> tuple[float, float]:
        nonlocal left
        left += size + before
        return left - size, left

    tops = column(TOPS_WIDTH) if log.formations is not None else None
    gamma_first = bool(tracks) and "gamma_ray" in tracks[0].meanings
    first = [column(width)] if gamma_first else []
    depth = column(DEPTH_WIDTH)
    rest = [column(width) for _ in tracks[len(first) :]]
    colours = [column(COLOUR_WIDTH, GAP) for _ in log.pictures]
    strips = [column(STRIP_WIDTH, GAP) for _ in log.strips]
    doubt = column(STRIP_WIDTH, GAP) if log.doubt is not None else None
    return Layout(depth, tops, first + rest, colours, strips, doubt)


def head_height(tracks: Sequence[Track]) -> float:
    """Return the height of the heads: three lines of a strip at least."""
    return max(HEAD_LINE * max((len(track.traces) for track in tracks), default=1), 44.0) + 4


# The log itself


def draw_log(
    sheet: Sheet,
    log: WellLog,
    tracks: Sequence[Track],
    *,
    top: float,
    height: float,
    limits: tuple[float, float],
) -> None:
    """Draw heads at ``top`` and below them the log between two depths, ``height`` pixels tall."""
    layout = layout_of(log, tracks)
    inside = (log.depth >= limits[0]) & (log.depth <= limits[1])
    body = _Body(sheet, log.part(inside), top + head_height(tracks), height, limits)
    _draw_heads(sheet, log, tracks, layout, top)
    if not inside.any():
        body.frame(*layout.depth)
        return
    for strip, columns in zip(log.part(inside).strips, layout.strips, strict=True):
        body.strip(strip, *columns)
    for picture, columns in zip(body.log.pictures, layout.colours, strict=True):
        body.picture(picture, *columns)
    body.depths(layout)
    for track, columns in zip(tracks, layout.tracks, strict=True):
        body.track(track, *columns)
    if layout.doubt and body.log.doubt is not None:
        body.doubt(body.log.doubt, *layout.doubt)
    if layout.tops and body.log.formations is not None:
        body.formations(body.log.formations, layout)


def _draw_heads(
    sheet: Sheet, log: WellLog, tracks: Sequence[Track], layout: Layout, top: float
) -> None:
    height = head_height(tracks)
    for track, (left, right) in zip(tracks, layout.tracks, strict=True):
        sheet.box(left, top, right - left, height)
        middle, room = (left + right) / 2, right - left - 8
        for place, trace in enumerate(track.traces):
            base = top + height - 4 - HEAD_LINE * (len(track.traces) - 1 - place)
            curve = log.curve(trace.meaning)
            name = curve.name if curve else trace.meaning
            most = int(room / 6.6)
            bold: dict[str, Any] = {"ha": "center", "color": trace.colour, "weight": "bold"}
            sheet.write(middle, base - 17, shorten(name, most), **bold)
            low, high = trace.scale.ends
            ends: dict[str, Any] = {"size": 9.5, "color": trace.colour}
            sheet.write(left + 4, base - 5, low, **ends)
            sheet.write(right - 4, base - 5, high, ha="right", **ends)
            unit = shorten(trace.unit, max(int(room / 5.6) - len(low) - len(high) - 2, 1))
            sheet.write(middle, base - 5, unit, ha="center", size=9.5, color=style.MUTED)
            sheet.line([left + 4, right - 4], [base - 1.5] * 2, trace.colour, 1.4, ls=trace.dashes)
    titles = [(layout.depth, f"depth\n({log.unit})" if log.unit else "depth")]
    titles += [(layout.tops, "formation")] if layout.tops else []
    titles += zip(layout.colours, ("colour", "colour, rebuilt"), strict=False)
    titles += [(at, strip.title) for at, strip in zip(layout.strips, log.strips, strict=True)]
    titles += [(layout.doubt, "uncer-\ntainty\n ")] if layout.doubt else []
    for (left, right), title in titles:
        sheet.box(left, top, right - left, height)
        most = max(int((right - left) / 5.7), 4)
        lines = [part for line in title.split("\n") for part in textwrap.wrap(line, most) or [""]]
        for place, line in enumerate(lines[:3]):
            y = top + height - 7 - 12.5 * (min(len(lines), 3) - 1 - place)
            sheet.write(
                (left + right) / 2, y, shorten(line, most + 1), size=10, ha="center", weight="bold"
            )
    if layout.doubt:
        left, right = layout.doubt
        for x, end, side in ((left + 4, "0", "left"), (right - 4, "1", "right")):
            sheet.write(x, top + height - 7, end, size=9.5, ha=side, color=style.MUTED)


@dataclass
class _Body:
    """The part below the heads, with depth turned into pixels."""

    sheet: Sheet
    log: WellLog
    top: float
    height: float
    limits: tuple[float, float]

    def __post_init__(self) -> None:
        self.pixel = (self.limits[1] - self.limits[0]) / self.height

    def y(self, depth: Any) -> Any:
        """Return the pixel of a depth."""
        return self.top + (depth - self.limits[0]) / self.pixel

    def frame(self, left: float, right: float) -> None:
        self.sheet.box(left, self.top, right - left, self.height, zorder=5)

    def depths(self, layout: Layout) -> None:
        """Draw lines at round depths through all tracks, and write the depths."""
        left, right = layout.depth
        count = max(int(self.height / 60), 2)
        marks = np.asarray(MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(*self.limits))
        step = marks[1] - marks[0]
        fine = np.arange(marks[0], marks[-1] + step, step / 5)
        for depths, strength, colour in ((fine, 0.5, style.FAINT), (marks, 0.8, "#b9bcc0")):
            at = self.y(depths[(depths > self.limits[0]) & (depths < self.limits[1])])
            for begin, end in layout.tracks:
                segments = [[(begin, y), (end, y)] for y in at.tolist()]
                lines = LineCollection(
                    segments, colors=colour, linewidths=strength * self.sheet.unit, zorder=0.5
                )
                self.sheet.axes.add_collection(lines, autolim=False)
        places = max(0, -int(np.floor(np.log10(step) + 1e-9)))
        for depth in marks.tolist():
            y = self.y(depth)
            if self.top + 6 <= y <= self.top + self.height - 4:
                text = f"{depth:.{places}f}"
                self.sheet.write((left + right) / 2, y + 4, text, size=10.5, ha="center")
                for a, b in ((left, left + 4), (right - 4, right)):
                    self.sheet.line([a, b], [y, y], style.INK, 0.8)
        self.frame(left, right)

    def track(self, track: Track, left: float, right: float) -> None:
        width = right - left
        for place, strong in track.traces[0].scale.grid:
            x = left + place * width
            shade = "#b9bcc0" if strong else style.FAINT
            self.sheet.line([x, x], [self.top, self.top + self.height], shade, 0.5, zorder=0.5)
        at = {}
        for trace in track.traces:
            curve = self.log.curve(trace.meaning)
            if curve is None:
                continue
            at[trace.meaning] = trace.scale.place(curve.values)
            if curve.rebuilt is not None:
                pale = style.blend((trace.colour, style.PAPER), 0.6)
                self._curve(np.clip(trace.scale.place(curve.rebuilt), 0, 1), left, width, pale, 2.6)
            where = at[trace.meaning]
            if trace.wraps and (where > 1).any():
                # Beyond the scale it begins again at the left, thinner.
                again = np.where(where > 1, np.clip(where - 1, 0, 1), np.nan)
                self._curve(again, left, width, trace.colour, 0.5)
            self._curve(np.clip(where, 0, 1), left, width, trace.colour, 0.8, trace.dashes)
        for low, high, colour in (
            ("bulk_density", "neutron_porosity", CROSSOVER),
            ("bit_size", "caliper", WASHOUT),
        ):
            if low in at and high in at:
                self._between(at[low], at[high], left, width, colour)
        self.frame(left, right)

    def _curve(
        self,
        where: Floats,
        left: float,
        width: float,
        colour: str,
        thickness: float,
        dashes: str = "-",
    ) -> None:
        depth, place = thinned(self.log.depth, where, FINEST * self.pixel)
        x, y = left + place * width, self.y(depth)
        self.sheet.line(x, y, colour, thickness, ls=dashes, zorder=2)
        # A value between gaps makes no line.
        finite = np.isfinite(x)
        padded = np.pad(finite, 1)
        alone = finite & ~padded[:-2] & ~padded[2:]
        if alone.any():
            size = 2.0 * self.sheet.unit
            self.sheet.line(x[alone], y[alone], colour, 0, marker=".", ms=size, mew=0)

    def _between(self, low: Floats, high: Floats, left: float, width: float, colour: str) -> None:
        """Fill between two curves where the second lies right of the first."""
        both = np.column_stack([np.clip(low, 0, 1), np.clip(high, 0, 1)])
        both[~np.isfinite(both).all(axis=1)] = np.nan
        depth, places = means(self.log.depth, both, FINEST * self.pixel)
        depth, first = thinned(depth, places[:, 0], 0.0)
        second = thinned(depth[np.isfinite(depth)], places[:, 1], 0.0)[1]
        over = np.nan_to_num(second - first, nan=-1.0) > 0
        self.sheet.axes.fill_betweenx(
            self.y(depth), left + first * width, left + second * width, where=over,
            interpolate=True, color=colour, linewidth=0, zorder=0.8,
        )  # fmt: skip

    def strip(self, strip: Strip, left: float, right: float) -> None:
        for code, tops, bases in self._beds(self.log.depth, strip.classes.codes, self.pixel):
            bars = (left, right, tops, bases)
            path = self.sheet.bars(*bars, strip.classes.colour(code))
            if strip.rocks:
                self.sheet.pattern(strip.classes.names[code], *bars, path)
        self.frame(left, right)

    def picture(self, colour: Floats, left: float, right: float) -> None:
        """Draw rows in the colour that they have, [n, 3]."""
        depth, mean = means(self.log.depth, colour, self.pixel / 2)
        known = np.isfinite(mean.sum(axis=1))
        shades = np.round(255 * np.nan_to_num(mean)).astype(np.int64) @ [65536, 256, 1]
        for code, tops, bases in self._beds(depth, np.where(known, shades, -1)):
            self.sheet.bars(left, right, tops, bases, f"#{code:06x}")
        self.frame(left, right)

    def _beds(
        self, depth: Floats, codes: NDArray[np.int64], resolution: float = 0.0
    ) -> Iterator[tuple[int, Floats, Floats]]:
        """Yield each code of rows [n] with the upper and lower pixels of its beds."""
        tops, bases, codes = beds_of(depth, codes, resolution)
        tops, bases = (np.clip(self.y(e), self.top, self.top + self.height) for e in (tops, bases))
        for code in np.unique(codes[codes >= 0]).tolist():
            yield code, tops[codes == code], bases[codes == code]

    def doubt(self, doubt: Floats, left: float, right: float) -> None:
        """Fill from the left as far as the class is uncertain."""
        depth, share = means(self.log.depth, doubt, self.pixel / 2)
        depth, share = thinned(depth, np.clip(share, 0, 1), 0.0)
        x = left + share * (right - left)
        self.sheet.axes.fill_betweenx(
            self.y(depth), left, x, where=np.isfinite(x), color=DOUBT, linewidth=0
        )
        for place in (0.25, 0.5, 0.75):
            at = left + place * (right - left)
            self.sheet.line([at, at], [self.top, self.top + self.height], style.FAINT, 0.5)
        self.frame(left, right)

    def formations(self, formations: NDArray[np.str_], layout: Layout) -> None:
        """Draw a line where a formation begins, through all tracks, and write its name."""
        assert layout.tops
        left, right = layout.tops
        names, codes = np.unique(formations, return_inverse=True)
        codes = np.where(names == "", -1, np.arange(len(names)))[codes.reshape(-1)]
        tops, bases, codes = beds_of(self.log.depth, codes)
        # One formation across a gap is one.
        same = np.append(False, codes[1:] == codes[:-1])
        bases = np.array([*bases[:-1][~same[1:]], bases[-1]])
        tops, codes = tops[~same], codes[~same]
        named = codes >= 0
        tops, bases = self.y(tops[named]), self.y(bases[named])
        most = int((right - left - 16) / 5.3)
        texts = [textwrap.wrap(shorten(names[code], 60), most) for code in codes[named].tolist()]
        placed = list(_spread(texts, tops, bases, self.top, self.top + self.height))
        for y in np.unique(np.concatenate([tops, bases])).tolist():
            if not self.top < y < self.top + self.height:
                continue
            # Beside the names only where it does not strike one out.
            free = all(abs(y - at) > LINE * len(lines) / 2 - 1 for lines, at, *_ in placed)
            for begin, end in ((left, right if free else left), (right, layout.right)):
                self.sheet.line([begin, end], [y, y], style.INK, 0.9, zorder=4)
        for lines, y, top, base in placed:
            if abs((top + base) / 2 - y) > 2:
                self.sheet.line([right - 13, right], [y, (top + base) / 2], style.MUTED, 0.5)
            for place, line in enumerate(lines):
                at = y + 3.5 + LINE * (place - (len(lines) - 1) / 2)
                self.sheet.write(left + 4, at, line, size=9.5)
        self.frame(left, right)


def _spread(
    texts: Sequence[list[str]], tops: Floats, bases: Floats, top: float, base: float
) -> Iterator[tuple[list[str], float, float, float]]:
    """Place names beside their intervals so that none covers another.

    Gives lines, the y of their middle, and the interval. Names of the thinnest intervals are left
    out where there is no room for all.
    """
    tops, bases = np.clip(tops, top, base), np.clip(bases, top, base)
    thinnest_last = np.argsort(tops - bases, kind="stable")
    kept = np.sort(thinnest_last[: max(int((base - top) / LINE) - 1, 1)]).tolist()
    lines = {}
    for i in kept:
        room, words = max(int((bases[i] - tops[i] - 2) / LINE), 1), texts[i]
        rest = shorten(" ".join(words[room - 1 :]), max(map(len, words)))
        lines[i] = words if len(words) <= room else [*words[: room - 1], rest]
    heights = {i: LINE * len(lines[i]) for i in kept}
    # Downwards each keeps clear of the one above; then upwards, from the foot of the sheet.
    y = {i: (tops[i] + bases[i]) / 2 for i in kept}
    above = top + 2
    for i in kept:
        y[i] = max(y[i], above + heights[i] / 2)
        above = y[i] + heights[i] / 2
    below = base
    for i in reversed(kept):
        y[i] = min(y[i], below - heights[i] / 2)
        below = y[i] - heights[i] / 2
    for i in kept:
        yield lines[i], y[i], float(tops[i]), float(bases[i])
