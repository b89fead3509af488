"""A schema with everything it learned from the training rows.

Fitted once on training rows, stored with the model as plain JSON, applied to every table
afterwards. What is learned per column: the transform, the quantiles to clip to, bounds and
decimals where asked for, and the levels of categories. No row is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from variolite.errors import DataError, ModelFileError, SchemaError, counted
from variolite.records.files.tables import load_table
from variolite.records.groups import groups_of
from variolite.records.ranges import require_range, require_valid, warn_of_mixed_units
from variolite.records.records import (
    MISSING,
    UNSEEN,
    ApplyReport,
    Counts,
    Records,
    Values,
    extract,
    lacks,
    rows_to_keep,
    table_units,
)
from variolite.records.rows import chosen_rows
from variolite.records.schema import Column, Schema
from variolite.records.transforms import (
    Array,
    FittedChain,
    Logarithm,
    SignedLogarithm,
    fit_transform_chain,
)

Names = Mapping[str, str]

FORMAT = 1
_LARGEST = float(np.finfo(np.float32).max)


class FittedNumeric(BaseModel):
    """What is learned from the training values of one numeric column."""

    model_config = ConfigDict(frozen=True)

    chain: FittedChain  # Original units to transformed units.
    usual: tuple[float, float] | None = None  # Between them lie 99.8 % of the training values.
    clip: tuple[float, float] | None = None  # Lowest and highest value let into the chain.
    bounds: tuple[float, float] | None = None  # Training range to keep returned values within.
    decimals: int | None = None  # Decimals to round returned values to.

    def evaluate(self, values: Array) -> tuple[Array, Array]:
        """Return transformed values and log-derivatives, both at the clipped values."""
        return self.chain.evaluate(values if self.clip is None else np.clip(values, *self.clip))

    def inverse(self, transformed: Array) -> Array:
        """Return to original units, within bounds and rounded where that was learned."""
        values = self.chain.inverse(transformed)
        if self.decimals is not None:
            values = np.round(values, self.decimals)
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def logarithm(self) -> tuple[str, Callable[[Array], Array]] | None:
        """Return the name of the last logarithm of the chain, and the chain up to it; or None."""
        steps = self.chain.steps
        found = [i for i, s in enumerate(steps) if isinstance(s, Logarithm | SignedLogarithm)]
        if not found:
            return None
        last = steps[found[-1]]
        name = "signed log"
        if isinstance(last, Logarithm):
            name = "ln" if last.number == math.e else f"log{last.number:g}"
        part = self.model_copy(update={"chain": FittedChain(steps=steps[: found[-1] + 1])})
        return name, lambda values: part.evaluate(values)[0]


def fit_numeric(column: Column, values: Array) -> FittedNumeric:
    """Fit one column on training values, shape (n,), NaN where missing; errors name it."""
    where = f"column {column.source or column.name!r}"
    present = values[~np.isnan(values)]
    if not present.size:
        hint = "Leave it out of the schema, or check its sentinels and valid range"
        raise SchemaError("has no value in the training rows", where=where, hint=hint)
    infinite = int(np.isinf(present).sum())
    if infinite:
        what = f"holds {infinite} infinite values in the training rows"
        hint = "Give it a valid range, such as 'valid: [0, 10]', to count them as missing"
        raise DataError(what, where=where, hint=hint)
    lowest, highest = float(present.min()), float(present.max())
    if lowest == highest:
        what = f"is {lowest:g} in every training row, and nothing can be learned from it"
        raise SchemaError(what, where=where, hint="Leave it out of the schema")
    clip, inner = None, present
    if column.clip is not None:
        low, high = np.quantile(present, column.clip).tolist()
        clip, inner = (low, high), np.clip(present, low, high)
        if low == high:
            what = f"is {low:g} in every training row once clipped to the quantiles {column.clip}"
            raise SchemaError(what, where=where, hint="Widen or remove its 'clip'")
    try:
        chain = fit_transform_chain(column.transform, inner)
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    return FittedNumeric(
        chain=chain,
        usual=tuple(np.quantile(present, [0.001, 0.999]).tolist()),
        clip=clip,
        bounds=(lowest, highest) if column.learn_bounds else None,
        decimals=_decimals(present) if column.learn_rounding else None,
    )


def _decimals(values: Array) -> int | None:
    """Return the fewest decimals that spell every value, None when more than six."""
    for decimals in range(7):
        # float32 tables hold 1.7815 as 1.78149998: equal to single precision.
        if np.allclose(np.round(values, decimals), values, rtol=1e-6, atol=1e-9):
            return decimals
    return None


def _levels(column: Column, values: NDArray[np.str_]) -> tuple[str, ...]:
    levels = tuple(sorted(filter(None, pl.Series(values).unique())))
    if len(levels) < 2:
        what = f"has {counted(len(levels), 'level')} in the training rows, and a category needs two"
        hint = f"Leave it out, as by --map {column.name}=-, or add rows that differ"
        raise SchemaError(what, where=f"column {column.source or column.name!r}", hint=hint)
    return levels


def members_of(cell: str, separator: str) -> list[str]:
    """Return the distinct members of one cell of a set."""
    return list(dict.fromkeys(filter(None, map(str.strip, cell.split(separator)))))


def _set_levels(column: Column, values: NDArray[np.str_]) -> tuple[str, ...]:
    """Return the members of all training sets, the most frequent first."""
    cells = pl.Series(values).value_counts().iter_rows()
    counts = Counter[str]()
    for cell, number in cells:
        counts.update(dict.fromkeys(members_of(cell, column.separator), number))
    if len(counts) < 2:
        what = f"has {counted(len(counts), 'member')} in the training rows, and a set needs two"
        hint = f"Leave it out, as by --map {column.name}=-, or add rows that differ"
        raise SchemaError(what, where=f"column {column.source or column.name!r}", hint=hint)
    return tuple(sorted(counts, key=lambda member: (-counts[member], member)))


def _set_codes(
    column: Column, levels: Sequence[str], values: NDArray[np.str_]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Code the members of every set (n,), ascending and padded with `MISSING`, (n, w).

    Members that training rows did not hold are left out, and counted in what is also returned.
    """
    known = {level: code for code, level in enumerate(levels)}
    series = pl.Series(values)
    cells = series.value_counts(name="n")  # a table of frameworks holds few distinct sets
    unseen = Counter[str]()
    coded: list[list[int]] = []
    for cell, number in cells.iter_rows():
        members = members_of(cell, column.separator)
        coded.append(sorted(known[member] for member in members if member in known))
        unseen.update(dict.fromkeys((m for m in members if m not in known), number))
    width = max((len(codes) for codes in coded), default=0)
    table = np.full((len(coded), max(width, 1)), MISSING)
    for row, codes in zip(table, coded, strict=True):
        row[: len(codes)] = codes
    place = dict(zip(cells[series.name], range(len(coded)), strict=True))
    rows = series.replace_strict(place, return_dtype=pl.Int64).to_numpy()
    return table[rows], dict(unseen.most_common())


