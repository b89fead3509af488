"""Mean and spread of the readings of a bin, from sums that are exact in any order.

A sum of floating-point numbers depends on the order of its terms, and a stream is read by several
threads: the last digits would change from run to run. Every reading is split into two whole numbers
instead, high * 2^-20 + low * 2^-70, and these and their products are summed as integers.
"""

from __future__ import annotations

import polars as pl

KEY = ("hole", "bin")
"""What identifies a bin: canonical hole name and integer bin index."""

LARGEST = 2.0**30
"""Of a reading, so that the sums of a hundred million of them fit into 128 bits."""

_HIGH, _LOW = 2.0**-20, 2.0**-70
_PARTS = ("high", "low", "high_high", "high_low", "low_low")


def columns(name: str) -> tuple[str, ...]:
    """Return the columns of a channel: the number of its readings, then its sums."""
    return (f"{name}_count", *(f"{name}_{part}" for part in _PARTS))


def _sums(name: str) -> tuple[pl.Expr, ...]:
    return tuple(map(pl.col, columns(name)[1:]))


def split(name: str, value: pl.Expr) -> list[pl.Expr]:
    """Return the two whole numbers of a channel's readings; null where there is none."""
    high = (value / _HIGH).round()
    # Exact: both are multiples of what tells neighbouring numbers of this size apart.
    low = ((value - high * _HIGH) / _LOW).round()
    whole = zip((high, low), _PARTS, strict=False)
    return [part.cast(pl.Int128).alias(f"{name}_{suffix}") for part, suffix in whole]


def sums(name: str) -> list[pl.Expr]:
    """Return the aggregations of a channel that was `split`."""
    high, low, *_ = _sums(name)
    summed = zip((high, low, high * high, high * low, low * low), _PARTS, strict=True)
    return [part.sum().alias(f"{name}_{suffix}") for part, suffix in summed]


def add_up(bins: pl.DataFrame) -> pl.DataFrame:
    """Add up rows of the same hole and bin."""
    # Few bins come in parts, and adding costs ten times what finding them does.
    parted = bins.select(KEY).is_duplicated()
    if not parted.any():
        return bins
    whole = bins.filter(parted).group_by(KEY).agg(pl.all().sum())
    return pl.concat([bins.filter(~parted), whole.select(bins.columns)])


def moments(name: str) -> list[pl.Expr]:
    """Return mean, count and sample standard deviation of a channel from its sums.

    The mean is null without readings, the deviation with fewer than two.
    """
    high, low, high_high, high_low, low_low = _sums(name)
    count = pl.col(f"{name}_count").fill_null(0)
    n = pl.when(count > 0).then(count.cast(pl.Int128))
    # Moved to the whole numbers next to the means, so that nothing cancels below.
    first, second = high // n, low // n
    rest, small = high - n * first, low - n * second
    high_high -= first * (high + rest)
    high_low -= first * low + second * rest
    low_low -= second * (low + small)
    above = _float(rest) * _HIGH + _float(small) * _LOW
    mean = _float(first * 2**50 + second) * _LOW + above / _float(n)
    squares = _float(high_high) * _HIGH**2 + _float(high_low) * (2 * _HIGH * _LOW)
    squares += _float(low_low) * _LOW**2 - above**2 / _float(n)
    deviation = (squares.clip(lower_bound=0.0) / (_float(n) - 1)).sqrt()
    return [
        mean.alias(name),
        count.alias(f"{name}_count"),
        pl.when(count > 1).then(deviation).alias(f"{name}_sd"),
    ]


def _float(whole: pl.Expr) -> pl.Expr:
    return whole.cast(pl.Float64)
