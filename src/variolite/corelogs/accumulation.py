"""One pass over an instrument table: counts and exact sums per hole and bin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.holes import canonical_holes
from variolite.corelogs.instruments import INSTRUMENTS, InstrumentTable
from variolite.corelogs.moments import KEY, LARGEST, add_up, columns, split, sums
from variolite.errors import DataError, nearest


@dataclass(frozen=True)
class OutlierRule:
    """Ranges outside which a value is left out.

    Attributes
    ----------
    name, ranges
        Name in reports, and channel name to (smallest, largest) value kept, both included.
    applies_to
        ``"readings"``: a value outside is left out before the mean is taken. ``"bins"``: a
        bin whose mean lies outside is dropped, so that one wild reading can spoil or hide in it.
    """

    name: str
    ranges: Mapping[str, tuple[float, float]]
    applies_to: Literal["readings", "bins"] = "readings"


OUTLIER_RULES: Mapping[str, OutlierRule] = {
    "plausible": OutlierRule(
        "plausible", {c.name: c.plausible for entry in INSTRUMENTS.values() for c in entry.channels}
    ),
    "none": OutlierRule("none", {}),
    "lily_v1": OutlierRule("lily_v1", {}),
    "lily_v2": OutlierRule(
        "lily_v2",
        {"bulk_density": (0.3, 4.0), **dict.fromkeys(("red", "green", "blue"), (0.0, 255.0))},
        "bins",
    ),
}
"""Rules by name: the default, none at all, and those of the two published LILY tables."""


def outlier_rule(rule: str | OutlierRule) -> OutlierRule:
    """Return a rule by its name, or the rule itself; DataError if unknown, or a range is empty."""
    if isinstance(rule, str):
        if rule in OUTLIER_RULES:
            return OUTLIER_RULES[rule]
        close = nearest(rule, OUTLIER_RULES)
        what = f"unknown outlier rule '{rule}'" + (f"; did you mean '{close}'" if close else "")
        raise DataError(what, where="outliers", hint=f"choose one of {', '.join(OUTLIER_RULES)}")
    for channel, (low, high) in rule.ranges.items():
        if not low < high:
            where, hint = f"outlier rule '{rule.name}'", "give the smaller number first"
            what = f"the range of '{channel}' is empty: {low} to {high}"
            raise DataError(what, where=where, hint=hint)
    return rule


# Deeper than any hole: a depth beyond it is a slip, and would overflow the bin index.
_DEEPEST = 100_000.0
_BLANKS = " " * 64
_READING_COUNTS = ("rows", "present", "used", "unreadable")


@dataclass(frozen=True)
class TableCounts:
    """Rows of one instrument table: those left out, by the first reason that holds, and used.

    ``repeated`` rows are of the same measurement as another one. ``unreadable`` are numbers that
    were text, such as ``<0.1``; they count as missing. ``bins`` and ``holes`` hold at least one
    used reading.
    """

    path: str
    instrument: str
    rows: int
    repeated: int
    missing_depth: int
    missing_label: int
    missing_value: int
    out_of_range: int
    used: int
    unreadable: int
    bins: int
    holes: int

    def line(self) -> str:
        """Return the account of the table as a line of text."""
        reasons = {
            "without depth": self.missing_depth,
            "without lithology": self.missing_label,
            "without value": self.missing_value,
            "out of range": self.out_of_range,
        }
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        used = f"{self.used:,} of {self.rows:,} readings"
        parts = [f"{self.instrument}: {used}, {self.bins:,} bins, {self.holes:,} holes"]
        if self.repeated:
            parts.append(f"{self.repeated:,} rows repeat others and are counted once")
        parts += [f"left out: {left_out}"] if left_out else []
        parts += [f"{self.unreadable:,} numbers were text"] if self.unreadable else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Accumulated:
    """Sums of one table, and what became of its rows.

    ``bins`` has a row per ``hole`` and ``bin`` with the count and sums of every channel, which
    `moments` takes; ``labels`` rows of ``hole, bin, label, used``, the readings used per bin and
    lithology.
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
    keep_label: bool,
) -> Accumulated:
    """Read one table once, in a stream, and sum it up per hole, bin and label.

    A rule for bins leaves out nothing here. With ``require_label``, rows without a lithology
    are left out. Without ``keep_label``, only whether there is one is looked at, which is
    faster. Raises DataError if the table cannot be read or holds no usable reading.
    """
    groups = _read(table, spacing, rule, keep_label=keep_label)
    repeated, rows = 0, int(groups["rows"].sum())
    # Readings of one value at one depth may be repeated rows: read again, slowly, without these.
    different = pl.col("distinct") - (pl.col("rows") > pl.col("used"))
    in_bins = groups.filter(pl.col("bin").is_not_null())
    if in_bins.select((different < pl.col("used")).any()).item():
        groups = _read(table, spacing, rule, keep_label=keep_label, once=True)
        repeated = rows - int(groups["rows"].sum())
    no_depth, no_label = pl.col("bin").is_null(), pl.col("label").is_null() & require_label
    fate = pl.when(no_depth).then(pl.lit("no depth")).when(no_label).then(pl.lit("no label"))
    groups = groups.with_columns(fate.otherwise(pl.lit("kept")).alias("fate"))
    usable = groups.filter((pl.col("fate") == "kept") & (pl.col("used") > 0))
    if usable.is_empty():
        counts = _counts(groups, table, repeated)
        raise DataError(
            f"none of {counts.rows:,} rows has a depth, a value in range and a lithology "
            f"({counts.missing_depth:,} lack the depth, {counts.missing_label:,} the lithology, "
            f"{counts.missing_value:,} a value, {counts.out_of_range:,} are out of range)",
            where=counts.path,
            hint="check the columns, the outlier rule, and whether unlabelled rows may stay",
        )
    usable, respelt = _with_holes(usable, table)
    bins = usable.select(*KEY, *(part for c in table.channels for part in columns(c.name)))
    # One bin has several rows where it has several labels or its hole several spellings.
    if keep_label or respelt or not require_label:
        bins = add_up(bins)
    counts = _counts(groups, table, repeated, bins=len(bins), holes=bins["hole"].n_unique())
    return Accumulated(bins, usable.select(*KEY, "label", "used"), counts)


