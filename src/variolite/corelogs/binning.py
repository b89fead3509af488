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

from variolite.corelogs.accumulation import (
    KEY,
    Accumulated,
    OutlierRule,
    accumulate,
    merge_moments,
    outlier_rule,
    spread,
)
from variolite.corelogs.bin_report import BinReport, JoinStep
from variolite.corelogs.holes import holes_from_text
from variolite.corelogs.instrument_tables import InstrumentTable, open_table
from variolite.corelogs.instruments import INSTRUMENTS
from variolite.corelogs.lithology import LabelLevel, label_level
from variolite.errors import DataError

Progress = Callable[[int, int, str], None]
"""Called as ``progress(bytes_done, bytes_total, what)``, before each file and at the end."""

_LABEL_COLUMNS = ("lithology", "lithology_purity", "lithology_second")


def join_instruments(
    parts: Mapping[str, Sequence[Accumulated]], how: str, min_match: float
) -> tuple[pl.DataFrame, tuple[JoinStep, ...]]:
    """Join the bins of all instruments on hole and bin index.

    Parameters
    ----------
    parts
        Instrument code to its tables, in the order of the join.
    how
        ``"inner"`` or ``"outer"``.
    min_match
        Smallest share of the bins of the smaller side that must match.

    Raises
    ------
    DataError
        If fewer bins match, which means that the names of the holes, or their
        depths, are not those of the same holes.
    """
    steps: list[JoinStep] = []
    # Tables of one instrument may differ in their channels (samples do).
    binned = {
        code: pl.concat([part.bins for part in group], how="diagonal")
        for code, group in parts.items()
    }
    for code, group in parts.items():
        if len(group) > 1:
            counts = pl.selectors.ends_with("_count").fill_null(0)
            binned[code] = merge_moments(binned[code].with_columns(counts))
    first, *others = binned
    joined = binned[first]
    for code in others:
        left, bins = joined, binned[code]
        joined = left.join(bins, on=KEY, how="inner" if how == "inner" else "full", coalesce=True)
        # Keys are unique on both sides, so that the sizes tell how many met.
        total = left.height + bins.height
        matched = joined.height if how == "inner" else total - joined.height
        step = JoinStep(code, left.height, bins.height, matched, joined.height)
        if step.rate < min_match:
            if common := set(left["hole"].unique()) & set(bins["hole"].unique()):
                what = f"{len(common)} holes are common but their depths do not meet"
            else:
                what = f"no hole is common: '{left['hole'][0]}' there, '{bins['hole'][0]}' here"
            raise DataError(
                f"{matched:,} of {min(step.left, step.right):,} bins match ({step.rate:.2%}); "
                f"{what}",
                where=f"join of {code} to {', '.join([first, *(s.instrument for s in steps)])}",
                hint="check that the tables are of the same holes and in the same depth scale",
            )
        steps.append(step)
    return joined, tuple(steps)


