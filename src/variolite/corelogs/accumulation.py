"""One pass over an instrument table: counts, means and spreads per hole and bin."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.bin_report import TableCounts
from variolite.corelogs.holes import holes_from_columns, holes_from_text
from variolite.corelogs.moments import KEY, merge_moments
from variolite.corelogs.outliers import OutlierRule
from variolite.corelogs.tables import InstrumentTable
from variolite.errors import DataError

__all__ = ["Accumulated", "accumulate"]

# Deeper than any hole: a depth beyond it is a slip, and would overflow the bin index.
_DEEPEST = 100_000.0
_BLANKS = " " * 64
_READING_COUNTS = ("rows", "present", "used", "unreadable")


@dataclass(frozen=True)
class Accumulated:
    """Sums of one table.

    Attributes
    ----------
    bins
        One row per hole and bin: ``hole, bin`` and per channel ``NAME`` (mean),
        ``NAME_count`` and ``NAME_m2`` (sum of squared deviations from the mean).
    labels
        Rows of ``hole, bin, label, used``: readings used per bin and lithology.
    counts
        What became of the rows.
    """

    bins: pl.DataFrame
    labels: pl.DataFrame
    counts: TableCounts


def accumulate(
    table: InstrumentTable,
    *,
    spacing: float,
    rule: OutlierRule,
    require_label: bool,
    keep_label: bool = True,
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
    keep_label
        Sum up each lithology apart. False: only whether there is one, which is
        faster; ``labels`` is then of no use.

    Raises
    ------
    DataError
        If the table cannot be read or holds no usable reading.
    """
    try:
        groups = _group(table, spacing, rule, keep_label=keep_label, lenient=False)
    except PolarsError:
        # Text among the numbers: read again, slowly, counting it.
        try:
            groups = _group(table, spacing, rule, keep_label=keep_label, lenient=True)
        except PolarsError as error:
            raise DataError(
                f"the rows cannot be read: {str(error).strip().splitlines()[0]}",
                where=str(table.path),
                mend="look for a broken quotation mark or export the table again",
            ) from error
    fate = pl.when(pl.col("bin").is_null()).then(pl.lit("no depth")).otherwise(pl.lit("kept"))
    if require_label:
        bare = pl.col("bin").is_not_null() & pl.col("label").is_null()
        fate = pl.when(bare).then(pl.lit("no label")).otherwise(fate)
    groups = groups.with_columns(fate.alias("fate"))
    usable = groups.filter((pl.col("fate") == "kept") & (pl.col("used") > 0))
    if usable.is_empty():
        raise _nothing_usable(_counts(groups, table, bins=0, holes=0))
    usable, respelt = _with_holes(usable, table)
    moments = [name for channel in table.layout.channels for name in _moments(channel.name)]
    bins = usable.select(*KEY, *moments)
    if keep_label or respelt or not require_label:
        bins = merge_moments(bins)
    return Accumulated(
        bins=bins,
        labels=usable.select(*KEY, "label", "used"),
        counts=_counts(groups, table, bins=len(bins), holes=bins["hole"].n_unique()),
    )


def _moments(name: str) -> tuple[str, str, str]:
    return name, f"{name}_count", f"{name}_m2"


