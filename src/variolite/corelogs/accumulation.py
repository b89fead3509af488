"""One pass over an instrument table: counts, means and spreads per hole and bin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
from polars.exceptions import PolarsError

from variolite.corelogs.holes import canonical_holes
from variolite.corelogs.instruments import INSTRUMENTS, InstrumentTable
from variolite.errors import DataError, counted, nearest
from variolite.records.records import SENTINELS

KEY = ("hole", "bin")
"""What identifies a bin: canonical hole name and integer bin index."""


def merge_moments(partial: pl.DataFrame) -> pl.DataFrame:
    """Merge rows of the same hole and bin, about the common mean (Chan, Golub, LeVeque 1979).

    Per channel there are ``NAME`` (mean), ``NAME_count`` and ``NAME_m2``, the sum of squared
    deviations from that mean.
    """
    # Few bins come in parts, and merging costs ten times what finding them does.
    parted = partial.select(KEY).is_duplicated()
    if not parted.any():
        return partial
    merged = []
    for name in (c.removesuffix("_count") for c in partial.columns if c.endswith("_count")):
        n, mean, m2 = pl.col(f"{name}_count"), pl.col(name), pl.col(f"{name}_m2")
        centre = (n * mean).sum() / n.sum()
        merged += [
            pl.when(n.sum() > 0).then(centre).alias(name),
            n.sum().alias(f"{name}_count"),
            # Within the parts and between them; the difference of two large sums would cancel.
            (m2.sum() + (n * (mean - centre) ** 2).sum()).alias(f"{name}_m2"),
        ]
    whole = partial.filter(parted).group_by(KEY).agg(merged)
    return pl.concat([partial.filter(~parted), whole.select(partial.columns)])


def spread(name: str) -> pl.Expr:
    """Sample standard deviation of a channel, null below two readings."""
    n, m2 = pl.col(f"{name}_count"), pl.col(f"{name}_m2")
    return pl.when(n > 1).then((m2 / (n - 1)).sqrt()).alias(f"{name}_sd")


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
        known = f"choose one of {', '.join(OUTLIER_RULES)}"
        hint = f"did you mean {close!r}?" if close else known
        raise DataError(f"unknown outlier rule {rule!r}", where="outliers", hint=hint)
    for channel, (low, high) in rule.ranges.items():
        if not low < high:
            where, hint = f"outlier rule '{rule.name}'", "give the smaller number first"
            what = f"the range of '{channel}' is empty: {low} to {high}"
            raise DataError(what, where=where, hint=hint)
    return rule


# Deeper than any hole: a depth beyond it is a slip, and would overflow the bin index.
_DEEPEST = 20_000.0
# No reading is as large, but marks of what is missing are, such as 1e30.
_LARGEST = 2.0**30
_BLANKS = " " * 64
_READING_COUNTS = ("rows", "present", "used", "unreadable")
# A sum of floating-point numbers depends on the order of its terms. Rows are summed up in batches
# of this size, in the order of the file, whatever the number of threads.
_BATCH = 100_000


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
        used = f"{self.used:,} of {counted(self.rows, 'reading')}"
        parts = [
            f"{self.instrument}: {used}, {counted(self.bins, 'bin')}, {counted(self.holes, 'hole')}"
        ]
        if self.repeated:
            parts.append(f"repeated rows, counted once: {self.repeated:,}")
        parts += [f"left out: {left_out}"] if left_out else []
        parts += [f"text in place of a number: {self.unreadable:,}"] if self.unreadable else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Accumulated:
    """Moments of one table, and what became of its rows.

    ``bins`` has a row per ``hole`` and ``bin`` with the moments that `merge_moments` takes;
    ``labels`` rows of ``hole, bin, label, used``, the readings used per bin and
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
    groups, repeats = _read(table, spacing, rule, keep_label=keep_label)
    repeated = 0
    if repeats:  # Readings of one value at one depth, or repeated rows: those are left out.
        rows = int(groups["rows"].sum())
        groups, _ = _read(table, spacing, rule, keep_label=keep_label, once=True)
        repeated = rows - int(groups["rows"].sum())
    no_depth, no_label = pl.col("bin").is_null(), pl.col("label").is_null() & require_label
    fate = pl.when(no_depth).then(pl.lit("no depth")).when(no_label).then(pl.lit("no label"))
    groups = groups.with_columns(fate.otherwise(pl.lit("kept")).alias("fate"))
    usable = groups.filter((pl.col("fate") == "kept") & (pl.col("used") > 0))
    if usable.is_empty():
        counts = _counts(groups, table, repeated)
        raise DataError(
            f"no row has a depth, a value in range and a lithology: of {counts.rows:,}, "
            f"{counts.missing_depth:,} lack the depth, {counts.missing_label:,} the lithology, "
            f"{counts.missing_value:,} a value, {counts.out_of_range:,} are out of range",
            where=counts.path,
            hint="check the columns, the outlier rule, and whether unlabelled rows may stay",
        )
    usable = _with_holes(usable, table)
    moments = (f"{c.name}{part}" for c in table.channels for part in ("", "_count", "_m2"))
    # A bin has several rows where it has several labels, spellings of its hole or batches.
    bins = merge_moments(usable.select(*KEY, *moments))
    counts = _counts(groups, table, repeated, bins=len(bins), holes=bins["hole"].n_unique())
    return Accumulated(bins, usable.select(*KEY, "label", "used"), counts)


