"""Rows along depth: where sequences begin, where layers do, and how thick layers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.records.context import runs
from variolite.scoring.intervals import FloatArray, IntArray


@dataclass(frozen=True)
class Sequences:
    """Rows of a table sorted by group and depth.

    ``rows`` [n] are positions in the table. In that order ``group_start`` [n] marks the first row
    of a group; ``start`` [n] also the first after a gap in depth, and rows without a depth;
    ``step`` [n] is the way to the row above, NaN where there is none.
    """

    rows: IntArray
    group_start: NDArray[np.bool_]
    start: NDArray[np.bool_]
    step: FloatArray

    @classmethod
    def of(cls, groups: ArrayLike, order: ArrayLike | None = None) -> Sequences:
        """Sort rows by group [n], and in it by ``order`` [n] or as they come."""
        names = np.asarray(groups)
        depth = np.arange(len(names), dtype=float) if order is None else np.asarray(order, float)
        rows, run = runs(names, depth)  # rows without a depth come last in their group
        start = np.diff(run, prepend=-1) != 0
        group_start = np.ones(len(rows), bool)
        group_start[1:] = names[rows[1:]] != names[rows[:-1]]
        step = np.diff(depth[rows], prepend=np.nan)
        return cls(rows, group_start, start, np.where(group_start, np.nan, step))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> IntArray:
        """Number of rows of every sequence."""
        return np.diff(np.append(np.flatnonzero(self.start), len(self)))

    def thinned(self, every: int) -> Sequences:
        """Return every n-th row of each sequence, the first one always."""
        number = np.cumsum(self.start) - 1
        within = np.arange(len(self)) - np.flatnonzero(self.start)[number]
        kept = within % every == 0
        return Sequences(self.rows[kept], self.group_start[kept], self.start[kept], self.step[kept])

    def boundaries(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Mark the first row of every layer, a run of equal ``values`` [n] in a group, [n]."""
        sorted_values = np.asarray(values)[self.rows]
        new = self.group_start.copy()
        new[1:] |= sorted_values[1:] != sorted_values[:-1]
        found = np.empty(len(new), bool)
        found[self.rows] = new
        return found