def label_bins(counts: pl.DataFrame, *, min_purity: float = 0.0) -> pl.DataFrame:
    """Choose one label per bin from the readings described in it.

    Parameters
    ----------
    counts
        Rows with ``hole``, ``bin``, ``label`` (null for none) and ``used``, the
        number of readings so described; a label may come several times.
    min_purity
        Smallest share of the winning label, 0 to 1; below it the bin loses its
        label but keeps the purity and the runner-up.

    Returns
    -------
    pl.DataFrame
        One row per hole and bin, in no order, with ``lithology``, ``lithology_purity`` (share of
        described readings that carry the label), ``lithology_second`` and
        ``impure`` (True where the label was withdrawn). Ties go to the name that
        comes first in the alphabet.
    """
    described = counts.lazy().filter(pl.col("label").is_not_null())
    per_label = described.group_by("hole", "bin", "label").agg(pl.col("used").sum()).collect()
    # Nearly all bins lie in one bed; only the others have to be ranked.
    mixed = per_label.select("hole", "bin").is_duplicated()
    plain = per_label.filter(~mixed).select(
        "hole",
        "bin",
        pl.col("label").alias("lithology"),
        pl.lit(1.0).alias("lithology_purity"),
        pl.lit(None, dtype=pl.String).alias("lithology_second"),
    )
    ranked = (
        per_label.filter(mixed)
        .sort("hole", "bin", "used", "label", descending=[False, False, True, False])
        .group_by("hole", "bin", maintain_order=True)
        .agg(
            pl.col("label").first().alias("lithology"),
            (pl.col("used").first() / pl.col("used").sum()).alias("lithology_purity"),
            pl.col("label").get(1).alias("lithology_second"),
        )
    )
    pure = pl.col("lithology_purity") >= min_purity
    return pl.concat([plain, ranked]).with_columns(
        pl.when(pure).then("lithology"), (~pure).alias("impure")
    )


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
        ``lithology``, ``lithology_purity``, ``lithology_second`` and one column per
        level, such as ``lithology_group``; ``gap_above``
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
    levels: Sequence[str | Path | LabelLevel] = ("lithology_group",),
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
        Name of a rule in :data:`~variolite.corelogs.OUTLIER_RULES`, or a rule: which
        values are no readings.
    label_source
        Code of the instrument whose descriptions give the label, or ``"all"`` for
        all together; by default the first of GRA, MS, MSP, NGR, ... that has any.
        In an outer join ``"all"`` also labels bins that the first did not read.
    min_purity
        Bins whose commonest label covers a smaller share of the readings lose it.
    unlabelled
        Whether readings without a principal lithology are left out (as in the
        published LILY tables) or kept.
    min_match
        Smallest share of bins that must match at each join; 0 allows none.
    levels
        Coarser levels of the label to add, each a column: names of packaged levels,
        files, or levels (see :func:`~variolite.corelogs.lithology.label_level`).
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
    wanted = _levels(levels)
    if not 0 < spacing < float("inf"):
        raise DataError(f"a bin of {spacing} m", where="spacing", hint="give a positive width in m")
    if not 0 <= min_purity <= 1:
        raise DataError(
            f"a purity of {min_purity}", where="min_purity", hint="give a share between 0 and 1"
        )
    for option, value, choices in (
        ("join", join, ("inner", "outer")),
        ("unlabelled", unlabelled, ("drop", "keep")),
    ):
        if value not in choices:
            raise DataError(
                f"unknown choice '{value}'", where=option, hint=f"choose {' or '.join(choices)}"
            )
    sources = _open_all(paths, depth_scale)
    label_source = _label_source(label_source, sources)
    parts: dict[str, list[Accumulated]] = {code: [] for code in INSTRUMENTS}
    sizes = [source.path.stat().st_size for source in sources]
    total = sum(sizes)
    for i, source in enumerate(sources):
        if progress is not None:
            progress(sum(sizes[:i]), total, source.path.name)
        code = source.layout.instrument.code
        part = accumulate(
            source,
            spacing=spacing,
            rule=rule,
            require_label=unlabelled == "drop" and source.layout.label is not None,
            keep_label=label_source in (code, "all"),
        )
        parts[code].append(part)
    if progress is not None:
        progress(total, total, "joining")
    parts = {code: group for code, group in parts.items() if group}
    joined, steps = join_instruments(parts, join, min_match)
    before = joined.height
    if rule.applies_to == "bins":
        ranges = {name: limits for name, limits in rule.ranges.items() if name in joined.columns}
        for name, limits in ranges.items():
            joined = joined.filter(pl.col(name).is_between(*limits).fill_null(True))
    dropped = before - joined.height
    chosen = (group for code, group in parts.items() if label_source in (code, "all"))
    described = [part.labels for group in chosen for part in group]
    if not described:  # no table says what the rock is
        described = [part.labels.clear() for group in parts.values() for part in group]
    labels = label_bins(pl.concat(described), min_purity=min_purity)
    joined = joined.join(labels, on=KEY, how="left", maintain_order="left")
    if joined.is_empty():
        raise DataError(
            "no bin is left",
            where=f"{join} join of {', '.join(parts)}",
            hint="use join='outer', or another outlier rule",
        )
    table = _finish(joined, parts, spacing, wanted)
    names = table["lithology"].unique().to_list()
    report = BinReport(
        spacing=spacing,
        join=join,
        outliers=rule.name,
        label_source=label_source,
        tables=tuple(part.counts for group in parts.values() for part in group),
        joins=steps,
        bins=len(table),
        holes=table["hole"].n_unique(),
        lithologies=table["lithology"].drop_nulls().n_unique(),
        outlier_bins=dropped,
        unlabelled_bins=table["lithology"].null_count(),
        impure_bins=int(joined["impure"].sum() or 0),
        guessed={level.name: found for level in wanted if (found := level.guessed(names))},
        unmapped={level.name: found for level in wanted if (found := level.unmapped(names))},
    )
    return BinnedTable(table, report)


