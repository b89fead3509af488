"""From a data frame to plain arrays, and from those and fitted columns to records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, SchemaError
from variolite.records.records import MISSING, UNSEEN, ApplyReport, Records
from variolite.records.schema import Column, Schema, check_mapping, find_source
from variolite.records.transforms import FittedChain, fit_transform_chain
from variolite.records.values import numeric_values, split_header, text_values, units_agree

# What is learned from the training values of one numeric column.


Array = NDArray[np.float64]
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class FittedNumeric:
    """One numeric column, fitted.

    Attributes
    ----------
    chain
        Original units to transformed units.
    clip
        Lowest and highest value let through to the chain, or None.
    bounds
        Training range to keep returned values within, or None.
    decimals
        Decimals to round returned values to, or None.
    """

    chain: FittedChain
    clip: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    decimals: int | None = None

    def clipped(self, values: Array) -> Array:
        return values if self.clip is None else np.clip(values, *self.clip)

    def count_clipped(self, values: Array) -> int:
        if self.clip is None:
            return 0
        return int(((values < self.clip[0]) | (values > self.clip[1])).sum())

    def evaluate(self, values: Array) -> tuple[Array, Array]:
        """Return transformed values and log-derivatives, both at the clipped values."""
        return self.chain.evaluate(self.clipped(values))

    def inverse(self, transformed: Array) -> Array:
        """Return to original units, within bounds and rounded where that was learned."""
        values = self.chain.inverse(transformed)
        if self.decimals is not None:
            values = np.round(values, self.decimals)
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def to_dict(self) -> dict[str, Any]:
        return {
            "chain": self.chain.to_dict(),
            "clip": None if self.clip is None else list(self.clip),
            "bounds": None if self.bounds is None else list(self.bounds),
            "decimals": self.decimals,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedNumeric:
        decimals = data["decimals"]
        return cls(
            chain=FittedChain.from_dict(data["chain"]),
            clip=_pair(data["clip"]),
            bounds=_pair(data["bounds"]),
            decimals=None if decimals is None else int(decimals),
        )


def _pair(values: Any) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def fit_numeric(column: Column, values: Array) -> FittedNumeric:
    """Fit one column on training values, shape [n], NaN where missing.

    Raises
    ------
    SchemaError, DataError
        Naming the column, if it is never observed, constant, infinite, or impossible
        for its transform.
    """
    where = f"column {column.source or column.name!r}"
    present = values[~np.isnan(values)]
    if not present.size:
        raise SchemaError(
            "has no value in the training rows",
            where=where,
            hint="Leave it out of the schema, or check its sentinels and valid range",
        )
    infinite = int(np.isinf(present).sum())
    if infinite:
        raise DataError(
            f"holds {infinite} infinite values in the training rows",
            where=where,
            hint="Give it a valid range, such as 'valid: [0, 10]', to count them as missing",
        )
    if present.min() == present.max():
        raise SchemaError(
            f"is {present[0]:g} in every training row, and nothing can be learned from it",
            where=where,
            hint="Leave it out of the schema",
        )
    clip = None
    if column.clip is not None:
        low, high = np.quantile(present, column.clip)
        clip = (float(low), float(high))
        if low == high:
            raise SchemaError(
                f"is {low:g} in every training row once clipped to the quantiles {column.clip}",
                where=where,
                hint="Widen or remove its 'clip'",
            )
    fitted = FittedNumeric(FittedChain(), clip)
    try:
        chain = fit_transform_chain(column.transform, fitted.clipped(present))
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    return FittedNumeric(
        chain=chain,
        clip=clip,
        bounds=(float(present.min()), float(present.max())) if column.learn_bounds else None,
        decimals=_decimals(present) if column.learn_rounding else None,
    )


def _decimals(values: Array) -> int | None:
    """Return the fewest decimals that spell every value, None when more than six."""
    for decimals in range(_MOST_DECIMALS + 1):
        # float32 tables hold 1.7815 as 1.78149998: equal to single precision.
        if np.allclose(np.round(values, decimals), values, rtol=1e-6, atol=1e-9):
            return decimals
    return None


# From a data frame to plain arrays: values, names and which rows can be used.
#
# Nothing here is learned: sentinels, valid ranges and the missing-value policy come
# from the schema alone, so that fitting and applying treat every row alike.


def group_spellings(schema: Schema, mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names under which a table may hold the group and the id.

    To be read as text: holes called 01, 1 and 1.0 are three holes.
    """
    given = mapping or {}
    found: dict[str, None] = {}
    for column in (*schema.of_role("group"), *schema.of_role("id")):
        names = (given.get(column.name), column.source, column.name, *column.aliases)
        found |= dict.fromkeys(name for name in names if name)
    return tuple(found)


