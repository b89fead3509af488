"""R² of every input with its interval, the model and its baselines side by side."""

from __future__ import annotations

from collections.abc import Sequence

from variolite.report.axes import SIZE, WIDTH, Frame, letters, sheet, swatches
from variolite.report.blocks import Figure
from variolite.report.lettering import plain, text_width
from variolite.report.markup import join
from variolite.report.whiskers import Whisker, whisker_panel
from variolite.report.wording import (
    interval_wording,
    method_colour,
    method_name,
    with_interval,
)
from variolite.scoring.scorecard import ScoreRow

__all__ = ["reconstruction_scores"]

METRIC = "r2"
ROW = 15.0
TOP = 26.0
MOST_INPUTS = 24


def reconstruction_scores(rows: Sequence[ScoreRow]) -> Figure | None:
    """Draw R² by input and method; None where the scorecard has none."""
    chosen = [row for row in rows if row.metric == METRIC and row.feature]
    inputs = list(dict.fromkeys(row.feature or "" for row in chosen))[:MOST_INPUTS]
    if not inputs:
        return None
    methods = list(dict.fromkeys(row.method for row in chosen))
    lookup = {(row.feature, row.method): row for row in chosen}
    # An empty row above, below and between inputs keeps them apart.
    whiskers: list[Whisker | None] = [None]
    for feature in inputs:
        whiskers += [_whisker(lookup.get((feature, method))) for method in methods]
        whiskers.append(None)
    room = min(max(text_width(plain(name), SIZE) for name in inputs) + 4, 270)
    frame = Frame(room + 14, TOP, min(WIDTH - room - 24, 520), ROW * len(whiskers))
    names = [
        letters(
            frame.left - 10,
            TOP + ROW * (1 + index * (len(methods) + 1) + len(methods) / 2) + 4,
            plain(feature),
            anchor="end",
            room=room,
        )
        for index, feature in enumerate(inputs)
    ]
    legend, depth = swatches(
        [(method_name(method), method_colour(method)) for method in methods],
        frame.left,
        frame.bottom + 46,
        frame.width,
    )
    drawing = join(
        (
            whisker_panel(whiskers, frame, "reconstruction of each input", "R², 1 at best"),
            *names,
            legend,
        )
    )
    caption = (
        "R² of the reconstruction of each input on held-out groups, in original units: share of "
        "the squared deviation from the mean that the reconstruction explains, below 0 where the "
        f"mean would do better. {interval_wording(chosen)}"
    )
    title = "R² of the reconstruction by input"
    return Figure(
        "reconstruction-scores", sheet(frame.bottom + 52 + depth, drawing, title=title), caption
    )


def _whisker(row: ScoreRow | None) -> Whisker | None:
    if row is None:
        return None
    return Whisker(
        mean=row.mean,
        low=row.low,
        high=row.high,
        colour=method_colour(row.method),
        note=f"{plain(row.feature or '')}, {method_name(row.method)}: R² {with_interval(row)}",
    )
