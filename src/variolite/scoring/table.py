"""The scorecard as a plain-text table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["format_scorecard", "format_value"]

_METRICS = ("ari", "ami", "accuracy", "r2", "rmse", "mae", "log_likelihood")


def format_value(mean: float, low: float, high: float) -> str:
    """Write a value with its interval, e.g. ``0.212 [0.185, 0.240]``.

    Without an interval the value stands alone; an undefined value is a dash.
    """
    if not math.isfinite(mean):
        return "-"
    digits = _digits(mean)
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def format_scorecard(card: Scorecard, *, metrics: Sequence[str] = _METRICS) -> str:
    """Lay out a card as text: one line per thing scored, one column per metric.

    Parameters
    ----------
    card
        The scorecard.
    metrics
        Metrics to show, in this order; those without a row are left out. A task
        that has none of them shows all of its own.

    Returns
    -------
    str
        One block per task, notes at the end; lines are not wrapped.
    """
    blocks = []
    for task in dict.fromkeys(row.task for row in card.rows):
        rows = [row for row in card.rows if row.task == task]
        names = {row.metric for row in rows}
        shown = [metric for metric in metrics if metric in names]
        if task == "paired":
            shown = [name for metric in shown for name in (metric, f"{metric}_p") if name in names]
        shown = shown or list(dict.fromkeys(row.metric for row in rows))
        lines = _lines(rows, shown)
        groups = max(row.n_groups for row in rows)
        seeds = max(row.seeds for row in rows)
        title = f"{task} ({groups} held-out groups, {seeds} seeds; intervals over both)"
        blocks.append("\n".join([title, *lines]))
    if card.notes:
        blocks.append("\n".join(["notes", *(f"  {note}" for note in card.notes)]))
    return "\n\n".join(blocks)


def _lines(rows: Sequence[ScoreRow], shown: Sequence[str]) -> list[str]:
    table: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        value = format_value(row.mean, row.low, row.high)
        table.setdefault(_what(row), {})[row.metric] = value
    heads = ("method", "algorithm", "level", "k", "feature")
    cells = [
        [*what, *(values.get(metric, "") for metric in shown)]
        for what, values in table.items()
        if any(metric in values for metric in shown)
    ]
    columns = [
        [head, *column]
        for head, column in zip((*heads, *shown), zip(*cells, strict=True), strict=True)
    ]
    kept = [column for column in columns if any(column[1:])]
    widths = [max(len(cell) for cell in column) for column in kept]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*kept, strict=True)
    ]


def _what(row: ScoreRow) -> tuple[str, ...]:
    k = "" if row.k is None else str(row.k)
    chosen = row.rule if row.rule not in (None, "fixed") else None
    unit = f" ({row.unit})" if row.unit and row.feature else ""
    algorithm = row.algorithm or ""
    if row.fit == "transductive":
        algorithm += " (transductive)"
    return (
        row.method,
        algorithm,
        row.level or "",
        f"{k} by {chosen}".strip() if chosen else k,
        f"{row.feature or ''}{unit}",
    )


def _digits(mean: float) -> int:
    size = abs(mean)
    return 3 if size < 10 else 2 if size < 100 else 1
