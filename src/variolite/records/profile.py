"""What can be seen of one table column before anything is known about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.records.transforms import fit_transform_chain
from variolite.records.values import canonical_unit, numeric_values, split_header, text_series

Array = NDArray[np.float64]

# Numbers that programs write where there is none; far from anything measured.
_SENTINELS: tuple[float, ...] = (
    *(-999.0, -999.25, -999.9, -9999.0, -9999.25, -99999.0, -32768.0, -1e30),
    *(999.25, 9999.0, 9999.25, 99999.0, 999999.0, 1e30),
)
_SURE = (-999.25, -9999.25, -1e30, 1e30)  # Sentinels even where they occur once.
ABSURD = 1e30
SAMPLE = 20_000  # Rows on which shapes and repeats are judged.
_GROSS = 10.0  # Robust standard deviations beyond which a value is a gross outlier.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DATE = r"^\d{4}-\d\d-\d\d|^\d\d?[./]\d\d?[./]\d{4}"
# Words of headers, in lower case.
_LABEL = {"group", "principal", "category", "phase", "zone", "member", "prefix", "suffix"}
_LABEL_STARTS = ("lith", "facies", "class", "label", "formation", "rock", "species", "target")
_COLOUR = {"r", "g", "b", "red", "green", "blue", "rgb"}
_PERCENT = {"percent", "pct", "porosity", "saturation"}


@dataclass(frozen=True)
class Profile:
    """Measurements of one column: ``values`` [n] of numbers, or ``text`` [n] of anything else."""

    source: str
    words: frozenset[str]  # Of the header without a unit, in lower case.
    name: str  # The header as a plain name.
    unit: str | None
    values: Array | None  # NaN where missing or a sentinel.
    text: pl.Series | None  # "" where missing.
    sentinels: tuple[float, ...] = ()
    absurd: int = 0  # Infinite values and values beyond ABSURD, which are missing too.
    present: float = 0.0  # Fraction of entries that are not missing.
    distinct: int = 0
    commonest: float = 0.0  # Fraction of the most frequent entry among present ones.
    steps: float = 0.0  # Fraction of present entries that differ from the one before.
    whole: bool = False  # Whether every number is whole.
    date: bool = False
    trouble: str | None = None  # Why its entries cannot be used.

    @property
    def label_like(self) -> bool:
        """Whether the header names a class of something."""
        return bool(_LABEL & self.words) or any(w.startswith(_LABEL_STARTS) for w in self.words)

    def bounds(self, present: Array) -> tuple[float, float] | None:
        """Return the bounds of a fraction, percentage or colour, by name, unit and range."""
        low, high = float(present.min()), float(present.max())
        percent = canonical_unit(self.unit) in ("%", "vol%", "wt%") or _PERCENT & self.words
        if low >= 0 and 0.3 < high <= 1:
            return (0.0, 1.0)
        if low >= 0 and 20 < high <= 100 and percent:
            return (0.0, 100.0)
        if low >= 0 and 100 < high <= 255 and _COLOUR & self.words:
            return (0.0, 255.0)
        return None


def profile_column(series: pl.Series, unit: str | None = None) -> Profile:
    """Measure one column; ``unit`` is what the file states beside the header."""
    header, in_header = split_header(series.name)
    known = canonical_unit(in_header) is not None
    plain = _CAMEL.sub(" ", header if known else series.name).casefold()
    words = re.findall(r"[^\W_]+", plain)
    blank = Profile(
        source=series.name,
        words=frozenset(words),
        name="_".join(words) or "column",
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
        fraction = numbers.is_not_null().sum() / len(there)
        if fraction == 1:
            return _of_numbers(blank, numbers)
        if fraction > 0.95:
            first = there.filter(there.cast(pl.Float64, strict=False).is_null())[0]
            return _of_numbers(replace(blank, trouble=f"holds {first!r:.60}"), numbers)
    counts = there.value_counts(name="n")["n"].to_numpy()
    return replace(
        profile,
        distinct=counts.size,
        commonest=float(counts.max()) / len(there),
        steps=int((there != there.shift(1)).slice(1).sum()) / max(len(there) - 1, 1),
        date=series.dtype.is_temporal() or there.str.contains(_DATE).sum() / len(there) > 0.95,
    )


def _of_numbers(blank: Profile, series: pl.Series) -> Profile:
    values = numeric_values(series)
    absurd = np.abs(values) > ABSURD
    values[absurd] = np.nan
    single = series.dtype == pl.Float32
    # A float32 column holds the float32 nearest to -999.25, as it holds every value.
    marks = {float(np.float32(s)) if single else s: s for s in _SENTINELS}
    sentinels = _apart_from_the_rest(values[~np.isnan(values)], marks)
    values[np.isin(values, list(sentinels))] = np.nan
    there = values[~np.isnan(values)]
    # Sorting numbers is far quicker than counting them by hash.
    edges = np.flatnonzero(np.diff(np.sort(there)) > 0)
    lengths = np.diff(edges, prepend=-1, append=there.size - 1)
    return replace(
        blank,
        values=values,
        text=None,
        sentinels=tuple(sentinels.values()),
        absurd=int(absurd.sum()),
        present=there.size / max(len(values), 1),
        distinct=lengths.size if there.size else 0,
        commonest=float(lengths.max()) / max(there.size, 1),
        steps=float((there[1:] != there[:-1]).mean()) if there.size > 1 else 0.0,
        whole=bool(there.size) and bool(np.all(there == np.round(there))),
    )


def _apart_from_the_rest(finite: Array, marks: Mapping[float, float]) -> dict[float, float]:
    """Return the known sentinels that stand far apart from all other values."""
    hit = np.isin(finite, list(marks))
    if not hit.any() or hit.all():
        return {}
    # The spread of the bulk; a single outlier in the rest must not hide a sentinel.
    low, high = np.quantile(finite[~hit], [0.01, 0.99])
    margin = 2 * max(high - low, 1e-9)
    counts = {mark: int((finite == mark).sum()) for mark in marks}
    return {
        mark: written
        for mark, written in marks.items()
        if not low - margin <= mark <= high + margin
        and (counts[mark] > 1 or (counts[mark] and written in _SURE))
    }


# Choosing a transform for a column by how close it brings the values to a normal curve.


class Shape(NamedTuple):
    """The transform found for a column, as a schema file spells it, and what it leaves."""

    transform: list[Any]
    after: float  # Lack of normality left.
    outliers: bool  # Whether values lie grossly beyond the rest even so.


def normality(values: Array) -> float:
    """Return 1 - r2 of the normal probability plot of ``values``, shape [n].

    0 for values that follow a normal curve exactly (Shapiro and Francia, Journal of
    the American Statistical Association 67, 1972).
    """
    n = values.size
    if n < 3 or not values.std() > 0:
        return 1.0
    return float(1.0 - np.corrcoef(np.sort(values), _normal_scores(n))[0, 1] ** 2)


@lru_cache(maxsize=32)
def _normal_scores(n: int) -> Array:
    """Return the expected normal scores of n ordered values, by Blom's plotting positions."""
    from scipy.special import ndtri

    scores: Array = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    return scores