def _read(
    table: InstrumentTable,
    spacing: float,
    rule: OutlierRule,
    *,
    keep_label: bool,
    once: bool = False,
) -> pl.DataFrame:
    try:
        return _group(table, table.scan(once=once), spacing, rule, keep_label=keep_label)
    except PolarsError:
        # Text among the numbers: read again, slowly, counting it.
        try:
            lenient = table.scan(lenient=True, once=once)
            return _group(table, lenient, spacing, rule, keep_label=keep_label, lenient=True)
        except PolarsError as error:
            what = f"the rows cannot be read: {str(error).strip().splitlines()[0]}"
            hint = "look for a broken quotation mark or export the table again"
            raise DataError(what, where=str(table.path), hint=hint) from error


def _group(
    table: InstrumentTable,
    rows: pl.LazyFrame,
    spacing: float,
    rule: OutlierRule,
    *,
    keep_label: bool,
    lenient: bool = False,
) -> pl.DataFrame:
    """Sum up per hole as written, bin and label; what is left out is counted beside.

    Of the readings that are used, ``distinct`` counts those that differ in depth or value, and
    one more where there are others.
    """
    depth = pl.col(table.depth)
    # Divided by a column: polars multiplies by the reciprocal of a constant, which puts
    # one reading in a thousand on the other side of a bin edge than division does.
    width = depth * 0.0 + spacing
    value = {c.name: pl.coalesce(table.values[c.name]) for c in table.channels}
    # Neither an infinite value nor a mark such as 1e30 is a reading, whatever the rule.
    present = {name: v.abs() < LARGEST for name, v in value.items()}
    valid = dict(present)
    of_readings = rule.applies_to == "readings"
    for name in value.keys() & rule.ranges.keys() if of_readings else ():
        valid[name] &= value[name].is_between(*rule.ranges[name])
    together = table.instrument.whole
    combine = pl.all_horizontal if together else pl.any_horizontal
    used = combine(valid.values()).fill_null(False)
    if together:
        valid = dict.fromkeys(valid, used)
    label = pl.lit(None, dtype=pl.String) if table.label is None else pl.col(table.label)
    if not keep_label:
        # A label of blanks alone sorts before a longer run of blanks; any other, after it.
        label = label > _BLANKS
    holes = [f"hole_{i}" for i in range(len(table.hole))]
    index = (
        pl.when(depth.abs() < _DEEPEST)
        .then((depth / width).round(mode="half_to_even"))
        .cast(pl.Int32)
    )
    reading = pl.struct(depth, *(v.alias(name) for name, v in value.items())).hash()
    frame = rows.select(
        *(pl.col(name).alias(alias) for alias, name in zip(holes, table.hole, strict=True)),
        index.alias("bin"),
        pl.when(used).then(reading).alias("reading"),
        label.alias("label"),
        used.alias("used"),
        combine(present.values()).fill_null(False).alias("present"),
        *(["unreadable"] if lenient else []),
        *(part for name in value for part in split(name, pl.when(valid[name]).then(value[name]))),
    )
    # Where all channels of a reading stand or fall together, one count serves all.
    apart = [] if together or len(value) == 1 else list(value)
    summed = ["used", *(["present"] if of_readings else []), *(["unreadable"] if lenient else [])]
    grouped = (
        frame.group_by(*holes, "bin", "label")
        .agg(
            pl.len().alias("rows"),
            pl.col(summed).sum(),
            pl.col("reading").n_unique().alias("distinct"),
            *(pl.col(f"{name}_high").count().alias(f"{name}_count") for name in apart),
            *(part for name in value for part in sums(name)),
        )
        .collect(engine="streaming")
    )
    counts = [f"{name}_count" for name in value]
    # What equals another count by definition was not summed up for itself.
    equal = {"present": pl.col("used"), "unreadable": pl.lit(0)}
    equal |= dict.fromkeys(counts, pl.col("used"))
    equal = {name: e for name, e in equal.items() if name not in grouped.columns}
    text = pl.col("label").str.strip_chars()
    tidy = pl.when(text != "").then(text)
    if not keep_label:
        tidy = pl.when("label").then(pl.lit("described"))
    whole = pl.col(*_READING_COUNTS, "distinct", *counts).cast(pl.Int64)
    return grouped.with_columns(**equal).with_columns(tidy.alias("label"), whole)


