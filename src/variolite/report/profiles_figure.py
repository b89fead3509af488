"""Cluster profiles as a figure and a table, in the units of the instruments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.report.axes import (
    WIDTH,
    Frame,
    axis_below,
    box,
    letters,
    line,
    sheet,
    vertical_grid,
)
from variolite.report.blocks import Block, Figure, Section, fold, paragraph, table
from variolite.report.held_out import HeldOut
from variolite.report.lettering import plain, significant, wrap
from variolite.report.markup import Markup, element, join
from variolite.report.palette import INK, MUTED, SHADE
from variolite.report.profiles import Profile, profiles_of, quantiles_of
from variolite.report.scale import Kind, Scale, scale_for
from variolite.report.wording import counted, percent

__all__ = ["profiles_section"]

Floats = NDArray[np.float64]

ROW = 26.0
TOP = 58.0
LEFT = 118.0
RIGHT = 178.0
PANELS_ABREAST = 6
MOST_PANELS = 12
MOST_CLUSTERS = 40
KIND_NOTES: dict[Kind, str] = {"linear": "", "log": "log scale", "symlog": "signed log scale"}


def profiles_section(held_out: HeldOut | None) -> Section:
    """Return cluster profiles as a figure and a table, or say what is missing."""
    title = "Cluster profiles"
    profiles = profiles_of(held_out) if held_out is not None else []
    if held_out is None or not profiles:
        reason = (
            "No cluster profiles yet: run `variolite score` to cluster the held-out rows."
            if held_out is None
            else "No cluster profiles: held_out.parquet has no clusters in it."
        )
        return Section("profiles", title, (paragraph(reason, kind="missing"),))
    columns = list(held_out.inputs)[:MOST_PANELS]
    shown = profiles[:MOST_CLUSTERS]
    blocks: list[Block] = [
        _figure(held_out, shown, columns[start : start + PANELS_ABREAST], start)
        for start in range(0, len(columns), PANELS_ABREAST)
    ]
    if len(profiles) > len(shown) or len(held_out.inputs) > len(columns):
        blocks.append(
            paragraph(
                f"The figure shows {len(shown)} of {counted(len(profiles), 'cluster')} and "
                f"{len(columns)} of {counted(len(held_out.inputs), 'input')}; the table has all.",
                kind="remark",
            )
        )
    blocks.append(_table(held_out, profiles))
    return Section("profiles", title, tuple(blocks))


def _figure(held_out: HeldOut, profiles: list[Profile], columns: list[str], start: int) -> Figure:
    gap = 14.0
    height = ROW * len(profiles)
    width = (WIDTH - LEFT - RIGHT) / len(columns) - gap
    parts: list[Markup] = [_names(profiles), _labels(profiles)]
    for index, column in enumerate(columns):
        frame = Frame(LEFT + index * (width + gap), TOP, width, height)
        parts.append(_panel(held_out, profiles, column, frame))
    parts.append(letters(16, TOP - 10, "cluster", bold=True))
    parts.append(letters(LEFT - 16, TOP - 10, "rows", bold=True, anchor="end"))
    if any(profile.labels for profile in profiles):
        parts.append(letters(WIDTH - RIGHT + 4, TOP - 10, "commonest labels", bold=True))
    labels = (
        f" Right: the commonest labels “{plain(held_out.level)}” with their share of the "
        "cluster's labelled rows."
        if held_out.level
        else ""
    )
    caption = (
        f"Cluster profiles of {held_out.extent}, in original units: median (mark) and 10 to 90 % "
        f"range (bar) of each input by cluster; the grey band is the 10 to 90 % range of all "
        f"rows.{labels}"
    )
    drawing = sheet(TOP + height + 40, *parts, title="Inputs by cluster in original units")
    return Figure(
        "cluster-profiles" if start == 0 else f"cluster-profiles-{start}", drawing, caption
    )


def _panel(held_out: HeldOut, profiles: list[Profile], column: str, frame: Frame) -> Markup:
    values = held_out.inputs[column]
    low, _, high = quantiles_of(values)
    scale = _scale(values, profiles, column, frame)
    band = Markup("")
    if np.isfinite(low):
        left, right = scale.at(float(low)), scale.at(float(high))
        band = box(Frame(left, frame.top, right - left, frame.height), fill=SHADE, stroke=None)
    rows: list[Markup] = []
    for index, profile in enumerate(profiles):
        q10, middle, q90 = (float(value) for value in profile.quantiles[column])
        if not np.isfinite(middle):
            continue
        y = TOP + (index + 0.5) * ROW
        note = f"{profile.name}, {held_out.title(column)}: {_range(profile.quantiles[column])}"
        rows.append(
            element(
                "g",
                element("title", note),
                line(scale.at(q10), y, scale.at(q90), y, stroke=profile.colour, width=7),
                element(
                    "rect",
                    x=scale.at(middle) - 2,
                    y=y - 7,
                    width=4,
                    height=14,
                    fill=INK,
                    stroke="#ffffff",
                ),
            )
        )
    named = wrap(plain(column), frame.width + 10, 11, lines=2, bold=True)
    unit = held_out.units.get(column, "")
    middle_x = frame.left + frame.width / 2
    head = [
        letters(
            middle_x,
            frame.top - 23 - 13 * (len(named) - 1 - index),
            text,
            anchor="middle",
            size=11,
            bold=True,
        )
        for index, text in enumerate(named)
    ]
    head.append(
        letters(
            middle_x,
            frame.top - 8,
            unit,
            anchor="middle",
            size=10,
            fill=MUTED,
            room=frame.width + 12,
        )
    )
    return join(
        (
            band,
            vertical_grid(scale, frame, scale.ticks(3)),
            axis_below(scale, frame, KIND_NOTES[scale.kind], target=3, grid=False),
            box(frame),
            *rows,
            *head,
        )
    )


def _scale(values: Floats, profiles: list[Profile], column: str, frame: Frame) -> Scale:
    """Return an axis for the 10 to 90 % ranges of all clusters, of the kind the input asks for."""
    natural = scale_for(values, frame.left, frame.right)
    ends = np.array([profile.quantiles[column] for profile in profiles]).ravel()
    ends = ends[np.isfinite(ends)]
    if ends.size == 0:
        return natural
    low, high = float(ends.min()), float(ends.max())
    bare = Scale(low, high, 0.0, 1.0, natural.kind, natural.threshold)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9) or (natural.kind == "log" and low <= 0):
        return natural
    room = 0.05
    if natural.kind == "log":
        factor = (high / low) ** room
        low, high = low / factor, high * factor
    elif natural.kind == "linear":
        low, high = low - room * (high - low), high + room * (high - low)
    else:
        low, high = (
            end + room * (1 if end > 0 else -1) * max(abs(end), bare.threshold)
            for end in (low, high)
        )
    return Scale(low, high, frame.left, frame.right, natural.kind, natural.threshold)


def _names(profiles: list[Profile]) -> Markup:
    parts: list[Markup] = []
    for index, profile in enumerate(profiles):
        y = TOP + (index + 0.5) * ROW
        parts.append(
            element(
                "rect",
                x=0,
                y=y - 6,
                width=12,
                height=12,
                fill=profile.colour,
                stroke=MUTED,
                stroke_width=0.5,
            )
        )
        parts.append(letters(17, y + 4, profile.name, bold=True))
        parts.append(
            letters(
                LEFT - 16,
                y + 4,
                f"{profile.rows:,} ({percent(profile.share)})",
                anchor="end",
                size=10.5,
            )
        )
    return join(parts)


def _labels(profiles: list[Profile]) -> Markup:
    parts: list[Markup] = []
    for index, profile in enumerate(profiles):
        y = TOP + (index + 0.5) * ROW
        for place, (label, share) in enumerate(profile.labels[:2]):
            parts.append(
                letters(
                    WIDTH - RIGHT + 4,
                    y - 2 + 12 * place,
                    f"{percent(share)} {label}",
                    size=10.5,
                    room=RIGHT - 6,
                    fill=INK if place == 0 else MUTED,
                )
            )
    return join(parts)


def _table(held_out: HeldOut, profiles: list[Profile]) -> Markup:
    head = (
        "cluster",
        "rows",
        "share",
        *(held_out.title(column) for column in held_out.inputs),
        "commonest labels",
    )
    rows = [
        (
            profile.name,
            f"{profile.rows:,}",
            f"{profile.share:.1%}",
            *(_range(profile.quantiles[column]) for column in held_out.inputs),
            ", ".join(f"{label} {percent(share)}" for label, share in profile.labels),
        )
        for profile in profiles
    ]
    return fold("Cluster profiles as a table: median (10 % to 90 % quantile)", table(head, rows))


def _range(quantiles: Floats) -> str:
    low, middle, high = (significant(float(value)) for value in quantiles)
    return f"{middle} ({low} to {high})"
