"""One pass over an instrument table: counts, means and spreads per hole and bin."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.bin_report import TableCounts
from variolite.corelogs.holes import holes_from_columns, holes_from_text
from variolite.corelogs.outliers import OutlierRule
from variolite.corelogs.tables import InstrumentTable
from variolite.errors import DataError

__all__ = ["Accumulated", "accumulate"]

# Deeper than any hole: a depth beyond it is a slip, and would overflow the bin index.
_DEEPEST = 100_000.0


@dataclass(frozen=True)
class Accumulated:
    """Sums of one table.

    Attributes
    ----------
    readings
        One row per hole, bin and label with ``hole, expedition, site, bin, label,
        used`` and per channel ``NAME_count, NAME, NAME_m2`` (sum of squared
        deviations from the mean of that row).
    counts
        What became of the rows.
    """

    readings: pl.DataFrame
    counts: TableCounts


def accumulate(
    table: InstrumentTable,
    *,
    spacing: float,
    rule: OutlierRule,
    require_label: bool,
) -> Accumulated:
    """Read one table once, in a stream, and sum it up per hole, bin and label.

    Parameters
    ----------
    table
        The table.
    spacing
        Bin width, m; bin index = depth / spacing rounded half to even.
    rule
        Which values to leave out; a rule for bins leaves out none here.
    require_label
        Leave out rows without a principal lithology.

    Raises
    ------
    DataError
        If the table cannot be read or holds no usable reading.
    """
    try:
        groups = _group(table, spacing, rule, lenient=False)
    except PolarsError:
        # Text among the numbers: read again, slowly, counting it.
        try:
            groups = _group(table, spacing, rule, lenient=True)
        except PolarsError as error:
            raise DataError(
                f"the rows cannot be read: {str(error).strip().splitlines()[0]}",
                where=str(table.path),
                mend="look for a broken quotation mark or export the table again",
            ) from error
    kept = pl.col("bin").is_not_null()
    if require_label:
        kept &= pl.col("label").is_not_null()
    usable = groups.filter(kept & (pl.col("used") > 0))
    readings = _with_holes(usable, table)
    counts = _count(groups, readings, table, require_label=require_label)
    if counts.used == 0:
        raise DataError(
            f"none of {counts.rows:,} rows has a depth, a value in range and a lithology "
            f"({counts.missing_depth:,} lack the depth, {counts.missing_label:,} the lithology, "
            f"{counts.missing_value:,} a value, {counts.out_of_range:,} are out of range)",
            where=str(table.path),
            mend="check the columns, the outlier rule, and whether unlabelled rows may stay",
        )
    return Accumulated(readings, counts)


def _group(
    table: InstrumentTable, spacing: float, rule: OutlierRule, *, lenient: bool
) -> pl.DataFrame:
    layout = table.layout
    depth = pl.col(layout.depth)
    # Divided by a column: polars multiplies by the reciprocal of a constant, which puts
    # one reading in a thousand on the other side of a bin edge than division does.
    width = depth * 0.0 + spacing
    value = {c.name: pl.coalesce(layout.values[c.name]).fill_nan(None) for c in layout.channels}
    present = {name: v.is_not_null() & v.is_finite() for name, v in value.items()}
    if rule.applies_to == "readings":
        valid = {
            name: v.is_between(*rule.limits(name)) & present[name] for name, v in value.items()
        }
    else:
        valid = dict(present)
    combine = pl.all_horizontal if layout.instrument.whole_readings else pl.any_horizontal
    used = combine(v.fill_null(False) for v in valid.values())
    if layout.instrument.whole_readings:
        valid = dict.fromkeys(valid, used)
    unreadable = pl.col("unreadable") if lenient else pl.lit(0, dtype=pl.UInt32)
    label = pl.lit(None, dtype=pl.String) if layout.label is None else pl.col(layout.label)
    frame = table.scan(lenient=lenient).select(
        *(pl.col(name).alias(f"hole_{i}") for i, name in enumerate(layout.hole)),
        pl.when(depth.abs() < _DEEPEST)
        .then((depth / width).round(mode="half_to_even"))
        .cast(pl.Int32)
        .alias("bin"),
        label.alias("label"),
        used.alias("used"),
        combine(v.fill_null(False) for v in present.values()).alias("present"),
        unreadable.alias("unreadable"),
        *(pl.when(valid[name]).then(value[name]).alias(name) for name in value),
    )
    keys = [*(f"hole_{i}" for i in range(len(layout.hole))), "bin", "label"]
    return (
        frame.group_by(keys)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("present", "used", "unreadable").cast(pl.Int64).sum(),
            *(pl.col(name).count().cast(pl.Int64).alias(f"{name}_count") for name in value),
            *(pl.col(name).mean() for name in value),
            *(pl.col(name).var(ddof=0).alias(f"{name}_m2") for name in value),
        )
        .with_columns(
            (pl.col(f"{name}_m2") * pl.col(f"{name}_count")).alias(f"{name}_m2") for name in value
        )
        .with_columns(_tidy_label(pl.col("label")))
        .collect(engine="streaming")
    )


def _tidy_label(label: pl.Expr) -> pl.Expr:
    text = label.str.strip_chars()
    return pl.when(text.str.len_bytes() > 0).then(text)


def _with_holes(groups: pl.DataFrame, table: InstrumentTable) -> pl.DataFrame:
    columns = [f"hole_{i}" for i in range(len(table.layout.hole))]
    names = groups.select(columns).unique(maintain_order=True)
    try:
        if len(columns) == 1:
            holes = holes_from_text(names[columns[0]].alias(table.layout.hole[0]))
        else:
            holes = holes_from_columns(*(names[name] for name in columns))
    except DataError as error:
        raise DataError(
            error.what, where=f"{table.path}, {error.where}", mend=error.mend
        ) from error
    lookup = pl.concat([names, holes.drop("hole_letter")], how="horizontal")
    return groups.join(lookup, on=columns, how="left", nulls_equal=True).drop(
        *columns, "rows", "present", "unreadable"
    )


def _count(
    groups: pl.DataFrame, readings: pl.DataFrame, table: InstrumentTable, *, require_label: bool
) -> TableCounts:
    no_depth = pl.col("bin").is_null()
    no_label = ~no_depth & pl.col("label").is_null() & pl.lit(require_label)
    kept = ~no_depth & ~no_label

    def total(name: str, where: pl.Expr) -> int:
        return int(groups.filter(where)[name].sum())

    rows = total("rows", kept)
    present = total("present", kept)
    used = total("used", kept)
    return TableCounts(
        path=str(table.path),
        instrument=table.layout.instrument.code,
        rows=int(groups["rows"].sum()),
        missing_depth=total("rows", no_depth),
        missing_label=total("rows", no_label),
        missing_value=rows - present,
        out_of_range=present - used,
        used=used,
        unreadable=int(groups["unreadable"].sum()),
        bins=readings.select("hole", "bin").n_unique() if len(readings) else 0,
        holes=readings["hole"].n_unique(),
    )
