"""Whether inputs are missing at random, or where the rock is of a certain kind."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records import FittedSchema, Records
from variolite.scoring.clustering import draw

ROWS = 30_000  # that are looked at
FEWEST = 0.01  # share of the rows that must have a gap, lack it, or have a label, ...
FEWEST_ROWS = 50  # ... and their number
GROUPS = 3  # that must have rows with a gap, and without: one hole alone proves nothing
ASSOCIATED = 0.3  # Cramér's V of label and gap above which they go together
LARGER = 0.7  # probability that another input is larger (or smaller) at a gap; 0.5 for no relation


def absence_lines(records: Records, schema: FittedSchema) -> list[str]:
    """Say of which inputs the absence goes with a label, or with another input, and how far."""
    part = records.take(draw(np.random.default_rng(0), len(records), ROWS))
    group = np.arange(len(part)) if part.group is None else part.group
    headers = [str(schema.schema.columns[name].source) for name in schema.numeric_names]
    lines = []
    for i, header in enumerate(headers):
        gap = ~part.observed[:, i]
        if min(gap.sum(), (~gap).sum()) < max(FEWEST * len(gap), FEWEST_ROWS):
            continue
        if min(len(np.unique(group[gap])), len(np.unique(group[~gap]))) < GROUPS:
            continue
        found = [_by_label(gap, labels) for labels in part.labels.values()]
        found.append(_by_input(gap, part, headers))
        if how := "; ".join(filter(None, found)):
            start = f"{header} is missing in {gap.mean():.0%} of the rows, and not at random"
            lines.append(f"{start}: {how}")
    return lines


def _by_label(gap: NDArray[np.bool_], labels: NDArray[np.str_]) -> str | None:
    """Say in which labels [n] gaps [n] are commonest and rarest; None if they hardly differ."""
    known = labels != ""
    frame = pl.DataFrame({"label": labels[known], "gap": gap[known]})
    shares = frame.group_by("label").agg(pl.col("gap").mean(), n=pl.len())
    least = max(FEWEST * len(frame), FEWEST_ROWS)
    shares = shares.filter(pl.col("n") >= least).sort("gap", "label")
    if len(shares) < 2:
        return None
    share, rows = shares["gap"].to_numpy(), shares["n"].to_numpy()
    mean = np.average(share, weights=rows)
    variance = mean * (1.0 - mean)
    # Of a table with two columns the square of Cramér's V is chi-square over rows.
    if np.average((share - mean) ** 2, weights=rows) <= ASSOCIATED**2 * variance:
        return None
    names = shares["label"].to_list()
    return f"in {share[-1]:.0%} of {names[-1]} and {share[0]:.0%} of {names[0]}"


def _by_input(gap: NDArray[np.bool_], part: Records, headers: list[str]) -> str | None:
    """Say which other input differs most between rows with and without a gap; None if none."""
    from scipy.stats import rankdata

    best = 0.5, ""
    for i, header in enumerate(headers):
        seen = part.observed[:, i]
        with_gap, without = int(gap[seen].sum()), int((~gap[seen]).sum())
        if min(with_gap, without) < max(FEWEST * len(gap), FEWEST_ROWS):
            continue
        ranks = rankdata(part.numeric[seen, i])[gap[seen]].sum()
        larger = (ranks - with_gap * (with_gap + 1) / 2) / (with_gap * without)  # Mann-Whitney
        if abs(larger - 0.5) > abs(best[0] - 0.5):
            best = larger, header
    larger, header = best
    if abs(larger - 0.5) < LARGER - 0.5:
        return None
    size, share = ("larger", larger) if larger > 0.5 else ("smaller", 1.0 - larger)
    return f"{header} is {size} there than elsewhere with probability {share:.2f}"
