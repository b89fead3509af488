"""Proposing a schema for a table that nobody has described yet.

Every decision is a plain rule with a remark that says what was seen, so that a user can see at
once where the proposal is wrong.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError, SchemaError
from variolite.records.files.tables import read_table
from variolite.records.names import spellings
from variolite.records.records import numeric_values, text_series
from variolite.records.schema import Column, Schema
from variolite.records.transforms import Array, fit_transform_chain
from variolite.records.units import canonical_unit, split_header
from variolite.text_table import text_table

# Numbers that programs write where there is none; far from anything measured.
_SENTINELS: tuple[float, ...] = (
    *(-999.0, -999.25, -999.9, -9999.0, -9999.25, -99999.0, -32768.0, -1e30),
    *(999.25, 9999.0, 9999.25, 99999.0, 999999.0, 1e30),
)
_SURE = (-999.25, -9999.25, -1e30, 1e30)  # Sentinels even where they occur once.
_ABSURD = 1e30
_SAMPLE = 20_000  # Rows from which shapes and repeats are found.
_GROSS = 10.0  # Robust standard deviations beyond which a value is a gross outlier.
_MOST_LEVELS = 300  # Levels beyond which text is taken to be free text.
_NO_GROUP = (
    "no column was found that names boreholes, families or campaigns. Without one, rows of the "
    "same origin end up on both sides of a split, and scores flatter"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DATE = r"^\d{4}-\d\d-\d\d|^\d\d?[./]\d\d?[./]\d{4}"

# Words of headers that say what a column is for; lower case, in any position.
_GROUP = {"well", "wells", "hole", "borehole", "site", "station", "expedition", "exp"}
_GROUP |= {"family", "campaign", "patient", "subject", "group", "plot"}
_ORDER = {"depth", "dept", "md", "tvd", "mbsf", "time", "age"}
_DOUBT = {"confidence", "probability", "certainty", "quality", "flag"}
_PLACE = {"latitude", "longitude", "lat", "lon", "easting", "northing", "utm", "loc"}
_IDENTITY = {"id", "sample", "name", "uuid", "key", "code"}
_LABEL = {"group", "principal", "category", "phase", "zone", "member", "prefix", "suffix"}
_LABEL_STARTS = ("lith", "facies", "class", "label", "formation", "rock", "species", "target")
_COLOUR = {"r", "g", "b", "red", "green", "blue", "rgb"}
_TRUTH = ["true", "false", "yes", "no"]
_PERCENT = {"percent", "pct", "porosity", "saturation"}
# Bookkeeping only where a header holds nothing but such words: "core" is, "core porosity" not.
_BOOKKEEPING = {"offset", "test", "no", "core", "sect", "section", "row", "index", "number"}
_BOOKKEEPING |= {"type", "id", "comment", "comments", "unnamed", "1"}


class _Candidate:
    """One column of a table: what can be seen of it, then what is decided about it.

    It holds ``values`` (n,), NaN where missing, or else ``text`` (n,), "" where missing.
    """

    def __init__(self, series: pl.Series, unit: str | None) -> None:
        """Measure a column; ``unit`` is what the file states beside the header."""
        header, in_header = split_header(series.name)
        known = canonical_unit(in_header) is not None
        words = re.findall(r"[^\W_]+", _CAMEL.sub(" ", header if known else series.name).casefold())
        self.source = series.name
        self.words = set(words)
        self.name = "_".join(words) or "column"
        self.unit = in_header if known else (unit if unit != in_header else None)
        self.values: Array | None = None
        self.text: pl.Series | None = None
        self.sentinels: list[float] = []
        self.absurd = 0  # Infinite values and values beyond _ABSURD, which are missing too.
        self.whole = False  # Whether every number is whole.
        self.date = False
        self.truth = False  # Whether it holds yes and no only.
        self.trouble: str | None = None  # Why its entries cannot be used.
        self.settings: dict[str, Any] | None = None  # Of a column of the schema.
        self.left_out = False
        self.remarks: list[str] = []
        dtype = series.dtype
        if dtype.is_numeric() or dtype == pl.Null:
            there = self._see_numbers(series)
        elif dtype.is_nested() or dtype in (pl.Object, pl.Binary):
            self.trouble = f"holds {dtype}"
            self.text, there = pl.repeat("", len(series), eager=True), pl.Series(dtype=pl.String)
        else:
            there = self._see_text(text_series(series), dtype)
        # Sorting numbers is far quicker than counting them by hash.
        text = there.dtype == pl.String
        lengths = there.unique_counts() if text else there.sort().rle().struct.field("len")
        self.entries = len(there)
        self.present = len(there) / max(len(series), 1)
        self.distinct = len(lengths)
        self.commonest = int(lengths.to_numpy().max(initial=0)) / max(len(there), 1)
        # Entries that differ from the one before.
        self.steps = int((there != there.shift(1)).slice(1).sum()) / max(len(there) - 1, 1)

    def _see_text(self, text: pl.Series, dtype: pl.DataType) -> pl.Series:
        """Keep text, or numbers written as text; returns the entries that are there."""
        there = text.filter(text != "")
        words = there.filter(there.cast(pl.Float64, strict=False).is_null())
        # 0012 is a name.
        padded = there.str.contains(r"^0\d+$").any()
        if dtype == pl.String and not padded and len(words) < 0.05 * len(there):
            self.trouble = f"holds {words[0]!r:.60}" if len(words) else None
            return self._see_numbers(text.cast(pl.Float64, strict=False))
        self.text = text
        self.date = dtype.is_temporal() or there.str.contains(_DATE).sum() > 0.95 * len(there)
        self.truth = there.str.to_lowercase().is_in(_TRUTH).all()
        return there

    def _see_numbers(self, series: pl.Series) -> pl.Series:
        """Keep numbers without sentinels; returns those that are there."""
        self.values = values = numeric_values(series)
        absurd = np.abs(values) > _ABSURD
        self.absurd = int(absurd.sum())
        values[absurd] = np.nan
        single = series.dtype == pl.Float32
        # A float32 column holds the float32 nearest to -999.25, as it holds every value.
        marks = {float(np.float32(s)) if single else s: s for s in _SENTINELS}
        found = _apart_from_the_rest(values[~np.isnan(values)], marks)
        self.sentinels = list(found.values())
        values[np.isin(values, list(found))] = np.nan
        there = values[~np.isnan(values)]
        self.whole = bool(there.size) and bool(np.all(there == np.round(there)))
        return pl.Series(there)

    def see_steps(self, steps: Array) -> None:
        """Measure which fractions of the steps inside a group rise, fall and stay."""
        count = max(steps.size, 1)
        self.rising, self.falling = (steps > 0).sum() / count, (steps < 0).sum() / count
        self.still = (steps == 0).sum() / count

    @property
    def label_like(self) -> bool:
        """Whether the header names a class of something."""
        return bool(_LABEL & self.words) or any(w.startswith(_LABEL_STARTS) for w in self.words)

    @property
    def together(self) -> bool:
        """Whether the rows of every name follow one another, with few exceptions."""
        return 1 + self.steps * (self.entries - 1) <= 1.1 * self.distinct + 1

    @property
    def names(self) -> pl.Series:
        return pl.Series(self.values) if self.text is None else self.text

    def bounds(self, present: Array) -> tuple[float, float] | None:
        """Return the bounds of a fraction, percentage or colour, by name, unit and range."""
        low, high = present.min(), present.max()
        percent = canonical_unit(self.unit) in ("%", "vol%", "wt%") or _PERCENT & self.words
        kinds = ((0.3, 1.0, True), (20.0, 100.0, percent), (100.0, 255.0, _COLOUR & self.words))
        for least, most, fits in kinds:
            if low >= 0 and least < high <= most and fits:
                return 0.0, most
        return None

    def has_role(self, role: str) -> bool:
        return self.settings is not None and self.settings.get("role") == role

    def take(self, role: str, why: str) -> None:
        self.settings = {"role": role}
        self.remarks.append(why)

    def leave_out(self, why: str) -> None:
        self.left_out = True
        self.remarks.append(f"left out{why}")


def _apart_from_the_rest(finite: Array, marks: Mapping[float, float]) -> dict[float, float]:
    """Return the known sentinels that stand far apart from all other values."""
    hit = np.isin(finite, list(marks))
    if not hit.any() or hit.all():
        return {}
    # The spread of the bulk; a single outlier in the rest must not hide a sentinel.
    low, high = np.quantile(finite[~hit], [0.01, 0.99])
    margin = 2 * max(high - low, 1e-9)
    return {
        mark: written
        for mark, written in marks.items()
        if not low - margin <= mark <= high + margin
        if (finite == mark).sum() > (0 if written in _SURE else 1)
    }


# Choosing a transform for a column by how close it brings the values to a normal curve.


class Shape(NamedTuple):
    """The transform found for a column, as a schema file spells it, and what it leaves."""

    transform: list[Any]
    after: float  # Lack of normality left.
    outliers: bool  # Whether values lie grossly beyond the rest even so.


def normality(values: Array) -> float:
    """Return 1 - r2 of the normal probability plot of ``values``, shape (n,): 0 for a normal curve.

    Shapiro and Francia, Journal of the American Statistical Association 67, 1972.
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

    The simplest is kept unless another halves the lack of normality of the bulk (between the
    0.1 % and 99.9 % quantiles). ``values`` (n,) are finite and not all equal; natural ``bounds``
    such as (0, 1) open the way to a logit.
    """
    sample = values[:: -(-values.size // _SAMPLE)]
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
    scored = [(normality(fit_transform_chain(c, bulk).evaluate(bulk)[0]), c) for c in candidates]
    before = scored[0][0]
    after, best = min(scored, key=lambda item: item[0])
    if before < 0.05 or after > 0.5 * before:
        after, best = scored[0]
    # What increases keeps the order: the extremes and quartiles of all values are enough.
    five = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
    least, low, middle, high, most = fit_transform_chain(best, bulk).evaluate(five)[0]
    # The quartiles of a normal curve are 1.349 standard deviations apart.
    sd = max((high - low) / 1.349, 1e-12 * max(abs(middle), 1e-12))
    outliers = bool(max(middle - least, most - middle) > _GROSS * sd)
    return Shape([*best, "standardise"], after, outliers)


def _floor_of_positive(present: Array) -> float | None:
    """Return a power of ten below all values but a stray few that are 0 or negative.

    None when there are none of these, or too many for a quantity that is positive by nature, or
    when the rest spans less than two decades and needs no logarithm.
    """
    positive = present[present > 0]
    stray = present.size - positive.size
    if not stray or stray > 0.001 * present.size:
        return None
    low, high = np.quantile(positive, [0.001, 0.999])
    return float(10.0 ** np.floor(np.log10(positive.min()))) if high > 100 * low else None


# The proposal, and how it comes about.


@dataclass(frozen=True)
class Proposal:
    """A schema for a table that finds its columns by name and alias, and why.

    ``remarks`` are pairs of a table column and what was seen of it, in the order of the table;
    ``left_out`` are the table columns that the schema does not use.
    """

    schema: Schema
    remarks: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return a table of the columns, then every remark."""
        header = ("column", "role", "unit", "transform", "missing")
        rows = [
            (c.name, c.role, c.unit or "", ", ".join(step.name for step in c.transform), c.missing)
            for c in self.schema.columns.values()
        ]
        wrap = textwrap.TextWrapper(96, subsequent_indent="    ", break_long_words=False)
        wrap.break_on_hyphens = False
        remarks = [wrap.fill(f"{column}: {text}") for column, text in self.remarks]
        return "\n".join([text_table(header, rows), "", *remarks])


