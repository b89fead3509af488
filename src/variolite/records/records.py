"""Records: a table made ready for a model, as plain arrays with a mask of what was observed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, SchemaError, counted
from variolite.records.schema import Column, Schema
from variolite.records.units import can_convert, convert, split_header, units_agree

# Cells: one spelling for every group, label and category, and numbers whatever their type.


def text_series(series: pl.Series) -> pl.Series:
    """Return a column as a String series, missing entries as ""; see `text_values`."""
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise SchemaError(f"column {series.name!r} holds {series.dtype}, not plain values")
    if series.dtype.is_float():
        values = series.fill_nan(None)
        # Below 2^53 a whole float64 is exact.
        whole = ((values == values.round()) & (values.abs() < 2.0**53)).fill_null(value=False)
        integers = values.set(~whole, None).cast(pl.Int64).cast(pl.String)
        texts = values.cast(pl.String).zip_with(~whole, integers)
    elif series.dtype == pl.String:
        texts = series.str.strip_chars()
    else:
        texts = series.cast(pl.String)
    return texts.fill_null("")


def text_values(series: pl.Series) -> NDArray[np.str_]:
    """Return a column of any plain type as text, shape (n,), missing entries as "".

    Whole numbers lose their point, so that 3, 3.0 and "3" name the same group; outer blanks go.
    """
    texts = text_series(series)
    if not len(texts):
        return np.empty(0, dtype=np.str_)
    # By way of the distinct values: a million rows hold few names.
    distinct = texts.unique()
    codes = texts.replace_strict(distinct, pl.int_range(len(distinct), eager=True))
    result: NDArray[np.str_] = distinct.to_numpy().astype(str)[codes.to_numpy()]
    return result


def as_text(values: ArrayLike | pl.Series) -> NDArray[np.str_]:
    """Return any one-dimensional array of names as text; see `text_values`."""
    if isinstance(values, pl.Series):
        return text_values(values)
    array = np.asarray(values)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.ndim != 1:
        raise SchemaError(f"names need one dimension, not {array.ndim}")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "O":
        flat = [None if value is None or value != value else value for value in array.tolist()]
        if all(value is None or isinstance(value, str) for value in flat):
            return text_values(pl.Series("names", flat, dtype=pl.String))
        return np.concatenate([text_values(pl.Series("names", [value])) for value in flat])
    return text_values(pl.Series("names", array))


def numeric_values(series: pl.Series) -> NDArray[np.float64]:
    """Return a column as float64, shape (n,), missing entries as NaN; infinite ones stay.

    Text is accepted when every entry that is not blank is a number in plain notation; the
    DataError names column, row and value of the first that is not.
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype.is_numeric() or series.dtype == pl.Null:
        values = series.cast(pl.Float64)
    elif series.dtype == pl.String:
        stripped = series.str.strip_chars().replace("", None)
        values = stripped.cast(pl.Float64, strict=False)
        bad = values.is_null() & stripped.is_not_null()
        if bad.any():
            first = int(bad.arg_true()[0])
            hint = "Leave missing cells empty, or give the column the kind 'category'"
            if "," in series[first] and "." not in series[first]:
                hint = "Write a decimal point instead of a comma"
            raise DataError(
                f"{series[first]!r:.60} in row {first + 1} is not a number "
                f"({int(bad.sum())} of {len(series)} entries are not)",
                where=f"column {series.name!r}",
                hint=hint,
            )
    else:
        what = f"holds {series.dtype}, not numbers"
        hint = "Map a numeric column instead, or give it the kind 'category'"
        raise DataError(what, where=f"column {series.name!r}", hint=hint)
    return np.array(values.fill_null(float("nan")).to_numpy(), dtype=np.float64)


# From a table to one plain array per column of a schema, and which rows can be used.


# By column: numbers as float64 (n,), NaN where missing; categories as str (n,), "" there.
Values = dict[str, NDArray[Any]]
# Entries by column, for every count of an ApplyReport.
Counts = defaultdict[str, dict[str, Any]]


SENTINELS = (-999.25, -9999.25)
"""Numbers that programs write where there is none, and that nothing measured has."""


def extract(
    schema: Schema,
    frame: pl.DataFrame,
    units: Mapping[str, str] | None = None,
    check: Callable[[Column, NDArray[np.float64]], None] = lambda *_: None,
) -> tuple[Values, Counts]:
    """Take the columns of a bound schema out of its table.

    ``units`` are those of the table, by table column: values are converted to the declared ones.
    Sentinels and values beyond the valid range become missing; ``check`` sees the latter.
    """
    found: Values = {}
    stated = table_units(schema, units)
    counts: Counts = defaultdict(dict)
    for name, column in schema.columns.items():
        series = frame[str(column.source)]
        numeric = column.kind == "numeric"
        values: NDArray[Any] = numeric_values(series) if numeric else text_values(series)
        lacking = int(lacks(values).sum())
        if lacking:
            counts["missing"][name] = lacking
        if numeric:
            single = series.dtype == pl.Float32
            _exclude(column, values, stated[name], counts, check, single=single)
        found[name] = values
    return found, counts


