"""From a data frame to plain arrays: values, names and which rows can be used.

Nothing here is learned: sentinels, valid ranges and the missing-value policy come
from the schema alone, so that fitting and applying treat every row alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, SchemaError
from variolite.records.binding import check_mapping, find_source
from variolite.records.column import Column
from variolite.records.numbers import numeric_values
from variolite.records.schema import Schema
from variolite.records.text import text_values
from variolite.records.units import split_header, units_agree

__all__ = [
    "Extracted",
    "check_units",
    "extract",
    "group_spellings",
    "groups_of",
    "usable_rows",
]


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
                    mend="A model trained with 'missing: mask' for it can do without",
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
                mend="Fill them, or set its 'missing' to drop or mask",
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
            mend="Declare the column that names boreholes, families or campaigns as group",
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
                mend=f"Convert the values to {column.unit}, or declare 'unit: {known}'",
            )