def propose_columns(proposal: Proposal, parent: Schema, available: list[str]) -> dict[str, Any]:
    """Return what a recipe on ``parent`` has to say of its columns to train on a table.

    The parent's inputs are used where it knows two at least, and the proposed ones else.
    """
    known = parent.sources(available, {})
    inputs = [c.name for c in parent.inputs]
    # An input that the proposal leaves out is empty, constant or no number.
    columns: dict[str, Any] = {
        meaning: None
        for header, meaning in known.items()
        if header in proposal.left_out and meaning in inputs and parent.columns[meaning].optional
    }
    found = [m for m in known.values() if m in inputs and m not in columns]
    enough = len(found) >= max(2, parent.minimum_inputs)
    for name, column in proposal.schema.bind(available).columns.items():
        if column.source in known or (column.role == "input" and enough):
            continue
        spec = column.to_spec()
        spec["aliases"] = [spec.pop("source")]
        role = {"group": parent.group, "order": parent.order, "id": parent.id}.get(column.role)
        if role is not None:
            if role.name not in known.values():
                columns[role.name] = {"aliases": [*role.aliases, column.source]}
            continue
        if column.role == "input":
            spec["missing"] = "mask"
        columns[f"{name}_2" if name in parent.columns else name] = spec
    return columns


def propose_schema(frame: Any, *, units: Mapping[str, str] | None = None) -> Proposal:
    """Propose a role, unit, transform and missing-value policy for every column.

    ``frame`` is anything that `read_table` takes, ``units`` by table column come from
    `units_of`. DataError if no column looks like a measurement.
    """
    table = read_table(frame)
    units = units or {}
    columns = [_Candidate(series, units.get(series.name)) for series in table.iter_columns()]
    group = _find_group(columns, table.height)
    # Which rows, from the second on, are of the same group as the row before.
    within = np.ones(table.height - 1, dtype=bool)
    if group is not None:
        names = group.names.to_numpy()
        within = names[1:] == names[:-1]
    for c in columns:
        steps = np.diff(c.values)[within] if c.values is not None else np.empty(0)
        c.see_steps(steps[~np.isnan(steps)])
    _find_order(columns)
    known = any(c.has_role("id") for c in columns)
    for c in columns:
        if c.settings is None and not c.left_out:
            _decide(c, table.height, "a stretch of rows" if group is None else "the group", known)
            known |= c.has_role("id")
    if not any(c.has_role("label") for c in columns):
        _promote_labels(columns, table.height)
    _note_repeats(columns, table.height)
    schema = _schema(columns)
    remarks = [(c.source, text) for c in columns for text in c.remarks]
    if schema.group is None:
        remarks.append(("(no group)", _NO_GROUP))
    return Proposal(schema, tuple(remarks), tuple(c.source for c in columns if c.left_out))


