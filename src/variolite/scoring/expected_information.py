"""Mutual information expected by chance, for the adjusted mutual information.

Under random labellings with fixed class sizes, a cell of the contingency table
is hypergeometric (N. X. Vinh, J. Epps, J. Bailey, JMLR 11 (2010) 2837, eq. 24a).
The sum over a cell's values is restricted to where the distribution is not
negligible. Where the distribution is wide, the sum is taken on a coarser grid:
for a smooth bell-shaped summand the trapezoid rule with a step below one
standard deviation differs from the full sum by less than rounding.
"""

from __future__ import annotations

import numpy as np

from variolite.scoring.arrays import FloatArray

__all__ = ["expected_mutual_information"]

# Steps of 0.75 sd err by about exp(-2 pi^2 / 0.75^2) = 6e-16, relatively. Beyond 11 sd the
# support reaches further than the sum in both directions, so its edges play no part.
_WIDE = 11.0
_STEP = 0.75
_BLOCK = 1 << 18


def expected_mutual_information(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Expected mutual information in nats of tables with the given margins.

    Parameters
    ----------
    rows
        Row sums [..., K], whole numbers.
    columns
        Column sums [..., C] with the same totals and leading axes.

    Returns
    -------
    ndarray
        Expectation [...]; 0 for an empty table.
    """
    total = rows.sum(axis=-1)
    n, a, b = np.broadcast_arrays(total[..., None, None], rows[..., :, None], columns[..., None, :])
    used = (a > 0) & (b > 0)
    values = np.zeros(n.shape)
    values[used] = _cells(a[used], b[used], n[used])
    return np.asarray(values.sum(axis=(-2, -1)))


def _cells(a: FloatArray, b: FloatArray, n: FloatArray) -> FloatArray:
    """E[x / n log(n x / (a b))] for hypergeometric x with margins a, b of n, each [cells]."""
    values = np.empty(len(a))
    if len(a) == 0:
        return values
    mean = a * b / n
    variance = mean * (n - a) * (n - b) / (n * np.maximum(n - 1.0, 1.0))
    # Bernstein's inequality: beyond this reach a tail holds less than 1e-16.
    reach = 13.0 + np.sqrt(169.0 + 78.0 * variance)
    least = np.maximum(np.maximum(a + b - n, 0.0), np.floor(mean - reach)).astype(np.int64)
    most = np.minimum(np.minimum(a, b), np.ceil(mean + reach)).astype(np.int64)
    sd = np.sqrt(variance)
    step = np.where(sd > _WIDE, np.floor(_STEP * sd), 1.0).astype(np.int64)
    points = (most - least) // step + 1

    integers = np.arange(int(n.max()) + 1, dtype=np.float64)
    log_factorial = _log_factorial(integers)
    log_integer = np.log(np.maximum(integers, 1.0))
    offset = np.log(n) - np.log(a) - np.log(b)
    whole_a, whole_b, whole_n = (part.astype(np.int64) for part in (a, b, n))

    # Widest cells first, so that the cells of one block are of like width.
    order = np.argsort(-points, kind="stable")
    begin = 0
    while begin < len(order):
        width = int(points[order[begin]])
        cells = order[begin : begin + max(1, _BLOCK // width)]
        begin += len(cells)
        beyond = np.arange(width) >= points[cells, None]
        x = least[cells, None] + step[cells, None] * np.where(beyond, 0, np.arange(width))
        first, second = whole_a[cells, None], whole_b[cells, None]
        chance = -(
            log_factorial[x]
            + log_factorial[first - x]
            + log_factorial[second - x]
            + log_factorial[whole_n[cells, None] - first - second + x]
        )
        # Scaled to sum 1: rounding in the large log-factorials then cancels.
        chance -= chance.max(axis=1, keepdims=True)
        np.exp(chance, out=chance)
        chance[beyond] = 0.0
        information = x * (log_integer[x] + offset[cells, None])
        values[cells] = (chance * information).sum(axis=1) / chance.sum(axis=1)
    return values / n


def _log_factorial(integers: FloatArray) -> FloatArray:
    from scipy.special import gammaln

    return np.asarray(gammaln(integers + 1.0))
