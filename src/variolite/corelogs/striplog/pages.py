"""Strip logs on paper: pages of a PDF, or a picture for every well."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from variolite.corelogs.striplog.beds import usual_step
from variolite.corelogs.striplog.drawing import (
    NARROWEST_TRACK,
    draw_log,
    head_height,
    layout_of,
    room_for_tracks,
)
from variolite.corelogs.striplog.legend import draw_legend, legend_height
from variolite.corelogs.striplog.sheet import Sheet
from variolite.corelogs.striplog.tracks import Track
from variolite.corelogs.striplog.well_log import WellLog
from variolite.errors import DataError
from variolite.records import write_bytes_atomic
from variolite.records.files.writing import files_in
from variolite.records.units import can_convert, convert
from variolite.report import style
from variolite.report.style import figure_style, shorten, to_svg

ENDINGS = (".pdf", ".png", ".svg")

# A4 upright, in points; 900 pixels lie between its margins.
_PAPER, _MARGIN = (595.28, 841.89), 30.0
_UNIT = (_PAPER[0] - 2 * _MARGIN) / style.WIDTH
_TITLE, _FOOT, _SPACE = 40.0, 16.0, 12.0
_DPI = 200
_MOST = {".pdf": 1_000, ".png": 60_000, ".svg": 600_000}
"""Pages of a PDF, and pixels that a picture is tall, at most."""
_METRES_A_PIXEL = _UNIT / 72 * 0.0254
"""What a pixel measures on paper."""


class _Piece(NamedTuple):
    """Depths that go on one sheet, and how many pixels they take."""

    low: float
    high: float
    height: float


def write_logs(
    names: Sequence[str],
    log_of: Callable[[str], WellLog],
    tracks: Sequence[Track],
    out: Path,
    *,
    source: str,
    scale: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Draw wells and return the files: a PDF, or a picture of one well or of each in a folder.

    ``scale`` N draws 1:N, a PDF on as many pages as it takes; by default a well fills a page.
    DataError where nothing can be written there, or a drawing would be too long.
    """
    ending = out.suffix.casefold()
    if scale is not None:
        _require_short(map(log_of, names), tracks, ending, scale)
    # TrueType, so that text in a PDF can be searched and edited.
    with figure_style(), rc_context({"pdf.fonttype": 42, "savefig.facecolor": style.PAPER}):
        if ending == ".pdf":
            written = io.BytesIO()
            with PdfPages(written, metadata={"CreationDate": None, "Creator": "Variolite"}) as pdf:
                for name in names:
                    progress(name)
                    for figure in _pages(log_of(name), tracks, source, scale):
                        pdf.savefig(figure)
            write_bytes_atomic(out, written.getvalue())
            return [out]
        paths = [out] if len(names) == 1 else files_in(out.with_suffix(""), names, ending)
        for name, path in zip(names, paths, strict=True):
            progress(name)
            log = log_of(name)
            figure = _picture(log, tracks, source, scale)
            if ending == ".svg":
                write_bytes_atomic(path, to_svg(figure, f"Strip log of {name}").encode("utf-8"))
            else:
                drawn = io.BytesIO()
                figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
                write_bytes_atomic(path, drawn.getvalue())
    return paths


def _limits(log: WellLog) -> tuple[float, float]:
    half = usual_step(log.depth) / 2 or 0.5
    return float(log.depth[0]) - half, float(log.depth[-1]) + half


def _metres(log: WellLog) -> float:
    """Return the metres of one unit of depth; an unknown unit is taken for the metre."""
    return float(convert(np.ones(1), log.unit, "m")[0]) if can_convert(log.unit, "m") else 1.0


def _fitting(log: WellLog, tracks: Sequence[Track]) -> tuple[list[Track], int]:
    """Return the tracks that the well has curves for, as many as fit, and how many do not."""
    own = []
    for track in tracks:
        traces = tuple(trace for trace in track.traces if log.curve(trace.meaning))
        own += [Track(traces)] if traces else []
    most = int(room_for_tracks(log) / NARROWEST_TRACK)
    return own[:most], len(own[most:])