def _read(
    table: InstrumentTable,
    spacing: float,
    rule: OutlierRule,
    *,
    keep_label: bool,
    once: bool = False,
) -> tuple[pl.DataFrame, bool]:
    try:
        return _group(table, table.scan(once=once), spacing, rule, keep_label=keep_label)
    except (PolarsError, OSError):
        # Text among the numbers: read again, slowly, counting it.
        try:
            lenient = table.scan(lenient=True, once=once)
            return _group(table, lenient, spacing, rule, keep_label=keep_label, lenient=True)
        except (PolarsError, OSError) as error:
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
) -> tuple[pl.DataFrame, bool]:
    """Sum up per hole as written, bin and label, and part of the table.

    What is left out is counted beside. Also returns whether two used readings of one hole are the
    same in depth and value.
    """
    depth = pl.col(table.depth)
    # Divided by a column: polars multiplies by the reciprocal of a constant, which puts
    # one reading in a thousand on the other side of a bin edge than division does.
    width = depth * 0.0 + spacing
    value = {c.name: pl.coalesce(table.values[c.name]) for c in table.channels}
    # Neither an infinite value nor a mark such as 1e30 is a reading, whatever the rule.
    present = {name: v.abs() < _LARGEST for name, v in value.items()}
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
        pl.when((depth.abs() < _DEEPEST) & ~depth.is_in(SENTINELS))
        .then((depth / width).round(mode="half_to_even"))
        .cast(pl.Int32)
    )
    reading = pl.struct(*table.hole, depth, *(v.alias(name) for name, v in value.items())).hash()
    frame = rows.select(
        *(pl.col(name).alias(alias) for alias, name in zip(holes, table.hole, strict=True)),
        index.alias("bin"),
        pl.when(used & index.is_not_null()).then(reading).alias("reading"),
        label.alias("label"),
        used.alias("used"),
        combine(present.values()).fill_null(False).alias("present"),
        *(["unreadable"] if lenient else []),
        *(pl.when(valid[name]).then(value[name]).alias(name) for name in value),
    )
    # Where all channels of a reading stand or fall together, one count serves all.
    apart = [] if together or len(value) == 1 else list(value)
    summed = ["used", *(["present"] if of_readings else []), *(["unreadable"] if lenient else [])]
    aggregates = [
        pl.len().alias("rows"),
        pl.col(summed).sum(),
        *(pl.col(name).count().alias(f"{name}_count") for name in apart),
        *(pl.col(name).mean() for name in value),
        *(pl.col(name).var(ddof=0).alias(f"{name}_m2") for name in value),
    ]
    parts, readings = [], []
    for batch in frame.collect_batches(chunk_size=_BATCH):
        parts.append(batch.group_by(*holes, "bin", "label", maintain_order=True).agg(aggregates))
        readings.append(batch["reading"].drop_nulls())
    grouped, every = pl.concat(parts), pl.concat(readings)
    counts = [f"{name}_count" for name in value]
    # What equals another count by definition was not summed up for itself.
    equal = {"present": pl.col("used"), "unreadable": pl.lit(0)}
    equal |= dict.fromkeys(counts, pl.col("used"))
    equal = {name: e for name, e in equal.items() if name not in grouped.columns}
    text = pl.col("label").str.strip_chars()
    tidy = pl.when(text != "").then(text)
    if not keep_label:
        tidy = pl.when("label").then(pl.lit("described"))
    grouped = (
        grouped.with_columns(**equal)
        .with_columns(tidy.alias("label"), pl.col(*_READING_COUNTS, *counts).cast(pl.Int64))
        # The variance becomes a sum of squares, which adds up over parts.
        .with_columns(pl.col(f"{name}_m2") * pl.col(f"{name}_count") for name in value)
    )
    return grouped, every.n_unique() < len(every)


def _with_holes(groups: pl.DataFrame, table: InstrumentTable) -> pl.DataFrame:
    """Replace the hole as written by its name."""
    columns = [f"hole_{i}" for i in range(len(table.hole))]
    names = groups.select(columns).unique(maintain_order=True)
    try:
        holes = canonical_holes(names.rename(dict(zip(columns, table.hole, strict=True))))
    except DataError as error:
        raise DataError(error.what, where=f"{table.path}, {error.where}", hint=error.hint) from None
    written = pl.concat_str(columns, separator="\t")
    hole = written.replace_strict(names.select(written).to_series(), holes["hole"])
    return groups.with_columns(hole.alias("hole")).drop(columns)


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
