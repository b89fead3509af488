"""Counts, means and squared deviations of bins, and how partial ones are merged."""

from __future__ import annotations

import polars as pl

__all__ = ["KEY", "channels_in", "merge_moments", "spread"]

KEY = ("hole", "bin")
"""What identifies a bin: canonical hole name and integer bin index."""


def channels_in(bins: pl.DataFrame) -> list[str]:
    """Names of the channels that a table of moments holds."""
    return [name.removesuffix("_count") for name in bins.columns if name.endswith("_count")]


def merge_moments(partial: pl.DataFrame) -> pl.DataFrame:
    """Merge rows of the same hole and bin.

    Parameters
    ----------
    partial
        Rows with ``hole``, ``bin`` and per channel ``NAME`` (mean),
        ``NAME_count`` and ``NAME_m2`` (sum of squared deviations from that mean).

    Returns
    -------
    pl.DataFrame
        The same columns, one row per hole and bin. Squared deviations are merged
        about the common mean (Chan, Golub and LeVeque 1979), so that nothing is
        lost where the mean is large against the spread.
    """
    # Few bins come in parts, and merging costs ten times what finding them does.
    parted = partial.select(KEY).is_duplicated()
    if not parted.any():
        return partial

    def merged(name: str) -> list[pl.Expr]:
        n, mean, m2 = pl.col(f"{name}_count"), pl.col(name), pl.col(f"{name}_m2")
        total = n.sum()
        centre = (n * mean).sum() / total
        return [
            pl.when(total > 0).then(centre).alias(name),
            total.alias(f"{name}_count"),
            (m2.sum() + (n * (mean - centre) ** 2).sum()).alias(f"{name}_m2"),
        ]

    whole = (
        partial.filter(parted)
        .group_by(KEY)
        .agg(e for name in channels_in(partial) for e in merged(name))
    )
    return pl.concat([partial.filter(~parted), whole.select(partial.columns)])


def spread(name: str) -> pl.Expr:
    """Sample standard deviation of a channel, null below two readings."""
    n, m2 = pl.col(f"{name}_count"), pl.col(f"{name}_m2")
    return pl.when(n > 1).then((m2 / (n - 1)).sqrt()).alias(f"{name}_sd")