def _find_group(columns: Sequence[_Candidate], rows: int) -> _Candidate | None:
    most = max(rows / 5, 2)
    candidates = [
        c
        for c in columns
        if (c.text is not None or c.whole) and not c.date and not c.truth
        if c.present > 0.99 and 2 <= c.distinct <= most
    ]
    if not candidates:
        # The name of the one borehole of a log file, for stacking it with others.
        for c in columns:
            if c.text is not None and not c.truth and c.distinct == 1 and _GROUP & c.words:
                c.take("group", "names one group only; a split needs tables of others as well")
                break
        return None
    named = [c for c in candidates if _GROUP & c.words]
    chosen = (
        [c for c in named if c.together]
        or [c for c in candidates if c.together and c.text is not None]
        or [c for c in named if not c.label_like]
    )
    if not chosen:
        return None
    best = max(chosen, key=lambda c: c.distinct)
    best.take("group", f"names {best.distinct} groups; a split keeps their rows together")
    written = best.names.cast(pl.String).unique().sort()
    for names in spellings(written.drop_nulls()).values():
        if len(names) > 1:
            best.remarks.append(f"{' and '.join(map(repr, names))} count as one group")
    if not best.together:
        best.remarks += ["rows of a group do not stand together, so check that names are unique"]
    for c in named:
        if c is not best and c.text is not None and not c.together and not c.label_like:
            pairs = pl.DataFrame({"best": best.names, "other": c.text}).n_unique()
            c.leave_out(
                f": its {c.distinct} values come back in other groups. With "
                f"{best.source!r} they name {pairs} smaller groups; build one column of both "
                "to split by these"
            )
    return best


