"""A schema with everything it learned from the training rows.

Fitted once on training rows, stored with the model as plain JSON, applied to every
table afterwards. What is learned per column: the transform, the quantiles to clip to,
bounds and decimals where asked for, and the levels of categories. No row is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, ModelFileError, SchemaError
from variolite.records.extraction import Extracted, check_units, extract, rows_to_keep
from variolite.records.records import MISSING, UNSEEN, ApplyReport, Records
from variolite.records.schema import Column, Schema
from variolite.records.tables import read_table, units_of
from variolite.records.transforms import FittedChain, fit_transform_chain

Array = NDArray[np.float64]
FORMAT = 1
_MOST_DECIMALS = 6
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FittedNumeric:
    """What is learned from the training values of one numeric column."""

    chain: FittedChain  # Original units to transformed units.
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "chain": self.chain.to_dict(),
            "clip": None if self.clip is None else list(self.clip),
            "bounds": None if self.bounds is None else list(self.bounds),
            "decimals": self.decimals,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedNumeric:
        clip, bounds, decimals = (data[key] for key in ("clip", "bounds", "decimals"))
        return cls(
            chain=FittedChain.from_dict(data["chain"]),
            clip=None if clip is None else (float(clip[0]), float(clip[1])),
            bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            decimals=None if decimals is None else int(decimals),
        )


def fit_numeric(column: Column, values: Array) -> FittedNumeric:
    """Fit one column on training values, shape [n], NaN where missing; errors name it."""
    where = f"column {column.source or column.name!r}"
    present = values[~np.isnan(values)]
    if not present.size:
        raise SchemaError(
            "has no value in the training rows",
            where=where,
            hint="Leave it out of the schema, or check its sentinels and valid range",
        )
    infinite = int(np.isinf(present).sum())
    if infinite:
        raise DataError(
            f"holds {infinite} infinite values in the training rows",
            where=where,
            hint="Give it a valid range, such as 'valid: [0, 10]', to count them as missing",
        )
    if present.min() == present.max():
        raise SchemaError(
            f"is {present[0]:g} in every training row, and nothing can be learned from it",
            where=where,
            hint="Leave it out of the schema",
        )
    clip, inner = None, present
    if column.clip is not None:
        low, high = np.quantile(present, column.clip)
        clip, inner = (float(low), float(high)), np.clip(present, low, high)
        if low == high:
            raise SchemaError(
                f"is {low:g} in every training row once clipped to the quantiles {column.clip}",
                where=where,
                hint="Widen or remove its 'clip'",
            )
    try:
        chain = fit_transform_chain(column.transform, inner)
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    return FittedNumeric(
        chain=chain,
        clip=clip,
        bounds=(float(present.min()), float(present.max())) if column.learn_bounds else None,
        decimals=_decimals(present) if column.learn_rounding else None,
    )


def _decimals(values: Array) -> int | None:
    """Return the fewest decimals that spell every value, None when more than six."""
    for decimals in range(_MOST_DECIMALS + 1):
        # float32 tables hold 1.7815 as 1.78149998: equal to single precision.
        if np.allclose(np.round(values, decimals), values, rtol=1e-6, atol=1e-9):
            return decimals
    return None


@dataclass(frozen=True)
class FittedSchema:
    """A bound schema with fitted columns.

    Attributes
    ----------
    schema
        Bound to the training table.
    numeric
        Fitted numeric inputs and conditions, by name.
    levels
        Levels of category inputs and conditions, by name, sorted.
    rows_fitted
        Number of training rows used.

    Examples
    --------
    >>> schema = Schema.from_yaml("columns: {gamma: {transform: [log, standardise]}}")
    >>> fitted = FittedSchema.fit(schema, {"gamma": [1.0, 10.0, 100.0, 7.0]}, rows=[0, 1, 2])
    >>> records = fitted.apply({"gamma": [10.0, 1000.0]})
    >>> records.numeric.round(3).tolist()
    [[0.0], [2.4489998817443848]]
    >>> fitted.inverse(records.numeric).round(3).tolist()
    [[10.0], [1000.0]]
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
        mapping: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> FittedSchema:
        """Learn from the given rows only.

        Parameters
        ----------
        schema
            Bound or not; bound here with ``mapping``.
        frame
            Anything that :func:`variolite.records.read_table` takes.
        rows
            Training rows: integers or a bool mask over the table; all by default. Of
            these, the rows that the missing-value policies drop are left out.
        mapping
            Table column by meaning.
        units
            Units by table column, from :func:`variolite.records.units_of`. Units in
            headers, and in a LAS file given as a path, are found without it.

        Raises
        ------
        SchemaError
            If a column is absent, constant, never observed, in another unit, or
            impossible for its transform.
        DataError
            If a column is not numeric, holds infinite values, or no row is left.
        """
        table = read_table(frame)
        bound = schema.bind(table.columns, mapping)
        sources = {name: column.source or "" for name, column in bound.columns.items()}
        check_units(bound, sources, _stated_units(frame, units))
        needed = {
            name: column
            for name, column in bound.columns.items()
            if column.role in ("input", "condition") or column.missing != "mask"
        }
        found = extract(bound.model_copy(update={"columns": needed}), table)
        # The policies judge the given rows only; the others teach nothing, not even errors.
        among = _row_mask(rows, table.height)
        missing = {name: mask[among] for name, mask in found.missing().items()}
        keep, dropped = rows_to_keep(bound, missing, int(among.sum()))
        chosen = among.copy()
        chosen[among] = keep
        if not chosen.any():
            raise DataError(
                f"no training row is left ({_reasons(dropped)})",
                hint="Set 'missing: mask' for columns that are often missing, or leave them out",
            )
        modelled = (*bound.inputs, *bound.conditions)
        return cls(
            schema=bound,
            numeric={
                c.name: fit_numeric(c, found.values[c.name][chosen])
                for c in modelled
                if c.kind == "numeric"
            },
            levels={
                c.name: _levels(c, found.values[c.name][chosen])
                for c in modelled
                if c.kind == "category"
            },
            rows_fitted=int(chosen.sum()),
        )

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the d numeric inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "numeric"))

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the c category inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "category"))

    @property
    def category_levels(self) -> dict[str, tuple[str, ...]]:
        """Levels of the category inputs; a code is a position in them."""
        return {name: self.levels[name] for name in self.category_names}

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the k condition features; ``name=level`` for one-hot ones."""
        numeric = [column.name for column in self.schema.of_role("condition", "numeric")]
        onehot = [
            f"{column.name}={level}"
            for column in self.schema.of_role("condition", "category")
            for level in self.levels[column.name]
        ]
        return (*numeric, *onehot)

    @property
    def units(self) -> dict[str, str]:
        """Units by numeric input, "" where none is declared."""
        return {name: self.schema.columns[name].unit or "" for name in self.numeric_names}

    def apply(
        self,
        frame: Any,
        *,
        mapping: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Records:
        """Make records of any table, with what was learned in training.

        Labels, group, order and id may be absent from the table, and so may inputs
        with the policy ``mask``: these are then missing in every row.

        Raises
        ------
        SchemaError, DataError
            As :meth:`fit`, except that infinite values and values impossible for a
            transform count as missing, and that no row may be left.
        """
        table = read_table(frame)
        schema = self.schema
        found = extract(schema, table, mapping, lenient=True)
        check_units(schema, found.sources, _stated_units(frame, units))
        encoded, log_dets = self._encode(found)
        missing = found.missing()
        missing |= {
            name: values < 0 if name in self.levels else np.isnan(values)
            for name, values in encoded.items()
        }
        keep, dropped = rows_to_keep(schema, missing, found.rows)
        row = np.flatnonzero(keep).astype(np.int64)
        if not row.size:
            raise DataError(
                f"no row of the table can be used ({_reasons(dropped)})",
                hint="Check that its columns are mapped rightly and in the units of the schema",
            )
        for name, column in self.numeric.items():
            if column.clip is not None and name in found.values:
                raw = found.values[name][keep]
                beyond = int(((raw < column.clip[0]) | (raw > column.clip[1])).sum())
                if beyond:
                    found.counts["clipped"][name] = beyond
        kept = {
            column.name: found.values[column.name][keep]
            for column in (*schema.labels, schema.group, schema.order, schema.id)
            if column is not None and column.name in found.values
        }
        group, order, ids = (
            kept.pop(column.name, None) if column else None
            for column in (schema.group, schema.order, schema.id)
        )
        never = np.full(found.rows, np.nan)
        used = set(found.sources.values())
        names, categories = self.numeric_names, self.category_names
        return Records(
            numeric=_stack([encoded[name] for name in names], keep, np.float32, fill=True),
            observed=_stack([~missing[name] for name in names], keep, np.bool_),
            raw=_stack([found.values.get(name, never) for name in names], keep, np.float64),
            log_det=_stack([log_dets[name] for name in names], keep, np.float64, fill=True),
            category=_stack([encoded[name] for name in categories], keep, np.int64),
            condition=_stack(self._conditions(encoded), keep, np.float32),
            row=row,
            group=group,
            order=order,
            labels=kept,
            ids=ids,
            report=ApplyReport(
                rows_read=found.rows,
                rows_kept=len(row),
                dropped=dropped,
                absent=tuple(name for name in schema.columns if name not in found.sources),
                ignored=tuple(name for name in table.columns if name not in used),
                **found.counts,
            ),
        )

    def _encode(self, found: Extracted) -> tuple[dict[str, NDArray[Any]], dict[str, Array]]:
        """Transform every numeric column and code every category, all [n].

        What cannot be transformed becomes missing, in ``found`` too. Returns transformed
        values (NaN where missing) or codes (negative where missing), and log-derivatives.
        """
        encoded: dict[str, NDArray[Any]] = {}
        log_dets: dict[str, Array] = {}
        for name, column in self.numeric.items():
            if name not in found.values:
                encoded[name] = log_dets[name] = np.full(found.rows, np.nan)
                continue
            values = found.values[name]
            infinite = np.isinf(values)
            if infinite.any():
                beyond = found.counts["out_of_range"]
                beyond[name] = beyond.get(name, 0) + int(infinite.sum())
                values[infinite] = np.nan
            encoded[name], log_dets[name] = column.evaluate(values)
            # Records are float32, which must hold what a network reads. The comparison
            # fails for NaN too: outside of the domain of the transform.
            impossible = ~(np.abs(encoded[name]) <= _LARGEST) & ~np.isnan(values)
            if impossible.any():
                found.counts["outside_domain"][name] = int(impossible.sum())
                for array in (values, encoded[name], log_dets[name]):
                    array[impossible] = np.nan
        for name, levels in self.levels.items():
            if name not in found.values:
                encoded[name] = np.full(found.rows, MISSING, dtype=np.int64)
                continue
            series = pl.Series(found.values[name])
            known = {"": MISSING, **{level: code for code, level in enumerate(levels)}}
            codes = series.replace_strict(known, default=UNSEEN, return_dtype=pl.Int64)
            encoded[name] = codes.to_numpy()
            unseen = series.filter(codes == UNSEEN).value_counts(sort=True, name="n")
            if len(unseen):
                # The most frequent first.
                found.counts["unseen"][name] = dict(unseen.iter_rows())
        return encoded, log_dets

    def _conditions(self, encoded: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the k condition features: numeric ones, then categories one-hot."""
        columns = self.schema.conditions
        return [encoded[c.name] for c in columns if c.kind == "numeric"] + [
            encoded[c.name] == code
            for c in columns
            if c.kind == "category"
            for code in range(len(self.levels[c.name]))
        ]

    def inverse(self, numeric: ArrayLike) -> Array:
        """Return transformed inputs, shape [..., d], to original units.

        Values are within bounds and rounded for columns that learned these.
        """
        values = self._of_width(numeric)
        out = np.empty_like(values)
        for i, name in enumerate(self.numeric_names):
            out[..., i] = self.numeric[name].inverse(values[..., i])
        return out

    def forward(self, raw: ArrayLike) -> Array:
        """Transform inputs in original units, shape [..., d]; NaN stays NaN."""
        return self._both(raw)[0]

    def log_det(self, raw: ArrayLike) -> Array:
        """Return log |d transformed / d original| at inputs in original units [..., d].

        Values beyond the clip quantiles are clipped first; 0 where ``raw`` is NaN or
        impossible for the transform.
        """
        return np.nan_to_num(self._both(raw)[1], nan=0.0)

    def _both(self, raw: ArrayLike) -> tuple[Array, Array]:
        values = self._of_width(raw)
        forward, log_det = np.empty_like(values), np.empty_like(values)
        for i, name in enumerate(self.numeric_names):
            forward[..., i], log_det[..., i] = self.numeric[name].evaluate(values[..., i])
        return forward, log_det

    def _of_width(self, values: ArrayLike) -> Array:
        array, d = np.asarray(values, dtype=np.float64), len(self.numeric_names)
        if array.ndim == 0 or array.shape[-1] != d:
            raise DataError(f"the last axis must have length {d}, but the shape is {array.shape}")
        return array

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; no training row is inside."""
        return {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "numeric": {name: fitted.to_dict() for name, fitted in self.numeric.items()},
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "rows_fitted": self.rows_fitted,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedSchema:
        """Rebuild from :meth:`to_dict`.

        Raises
        ------
        ModelFileError
            If the format is newer than this version reads, or something is missing.
        """
        found = data.get("format")
        if found != FORMAT:
            raise ModelFileError(
                f"the fitted schema has format {found!r}, and this version reads {FORMAT}",
                hint="Update Variolite" if isinstance(found, int) and found > FORMAT else None,
            )
        try:
            schema = Schema.from_dict(data["schema"])
            numeric = {n: FittedNumeric.from_dict(v) for n, v in data["numeric"].items()}
            levels = {n: tuple(map(str, v)) for n, v in data["levels"].items()}
            rows_fitted = int(data["rows_fitted"])
        except ModelFileError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ModelFileError(f"the fitted schema is damaged ({error})") from None
        needed = {c.name: c.kind for c in (*schema.inputs, *schema.conditions)}
        for name, kind in needed.items():
            if name not in (numeric if kind == "numeric" else levels):
                raise ModelFileError(f"the fitted schema lacks the column {name!r}")
        return cls(schema, numeric, levels, rows_fitted)


def _stated_units(source: Any, units: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return units_of(source) if units is None and isinstance(source, str | Path) else units


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{reason}: {count:,}" for reason, count in dropped.items())


def _row_mask(rows: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    """Return the mask of the rows that integers or a bool mask choose; all for None."""
    if rows is None:
        return np.ones(count, dtype=bool)
    chosen = np.asarray(rows)
    if chosen.dtype == bool:
        if chosen.shape != (count,):
            raise DataError(f"the row mask has shape {chosen.shape}, the table {count} rows")
        return chosen
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < count:
        raise DataError(f"row numbers must lie between 0 and {count - 1}")
    mask = np.zeros(count, dtype=bool)
    mask[chosen.astype(np.int64)] = True
    return mask


def _stack(
    parts: Sequence[NDArray[Any]], keep: NDArray[np.bool_], dtype: Any, *, fill: bool = False
) -> NDArray[Any]:
    """Set columns [n] side by side and keep the rows of the mask [n]; fill NaN with 0."""
    out = np.empty((int(keep.sum()), len(parts)), dtype=dtype)
    for i, part in enumerate(parts):
        out[:, i] = part[keep]
    if fill:
        out[np.isnan(out)] = 0.0
    return out


def _levels(column: Column, values: NDArray[np.str_]) -> tuple[str, ...]:
    levels = tuple(sorted(level for level in pl.Series(values).unique().to_list() if level))
    if len(levels) < 2:
        raise SchemaError(
            f"has {len(levels)} level(s) in the training rows, and a category needs two",
            where=f"column {column.source or column.name!r}",
            hint="Leave the column out of the schema",
        )
    return levels