def _with_holes(groups: pl.DataFrame, table: InstrumentTable) -> tuple[pl.DataFrame, bool]:
    """Replace the hole as written by its name; True where a hole is written in two ways."""
    columns = [f"hole_{i}" for i in range(len(table.hole))]
    names = groups.select(columns).unique(maintain_order=True)
    try:
        holes = canonical_holes(names.rename(dict(zip(columns, table.hole, strict=True))))
    except DataError as error:
        raise DataError(error.what, where=f"{table.path}, {error.where}", hint=error.hint) from None
    written = pl.concat_str(columns, separator="\t")
    hole = written.replace_strict(names.select(written).to_series(), holes["hole"])
    named = groups.with_columns(hole.alias("hole")).drop(columns)
    return named, holes["hole"].n_unique() < len(holes)


def _counts(
    groups: pl.DataFrame, table: InstrumentTable, repeated: int, *, bins: int = 0, holes: int = 0
) -> TableCounts:
    sums = groups.group_by("fate").agg(pl.col(*_READING_COUNTS).sum()).to_dicts()
    by_fate = {fate: dict.fromkeys(_READING_COUNTS, 0) for fate in ("no depth", "no label", "kept")}
    by_fate |= {row.pop("fate"): row for row in sums}
    kept = by_fate["kept"]
    return TableCounts(
        path=str(table.path),
        instrument=table.instrument.code,
        rows=sum(row["rows"] for row in by_fate.values()) + repeated,
        repeated=repeated,
        missing_depth=by_fate["no depth"]["rows"],
        missing_label=by_fate["no label"]["rows"],
        missing_value=kept["rows"] - kept["present"],
        out_of_range=kept["present"] - kept["used"],
        used=kept["used"],
        unreadable=sum(row["unreadable"] for row in by_fate.values()),
        bins=bins,
        holes=holes,
    )