def _find_order(columns: Sequence[_Candidate]) -> None:
    positions = [
        c
        for c in columns
        if c.values is not None and c.settings is None and c.distinct >= 10
        if c.still <= 0.95 and c.present >= 0.5
        if _ORDER & c.words or max(c.rising, c.falling) > 0.95
    ]
    # Named ones first, else in the order of the table.
    positions.sort(key=lambda c: not _ORDER & c.words)
    for c in positions:
        if c is positions[0] and (_ORDER & c.words or c.rising > 0.99):
            doubt = f"; it rises in {c.rising:.0%} of the steps only" if c.rising < 0.99 else ""
            c.take("order", f"gives the order of the rows{doubt}")
        else:
            c.leave_out(", as it rises or falls steadily: a position, not a measurement")


def _decide(c: _Candidate, rows: int, about: str, known: bool) -> None:
    """Give a column a role, or leave it out, by the first rule that holds."""
    text, whole, distinct, entries = c.text is not None, c.whole, c.distinct, c.entries
    kind = "it could be a label, or an input with 'kind: category'"
    carried = "differs in every row and is carried along as an id"
    as_id = partial(_Candidate.take, role="id", why=carried)
    unlike, many = distinct > 0.98 * entries, distinct > min(_MOST_LEVELS, rows / 5)
    id_like = "is a whole number that differs in every row, like an id"
    rules: tuple[tuple[Any, str | Callable[[_Candidate], None]], ...] = (
        (not entries, c.trouble or "is empty"),
        (distinct == 1, "holds one value only"),
        (c.present < (0.5 if text else 0.1), f"is empty in {1 - c.present:.0%} of the rows"),
        (c.date, "holds dates or times"),
        (c.words & _PLACE, "says where, not what"),
        (c.words & _DOUBT, "seems to say how sure another column is"),
        (text and unlike and _IDENTITY & c.words and c.present > 0.99 and not known, as_id),
        (text and unlike, "differs in almost every row"),
        (text and many, f"is free text with {distinct} values"),
        (c.label_like and (text or (whole and distinct <= 50)), _label),
        (text, f"is text with {distinct} values; {kind}"),
        (c.words <= _BOOKKEEPING, "seems to be bookkeeping, not a measurement"),
        (c.trouble, f"is not all numbers: {c.trouble}"),
        (whole and unlike and entries > 50, id_like),
        (c.commonest > 0.95, f"is the same in {c.commonest:.1%} of its rows"),
        (whole and distinct <= 10, f"holds {distinct} whole numbers, like a code; {kind}"),
        (c.still > 0.95, f"hardly changes from row to row: it describes {about}"),
        (True, _input),
    )
    decision = next(decision for holds, decision in rules if holds)
    if isinstance(decision, str):
        c.leave_out(f", as it {decision}")
    else:
        decision(c)


