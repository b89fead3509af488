"""A pool: what could be measured, what is known of it, and what a measurement costs.

One row per candidate. A target that is empty has not been measured; what stands there counts as
measured or simulated, never as a prediction. All other columns describe candidates to the
surrogate: numbers as they are, categories and sets by whether a member is in them, chemical
formulas by the share of each element.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, counted, nearest, some_of
from variolite.planning.features import encoded, is_target, latents_of
from variolite.records import Table
from variolite.records.files.delimited import numbers_among
from variolite.records.files.tables import load_table
from variolite.records.records import SENTINELS, text_values

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
Mask = NDArray[np.bool_]

OBSERVED = ("measured", "simulated")
"""Kinds of values that count as observations."""
NOT_OBSERVED = ("_predicted", "_requested")
_DERIVED = ("_low", "_high", "_sd", "_error", "_n", "_kind", *NOT_OBSERVED)
ORIGIN = "origin"
"""Column that says which candidates are generated, where some are."""
_NAMES = ("name", "id", "material_id", "sample", "sample_id")
_SPELLINGS: tuple[Callable[[str], str], ...] = (str, str.upper, str.capitalize)
_LARGEST = 1e100  # Beyond it a number is none: its square would be infinite.
_ODD = 0.2  # Share of other text from which a column is no longer one of numbers.


@dataclass(frozen=True)
class Target:
    """A column to make as large as possible, or as small; ``worth`` is money per unit of it."""

    column: str
    minimise: bool = False
    worth: float | None = None

    def __post_init__(self) -> None:
        if self.worth is not None and not 0 < self.worth < _LARGEST:
            hint = "Give the money that one unit of the target is worth, greater than 0"
            raise DataError(f"a worth of {self.worth:g}", where=self.column, hint=hint)

    @property
    def sign(self) -> float:
        return -1.0 if self.minimise else 1.0


@dataclass(frozen=True)
class Columns:
    """What the columns of a pool mean.

    ``costs`` are added up, and are 1 each where there are none; ``features`` are all other
    columns by default, less those in ``ignore``; the latents of a ``run`` join them. ``cheap`` is
    a cheap measurement that says something of the target, in any unit, and ``cheap_costs`` are
    what it costs.
    """

    targets: tuple[Target, ...]
    costs: tuple[str, ...] = ()
    name: str | None = None
    group: str | None = None
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    run: Path | None = None
    cheap: str | None = None
    cheap_costs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.cheap is None) != (not self.cheap_costs) or (self.cheap and len(self.targets) > 1):
            what = "a cheap measurement needs a column of its own, one of its cost, and one target"
            raise DataError(what, where="cheap", hint="Give --cheap and --cheap-cost together")
        targets = [t.column for t in self.measurable]
        given = Counter([*targets, *self.costs, *filter(None, [self.name])])
        given.update({*self.features, *self.ignore, *filter(None, [self.group])} & {*targets})
        twice = [name for name, count in given.items() if count > 1]
        if "" in given:
            raise DataError("a column without a name", hint="Name one of the pool")
        if twice:
            hint = "Give a column as target, cost, name, group or feature, and only once"
            raise DataError(f"column {twice[0]!r} is given twice", hint=hint)

    @property
    def measurable(self) -> tuple[Target, ...]:
        """Targets, and the cheap column as if it were one."""
        if self.cheap is None:
            return self.targets
        return (*self.targets, Target(self.cheap, self.targets[0].minimise))


@dataclass(frozen=True)
class Cheap:
    """Cheap measurements: values, larger is better, NaN where not measured, and costs, (N,).

    ``ordered`` marks candidates of which this one is proposed; the pool has its costs there.
    """

    values: Floats
    cost: Floats
    cost_low: Floats
    cost_high: Floats
    ordered: Mask


@dataclass(frozen=True)
class Pool:
    """N candidates.

    ``features`` (N, d) have no missing value. ``values`` and ``noise`` (N, T) are targets, NaN
    where not measured, and their standard deviations; larger values are better: those to minimise
    have their sign changed. ``cost`` (N,) and its ends ``cost_low``, ``cost_high`` are in the
    unit of the cost columns, NaN where unknown. Rows of ``aside`` (N,) have a value that cannot be
    read, or are generated a second time, and are neither learnt from nor proposed. ``notes`` say
    what was guessed or left out.
    """

    columns: Columns
    frame: pl.DataFrame
    names: Names
    features: Floats
    feature_names: tuple[str, ...]
    values: Floats
    noise: Floats
    cost: Floats
    cost_low: Floats
    cost_high: Floats
    aside: Mask
    groups: Names | None
    units: dict[str, str]
    notes: tuple[str, ...] = ()
    cheap: Cheap | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[Any]) -> Pool:
        """Return the candidates of a mask (N,), or of these places."""
        found: Pool = _take(self, np.flatnonzero(rows) if rows.dtype == bool else rows)
        return found

    @property
    def measured(self) -> Mask:
        """Candidates with a value of every target, (N,)."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @property
    def affordable(self) -> Mask:
        """Candidates without a value whose cost is known, (N,)."""
        return ~self.measured & ~self.aside & np.isfinite(self.cost_high)