@dataclass
class Extracted:
    """Arrays of every column of a schema, rows as in the table.

    Attributes
    ----------
    numeric
        float64 [n] by name, for numeric inputs, conditions and the order; NaN where missing.
    text
        str [n] by name, for categories, labels, group and id; "" where missing.
    missing, sentinels, out_of_range
        Counts by column, over all rows.
    absent
        Names that the table lacks.
    sources
        Table column by name.
    """

    rows: int
    numeric: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    text: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    sentinels: dict[str, int] = field(default_factory=dict)
    out_of_range: dict[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)

    def is_missing(self, name: str) -> NDArray[np.bool_]:
        """Return a mask of the rows that lack this column."""
        if name in self.numeric:
            return np.isnan(self.numeric[name])
        if name in self.text:
            return np.asarray(self.text[name] == "")
        return np.ones(self.rows, dtype=bool)


def extract(
    schema: Schema,
    frame: pl.DataFrame,
    mapping: Mapping[str, str] | None = None,
    *,
    lenient: bool = False,
) -> Extracted:
    """Take the columns of ``schema`` out of ``frame``.

    Parameters
    ----------
    schema
        Bound or not.
    frame
        The table.
    mapping
        Table column by meaning, as in :meth:`Schema.bind`.
    lenient
        For new data: labels, group, order, id and inputs with the policy ``mask``
        may be absent.

    Raises
    ------
    SchemaError
        If a column that is needed is absent.
    DataError
        If a numeric column holds something else.
    """
    check_mapping(mapping or {}, schema.columns)
    found = Extracted(rows=frame.height)
    absent: list[str] = []
    for column in schema.columns.values():
        source = _locate(column, frame.columns, (mapping or {}).get(column.name))
        if source is None:
            # Only a column that may be masked can be absent from new data altogether.
            needed = column.role in ("input", "condition") and column.missing != "mask"
            if needed or not lenient:
                # Binding says best what is wrong and what to do about it.
                _without_source(schema).bind(frame.columns, mapping)
                raise SchemaError(
                    f"the table has no column for {column.name!r}, which every row needs",
                    hint="A model trained with 'missing: mask' for it can do without",
                )
            absent.append(column.name)
            continue
        found.sources[column.name] = source
        if column.kind == "category":
            found.text[column.name] = text_values(frame[source])
        else:
            found.numeric[column.name] = _numbers(column, frame[source], found)
        lacking = int(found.is_missing(column.name).sum())
        lacking -= found.sentinels.get(column.name, 0) + found.out_of_range.get(column.name, 0)
        if lacking:
            found.missing[column.name] = lacking
    found.absent = tuple(absent)
    return found


def _without_source(schema: Schema) -> Schema:
    columns = {
        name: column.model_copy(update={"source": None}) for name, column in schema.columns.items()
    }
    return schema.model_copy(update={"columns": columns})


def _locate(column: Column, available: list[str], mapped: str | None) -> str | None:
    if mapped is None and column.source in available:
        return column.source
    return find_source(column.model_copy(update={"source": None}), available, mapped)


def _numbers(column: Column, series: pl.Series, found: Extracted) -> NDArray[np.float64]:
    values = numeric_values(series)
    single = series.dtype == pl.Float32
    if column.sentinels:
        # A float32 column holds the float32 nearest to -999.25, as it holds every value.
        marks = [float(np.float32(v)) if single else v for v in column.sentinels]
        hit = np.isin(values, marks)
        if hit.any():
            found.sentinels[column.name] = int(hit.sum())
            values[hit] = np.nan
    if column.valid is not None:
        low = -np.inf if column.valid[0] is None else column.valid[0]
        high = np.inf if column.valid[1] is None else column.valid[1]
        if single:
            low, high = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
        beyond = (values < low) | (values > high)
        if beyond.any():
            found.out_of_range[column.name] = int(beyond.sum())
            values[beyond] = np.nan
    return values


