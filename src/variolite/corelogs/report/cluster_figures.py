"""Figures of the clusters: against labels, by input, and in the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from variolite.corelogs.cluster_table import quantiles_of
from variolite.corelogs.held_out_rows import Classes, HeldOut, contingency
from variolite.errors import counted
from variolite.report import style
from variolite.report.clouds import FIRST_SQUARE, PlaneMap, latent_map
from variolite.report.figures import ValueAxis, colour_bar, heat_map, note_over, panels, wrapped
from variolite.report.formatting import percent, plain, significant
from variolite.report.page import (
    Alternatives,
    Block,
    Figure,
    Fold,
    Paragraph,
    Section,
    Table,
    missing,
)
from variolite.report.style import axes_at, new_figure, shorten, to_svg

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
    counts, totals = every[:MOST_CLUSTERS], every.sum(axis=0)
    # [labels, clusters], fractions of each label.
    fractions = (counts / np.maximum(totals, 1)).T
    names = [shorten(name, 36) for name in labels.names]
    left = max(len(name) for name in names) * style.LETTER + 30
    cell = min((style.WIDTH - left - 64) / len(counts), WIDEST_CELL)
    right, bottom = left + cell * len(counts), 44 + CELL_HEIGHT * len(labels)
    figure = new_figure(bottom + 66)
    axes = axes_at(figure, left, 44, right - left, bottom - 44)
    colours = np.where(fractions[..., None] > 0, style.SEQUENTIAL(fractions), 1.0)
    texts = [[percent(f).removesuffix("%") if f > 0 else "" for f in row] for row in fractions]
    heat_map(axes, colours, texts)
    rows, columns = np.arange(len(labels)) + 0.5, np.arange(len(counts)) + 0.5
    axes.set_yticks(rows, names)
    axes.set_xticks(columns, clusters.names[: len(counts)])
    axes.tick_params(pad=10, labeltop=True, labelbottom=False)
    axes.set_title(f"{shorten(plain(level))} (rows) by cluster (columns)", pad=28)
    # The colours that both have on the rest of the page.
    marks: dict[str, Any] = {"marker": "s", "s": 30, "clip_on": False}
    axes.scatter(columns, np.full(len(columns), -0.17), c=clusters.colours[: len(counts)], **marks)
    axes.scatter(np.full(len(rows), -4 / cell), rows, c=labels.colours, **marks)
    edge: dict[str, Any] = {"fontsize": style.SMALL, "va": "center", "color": style.MUTED}
    for row, total in zip(rows, totals, strict=True):
        axes.text(len(counts) + 0.15, row, f"{total:,}", **edge)
    for column, total in zip(columns, counts.sum(axis=1), strict=True):
        text = f"{total:,}" if total < 10_000 else f"{total // 1000:,}k"
        axes.text(column, len(labels) + 0.45, text, ha="center", **edge)
    marks_at = {0.0: "0 %", 1.0: "100 % of the label"}
    colour_bar(figure, style.SEQUENTIAL, (left, bottom + 34, 200, 9), marks_at)

    more = len(clusters) - len(counts)
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
        f"({counted(int(totals.sum()), 'labelled row')} among {held_out.extent}); in grey, the "
        "number of rows. "
        f"Labels are sorted by size, clusters stand in the order of the labels{among} they are "
        f"paired with.{''.join(notes)}"
    )
    drawing = to_svg(figure, f"Fraction of each label {plain(level)} by cluster")
    return Figure(f"clusters-and-{level}", drawing, caption)


# What each cluster is made of

PANELS_ABREAST, MOST_PANELS, MOST_PROFILES = 6, 12, 40
PROFILE_ROW, PROFILE_LEFT, PROFILE_RIGHT = 26.0, 118.0, 178.0
KIND_NOTES = {"linear": "", "log": "log scale", "symlog": "signed log scale"}


@dataclass(frozen=True)
class Profile:
    """One cluster: rows, fraction of all rows, and its commonest labels with their fractions.

    ``quantiles`` maps an input to its 10 %, 50 % and 90 % quantiles in original units.
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
    names = () if labels is None else labels.names
    overlap = np.empty((len(clusters), 0)) if labels is None else contingency(clusters, labels)
    fractions = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    profiles: list[Profile] = []
    for code, name in enumerate(clusters.names):
        rows = clusters.codes == code
        ranked = np.argsort(-fractions[code], kind="stable")[:3]
        commonest = [(names[i], float(fractions[code, i])) for i in ranked if fractions[code, i]]
        quantiles = {
            column: quantiles_of(values[rows]) for column, values in held_out.inputs.items()
        }
        share = float(rows.sum() / held_out.rows)
        colour = clusters.colours[code]
        profiles.append(Profile(name, colour, int(rows.sum()), share, quantiles, tuple(commonest)))
    return profiles


