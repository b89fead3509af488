"""Figures of the clusters: against labels, by input, and in the latent space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import Classes, HeldOut, contingency
from variolite.report.clouds import (
    FIRST_SQUARE,
    PlaneMap,
    latent_map,
)
from variolite.report.figures import (
    Cell,
    ValueAxis,
    boxes,
    matrix,
    ramp,
)
from variolite.report.page import (
    Alternatives,
    Block,
    Figure,
    Fold,
    Paragraph,
    Section,
    Table,
)
from variolite.report.style import (
    INK,
    MUTED,
    PAPER,
    SEQUENTIAL,
    SHADE,
    SMALL,
    WIDTH,
    axes_at,
    blend,
    halo,
    ink_on,
    new_figure,
    text_width,
    to_svg,
    tooltip,
    wrap,
    write,
)
from variolite.report.tables import (
    counted,
    percent,
    plain,
    significant,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def missing(anchor: str, title: str, text: str) -> Section:
    """Return a section that says why it is empty and how to fill it."""
    return Section(anchor, title, (Paragraph(text, "missing"),))


# Clusters against labels

MOST_CLUSTERS, MOST_LEVELS = 30, 5
CELL_HEIGHT, WIDEST_CELL = 24.0, 52.0


def contingency_section(held_out: HeldOut | None) -> Section:
    """Return the table of clusters and labels as a heat map, or say what is missing."""
    anchor, title = "contingency", "Clusters and labels"
    if held_out is None:
        reason = "Not scored yet: run `variolite score` to set clusters beside labels."
        return missing(anchor, title, reason)
    clusters = held_out.clusters
    if clusters is None or held_out.labels is None:
        reason = "The held-out rows have no labels or no clusters, so the two cannot be compared."
        return missing(anchor, title, reason)
    order = sorted(held_out.levels, key=lambda level: level != held_out.level)
    options = tuple(
        (plain(level), (_contingency(held_out, clusters, level, held_out.levels[level]),))
        for level in order[:MOST_LEVELS]
    )
    return Section(anchor, title, (Alternatives("Label level", options),))


def _contingency(held_out: HeldOut, clusters: Classes, level: str, labels: Classes) -> Figure:
    every = contingency(clusters, labels)
    counts = every[:MOST_CLUSTERS]
    names = clusters.names[:MOST_CLUSTERS]
    totals = every.sum(axis=0)
    shares = (counts / np.maximum(totals, 1)).T
    top, totals_room, row = 44.0, 64.0, CELL_HEIGHT
    left = min(max(text_width(name) for name in labels.names) + 26, 230)
    cell = min((WIDTH - left - totals_room) / len(names), WIDEST_CELL)
    right, bottom = left + cell * len(names), top + row * len(labels)
    figure = new_figure(bottom + 62)

    def drawn(line: int, column: int) -> Cell:
        share = float(shares[line, column])
        colour = blend(SEQUENTIAL, share) if share > 0 else PAPER
        written = percent(share).removesuffix("%") if share > 0 else ""
        rows = f"{counts[column, line]:,} rows, {share:.1%} of the label"
        note = f"{labels.names[line]} in {names[column]}: {rows}"
        return Cell(colour, written, ink_on(colour), note)

    cells = [[drawn(i, j) for j in range(len(names))] for i in range(len(labels))]
    matrix(figure, left, top, (cell, row), cells)
    beside = [(left - 6, top + place * row + 0.5, 4, row - 1) for place in range(len(labels))]
    above = [(left + place * cell + 0.5, top - 5, cell - 1, 4) for place in range(len(names))]
    boxes(figure, [*beside, *above], [*labels.colours, *clusters.colours[: len(names)]])
    write(figure, (left + right) / 2, 13, "cluster", anchor="center", bold=True)
    write(figure, left - 8, top - 8, plain(level), anchor="right", bold=True, room=left - 10)
    write(figure, right + totals_room - 6, top - 8, "rows", anchor="right", bold=True)
    write(figure, left - 12, bottom + 16, "rows", anchor="right", bold=True)
    for place, name in enumerate(labels.names):
        y = top + place * row + 16
        write(figure, left - 12, y, name, anchor="right", room=left - 14)
        write(figure, right + totals_room - 6, y, f"{totals[place]:,}", anchor="right")
    for place, name in enumerate(names):
        x = left + (place + 0.5) * cell
        write(figure, x, top - 10, name, anchor="center", size=11, room=cell)
        number = f"{counts[place].sum():,}"
        write(figure, x, bottom + 16, number, anchor="center", size=SMALL, room=cell)
    marks = ((0.0, "0 %"), (1.0, "100 % of the label"))
    ramp(figure, SEQUENTIAL, (left, bottom + 32, 200, 9), marks)

    more = len(clusters) - len(names)
    unlabelled = int((labels.codes < 0).sum())
    without = int(((clusters.codes < 0) & (labels.codes >= 0)).sum())
    notes = [
        f" {counted(unlabelled, 'row')} without a label left out." if unlabelled else "",
        f" {counted(without, 'labelled row')} in no cluster left out." if without else "",
        f" {counted(more, 'further cluster')} not drawn." if more > 0 else "",
    ]
    among = "" if level == held_out.level else f" “{plain(held_out.level or '')}”"
    caption = (
        f"Where each label “{plain(level)}” lies: per cent of the label's held-out "
        f"rows in each cluster, so that a row adds up to 100 "
        f"({counted(int(totals.sum()), 'labelled row')} among {held_out.extent}). "
        f"Labels are sorted by size, clusters stand in the order of the labels{among} they are "
        f"paired with.{''.join(notes)}"
    )
    return Figure(
        f"clusters-and-{level}", to_svg(figure, "Share of each label by cluster"), caption
    )


# What each cluster is made of

QUANTILES = (0.1, 0.5, 0.9)
PANELS_ABREAST, MOST_PANELS, MOST_PROFILES = 6, 12, 40
PROFILE_ROW, PROFILE_TOP, PROFILE_LEFT, PROFILE_RIGHT = 26.0, 58.0, 118.0, 178.0
KIND_NOTES = {"linear": "", "log": "log scale", "symlog": "signed log scale"}


@dataclass(frozen=True)
class Profile:
    """One cluster: rows, share of all rows, quantiles by input, and its commonest labels.

    ``quantiles`` maps an input to its 10 %, 50 % and 90 % quantiles in original
    units; ``labels`` are (label, share of the labelled rows of the cluster),
    the first one's share being the purity.
    """

    name: str
    colour: str
    rows: int
    share: float
    quantiles: dict[str, Floats]
    labels: tuple[tuple[str, float], ...]


def profiles_of(held_out: HeldOut) -> list[Profile]:
    """Describe every cluster of the held-out rows, in the order of their legend."""
    clusters, labels = held_out.clusters, held_out.every_label
    if clusters is None:
        return []
    shares = None
    if labels is not None:
        overlap = contingency(clusters, labels)
        shares = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    profiles: list[Profile] = []
    for code, name in enumerate(clusters.names):
        rows = clusters.codes == code
        commonest: list[tuple[str, float]] = []
        if shares is not None and labels is not None:
            ranked = np.argsort(-shares[code], kind="stable")[:3]
            commonest = [(labels.names[i], float(shares[code, i])) for i in ranked]
        profiles.append(
            Profile(
                name=name,
                colour=clusters.colours[code],
                rows=int(rows.sum()),
                share=float(rows.sum() / held_out.rows),
                quantiles={
                    column: quantiles_of(values[rows]) for column, values in held_out.inputs.items()
                },
                labels=tuple(entry for entry in commonest if entry[1] > 0),
            )
        )
    return profiles


def quantiles_of(values: Floats) -> Floats:
    """Return the 10 %, 50 % and 90 % quantiles of the finite values, NaN where there are none."""
    finite = values[np.isfinite(values)]
    return np.quantile(finite, QUANTILES) if finite.size else np.full(3, np.nan)


def profiles_section(held_out: HeldOut | None) -> Section:
    """Return cluster profiles as a figure and a table, or say what is missing."""
    anchor, title = "profiles", "Cluster profiles"
    profiles = profiles_of(held_out) if held_out is not None else []
    if held_out is None:
        reason = "No cluster profiles yet: run `variolite score` to cluster the held-out rows."
        return missing(anchor, title, reason)
    if not profiles:
        return missing(
            anchor, title, "No cluster profiles: held_out.parquet has no clusters in it."
        )
    columns = list(held_out.inputs)[:MOST_PANELS]
    shown = profiles[:MOST_PROFILES]
    blocks: list[Block] = [
        _profiles(held_out, shown, columns[start : start + PANELS_ABREAST], start)
        for start in range(0, len(columns), PANELS_ABREAST)
    ]
    if len(profiles) > len(shown) or len(held_out.inputs) > len(columns):
        blocks.append(
            Paragraph(
                f"The figure shows {len(shown)} of {counted(len(profiles), 'cluster')} and "
                f"{len(columns)} of {counted(len(held_out.inputs), 'input')}; the table has all.",
                "remark",
            )
        )
    head = ("cluster", "rows", "share", *map(held_out.title, held_out.inputs), "commonest labels")
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
    table = Fold("Cluster profiles as a table: median (10 % to 90 % quantile)", [Table(head, rows)])
    return Section(anchor, title, [*blocks, table])


def _profiles(held_out: HeldOut, profiles: list[Profile], columns: list[str], start: int) -> Figure:
    gap, top = 21.0, PROFILE_TOP
    height = PROFILE_ROW * len(profiles)
    width = (WIDTH - PROFILE_LEFT - PROFILE_RIGHT) / len(columns) - gap
    right = WIDTH - PROFILE_RIGHT + 4
    figure = new_figure(top + height + 40)
    for index, column in enumerate(columns):
        left = PROFILE_LEFT + index * (width + gap)
        axes = axes_at(figure, left, top, width, height, grid="x")
        _profile_panel(axes, held_out, profiles, column)
        middle = left + width / 2
        named = wrap(plain(column), width + 10, 11, lines=2, bold=True)
        for line, text in enumerate(reversed(named)):
            write(figure, middle, top - 23 - 13 * line, text, size=11, anchor="center", bold=True)
        unit = held_out.units.get(column, "")
        write(figure, middle, top - 8, unit, size=10, colour=MUTED, anchor="center",
              room=width + 12)  # fmt: skip
    write(figure, 16, top - 10, "cluster", bold=True)
    write(figure, PROFILE_LEFT - 16, top - 10, "rows", bold=True, anchor="right")
    if any(profile.labels for profile in profiles):
        write(figure, right, top - 10, "commonest labels", bold=True)
    squares = [(0, top + (place + 0.5) * PROFILE_ROW - 6, 12, 12) for place in range(len(profiles))]
    boxes(figure, squares, [profile.colour for profile in profiles], edge=MUTED)
    for index, profile in enumerate(profiles):
        y = top + (index + 0.5) * PROFILE_ROW
        write(figure, 17, y + 4, profile.name, bold=True)
        rows = f"{profile.rows:,} ({percent(profile.share)})"
        write(figure, PROFILE_LEFT - 16, y + 4, rows, anchor="right", size=SMALL)
        for place, (label, share) in enumerate(profile.labels[:2]):
            text = f"{percent(share)} {label}"
            colour = MUTED if place else INK
            write(figure, right, y - 2 + 12 * place, text, size=SMALL, room=PROFILE_RIGHT - 6,
                  colour=colour)  # fmt: skip
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
    name = "cluster-profiles" if start == 0 else f"cluster-profiles-{start}"
    return Figure(name, to_svg(figure, "Inputs by cluster in original units"), caption)


def _profile_panel(axes: Axes, held_out: HeldOut, profiles: list[Profile], column: str) -> None:
    values = held_out.inputs[column]
    axis = _profile_axis(values, profiles, column)
    axis.on(axes, "x", 3)
    axes.set_ylim(len(profiles) - 0.5, -0.5)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_edgecolor("#dfe1e4")
    axes.set_xlabel(KIND_NOTES[axis.kind])
    low, _, high = quantiles_of(values)
    if np.isfinite(low):
        axes.axvspan(low, high, color=SHADE, linewidth=0, zorder=0.1)
    known = [
        (place, profile, profile.quantiles[column].tolist())
        for place, profile in enumerate(profiles)
        if np.isfinite(profile.quantiles[column]).all()
    ]
    if not known:
        return
    bars = LineCollection(
        [[(q[0], place), (q[2], place)] for place, _, q in known],
        colors=[profile.colour for _, profile, _ in known],
        linewidths=7,
        capstyle="butt",
    )
    title = held_out.title(column)
    tooltip(bars, *(f"{p.name}, {title}: {_range(p.quantiles[column])}" for _, p, _ in known))
    axes.add_collection(bars, autolim=False)
    reach = 7 / PROFILE_ROW
    marks = [[(q[1], place - reach), (q[1], place + reach)] for place, _, q in known]
    for colour, thickness in ((PAPER, 5), (INK, 3)):
        axes.add_collection(
            LineCollection(marks, colors=colour, linewidths=thickness, capstyle="butt"),
            autolim=False,
        )


def _profile_axis(values: Floats, profiles: list[Profile], column: str) -> ValueAxis:
    """Return an axis for the 10 to 90 % ranges of all clusters, of the kind the input asks for."""
    natural = ValueAxis.fitting(values)
    ends = np.array([profile.quantiles[column] for profile in profiles]).ravel()
    ends = ends[np.isfinite(ends)]
    if ends.size == 0:
        return natural
    low, high = float(ends.min()), float(ends.max())
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9) or (natural.kind == "log" and low <= 0):
        return natural
    if natural.kind == "log":
        factor = (high / low) ** 0.05
        low, high = low / factor, high * factor
    elif natural.kind == "linear":
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    else:
        low, high = (
            end + 0.05 * math.copysign(max(abs(end), natural.threshold), end) for end in (low, high)
        )
    return ValueAxis(low, high, natural.kind, natural.threshold)


def _range(quantiles: Floats) -> str:
    low, middle, high = (significant(float(value)) for value in quantiles)
    return f"{middle} ({low} to {high})"


# The latent space as a map

NAME_WIDTH, NAME_HEIGHT, SPREADING_STEPS = 30.0, 13.0, 40


@dataclass(frozen=True)
class Plane:
    """Rows in their first two principal components, [n, 2], and their parts of the variance."""

    scores: Floats
    shares: tuple[float, float]


def principal_plane(latent: Floats) -> Plane | None:
    """Project centred latent means [n, L] on their first two principal components.

    The sign of a component is set so that its largest loading is positive,
    which makes the drawing reproducible. None with fewer than three complete
    rows, fewer than two dimensions or no variance.
    """
    complete = np.isfinite(latent).all(axis=1)
    if complete.sum() < 3 or latent.shape[1] < 2:
        return None
    centred = latent - latent[complete].mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(centred[complete], rowvar=False))
    if variances[-1] <= 0:
        return None
    pair = axes[:, [-1, -2]]
    pair = pair * np.sign(pair[np.abs(pair).argmax(axis=0), [0, 1]])
    shares = np.maximum(variances[[-1, -2]], 0) / np.maximum(variances, 0).sum()
    return Plane(centred @ pair, (float(shares[0]), float(shares[1])))


def latent_section(held_out: HeldOut | None) -> Section:
    """Return the map coloured by cluster and by label, or say what is missing for it."""
    anchor, title = "latent-map", "Latent map"
    if held_out is None:
        reason = "No latent map yet: run `variolite score` to encode the held-out rows."
        return missing(anchor, title, reason)
    plane = principal_plane(held_out.latent) if held_out.latent is not None else None
    if plane is None:
        reason = "No latent map: held_out.parquet has no columns z0, z1 and so on that vary."
        return missing(anchor, title, reason)
    return Section(anchor, title, (_map(held_out, plane),))


def _map(held_out: HeldOut, plane: Plane) -> Figure:
    panels: list[tuple[str, Classes | None]] = [
        (f"by {title}", classes)
        for title, classes in (
            ("cluster", held_out.clusters),
            (f"label “{plain(held_out.level or '')}”", held_out.labels),
        )
        if classes is not None
    ]
    chart = PlaneMap.of(plane.scores)
    labels = [
        f"principal component {number} ({share:.0%} of latent variance)"
        for number, share in enumerate(plane.shares, start=1)
    ]
    figure, axes = latent_map(chart, panels or [("held-out rows", None)], (labels[0], labels[1]))
    if panels and panels[0][1] is not None:
        _map_names(axes[0], chart, panels[0][1])
    shown, outside = len(chart.shown), chart.outside
    left_out = f" {counted(outside, 'outlying row')} beyond the axes." if outside else ""
    of = "" if shown == chart.inside else f" of {chart.inside:,}, drawn at random"
    colours = (
        " Each cluster has the colour of the label it is paired with, one to one; other clusters "
        "have colours of their own."
        if held_out.clusters is not None and held_out.labels is not None
        else ""
    )
    many = any(classes is not None and len(classes) > FIRST_SQUARE for _, classes in panels)
    squares = " Categories beyond the eighth are squares." if many else ""
    caption = (
        "Posterior means of held-out rows in the plane of their first two principal components "
        f"({counted(shown, 'row')}{of}, {counted(held_out.n_groups, held_out.group_noun)}; "
        f"both axes on one scale).{left_out}{colours}{squares}"
    )
    return Figure("latent-map", to_svg(figure, "Latent map of held-out rows"), caption)


def _map_names(axes: Axes, chart: PlaneMap, classes: Classes) -> None:
    """Write each cluster's name near the median of its rows, with a white edge around it."""
    places, codes = chart.scores[chart.shown], classes.codes[chart.shown]
    present = [code for code in range(len(classes)) if (codes == code).any()]
    if not present:
        return
    middles = np.array([np.median(places[codes == code], axis=0) for code in present])
    pixels = axes.transData.transform(middles)
    for _ in range(SPREADING_STEPS):
        pixels = _moved_apart(pixels)
    for code, (x, y) in zip(present, axes.transData.inverted().transform(pixels), strict=True):
        name = axes.text(x, y, classes.names[code], fontweight="bold", ha="center", va="center")
        halo(name)


def _moved_apart(places: Floats) -> Floats:
    """Push names that cover one another half of the way apart, up and down."""
    offset = places[:, None, :] - places[None, :, :]
    covered = (np.abs(offset[..., 0]) < NAME_WIDTH) & (np.abs(offset[..., 1]) < NAME_HEIGHT)
    np.fill_diagonal(covered, False)
    order = np.arange(len(places))
    upward = np.where(offset[..., 1] == 0, np.sign(order[:, None] - order), np.sign(offset[..., 1]))
    push = (covered * upward * (NAME_HEIGHT - np.abs(offset[..., 1]))).sum(axis=1) / 2
    return np.column_stack([places[:, 0], places[:, 1] + np.clip(push, -4, 4)])
