"""A pool: what could be measured, what is known of it, and what a measurement costs.

One row per candidate. A target that is empty has not been measured; what stands there counts as
measured or simulated, never as a prediction. All other columns describe candidates to the
surrogate: numbers as they are, categories and sets by whether a member is in them, chemical
formulas by the share of each element.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from variolite.errors import DataError, nearest
from variolite.records import numeric_values
from variolite.records.files.tables import load_table
from variolite.records.records import text_values

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

OBSERVED = ("measured", "simulated")
"""Kinds of values that count as observations."""
NOT_OBSERVED = ("_predicted", "_requested")
_DERIVED = ("_low", "_high", "_sd", "_error", "_n", "_kind", *NOT_OBSERVED)
_MEMBERS = 40  # Most members of a category or set that are features, commonest first.
_FEWEST = 3  # Candidates that a member needs.
_SAME = 0.98  # Rank correlation from which a column is taken for the target itself,
_RELATED = 0.3  # and where it begins with the same word.
_NAMES = ("name", "id", "material_id", "sample", "sample_id")


@dataclass(frozen=True)
class Target:
    """A column to make as large as possible, or as small; ``worth`` is money per unit of it."""

    column: str
    minimise: bool = False
    worth: float | None = None

    @property
    def sign(self) -> float:
        return -1.0 if self.minimise else 1.0


@dataclass(frozen=True)
class Columns:
    """What the columns of a pool mean.

    ``costs`` are added up, and are 1 each where there are none; ``features`` are all other
    columns by default, less those in ``ignore``.
    """

    targets: tuple[Target, ...]
    costs: tuple[str, ...] = ()
    name: str | None = None
    group: str | None = None
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """N candidates.

    ``features`` (N, d) have no missing value. ``values`` and ``noise`` (N, T) are targets, NaN
    where not measured, and their standard deviations; larger values are better: those to minimise
    have their sign changed. ``cost`` (N,) and its ends ``cost_low``, ``cost_high`` are in the
    unit of the cost columns, NaN where unknown. ``notes`` say what was guessed or left out.
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
    groups: Names | None
    units: dict[str, str]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Candidates with a value of every target, (N,)."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @property
    def affordable(self) -> NDArray[np.bool_]:
        """Candidates without a value whose cost is known, (N,)."""
        return ~self.measured & np.isfinite(self.cost_high)


def read_pool(source: Any, columns: Columns) -> Pool:
    """Read a pool from a table or several; see `variolite.records.read_table`.

    Raises a DataError where a column is missing, names repeat, a cost is negative, or a target is
    a prediction or impossible in its unit.
    """
    table = load_table(source, text=[columns.name or "name"])
    frame, notes = table.frame, list[str]()
    where = str(source[0] if isinstance(source, list) else source)
    named = (*(t.column for t in columns.targets), *columns.costs, *columns.features)
    for name in filter(None, (*named, *columns.ignore, columns.name, columns.group)):
        require_column(frame, name, where)
    names = _names(frame, columns, where, notes)
    values = np.stack([_target(frame, t, table.units, names, where) for t in columns.targets], 1)
    noise = np.stack([_noise(frame, t.column) for t in columns.targets], 1)
    cost, low, high = _costs(frame, columns.costs, names, where, notes)
    features, feature_names = _features(frame, columns, values, notes)
    return Pool(
        columns=columns,
        frame=frame,
        names=names,
        features=features,
        feature_names=feature_names,
        values=values,
        noise=noise,
        cost=cost,
        cost_low=low,
        cost_high=high,
        groups=text_values(frame[columns.group]) if columns.group else None,
        units=dict(table.units),
        notes=tuple(notes),
    )


def require_column(frame: pl.DataFrame, name: str, where: str) -> None:
    """Raise a DataError where a table lacks a column."""
    if name not in frame.columns:
        close = nearest(name, frame.columns)
        hint = f"Did you mean {close!r}?" if close else f"It has: {', '.join(frame.columns[:20])}"
        raise DataError(f"there is no column {name!r}", where=where, hint=hint)


