"""What the colours and patterns of the strips of a log mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from variolite.corelogs.striplog.sheet import Sheet
from variolite.corelogs.striplog.well_log import WellLog
from variolite.report import style
from variolite.report.style import shorten

LINE = 19.0


def legend_entries(log: WellLog) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Return by title the names, colours and whether they have patterns, of what occurs.

    Strips of rocks share one list.
    """
    found: dict[str, dict[tuple[str, str, bool], None]] = {}
    rocks = ", ".join(strip.title for strip in log.strips if strip.rocks)
    for strip in log.strips:
        present = np.unique(strip.classes.codes[strip.classes.codes >= 0]).tolist()
        entries = found.setdefault(rocks if strip.rocks else strip.title, {})
        for code in present:
            entries[strip.classes.names[code], strip.classes.colours[code], strip.rocks] = None
    return [(title, list(entries)) for title, entries in found.items() if entries]


LEGEND_LEFT = 112.0


def legend_height(log: WellLog, width: float = style.WIDTH) -> float:
    """Return the height that `draw_legend` will need."""
    lines = sum(_rows(len(entries), _columns(entries, width)) for _, entries in legend_entries(log))
    return LINE * lines


def _columns(entries: Sequence[tuple[str, str, bool]], width: float) -> int:
    longest = max(len(shorten(name, 30)) for name, *_ in entries)
    return max(int((width - LEGEND_LEFT) / (longest * style.LETTER + 40)), 1)


def _rows(count: int, columns: int) -> int:
    return -(-count // columns)


def draw_legend(sheet: Sheet, log: WellLog, top: float, width: float = style.WIDTH) -> None:
    """Explain the colours and patterns of the strips of a log."""
    for title, entries in legend_entries(log):
        columns = _columns(entries, width)
        each = (width - LEGEND_LEFT) / columns
        sheet.write(0, top + 12, shorten(title, 19), weight="bold")
        for place, (name, colour, rocks) in enumerate(entries):
            row, column = divmod(place, columns)
            left, y = LEGEND_LEFT + column * each, np.array([top + 2 + row * LINE])
            bars = (left, left + 24, y, y + 14)
            path = sheet.bars(*bars, colour)
            if rocks:
                sheet.pattern(name, *bars, path)
            sheet.box(left, float(y[0]), 24, 14, lw=0.5 * sheet.unit, ec=style.MUTED)
            sheet.write(left + 30, float(y[0]) + 10.5, shorten(name, 30))
        top += LINE * _rows(len(entries), columns)
