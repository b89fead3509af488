"""Logs of whole wells, freed in three ways of what differs between wells, with their context.

Instruments, calibration and mud shift the logs of a well; so do the rocks it meets. No single
correction separates the two, so that three are made and their results averaged: half of the
well's median; a quarter of the median with a quarter of a slow trend along depth; and the shift
that a mixture of all wells infers, which drifts along depth. Where wells differ in their rocks
rather than in their tools, nothing is taken out, and the logs as they are are the only view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.records.context import running
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences

# Share of the well's median, of its slow trend and of its inferred shift that is subtracted.
CORRECTIONS = ((0.5, 0.0, 0.0), (0.25, 0.25, 0.0), (0.0, 0.0, 1.0))
WINDOWS = (5, 21, 81)  # rows
TREND = 1_501  # rows
_LEAST_DEVIATION = 0.05  # added before the logarithm, in standard deviations of a log


@dataclass(frozen=True)
class Wells:
    """Logs [n, d] of whole wells without gaps, sorted by well and depth.

    ``shifts`` [n, d] are those that a mixture of all wells infers for the well of each row, None
    where nothing is to be taken out.
    ``first`` and ``end`` [n] bound the rows of each row's well; ``place`` [n] is where a row
    stood before sorting. ``depth`` [n] is the order of rows; without one there is no context.
    """

    values: FloatArray
    shifts: FloatArray | None
    groups: NDArray[np.str_]
    first: IntArray
    end: IntArray
    place: IntArray
    depth: FloatArray | None

    @classmethod
    def of(
        cls,
        values: FloatArray,
        shifts: FloatArray | None,
        groups: NDArray[np.str_],
        order: NDArray[np.float64] | None,
    ) -> Wells:
        """Sort rows; those without a depth come last in their well."""
        codes = np.unique(groups, return_inverse=True)[1]
        keys = (codes,) if order is None else (order, codes)
        place = np.lexsort(keys)
        codes = codes[place]
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        ends = np.r_[starts[1:], len(codes)]
        lengths = ends - starts
        first, end = np.repeat(starts, lengths), np.repeat(ends, lengths)
        depth = None if order is None else order[place]
        shifts = None if shifts is None else shifts[place]
        return cls(values[place], shifts, groups[place], first, end, place, depth)

    @property
    def along(self) -> Sequences:
        """Rows along depth; without one, each by itself."""
        if self.depth is None:
            return Sequences.of(np.arange(len(self.values)))
        return Sequences.of(self.first, self.depth)

    def medians(self) -> FloatArray:
        """Median of each log in the well of every row, [n, d]."""
        starts = np.unique(self.first)
        ends = self.end[starts]
        found = [np.median(self.values[a:b], axis=0) for a, b in zip(starts, ends, strict=True)]
        return np.repeat(np.reshape(found, (-1, self.values.shape[1])), ends - starts, axis=0)

    @cached_property
    def views(self) -> list[tuple[FloatArray, FloatArray]]:
        """Logs less each correction, [n, d], and their context, [n, c]."""
        return [(values, self.context(values)) for values in self.corrected()]

    def corrected(self) -> list[FloatArray]:
        """Return the logs less each of the three corrections, or as they are, [n, d] each."""
        if (shifts := self.shifts) is None:
            return [self.values]
        medians = self.medians()
        trend = medians
        if self.depth is not None:
            trend = running(self.values, self.first, (TREND,))[0][0]
        return [self.values - (a * medians + b * trend + c * shifts) for a, b, c in CORRECTIONS]

    def context(self, values: FloatArray) -> FloatArray:
        """Return what surrounds each row: [n, 5 d], or [n, 0] without an order.

        The mean over 21 less that over 81 rows, the mean over 81, and the logarithms of the
        deviations over 5, 21 and 81.
        """
        if self.depth is None:
            return np.empty((len(values), 0))
        means, deviations = running(values, self.first, WINDOWS)
        logarithms = np.log(deviations + _LEAST_DEVIATION)
        return np.hstack([means[1] - means[2], means[2], *logarithms])
