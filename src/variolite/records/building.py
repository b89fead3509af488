"""From extracted arrays and fitted columns to records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError
from variolite.records.extraction import Extracted, rows_to_keep
from variolite.records.numeric_column import FittedNumeric
from variolite.records.records import MISSING, UNSEEN, Records
from variolite.records.reporting import ApplyReport
from variolite.records.schema import Schema

__all__ = ["build_records"]

Array = NDArray[np.float64]
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
            mend="Check that its columns are mapped rightly and in the units of the schema",
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