def lacks(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the entries that are missing."""
    mask: NDArray[np.bool_] = np.isnan(values) if values.dtype == np.float64 else values == ""
    return mask


def _exclude(
    column: Column,
    values: NDArray[np.float64],
    unit: str | None,
    counts: Counts,
    check: Callable[[Column, NDArray[np.float64]], None],
    *,
    single: bool,
) -> None:
    low, high = column.valid or (None, None)
    # Training refuses infinite inputs; nothing looks at a depth.
    largest = float(np.finfo(np.float32 if single else np.float64).max)
    most = largest if column.role == "order" else np.inf
    low, high = -most if low is None else low, most if high is None else high
    marks: tuple[float, ...] = (*SENTINELS, *column.sentinels)
    if single:
        # A float32 column holds the float32 nearest to -999.25, as it holds every value.
        marks = tuple(float(np.float32(mark)) for mark in marks)
        low, high = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
    is_mark = np.isin(values, marks)
    if unit and column.unit and not units_agree(column.unit, unit):
        values[:] = convert(values, unit, column.unit)
        counts["converted"][column.name] = unit, column.unit
    values[is_mark] = np.nan
    check(column, values)
    beyond = (values < low) | (values > high)
    values[beyond] = np.nan
    for reason, hit in (("sentinels", is_mark), ("out_of_range", beyond)):
        if hit.any():
            counts[reason][column.name] = int(hit.sum())


def table_units(schema: Schema, units: Mapping[str, str] | None) -> dict[str, str | None]:
    """Return by meaning the unit in which a table holds the columns of a schema bound to it.

    It is that of ``units``, by header, or of the header itself. SchemaError where it measures
    another quantity than the declared one.
    """
    found: dict[str, str | None] = {}
    for name, column in schema.columns.items():
        source = str(column.source)
        found[name] = unit = (units or {}).get(source) or split_header(source)[1]
        if not (units_agree(column.unit, unit) or can_convert(unit, column.unit)):
            what = f"{name!r} is declared in {column.unit}, but the table gives it in {unit}"
            hint = f"Map another column, or declare 'unit: {unit}' in the recipe"
            raise SchemaError(what, where=f"column {source!r}", hint=hint)
    return found


def rows_to_keep(
    schema: Schema,
    missing: Mapping[str, NDArray[np.bool_]],
    chosen: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Apply every column's policy for missing values.

    ``missing`` has a mask (n,) of the rows that lack a column; a column without one is not
    examined, nor are rows outside of the mask ``chosen``. Returns a mask (n,) of the rows to keep,
    and the dropped rows by the first reason.
    """
    keep = np.ones_like(next(iter(missing.values())))
    if chosen is not None:
        keep &= chosen
    dropped: dict[str, int] = {}
    for name, mask in missing.items():
        column = schema.columns[name]
        mask = mask & keep if column.missing == "error" else mask
        if column.missing == "error" and mask.any():
            what = f"{int(mask.sum())} rows lack {name!r}, row {int(np.argmax(mask)) + 1} first"
            hint = "Fill them, or set its 'missing' to drop or mask"
            raise DataError(what, where=f"column {column.source or name!r}", hint=hint)
        if column.missing == "drop":
            more = int((keep & mask).sum())
            if more:
                dropped[f"{name} missing"] = more
            keep &= ~mask
    observed = [~missing[column.name] for column in schema.inputs if column.name in missing]
    sparse = keep & (np.sum(observed, axis=0) < schema.minimum_inputs)
    if sparse.any():
        dropped[f"fewer than {schema.minimum_inputs} inputs observed"] = int(sparse.sum())
    return keep & ~sparse, dropped


# What comes out: records, and what happened to the table on its way, in numbers and in words.


@dataclass(frozen=True)
class ApplyReport:
    """Counts of everything that was dropped, replaced, converted or ignored.

    ``dropped`` are rows by the first reason and add up to the difference of ``rows_read`` and
    ``rows_kept``. Entries are counted by column: ``missing`` in the table itself, before any row
    is dropped; equal to one of the ``sentinels``, ``out_of_range`` (or infinite) or
    ``outside_domain`` of the transform, which all count as missing; kept but ``clipped``;
    ``unseen`` in training, by level. ``converted`` says from which unit to which. ``absent`` are
    columns that the table lacks, ``ignored`` those that the schema does not use; ``repeated`` is
    what `repeated_rows` counts.
    """

    rows_read: int = 0
    rows_kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    sentinels: Mapping[str, int] = field(default_factory=dict)
    out_of_range: Mapping[str, int] = field(default_factory=dict)
    outside_domain: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    converted: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    repeated: Mapping[str, int] = field(default_factory=dict)

    def as_found(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of a column in the unit of the table."""
        if name not in self.converted:
            return values
        unit, declared = self.converted[name]
        return convert(values, declared, unit)

    def lines(self) -> list[str]:
        """Return one sentence for each thing worth knowing."""
        found = [f"{self.rows_kept:,} of {self.rows_read:,} rows kept"]
        found += [f"{counted(n, 'row')} dropped: {reason}" for reason, n in self.dropped.items()]
        if again := self.repeated.get("rows"):
            rows = counted(again, "row")
            line = f"kept though they repeat another in all but id and group: {rows}"
            if seen := self.repeated["outside training"]:
                line += f", {seen:,} of them a training row from outside training"
            found.append(line)
        masked = {n: c for n, c in self.missing.items() if f"{n} missing" not in self.dropped}
        for counts, meaning in (
            (masked, "missing"),
            (self.sentinels, "read as missing, being a sentinel"),
            (self.out_of_range, "outside the valid range, read as missing"),
            (self.outside_domain, "impossible for the transform, read as missing"),
            (self.clipped, "clipped to the training quantiles"),
        ):
            found += _counted(counts, meaning)
        for name, (unit, declared) in self.converted.items():
            found.append(f"{name}: converted from {unit} to {declared}")
        for name, levels in self.unseen.items():
            listed = [f"{level!r} ({count:,})" for level, count in levels.items()]
            shown = ", ".join(listed[:8] + ["..."] * (len(listed) > 8))
            found.append(f"{name}: not met in training: {shown}")
        if self.absent:
            found.append(f"not in the table: {', '.join(self.absent)}")
        if self.ignored:
            found.append(f"columns not used: {_some(self.ignored)}")
        return found


_SHOWN = 8  # of a list in one sentence


def _counted(counts: Mapping[str, int], meaning: str) -> list[str]:
    """Say counts of one kind in one sentence, that of a single column by its name."""
    if len(counts) < 2:
        return [f"{name}: {count:,} {meaning}" for name, count in counts.items()]
    most = sorted(counts.items(), key=lambda item: -item[1])
    return [f"{meaning}: {_some([f'{name} {count:,}' for name, count in most])}"]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join([*names[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


# Category codes of an entry that is missing, and of a level that training rows did not hold.
MISSING, UNSEEN = -1, -2


@dataclass(frozen=True)
class Records:
    """n rows of d numeric inputs, c category inputs, set inputs and k condition features.

    Attributes
    ----------
    numeric, observed
        float32 (n, d), transformed, 0 where not observed; and bool (n, d).
    raw
        float64 (n, d), original units before clipping; NaN where not observed.
    log_det
        float64 (n, d), log |d transformed / d original| at the clipped value; else 0.
    category
        int64 (n, c), code of the level; else ``MISSING`` or ``UNSEEN``, both negative.
    sets
        int64 (n, w) by set input: codes of the members, ascending, then ``MISSING``.
    condition
        float32 (n, k), numeric conditions transformed, then category conditions one-hot.
    row
        int64 (n,), position in the source table.
    group, order, ids
        str, float64 and str (n,), or None where the table has no such column.
    context
        float32 (n, c), what an encoder sees beside the row itself; None without depth context.
    labels
        str (n,) by label column; "" where missing.
    report
        What was dropped, counted and ignored on the way.
    """

    numeric: NDArray[np.float32]
    observed: NDArray[np.bool_]
    raw: NDArray[np.float64]
    log_det: NDArray[np.float64]
    category: NDArray[np.int64]
    condition: NDArray[np.float32]
    row: NDArray[np.int64]
    sets: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    group: NDArray[np.str_] | None = None
    order: NDArray[np.float64] | None = None
    labels: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    ids: NDArray[np.str_] | None = None
    context: NDArray[np.float32] | None = None
    report: ApplyReport = field(default_factory=ApplyReport)

    def __post_init__(self) -> None:
        shape = self.numeric.shape
        for name in ("observed", "raw", "log_det"):
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        labels = {f"label {name!r}": values for name, values in self.labels.items()}
        sets = {f"set {name!r}": values for name, values in self.sets.items()}
        for name, values in (self._arrays() | labels | sets).items():
            if len(values) != len(self):
                raise DataError(f"{name} has {len(values)} rows, not {len(self)}")

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)}

    def __len__(self) -> int:
        return len(self.row)

    def take(self, indices: ArrayLike) -> Records:
        """Return the rows at ``indices`` (integers or a bool mask), in that order."""
        chosen = np.asarray(indices)
        if chosen.dtype != bool:
            chosen = chosen.astype(np.int64)
        taken: dict[str, Any] = {name: array[chosen] for name, array in self._arrays().items()}
        for part in ("labels", "sets"):
            taken[part] = {name: values[chosen] for name, values in getattr(self, part).items()}
        return replace(self, **taken)
