"""The parts every figure is drawn with: letters, lines, axes, legends, the sheet itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.report.lettering import FONT, shorten, text_width
from variolite.report.markup import Markup, compact, element, join
from variolite.report.palette import FAINT, INK, MUTED
from variolite.report.scale import Scale, tick_labels

__all__ = [
    "SIZE",
    "WIDTH",
    "Frame",
    "axis_below",
    "axis_left",
    "box",
    "letters",
    "line",
    "path_of",
    "points_path",
    "sheet",
    "swatches",
    "vertical_grid",
]

Floats = NDArray[np.float64]

WIDTH = 900.0
"""Width of a full-width figure, in the pixels that type sizes are given in."""

SIZE = 11.5
"""Size of letters in figures."""


@dataclass(frozen=True)
class Frame:
    """The rectangle that data are drawn in."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height


def sheet(height: float, *content: str, title: str, width: float = WIDTH) -> Markup:
    """Return a whole drawing that also stands alone as an SVG file."""
    return element(
        "svg",
        element("title", title),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {compact(width)} {compact(height)}",
        width=width,
        height=height,
        font_family=FONT,
        font_size=SIZE,
        role="img",
        aria_label=title,
    )


def letters(
    x: float,
    y: float,
    text: str,
    *,
    size: float | None = None,
    anchor: str | None = None,
    fill: str = INK,
    bold: bool = False,
    turned: bool = False,
    room: float | None = None,
) -> Markup:
    """Draw one line of text with its base line at ``y``; ``room`` shortens it to that width.

    A shortened text keeps its full wording as a tooltip. ``turned`` writes
    upwards, for the label of a vertical axis.
    """
    fitted = text if room is None else shorten(text, room, size or SIZE, bold=bold)
    tooltip = element("title", text) if fitted != text else Markup("")
    return element(
        "text",
        fitted,
        tooltip,
        x=x,
        y=y,
        font_size=size,
        text_anchor=anchor,
        fill=fill,
        font_weight="bold" if bold else None,
        transform=f"rotate(-90 {compact(x)} {compact(y)})" if turned else None,
    )


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    stroke: str = INK,
    width: float = 1.0,
    dashes: str | None = None,
) -> Markup:
    """Draw a straight line."""
    return element(
        "line",
        x1=x1,
        y1=y1,
        x2=x2,
        y2=y2,
        stroke=stroke,
        stroke_width=width,
        stroke_dasharray=dashes,
    )


def box(frame: Frame, *, fill: str = "none", stroke: str | None = FAINT) -> Markup:
    """Draw the rectangle of a frame."""
    return element(
        "rect",
        x=frame.left,
        y=frame.top,
        width=frame.width,
        height=frame.height,
        fill=fill,
        stroke=stroke,
    )


def path_of(x: Floats, y: Floats) -> str:
    """Return path data for a line through the points, lifted where a coordinate is not finite.

    A point between two such gaps becomes a stroke of no length, which a round
    cap shows as a dot.
    """
    pieces: list[str] = []
    alone = False
    pen = "M"
    for across, down in zip(x.tolist(), y.tolist(), strict=True):
        if across - across != 0 or down - down != 0:
            pieces.append("h0" if alone else "")
            pen, alone = "M", False
            continue
        pieces.append(f"{pen}{across:.1f} {down:.1f}")
        pen, alone = "L", pen == "M"
    return "".join([*pieces, "h0" if alone else ""])


def points_path(x: Floats, y: Floats) -> str:
    """Return path data of zero-length strokes, which the line cap turns into dots."""
    return "".join(
        f"M{across:.1f} {down:.1f}h0" for across, down in zip(x.tolist(), y.tolist(), strict=True)
    )


def vertical_grid(scale: Scale, frame: Frame, ticks: Sequence[float]) -> Markup:
    """Draw faint lines down through the frame at the ticks."""
    return join(
        line(scale.at(tick), frame.top, scale.at(tick), frame.bottom, stroke=FAINT)
        for tick in ticks
    )


def axis_below(
    scale: Scale,
    frame: Frame,
    label: str,
    *,
    target: int = 5,
    grid: bool = True,
    at: Sequence[float] | None = None,
) -> Markup:
    """Draw a horizontal axis under the frame: ticks (chosen, or those of ``at``), label."""
    ticks = scale.ticks(target) if at is None else list(at)
    marks = join(
        join(
            (
                line(scale.at(tick), frame.bottom, scale.at(tick), frame.bottom + 4),
                letters(scale.at(tick), frame.bottom + 16, written, anchor="middle", size=11),
            )
        )
        for tick, written in _thinned(scale, ticks)
    )
    return join(
        (
            vertical_grid(scale, frame, ticks) if grid else Markup(""),
            line(frame.left, frame.bottom, frame.right, frame.bottom),
            marks,
            letters(
                frame.left + frame.width / 2,
                frame.bottom + 32,
                label,
                anchor="middle",
                room=frame.width + 60,
            ),
        )
    )


def axis_left(
    scale: Scale,
    frame: Frame,
    label: str,
    *,
    target: int = 5,
    grid: bool = True,
    gutter: float | None = None,
) -> Markup:
    """Draw a vertical axis left of the frame; its label stands clear of the widest number."""
    ticks = scale.ticks(target)
    written = tick_labels(ticks)
    widest = max((text_width(text, 11) for text in written), default=0.0)
    rows: list[Markup] = []
    for tick, text in zip(ticks, written, strict=True):
        height = scale.at(tick)
        if grid:
            rows.append(line(frame.left, height, frame.right, height, stroke=FAINT))
        rows.append(line(frame.left - 4, height, frame.left, height))
        rows.append(letters(frame.left - 7, height + 4, text, anchor="end", size=11))
    return join(
        (
            *rows,
            line(frame.left, frame.top, frame.left, frame.bottom),
            letters(
                frame.left - (gutter if gutter is not None else widest + 16),
                frame.top + frame.height / 2,
                label,
                anchor="middle",
                turned=True,
                room=frame.height + 24,
            ),
        )
    )


def swatches(
    entries: Iterable[tuple[str, str]], left: float, top: float, width: float
) -> tuple[Markup, float]:
    """Draw (name, colour) pairs in rows that fit ``width``.

    Returns
    -------
    drawing, height
        The height includes the last row.
    """
    x, y = left, top
    parts: list[Markup] = []
    for name, colour in entries:
        fitted = shorten(name, min(width - 20, 260), SIZE)
        need = 16 + text_width(fitted, SIZE) + 18
        if x > left and x + need - 18 > left + width:
            x, y = left, y + 18
        parts.append(
            element(
                "rect",
                x=x,
                y=y,
                width=11,
                height=11,
                fill=colour,
                stroke=MUTED,
                stroke_width=0.5,
            )
        )
        parts.append(letters(x + 16, y + 9.5, name, room=min(width - 20, 260)))
        x += need
    return join(parts), y - top + (18 if parts else 0)


def _thinned(scale: Scale, ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Leave out numbers that would touch the one before."""
    kept: list[tuple[float, str]] = []
    edge = float("-inf")
    for tick, text in zip(ticks, tick_labels(list(ticks)), strict=True):
        half = text_width(text, 11) / 2
        if scale.at(tick) - half < edge + 6:
            continue
        kept.append((tick, text))
        edge = scale.at(tick) + half
    return kept
