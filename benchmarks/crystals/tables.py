"""What pages on crystals share: values of every crystal, intervals, rows of scorecards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from benchmarks.crystals.paired import Difference

from variolite.scoring import ScoreRow

Result = Mapping[str, Any]
"""What a run left."""


def values_of(results: Sequence[Result], score: str) -> list[np.ndarray]:
    """Values of every crystal, one array for each seed; what cannot be compared is infinite."""
    return [
        np.array([or_infinite(v) for v in result["crystals"][score]], dtype=float)
        for result in results
    ]


def or_infinite(value: float | None) -> float:
    """JSON has no infinity: a failure is null there."""
    return float("inf") if value is None else value


def with_interval(found: Difference, factor: float, *, brackets: bool) -> str:
    """Write a figure; a factor of 100 makes percents of shares."""
    digits = 1 if factor == 100.0 else 3
    unit = " %" if factor == 100.0 else ""
    text = f"{factor * found.mean:.{digits}f}{unit}"
    if brackets:
        text += f" [{factor * found.low:.{digits}f}, {factor * found.high:.{digits}f}]"
    return text


def values_of_rows(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """What a table shows of the rows of a scorecard."""
    names = ("method", "metric", "unit", "mean", "low", "high")
    return [{name: getattr(row, name) for name in names} for row in rows]
