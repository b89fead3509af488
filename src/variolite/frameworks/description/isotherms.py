"""Isotherms to labels: the uptake of each framework at a pressure and temperature, and its spread.

A table of isotherms has several rows per framework: one per pressure, temperature, gas and, where
there are several, force field or source. Between two pressures uptake is interpolated along the
logarithm of pressure; beyond those of the table there is no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, nearest
from variolite.progress import Progress
from variolite.records import read_table, require_writable, write_table
from variolite.records.units import can_convert, convert, split_header

Floats = NDArray[np.float64]

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "mofname", "structure", "framework", "refcode", "id_structure"),
    "gas": ("gas", "adsorbate", "adsorptive", "molecule"),
    "pressure": ("pressure", "p", "press"),
    "loading": ("loading", "uptake", "amount", "adsorption", "q"),
    "temperature": ("temperature", "temp", "t"),
    "source": ("id", "source", "force_field", "forcefield", "model", "run"),
}
_TEXTS = ("name", "gas", "source")
_UPTAKES = {"mmol/g": 1.0, "mol/kg": 1.0, "mol/g": 1e3, "mmol/kg": 1e-3}
_EQUAL = 0.51  # K: 298 is 298.15


class Isotherms(NamedTuple):
    """Rows with name, gas, pressure (Pa), loading (mol/kg), temperature (K) and source.

    ``notes`` are sentences on what was left out.
    """

    frame: pl.DataFrame
    where: str
    notes: tuple[str, ...] = ()


def read_isotherms(path: Path) -> Isotherms:
    """Read a table of isotherms; columns are known by name, units by what is in brackets.

    Without a unit, pressures are in Pa, loadings in mol/kg and temperatures in K. Raises a
    DataError where a column is missing or in a unit that is not known.
    """
    frame = read_table(path)
    headers: dict[str, str] = {}
    for header in frame.columns:
        folded = split_header(header)[0].casefold().replace(" ", "_")
        for meaning, spellings in _SPELLINGS.items():
            if folded in spellings:
                headers.setdefault(meaning, header)
    texts = [headers[meaning] for meaning in _TEXTS if meaning in headers]
    if any(frame[header].dtype.is_numeric() for header in texts):
        frame = read_table(path, text=texts)  # 1E10 is a name
    found = {
        meaning: _in_unit(frame[header], meaning, split_header(header)[1], f"{path}: {header}")
        for meaning, header in headers.items()
    }
    for meaning in ("name", "pressure", "loading"):
        if meaning not in found:
            hint = f"It has {', '.join(frame.columns[:12])}"
            raise DataError(f"there is no column for {meaning}", where=str(path), hint=hint)
    table = pl.DataFrame([series.alias(meaning) for meaning, series in found.items()])
    for meaning in ("gas", "source"):
        given = pl.col(meaning).fill_null("") if meaning in found else pl.lit("")
        table = table.with_columns(given.alias(meaning))
    if "temperature" not in found:
        table = table.with_columns(pl.lit(None, pl.Float64).alias("temperature"))
    whole = table.filter(
        (pl.col("pressure") > 0)
        & pl.all_horizontal(pl.col("pressure", "loading").is_finite())
        & pl.col("name").is_not_null()
    )
    if whole.is_empty():
        raise DataError("no row has a name, a pressure above 0 and a loading", where=str(path))
    notes: tuple[str, ...] = ()
    if left_out := len(table) - len(whole):
        notes = (f"{left_out:,} rows without name, pressure above 0 or loading are left out",)
    return Isotherms(whole, str(path), notes)


def _in_unit(series: pl.Series, meaning: str, unit: str | None, where: str) -> pl.Series:
    if meaning in _TEXTS:
        return series.cast(pl.String).str.strip_chars()
    numbers = series.cast(pl.Float64, strict=False)
    if (wrong := series.filter(numbers.is_null() & series.is_not_null())).len():
        raise DataError(f"{wrong[0]!r} is not a number", where=where, hint="Leave such cells empty")
    values = numbers.to_numpy()
    if meaning == "loading":
        if unit is not None and unit not in _UPTAKES:
            hint = f"Give it in one of {', '.join(_UPTAKES)}"
            raise DataError(f"the unit {unit} of uptakes is not known", where=where, hint=hint)
        return pl.Series(meaning, values * _UPTAKES[unit or "mol/kg"])
    wanted = {"pressure": "pa", "temperature": "k"}[meaning]
    if unit is not None:
        if not can_convert(unit, wanted):
            hint = f"Give it in {'Pa' if wanted == 'pa' else 'K'}"
            raise DataError(f"the unit {unit} is not known here", where=where, hint=hint)
        values = convert(values, unit, wanted)
    return pl.Series(meaning, values)


def labels_at(
    isotherms: Isotherms, gas: str, pressure: float, temperature: float
) -> tuple[pl.DataFrame, list[str]]:
    """Return name, ``GAS_uptake``, ``_sd`` and ``_n`` at a pressure in Pa and a temperature in K.

    Mean and standard deviation (of the population) are over sources, such as force fields, and
    their number is ``_n``. Beside the table come sentences on what was interpolated and left out.
    """
    frame = _of_gas(isotherms, gas)
    frame = _of_temperature(frame, temperature, isotherms.where)
    low, high = float(frame["pressure"].min()), float(frame["pressure"].max())  # type: ignore[arg-type]
    # Single precision in files: 100000.00001 is 1 bar.
    if not low * (1 - 1e-5) <= pressure <= high * (1 + 1e-5):
        raise DataError(
            f"{pressure:,g} Pa is outside of the isotherms, which go from {low:,g} to {high:,g} Pa",
            where=isotherms.where,
            hint="Uptakes are never extrapolated: give a pressure between, or name the unit of the "
            "column, as in pressure [bar]",
        )
    names, values, between, outside = [], [], 0, 0
    grouped = frame.sort("pressure").group_by(["name", "source"], maintain_order=True)
    for (name, _), rows in grouped:
        value, exact = _at(rows["pressure"].to_numpy(), rows["loading"].to_numpy(), pressure)
        outside += int(np.isnan(value))
        between += int(not exact and not np.isnan(value))
        if not np.isnan(value):
            names.append(name)
            values.append(value)
    if not names:
        hint = "Give a pressure that they reach"
        raise DataError(f"no isotherm reaches {pressure:,g} Pa", where=isotherms.where, hint=hint)
    label = f"{gas.casefold()}_uptake"
    table = (
        pl.DataFrame({"name": names, label: values}, schema={"name": pl.String, label: pl.Float64})
        .group_by("name", maintain_order=True)
        .agg(
            pl.col(label).mean(),
            pl.col(label).std(ddof=0).alias(f"{label}_sd"),
            pl.col(label).count().cast(pl.Int64).alias(f"{label}_n"),
        )
    )
    # One source has no spread that could be seen.
    spread = pl.when(pl.col(f"{label}_n") > 1).then(pl.col(f"{label}_sd"))
    notes = [*isotherms.notes]
    if isotherms.frame["temperature"].is_null().all():
        notes.append(f"no temperatures are given: all rows are taken to be at {temperature:g} K")
    if below := sum(value < 0 for value in values):
        notes.append(f"{below:,} uptakes are below 0")
    if between:
        notes.append(
            f"{between:,} uptakes at {pressure:,g} Pa are interpolated between the pressures of "
            "the table, along their logarithm"
        )
    if outside:
        notes.append(f"{outside:,} isotherms do not reach {pressure:,g} Pa: left out")
    return table.with_columns(spread.alias(f"{label}_sd")), notes


def _at(pressures: Floats, loadings: Floats, pressure: float) -> tuple[float, bool]:
    """Return the uptake at a pressure, NaN beyond the others, and whether it is one of them."""
    same = np.isclose(pressures, pressure, rtol=1e-5)
    if same.any():
        return float(loadings[same].mean()), True
    if not pressures[0] < pressure < pressures[-1]:
        return np.nan, False
    return float(np.interp(np.log(pressure), np.log(pressures), loadings)), False


def _of_gas(isotherms: Isotherms, gas: str) -> pl.DataFrame:
    gases = isotherms.frame["gas"].unique().sort().to_list()
    if gases == [""]:
        return isotherms.frame
    found = [known for known in gases if known and known.casefold() == gas.casefold()]
    if not found:
        close = nearest(gas, gases)
        hint = f"Did you mean {close}?" if close else f"There are {', '.join(filter(None, gases))}"
        raise DataError(f"there are no isotherms of {gas!r}", where=isotherms.where, hint=hint)
    return isotherms.frame.filter(pl.col("gas").is_in(found))


def _of_temperature(frame: pl.DataFrame, temperature: float, where: str) -> pl.DataFrame:
    if frame["temperature"].is_null().all():
        return frame
    chosen = frame.filter((pl.col("temperature") - temperature).abs() < _EQUAL)
    if chosen.is_empty():
        known = ", ".join(f"{t:g}" for t in frame["temperature"].drop_nulls().unique().sort())
        hint = f"There are {known} K; a unit is named as in temperature [C]"
        raise DataError(f"there are no isotherms at {temperature:g} K", where=where, hint=hint)
    return chosen


def label_table(
    path: Path,
    out: Path,
    *,
    gas: str,
    pressure: float,
    temperature: float,
    table: Path | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Write labels, or a described table with labels put beside its rows by name."""
    progress = progress or Progress()
    require_writable(out)
    labels, notes = labels_at(read_isotherms(path), gas, pressure, temperature)
    if table is not None:
        described = read_table(table, text=("name",))
        if "name" not in described.columns:
            hint = "Give a table that variolite frameworks describe wrote"
            raise DataError("there is no column name", where=str(table), hint=hint)
        old = [name for name in labels.columns[1:] if name in described.columns]
        if old:
            notes.append(f"columns {', '.join(old)} are replaced")
        known = described["name"].is_in(labels["name"].to_list()).sum()
        if not known:
            first, other = described["name"][0], labels["name"][0]
            hint = f"Its names are like {first}, those of the isotherms like {other}"
            raise DataError("no framework has an isotherm", where=str(table), hint=hint)
        notes.append(f"{known:,} of {len(described):,} frameworks have a label")
        labels = described.drop(old).join(labels, on="name", how="left", maintain_order="left")
    else:
        notes.append(f"labels of {len(labels):,} frameworks")
    write_table(labels, out)
    for note in notes:
        progress.note(note)
    return labels