def _levels(levels: Sequence[str | Path | LabelLevel]) -> list[LabelLevel]:
    if isinstance(levels, str | Path):
        levels = (levels,)
    chosen = [label_level(level) for level in levels]
    taken = {"hole", "expedition", "site", "bin", "depth", "gap_above", "gap_distance"}
    taken.update(_LABEL_COLUMNS)
    for level in chosen:
        if level.name in taken:
            raise DataError(
                f"a level may not be called '{level.name}', which is another column",
                where="levels",
                hint="rename the file of the level",
            )
        taken.add(level.name)
    return chosen


def _open_all(paths: Sequence[str | Path], depth_scale: str) -> list[InstrumentTable]:
    if isinstance(paths, str | Path) or not paths:
        raise DataError("no tables to bin", hint="give a list of instrument tables")
    seen = set()
    for path in map(Path, paths):
        if path.resolve() in seen:
            raise DataError("the table is given twice", where=str(path), hint="give it once")
        seen.add(path.resolve())
    return [open_table(path, depth_scale=depth_scale) for path in paths]


def _label_source(wanted: str | None, sources: Sequence[InstrumentTable]) -> str | None:
    described = {s.layout.instrument.code for s in sources if s.layout.label is not None}
    if wanted is None:
        return next((code for code in INSTRUMENTS if code in described), None)
    if wanted in described or (wanted == "all" and described):
        return wanted
    present = {source.layout.instrument.code for source in sources}
    what = "has no column 'Principal'" if wanted in present else "is not among the tables"
    raise DataError(
        f"instrument '{wanted}' {what}",
        where="label_source",
        hint=f"choose one of {', '.join(sorted(described)) or 'none'}, or all",
    )


def _finish(
    joined: pl.DataFrame,
    parts: Mapping[str, Sequence[Accumulated]],
    spacing: float,
    levels: Sequence[LabelLevel],
) -> pl.DataFrame:
    every = (channel.name for code in parts for channel in INSTRUMENTS[code].channels)
    channels = [name for name in every if name in joined.columns]
    values = [f"{name}{suffix}" for name in channels for suffix in ("", "_count", "_sd")]
    # A run is a stretch of bins without a gap: `place` counts from its top, from 0.
    step = pl.col("bin").diff().over("hole")
    broken = step.is_null() | (step > 1)
    place = pl.int_range(pl.len()).over("hole", "run")
    length = pl.len().over("hole", "run")
    joined = joined.sort(KEY)
    holes = holes_from_text(joined["hole"].unique()).drop("hole_letter")
    lithology = joined["lithology"]
    return (
        joined.join(holes, on="hole", how="left", maintain_order="left")
        .with_columns(
            *(spread(name) for name in channels),
            pl.col([f"{name}_count" for name in channels]).fill_null(0),
            (pl.col("bin") * spacing).alias("depth"),
            ((step - 1) * spacing).alias("gap_above"),
            broken.cast(pl.Int32).cum_sum().over("hole").alias("run"),
            *(level.apply(lithology) for level in levels),
        )
        .with_columns(
            ((pl.min_horizontal(place, length - 1 - place) + 0.5) * spacing).alias("gap_distance")
        )
        .select(
            *("hole", "expedition", "site", "bin", "depth", *values, *_LABEL_COLUMNS),
            *(level.name for level in levels),
            *("gap_above", "gap_distance"),
        )
    )
