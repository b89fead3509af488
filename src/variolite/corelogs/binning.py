"""Instrument tables to one table of depth bins.

Each instrument reads the core at its own spacing. To see them side by side,
readings are averaged in bins of equal width: the bin index is the depth below
sea floor divided by the width and rounded half to even, so that a bin is centred
on ``index * width``. The integer index, together with the canonical hole name,
is the key on which instruments are joined; a depth is never compared as a
floating-point number.

The tables are read once each, as a stream: memory grows with the number of
bins, not of readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from variolite.corelogs.accumulation import Accumulated, accumulate
from variolite.corelogs.bin_report import BinReport
from variolite.corelogs.instruments import INSTRUMENTS
from variolite.corelogs.joining import KEY, join_instruments
from variolite.corelogs.labels import label_bins
from variolite.corelogs.outliers import OutlierRule, outlier_rule
from variolite.corelogs.tables import InstrumentTable, open_table
from variolite.errors import DataError

__all__ = ["BinnedTable", "Progress", "bin_tables"]

Progress = Callable[[int, int, str], None]
"""Called as ``progress(bytes_done, bytes_total, what)``, before each file and at the end."""

_LABEL_COLUMNS = ("lithology", "lithology_purity", "lithology_second")


@dataclass(frozen=True)
class BinnedTable:
    """A table of depth bins and the account of how it came about.

    Attributes
    ----------
    table
        One row per hole and bin, in that order: ``hole`` (canonical, such as
        318-U1355A), ``expedition``, ``site``, ``bin`` (integer index), ``depth``
        (bin centre, m below sea floor); per channel its mean under its meaning
        (``bulk_density`` ...), ``NAME_count`` (readings) and ``NAME_sd`` (sample
        standard deviation of the readings, null where there are fewer than two);
        ``lithology``, ``lithology_purity``, ``lithology_second``; ``gap_above``
        (empty metres to the bin above in this table, 0 where they touch, null at
        the top of the hole) and ``gap_distance`` (metres from the bin centre to
        the nearest end of its unbroken run of bins).
    report
        What became of every reading.
    """

    table: pl.DataFrame
    report: BinReport


def bin_tables(
    paths: Sequence[str | Path],
    *,
    spacing: float = 0.2,
    join: Literal["inner", "outer"] = "inner",
    outliers: str | OutlierRule = "plausible",
    label_source: str | None = None,
    min_purity: float = 0.0,
    unlabelled: Literal["drop", "keep"] = "drop",
    min_match: float = 0.01,
    depth_scale: Literal["CSF-A", "CSF-B"] = "CSF-A",
    progress: Progress | None = None,
) -> BinnedTable:
    """Bin instrument tables by depth and join them.

    Parameters
    ----------
    paths
        Instrument tables (CSV, CSV.gz, Parquet, Feather) in any order; several of
        one instrument are taken together.
    spacing
        Bin width, m.
    join
        ``"inner"``: bins that every instrument has. ``"outer"``: bins that any
        instrument has, with null where one is missing.
    outliers
        Name of a rule in :data:`~variolite.corelogs.outliers.OUTLIER_RULES`, or a
        rule: which values are no readings.
    label_source
        Code of the instrument whose descriptions give the label, or ``"all"`` for
        all together; by default the first of GRA, MS, MSP, NGR, ... that has any.
    min_purity
        Bins whose commonest label covers a smaller share of the readings lose it.
    unlabelled
        Whether readings without a principal lithology are left out (as in the
        published LILY tables) or kept.
    min_match
        Smallest share of bins that must match at each join; 0 allows none.
    depth_scale
        Which depth column to use.
    progress
        Called before each file and at the end.

    Returns
    -------
    BinnedTable

    Raises
    ------
    DataError
        If a table cannot be read or recognised, a join matches almost nothing, or
        nothing is left.
    """
    rule = outlier_rule(outliers)
    _check_options(paths, spacing, join, min_purity)
    tables = _open_all(paths, depth_scale)
    labelled = [t for t in tables if t.layout.label is not None]
    source = _label_source(label_source, labelled, tables)
    parts: dict[str, list[Accumulated]] = {}
    total = sum(table.path.stat().st_size for table in tables)
    done = 0
    for table in tables:
        if progress is not None:
            progress(done, total, table.path.name)
        require = unlabelled == "drop" and table.layout.label is not None
        parts.setdefault(table.layout.instrument.code, []).append(
            accumulate(table, spacing=spacing, rule=rule, require_label=require)
        )
        done += table.path.stat().st_size
    if progress is not None:
        progress(total, total, "joining")
    ordered = {code: parts[code] for code in INSTRUMENTS if code in parts}
    joined, steps = join_instruments(ordered, join, min_match)
    joined, dropped = _drop_outlier_bins(joined, rule)
    labels = label_bins(_label_counts(ordered, source), min_purity=min_purity)
    joined = joined.join(labels, on=KEY, how="left", maintain_order="left")
    table_ = _finish(joined, ordered, spacing)
    if table_.is_empty():
        raise DataError(
            "no bin is left",
            where=f"{join} join of {', '.join(ordered)}",
            mend="use join='outer', or another outlier rule",
        )
    report = BinReport(
        spacing=spacing,
        join=join,
        outliers=rule.name,
        label_source=source,
        tables=tuple(part.counts for group in ordered.values() for part in group),
        joins=steps,
        bins=len(table_),
        holes=table_["hole"].n_unique(),
        lithologies=table_["lithology"].drop_nulls().n_unique(),
        outlier_bins=dropped,
        unlabelled_bins=table_["lithology"].null_count(),
        impure_bins=int(joined["impure"].sum() or 0),
    )
    return BinnedTable(table_, report)


def _check_options(
    paths: Sequence[str | Path], spacing: float, join: str, min_purity: float
) -> None:
    if isinstance(paths, str | Path) or not paths:
        raise DataError("no tables to bin", mend="give a list of instrument tables")
    if not 0 < spacing < float("inf"):
        raise DataError(f"a bin of {spacing} m", where="spacing", mend="give a positive width in m")
    if join not in ("inner", "outer"):
        raise DataError(f"unknown join '{join}'", where="join", mend="choose inner or outer")
    if not 0 <= min_purity <= 1:
        raise DataError(
            f"a purity of {min_purity}", where="min_purity", mend="give a share between 0 and 1"
        )


def _open_all(paths: Sequence[str | Path], depth_scale: str) -> list[InstrumentTable]:
    seen: dict[Path, str] = {}
    for path in map(Path, paths):
        resolved = path.resolve()
        if resolved in seen:
            raise DataError("the table is given twice", where=str(path), mend="give it once")
        seen[resolved] = str(path)
    return [open_table(path, depth_scale=depth_scale) for path in paths]


def _label_source(
    wanted: str | None, labelled: Sequence[InstrumentTable], tables: Sequence[InstrumentTable]
) -> str | None:
    codes = {table.layout.instrument.code for table in labelled}
    if wanted is None:
        return next((code for code in INSTRUMENTS if code in codes), None)
    if wanted == "all" or wanted in codes:
        return wanted
    present = {table.layout.instrument.code for table in tables}
    what = "has no column 'Principal'" if wanted in present else "is not among the tables"
    raise DataError(
        f"instrument '{wanted}' {what}",
        where="label_source",
        mend=f"choose one of {', '.join(sorted(codes)) or 'none'}, or all",
    )


def _label_counts(parts: Mapping[str, Sequence[Accumulated]], source: str | None) -> pl.DataFrame:
    chosen = [
        part.readings.select(*KEY, "label", "used")
        for code, group in parts.items()
        if source in (code, "all")
        for part in group
    ]
    empty = pl.DataFrame(
        schema={"hole": pl.String, "bin": pl.Int32, "label": pl.String, "used": pl.Int64}
    )
    return pl.concat([empty, *chosen])


def _drop_outlier_bins(joined: pl.DataFrame, rule: OutlierRule) -> tuple[pl.DataFrame, int]:
    ranges = [(n, lim) for n, lim in rule.ranges.items() if n in joined.columns]
    if rule.applies_to == "readings" or not ranges:
        return joined, 0
    kept = joined.filter(
        pl.all_horizontal(pl.col(n).is_between(*lim).fill_null(True) for n, lim in ranges)
    )
    return kept, joined.height - kept.height


def _finish(
    joined: pl.DataFrame, parts: Mapping[str, Sequence[Accumulated]], spacing: float
) -> pl.DataFrame:
    channels = [
        channel.name
        for code in parts
        for channel in INSTRUMENTS[code].channels
        if channel.name in joined.columns
    ]
    values = [f"{name}{suffix}" for name in channels for suffix in ("", "_count", "_sd")]
    step = pl.col("bin").diff().over("hole")
    broken = step.is_null() | (step > 1)
    place = pl.int_range(pl.len()).over("hole", "run")
    length = pl.len().over("hole", "run")
    return (
        joined.sort(KEY)
        .with_columns(
            (pl.col("bin") * spacing).alias("depth"),
            ((step - 1) * spacing).alias("gap_above"),
            broken.cast(pl.Int32).cum_sum().over("hole").alias("run"),
            pl.col([f"{name}_count" for name in channels]).fill_null(0),
        )
        .with_columns(
            ((pl.min_horizontal(place, length - 1 - place) + 0.5) * spacing).alias("gap_distance")
        )
        .select(
            "hole",
            "expedition",
            "site",
            "bin",
            "depth",
            *values,
            *_LABEL_COLUMNS,
            "gap_above",
            "gap_distance",
        )
    )
