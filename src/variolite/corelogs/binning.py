"""Instrument tables to one table of depth bins.

The bin index is the depth below sea floor divided by the width and rounded half to even. With
the canonical hole name it is the key on which instruments are joined; a depth is never compared
as a floating-point number. Samples, which are seldom taken at the same depth, are paired by how
many narrow bins they are apart. Tables are read once each, as a stream: memory grows with the
bins.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from variolite.corelogs.accumulation import (
    KEY,
    Accumulated,
    OutlierRule,
    TableCounts,
    accumulate,
    merge_moments,
    outlier_rule,
    spread,
)
from variolite.corelogs.holes import holes_from_text
from variolite.corelogs.instruments import INSTRUMENTS, InstrumentTable, open_table
from variolite.corelogs.lithology import LabelLevel, label_level
from variolite.errors import DataError, DataWarning, counted, some_of

Progress = Callable[[int, int, str], None]
"""Called as ``progress(bytes_done, bytes_total, what)``, before each file and at the end."""

_KEY_COLUMNS = ("hole", "expedition", "site", "bin", "depth")
_LABEL_COLUMNS = ("lithology", "lithology_purity", "lithology_second")
_GAP_COLUMNS = ("gap_above", "gap_distance")


SPACINGS = (1e-4, 1000.0)
"""Least and largest width of a bin, m. Core scanners read every 0.1 mm; indices have 32 bits."""


@dataclass(frozen=True)
class JoinStep:
    """One instrument joined to those before it: bins before, of its own, in both, and after.

    ``reach`` is how far apart paired samples may be, m; None where bins have to be the same.
    """

    instrument: str
    left: int
    right: int
    matched: int
    rows: int
    reach: float | None = None

    @property
    def rate(self) -> float:
        """Matched bins as a fraction of the smaller side, 0 to 1."""
        smaller = min(self.left, self.right)
        return self.matched / smaller if smaller else 0.0

    def line(self) -> str:
        """Return the step as a line of text."""
        if self.reach is None:
            share = f"{self.rate:.1%} of the smaller side"
            met = f"{counted(self.matched, 'common bin')} ({share})"
            return f"+ {self.instrument}: {met}, {counted(self.rows, 'row')}"
        left = f"{self.left - self.matched:,} before and {self.right - self.matched:,} of it left"
        return f"+ {self.instrument}: {self.matched:,} paired within {self.reach:g} m, {left}"


@dataclass(frozen=True)
class BinReport:
    """Account of one binning with a bin width of ``spacing`` m.

    ``label_source`` is the instrument whose descriptions gave the label, if any did. Of the
    bins of the result, ``unlabelled_bins`` have no label and ``impure_bins`` lost theirs;
    ``outlier_bins`` were dropped. ``guessed`` and ``unmapped`` are, per level of labels, the
    lithologies that only their last word maps, and that nothing maps.
    """

    spacing: float
    join: str
    outliers: str
    label_source: str | None
    tables: tuple[TableCounts, ...]
    joins: tuple[JoinStep, ...]
    bins: int
    holes: int
    lithologies: int
    outlier_bins: int
    unlabelled_bins: int
    impure_bins: int
    guessed: Mapping[str, tuple[str, ...]]
    unmapped: Mapping[str, tuple[str, ...]]

    def lines(self) -> tuple[str, ...]:
        """Return the account as lines of text for a terminal."""
        lines = [table.line() for table in self.tables]
        lines += [step.line() for step in self.joins]
        lines.append(
            f"{counted(self.bins, 'bin')} of {self.spacing:g} m in {counted(self.holes, 'hole')}, "
            f"{counted(self.lithologies, 'lithology', 'lithologies')}"
        )
        counts = {
            f"dropped by the rule '{self.outliers}'": self.outlier_bins,
            "not pure enough for a label": self.impure_bins,
            "without a label": self.unlabelled_bins,
        }
        lines += [f"{counted(count, 'bin')} {fate}" for fate, count in counts.items() if count]
        kinds = {"grouped by their last word": self.guessed, "in no group": self.unmapped}
        for how, levels in kinds.items():
            for level, names in levels.items():
                lines.append(f"{level}: {how}: {some_of(names, 5)}")
        return tuple(lines)


def join_instruments(
    parts: Mapping[str, Sequence[Accumulated]],
    how: str,
    min_match: float,
    *,
    spacing: float = 0.2,
    tolerance: float = 0.0,
) -> tuple[pl.DataFrame, tuple[JoinStep, ...]]:
    """Join the bins of all instruments on hole and bin index, in the order of ``parts``.

    With ``how`` "nearest", bins at most ``tolerance`` m apart are paired as `pair_nearest` does;
    the rows are those of the first instrument, and ``bin_CODE`` are the bins of the others.
    Raises DataError if less than ``min_match`` of the bins of the smaller side match: the names
    of the holes, or their depths, are then not those of the same holes.
    """
    nearest = how == "nearest"
    steps: list[JoinStep] = []
    first, *others = parts
    joined = _of_one_instrument(parts[first])
    for code in others:
        left, bins = joined, _of_one_instrument(parts[code])
        right, holes = bins.height, bins["hole"]
        if nearest:
            pairs = pair_nearest(left, bins, int(tolerance / spacing + 1e-9))
            bins = bins.rename({"bin": f"bin_{code}"})
            bins = bins.join(pairs, left_on=["hole", f"bin_{code}"], right_on=["hole", "other"])
        kind: Literal["inner", "full"] = "full" if how == "outer" else "inner"
        joined = left.join(bins, on=KEY, how=kind, coalesce=True)
        # Keys are unique on both sides, so that the sizes give the matches.
        matched = left.height + right - joined.height if kind == "full" else joined.height
        reach = tolerance if nearest else None
        step = JoinStep(code, left.height, right, matched, joined.height, reach)
        if step.rate < min_match:
            what = f"no hole is common: '{left['hole'][0]}' there, '{holes[0]}' here"
            if common := set(left["hole"]) & set(holes):
                what = f"the depths of {counted(len(common), 'common hole')} do not meet"
            smaller = min(step.left, step.right)
            what = f"{matched:,} of {counted(smaller, 'bin')} match ({step.rate:.2%}); {what}"
            where = f"join of {code} to {', '.join([first, *(s.instrument for s in steps)])}"
            hint = "check that the tables are of the same holes and in the same depth scale"
            raise DataError(what, where=where, hint=hint)
        steps.append(step)
    return joined, tuple(steps)


def pair_nearest(first: pl.DataFrame, other: pl.DataFrame, reach: int) -> pl.DataFrame:
    """Pair bins of the same hole that are at most ``reach`` bins apart, one to one.

    The closest pairs are made first, of equally close ones those with the shallower bin of
    ``other``. Both have unique rows of ``hole`` and ``bin``; the result has ``hole, bin, other``.
    """
    free, pairs = [frame.select(KEY) for frame in (first, other)], []
    for shift in sorted(range(-reach, reach + 1), key=lambda shift: (abs(shift), shift)):
        # At one distance a bin can meet one other only, so that keys stay unique.
        shifted = free[0].with_columns(other=pl.col("bin") + shift)
        met = shifted.join(free[1], left_on=["hole", "other"], right_on=KEY)
        free[0] = free[0].join(met, on=KEY, how="anti")
        free[1] = free[1].join(met, left_on=KEY, right_on=["hole", "other"], how="anti")
        pairs.append(met)
    return pl.concat(pairs)


def _of_one_instrument(parts: Sequence[Accumulated]) -> pl.DataFrame:
    """Return the bins of all tables of an instrument, with moments by channel."""
    if len(parts) == 1:
        return parts[0].bins
    # Tables of one instrument may differ in their channels (samples do).
    ordered = sorted(parts, key=lambda part: part.counts.path)  # sums depend on their order
    bins = pl.concat([part.bins for part in ordered], how="diagonal")
    bins = bins.with_columns(pl.selectors.ends_with("_count").fill_null(0))
    # The same readings, which in another order differ in the last digits.
    alike = bins.select(pl.exclude("^.*_m2$")).with_columns(pl.selectors.float().round_sig_figs(9))
    same, shared = alike.is_duplicated().sum(), bins.select(KEY).is_duplicated().sum()
    if same > shared / 2:
        # One table is a copy of another, or continues it from before its end.
        first = alike.select(pl.struct(pl.all()).is_first_distinct()).to_series()
        tables = ", ".join(Path(part.counts.path).name for part in parts)
        what = f"{(~first).sum():,} of their bins are the same in two and are counted once"
        warnings.warn(f"{tables}: {what}", DataWarning, stacklevel=2)
        bins = bins.filter(first)
    return merge_moments(bins)


def label_bins(counts: pl.DataFrame, *, min_purity: float = 0.0) -> pl.DataFrame:
    """Choose one label per bin from rows of hole, bin, label and the number of readings ``used``.

    The result, in no order, has ``lithology``, ``lithology_purity`` (fraction of described
    readings with that label) and ``lithology_second``; ties go to the name that comes first in
    the alphabet. A bin of less than ``min_purity`` is ``impure``: it keeps all but the label.
    """
    described = counts.lazy().filter(pl.col("label").is_not_null())
    per_label = described.group_by("hole", "bin", "label").agg(pl.col("used").sum()).collect()
    # Nearly all bins lie in one bed; only the others have to be ranked.
    mixed = per_label.select(KEY).is_duplicated()
    plain = per_label.filter(~mixed).select(
        *KEY,
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
        One row per hole and bin, sorted: ``hole`` (canonical, such as 318-U1355A),
        ``expedition``, ``site``, ``bin``, ``depth`` (bin centre, m below sea floor); per channel
        its mean under its meaning (``bulk_density`` ...), ``NAME_count`` (readings) and
        ``NAME_sd`` (sample standard deviation, null below two readings); ``lithology``,
        ``lithology_purity``, ``lithology_second`` and one column per level; ``gap_above`` (empty
        metres to the bin above, null at the top of the hole) and ``gap_distance`` (metres from
        the bin centre to the nearest end of its unbroken run of bins).
    report
        What became of every reading.
    """

    table: pl.DataFrame
    report: BinReport


