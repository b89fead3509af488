"""Isotherms to labels: the uptake of each framework at a pressure and temperature, and its spread.

A table of isotherms has several rows per framework: one per pressure, temperature, gas and, where
there are several, force field or source. Between two pressures uptake is interpolated along the
logarithm of pressure; beyond those of the table there is no label.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError, nearest
from variolite.progress import Progress
from variolite.records import read_table, require_writable, write_table
from variolite.records.units import can_convert, convert, split_header

_SPELLINGS = {
    "name": ("name", "mofname", "structure", "framework", "refcode", "id_structure"),
    "gas": ("gas", "adsorbate", "adsorptive", "molecule"),
    "pressure": ("pressure", "p", "press"),
    "loading": ("loading", "uptake", "amount", "adsorption", "q"),
    "temperature": ("temperature", "temp", "t"),
    "source": ("id", "source", "force_field", "forcefield", "model", "run"),
}
_UNITS = {"pressure": "Pa", "loading": "mol/kg", "temperature": "K"}  # the others are texts
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
    for meaning in ("name", "pressure", "loading"):
        if meaning not in headers:
            hint = f"It has {', '.join(frame.columns[:12])}"
            raise DataError(f"there is no column for {meaning}", where=str(path), hint=hint)
    texts = [header for meaning, header in headers.items() if meaning not in _UNITS]
    if any(frame[header].dtype.is_numeric() for header in texts):
        frame = read_table(path, text=texts)  # 1E10 is a name
    columns = [pl.lit("").alias("gas"), pl.lit("").alias("source")]
    columns += [pl.lit(None, pl.Float64).alias("temperature")]
    table = frame.select(
        *(column for column in columns if column.meta.output_name() not in headers),
        *(
            _in_unit(frame[header], meaning, f"{path}: {header}").alias(meaning)
            for meaning, header in headers.items()
        ),
    ).with_columns(pl.col("gas", "source").fill_null(""))
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


def _in_unit(series: pl.Series, meaning: str, where: str) -> pl.Series:
    wanted = _UNITS.get(meaning)
    if wanted is None:
        return series.cast(pl.String).str.strip_chars()
    numbers = series.cast(pl.Float64, strict=False)
    if (wrong := series.filter(numbers.is_null() & series.is_not_null())).len():
        raise DataError(f"{wrong[0]!r} is not a number", where=where, hint="Leave such cells empty")
    unit = split_header(series.name)[1] or wanted
    if not can_convert(unit, wanted):
        what = f"the unit {unit} is not known here"
        raise DataError(what, where=where, hint=f"Give it in {wanted}")
    return pl.Series(meaning, convert(numbers.to_numpy(), unit, wanted))


def labels_at(
    isotherms: Isotherms, gas: str, pressure: float, temperature: float
) -> tuple[pl.DataFrame, list[str]]:
    """Return name, ``GAS_uptake``, ``_sd`` and ``_n`` at a pressure in Pa and a temperature in K.

    Mean and standard deviation (of the population) are over sources, such as force fields, and
    their number is ``_n``. Beside the table come sentences on what was interpolated and left out.
    """
    where, notes = isotherms.where, [*isotherms.notes]
    frame = _of_temperature(_of_gas(isotherms.frame, gas, where), temperature, where)
    low, high = frame["pressure"].to_numpy().min(), frame["pressure"].to_numpy().max()
    # Single precision in files: 100000.00001 is 1 bar.
    if not low * (1 - 1e-5) <= pressure <= high * (1 + 1e-5):
        what = (
            f"{pressure:,g} Pa is outside of the isotherms, which go from {low:,g} to {high:,g} Pa"
        )
        hint = "Uptakes are never extrapolated: give a pressure between, or name the unit of the "
        raise DataError(what, where=where, hint=hint + "column, as in pressure [bar]")
    uptakes: list[tuple[str, float]] = []
    between = outside = 0
    for (name, _), rows in frame.sort("pressure").group_by(["name", "source"], maintain_order=True):
        pressures, loadings = rows["pressure"].to_numpy(), rows["loading"].to_numpy()
        same = np.isclose(pressures, pressure, rtol=1e-5)
        if same.any():
            uptakes.append((name, float(loadings[same].mean())))
        elif pressures[0] < pressure < pressures[-1]:
            value = np.interp(np.log(pressure), np.log(pressures), loadings)
            uptakes.append((name, float(value)))
            between += 1
        else:
            outside += 1
    if not uptakes:
        hint = "Give a pressure that they reach"
        raise DataError(f"no isotherm reaches {pressure:,g} Pa", where=where, hint=hint)
    if isotherms.frame["temperature"].is_null().all():
        notes.append(f"no temperatures are given: all rows are taken to be at {temperature:g} K")
    if below := sum(value < 0 for _, value in uptakes):
        notes.append(f"{below:,} uptakes are below 0")
    if between:
        notes.append(
            f"{between:,} uptakes at {pressure:,g} Pa are interpolated between the pressures of "
            "the table, along their logarithm"
        )
    if outside:
        notes.append(f"{outside:,} isotherms do not reach {pressure:,g} Pa: left out")
    label = f"{gas.casefold()}_uptake"
    value, count = pl.col(label), pl.col(label).count().cast(pl.Int64)
    table = (
        pl.DataFrame(uptakes, schema={"name": pl.String, label: pl.Float64}, orient="row")
        .group_by("name", maintain_order=True)
        .agg(
            value.mean(),
            pl.when(count > 1).then(value.std(ddof=0)).alias(f"{label}_sd"),  # of one unknown
            count.alias(f"{label}_n"),
        )
    )
    return table, notes


def _of_gas(frame: pl.DataFrame, gas: str, where: str) -> pl.DataFrame:
    gases = frame["gas"].unique().sort().to_list()
    if gases == [""]:
        return frame
    found = [known for known in gases if known and known.casefold() == gas.casefold()]
    if not found:
        close = nearest(gas, gases)
        hint = f"Did you mean {close}?" if close else f"There are {', '.join(filter(None, gases))}"
        raise DataError(f"there are no isotherms of {gas!r}", where=where, hint=hint)
    return frame.filter(pl.col("gas").is_in(found))


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