def choose_transform(values: Array, bounds: tuple[float, float] | None = None) -> Shape:
    """Choose among none, log10, signed log and logit, always followed by standardise.

    The simplest is kept unless another halves the lack of normality of the bulk
    (between the 0.1 % and 99.9 % quantiles). ``values`` [n] are finite and not all
    equal; natural ``bounds`` such as (0, 1) open the way to a logit.
    """
    sample = values[:: -(-values.size // SAMPLE)]
    bulk = np.clip(sample, *np.quantile(sample, [0.001, 0.999]))
    if bulk.min() == bulk.max():
        return Shape(["standardise"], 1.0, outliers=False)
    candidates: list[list[Any]] = [[], ["log10"], ["signed_log"]]
    if values.min() <= 0:
        candidates.remove(["log10"])
    size = float(np.median(np.abs(bulk)))
    scale = float(10.0 ** np.floor(np.log10(size))) if size > 0 else 1.0
    if scale != 1.0:
        candidates.append([{"signed_log": {"scale": scale}}])
    if bounds is not None:
        # A little beyond the bounds, so that values on them stay finite.
        margin = 0.005 * (bounds[1] - bounds[0])
        candidates.append([{"logit": {"lower": bounds[0] - margin, "upper": bounds[1] + margin}}])
    scored = [(normality(fit_transform_chain(c, bulk).forward(bulk)), c) for c in candidates]
    before = scored[0][0]
    after, best = min(scored, key=lambda item: item[0])
    if before < 0.05 or after > 0.5 * before:
        after, best = scored[0]
    whole = fit_transform_chain(best, bulk).forward(values)
    whole = whole[np.isfinite(whole)]
    low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
    # The quartiles of a normal curve are 1.349 standard deviations apart.
    sd = max((high - low) / 1.349, 1e-12 * max(abs(middle), 1e-12))
    outliers = bool(np.abs(whole - middle).max() > _GROSS * sd)
    return Shape([*best, "standardise"], after, outliers)


def floor_of_positive(present: Array) -> float | None:
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
