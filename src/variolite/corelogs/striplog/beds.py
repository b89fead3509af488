"""Rows along depth: gaps, beds, and what of them can be seen on paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GAP_STEPS = 3.0
"""A distance of more than this many usual steps between rows is a gap."""


def usual_step(depth: Floats) -> float:
    """Return the median distance between consecutive sorted depths, 0 where there is none."""
    steps = np.diff(depth)
    steps = steps[steps > 0]
    return float(np.median(steps)) if steps.size else 0.0


def gaps(depth: Floats) -> Integers:
    """Return the indices i of sorted depths after which a gap comes, before row i + 1."""
    step = usual_step(depth)
    return np.flatnonzero(np.diff(depth) > GAP_STEPS * step).astype(np.int64)


def row_edges(depth: Floats) -> tuple[Floats, Floats]:
    """Return the top and base of the interval that each row of sorted depths stands for.

    Rows meet half way; beside a gap and at the ends a row reaches half a usual step.
    """
    half = usual_step(depth) / 2
    middles = (depth[1:] + depth[:-1]) / 2
    tops = np.concatenate([depth[:1] - half, middles])
    bases = np.concatenate([middles, depth[-1:] + half])
    after = gaps(depth)
    bases[after] = depth[after] + half
    tops[after + 1] = depth[after + 1] - half
    return tops, bases


def beds_of(
    depth: Floats, codes: Integers, resolution: float = 0.0
) -> tuple[Floats, Floats, Integers]:
    """Merge consecutive rows of equal code into beds, from sorted depths and codes, [n] each.

    Returns tops, bases and codes of the beds, [beds] each.
    Where ``resolution`` is above the usual step, rows are first replaced by the most frequent
    code within each interval of this length.
    """
    if resolution > usual_step(depth) > 0:
        # One row per interval, with the code that most of its rows have.
        interval = np.floor((depth - depth[0]) / resolution)
        intervals, place = np.unique(interval, return_inverse=True)
        kinds, kind = np.unique(codes, return_inverse=True)
        counts = np.zeros((len(intervals), len(kinds)), dtype=np.int64)
        np.add.at(counts, (place, kind), 1)
        depth = depth[0] + (intervals + 0.5) * resolution
        codes = kinds[counts.argmax(axis=1)].astype(np.int64)
    tops, bases = row_edges(depth)
    # A bed begins where the code changes and after every gap; it ends before the next begins.
    starts = np.ones(len(depth), dtype=bool)
    starts[1:] = codes[1:] != codes[:-1]
    starts[gaps(depth) + 1] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(depth)) - 1
    return tops[first], bases[last], codes[first]


def liveliest_window(depth: Floats, codes: Integers, rows: int) -> slice:
    """Return the run of ``rows`` of more sorted rows with the most changes of category.

    Gaps count against a window, as they show nothing; rows without a category do not count.
    """
    before, after = codes[:-1], codes[1:]
    changes = ((before != after) & (before >= 0) & (after >= 0)).astype(np.float64)
    changes[gaps(depth)] = -1.0
    best = int(np.convolve(changes, np.ones(rows - 1), "valid").argmax())
    return slice(best, best + rows)


def thinned(depth: Floats, values: Floats, resolution: float) -> tuple[Floats, Floats]:
    """Return the points of a curve [n] that show at a resolution, NaN between separate parts.

    Of the rows within an interval of ``resolution`` the first, the last, the lowest and the
    highest are kept, so that the drawn line is the same.
    """
    after = gaps(depth)
    depth, values = np.insert(depth, after + 1, np.nan), np.insert(values, after + 1, np.nan)
    finite = np.isfinite(values)
    if resolution <= 0 or 4 * np.ptp(depth[np.isfinite(depth)]) / resolution >= len(depth):
        return depth, np.where(finite, values, np.nan)
    # Equal numbers for rows that share an interval and are not parted by a missing value.
    interval = np.floor(np.nan_to_num(depth) / resolution)
    starts = np.ones(len(depth), dtype=bool)
    starts[1:] = (interval[1:] != interval[:-1]) | (finite[1:] != finite[:-1])
    run = np.cumsum(starts)
    by_value = np.lexsort((values, run))
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(depth)) - 1
    kept = np.unique(np.concatenate([first, last, by_value[first], by_value[last]]))
    return depth[kept], np.where(finite, values, np.nan)[kept]


def means(depth: Floats, values: Floats, resolution: float) -> tuple[Floats, Floats]:
    """Return the means of rows [n], or [n, c], within intervals of ``resolution``, by depth.

    Where rows are further apart than that they come back as they are. NaN counts for nothing.
    """
    if resolution <= usual_step(depth) or len(depth) < 2:
        return depth, values
    interval = np.floor((depth - depth[0]) / resolution)
    first = np.flatnonzero(np.append(True, interval[1:] != interval[:-1]))
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0.0), first, axis=0)
    count = np.add.reduceat(known.astype(np.float64), first, axis=0)
    with np.errstate(invalid="ignore"):
        return depth[0] + (interval[first] + 0.5) * resolution, total / count