def _promote_labels(columns: Sequence[_Candidate], rows: int) -> None:
    """Without a telling name, take text that stays the same over stretches of rows."""
    for c in columns:
        few = 2 <= c.distinct <= min(50, rows / 20)
        plain = not (c.words <= _BOOKKEEPING or _GROUP & c.words or c.date or c.truth)
        stays = c.present > 0.5 and c.steps < 0.34
        if c.text is not None and c.left_out and few and plain and stays:
            c.left_out = False
            c.remarks.clear()
            _label(c)


def _note_repeats(columns: Sequence[_Candidate], rows: int) -> None:
    """Remark on inputs that follow another one, by the correlation of their ranks."""
    step = -(-rows // _SAMPLE)
    # Ranks: a repeat in other units or on a log scale is a repeat too.
    ranks = [
        (c, pl.Series(c.values[::step]).fill_nan(None).rank().to_numpy())
        for c in columns
        if c.values is not None and c.settings is not None and "role" not in c.settings
    ]
    for i, (second, theirs) in enumerate(ranks):
        for first, ours in ranks[:i]:
            both = ~np.isnan(ours) & ~np.isnan(theirs)
            pair = np.vstack([ours[both], theirs[both]])
            if both.sum() < 50 or not (pair.std(axis=1) > 0).all():
                continue
            if abs(np.corrcoef(pair)[0, 1]) > 0.99:
                repeats = f"almost repeats {first.source!r}: together they count twice"
                second.remarks.append(repeats)
                break


def _schema(candidates: Sequence[_Candidate]) -> Schema:
    columns: dict[str, Column] = {}
    for c in candidates:
        if c.settings is None:
            continue
        name, number = c.name, 2
        while name in columns:
            name, number = f"{c.name}_{number}", number + 1
        if c.unit and (c.has_role("order") or "role" not in c.settings):
            c.settings["unit"] = c.unit
        if name != c.source.casefold():
            c.settings["aliases"] = [c.source]
        columns[name] = Column(name=name, **c.settings)
    try:
        return Schema(columns=columns)
    except SchemaError:
        hint = "Write a schema by hand, or check how the table was exported"
        raise DataError("no column of the table looks like a measurement", hint=hint) from None


def _label(column: _Candidate) -> None:
    text = f"looks like a label with {column.distinct} classes: scored against, never modelled"
    if column.present < 1:
        text += f"; {1 - column.present:.1%} of the rows have none"
    column.take("label", text)


def _input(column: _Candidate) -> None:
    assert column.values is not None
    present = column.values[~np.isnan(column.values)]
    settings: dict[str, Any] = {}
    column.settings = settings
    note = column.remarks.append
    if column.sentinels:
        settings["sentinels"] = column.sentinels
        note(f"holds {', '.join(f'{s:g}' for s in column.sentinels)}, taken to mean missing")
    if column.absurd:
        settings["valid"] = [-_ABSURD, _ABSURD]
        note(f"holds {column.absurd} infinite or absurd values, made missing")
    bounds = column.bounds(present)
    shape = choose_transform(present, bounds)
    floor = _floor_of_positive(present)
    if floor is not None:
        positive = choose_transform(present[present > 0], bounds)
        if positive.transform[0] == "log10":
            shape = positive
            settings["valid"] = [floor, None]
            note(f"is 0 or below in {(present <= 0).sum()} rows, which count as missing")
            present = present[present > 0]
    if shape.transform != ["standardise"]:
        settings["transform"] = shape.transform
        step = shape.transform[0]
        name = step if isinstance(step, str) else next(iter(step))
        note(f"is skewed; {name} brings it closer to a normal curve")
    if shape.after > 0.15:
        note("is far from a normal curve even so; 'quantile' is a stronger remedy")
    if bounds is not None:
        settings["learn_bounds"] = True
        note(f"lies between {bounds[0]:g} and {bounds[1]:g}, and is kept there")
    if shape.outliers:
        settings["clip"] = [0.001, 0.999]
        low, high = np.quantile(present, [0.001, 0.999])
        note(
            f"has gross outliers ({present.min():g} to {present.max():g}, but 99.8 % lie "
            f"between {low:.4g} and {high:.4g}), so it is clipped"
        )
    if column.whole:
        settings["learn_rounding"] = True
        note("holds whole numbers, like counts")
    if column.present < 0.95:
        settings["missing"] = "mask"
        note(f"is missing in {1 - column.present:.0%} of the rows, so it is masked")