def _names(frame: pl.DataFrame, columns: Columns, where: str, notes: list[str]) -> Names:
    """Return the name of every candidate: of the column that is named or looks it, or numbers."""
    known = (c for c in frame.columns if c.casefold() in _NAMES)
    column = columns.name or next(known, None)
    if column is None:
        notes.append("no column of names: candidates are called by their row, from 1")
        return np.arange(1, len(frame) + 1).astype(np.str_)
    names = text_values(frame[column])
    if "" in names:
        row = int(np.flatnonzero(names == "")[0]) + 1
        raise DataError(f"row {row} has no {column}", where=where, hint="Give every row a name")
    repeated = [name for name, count in Counter(names.tolist()).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated):,} names occur more than once in column {column!r}, such as "
            f"{repeated[0]}",
            where=where,
            hint="Give every candidate one row and one name; --name chooses another column",
        )
    return names


def _target(
    frame: pl.DataFrame, target: Target, units: dict[str, str], names: Names, where: str
) -> Floats:
    """Return measured values, larger is better, NaN elsewhere."""
    column = target.column
    if column.endswith(NOT_OBSERVED):
        raise DataError(
            f"column {column!r} holds predictions or requests, and those are not measurements",
            where=where,
            hint="Give a column of measured or simulated values as --target",
        )
    values = numeric_values(frame[column])
    if f"{column}_kind" in frame.columns:
        kinds = text_values(frame[f"{column}_kind"])
        wrong = ~np.isin(kinds, [*OBSERVED, ""]) & ~np.isnan(values)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{column} of {names[row]} is {kinds[row]}, and only {' or '.join(OBSERVED)} "
                "values are observations",
                where=where,
                hint="Empty it until it is measured",
            )
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(f"{column} of {names[row]} is infinite", where=where, hint="Correct it")
    unit = units.get(column) or ""
    most = {"%": 100.0, "fraction": 1.0}.get(unit, np.inf)
    negative_possible = not unit or unit in ("degC", "mV", "eV", "eV/atom", "kJ/mol", "V")
    wrong = (values > most) | ((values < 0) & (not negative_possible))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        limits = f"0 to {most:g}" if np.isfinite(most) else "at least 0"
        raise DataError(
            f"{column} of {names[row]} is {values[row]:g} {unit}, and possible is {limits}",
            where=where,
            hint="Correct it, or empty it if it was not measured",
        )
    return target.sign * values


def _noise(frame: pl.DataFrame, column: str) -> Floats:
    """Return the standard deviation that stands beside a target, 0 where there is none."""
    for name in (f"{column}_sd", f"{column}_error"):
        if name in frame.columns and frame[name].dtype.is_numeric():
            return np.nan_to_num(np.abs(numeric_values(frame[name])))
    return np.zeros(len(frame))


def _costs(
    frame: pl.DataFrame, columns: Sequence[str], names: Names, where: str, notes: list[str]
) -> tuple[Floats, Floats, Floats]:
    """Add up the cost columns, and their low and high ends where those are given."""
    if not columns:
        notes.append("no cost column: every candidate costs 1")
        one = np.ones(len(frame))
        return one, one, one
    parts = []
    for end in ("", "_low", "_high"):
        found = [f"{c}{end}" if f"{c}{end}" in frame.columns else c for c in columns]
        parts.append(sum((numeric_values(frame[c]) for c in found), np.zeros(len(frame))))
        for c in found:
            values = numeric_values(frame[c])
            wrong = (values < 0) | np.isinf(values)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                what = f"{c} of {names[row]} is {values[row]:g}"
                raise DataError(what, where=where, hint="A cost is a number from 0 on, or empty")
    middle, low, high = parts
    unknown = int(np.isnan(high).sum())
    if unknown == len(frame):
        what = f"no row has a cost in {', '.join(columns)}"
        raise DataError(what, where=where, hint="Give the costs, or leave out --cost")
    if unknown:
        notes.append(f"{unknown:,} candidates have no cost, and are never proposed")
    return middle, low, np.maximum(high, middle)