def bin_tables(
    paths: Sequence[str | Path],
    *,
    spacing: float | None = None,
    join: Literal["inner", "outer", "nearest"] = "inner",
    tolerance: float | None = None,
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
        Instrument tables (CSV, CSV.gz, Parquet, Feather) in any order; one instrument's together.
    spacing
        Bin width, m; by default 0.2, and 0.01 where ``join`` is ``"nearest"``.
    join
        Keep bins that every instrument (``"inner"``), or any instrument (``"outer"``), has; or
        pair each bin of the first instrument with the nearest one of every other (``"nearest"``,
        for samples, which are seldom taken at the same depth), one to one.
    tolerance
        How far apart nearest bins may be, m; 0.05 by default.
    outliers
        Which values are no readings: a rule or its name in
        :data:`~variolite.corelogs.OUTLIER_RULES`.
    label_source
        Code of the instrument whose descriptions give the label, or ``"all"``, which in an
        outer join labels bins that others read too; by default the first that has any.
    min_purity
        Bins whose commonest label covers a smaller share of the readings lose it.
    unlabelled
        Whether readings without a lithology are left out (as in the LILY tables) or kept.
    min_match
        Smallest share of bins that must match at each join; 0 allows none.
    levels
        Levels of the label to add, as :func:`~variolite.corelogs.label_level` takes them.
    depth_scale
        Which depth column to use.
    progress
        Called before each file and at the end.

    Raises
    ------
    DataError
        If a table cannot be read, a join matches almost nothing, or nothing is left.
    """
    rule = outlier_rule(outliers)
    wanted = _levels(levels)
    nearest = join == "nearest"
    if tolerance is not None and not nearest:
        raise DataError("is for join='nearest'", where="tolerance", hint="leave it out")
    spacing = (0.01 if nearest else 0.2) if spacing is None else spacing
    tolerance = 0.05 if tolerance is None else tolerance
    if not SPACINGS[0] <= spacing <= SPACINGS[1]:
        hint = f"give a width from {SPACINGS[0]:g} to {SPACINGS[1]:g} m"
        raise DataError(f"a bin of {spacing:g} m", where="spacing", hint=hint)
    if not 0 <= min_purity <= 1:
        hint = "give a share between 0 and 1"
        raise DataError(f"a purity of {min_purity}", where="min_purity", hint=hint)
    if nearest and not spacing <= tolerance < 100 * spacing:
        what, hint = f"{tolerance} m with bins of {spacing} m", "give 1 to 100 bins"
        raise DataError(what, where="tolerance", hint=hint)
    choices = {
        "join": (join, "inner", "outer", "nearest"),
        "unlabelled": (unlabelled, "drop", "keep"),
    }
    for option, (value, *known) in choices.items():
        if value not in known:
            hint = f"choose {' or '.join(known)}"
            raise DataError(f"unknown choice '{value}'", where=option, hint=hint)
    sources = _open_all(paths, depth_scale)
    label_source = _label_source(label_source, sources)
    parts: dict[str, list[Accumulated]] = {code: [] for code in INSTRUMENTS}
    sizes = [source.path.stat().st_size for source in sources]
    for i, source in enumerate(sources):
        if progress is not None:
            progress(sum(sizes[:i]), sum(sizes), source.path.name)
        code = source.instrument.code
        part = accumulate(
            source,
            spacing=spacing,
            rule=rule,
            require_label=unlabelled == "drop" and source.label is not None,
            keep_label=label_source in (code, "all"),
        )
        parts[code].append(part)
    if progress is not None:
        progress(sum(sizes), sum(sizes), "joining")
    parts = {code: group for code, group in parts.items() if group}
    joined, steps = join_instruments(parts, join, min_match, spacing=spacing, tolerance=tolerance)
    before = joined.height
    if rule.applies_to == "bins":
        for name in rule.ranges.keys() & set(joined.columns):
            joined = joined.filter(pl.col(name).is_between(*rule.ranges[name]).fill_null(True))
    dropped = before - joined.height
    described = pl.concat(
        # Where no table says what the rock is, the labels are empty.
        part.labels if label_source in (code, "all") else part.labels.clear()
        for code, group in parts.items()
        for part in group
    )
    labels = label_bins(described, min_purity=min_purity)
    # Paired samples of the describing instrument lie in bins of their own.
    own = f"bin_{label_source}" if f"bin_{label_source}" in joined.columns else "bin"
    joined = joined.join(
        labels, left_on=["hole", own], right_on=KEY, how="left", maintain_order="left"
    )
    if joined.is_empty():
        hint = "use join='outer', or another outlier rule"
        raise DataError("no bin is left", where=f"{join} join of {', '.join(parts)}", hint=hint)
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
    chosen = [label_level(x) for x in ([levels] if isinstance(levels, str | Path) else levels)]
    taken = {*_KEY_COLUMNS, *_LABEL_COLUMNS, *_GAP_COLUMNS}
    for level in chosen:
        if level.name in taken:
            what = f"a level may not be called '{level.name}', which is another column"
            raise DataError(what, where="levels", hint="rename the file of the level")
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
    described = {s.instrument.code for s in sources if s.label is not None}
    if wanted is None:
        return next((code for code in INSTRUMENTS if code in described), None)
    if wanted in described or (wanted == "all" and described):
        return wanted
    present = {source.instrument.code for source in sources}
    what = "has no column 'Principal'" if wanted in present else "is not among the tables"
    hint = f"choose one of {', '.join(sorted(described)) or 'none'}, or all"
    raise DataError(f"instrument '{wanted}' {what}", where="label_source", hint=hint)


def _finish(
    joined: pl.DataFrame,
    parts: Mapping[str, Sequence[Accumulated]],
    spacing: float,
    levels: Sequence[LabelLevel],
) -> pl.DataFrame:
    """Sort the bins and add what follows from the key, the labels and the moments."""
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
            *(*_KEY_COLUMNS, *values, *_LABEL_COLUMNS),
            *(level.name for level in levels),
            *_GAP_COLUMNS,
        )
    )
