"""Which rows of a table are used: by a condition of the user, and by the state of the hole."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning, SchemaError, nearest
from variolite.records.records import extract, lacks, rows_to_keep
from variolite.records.schema import BadHole, Column, Schema

Mask = NDArray[np.bool_]

_LONGEST = 2000
# SQL can read files and other tables; conditions on the cells of a row never need these words.
_FORBIDDEN = re.compile(r"\b(select|from|table|with|union|values)\b", re.IGNORECASE)
_HINT = "For example \"BADHOLE == 0 and CALI < 12\" or \"WELL in ('A', 'B')\""


def rows_where(condition: str, frame: pl.DataFrame, schema: Schema | None = None) -> Mask:
    """Return a mask (n,) of the rows for which a condition in SQL holds; not where it is unknown.

    It names columns of the table, or of the ``schema`` bound to it; names with blanks stand in
    double quotation marks. SchemaError where a column is missing, DataError where it is not a
    condition.
    """
    where = f"rows {condition:.80}"
    if len(condition) > _LONGEST or _FORBIDDEN.search(condition):
        raise DataError("is not a plain condition on columns", where=where, hint=_HINT)
    try:
        expression = pl.sql_expr(condition)
        names = set(expression.meta.root_names())
        found = {name: _column(name, frame.columns, schema) for name in names}
        cells = frame.select(pl.col(column).alias(name) for name, column in found.items())
        result = cells.with_columns(pl.selectors.float().fill_nan(None)).select(expression)
    except (pl.exceptions.PolarsError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is not a condition ({reason:.120})", where=where, hint=_HINT) from None
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    holds = result.to_series()
    if holds.dtype != pl.Boolean or len(holds) != frame.height:
        raise DataError("is a value, not a condition on every row", where=where, hint=_HINT)
    mask: Mask = holds.fill_null(value=False).to_numpy()
    return mask


def _column(name: str, available: list[str], schema: Schema | None) -> str:
    meaning = schema.columns.get(name) if schema else None
    folded = [header for header in available if header.casefold() == name.casefold()]
    if name in available:
        return name
    if meaning and meaning.source in available:
        return str(meaning.source)
    if len(folded) == 1:
        return folded[0]
    close = nearest(name, available)
    hint = f"Did you mean {close!r}?" if close else f"It has: {', '.join(available[:20])}"
    raise SchemaError(f"the table has no column {name!r}", hint=hint)


_HOLE = Schema(
    columns={
        name: Column(name=name, unit=unit, optional=True)
        for name, unit in (("caliper", "in"), ("bit_size", "in"), ("density_correction", "g/cm3"))
    }
)


def _in_good_hole(rule: BadHole, frame: pl.DataFrame, units: Mapping[str, str] | None) -> Mask:
    """Return a mask (n,) of the rows that the rule does not call bad; unknown is not bad."""
    needed = ["caliper", "bit_size"] if rule.oversize is not None else []
    needed += ["density_correction"] if rule.density_correction is not None else []
    columns = {name: _HOLE.columns[name].model_copy(update={"optional": False}) for name in needed}
    values, _ = extract(Schema(columns=columns).bind(frame.columns), frame, units)
    bad = np.zeros(frame.height, dtype=bool)
    with np.errstate(invalid="ignore"):
        if rule.oversize is not None:
            bad |= values["caliper"] - values["bit_size"] > rule.oversize
        if rule.density_correction is not None:
            bad |= np.abs(values["density_correction"]) > rule.density_correction
    return ~bad


def chosen_rows(
    schema: Schema, frame: pl.DataFrame, units: Mapping[str, str] | None, *, strict: bool = True
) -> tuple[Mask, dict[str, int]]:
    """Return a mask (n,) of the rows that a bound schema chooses, and how many others by reason.

    A rule on columns that the table lacks is refused where ``strict``, else a warning names it.
    """
    keep, dropped = np.ones(frame.height, dtype=bool), dict[str, int]()
    rules: list[tuple[str, Callable[[], Mask]]] = []
    if condition := schema.rows:
        rules.append((f"not {condition}", lambda: rows_where(condition, frame, schema)))
    if rule := schema.bad_hole:
        rules.append(("bad hole", lambda: _in_good_hole(rule, frame, units)))
    for reason, holds in rules:
        try:
            more = keep & ~holds()
        except SchemaError as error:
            if strict:
                raise
            warnings.warn(f"{error} All rows are used.", DataWarning, stacklevel=3)
            continue
        if more.any():
            dropped[reason] = int(more.sum())
        keep &= ~more
    if not keep.any():
        hint = 'Check the condition, or leave it out with --rows ""'
        raise DataError(f"no row is left ({', '.join(dropped)})", where="rows", hint=hint)
    return keep, dropped


def usable_rows(
    schema: Schema, frame: pl.DataFrame, units: Mapping[str, str] | None = None
) -> NDArray[np.int64]:
    """Return the rows that a bound schema keeps, before anything is learned.

    Splits drawn over the groups of these rows cannot hold a group without rows.
    """
    chosen, _ = chosen_rows(schema, frame, units)
    values, _ = extract(schema, frame, units)
    keep, _ = rows_to_keep(schema, {name: lacks(found) for name, found in values.items()}, chosen)
    return np.flatnonzero(keep).astype(np.int64)
