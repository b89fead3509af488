"""Results in tables of their own, entered in a pool by name."""

from __future__ import annotations

import warnings
from typing import Any

import polars as pl

from variolite.errors import DataError, DataWarning, some_of
from variolite.planning.pool import Columns, load_pool, name_column
from variolite.records import Table
from variolite.records.records import text_values


def with_results(source: Any, results: Any, columns: Columns) -> Table:
    """Read a pool, and fill targets that are empty from a table of results, or several.

    Results have a column of names and TARGET, with TARGET_error or TARGET_sd and TARGET_kind if
    known; or TARGET_simulated with its error, as `frameworks simulate` writes it. The last of
    several rows of one name counts. Raises a DataError where there is no such column.
    """
    pool, found = load_pool(source, columns), load_pool(results, columns).frame
    where = str(results[0] if isinstance(results, list) else results)
    frame, column, own = pool.frame, name_column(found, columns), name_column(pool.frame, columns)
    targets = [t.column for t in columns.measurable]
    named = ((t, f"{t}{end}") for t in targets for end in ("_simulated", ""))
    given = {target: name for target, name in named if name in found.columns}
    if column is None or own is None or not given:
        hint = f"Give a table with name and {targets[0]}, or {targets[0]}_simulated"
        raise DataError("this is no table of results of the pool", where=where, hint=hint)
    rows = pl.DataFrame({"name": text_values(found[column])}).with_row_index()
    names = pl.DataFrame({"name": text_values(frame[own])})
    if unknown := rows.join(names, on="name", how="anti")["name"].unique().sort().to_list():
        what = f"results of {len(unknown):,} are left out, as the pool has no such name: "
        warnings.warn(what + some_of(unknown), DataWarning, stacklevel=2)
    last = rows.unique("name", keep="last")
    place = names.join(last, on="name", how="left", maintain_order="left")["index"]
    # True is no number, and would become 1 beside some.
    found = found.select(pl.all().gather(place)).with_columns(pl.col(pl.Boolean).cast(pl.String))
    for target, cells in given.items():
        absent = [f"{target}{end}" for end in ("", "_error", "_kind")]
        absent = [name for name in absent if name not in frame.columns]
        frame = frame.with_columns(pl.lit(None).alias(name) for name in absent)
        known = frame[target].cast(pl.Float64, strict=False).fill_nan(None)
        new = known.is_null() & found[cells].is_not_null()
        other = found[cells].cast(pl.Float64, strict=False) if cells == target else known
        if differ := names["name"].filter((known - other).abs() > 1e-9 * known.abs()).to_list():
            what = f"{target} of the pool stays where results differ: {some_of(differ)}"
            warnings.warn(what, DataWarning, stacklevel=2)
        spread = [f"{cells}{end}" for end in ("_sd", "_error")]
        error = pl.coalesce(*(found[name] for name in spread if name in found.columns), None)
        kind: Any = pl.lit("measured" if cells == target else "simulated")
        kind = found[f"{cells}_kind"] if f"{cells}_kind" in found.columns else kind
        frame = frame.with_columns(
            pl.when(new).then(values).otherwise(f"{target}{end}").alias(f"{target}{end}")
            for end, values in (("", found[cells]), ("_error", error), ("_kind", kind))
        )
    return pool._replace(frame=frame)