def _features(
    frame: pl.DataFrame, columns: Columns, values: Floats, notes: list[str]
) -> tuple[Floats, tuple[str, ...]]:
    """Return what describes candidates (N, d) as numbers, without gaps, and what each is."""
    chosen = columns.features or _free_columns(frame, columns)
    parts, labels = list[Floats](), list[str]()
    left_out, same = list[str](), list[str]()
    for name in chosen:
        encoded = _encoded(frame[name])
        found = {key: v for key, v in encoded.items() if np.nanmax(v) > np.nanmin(v)}
        if not found:
            left_out.append(name)
            continue
        if not columns.features and _is_target(name, found, columns, values):
            same.append(name)
            continue
        parts += found.values()
        labels += [f"{name} {key}".strip() for key in found]
    if left_out:
        notes.append(f"not used, as they tell no candidates apart: {listed(left_out)}")
    if same:
        notes.append(
            f"not used, as they look like the target under another name: {listed(same)}; "
            "--feature names the columns to use"
        )
    if not parts:
        hint = "Add columns that describe candidates: numbers, categories or formulas"
        raise DataError("there is nothing to tell candidates by", hint=hint)
    return np.column_stack(parts), tuple(labels)


def _free_columns(frame: pl.DataFrame, columns: Columns) -> list[str]:
    """Return the columns that have no other meaning."""
    targets = [t.column for t in columns.targets]
    taken = {*targets, *columns.costs, *columns.ignore, columns.name}
    derived = {f"{c}{end}" for c in (*targets, *columns.costs) for end in _DERIVED}
    return [
        c
        for c in frame.columns
        if c not in taken | derived and not c.endswith(NOT_OBSERVED) and c.casefold() not in _NAMES
    ]


def _encoded(series: pl.Series) -> dict[str, Floats]:
    """Return one column as features by name: (N,) each; none where it says nothing of a row."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        values = numeric_values(series.cast(pl.Float64))
        values[np.isinf(values)] = np.nan
        gaps = np.isnan(values)
        if gaps.mean() > 0.5:
            # What is known of few rows, perhaps of the measured only, describes none.
            return {}
        if not gaps.any():
            return {"": values}
        return {"": np.where(gaps, np.nanmedian(values), values), "missing": gaps.astype(float)}
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return {}
    cells = text_values(series)
    shares = _element_shares(cells)
    if shares:
        return shares
    members = [frozenset(filter(None, map(str.strip, cell.split(";")))) for cell in cells]
    counts = Counter(member for cell in members for member in cell)
    common = [m for m, count in counts.most_common(_MEMBERS) if _FEWEST <= count < len(cells)]
    return {m: np.array([m in cell for cell in members], dtype=float) for m in common}


def _element_shares(cells: Names) -> dict[str, Floats]:
    """Return the share of each element where a column holds formulas of several elements."""
    from variolite.crystals.elements import SYMBOLS, parse_formula

    distinct = np.unique(cells[cells != ""])
    if not any(any(c.isdigit() for c in cell) for cell in distinct[:20]):
        return {}
    found: dict[str, dict[int, float]] = {"": {}}
    for cell in distinct.tolist():
        try:
            found[cell] = parse_formula(cell)
        except DataError:
            return {}
    elements = sorted({z for amounts in found.values() for z in amounts})
    table = np.array([[found[c].get(z, 0.0) for z in elements] for c in cells.tolist()])
    table /= np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
    return {SYMBOLS[z]: table[:, i] for i, z in enumerate(elements)}


def _is_target(name: str, encoded: dict[str, Floats], columns: Columns, values: Floats) -> bool:
    """Whether a column is a target under another name.

    It ranks measured rows as the target does; of columns that begin with the same word, such as
    uptakes by several force fields, much less is needed.
    """
    column = encoded.get("")
    for target, value in zip(columns.targets, values.T, strict=True):
        measured = ~np.isnan(value)
        if column is None or measured.sum() < 10 or not np.ptp(column[measured]):
            continue
        if not np.ptp(value[measured]):
            continue
        alike = _first_word(name) == _first_word(target.column)
        rank = abs(spearmanr(column[measured], value[measured]).statistic)
        if rank > (_RELATED if alike else _SAME):
            return True
    return False


def _first_word(name: str) -> str:
    return re.split(r"[\W_]+", name.casefold().strip("_"))[0]


def listed(names: Sequence[str], most: int = 8) -> str:
    """Join names, the first of many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