def _take(whole: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of a dataclass of arrays and tables, in those within it too."""
    parts = {one.name: getattr(whole, one.name) for one in fields(whole)}
    arrays = {
        name: part[rows] if isinstance(part, np.ndarray | pl.DataFrame) else _take(part, rows)
        for name, part in parts.items()
        if isinstance(part, np.ndarray | pl.DataFrame | Cheap)
    }
    return replace(whole, **arrays)


def read_pool(source: Any, columns: Columns) -> Pool:
    """Read a pool from a table or several; see `variolite.records.read_table`.

    A cell that cannot be what its column holds costs its own row or feature, and a note says so.
    Raises a DataError where a column is missing or most of one cannot be read, most names repeat,
    or a target is a prediction.
    """
    table = load_pool(source, columns)
    where = str(source[0] if isinstance(source, list) else source)
    if not isinstance(source, list | str | Path):
        where = "pool"
    named = (*(t.column for t in columns.measurable), *columns.costs, *columns.cheap_costs)
    named = (*named, *columns.features)
    read = _Reader(columns, table.units, where)
    frame = read.candidates(table.frame)
    for name in filter(None, (*named, *columns.ignore, columns.name, columns.group)):
        require_column(frame, name, where)
    frame, aside = read.named(frame)
    targets = [read.target(frame, target) for target in columns.measurable]
    for _, odd in targets:
        aside |= odd
    values = np.where(aside[:, None], np.nan, np.stack([found for found, _ in targets], 1))
    values, cheap_values = np.split(values, [len(columns.targets)], axis=1)
    noise = np.stack([read.noise(frame, t.column) for t in columns.targets], 1)
    cost, low, high = read.costs(frame, columns.costs)
    cheap = None
    if columns.cheap is not None:
        of_cheap = read.costs(frame, columns.cheap_costs, f"{columns.cheap} is not ordered")
        if count := int((dearer := of_cheap[-1] > high).sum()):
            text = (
                f"{columns.cheap} costs more than {columns.targets[0].column}, and is not ordered"
            )
            read.notes.append(f"{text}: {counted(count, 'candidate')}")
            of_cheap[-1][dearer] = np.nan
        cheap = Cheap(cheap_values[:, 0], *of_cheap, ordered=np.zeros(len(frame), dtype=bool))
    features, feature_names = read.features(frame, values)
    same = made = generated(frame)
    if made.any():
        if ORIGIN not in frame.columns:
            frame = frame.with_columns(pl.Series(ORIGIN, np.where(made, "generated", "given")))
        same = _repeated(features, made & ~np.isfinite(values).all(axis=1))
    if same.any():
        text = f"{counted(int(same.sum()), 'generated candidate')} the same as others in all"
        read.notes.append(f"{text} features: never proposed")
    return Pool(
        columns=columns,
        frame=frame,
        names=read.names,
        features=features,
        feature_names=feature_names,
        values=values,
        noise=noise,
        cost=cost,
        cost_low=low,
        cost_high=high,
        aside=aside | same,
        groups=text_values(frame[columns.group]) if columns.group else None,
        units=dict(table.units),
        notes=tuple(read.notes),
        cheap=cheap,
    )


def load_pool(source: Any, columns: Columns) -> Table:
    """Read a table or several with names as text."""
    text = [columns.name] if columns.name else [f(n) for n in _NAMES for f in _SPELLINGS]
    return load_table(source, text=text, wells=False)


def name_column(frame: pl.DataFrame, columns: Columns) -> str | None:
    """Return the column of names: the one that is given, or looks like it."""
    return columns.name or next((c for c in frame.columns if c.casefold() in _NAMES), None)


def generated(frame: pl.DataFrame) -> Mask:
    """Candidates that a model made, (N,): they have predictions or requests."""
    found = np.zeros(len(frame), dtype=bool)
    for column in (c for c in frame.columns if c.endswith(NOT_OBSERVED)):
        found |= frame[column].is_not_null().to_numpy()
    return found


def _repeated(features: Floats, rows: Mask) -> Mask:
    """Say which of some rows are the same as one of the others or one before them, (N,)."""
    order = np.argsort(rows, kind="stable")
    _, first = np.unique(features[order], axis=0, return_index=True)
    repeated = rows.copy()
    repeated[order[first]] = False
    return repeated


def require_column(frame: pl.DataFrame, name: str, where: str) -> None:
    """Raise a DataError where a table lacks a column."""
    if name not in frame.columns:
        close = nearest(name, frame.columns)
        hint = f"Did you mean {close!r}?" if close else f"It has: {', '.join(frame.columns[:20])}"
        raise DataError(f"there is no column {name!r}", where=where, hint=hint)


class _Reader:
    """Reads what the columns of one pool mean, and keeps ``notes`` of what cannot be read."""

    def __init__(self, columns: Columns, units: dict[str, str], where: str) -> None:
        self.columns, self.units, self.where = columns, units, where
        self.names: Names = np.empty(0, dtype=np.str_)
        self.notes: list[str] = []

    def candidates(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave out rows that were not built; a target with requests only has no value yet."""
        if "built" in frame.columns:
            failed = (frame["built"].cast(pl.String).str.to_lowercase() == "false").fill_null(False)
            frame = frame.filter(~failed)
            if count := int(failed.sum()):
                self.notes.append(f"left out, as not built: {counted(count, 'candidate')}")
        for target in (t.column for t in self.columns.targets):
            if f"{target}_requested" in frame.columns and target not in frame.columns:
                frame = frame.with_columns(pl.lit(None, pl.Float64).alias(target))
        return frame

    def named(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Mask]:
        """Find ``names``, of a column or row numbers; return one row for each, and those aside."""
        column = name_column(frame, self.columns)
        if column is None:
            self.notes.append("no column of names: candidates are called by their row, from 1")
            self.names = np.arange(1, len(frame) + 1).astype(np.str_)
            return frame, np.zeros(len(frame), dtype=bool)
        names = text_values(frame[column])
        if (nameless := names == "").any():
            rows = [f"{row + 1:,}" for row in np.flatnonzero(nameless)]
            self.notes.append(f"left out, having no {column}: row {some_of(rows)}")
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(names.tolist()):
            rows_of.setdefault(name, []).append(row)
        rows_of.pop("", None)
        repeated = {name: rows for name, rows in rows_of.items() if len(rows) > 1}
        if 2 * len(rows_of) <= (~nameless).sum():
            such = f", such as {next(iter(repeated))}" if repeated else ""
            raise DataError(
                f"column {column!r} names {len(rows_of):,} candidates in {len(names):,} rows{such}",
                where=self.where,
                hint="Give every candidate one row and one name; --name chooses another column",
            )
        differ = {n for n, rows in repeated.items() if len({*map(repr, frame[rows].rows())}) > 1}
        if same := [name for name in repeated if name not in differ]:
            self.notes.append(f"given more than once, and counted once: {some_of(same)}")
        if differ:
            text = "set aside, as their rows differ: {}. Give every candidate one row"
            self.notes.append(text.format(some_of(sorted(differ))))
        if len(rows_of) < len(names):
            first = [rows[0] for rows in rows_of.values()]
            frame, names = frame[first], names[first]
        self.names = names
        return frame, np.isin(names, sorted(differ))

    def target(self, frame: pl.DataFrame, target: Target) -> tuple[Floats, Mask]:
        """Return measured values, larger is better, NaN elsewhere, and which cannot be."""
        column = target.column
        if column.endswith(NOT_OBSERVED):
            raise DataError(
                f"column {column!r} holds predictions or requests, and those are not measurements",
                where=self.where,
                hint="Give a column of measured or simulated values as --target",
            )
        values, odd = self._numbers(frame[column])
        if f"{column}_kind" in frame.columns:
            kinds = text_values(frame[f"{column}_kind"])
            wrong = ~np.isin(np.char.lower(kinds), [*OBSERVED, ""]) & ~np.isnan(values)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise DataError(
                    f"{column} of {self.names[row]} is {kinds[row]}, and only "
                    f"{' or '.join(OBSERVED)} values are observations",
                    where=self.where,
                    hint="Empty it until it is measured",
                )
            if count := int((np.char.lower(kinds) == "simulated").sum()):
                self.notes.append(f"simulated: {counted(count, 'value')} of {column}")
        unit = self.units.get(column) or ""
        most = {"%": 100.0, "fraction": 1.0}.get(unit, np.inf)
        negative_possible = not unit or unit in ("degC", "mV", "eV", "eV/atom", "kJ/mol", "V")
        odd |= (values > most) | ((values < 0) & (not negative_possible))
        limits = "" if negative_possible else f" from 0{f' to {most:g}' * (most < np.inf)} {unit}"
        self._require_most(column, odd, frame[column], f"a number{limits}")
        text = f"set aside, as {column} is not a number{limits}"
        self._note(text, [column], odd, frame, "Write one, or empty the cell if it is unmeasured")
        return np.where(odd, np.nan, target.sign * values), odd

    def noise(self, frame: pl.DataFrame, column: str) -> Floats:
        """Return the standard deviation that stands beside a target, 0 where there is none."""
        noise = np.zeros(len(frame))
        for name in (f"{column}_error", f"{column}_sd"):
            if name in frame.columns:
                values, odd = self._numbers(frame[name])
                odd |= values < 0
                self._note(f"not used, as {name} is not a number from 0 on", [name], odd, frame)
                noise = np.where(odd | np.isnan(values), noise, values)
        return noise

    def costs(
        self, frame: pl.DataFrame, columns: Sequence[str], unknown_is: str = "never proposed"
    ) -> tuple[Floats, Floats, Floats]:
        """Add up the cost columns, and their low and high ends where those are given."""
        total = np.zeros((3, len(frame)))
        if not columns:
            self.notes.append("no cost column: every candidate costs 1")
            total += 1.0
        for column in columns:
            found = [c for c in (column, f"{column}_low", f"{column}_high") if c in frame.columns]
            read = [self._numbers(frame[name]) for name in found]
            wrong = np.any([odd | (values < 0) for values, odd in read], axis=0)
            middle = read[0][0]
            ends = np.stack([values for values, _ in read])
            low, high = np.fmin.reduce(ends), np.fmax.reduce(ends)
            total += np.where(wrong | np.isnan(middle), np.nan, np.stack([middle, low, high]))
            self._note(f"{column} unknown, as it is no number from 0 on", found, wrong, frame)
            if len(found) == 3 and (mixed := (ends[1] > middle) | (ends[2] < middle)).any():
                text = (
                    f"{column} taken from its lowest to its highest end, as they are out of order"
                )
                self._note(text, found, mixed, frame)
        middle, low, high = total
        unknown = int(np.isnan(middle).sum())
        if unknown == len(frame):
            what = f"no row has a cost in {', '.join(columns)}"
            hint = "Give costs as numbers from 0 on, or leave out --cost"
            raise DataError(what, where=self.where, hint=hint)
        if unknown:
            self.notes.append(f"{counted(unknown, 'candidate')} without a cost: {unknown_is}")
        return middle, low, high

    def features(self, frame: pl.DataFrame, values: Floats) -> tuple[Floats, tuple[str, ...]]:
        """Return what describes candidates (N, d) as numbers, without gaps, and what each is."""
        columns, targets = self.columns, [t.column for t in self.columns.targets]
        chosen = [*dict.fromkeys(columns.features)] or _free_columns(frame, columns)
        parts, labels = list[Floats](), list[str]()
        left_out, same, missing = list[str](), list[str](), list[str]()
        measured: Mask = np.asarray(np.isfinite(values).all(axis=1))
        kinds = [rows for rows in (measured, ~measured, generated(frame)) if rows.any()]
        for name in chosen:
            empty = frame[name].is_null().to_numpy()
            if any(empty[rows].all() for rows in kinds):
                left_out.append(name)  # It cannot compare one kind with another.
                continue
            cells = encoded(self._described(frame[name], missing))
            found = {key: v for key, v in cells.items() if np.nanmax(v) > np.nanmin(v)}
            if not found:
                left_out.append(name)
                continue
            if not columns.features and is_target(name, found.get(""), targets, values):
                same.append(name)
                continue
            parts += found.values()
            labels += [f"{name} {key}".strip() for key in found]
        if columns.run is not None:
            # No row's latents may know its own value.
            latents = latents_of(columns.run, frame.drop(targets))
            for place, column in enumerate(latents.T, start=1):
                cells = encoded(pl.Series(column))
                parts += cells.values()
                labels += [f"latent {place} {key}".strip() for key in cells]
        if missing:
            self.notes.append(f"read as missing, as not a number: {some_of(missing)}")
        if left_out:
            self.notes.append(
                "not used, being constant, mostly empty, dates or different in every row: "
                f"{some_of(left_out)}"
            )
        if same:
            self.notes.append(
                f"not used, as they look like the target under another name: {some_of(same)}; "
                "--feature names the columns to use"
            )
        if not parts:
            hint = "Add columns that describe candidates: numbers, categories or formulas"
            raise DataError("there is no usable feature column", where=self.where, hint=hint)
        return np.column_stack(parts), tuple(labels)

    def _described(self, series: pl.Series, missing: list[str]) -> pl.Series:
        """Return a column of numbers without the few cells that are none, others as they are."""
        if not (series.dtype == pl.String or series.dtype.is_numeric()):
            return series
        values, odd = self._numbers(series)
        few = 0 < odd.sum() <= _ODD * np.isfinite(values).sum()
        if series.dtype == pl.String and not few:
            return series
        rows = np.flatnonzero(odd)
        missing += [f"{series.name} of {self.names[r]} ({series[int(r)]!r:.40})" for r in rows]
        return pl.Series(series.name, values)

    def _numbers(self, series: pl.Series) -> tuple[Floats, Mask]:
        """Return the numbers of a column, NaN elsewhere, and the cells that hold anything else."""
        if not (series.dtype.is_numeric() or series.dtype in (pl.String, pl.Null)):
            what = f"column {series.name!r} holds {series.dtype}, not numbers"
            raise DataError(what, where=self.where, hint="Give another column")
        values, odd = numbers_among(series)
        odd |= np.abs(values) > _LARGEST
        marked = np.isin(values, SENTINELS)
        if marked.any():
            self.notes.append(f"read as missing: {marked.sum():,} times -999.25 in {series.name}")
        return np.where(odd | marked, np.nan, values), odd

    def _require_most(self, column: str, odd: Mask, cells: pl.Series, what: str) -> None:
        if odd.sum() > (filled := int(cells.is_not_null().sum())) / 2:
            row = int(np.flatnonzero(odd)[0])
            raise DataError(
                f"{odd.sum():,} of {filled:,} values of {column} are not {what}, such as "
                f"{cells[row]!r:.40} of {self.names[row]}",
                where=self.where,
                hint="Write numbers with a decimal point, or give another column",
            )

    def _note(
        self, text: str, columns: Sequence[str], hit: Mask, frame: pl.DataFrame, hint: str = ""
    ) -> None:
        """Note rows with their cells, if there are any."""
        rows = np.flatnonzero(hit).tolist()
        if rows:
            cells = [", ".join(f"{cell!r:.40}" for cell in frame[columns].row(r)) for r in rows[:4]]
            named = [f"{self.names[r]} ({cell})" for r, cell in zip(rows, cells, strict=False)]
            more = f" and {len(rows) - 4:,} more" if len(rows) > 4 else ""
            self.notes.append(f"{text}: {', '.join(named)}{more}{'. ' * bool(hint)}{hint}")


def _free_columns(frame: pl.DataFrame, columns: Columns) -> list[str]:
    """Return the columns that have no other meaning."""
    known = {*(t.column for t in columns.measurable), *columns.costs, *columns.cheap_costs}
    taken = {*known, *columns.ignore, columns.name}
    predicted = [c.removesuffix("_predicted") for c in frame.columns if c.endswith("_predicted")]
    derived = {f"{c}{end}" for c in (*known, *predicted) for end in _DERIVED}
    return [
        c
        for c in frame.columns
        if c not in taken | derived and not c.endswith(NOT_OBSERVED) and c.casefold() not in _NAMES
    ]