@dataclass(frozen=True)
class FittedSchema:
    """A schema, bound to the training table, with fitted columns.

    ``numeric`` holds the fitted numeric inputs and conditions, ``levels`` the sorted levels of
    category inputs and conditions and the members of sets, the most frequent first, all by name;
    ``rows_fitted`` training rows were used.
    """

    schema: Schema
    numeric: Mapping[str, FittedNumeric]
    levels: Mapping[str, tuple[str, ...]]
    rows_fitted: int

    @classmethod
    def fit(
        cls,
        schema: Schema,
        frame: Any,
        rows: ArrayLike | None = None,
        *,
        units: Names | None = None,
    ) -> FittedSchema:
        """Learn from ``rows`` of a table, integers or a bool mask; from all by default.

        ``frame`` is anything that `read_table` takes; ``units`` by table column come from
        `units_of`, and become those of columns that declare none. Rows that the missing-value
        policies drop are left out.

        Raises SchemaError if a column is absent, constant, never observed, in another unit or
        impossible for its transform, DataError if it is not numeric or infinite, or no row is
        left.
        """
        table, stated, _ = load_table(frame)
        units = stated | dict(units or {})
        bound = schema.bind(table.columns)
        bound = bound.with_units(table_units(bound, units))
        modelled = (*bound.inputs, *bound.conditions)
        needed = {n: c for n, c in bound.columns.items() if c in modelled or c.missing != "mask"}
        needed_only = bound.model_copy(update={"columns": needed})
        named = groups_of(bound, table) if bound.group else None

        def check(column: Column, values: Array) -> None:
            require_valid(column, values)
            if named is not None and column.role == "input":
                warn_of_mixed_units(column, values, named)

        found, _ = extract(needed_only, table, units, check)
        # The policies apply to the chosen rows only; the others are not even errors.
        chosen = _row_mask(rows, table.height) & chosen_rows(bound, table, units)[0]
        missing = {name: lacks(values)[chosen] for name, values in found.items()}
        keep, dropped = rows_to_keep(bound, missing)
        chosen[chosen] = keep
        if not chosen.any():
            hint = "Set 'missing: mask' for columns that are often missing, or leave them out"
            if limited := [c for c in needed.values() if c.valid and missing[c.name].all()]:
                low, high = limited[0].valid or (None, None)
                hint = f"Values of {limited[0].name} beyond {low} to {high} count as missing"
            raise DataError(f"no training row is left ({_reasons(dropped)})", hint=hint)
        numeric: dict[str, FittedNumeric] = {}
        levels: dict[str, tuple[str, ...]] = {}
        for c in modelled:
            values = found[c.name][chosen]
            if c.kind == "numeric":
                numeric[c.name] = fit_numeric(c, values)
            else:
                levels[c.name] = (_set_levels if c.kind == "set" else _levels)(c, values)
        return cls(bound, numeric, levels, int(chosen.sum()))

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the d numeric inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "numeric"))

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the c category inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "category"))

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the set inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "set"))

    @property
    def category_levels(self) -> dict[str, tuple[str, ...]]:
        """Levels of the category inputs; a code is a position in them."""
        return {name: self.levels[name] for name in self.category_names}

    @property
    def units(self) -> dict[str, str]:
        """Units by numeric input, "" where none is declared."""
        return {name: self.schema.columns[name].unit or "" for name in self.numeric_names}

    def apply(
        self,
        frame: Any,
        *,
        mapping: Names | None = None,
        units: Names | None = None,
        accept_range: bool = True,
    ) -> Records:
        """Make records of any table, with what was learned in training.

        Labels, group, order and id may be absent from the table, and so may inputs with the
        policy ``mask``, which are then missing in every row. ``mapping`` gives table columns by
        meaning. Columns most of which are outside the training range, as in another unit, raise
        a DataError without ``accept_range``. Raises as `fit`, except that infinite values and
        values impossible for a transform count as missing.
        """
        table, stated, _ = load_table(frame)
        units = stated | dict(units or {})
        schema = self.schema.rebind(table.columns, mapping)
        named = groups_of(schema, table) if schema.group else None

        def check(column: Column, values: Array) -> None:
            fit = self.numeric.get(column.name)
            usual = fit and (fit.usual or fit.clip)
            if usual and not accept_range:
                require_range(column, values, *usual, named)

        found, counts = extract(schema, table, units, check)
        for name in (*self.numeric, *self.levels):
            absent = np.nan if name in self.numeric else ""
            found.setdefault(name, np.full(table.height, absent))
        encoded, log_dets = self._encode(found, counts)
        missing = {name: lacks(values) for name, values in found.items()}
        for name in self.levels:
            codes = encoded[name]
            missing[name] = (codes if codes.ndim == 1 else codes[:, 0]) < 0
        chosen, left_out = chosen_rows(schema, table, units, strict=False)
        keep, dropped = rows_to_keep(self.schema, missing, chosen)
        strange = {f"{name} missing" for name in counts["unseen"]}
        dropped = left_out | {
            f"{reason} or not met in training" if reason in strange else reason: number
            for reason, number in dropped.items()
        }
        row = np.flatnonzero(keep).astype(np.int64)
        if not row.size:
            hint = "Check that its columns are mapped rightly and in the units of the schema"
            raise DataError(f"no row of the table can be used ({_reasons(dropped)})", hint=hint)
        for name, column in self.numeric.items():
            if column.clip is not None:
                beyond = (found[name] < column.clip[0]) | (found[name] > column.clip[1])
                clipped = int((beyond & keep).sum())
                if clipped:
                    counts["clipped"][name] = clipped
        group, order, ids = (
            None if column is None else found[column.name][keep]
            for column in (schema.group, schema.order, schema.id)
        )
        used = {column.source for column in schema.columns.values()}
        names, categories = self.numeric_names, self.category_names
        # Conditions: the numeric ones, then the categories one-hot.
        conditions = [encoded[c.name] for c in self.schema.of_role("condition", "numeric")]
        for c in self.schema.of_role("condition", "category"):
            conditions += [encoded[c.name] == code for code in range(len(self.levels[c.name]))]
        return Records(
            numeric=_stack([encoded[name] for name in names], keep, np.float32, fill=True),
            observed=_stack([~missing[name] for name in names], keep, np.bool_),
            raw=_stack([found[name] for name in names], keep, np.float64),
            log_det=_stack([log_dets[name] for name in names], keep, np.float64, fill=True),
            category=_stack([encoded[name] for name in categories], keep, np.int64),
            sets={name: encoded[name][keep] for name in self.set_names},
            condition=_stack(conditions, keep, np.float32),
            row=row,
            group=group,
            order=order,
            labels={column.name: found[column.name][keep] for column in schema.labels},
            ids=ids,
            report=ApplyReport(
                rows_read=table.height,
                rows_kept=len(row),
                dropped=dropped,
                absent=tuple(name for name in self.schema.columns if name not in schema.columns),
                ignored=tuple(name for name in table.columns if name not in used),
                **counts,
            ),
        )

    def _encode(self, found: Values, counts: Counts) -> tuple[Values, dict[str, Array]]:
        """Transform every numeric column and code every category, all (n,), and set, (n, w).

        What cannot be transformed becomes missing, in ``found`` too. Returns transformed values
        (NaN where missing) or codes (negative where missing), and log-derivatives.
        """
        encoded: Values = {}
        log_dets: dict[str, Array] = {}
        for name, column in self.numeric.items():
            values = found[name]
            infinite = np.isinf(values)
            if infinite.any():
                beyond = counts["out_of_range"]
                beyond[name] = beyond.get(name, 0) + int(infinite.sum())
                values[infinite] = np.nan
            encoded[name], log_dets[name] = column.evaluate(values)
            # Records are float32, which must hold what a network reads. The comparison fails
            # for NaN too: outside of the domain of the transform.
            impossible = ~(np.abs(encoded[name]) <= _LARGEST) & ~np.isnan(values)
            if impossible.any():
                counts["outside_domain"][name] = int(impossible.sum())
                for array in (values, encoded[name], log_dets[name]):
                    array[impossible] = np.nan
        for name, levels in self.levels.items():
            declared = self.schema.columns[name]
            if declared.kind == "set":
                encoded[name], strange = _set_codes(declared, levels, found[name])
                if strange:
                    counts["unseen"][name] = strange
                continue
            series = pl.Series(found[name])
            known = {"": MISSING, **{level: code for code, level in enumerate(levels)}}
            codes = series.replace_strict(known, default=UNSEEN, return_dtype=pl.Int64)
            encoded[name] = codes.to_numpy()
            # The most frequent first.
            unseen = series.filter(codes == UNSEEN).value_counts(sort=True, name="n")
            if len(unseen):
                counts["unseen"][name] = dict(unseen.iter_rows())
        return encoded, log_dets

    def inverse(self, numeric: ArrayLike) -> Array:
        """Return transformed inputs, shape (..., d), to original units.

        Values are within bounds and rounded for columns that learned these.
        """
        values, names = np.asarray(numeric, dtype=np.float64), self.numeric_names
        if values.shape[-1:] != (len(names),):
            what = f"the last axis must have length {len(names)}, but the shape is {values.shape}"
            raise DataError(what)
        out = np.empty_like(values)
        for i, name in enumerate(names):
            out[..., i] = self.numeric[name].inverse(values[..., i])
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; no training row is inside."""
        return {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "numeric": {name: fit.model_dump(mode="json") for name, fit in self.numeric.items()},
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "rows_fitted": self.rows_fitted,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedSchema:
        """Rebuild from `to_dict`; ModelFileError where it is damaged or of a newer format."""
        found = data.get("format")
        if found != FORMAT:
            what = f"the fitted schema has format {found!r}, and this version reads {FORMAT}"
            hint = "Update Variolite" if isinstance(found, int) and found > FORMAT else None
            raise ModelFileError(what, hint=hint)
        try:
            learned: Any = {key: data.get(key) for key in ("numeric", "levels", "rows_fitted")}
            fitted = cls(schema=Schema.from_dict(data.get("schema")), **learned)
        except (SchemaError, ValidationError) as error:
            reason = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                reason = f"{place}: {first['msg']}, not {first['input']!r:.80}"
            hint = "The model file is damaged or was written by a newer version"
            raise ModelFileError(f"the fitted schema is damaged ({reason})", hint=hint) from None
        for column in (*fitted.schema.inputs, *fitted.schema.conditions):
            known = fitted.numeric if column.kind == "numeric" else fitted.levels
            if column.name not in known:
                raise ModelFileError(f"the fitted schema lacks the column {column.name!r}")
        return fitted


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{reason}: {count:,}" for reason, count in dropped.items())


def _row_mask(rows: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    """Return a new mask of the rows that integers or a bool mask choose; all for None."""
    if rows is None:
        return np.ones(count, dtype=bool)
    chosen = np.asarray(rows)
    if chosen.dtype != bool:
        chosen = chosen.astype(np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < count:
            raise DataError(f"row numbers must lie between 0 and {count - 1}")
    elif chosen.shape != (count,):
        raise DataError(f"the row mask has shape {chosen.shape}, the table {count} rows")
    mask = np.zeros(count, dtype=bool)
    mask[chosen] = True
    return mask


def _stack(
    parts: Sequence[NDArray[Any]], keep: NDArray[np.bool_], dtype: Any, *, fill: bool = False
) -> NDArray[Any]:
    """Set columns (n,) side by side and keep the rows of the mask (n,); fill NaN with 0."""
    out = np.empty((int(keep.sum()), len(parts)), dtype=dtype)
    for i, part in enumerate(parts):
        out[:, i] = part[keep]
    if fill:
        out[np.isnan(out)] = 0.0
    return out