def rows_to_keep(
    schema: Schema, missing: Mapping[str, NDArray[np.bool_]], rows: int
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Apply every column's policy for missing values.

    Parameters
    ----------
    schema
        Its policies.
    missing
        Mask of rows that lack the column, by name; an absent name is not judged.

    Returns
    -------
    keep
        bool [n].
    dropped
        Rows by the first reason, in the order of the schema.

    Raises
    ------
    DataError
        If a column with the policy ``error`` lacks a value.
    """
    keep = np.ones(rows, dtype=bool)
    dropped: dict[str, int] = {}
    for name, column in schema.columns.items():
        if name not in missing or column.missing == "mask":
            continue
        lacks = missing[name]
        if column.missing == "error" and lacks.any():
            first = int(np.argmax(lacks))
            raise DataError(
                f"{int(lacks.sum())} rows lack {name!r}, row {first + 1} first",
                where=f"column {column.source or name!r}",
                hint="Fill them, or set its 'missing' to drop or mask",
            )
        fresh = int((keep & lacks).sum())
        if fresh:
            dropped[f"{name} missing"] = fresh
        keep &= ~lacks
    inputs = [column.name for column in schema.inputs]
    count = sum((~missing[name]).astype(np.int64) for name in inputs if name in missing)
    sparse = keep & (np.asarray(count) < schema.minimum_inputs)
    if sparse.any():
        dropped[f"fewer than {schema.minimum_inputs} inputs observed"] = int(sparse.sum())
    return keep & ~sparse, dropped


def usable_rows(
    schema: Schema, frame: pl.DataFrame, mapping: Mapping[str, str] | None = None
) -> NDArray[np.int64]:
    """Return the rows that the schema's policies keep, before anything is learned.

    Splits drawn over the groups of these rows cannot hold a group without rows.
    """
    schema = schema.bind(frame.columns, mapping)
    found = extract(schema, frame)
    missing = {name: found.is_missing(name) for name in schema.columns}
    return np.flatnonzero(rows_to_keep(schema, missing, frame.height)[0]).astype(np.int64)


def groups_of(
    schema: Schema, frame: pl.DataFrame, mapping: Mapping[str, str] | None = None
) -> NDArray[np.str_]:
    """Return the group name of every row of the table, "" where missing.

    Raises
    ------
    SchemaError
        If the schema has no group column, or the table lacks it.
    """
    column = schema.group
    if column is None:
        raise SchemaError(
            "no column has the role 'group', so rows cannot be split by group",
            hint="Declare the column that names boreholes, families or campaigns as group",
        )
    source = _locate(column, frame.columns, (mapping or {}).get(column.name))
    if source is None:
        _without_source(schema).bind(frame.columns, mapping)
        raise SchemaError(f"the table has no column for the group {column.name!r}")
    return text_values(frame[source])


def check_units(
    schema: Schema, sources: Mapping[str, str], units: Mapping[str, str] | None = None
) -> None:
    """Compare declared units with those the table is known to have.

    Parameters
    ----------
    schema
        Its declared units.
    sources
        Table column by name; its header may read ``name (unit)``.
    units
        Units by table column, from :func:`variolite.records.units_of`.

    Raises
    ------
    SchemaError
        If two known units differ; names both.
    """
    for name, source in sources.items():
        column = schema.columns[name]
        known = (units or {}).get(source) or split_header(source)[1]
        if not units_agree(column.unit, known):
            raise SchemaError(
                f"{column.name!r} is declared in {column.unit}, but the table gives it in {known}",
                where=f"column {source!r}",
                hint=f"Convert the values to {column.unit}, or declare 'unit: {known}'",
            )


# From extracted arrays and fitted columns to records.


_LARGEST = float(np.finfo(np.float32).max)


def build_records(
    schema: Schema,
    numeric: Mapping[str, FittedNumeric],
    levels: Mapping[str, tuple[str, ...]],
    found: Extracted,
    table_columns: list[str],
) -> Records:
    """Transform, encode, judge missing values and count; see :meth:`FittedSchema.apply`."""
    transformed, log_dets, outside = _transform_all(numeric, found)
    codes, unseen = _encode_all(levels, found)
    missing = {name: found.is_missing(name) for name in schema.columns if name in found.sources}
    missing |= {name: np.isnan(values) for name, values in transformed.items()}
    missing |= {name: values < 0 for name, values in codes.items()}
    keep, dropped = rows_to_keep(schema, missing, found.rows)
    row = np.flatnonzero(keep).astype(np.int64)
    if not row.size:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
        raise DataError(
            f"no row of the table can be used ({reasons})",
            hint="Check that its columns are mapped rightly and in the units of the schema",
        )
    names = [column.name for column in schema.of_role("input", "numeric")]
    categories = [column.name for column in schema.of_role("input", "category")]
    raw = {name: found.numeric[name][keep] for name in names if name in found.numeric}
    never = np.full(len(row), np.nan)
    used = set(found.sources.values())
    text = {name: values[keep] for name, values in found.text.items()}
    group, order, identifier = schema.group, schema.order, schema.id
    has_order = order is not None and order.name in found.numeric
    return Records(
        numeric=_filled([transformed[name][keep] for name in names], len(row), np.float32),
        observed=_stack([~missing[name][keep] for name in names], len(row), np.bool_),
        raw=_stack([raw.get(name, never) for name in names], len(row), np.float64),
        log_det=_filled([log_dets[name][keep] for name in names], len(row), np.float64),
        category=_stack([codes[name][keep] for name in categories], len(row), np.int64),
        condition=_conditions(schema, levels, transformed, codes, keep),
        row=row,
        group=text.get(group.name) if group else None,
        order=found.numeric[order.name][keep] if order and has_order else None,
        labels={column.name: text[column.name] for column in schema.labels if column.name in text},
        ids=text.get(identifier.name) if identifier else None,
        report=ApplyReport(
            rows_read=found.rows,
            rows_kept=len(row),
            dropped=dropped,
            missing=found.missing,
            sentinels=found.sentinels,
            out_of_range=found.out_of_range,
            outside_domain=outside,
            clipped=_clipped(numeric, found, keep),
            unseen=unseen,
            absent=found.absent,
            ignored=tuple(name for name in table_columns if name not in used),
        ),
    )


def _transform_all(
    numeric: Mapping[str, FittedNumeric], found: Extracted
) -> tuple[dict[str, Array], dict[str, Array], dict[str, int]]:
    """Transform every numeric column; what cannot be transformed becomes missing."""
    transformed: dict[str, Array] = {}
    log_dets: dict[str, Array] = {}
    outside: dict[str, int] = {}
    for name, column in numeric.items():
        if name not in found.numeric:
            transformed[name] = log_dets[name] = np.full(found.rows, np.nan)
            continue
        values = found.numeric[name]
        infinite = np.isinf(values)
        if infinite.any():
            found.out_of_range[name] = found.out_of_range.get(name, 0) + int(infinite.sum())
            values[infinite] = np.nan
        transformed[name], log_dets[name] = column.evaluate(values)
        possible = np.abs(transformed[name]) <= _LARGEST
        impossible = ~possible & ~np.isnan(values)
        if impossible.any():
            outside[name] = int(impossible.sum())
            for array in (values, transformed[name], log_dets[name]):
                array[impossible] = np.nan
    return transformed, log_dets, outside


def _encode_all(
    levels: Mapping[str, tuple[str, ...]], found: Extracted
) -> tuple[dict[str, NDArray[np.int64]], dict[str, dict[str, int]]]:
    codes: dict[str, NDArray[np.int64]] = {}
    unseen: dict[str, dict[str, int]] = {}
    for name, known in levels.items():
        if name not in found.text:
            codes[name] = np.full(found.rows, MISSING, dtype=np.int64)
            continue
        codes[name], new = _codes(known, found.text[name])
        if new:
            unseen[name] = new
    return codes, unseen


def _codes(
    levels: tuple[str, ...], values: NDArray[np.str_]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return codes and the counts of unseen levels, the most frequent first."""
    series = pl.Series(values)
    known = {"": MISSING, **{level: code for code, level in enumerate(levels)}}
    codes = series.replace_strict(known, default=UNSEEN, return_dtype=pl.Int64).to_numpy()
    unseen = series.filter(pl.Series(codes == UNSEEN)).value_counts(sort=True, name="n")
    return np.array(codes), dict(zip(unseen[:, 0].to_list(), unseen["n"].to_list(), strict=True))


def _conditions(
    schema: Schema,
    levels: Mapping[str, tuple[str, ...]],
    transformed: Mapping[str, Array],
    codes: Mapping[str, NDArray[np.int64]],
    keep: NDArray[np.bool_],
) -> NDArray[np.float32]:
    parts: list[NDArray[Any]] = [
        transformed[column.name][keep] for column in schema.of_role("condition", "numeric")
    ]
    parts += [
        codes[column.name][keep] == code
        for column in schema.of_role("condition", "category")
        for code in range(len(levels[column.name]))
    ]
    return _stack(parts, int(keep.sum()), np.float32)


def _clipped(
    numeric: Mapping[str, FittedNumeric], found: Extracted, keep: NDArray[np.bool_]
) -> dict[str, int]:
    counts = {
        name: column.count_clipped(found.numeric[name][keep])
        for name, column in numeric.items()
        if name in found.numeric
    }
    return {name: count for name, count in counts.items() if count}


def _stack(parts: list[Any], rows: int, dtype: Any) -> NDArray[Any]:
    out = np.empty((rows, len(parts)), dtype=dtype)
    for i, part in enumerate(parts):
        out[:, i] = part
    return out


def _filled(parts: list[Any], rows: int, dtype: Any) -> NDArray[Any]:
    out = _stack(parts, rows, dtype)
    out[np.isnan(out)] = 0.0
    return out