def _group(
    table: InstrumentTable, spacing: float, rule: OutlierRule, *, keep_label: bool, lenient: bool
) -> pl.DataFrame:
    """Sum up per hole as written, bin and label; what is left out is counted beside."""
    layout = table.layout
    depth = pl.col(layout.depth)
    # Divided by a column: polars multiplies by the reciprocal of a constant, which puts
    # one reading in a thousand on the other side of a bin edge than division does.
    width = depth * 0.0 + spacing
    value = {c.name: pl.coalesce(layout.values[c.name]) for c in layout.channels}
    present = {name: v.is_finite() for name, v in value.items()}
    valid = dict(present)
    if rule.applies_to == "readings":
        for name, v in value.items():
            valid[name] &= v.is_between(*rule.limits(name))
    together = layout.instrument.whole_readings
    combine = pl.all_horizontal if together else pl.any_horizontal
    used = combine(valid.values()).fill_null(False)
    if together:
        valid = dict.fromkeys(valid, used)
    label = pl.lit(None, dtype=pl.String) if layout.label is None else pl.col(layout.label)
    if not keep_label:
        # A label of blanks alone sorts before a longer run of blanks; any other, after it.
        label = label > _BLANKS
    frame = table.scan(lenient=lenient).select(
        *(pl.col(name).alias(f"hole_{i}") for i, name in enumerate(layout.hole)),
        pl.when(depth.abs() < _DEEPEST)
        .then((depth / width).round(mode="half_to_even"))
        .cast(pl.Int32)
        .alias("bin"),
        label.alias("label"),
        used.alias("used"),
        combine(present.values()).fill_null(False).alias("present"),
        *(["unreadable"] if lenient else []),
        *(pl.when(valid[name]).then(value[name]).alias(name) for name in value),
    )
    # Where all channels of a reading stand or fall together, one count serves all.
    apart = [] if together or len(value) == 1 else list(value)
    counts = [pl.col(name).count().alias(f"{name}_count") for name in apart]
    wanted = [
        pl.len().alias("rows"),
        pl.col("used").sum(),
        pl.col("present").sum() if rule.applies_to == "readings" else None,
        pl.col("unreadable").sum() if lenient else None,
    ]
    grouped = (
        frame.group_by(*(f"hole_{i}" for i in range(len(layout.hole))), "bin", "label")
        .agg(
            *(expression for expression in wanted if expression is not None),
            *counts,
            *(pl.col(name).mean() for name in value),
            *(pl.col(name).var(ddof=0).alias(f"{name}_m2") for name in value),
        )
        .collect(engine="streaming")
    )
    missing = {
        "present": pl.col("used"),
        "unreadable": pl.lit(0),
        **{f"{name}_count": pl.col("used") for name in value},
    }
    if keep_label:
        text = pl.col("label").str.strip_chars()
        tidy = pl.when(text.str.len_bytes() > 0).then(text)
    else:
        tidy = pl.when("label").then(pl.lit("described"))
    return (
        grouped.with_columns(
            e.alias(name) for name, e in missing.items() if name not in grouped.columns
        )
        .with_columns(
            tidy.alias("label"),
            pl.col(*_READING_COUNTS, *(f"{name}_count" for name in value)).cast(pl.Int64),
        )
        .with_columns(
            (pl.col(f"{name}_m2") * pl.col(f"{name}_count")).alias(f"{name}_m2") for name in value
        )
    )


def _with_holes(groups: pl.DataFrame, table: InstrumentTable) -> tuple[pl.DataFrame, bool]:
    """Replace the hole as written by its name; True where a hole is written in two ways."""
    columns = [f"hole_{i}" for i in range(len(table.layout.hole))]
    names = groups.select(columns).unique(maintain_order=True)
    try:
        if len(columns) == 1:
            holes = holes_from_text(names[columns[0]].alias(table.layout.hole[0]))
        else:
            holes = holes_from_columns(*(names[name] for name in columns))
    except DataError as error:
        raise DataError(error.what, where=f"{table.path}, {error.where}", mend=error.mend) from None
    written = pl.concat_str(columns, separator="\t")
    hole = written.replace_strict(names.select(written).to_series(), holes["hole"])
    respelt = holes["hole"].n_unique() < len(holes)
    return groups.with_columns(hole.alias("hole")).drop(columns), respelt


def _counts(groups: pl.DataFrame, table: InstrumentTable, *, bins: int, holes: int) -> TableCounts:
    sums = {
        row.pop("fate"): row
        for row in groups.group_by("fate").agg(pl.col(*_READING_COUNTS).sum()).to_dicts()
    }
    none = dict.fromkeys(_READING_COUNTS, 0)
    kept = sums.get("kept", none)
    return TableCounts(
        path=str(table.path),
        instrument=table.layout.instrument.code,
        rows=sum(row["rows"] for row in sums.values()),
        missing_depth=sums.get("no depth", none)["rows"],
        missing_label=sums.get("no label", none)["rows"],
        missing_value=kept["rows"] - kept["present"],
        out_of_range=kept["present"] - kept["used"],
        used=kept["used"],
        unreadable=sum(row["unreadable"] for row in sums.values()),
        bins=bins,
        holes=holes,
    )


def _nothing_usable(counts: TableCounts) -> DataError:
    return DataError(
        f"none of {counts.rows:,} rows has a depth, a value in range and a lithology "
        f"({counts.missing_depth:,} lack the depth, {counts.missing_label:,} the lithology, "
        f"{counts.missing_value:,} a value, {counts.out_of_range:,} are out of range)",
        where=counts.path,
        mend="check the columns, the outlier rule, and whether unlabelled rows may stay",
    )