def profiles_section(held_out: HeldOut | None, kept: pl.DataFrame | None = None) -> Section:
    """Return cluster profiles as a figure and a table, or say what is missing.

    ``kept`` is what clusters.csv says of the clusters of the training rows.
    """
    anchor, title = "profiles", "Cluster profiles"
    named = () if kept is None or kept.is_empty() else (_named(kept),)
    if held_out is None:
        reason = "No cluster profiles yet: run `variolite score` to cluster the held-out rows."
        return Section(anchor, title, named) if named else missing(anchor, title, reason)
    profiles = profiles_of(held_out)
    if not profiles:
        reason = "No cluster profiles: held_out.parquet has no clusters in it."
        return missing(anchor, title, reason)
    columns = list(held_out.inputs)[:MOST_PANELS]
    shown = profiles[:MOST_PROFILES]
    blocks: list[Block] = [
        _profiles(held_out, shown, columns[start : start + PANELS_ABREAST], start)
        for start in range(0, len(columns), PANELS_ABREAST)
    ]
    if len(profiles) > len(shown) or len(held_out.inputs) > len(columns):
        remark = (
            f"The figure shows {len(shown)} of {counted(len(profiles), 'cluster')} and "
            f"{len(columns)} of {counted(len(held_out.inputs), 'input')}; the table has all."
        )
        blocks.append(Paragraph(remark, "remark"))
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
    return Section(anchor, title, [*named, *blocks, table])


def _named(kept: pl.DataFrame) -> Table:
    """Name the clusters of the training rows, with their layers and how sure they are."""
    head = ("cluster", "name", "share of training rows", "layers", "mean probability", "labels")
    rows = [
        (
            f"C{row['cluster']}",
            str(row["name"]),
            f"{row['share']:.1%}",
            "" if row["thickness"] is None else significant(float(row["thickness"])),
            "" if row["probability"] is None else f"{row['probability']:.2f}",
            str(row["labels"] or ""),
        )
        for row in kept.iter_rows(named=True)
    ]
    return Table(head, rows)


def _profiles(held_out: HeldOut, profiles: list[Profile], columns: list[str], start: int) -> Figure:
    gap = 21.0
    width = (style.WIDTH - PROFILE_LEFT - PROFILE_RIGHT - gap * (len(columns) - 1)) / len(columns)
    figure, drawn = panels(
        len(columns),
        abreast=len(columns),
        height=PROFILE_ROW * len(profiles),
        left=PROFILE_LEFT,
        right=PROFILE_RIGHT,
        top=60,
        below=42,
        gap=gap,
    )
    for axes, column in zip(drawn, columns, strict=True):
        _profile_panel(axes, held_out, profiles, column)
        unit = shorten(held_out.units.get(column, ""), int((width + 12) / 6))
        axes.set_title(wrapped(plain(column), width + gap), pad=19)
        note_over(axes, unit)
    # The last panel's transform has x in widths of the panel and y in rows.
    last = drawn[-1].get_yaxis_transform()
    for row, profile in enumerate(profiles):
        for place, (label, share) in enumerate(profile.labels[:2]):
            text = shorten(f"{percent(share)} {label}", 25)
            colour, y = (style.MUTED, row + 0.25) if place else (style.INK, row - 0.25)
            look = {"va": "center", "fontsize": style.SMALL, "color": colour}
            drawn[-1].text(1 + 12 / width, y, text, look, transform=last)
    names = [f"{profile.name}: {profile.rows:,} ({percent(profile.share)})" for profile in profiles]
    drawn[0].set_yticks(range(len(profiles)), names)
    labels = (
        f" Right: the commonest labels “{plain(held_out.level)}” with their share of the "
        "cluster's labelled rows."
        if held_out.level
        else ""
    )
    caption = (
        f"Cluster profiles of {held_out.extent}, in original units: median (mark) and 10 to 90 % "
        f"range (bar) of each input by cluster; the grey band is the 10 to 90 % range of all "
        f"rows. Left: the cluster and its number of rows.{labels}"
    )
    name = "cluster-profiles" if start == 0 else f"cluster-profiles-{start}"
    return Figure(name, to_svg(figure, f"Inputs {start + 1} and on by cluster"), caption)


def _profile_panel(axes: Axes, held_out: HeldOut, profiles: list[Profile], column: str) -> None:
    values = held_out.inputs[column]
    axis = ValueAxis.fitting(values)
    axis.on(axes, "x", 3)
    axes.set(ylim=(len(profiles) - 0.5, -0.5), yticks=[], xlabel=KIND_NOTES[axis.kind])
    axes.tick_params(axis="y", length=0, pad=14)
    axes.grid(axis="x")
    axes.spines["left"].set_edgecolor(style.FAINT)
    low, _, high = quantiles_of(values)
    if np.isfinite(low):
        axes.axvspan(low, high, color=style.SHADE, linewidth=0, zorder=0.1)
    lows, middles, highs = np.array([profile.quantiles[column] for profile in profiles]).T
    rows = np.arange(len(profiles))
    axes.hlines(rows, lows, highs, colors=[profile.colour for profile in profiles], linewidth=7)
    # The white edge keeps the mark apart from a dark bar.
    for colour, thickness in ((style.PAPER, 5), (style.INK, 3)):
        axes.vlines(middles, rows - 0.27, rows + 0.27, colors=colour, linewidth=thickness)
    axes.autoscale(axis="x")


