"""Picks: the lithology that a geologist reads in a few wells, by depth or by interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError
from variolite.records import Column, Schema, Table, load_table, normalised, numeric_values
from variolite.records.records import text_values
from variolite.records.units import can_convert, convert, split_header
from variolite.scoring.intervals import FloatArray

PICKED = "picked lithology"
"""Column of a table that holds what was picked."""

_TOP = ("top", "from", "top depth", "depth from", "top_depth", "depth_from", "start")
_BASE = ("base", "bottom", "to", "base depth", "depth to", "base_depth", "depth_to", "end")
_CLASS = ("class", "label", "lithology", "facies", "rock", "lithofacies")
_HINT = "give a table with columns well, top, base and lithology, or well, depth and lithology"


@dataclass(frozen=True)
class Picks:
    """Labels of intervals of wells, [p] each: normalised well, top and base in ``unit``, label.

    A pick of a single depth has its base at its top; it labels the nearest row within a step.
    """

    well: NDArray[np.str_]
    top: FloatArray
    base: FloatArray
    label: NDArray[np.str_]
    unit: str | None
    where: str

    def labels(
        self, wells: NDArray[np.str_], depth: FloatArray, unit: str | None
    ) -> tuple[NDArray[np.str_], list[str]]:
        """Return the label of every row, [n], "" where nothing was picked, and what to report.

        ``depth`` [n] is in ``unit``. DataError where no row is labelled, or two picks disagree.
        """
        scale = 1.0
        if self.unit and unit and can_convert(self.unit, unit):
            scale = float(convert(np.ones(1), self.unit, unit)[0])
        names = {name: normalised(name) for name in pl.Series(wells).unique().to_list()}
        codes = pl.Series(wells).replace(names).to_numpy()
        found, unused = np.full(len(wells), "", dtype=self.label.dtype), 0
        for well in set(self.well.tolist()) & set(names.values()):
            rows = np.flatnonzero((codes == well) & np.isfinite(depth))
            rows = rows[np.argsort(depth[rows], kind="stable")]
            unused += self._label(well, rows, depth[rows] / scale, found)
        picked = found != ""
        if not picked.any():
            what = "no row of the table lies at a pick"
            some = ", ".join(sorted(filter(None, names))[:3])
            raise DataError(what, where=self.where, hint=f"the table has wells such as {some}")
        count = len(set(codes[picked].tolist()))
        lines = [f"{int(picked.sum()):,} rows of {count} wells labelled by {Path(self.where).name}"]
        if absent := sorted(set(self.well.tolist()) - set(names.values())):
            lines.append(f"picks of wells that the table lacks: {', '.join(absent[:8])}")
        if unused:
            lines.append(f"{unused} picks label no row")
        return found, lines

    def _label(
        self, well: str, rows: NDArray[np.int64], depth: FloatArray, found: NDArray[np.str_]
    ) -> int:
        """Label the rows of one well, sorted by depth; return how many picks label none."""
        unused, step = 0, float(np.median(np.diff(depth))) if len(depth) > 1 else 0.0
        for pick in np.flatnonzero(self.well == well):
            top, base, label = self.top[pick], self.base[pick], self.label[pick]
            if base > top:
                first, end = np.searchsorted(depth, [top, base])
            else:
                distance = np.abs(depth - top)
                near = int(distance.argmin()) if len(depth) else 0
                close = bool(len(depth)) and distance[near] <= step * (1 + 1e-6)
                first, end = near, near + close
            at = rows[first:end]
            unused += not len(at)
            clash = (found[at] != "") & (found[at] != label)
            if clash.any():
                place, other = depth[first:end][clash][0], found[at][clash][0]
                what = f"{label} and {other} are both picked at {place:g}"
                raise DataError(what, where=f"{self.where}, well {well}", hint="correct one")
            found[at] = label
        return unused


def read_picks(path: Path, schema: Schema) -> Picks:
    """Read picks from a table of wells, depths (or tops and bases) and labels.

    Depths are in the unit of the header, else in that of the logs. DataError where a column is
    missing, a base lies above its top, or nothing is picked.
    """
    where = str(path)
    text = ("well", "WELL", "Well", "hole", "Hole", *(schema.group.aliases if schema.group else ()))
    table = load_table(path, text=text)
    names = _columns(schema, table.frame.columns, where)
    frame = table.frame.select(pl.col(header).alias(name) for name, header in names.items())
    first = "top" if "top" in names else "depth"
    top = numeric_values(frame[first])
    base = numeric_values(frame["base"]) if "base" in names else top
    well = np.array([normalised(name) for name in text_values(frame["well"]).tolist()])
    label = text_values(frame["label"])
    whole = np.isfinite(top) & np.isfinite(base) & (well != "") & (label != "")
    if not whole.any():
        raise DataError("no row has a well, a depth and a label", where=where, hint=_HINT)
    if (base < top)[whole].any():
        row = int(np.flatnonzero(whole & (base < top))[0]) + 1
        hint = "swap the two columns, or correct the row"
        raise DataError(f"the base lies above the top in row {row}", where=where, hint=hint)
    unit = table.units.get(names[first]) or split_header(names[first])[1]
    return Picks(well[whole], top[whole], base[whole], label[whole], unit, where)


def _columns(schema: Schema, available: list[str], where: str) -> dict[str, str]:
    """Return the columns of picks that hold well, label and depth, or top and base."""

    def column(name: str, role: str, aliases: tuple[str, ...], known: Column | None) -> Column:
        names = (known.name, *known.aliases) if known else ()
        given = {"name": name, "role": role, "aliases": (*names, *aliases), "optional": True}
        return Column.model_validate(given)

    columns = (
        column("well", "group", ("hole", "borehole"), schema.group),
        column("label", "label", _CLASS, next(iter(schema.labels), None)),
        column("depth", "order", ("md", "dept"), schema.order),
        column("top", "input", _TOP, None),
        column("base", "input", _BASE, None),
    )
    wanted = Schema(columns={c.name: c for c in columns})
    found = {name: header for header, name in wanted.sources(available, {}).items()}
    by_interval = {"top", "base"} <= found.keys()
    needed = ("well", "label", *(("top", "base") if by_interval else ("depth",)))
    if missing := [name for name in needed if name not in found]:
        what = f"there is no column for {missing[0]}; it has {', '.join(available[:8])}"
        raise DataError(what, where=where, hint=_HINT)
    return {name: found[name] for name in needed}


def require_labels(labels: NDArray[np.str_]) -> None:
    """Raise a DataError unless labels (n,), "" for none, are of two classes at least."""
    classes = sorted(set(labels.tolist()) - {""})
    if len(classes) < 2:
        what = f"all labels are {classes[0]!r}" if classes else "no row has a label"
        hint = "give --labels FILE (well, top, base, lithology), or map a column of labels with "
        raise DataError(what, where="labels", hint=f"{hint}--map lithology=COLUMN")


def labelled_loader(
    schema: Schema, mapping: Mapping[str, str], picks: Picks | None, note: Callable[[str], None]
) -> Callable[..., Table]:
    """Return what reads a table as `load_table` does and requires labels.

    With picks, these are a new column `PICKED`.
    """

    def load(data: Any, **options: Any) -> Table:
        table = load_table(data, **options)
        others = {name: header for name, header in mapping.items() if header != PICKED}
        bound = schema.bind(table.frame.columns, others)
        if picks is None:
            label = next(iter(bound.labels), None)
            found = text_values(table.frame[str(label.source)]) if label else np.empty(0, "U1")
            require_labels(found)
            return table
        if bound.group is None or bound.order is None:
            what = "picks are placed by well and depth, and the table lacks one of them"
            raise DataError(what, where=picks.where, hint="bind both with --map hole= and depth=")
        depth = str(bound.order.source)
        unit = table.units.get(depth) or split_header(depth)[1] or bound.order.unit
        wells = text_values(table.frame[str(bound.group.source)])
        found, lines = picks.labels(wells, numeric_values(table.frame[depth]), unit)
        require_labels(found)
        for line in lines:
            note(line)
        return table._replace(frame=table.frame.with_columns(pl.Series(PICKED, found)))

    return load
