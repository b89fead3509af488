"""Evidence about columns: telling words, natural bounds, steps from row to row."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records.profile import Profile
from variolite.records.units import canonical_unit

__all__ = [
    "BOOKKEEPING_WORDS",
    "DOUBT_WORDS",
    "GROUP_WORDS",
    "IDENTITY_WORDS",
    "MOST_LEVELS",
    "ORDER_WORDS",
    "PLACE_WORDS",
    "count_pairs",
    "floor_of_positive",
    "label_like",
    "natural_bounds",
    "same_group",
    "steps_within",
]

# Words of headers that tell what a column is for; lower case, in any position.
GROUP_WORDS = frozenset(
    {"well", "wells", "hole", "borehole", "site", "station", "expedition", "exp"}
    | {"family", "campaign", "patient", "subject", "group", "plot"}
)
ORDER_WORDS = frozenset({"depth", "dept", "md", "tvd", "mbsf", "time", "age"})
DOUBT_WORDS = frozenset({"confidence", "probability", "certainty", "quality", "flag"})
PLACE_WORDS = frozenset(
    {"latitude", "longitude", "lat", "lon", "easting", "northing", "utm", "loc"}
)
IDENTITY_WORDS = frozenset({"id", "sample", "name", "uuid", "key", "code"})
# Bookkeeping only where a header holds nothing but such words: "core" is, "core porosity" not.
BOOKKEEPING_WORDS = frozenset(
    {"offset", "test", "no", "core", "sect", "section", "row", "index", "number"}
    | {"type", "id", "comment", "comments", "unnamed", "1"}
)
MOST_LEVELS = 300
"""Levels beyond which text is taken to be free text."""

_LABEL_STARTS = ("lith", "facies", "class", "label", "formation", "rock", "species", "target")
_LABEL_WORDS = {"group", "principal", "category", "phase", "zone", "member", "prefix", "suffix"}
_COLOUR_WORDS = {"r", "g", "b", "red", "green", "blue", "rgb"}
_PERCENT_WORDS = {"percent", "pct", "porosity", "saturation"}


def label_like(profile: Profile) -> bool:
    """Say whether the header names a class of something."""
    return bool(_LABEL_WORDS & set(profile.words)) or any(
        word.startswith(_LABEL_STARTS) for word in profile.words
    )


def natural_bounds(profile: Profile, present: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the bounds of a fraction, percentage or colour, judged by name, unit and range."""
    low, high = float(present.min()), float(present.max())
    words = set(profile.words)
    if low < 0:
        return None
    if 0.3 < high <= 1:
        return (0.0, 1.0)
    if 20 < high <= 100 and (
        canonical_unit(profile.unit) in ("%", "vol%", "wt%") or words & _PERCENT_WORDS
    ):
        return (0.0, 100.0)
    if 100 < high <= 255 and words & _COLOUR_WORDS:
        return (0.0, 255.0)
    return None


def floor_of_positive(present: NDArray[np.float64]) -> float | None:
    """Return a power of ten below all values but a stray few that are 0 or negative.

    None when there are none of these, or too many for a quantity that is positive by
    nature, or when the rest spans less than two decades and needs no logarithm.
    """
    positive = present[present > 0]
    stray = present.size - positive.size
    if not stray or stray > 0.001 * present.size:
        return None
    low, high = np.quantile(positive, [0.001, 0.999])
    return float(10.0 ** np.floor(np.log10(positive.min()))) if high > 100 * low else None


def same_group(group: Profile | None, rows: int) -> NDArray[np.bool_]:
    """Mark the rows, from the second on, that are of the same group as the row before."""
    if group is None:
        return np.ones(max(rows - 1, 0), dtype=bool)
    if group.text is None:
        assert group.values is not None
        return np.asarray(group.values[1:] == group.values[:-1])
    return (group.text == group.text.shift(1)).slice(1).to_numpy()


def steps_within(
    values: NDArray[np.float64], within: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return the shares of steps inside a group that rise, fall and stay."""
    steps = np.diff(values)[within]
    steps = steps[~np.isnan(steps)]
    if not steps.size:
        return 0.0, 0.0, 0.0
    return float((steps > 0).mean()), float((steps < 0).mean()), float((steps == 0).mean())


def count_pairs(first: Profile, second: Profile) -> int:
    """Return the number of distinct pairs of entries of two columns."""
    columns = [
        pl.Series(str(i), p.text if p.text is not None else p.values)
        for i, p in enumerate((first, second))
    ]
    return pl.DataFrame(columns).n_unique()