def _range(quantiles: Floats) -> str:
    low, middle, high = (significant(float(value)) for value in quantiles)
    return f"{middle} ({low} to {high})"


# The latent space as a map


def principal_plane(latent: Floats) -> tuple[Floats, Floats] | None:
    """Project latent means [n, L] on their first two principal components.

    Returns the components, [n, 2], NaN for incomplete rows, and their fractions of the variance,
    [2]. None with fewer than three complete rows, fewer than two dimensions or no variance.
    """
    complete = np.isfinite(latent).all(axis=1)
    if complete.sum() < 3 or latent.shape[1] < 2:
        return None
    # Not by scikit-learn, which takes longer to load than the page to draw.
    centred = latent - latent[complete].mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(centred[complete], rowvar=False))
    if variances[-1] <= 0:
        return None
    # The largest loading of a component is positive, so that the drawing is always the same.
    pair = axes[:, [-1, -2]]
    pair = pair * np.sign(pair[np.abs(pair).argmax(axis=0), [0, 1]])
    return centred @ pair, np.maximum(variances[[-1, -2]], 0) / np.maximum(variances, 0).sum()


def latent_section(held_out: HeldOut | None) -> Section:
    """Return the map coloured by cluster and by label, or say what is missing for it."""
    anchor, title = "latent-map", "Latent map"
    if held_out is None:
        reason = "No latent map yet: run `variolite score` to encode the held-out rows."
        return missing(anchor, title, reason)
    plane = None if held_out.latent is None else principal_plane(held_out.latent)
    if plane is None:
        reason = "No latent map: held_out.parquet has no columns z0, z1 and so on that vary."
        return missing(anchor, title, reason)
    return Section(anchor, title, (_map(held_out, *plane),))


def _map(held_out: HeldOut, scores: Floats, fractions: Floats) -> Figure:
    colourings: list[tuple[str, Classes | None]] = [
        (f"by {title}", classes)
        for title, classes in (
            ("cluster", held_out.clusters),
            (f"label “{shorten(plain(held_out.level or ''))}”", held_out.labels),
        )
        if classes is not None
    ]
    chart = PlaneMap.of(scores)
    labels = [
        f"principal component {number} ({share:.0%} of latent variance)"
        for number, share in enumerate(fractions, start=1)
    ]
    figure, axes = latent_map(
        chart, colourings or [("held-out rows", None)], (labels[0], labels[1])
    )
    if held_out.clusters is not None:
        _map_names(axes[0], chart, held_out.clusters)
    shown, outside = len(chart.shown), chart.outside
    left_out = f" {counted(outside, 'outlying row')} beyond the axes." if outside else ""
    of = "" if shown == chart.inside else f" of {chart.inside:,}, drawn at random"
    colours = (
        " Each cluster has the colour of the label it is paired with, one to one; other clusters "
        "have colours of their own."
        if held_out.clusters is not None and held_out.labels is not None
        else ""
    )
    many = any(classes is not None and len(classes) > FIRST_SQUARE for _, classes in colourings)
    squares = " Categories beyond the eighth are squares." if many else ""
    caption = (
        "Posterior means of held-out rows in the plane of their first two principal components "
        f"({counted(shown, 'row')}{of}, {counted(held_out.n_groups, held_out.group_noun)}; "
        f"both axes on one scale).{left_out}{colours}{squares}"
    )
    return Figure("latent-map", to_svg(figure, "Latent map of held-out rows"), caption)


def _map_names(axes: Axes, chart: PlaneMap, classes: Classes) -> None:
    """Write each cluster's name near the median of its rows, lower where another stands."""
    places, codes = chart.scores[chart.shown], classes.codes[chart.shown]
    line, letter = np.ptp(chart.limits, axis=1)[::-1] / axes.bbox.size[::-1] * (16, 32)
    taken: list[tuple[float, float]] = []
    for code in np.unique(codes[codes >= 0]).tolist():
        x, y = np.median(places[codes == code], axis=0)
        while any(abs(x - u) < letter and abs(y - v) < line for u, v in taken):
            y -= line / 4
        taken.append((x, y))
        box = {"facecolor": style.PAPER, "alpha": 0.7, "linewidth": 0, "pad": 1}
        name = classes.names[code]
        axes.text(x, y, name, fontweight="bold", ha="center", va="center", bbox=box)