def _require_short(
    logs: Iterable[WellLog], tracks: Sequence[Track], ending: str, scale: int
) -> None:
    """Raise a DataError, before anything is drawn, where a drawing 1:``scale`` is too long."""
    lengths, most = {}, _MOST[ending]
    for log in logs:
        own, _ = _fitting(log, tracks)
        pixels = _pixels(log, scale)
        if ending == ".pdf":
            lengths[log.name] = np.ceil(pixels / _room(log, own))
        else:
            lengths[log.name] = (pixels + _beside(log, own)) * _UNIT / 72 * _DPI
    tallest = max(lengths, key=lambda name: lengths[name])
    length = sum(lengths.values()) if ending == ".pdf" else lengths[tallest]
    if length > most:
        least = int(np.ceil(scale * length / most / 10) * 10)
        hint = f"use --scale {least} or more, or --from and --to"
        what = f"the picture of {tallest} would be {length:,.0f} pixels tall"
        if ending == ".pdf":
            what, hint = f"the drawing would have {length:,.0f} pages", f"{hint}, or --well"
        else:
            hint = f"write a PDF, or {hint}"
        what += f", and {most:,} is the limit"
        raise DataError(what, where=f"--scale {scale}", hint=hint)


def _pixels(log: WellLog, scale: int) -> float:
    """Return how tall a well is at 1:``scale``."""
    low, high = _limits(log)
    return max((high - low) * _metres(log) / (scale * _METRES_A_PIXEL), 20.0)


def _beside(log: WellLog, tracks: Sequence[Track]) -> float:
    """Return the pixels of a sheet above and below the log."""
    return _TITLE + head_height(tracks) + _SPACE + legend_height(log) + _FOOT


def _room(log: WellLog, tracks: Sequence[Track]) -> float:
    """Return the pixels that a page has for the log."""
    return max((_PAPER[1] - 2 * _MARGIN) / _UNIT - _beside(log, tracks), 200.0)


def _pages(
    log: WellLog, tracks: Sequence[Track], source: str, scale: int | None
) -> Iterator[Figure]:
    own, more = _fitting(log, tracks)
    low, high = _limits(log)
    room = _room(log, own)
    pieces = [_Piece(low, high, room)]
    if scale is not None:
        each = room * scale * _METRES_A_PIXEL / _metres(log)
        starts = np.arange(low, high, each)
        ends = np.minimum(starts + each, high)
        pieces = [_Piece(a, b, room * (b - a) / each) for a, b in zip(starts, ends, strict=True)]
        pieces = [piece for piece in pieces if piece.height > 1] or pieces[:1]
    height = _PAPER[1] / _UNIT
    for number, piece in enumerate(pieces, start=1):
        page = f"{number} of {len(pieces)}" if len(pieces) > 1 else ""
        yield _sheet(log, own, more, piece, height, source, page)


def _picture(log: WellLog, tracks: Sequence[Track], source: str, scale: int | None) -> Figure:
    own, more = _fitting(log, tracks)
    low, high = _limits(log)
    room = _room(log, own) if scale is None else _pixels(log, scale)
    height = room + _beside(log, own) + 2 * _MARGIN / _UNIT
    return _sheet(log, own, more, _Piece(low, high, room), height, source, "")


def _sheet(
    log: WellLog,
    tracks: Sequence[Track],
    more: int,
    piece: _Piece,
    height: float,
    source: str,
    page: str,
) -> Figure:
    margin = _MARGIN / _UNIT
    sheet = Sheet(_PAPER[0] / _UNIT, height, _UNIT, margin)
    ratio = (piece.high - piece.low) * _metres(log) / (piece.height * _METRES_A_PIXEL)
    sheet.write(0, 12, shorten(log.name, 60), size=16, weight="bold")
    depths = f"{round(piece.low):,} to {round(piece.high):,} {log.unit}".strip()
    right = max(layout_of(log, tracks).right, style.WIDTH / 2)
    not_drawn = f"; {more} further logs find no room" if more else ""
    sheet.write(0, 29, shorten(f"{source}{not_drawn}", 110), color=style.MUTED)
    sheet.write(right, 12, depths, ha="right")
    sheet.write(right, 29, f"1:{float(f'{ratio:.2g}'):,.0f}", ha="right", color=style.MUTED)
    draw_log(sheet, log, tracks, top=_TITLE, height=piece.height, limits=(piece.low, piece.high))
    below = _TITLE + head_height(tracks) + piece.height + _SPACE
    draw_legend(sheet, log, below)
    foot = height - 2 * margin - 1
    sheet.write(style.WIDTH, foot, page, ha="right", size=9.5, color=style.MUTED)
    return sheet.figure
