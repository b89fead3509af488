"""Many small assignment problems at once."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORBIDDEN", "assign"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Cost of a pair that must not be chosen; large, but finite, since the solver needs numbers.
FORBIDDEN = 1e20
_LISTED = 4


def assign(costs: Floats) -> Integers:
    """Assign rows to columns at least cost, for a stack of square problems.

    Parameters
    ----------
    costs
        Costs, shape (K, n, n); :data:`FORBIDDEN` where a pair must not be chosen.

    Returns
    -------
    NDArray
        Column of every row, shape (K, n). A forbidden pair is chosen only where there is
        no way without one.

    Notes
    -----
    Up to four rows all permutations are compared; beyond, a problem whose row minima lie in
    different columns is solved by them, and only the rest goes to scipy's solver.
    """
    _, size, _ = costs.shape
    if size == 1:
        return np.zeros(costs.shape[:2], dtype=np.int64)
    if size <= _LISTED:
        orders = _permutations(size)
        totals = costs[:, np.arange(size), orders].sum(axis=-1)
        chosen: Integers = orders[totals.argmin(axis=1)]
        return chosen
    # Imported late: scipy's optimisers take long to import.
    from scipy.optimize import linear_sum_assignment

    columns: Integers = costs.argmin(axis=2)
    taken = np.zeros(columns.shape, dtype=bool)
    np.put_along_axis(taken, columns, True, axis=1)
    for place in np.flatnonzero(~taken.all(axis=1)):
        columns[place] = linear_sum_assignment(costs[place])[1]
    return columns


@cache
def _permutations(size: int) -> Integers:
    return np.array(list(permutations(range(size))), dtype=np.int64)
