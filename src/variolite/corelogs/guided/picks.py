"""Picks: the lithology that a geologist reads in a few wells, by depth or by interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, counted, some_of
from variolite.records import Column, Schema, Table, load_table, normalised, numeric_values
from variolite.records.records import text_values
from variolite.records.units import can_convert, convert, split_header
from variolite.scoring.intervals import FloatArray

PICKED = "picked lithology"
"""Column of a table that holds what was picked."""

_TOP = ("top", "from", "top depth", "depth from", "depth top", "top md", "md top", "start")
_BASE = (
    "base",
    "bottom",
    "to",
    "base depth",
    "depth to",
    "depth base",
    "base md",
    "md base",
    "end",
)
_CLASS = (
    *("class", "label", "lithology", "facies", "rock", "rock type", "lithofacies", "litho"),
    *("formation", "formation name", "fm", "zone", "surface", "surfaces", "name"),
)
_HINT = "give a table with columns well, top, base and lithology, or well, depth and lithology"
_ELSEWHERE, _INSIDE = 0.5, 0.9  # shares of picks within the logs, as they are and in another unit


@dataclass(frozen=True)
class Picks:
    """Labels of intervals of wells, [p] each: well, top and base in ``unit``, label.

    A pick of a single depth has its base at its top; it labels the nearest row within a step. A
    base of infinity is the end of the well.
    ``notes`` say what was made of the file.
    """

    well: NDArray[np.str_]
    top: FloatArray
    base: FloatArray
    label: NDArray[np.str_]
    unit: str | None
    where: str
    notes: tuple[str, ...] = ()

    def labels(
        self, wells: NDArray[np.str_], depth: FloatArray, unit: str | None
    ) -> tuple[NDArray[np.str_], list[str]]:
        """Return the label of every row, [n], "" where nothing was picked, and what to report.

        ``depth`` [n] is in ``unit``. DataError where no row is labelled, two picks disagree, or
        depths without a unit fit the logs in another one.
        """
        scale = 1.0
        if self.unit and unit and can_convert(self.unit, unit):
            scale = float(convert(np.ones(1), self.unit, unit)[0])
        names = {name: normalised(name) for name in pl.Series(wells).unique().to_list()}
        codes = pl.Series(wells).replace(names).to_numpy()
        own = np.array([normalised(name) for name in self.well.tolist()])
        there = np.isin(own, [*names.values()])
        logs = {}
        for well in dict.fromkeys(own[there].tolist()):
            rows = np.flatnonzero((codes == well) & np.isfinite(depth))
            rows = rows[np.argsort(depth[rows], kind="stable")]
            logs[well] = rows, depth[rows] / scale
        if not self.unit:
            self._require_unit({well: at for well, (_, at) in logs.items()}, own, unit)
        found, unused = np.full(len(wells), "", dtype=self.label.dtype), 0
        for well, (rows, at) in logs.items():
            unused += self._label(np.flatnonzero(own == well), rows, at, found)
        if not (found != "").any():
            self._refuse(names, own, {well: at for well, (_, at) in logs.items()})
        count = len(set(codes[found != ""].tolist()))
        of = f"{counted(int((found != '').sum()), 'row')} of {counted(count, 'well')}"
        lines = [f"{of} labelled by {Path(self.where).name}: {rows_by_label(found)}", *self.notes]
        if not there.all():
            absent = dict.fromkeys(self.well[~there].tolist())
            lines.append(f"picks of wells that the table lacks: {some_of(absent)}")
        if unused:
            why = "beyond the logs, between two rows, or farther from a row than another pick"
            lines.append(f"{unused:,} of {int(there.sum()):,} picks label no row: {why}")
        return found, lines

    def _label(
        self, mine: NDArray[np.int64], rows: NDArray[np.int64], depth: FloatArray, found: Any
    ) -> int:
        """Label the rows of one well, sorted by depth; return how many of its picks label none."""
        if not len(depth):
            return len(mine)
        step = float(np.median(np.diff(depth))) if len(depth) > 1 else 0.0
        near = np.array([np.abs(depth - top).argmin() for top in self.top[mine]])
        distance = np.abs(depth[near] - self.top[mine])
        unused, depths = 0, dict[int, float]()  # of the single depths that label a row
        for i in np.argsort(distance, kind="stable"):  # the nearest depth labels a row
            top, base, label = self.top[mine[i]], self.base[mine[i]], self.label[mine[i]]
            if base > top:
                first, end = np.searchsorted(depth, [top, base])
            else:
                first, end = near[i], near[i] + (distance[i] <= step * (1 + 1e-6))
                if depths.get(first, top) != top:
                    unused += 1
                    continue
                depths |= {first: top} if end > first else {}
            at = rows[first:end]
            unused += not len(at)
            clash = (found[at] != "") & (found[at] != label)
            if clash.any():
                place, other = depth[first:end][clash][0], found[at][clash][0]
                what = f"{label} and {other} are both picked at {place:g}"
                where = f"{self.where}, well {self.well[mine[i]]}"
                raise DataError(what, where=where, hint="correct one")
            found[at] = label
        return unused

    def _require_unit(
        self, logs: Mapping[str, FloatArray], own: NDArray[np.str_], unit: str | None
    ) -> None:
        """Raise a DataError where depths fit the logs in metres or feet, but not in ``unit``."""
        ends = {well: (at[0], at[-1]) for well, at in logs.items() if len(at)}
        at = [i for i, well in enumerate(own.tolist()) if well in ends]
        if not at or not (unit and can_convert(unit, "m")):
            return
        first, last = np.array([ends[own[i]] for i in at]).T

        def inside(worth: float) -> float:
            return float(((self.base[at] * worth >= first) & (self.top[at] * worth <= last)).mean())

        for other in ("m", "ft"):
            worth = float(convert(np.ones(1), other, unit)[0])
            if inside(1.0) < _ELSEWHERE and inside(worth) >= _INSIDE:
                what = f"the depths fit the logs in {other}, but not in {unit}"
                hint = f"name the unit in the header, as in 'top ({other})' or 'top ({unit})'"
                raise DataError(what, where=self.where, hint=hint)

    def _refuse(
        self, names: Iterable[str], own: NDArray[np.str_], logs: Mapping[str, FloatArray]
    ) -> None:
        """Raise a DataError that says why no row lies at a pick."""
        what, hint = "no row of the table lies at a pick", "correct the depths"
        for well, at in logs.items():
            top = self.top[own == well].min()
            base = np.where(np.isinf(self.base), self.top, self.base)[own == well].max()
            place = f"{self.where}, well {self.well[own == well][0]}"
            if len(at):
                what += f": picks lie from {top:g} to {base:g}, rows from {at[0]:g} to {at[-1]:g}"
            raise DataError(what, where=place, hint=hint)
        some = ", ".join(sorted(filter(None, names))[:3])
        raise DataError(what, where=self.where, hint=f"the table has wells such as {some}")


def rows_by_label(labels: NDArray[np.str_]) -> str:
    """Say how many rows each label has, the commonest first; "" is none."""
    counts = Counter(labels[labels != ""].tolist())
    return some_of((f"{label} ({rows:,})" for label, rows in counts.most_common()), most=15)


def one_spelling_each(labels: NDArray[np.str_]) -> tuple[NDArray[np.str_], list[str]]:
    """Give labels that differ in case and blanks only their commonest spelling; say which."""
    alike = _spelt_alike(labels)
    names = {other: every[0] for every in alike for other in every[1:]}
    found = np.array([names.get(label, label) for label in labels.tolist()], dtype=np.str_)
    return found, [f"{', '.join(every[1:])} taken for {every[0]}" for every in alike]


def _spelt_alike(labels: NDArray[np.str_]) -> list[list[str]]:
    """Return the spellings of every label that has several, the commonest first.

    Those of one or two letters may be codes, in which case counts.
    """
    spelt: dict[str, list[str]] = {}
    for label, _ in Counter(labels.tolist()).most_common():
        key = " ".join(label.casefold().split())
        spelt.setdefault(key if len(key) > 2 else label, []).append(label)
    return [every for every in spelt.values() if every[1:]]


def read_picks(path: Path, schema: Schema) -> Picks:
    """Read picks from a table of wells, depths (or tops, with or without bases) and labels.

    Depths are in the unit of the header, else in that of the logs. DataError where a column is
    missing, a base lies above its top, or nothing is picked.
    """
    where = str(path)
    text = ("well", "WELL", "Well", "hole", "Hole", *(schema.group.aliases if schema.group else ()))
    table = load_table(path, text=text)
    names = _columns(schema, table.frame.columns, where)
    frame = table.frame.select(pl.col(header).alias(name) for name, header in names.items())
    first = "top" if "top" in names else "depth"
    try:
        top = numeric_values(frame[first])
        base = numeric_values(frame["base"]) if "base" in names else top
    except DataError as error:
        hint = "write plain numbers, without units or marks between thousands; missing ones empty"
        raise DataError(error.what, where=f"{where}: {error.where}", hint=hint) from None
    well, label = text_values(frame["well"]), text_values(frame["label"])
    notes = []
    surfaces = split_header(names["label"])[0].casefold() in ("surface", "surfaces")
    tops_alone = "base" not in names and (first == "top" or surfaces)
    if tops_alone:
        base = _next_tops(well, top)
        notes.append("tops alone: each reaches to the next in its well, the last to the end")
    whole = np.isfinite(top) & ~np.isnan(base) & (well != "") & (label != "")
    if not whole.any():
        raise DataError("no row has a well, a depth and a label", where=where, hint=_HINT)
    if (base < top)[whole].any():
        row = int(np.flatnonzero(whole & (base < top))[0]) + 1
        hint = "swap the two columns, or correct the row"
        raise DataError(f"the base lies above the top in row {row}", where=where, hint=hint)
    unit = table.units.get(names[first]) or split_header(names[first])[1]
    label, alike = one_spelling_each(label[whole])
    notes += alike
    if lost := int((~whole).sum()):
        depth = "a depth of their own" if tops_alone else "a depth"
        notes.append(f"{lost:,} of {len(whole):,} picks lack a well, {depth} or a label")
    return Picks(well[whole], top[whole], base[whole], label, unit, where, tuple(notes))


def _next_tops(well: NDArray[np.str_], top: FloatArray) -> FloatArray:
    """Return the next top in the same well, infinity for the deepest, [p].

    Of tops at one depth the last has the interval, and the others NaN: they are not there.
    """
    base = np.where(np.isfinite(top), np.inf, np.nan)
    codes = np.unique([normalised(name) for name in well.tolist()], return_inverse=True)[1]
    order = np.lexsort((top, codes))
    order = order[np.isfinite(top[order])]
    above, below = order[:-1], order[1:]
    same = codes[above] == codes[below]
    base[above[same]] = np.where(top[below] > top[above], top[below], np.nan)[same]
    return base


def _columns(schema: Schema, available: list[str], where: str) -> dict[str, str]:
    """Return the columns of picks that hold well, label and depth, or top and base."""

    def column(name: str, role: str, aliases: tuple[str, ...], known: Column | None) -> Column:
        names = (known.name, *known.aliases) if known else ()
        given = {"name": name, "role": role, "aliases": (*names, *aliases), "optional": True}
        return Column.model_validate(given)

    columns = (
        column("well", "group", ("hole", "borehole", "wellbore", "uwi"), schema.group),
        column("label", "label", _CLASS, next(iter(schema.labels), None)),
        column("depth", "order", ("md", "dept"), schema.order),
        column("top", "input", _TOP, None),
        column("base", "input", _BASE, None),
    )
    wanted = Schema(columns={c.name: c for c in columns})
    found = {name: header for header, name in wanted.sources(available, {}).items()}
    places: tuple[str, ...] = ("depth",)
    if "top" in found and ("base" in found or "depth" not in found):
        places = ("top", "base") if "base" in found else ("top",)
    needed = ("well", "label", *places)
    if missing := [name for name in needed if name not in found]:
        what = f"there is no column for {missing[0]}; it has {', '.join(available[:8])}"
        raise DataError(what, where=where, hint=_HINT)
    return {name: found[name] for name in needed}


def require_labels(labels: NDArray[np.str_], where: str = "labels") -> None:
    """Raise a DataError unless labels (n,), "" for none, are of two classes at least."""
    classes = sorted(set(labels.tolist()) - {""})
    if not classes:
        hint = "give --labels FILE (well, top, base, lithology), or map a column of labels with "
        raise DataError("no row has a label", where=where, hint=f"{hint}--map lithology=COLUMN")
    if len(classes) < 2:
        hint = "label rows of another class too"
        raise DataError(f"all labels are {classes[0]!r}", where=where, hint=hint)


def with_picks(
    table: Table,
    schema: Schema,
    mapping: Mapping[str, str],
    picks: Picks,
    note: Callable[[str], None],
) -> Table:
    """Return a table with what was picked as its column `PICKED`, "" elsewhere.

    DataError where the table has no wells or depths.
    """
    others = {name: header for name, header in mapping.items() if header != PICKED}
    bound = schema.bind(table.frame.columns, others)
    if bound.group is None or bound.order is None:
        what = "picks are placed by well and depth, and the table lacks one of them"
        raise DataError(what, where=picks.where, hint="bind both with --map hole= and depth=")
    depth = str(bound.order.source)
    unit = table.units.get(depth) or split_header(depth)[1] or bound.order.unit
    wells = text_values(table.frame[str(bound.group.source)])
    found, lines = picks.labels(wells, numeric_values(table.frame[depth]), unit)
    for line in lines:
        note(line)
    return table._replace(frame=table.frame.with_columns(pl.Series(PICKED, found)))


def labelled_loader(
    schema: Schema, mapping: Mapping[str, str], picks: Picks | None, note: Callable[[str], None]
) -> Callable[..., Table]:
    """Return what reads a table as `load_table` does and requires labels, of picks where given."""

    def load(data: Any, **options: Any) -> Table:
        table = load_table(data, **options)
        if picks is not None:
            table = with_picks(table, schema, mapping, picks, note)
            require_labels(table.frame[PICKED].to_numpy(), picks.where)
            return table
        label = next(iter(schema.bind(table.frame.columns, mapping).labels), None)
        found = text_values(table.frame[str(label.source)]) if label else np.empty(0, "U1")
        require_labels(found)
        note(f"labels: {rows_by_label(found)}")
        for every in _spelt_alike(found):
            note(f"{', '.join(every)} are labels of their own; spell alike what is one")
        return table

    return load
