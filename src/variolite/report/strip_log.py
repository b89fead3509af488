"""Strip logs of held-out holes: inputs against depth, with clusters and labels beside them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from variolite.report.blocks import Alternatives, Figure, Section, paragraph
from variolite.report.core_runs import liveliest_window, usual_step
from variolite.report.depth_tracks import Hole, Strip, Track, draw_hole
from variolite.report.held_out import HeldOut
from variolite.report.lettering import decimals, plain, significant
from variolite.report.scale import SCALE_NAMES, Scale, scale_for
from variolite.report.wording import counted, listed

__all__ = ["strip_log_section"]

Floats = NDArray[np.float64]

HOLES = 5
TRACKS = 9
FEWEST_ROWS = 20
OVERVIEW_HEIGHT = 640.0
DETAIL_HEIGHT = 460.0
DETAIL_ROWS = 200
WORTH_DETAIL = 2.0
"""A detail is drawn of holes that have this many times its rows."""


def strip_log_section(held_out: HeldOut | None) -> Section:
    """Return strip logs of a few held-out holes, or say what is missing for them."""
    title = "Strip logs"
    if held_out is None:
        missing = paragraph(
            "No strip logs yet: run `variolite score` to write the held-out rows.", kind="missing"
        )
        return Section("strip-log", title, (missing,))
    names = _chosen(held_out)
    if not names or not held_out.inputs:
        missing = paragraph(
            "No strip logs: they need groups such as holes, each of at least "
            f"{FEWEST_ROWS} rows with an order column such as depth.",
            kind="missing",
        )
        return Section("strip-log", title, (missing,))
    scales = {name: scale_for(values, 0, 1) for name, values in held_out.inputs.items()}
    holes = [(name, _hole(held_out, name, scales)) for name in names]
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


def _hole(held_out: HeldOut, name: str, scales: dict[str, Scale]) -> Hole:
    assert held_out.groups is not None
    assert held_out.order is not None
    rows = np.flatnonzero((held_out.groups == name) & np.isfinite(held_out.order))
    rows = rows[np.argsort(held_out.order[rows], kind="stable")]
    tracks = tuple(
        Track(
            title=plain(column),
            unit=held_out.units.get(column),
            observed=values[rows],
            reconstructed=(
                held_out.reconstructions[column][rows]
                if column in held_out.reconstructions
                else None
            ),
            scale=scales[column],
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
        f"{significant(1.6 * pixel, 2)}{_unit(hole)}, strips the most frequent class of every "
        f"{significant(pixel, 2)}{_unit(hole)}."
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
        f"{track.title} ({SCALE_NAMES[track.scale.kind]})"
        for track in hole.tracks
        if track.scale.kind != "linear"
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
    return f"{top} to {base}{_unit(hole)}"


def _unit(hole: Hole) -> str:
    return f" {hole.unit}" if hole.unit else ""
