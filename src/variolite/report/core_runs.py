"""Depth series cut at gaps, thinned for drawing, and merged into beds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Beds", "beds_of", "gaps", "liveliest_window", "row_edges", "thinned", "usual_step"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GAP_STEPS = 3.0
"""A distance of more than this many usual steps between rows is a gap."""


@dataclass(frozen=True)
class Beds:
    """Intervals of one category: tops and bases in depth, codes of the category."""

    tops: Floats
    bases: Floats
    codes: Integers


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

    Rows meet half way; beside a gap and at the ends a row reaches half a usual
    step.
    """
    half = usual_step(depth) / 2
    middles = (depth[1:] + depth[:-1]) / 2
    tops = np.concatenate([depth[:1] - half, middles])
    bases = np.concatenate([middles, depth[-1:] + half])
    after = gaps(depth)
    bases[after] = depth[after] + half
    tops[after + 1] = depth[after + 1] - half
    return tops, bases


def beds_of(depth: Floats, codes: Integers, resolution: float = 0.0) -> Beds:
    """Merge consecutive rows of equal code into beds.

    Parameters
    ----------
    depth
        [n] sorted depths.
    codes
        [n] category codes.
    resolution
        Where above the usual step, rows are first replaced by the most
        frequent code within each interval of this length.
    """
    if len(depth) == 0:
        empty = np.empty(0)
        return Beds(empty, empty, np.empty(0, dtype=np.int64))
    if resolution > usual_step(depth) > 0:
        depth, codes = _majority(depth, codes, resolution)
    tops, bases = row_edges(depth)
    starts = np.ones(len(depth), dtype=bool)
    starts[1:] = codes[1:] != codes[:-1]
    starts[gaps(depth) + 1] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(depth)) - 1
    return Beds(tops[first], bases[last], codes[first])


def thinned(depth: Floats, values: Floats, buckets: int) -> tuple[Floats, Floats]:
    """Keep the least and the greatest value of each depth interval, in depth order.

    A NaN stands between parts that a gap separates, so that a line drawn
    through the result is lifted there. Nothing is left out where there are no
    more than two rows per bucket.
    """
    cut = gaps(depth)
    if len(depth) > 2 * buckets:
        bucket = _bucket(depth, (depth[-1] - depth[0]) / buckets)
        finite = np.isfinite(values)
        order = np.lexsort((values, ~finite, bucket))
        edges = np.flatnonzero(np.diff(bucket[order])) + 1
        firsts = np.concatenate([[0], edges])
        sizes = np.diff(np.append(firsts, len(depth)))
        valid = np.add.reduceat(finite[order].astype(np.int64), firsts)
        lowest = order[firsts]
        highest = order[firsts + np.maximum(np.minimum(valid, sizes) - 1, 0)]
        kept = np.unique(np.concatenate([lowest, highest]))
    else:
        kept = np.arange(len(depth))
    breaks = np.searchsorted(kept, cut, side="right")
    breaks = np.unique(breaks[(breaks > 0) & (breaks < len(kept))])
    return np.insert(depth[kept], breaks, np.nan), np.insert(values[kept], breaks, np.nan)


def liveliest_window(depth: Floats, codes: Integers, rows: int) -> slice:
    """Return the run of ``rows`` sorted rows with the most categories, then the most changes.

    Changes across a gap count against a window, as they show nothing.
    """
    if len(depth) <= rows:
        return slice(0, len(depth))
    changes = np.concatenate([[0], (codes[1:] != codes[:-1]).astype(np.int64)])
    broken = np.zeros(len(depth), dtype=np.int64)
    broken[gaps(depth) + 1] = 1
    best, best_score = 0, (-1.0, 0)
    for start in range(0, len(depth) - rows + 1, max(rows // 10, 1)):
        window = slice(start, start + rows)
        present, counts = np.unique(codes[window][codes[window] >= 0], return_counts=True)
        kinds = int((counts >= 0.02 * rows).sum()) if len(present) else 0
        score = (kinds - 0.5 * float(broken[window].sum()), int(changes[window].sum()))
        if score > best_score:
            best, best_score = start, score
    return slice(best, best + rows)


def _bucket(depth: Floats, length: float) -> Integers:
    bucket: Integers = np.floor((depth - depth[0]) / length).astype(np.int64)
    return bucket


def _majority(depth: Floats, codes: Integers, length: float) -> tuple[Floats, Integers]:
    buckets, bucket = np.unique(_bucket(depth, length), return_inverse=True)
    kinds, kind = np.unique(codes, return_inverse=True)
    counts = np.zeros((len(buckets), len(kinds)), dtype=np.int64)
    np.add.at(counts, (bucket, kind), 1)
    return depth[0] + (buckets + 0.5) * length, kinds[counts.argmax(axis=1)].astype(np.int64)
