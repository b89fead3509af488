"""Clusters against labels: which label lies in which cluster."""

from __future__ import annotations

import numpy as np

from variolite.report.axes import SIZE, WIDTH, letters, sheet
from variolite.report.blocks import Alternatives, Figure, Section, paragraph
from variolite.report.classes import Classes, contingency
from variolite.report.held_out import HeldOut
from variolite.report.lettering import integer, plain, text_width
from variolite.report.markup import Markup, element, join
from variolite.report.palette import MUTED, SEQUENTIAL, blend, ink_on
from variolite.report.wording import counted

__all__ = ["contingency_section"]

ROW = 24.0
TOP = 44.0
TOTALS = 64.0
MOST_CLUSTERS = 30
MOST_LEVELS = 5
WIDEST_CELL = 52.0


def contingency_section(held_out: HeldOut | None) -> Section:
    """Return the table of clusters and labels as a heat map, or say what is missing."""
    anchor, title = "contingency", "Clusters and labels"
    if held_out is None or held_out.clusters is None or held_out.labels is None:
        reason = (
            "Not scored yet: run `variolite score` to set clusters beside labels."
            if held_out is None
            else "The held-out rows have no labels or no clusters, so the two cannot be compared."
        )
        return Section(anchor, title, (paragraph(reason, kind="missing"),))
    clusters = held_out.clusters
    order = sorted(held_out.levels, key=lambda level: level != held_out.level)
    options = tuple(
        (plain(level), (_figure(held_out, clusters, level, held_out.levels[level]),))
        for level in order[:MOST_LEVELS]
    )
    return Section(anchor, title, (Alternatives("Label level", options),))


def _figure(held_out: HeldOut, clusters: Classes, level: str, labels: Classes) -> Figure:
    counts = contingency(clusters, labels)[:MOST_CLUSTERS]
    names = clusters.names[:MOST_CLUSTERS]
    totals = contingency(clusters, labels).sum(axis=0)
    shares = counts / np.maximum(totals, 1)
    left = min(max(text_width(name, SIZE) for name in labels.names) + 26, 230)
    cell = min((WIDTH - left - TOTALS) / len(names), WIDEST_CELL)
    parts: list[Markup] = [
        letters(left + cell * len(names) / 2, 13, "cluster", anchor="middle", bold=True),
        letters(
            left - 8,
            TOP - 8,
            plain(level),
            anchor="end",
            bold=True,
            room=left - 10,
        ),
        letters(left + cell * len(names) + TOTALS - 6, TOP - 8, "rows", anchor="end", bold=True),
    ]
    for column, name in enumerate(names):
        x = left + column * cell
        parts.append(
            element(
                "rect",
                x=x + 0.5,
                y=TOP - 5,
                width=cell - 1,
                height=4,
                fill=clusters.colours[column],
            )
        )
        parts.append(letters(x + cell / 2, TOP - 10, name, anchor="middle", size=11, room=cell))
    for row, name in enumerate(labels.names):
        y = TOP + row * ROW
        parts.append(
            element(
                "rect", x=left - 6, y=y + 0.5, width=4, height=ROW - 1, fill=labels.colours[row]
            )
        )
        parts.append(letters(left - 12, y + 16, name, anchor="end", room=left - 14))
        parts += [
            _cell(
                left + column * cell,
                y,
                cell,
                float(shares[column, row]),
                f"{name} in {names[column]}: {integer(int(counts[column, row]))} rows, "
                f"{shares[column, row]:.1%} of the label",
            )
            for column in range(len(names))
        ]
        parts.append(
            letters(
                left + cell * len(names) + TOTALS - 6,
                y + 16,
                integer(int(totals[row])),
                anchor="end",
            )
        )
    foot = TOP + ROW * len(labels.names) + 16
    parts.append(letters(left - 12, foot, "rows", anchor="end", bold=True))
    parts += [
        letters(
            left + (column + 0.5) * cell,
            foot,
            integer(int(count)),
            anchor="middle",
            size=10.5,
            room=cell,
        )
        for column, count in enumerate(counts.sum(axis=1))
    ]
    parts.append(_ramp(left, foot + 16))
    more = len(clusters) - len(names)
    unlabelled = int((labels.codes < 0).sum())
    without = int(((clusters.codes < 0) & (labels.codes >= 0)).sum())
    notes = [
        f"{counted(unlabelled, 'row')} without a label left out." if unlabelled else "",
        f"{counted(without, 'labelled row')} in no cluster left out." if without else "",
        f"{counted(more, 'further cluster')} not drawn." if more > 0 else "",
    ]
    among = "" if level == held_out.level else f" “{plain(held_out.level or '')}”"
    caption = (
        f"Where each label “{plain(level)}” lies: per cent of the label's held-out "
        f"rows in each cluster, so that a row adds up to 100 "
        f"({counted(int(totals.sum()), 'labelled row')} among {held_out.extent}). "
        f"Labels are sorted by size, clusters stand in the order of the labels{among} they are "
        f"paired with. {' '.join(note for note in notes if note)}"
    ).strip()
    return Figure(
        f"clusters-and-{level}",
        sheet(foot + 46, *parts, title="Share of each label by cluster"),
        caption,
    )


def _cell(x: float, y: float, width: float, share: float, note: str) -> Markup:
    colour = blend(SEQUENTIAL, share) if share > 0 else "#ffffff"
    percent = round(100 * share)
    written = str(percent) if percent >= 1 else ("<1" if share > 0 else "")
    return element(
        "g",
        element("title", note),
        element(
            "rect",
            x=x,
            y=y,
            width=width,
            height=ROW,
            fill=colour,
            stroke="#ffffff",
        ),
        letters(x + width / 2, y + 16, written, anchor="middle", size=10.5, fill=ink_on(colour)),
    )


def _ramp(left: float, top: float) -> Markup:
    """Draw the key of the colours from 0 to 100 %."""
    steps = 50
    bars = (
        element(
            "rect",
            x=left + index * 4,
            y=top,
            width=4,
            height=9,
            fill=blend(SEQUENTIAL, index / (steps - 1)),
        )
        for index in range(steps)
    )
    return join(
        (
            element("g", *bars, shape_rendering="crispEdges"),
            letters(left, top + 22, "0 %", size=10.5, fill=MUTED),
            letters(
                left + 200, top + 22, "100 % of the label", size=10.5, fill=MUTED, anchor="middle"
            ),
        )
    )
