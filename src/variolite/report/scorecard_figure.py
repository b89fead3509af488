"""Scores with intervals, the VAE and its baselines side by side, one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence

from variolite.report.axes import SIZE, WIDTH, Frame, sheet
from variolite.report.blocks import Figure
from variolite.report.headline import Setup, comparable_rows
from variolite.report.lettering import plain, text_width
from variolite.report.markup import Markup
from variolite.report.whiskers import Whisker, labels_left, whisker_panel
from variolite.report.wording import (
    algorithm_name,
    interval_wording,
    is_derived,
    method_colour,
    method_name,
    metric_of,
    with_interval,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["summary_figure"]

Key = tuple[str, str | None, int | None]
"""Method, algorithm and k: one row of the figure."""

_METHOD_ORDER = ("vae", "pca_whitened", "raw", "autoencoder", "supervised")
_BETTER = {True: "higher is better", False: "lower is better", None: ""}
PANELS_ABREAST = 3
MAX_PANELS = 6
MAX_ROWS = 24
ROW = 23.0
TOP = 26.0
BELOW = 72.0
GAP = 26.0


def summary_figure(scorecard: Scorecard, setup: Setup) -> Figure:
    """Draw every method under one set-up: a row per method and algorithm, a panel per metric."""
    rows = comparable_rows(scorecard, setup, any_algorithm=True)
    scored = dict.fromkeys(row.metric for row in rows if row.method == "vae")
    metrics = [metric for metric in scored if not is_derived(metric)][:MAX_PANELS]
    lookup = {(row.method, row.algorithm, row.k, row.metric): row for row in rows}
    keys = sorted(
        {(row.method, row.algorithm, row.k) for row in rows}, key=lambda key: _rank(key, setup)
    )[:MAX_ROWS]
    names = [_name(key, show_k=setup.rule != "fixed") for key in keys]
    room = min(max(text_width(name, SIZE, bold=True) for name in names) + 4, 270)
    abreast = min(PANELS_ABREAST, len(metrics))
    width = (WIDTH - room - 24 - GAP * (abreast - 1)) / abreast
    height = ROW * len(keys)
    drawn: list[Markup] = []
    for index, metric in enumerate(metrics):
        column, tier = index % abreast, index // abreast
        frame = Frame(
            room + 14 + column * (width + GAP), TOP + tier * (height + BELOW), width, height
        )
        whiskers = [
            _whisker(lookup.get((*key, metric)), name, strong=_is_main(key, setup))
            for key, name in zip(keys, names, strict=True)
        ]
        wording = metric_of(metric)
        axis = ", ".join(
            part for part in (wording.short, _BETTER[wording.higher_is_better]) if part
        )
        drawn.append(whisker_panel(whiskers, frame, wording.title, axis))
        if column == 0:
            lettered = [(name, _is_main(key, setup)) for key, name in zip(keys, names, strict=True)]
            drawn.append(labels_left(lettered, frame, room))
    tiers = -(-len(metrics) // abreast)
    drawing = sheet(
        TOP + tiers * (height + BELOW) - 32, *drawn, title="Scores with intervals, by method"
    )
    return Figure("scorecard", drawing, _caption(rows, setup))


def _caption(rows: Sequence[ScoreRow], setup: Setup) -> str:
    level = f" with the label “{plain(setup.level)}”" if setup.level else ""
    parts = [f"split: {setup.split}", f"fit: {setup.fit or 'not named'}"]
    supervised = any(row.method == "supervised" for row in rows)
    hollow = " Hollow: the supervised reference, which learned from labels." if supervised else ""
    return (
        f"Agreement of the clusters{level} ({', '.join(parts)}). "
        f"{interval_wording(rows)} Bold: the set-up this page is about, "
        f"VAE with {setup.describe()}; its interval is shaded.{hollow}"
    )


def _rank(key: Key, setup: Setup) -> tuple[bool, bool, str, int, str, int]:
    """Sort the main algorithm first, in it the VAE first, and the supervised reference last."""
    method, algorithm, k = key
    place = _METHOD_ORDER.index(method) if method in _METHOD_ORDER else len(_METHOD_ORDER)
    supervised = method == "supervised"
    other = not supervised and algorithm != setup.algorithm
    return supervised, other, algorithm or "", place, method, k or 0


def _is_main(key: Key, setup: Setup) -> bool:
    return key == ("vae", setup.algorithm, setup.k)


def _name(key: Key, *, show_k: bool) -> str:
    method, algorithm, k = key
    name = method_name(method)
    if algorithm:
        name += f", {algorithm_name(algorithm)}"
    return f"{name} (k = {k})" if show_k and k is not None else name


def _whisker(row: ScoreRow | None, name: str, *, strong: bool) -> Whisker | None:
    if row is None:
        return None
    return Whisker(
        mean=row.mean,
        low=row.low,
        high=row.high,
        colour=method_colour(row.method),
        note=f"{name}: {metric_of(row.metric).short} {with_interval(row)}",
        hollow=row.method == "supervised",
        strong=strong,
    )
