"""Merge the sums of each instrument, and join the instruments bin by bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from variolite.corelogs.accumulation import Accumulated
from variolite.corelogs.bin_report import JoinStep
from variolite.errors import DataError

__all__ = ["KEY", "combine", "join_instruments"]

KEY = ("hole", "bin")
"""What identifies a bin: canonical hole name and integer bin index."""


def combine(group: Sequence[Accumulated]) -> pl.DataFrame:
    """Merge partial sums of one instrument to one row per bin (Chan et al. 1979)."""
    readings = pl.concat([part.readings for part in group], how="diagonal")
    names = _channels(readings)

    def merged(name: str) -> list[pl.Expr]:
        n, mean, m2 = pl.col(f"{name}_count"), pl.col(name), pl.col(f"{name}_m2")
        total = n.sum()
        centre = (n * mean).sum() / total
        squares = m2.sum() + (n * (mean - centre) ** 2).sum()
        return [
            pl.when(total > 0).then(centre).alias(name),
            total.alias(f"{name}_count"),
            pl.when(total > 1).then((squares / (total - 1)).sqrt()).alias(f"{name}_sd"),
        ]

    return readings.group_by(KEY).agg(
        pl.col("expedition", "site").first(), *(e for name in names for e in merged(name))
    )


def _channels(readings: pl.DataFrame) -> list[str]:
    return [name.removesuffix("_count") for name in readings.columns if name.endswith("_count")]


def join_instruments(
    parts: Mapping[str, Sequence[Accumulated]], how: str, min_match: float
) -> tuple[pl.DataFrame, tuple[JoinStep, ...]]:
    """Join the bins of all instruments on hole and bin index.

    Parameters
    ----------
    parts
        Instrument code to its tables, in the order of the join.
    how
        ``"inner"`` or ``"outer"``.
    min_match
        Smallest share of the bins of the smaller side that must match.

    Raises
    ------
    DataError
        If fewer bins match, which means that the names of the holes, or their
        depths, are not those of the same holes.
    """
    steps: list[JoinStep] = []
    joined: pl.DataFrame | None = None
    before: list[str] = []
    for code, group in parts.items():
        bins = combine(group)
        if joined is None:
            joined = bins
        else:
            left, right = joined, bins
            matched = left.join(right, on=KEY, how="semi").height
            joined = _join_pair(left, right, how)
            step = JoinStep(code, left.height, right.height, matched, joined.height)
            if step.rate < min_match:
                raise _no_match(step, left, right, before)
            steps.append(step)
        before.append(code)
    assert joined is not None, "there is at least one table"
    return joined, tuple(steps)


def _join_pair(left: pl.DataFrame, right: pl.DataFrame, how: str) -> pl.DataFrame:
    if how == "inner":
        return left.join(right.drop("expedition", "site"), on=KEY, how="inner")
    return (
        left.join(right, on=KEY, how="full", coalesce=True)
        .with_columns(
            pl.coalesce(name, f"{name}_right").alias(name) for name in ("expedition", "site")
        )
        .drop("expedition_right", "site_right")
    )


def _no_match(
    step: JoinStep, left: pl.DataFrame, right: pl.DataFrame, before: Sequence[str]
) -> DataError:
    common = set(left["hole"].unique()) & set(right["hole"].unique())
    if common:
        what = f"{len(common)} holes are common but their depths do not meet"
    else:
        what = f"no hole is common: '{left['hole'][0]}' there, '{right['hole'][0]}' here"
    return DataError(
        f"{step.matched:,} of {min(step.left, step.right):,} bins match ({step.rate:.2%}); {what}",
        where=f"join of {step.instrument} to {', '.join(before)}",
        mend="check that the tables are of the same holes and in the same depth scale",
    )
