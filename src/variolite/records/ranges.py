"""Logs in another unit than they seem: values far from the training range, wells unlike others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning
from variolite.records.schema import Column
from variolite.records.units import convert, kindred, split_header

Array = NDArray[np.float64]
Names = NDArray[np.str_]
Mask = NDArray[np.bool_]

_FEWEST = 10  # Values that a well needs to be compared.
_LOGARITHMS = "logarithms (log10)"
# Where no unit is declared: how many times larger values are, and what that may mean.
_FACTORS = {1 / 0.3048: "metres and feet", 1000.0: "kg/m3 and g/cm3", 100.0: "% and fractions"}


def looks_like(values: Array, low: float, high: float, unit: str | None) -> str | None:
    """Return the unit or transform that would bring nearly all ``values`` into a range."""
    candidates = [(other, convert(values, other, unit)) for other in kindred(unit) if unit]
    if low > 0 and high > 10 * low:
        with np.errstate(over="ignore"):
            candidates.append((_LOGARITHMS, np.power(10.0, values)))
    fitting = (name for name, v in candidates if ((v >= low) & (v <= high)).mean() > 0.9)
    return next(fitting, None)


def require_valid(column: Column, values: Array) -> None:
    """Refuse values (n,) that are beyond the valid range as by a wrong unit."""
    low, high = column.valid or (None, None)
    if low is None or high is None:
        return
    found = values[np.isfinite(values)]
    share = ((found < low) | (found > high)).mean() if found.size >= _FEWEST else 0.0
    if share > 0.5 and (guess := looks_like(found, low, high, column.unit)):
        raise _refused(column, share, found, f"the valid range, {low:g} to {high:g}", guess)


def require_range(
    column: Column, values: Array, low: float, high: float, groups: Names | None
) -> None:
    """Refuse values (n,), NaN where missing, most of which are outside the training range.

    Wells that are out of it by nature stay: a single one is refused only where another unit
    explains it, all rows together also where they are far away.
    """
    outside, present = (values < low) | (values > high), np.isfinite(values)
    if not outside.any():
        return
    what = f"the training range, {low:.4g} to {high:.4g}"
    odd: dict[str, list[str]] = {}
    groups = np.zeros(len(values), dtype=np.str_) if groups is None else groups
    for name in np.unique(groups[outside]):
        guess = _guess(values, outside, present & (groups == name), low, high, column.unit)
        if guess:
            odd.setdefault(guess, []).append(str(name))
    for guess, names in odd.items():
        rows = present & np.isin(groups, names)
        place = f" of {_listed(names)}" if rows.sum() < present.sum() else ""
        raise _refused(column, outside[rows].mean(), values[rows], what, guess, place)
    guess = _guess(values, outside, present, low, high, column.unit)
    middle, share = float(np.median(values[present])), outside[present].mean()
    far = max(low - middle, middle - high) > 0.2 * (high - low)
    if guess or (far and share > 0.5 and present.sum() >= _FEWEST):
        raise _refused(column, share, values[present], what, guess)


def _guess(
    values: Array, outside: Mask, rows: Mask, low: float, high: float, unit: str | None
) -> str | None:
    """Return what the values of some rows look like where too many are out of a range."""
    found, share = values[rows], outside[rows].mean() if rows.sum() >= _FEWEST else 0.0
    guess = looks_like(found, low, high, unit) if share > 0.05 else None
    # Logarithms may lie in the range of the quantity, but those of values below 1 are negative.
    negative = guess == _LOGARITHMS and (found <= 0).mean() > 0.05
    return guess if share > 0.5 or negative else None


def _refused(
    column: Column, share: float, found: Array, what: str, guess: str | None, place: str = ""
) -> DataError:
    seems = f", and look like {guess}" if guess else ""
    header = column.source or column.name
    stated = f"state the unit, as in '{split_header(header)[0]} ({guess})'"
    state = stated if guess in kindred(column.unit) else ""
    accept = "take them as they are with --accept-range" if "training" in what else ""
    return DataError(
        f"{share:.0%} of the values{place} (median {np.median(found):.4g}) are outside {what}"
        f"{f' {column.unit}' if column.unit else ''}{seems}",
        where=f"column {header!r}",
        hint=" or ".join(filter(None, ("Convert them", state, accept))),
    )


def warn_of_mixed_units(column: Column, values: Array, groups: Names) -> None:
    """Name the wells whose median differs from that of the others by the factor of a unit."""
    quantiles = {"middle": 0.5, "low": 0.1, "high": 0.9}
    wells = (
        pl.DataFrame({"name": groups, "value": values})
        .filter(pl.col("value").is_finite())
        .group_by("name")
        .agg(pl.len(), **{n: pl.col("value").quantile(q, "linear") for n, q in quantiles.items()})
        .filter(pl.col("low") > 0, pl.col("len") >= _FEWEST)
        .sort("middle", "name")
    )
    if wells.height < 2:
        return
    middle, low, high = wells.select(pl.col(*quantiles).log()).to_numpy().T
    gaps = np.diff(middle)
    cut = int(np.argmax(gaps)) + 1
    if high[:cut].max() > low[cut:].min():
        return  # Values of wells in two units hardly overlap.
    for factor, meaning, above in _factors(column.unit):
        step = np.log(factor)
        alike = abs(np.median(middle[cut:]) - np.median(middle[:cut]) - step) < min(0.3, step / 3)
        within = max(np.ptp(middle[:cut]), np.ptp(middle[cut:])) < step / 2 < gaps[cut - 1]
        if alike and within:
            odd = sorted(wells["name"][cut:] if above else wells["name"][:cut])
            warnings.warn(
                f"column {column.source or column.name!r}: the medians of {len(odd)} of "
                f"{wells.height} groups differ from the others by a factor of about {factor:.4g}, "
                f"as between {meaning}: {_listed(odd)}. Check their unit before you trust the "
                "result",
                DataWarning,
                stacklevel=3,
            )
            return


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8)


def _factors(unit: str | None) -> Iterator[tuple[float, str, bool]]:
    """Give factors above 1, what they mean, and whether the larger values are the odd ones."""
    for other in kindred(unit):
        zero, one = convert(np.array([0.0, 1.0]), other, unit or "")
        if zero == 0 and one != 1:
            yield max(one, 1 / one), f"{other} and {unit}", one < 1
    if unit is None:
        yield from ((factor, meaning, True) for factor, meaning in _FACTORS.items())
