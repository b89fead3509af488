"""Logs in another unit than they seem: values far from the training range, wells unlike others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning
from variolite.records.schema import Column
from variolite.records.units import convert, kindred

Array = NDArray[np.float64]
Names = NDArray[np.str_]

_FEWEST = 10  # Values from which a well is judged.
# Where no unit is declared: how many times larger values are, and what that may mean.
_FACTORS = {1 / 0.3048: "metres and feet", 1000.0: "kg/m3 and g/cm3", 100.0: "% and fractions"}


def looks_like(values: Array, low: float, high: float, unit: str | None) -> str | None:
    """Return the unit or transform that would bring nearly all ``values`` into a range."""
    candidates = [(other, convert(values, other, unit)) for other in kindred(unit) if unit]
    if low > 0 and high > 10 * low:
        with np.errstate(over="ignore"):
            candidates.append(("logarithms (log10)", np.power(10.0, values)))
    fitting = (name for name, v in candidates if ((v >= low) & (v <= high)).mean() > 0.9)
    return next(fitting, None)


def require_range(
    column: Column, values: Array, low: float, high: float, groups: Names | None, what: str
) -> None:
    """Refuse values (n,), NaN where missing, most of which are out of a range as by a wrong unit.

    Wells that are out of it by nature stay: a single one is refused only where another unit
    explains it, all rows together also where they are far away.
    """
    outside = (values < low) | (values > high)
    unit, every = column.unit, [(None, np.isfinite(values))]
    if groups is not None and outside.any():
        suspect = np.unique(groups[outside])
        every += [(name, np.isfinite(values) & (groups == name)) for name in suspect]
    for name, rows in every:
        found = values[rows]
        if found.size < _FEWEST or outside[rows].mean() <= 0.5:
            continue
        guess = looks_like(found, low, high, unit)
        middle = float(np.median(found))
        far = max(low - middle, middle - high) > 0.2 * (high - low)
        if not (guess or (name is None and far)):
            continue
        place = f" of {name}" if name else ""
        seems = f" and look like {guess}" if guess else ""
        raise DataError(
            f"{outside[rows].mean():.0%} of the values{place} (median {middle:.4g}) are outside "
            f"{what}, {low:.4g} to {high:.4g}{f' {unit}' * bool(unit)},{seems}".rstrip(","),
            where=f"column {column.source or column.name!r}",
            hint="Convert them, or state their unit in the table; --accept-range takes them as "
            "they are",
        )


def warn_of_mixed_units(column: Column, values: Array, groups: Names) -> None:
    """Name the wells whose median differs from that of the others by the factor of a unit."""
    present = np.isfinite(values)
    names, codes, counts = np.unique(groups[present], return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(values[present][order], np.cumsum(counts)[:-1])
    medians = np.array([np.median(part) if len(part) >= _FEWEST else 0.0 for part in parts])
    judged = medians > 0
    if judged.sum() < 2:
        return
    sizes, names = np.log(medians[judged]), names[judged]
    ascending = np.argsort(sizes)
    gaps = np.diff(sizes[ascending])
    cut = int(np.argmax(gaps)) + 1
    lower, upper = sizes[ascending[:cut]], sizes[ascending[cut:]]
    for factor, meaning, above in _factors(column.unit):
        step = np.log(factor)
        alike = abs(np.median(upper) - np.median(lower) - step) < min(0.3, step / 3)
        within = max(np.ptp(lower), np.ptp(upper)) < step / 2 < gaps[cut - 1]
        if alike and within:
            odd = sorted(names[ascending[cut:] if above else ascending[:cut]])
            listed = ", ".join(odd[:8]) + ", ..." * (len(odd) > 8)
            warnings.warn(
                f"column {column.source or column.name!r}: the medians of {len(odd)} of "
                f"{len(names)} groups differ from the others by a factor of about {factor:.4g}, "
                f"as between {meaning}: {listed}. Check their unit before you trust the result",
                DataWarning,
                stacklevel=3,
            )
            return


def _factors(unit: str | None) -> Iterator[tuple[float, str, bool]]:
    """Give factors above 1, what they mean, and whether the larger values are the odd ones."""
    for other in kindred(unit):
        zero, one = convert(np.array([0.0, 1.0]), other, unit or "")
        if zero == 0 and one != 1:
            yield max(one, 1 / one), f"{other} and {unit}", one < 1
    if unit is None:
        yield from ((factor, meaning, True) for factor, meaning in _FACTORS.items())
