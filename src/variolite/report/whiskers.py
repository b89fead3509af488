"""Dot-and-whisker panels: a score, its interval, and the rivals on the same axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from variolite.report.axes import Frame, axis_below, box, letters, line
from variolite.report.markup import Markup, element, join
from variolite.report.palette import FAINT, INK
from variolite.report.scale import Scale

__all__ = ["Whisker", "labels_left", "whisker_panel"]


@dataclass(frozen=True)
class Whisker:
    """One row of a panel; ``note`` is shown when the pointer rests on it."""

    mean: float
    low: float
    high: float
    colour: str
    note: str
    hollow: bool = False
    strong: bool = False


def labels_left(labels: Sequence[tuple[str, bool]], frame: Frame, room: float) -> Markup:
    """Write row labels, each with whether it is bold, left of a panel beside its rows."""
    return join(
        letters(
            frame.left - 10,
            _height(index, len(labels), frame) + 4,
            label,
            anchor="end",
            room=room,
            bold=bold,
        )
        for index, (label, bold) in enumerate(labels)
    )


def whisker_panel(
    whiskers: Sequence[Whisker | None], frame: Frame, title: str, axis: str
) -> Markup:
    """Draw one row per whisker; None leaves its row empty, for a score that does not exist.

    The interval of the first strong row is drawn down the panel as a pale
    band, so that an overlap is seen without a ruler.
    """
    present = [whisker for whisker in whiskers if whisker and math.isfinite(whisker.mean)]
    scale = _scale(present, frame)
    strong = next((whisker for whisker in present if whisker.strong), None)
    band = Markup("")
    if strong and math.isfinite(strong.low) and math.isfinite(strong.high):
        left, right = scale.at(strong.low), scale.at(strong.high)
        band = element(
            "rect",
            x=left,
            y=frame.top,
            width=max(right - left, 0.5),
            height=frame.height,
            fill=strong.colour,
            fill_opacity=0.1,
        )
    zero = (
        line(scale.at(0), frame.top, scale.at(0), frame.bottom, stroke=INK, width=0.7)
        if scale.low < 0 < scale.high
        else Markup("")
    )
    rows = join(
        _row(whisker, scale, _height(index, len(whiskers), frame))
        for index, whisker in enumerate(whiskers)
        if whisker and math.isfinite(whisker.mean)
    )
    return join(
        (
            axis_below(scale, frame, axis, target=4),
            band,
            zero,
            box(frame, stroke=FAINT),
            rows,
            letters(frame.left, frame.top - 9, title, bold=True, room=frame.width),
        )
    )


def _row(whisker: Whisker, scale: Scale, y: float) -> Markup:
    parts: list[str] = [element("title", whisker.note)]
    if math.isfinite(whisker.low) and math.isfinite(whisker.high):
        left, right = scale.at(whisker.low), scale.at(whisker.high)
        parts += [
            line(left, y, right, y, stroke=whisker.colour, width=1.6),
            line(left, y - 3.5, left, y + 3.5, stroke=whisker.colour, width=1.6),
            line(right, y - 3.5, right, y + 3.5, stroke=whisker.colour, width=1.6),
        ]
    parts.append(
        element(
            "circle",
            cx=scale.at(whisker.mean),
            cy=y,
            r=4.2,
            fill="#ffffff" if whisker.hollow else whisker.colour,
            stroke=whisker.colour,
            stroke_width=1.6,
        )
    )
    return element("g", *parts)


def _scale(whiskers: Sequence[Whisker], frame: Frame) -> Scale:
    ends = [
        value
        for whisker in whiskers
        for value in (whisker.mean, whisker.low, whisker.high)
        if math.isfinite(value)
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) * 0.1 or 0.1), high + (abs(high) * 0.1 or 0.1)
    room = 0.08 * (high - low)
    # A score that cannot fall below zero gets an axis that begins there when it nearly does.
    start = 0.0 if 0 <= low < 0.6 * high else low - room
    return Scale(start, high + room, frame.left, frame.right)


def _height(index: int, count: int, frame: Frame) -> float:
    return frame.top + (index + 0.5) * frame.height / count
