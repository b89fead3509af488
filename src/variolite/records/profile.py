"""What can be seen of a table column before anything is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records.values import canonical_unit, numeric_values, split_header, text_series

# What can be seen of one table column before anything is known about it.


# Numbers that programs write where there is none; far from anything measured.
_SENTINELS: tuple[float, ...] = (
    *(-999.0, -999.25, -999.9, -9999.0, -9999.25, -99999.0, -32768.0, -1e30),
    *(999.25, 9999.0, 9999.25, 99999.0, 999999.0, 1e30),
)
ABSURD = 1e30
_SURE = (-999.25, -9999.25, -1e30, 1e30)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DATE = r"^\d{4}-\d\d-\d\d|^\d\d?[./]\d\d?[./]\d{4}"


@dataclass(frozen=True)
class Profile:
    """Measurements of one column.

    Attributes
    ----------
    source
        Its header.
    words
        Words of the header without a unit, in lower case.
    unit
        Unit, where one is stated and known, or given with the file.
    values
        float64 [n], NaN where missing or a sentinel; None for text.
    text
        String [n], "" where missing; None for numbers.
    sentinels
        Sentinel values met.
    absurd
        Number of infinite values and values beyond ``ABSURD``, which are missing too.
    present
        Share of entries that are not missing.
    distinct
        Number of distinct entries.
    commonest
        Share of the most frequent entry among present ones.
    steps
        Share of rows whose entry differs from the row before, among present ones.
    whole
        Whether every number is whole.
    date
        Whether it holds dates or times.
    trouble
        Why its entries cannot be used as they are.
    """

    source: str
    words: tuple[str, ...]
    unit: str | None
    values: NDArray[np.float64] | None
    text: pl.Series | None
    sentinels: tuple[float, ...] = ()
    absurd: int = 0
    present: float = 0.0
    distinct: int = 0
    commonest: float = 0.0
    steps: float = 0.0
    whole: bool = False
    date: bool = False
    trouble: str | None = None

    @property
    def name(self) -> str:
        """The header as a plain name."""
        return "_".join(self.words) or "column"


def name_words(header: str, *, keep_unit: bool) -> tuple[str, ...]:
    """Split a header into words in lower case.

    >>> name_words("WellName (m)", keep_unit=False)
    ('well', 'name')
    """
    text = header if keep_unit else split_header(header)[0]
    return tuple(re.findall(r"[^\W_]+", _CAMEL.sub(" ", text).casefold()))


def profile_column(series: pl.Series, unit: str | None = None) -> Profile:
    """Measure one column; ``unit`` is what the file states beside the header."""
    in_header = split_header(series.name)[1]
    known = canonical_unit(in_header) is not None
    blank = Profile(
        source=series.name,
        words=name_words(series.name, keep_unit=not known),
        unit=in_header if known else (unit if unit != in_header else None),
        values=None,
        text=pl.repeat("", len(series), eager=True),
    )
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
        return replace(blank, trouble=f"holds {series.dtype}")
    if series.dtype.is_numeric() or series.dtype == pl.Null:
        return _of_numbers(blank, series)
    text = text_series(series)
    there = text.filter(text != "")
    profile = replace(blank, text=text, present=len(there) / max(len(text), 1))
    if not len(there):
        return profile
    if series.dtype == pl.String:
        numbers = text.cast(pl.Float64, strict=False)
        share = numbers.is_not_null().sum() / len(there)
        if share == 1:
            return _of_numbers(blank, numbers)
        if share > 0.95:
            first = there.filter(there.cast(pl.Float64, strict=False).is_null())[0]
            return _of_numbers(replace(blank, trouble=f"holds {first!r:.60}"), numbers)
    dated = there.str.contains(_DATE).sum() / len(there)
    return replace(
        profile,
        distinct=there.n_unique(),
        commonest=_commonest(there),
        steps=_share_of_steps(there),
        date=series.dtype.is_temporal() or dated > 0.95,
    )


def _of_numbers(blank: Profile, series: pl.Series) -> Profile:
    values = numeric_values(series)
    absurd = np.abs(values) > ABSURD
    values[absurd] = np.nan
    sentinels = _sentinels(values, single=series.dtype == pl.Float32)
    marks = [float(np.float32(s)) if series.dtype == pl.Float32 else s for s in sentinels]
    values[np.isin(values, marks)] = np.nan
    there = values[~np.isnan(values)]
    # Sorting numbers is far quicker than counting them by hash.
    edges = np.flatnonzero(np.diff(np.sort(there)) > 0)
    lengths = np.diff(edges, prepend=-1, append=there.size - 1)
    return replace(
        blank,
        values=values,
        text=None,
        sentinels=sentinels,
        absurd=int(absurd.sum()),
        present=there.size / max(len(values), 1),
        distinct=lengths.size if there.size else 0,
        commonest=float(lengths.max()) / max(there.size, 1),
        steps=float((there[1:] != there[:-1]).mean()) if there.size > 1 else 0.0,
        whole=bool(there.size) and bool(np.all(there == np.round(there))),
    )


def _commonest(there: pl.Series) -> float:
    return float(there.value_counts(name="n")["n"].to_numpy().max()) / len(there)


def _share_of_steps(there: pl.Series) -> float:
    return int((there != there.shift(1)).slice(1).sum()) / max(len(there) - 1, 1)


def _sentinels(values: NDArray[np.float64], *, single: bool) -> tuple[float, ...]:
    """Return known sentinels that stand far apart from all other values."""
    marks = {float(np.float32(s)) if single else s: s for s in _SENTINELS}
    finite = values[np.isfinite(values)]
    hit = np.isin(finite, list(marks))
    if not hit.any():
        return ()
    rest = finite[~hit]
    if not rest.size:
        return ()
    # The spread of the bulk; a single outlier in the rest must not hide a sentinel.
    low, high = np.quantile(rest, [0.01, 0.99])
    margin = max(high - low, 1e-9)
    found = []
    for mark, written in marks.items():
        count = int((finite == mark).sum())
        apart = mark < low - 2 * margin or mark > high + 2 * margin
        if count and apart and (count > 1 or written in _SURE):
            found.append(written)
    return tuple(found)


# Evidence about columns: telling words, natural bounds, steps from row to row.


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
