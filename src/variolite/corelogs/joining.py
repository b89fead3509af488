"""Merge the sums of each instrument, and join the instruments bin by bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from variolite.corelogs.accumulation import Accumulated
from variolite.corelogs.bin_report import JoinStep
from variolite.corelogs.moments import KEY, merge_moments
from variolite.errors import DataError

__all__ = ["join_instruments"]

_HOW: Mapping[str, Literal["inner", "full"]] = {"inner": "inner", "outer": "full"}


def _bins_of(group: Sequence[Accumulated]) -> pl.DataFrame:
    """Bins of one instrument, which may come in several tables."""
    if len(group) == 1:
        return group[0].bins
    # Tables of one instrument may differ in their channels (samples do).
    every = pl.concat([part.bins for part in group], how="diagonal")
    return merge_moments(every.with_columns(pl.selectors.ends_with("_count").fill_null(0)))


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
        bins = _bins_of(group)
        if joined is None:
            joined = bins
        else:
            left, right = joined, bins
            joined = left.join(right, on=KEY, how=_HOW[how], coalesce=True)
            # Keys are unique on both sides, so that the sizes tell how many met.
            inner = how == "inner"
            matched = joined.height if inner else left.height + right.height - joined.height
            step = JoinStep(code, left.height, right.height, matched, joined.height)
            if step.rate < min_match:
                raise _no_match(step, left, right, before)
            steps.append(step)
        before.append(code)
    assert joined is not None, "there is at least one table"
    return joined, tuple(steps)


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
