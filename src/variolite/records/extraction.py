"""From a table to one plain array per column of a schema, and which rows can be used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, SchemaError
from variolite.records.schema import Column, Schema, check_mapping, find_source
from variolite.records.values import numeric_values, split_header, text_values, units_agree


@dataclass
class Extracted:
    """Columns taken out of a table of n rows.

    Attributes
    ----------
    values
        float64 [n] by numeric column, NaN where missing, sentinel or implausible;
        str [n] by category column, "" where missing.
    sources
        Table column by name; a column of the schema that the table lacks is in neither.
    counts
        Entries by column, for every count of an :class:`ApplyReport`.
    """

    rows: int
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    counts: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    def missing(self) -> dict[str, NDArray[np.bool_]]:
        """Return a mask of the rows that lack it, by column."""
        return {
            name: np.isnan(values) if values.dtype == np.float64 else values == ""
            for name, values in self.values.items()
        }


def extract(
    schema: Schema,
    frame: pl.DataFrame,
    mapping: Mapping[str, str] | None = None,
    *,
    lenient: bool = False,
) -> Extracted:
    """Take the columns of ``schema``, bound or not, out of ``frame``.

    ``mapping`` is as in :meth:`Schema.bind`. With ``lenient``, for new data, labels,
    group, order, id and inputs with the policy ``mask`` may be absent.
    """
    mapping = mapping or {}
    check_mapping(mapping, schema.columns)
    found = Extracted(rows=frame.height)
    for name, column in schema.columns.items():
        source = _locate(column, frame.columns, mapping.get(name))
        if source is None:
            # Only a column that may be masked can be absent from new data altogether.
            needed = column.role in ("input", "condition") and column.missing != "mask"
            if needed or not lenient:
                _refuse_by_binding(schema, frame, mapping)
                raise SchemaError(
                    f"the table has no column for {name!r}, which every row needs",
                    hint="A model trained with 'missing: mask' for it can do without",
                )
            continue
        found.sources[name] = source
        if column.kind == "category":
            values: NDArray[Any] = text_values(frame[source])
            lacking = int((values == "").sum())
        else:
            values = numeric_values(frame[source])
            lacking = int(np.isnan(values).sum())
            _exclude(column, values, found, single=frame[source].dtype == pl.Float32)
        found.values[name] = values
        if lacking:
            found.counts["missing"][name] = lacking
    return found


def _refuse_by_binding(
    schema: Schema, frame: pl.DataFrame, mapping: Mapping[str, str] | None
) -> None:
    """Raise what binding the schema again raises: it says best what to do about it."""
    unbound = {n: c.model_copy(update={"source": None}) for n, c in schema.columns.items()}
    schema.model_copy(update={"columns": unbound}).bind(frame.columns, mapping)


def _locate(column: Column, available: list[str], mapped: str | None) -> str | None:
    if mapped is None and column.source in available:
        return column.source
    return find_source(column.model_copy(update={"source": None}), available, mapped)


def _exclude(
    column: Column, values: NDArray[np.float64], found: Extracted, *, single: bool
) -> None:
    """Set sentinels and values beyond the valid range to NaN, and count them."""
    # A float32 column holds the float32 nearest to -999.25, as it holds every value.
    marks = [float(np.float32(v)) if single else v for v in column.sentinels]
    excluded = {"sentinels": np.isin(values, marks)} if marks else {}
    if column.valid is not None:
        low = -np.inf if column.valid[0] is None else column.valid[0]
        high = np.inf if column.valid[1] is None else column.valid[1]
        if single:
            low, high = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
        beyond = (values < low) | (values > high)
        excluded["out_of_range"] = beyond & ~excluded.get("sentinels", np.False_)
    for reason, hit in excluded.items():
        if hit.any():
            found.counts[reason][column.name] = int(hit.sum())
            values[hit] = np.nan


def rows_to_keep(
    schema: Schema, missing: Mapping[str, NDArray[np.bool_]], rows: int
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Apply every column's policy for missing values.

    ``missing`` holds a mask [n] of the rows that lack a column; a column without one is
    not judged. Returns a mask [n] of the rows to keep, and the dropped rows by the
    first reason, in the order of the schema.
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
    keep, _ = rows_to_keep(schema, found.missing(), frame.height)
    return np.flatnonzero(keep).astype(np.int64)


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
        _refuse_by_binding(schema, frame, mapping)
        raise SchemaError(f"the table has no column for the group {column.name!r}")
    return text_values(frame[source])


def group_spellings(schema: Schema, mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names under which a table may hold the group and the id.

    To be read as text: holes called 01, 1 and 1.0 are three holes.
    """
    names = [
        name
        for column in (schema.group, schema.id)
        if column is not None
        for name in ((mapping or {}).get(column.name), column.source, column.name, *column.aliases)
    ]
    return tuple(dict.fromkeys(name for name in names if name))


def check_units(
    schema: Schema, sources: Mapping[str, str], units: Mapping[str, str] | None = None
) -> None:
    """Compare declared units with those in headers, and with ``units`` by table column."""
    for name, source in sources.items():
        column = schema.columns[name]
        known = (units or {}).get(source) or split_header(source)[1]
        if not units_agree(column.unit, known):
            raise SchemaError(
                f"{column.name!r} is declared in {column.unit}, but the table gives it in {known}",
                where=f"column {source!r}",
                hint=f"Convert the values to {column.unit}, or declare 'unit: {known}'",
            )
