"""Strip logs of held-out holes: inputs against depth, with clusters and labels beside them."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import HeldOut
from variolite.corelogs.striplog.beds import liveliest_window, usual_step
from variolite.corelogs.striplog.drawing import (
    NARROWEST_TRACK,
    draw_log,
    head_height,
    room_for_tracks,
)
from variolite.corelogs.striplog.legend import draw_legend, legend_height
from variolite.corelogs.striplog.sheet import Sheet
from variolite.corelogs.striplog.tracks import COLOURS, Curve, Track, tracks_of
from variolite.corelogs.striplog.well_log import Strip, WellLog
from variolite.errors import counted
from variolite.report import style
from variolite.report.figures import SCALE_NAMES
from variolite.report.formatting import decimals, listed, plain, significant
from variolite.report.page import Alternatives, Figure, Section, missing
from variolite.report.style import to_svg

Integers = NDArray[np.int64]

HOLES = 5
FEWEST_ROWS = 20
OVERVIEW_HEIGHT, DETAIL_HEIGHT = 640.0, 460.0
DETAIL_ROWS, WORTH_DETAIL = 200, 400
"""Rows from which a hole gets a drawing of a detail."""
SPACE = 12.0  # pixels between log and legend


def draw_hole(hole: WellLog, tracks: list[Track], height: float, title: str) -> Markup:
    """Draw a hole and its legend; ``height`` is that of the tracks in pixels."""
    above = head_height(tracks)
    sheet = Sheet(style.WIDTH + 2, above + height + SPACE + legend_height(hole) + 2, margin=1)
    half = usual_step(hole.depth) / 2 or 0.5
    limits = (float(hole.depth[0]) - half, float(hole.depth[-1]) + half)
    draw_log(sheet, hole, tracks, top=0, height=height, limits=limits)
    draw_legend(sheet, hole, above + height + SPACE)
    return to_svg(sheet.figure, title)


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
    tracks = tracks_of(_curves(held_out, slice(None)))
    options = tuple((name, _figures(held_out, hole, tracks)) for name, hole in holes.items())
    return Section(anchor, title, (Alternatives(held_out.group_noun.capitalize(), options),))


def _curves(held_out: HeldOut, rows: slice | Integers) -> tuple[Curve, ...]:
    """Return the inputs of some rows and what the model makes of them, by the meaning they have."""
    return tuple(
        Curve(
            plain(name),
            name,
            held_out.units.get(name, ""),
            values[rows],
            rebuilt[rows] if (rebuilt := held_out.reconstructions.get(name)) is not None else None,
        )
        for name, values in held_out.inputs.items()
    )


def _holes(held_out: HeldOut) -> dict[str, WellLog]:
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
    chosen = sorted(found, key=lambda hole: hole[:-1])[:HOLES]
    return {name: _hole(held_out, name, rows) for *_, name, rows in chosen}


def _hole(held_out: HeldOut, name: str, rows: Integers) -> WellLog:
    assert held_out.order is not None
    unit, clusters, labels = held_out.order_unit or "", held_out.clusters, held_out.labels
    named = ((plain(held_out.level or "label"), labels, True), ("cluster", clusters, False))
    strips = tuple(Strip(title, c, rocks) for title, c, rocks in named if c is not None)
    every = WellLog(name, held_out.order, unit, _curves(held_out, slice(None)), strips)
    return every.part(rows)


def _figures(held_out: HeldOut, hole: WellLog, tracks: list[Track]) -> tuple[Figure, ...]:
    noun, depth, name = held_out.group_noun, hole.depth, hole.name
    drawn = tracks[: int(room_for_tracks(hole) / NARROWEST_TRACK)]
    more = sum(len(track.traces) for track in tracks[len(drawn) :])
    left_out = f" {counted(more, 'further input')} not drawn." if more else ""
    pixel = (depth[-1] - depth[0]) / OVERVIEW_HEIGHT
    unit = f" {hole.unit}" if hole.unit else ""
    thin = f" Strips show the most frequent class of every {significant(pixel, 2)}{unit}."
    reading = _reading(held_out, hole, drawn)
    caption = (
        f"Held-out {noun} {name}: {counted(len(depth), 'row')}, {_depths(hole)}. {reading}"
        f"{thin if pixel > usual_step(depth) else ''}{left_out}"
    )
    drawing = draw_hole(hole, drawn, OVERVIEW_HEIGHT, f"Strip log of {noun} {name}")
    overview = Figure(f"strip-log-{name}", drawing, caption)
    if len(depth) < WORTH_DETAIL:
        return (overview,)
    codes = hole.strips[0].classes.codes if hole.strips else np.zeros(len(depth), np.int64)
    part = hole.part(liveliest_window(depth, codes, DETAIL_ROWS))
    caption = (
        f"Detail of held-out {noun} {name}: the {DETAIL_ROWS} consecutive rows with the most bed "
        f"changes, {_depths(part)}; every row is drawn. {reading}"
    )
    drawing = draw_hole(part, drawn, DETAIL_HEIGHT, f"Detail of {noun} {name}")
    return overview, Figure(f"strip-log-detail-{name}", drawing, caption)


def _reading(held_out: HeldOut, hole: WellLog, tracks: list[Track]) -> str:
    matched = held_out.clusters is not None and held_out.labels is not None
    colours = " A cluster has the colour of the label it is paired with." if matched else ""
    bent = [
        f"{plain(trace.meaning)} ({SCALE_NAMES[trace.scale.kind]})"
        for track in tracks
        for trace in track.traces
        if trace.scale.kind != "linear"
    ]
    scales = f" Scales that are not linear: {listed(bent)}." if bent else ""
    drawn = {*COLOURS}.union(*(track.meanings for track in tracks))
    unmeasured = [
        curve.name
        for curve in hole.curves
        if curve.meaning in drawn and not np.isfinite(curve.values).any()
    ]
    imputed = f" Not measured here, so that the line is an imputation: {listed(unmeasured)}."
    crossed = any({"neutron_porosity", "bulk_density"} <= track.meanings for track in tracks)
    crossover = " Yellow: density lies left of neutron porosity." if crossed else ""
    return (
        "The pale line is the model's mean for the same row. Values beyond a track's axis are "
        "drawn at its edge, or gamma rays again from the left."
        f"{crossover}{imputed if unmeasured else ''}{colours}{scales}"
    )


def _depths(hole: WellLog) -> str:
    step = usual_step(hole.depth)
    places = min(max(math.ceil(-math.log10(step)), 0), 3) if step > 0 else 1
    top, base = (decimals(float(edge), places) for edge in (hole.depth[0], hole.depth[-1]))
    return f"{top} to {base}{f' {hole.unit}' if hole.unit else ''}"
