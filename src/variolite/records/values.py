"""Cells of a table as text, numbers and units: one spelling for every name."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, SchemaError

# One spelling for every name: group, label and category values as text.


_LARGEST_EXACT = 2.0**53


def text_series(series: pl.Series) -> pl.Series:
    """Return a column as a String series, missing entries as ""; see :func:`text_values`."""
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise SchemaError(f"column {series.name!r} holds {series.dtype}, not plain values")
    if series.dtype.is_float():
        values = series.fill_nan(None)
        whole = (values == values.round()) & (values.abs() < _LARGEST_EXACT)
        whole = whole.fill_null(value=False)
        as_integer = values.set(~whole, None).cast(pl.Int64).cast(pl.String)
        texts = values.cast(pl.String).zip_with(~whole, as_integer)
    elif series.dtype == pl.String:
        texts = series.str.strip_chars()
    else:
        texts = series.cast(pl.String)
    return texts.fill_null("")


def text_values(series: pl.Series) -> NDArray[np.str_]:
    """Return a column of any plain type as text [n], missing entries as "".

    Whole numbers lose their point, so that 3, 3.0 and "3" name the same group.
    Outer blanks are removed.
    """
    texts = text_series(series)
    if not len(texts):
        return np.empty(0, dtype=np.str_)
    # By way of the distinct values: a million rows hold few names.
    distinct = texts.unique()
    codes = texts.replace_strict(distinct, pl.int_range(len(distinct), eager=True))
    table = distinct.to_numpy().astype(str)
    result: NDArray[np.str_] = table[codes.to_numpy()]
    return result


def as_text(values: ArrayLike | pl.Series) -> NDArray[np.str_]:
    """Return any one-dimensional array of names as text; see :func:`text_values`."""
    if isinstance(values, pl.Series):
        return text_values(values)
    array = np.asarray(values)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.ndim != 1:
        raise SchemaError(f"names need one dimension, not {array.ndim}")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "O":
        flat = [None if value is None or value != value else value for value in array.tolist()]
        if all(value is None or isinstance(value, str) for value in flat):
            return text_values(pl.Series("names", flat, dtype=pl.String))
        return np.concatenate([text_values(pl.Series("names", [value])) for value in flat])
    return text_values(pl.Series("names", array))


# Columns as numbers.


def numeric_values(series: pl.Series) -> NDArray[np.float64]:
    """Return a column as float64 [n], missing entries as NaN; infinite ones stay infinite.

    Text is accepted when every entry that is not blank is a number in plain notation;
    the error names column, row and value of the first that is not.
    """
    if series.dtype.is_numeric() or series.dtype == pl.Boolean or series.dtype == pl.Null:
        return _to_numpy(series.cast(pl.Float64))
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        raise DataError(
            f"holds {series.dtype}, not numbers",
            where=f"column {series.name!r}",
            hint="Map a numeric column instead, or give it the kind 'category'",
        )
    stripped = series.str.strip_chars()
    blank = stripped.str.len_chars() == 0
    stripped = stripped.set(blank.fill_null(value=False), None)
    values = stripped.cast(pl.Float64, strict=False)
    bad = values.is_null() & stripped.is_not_null()
    if bad.any():
        first = int(bad.arg_true()[0])
        text = series[first]
        advice = "Leave missing cells empty, or give the column the kind 'category'"
        if "," in text and "." not in text:
            advice = "Write a decimal point instead of a comma"
        raise DataError(
            f"{text!r:.60} in row {first + 1} is not a number "
            f"({int(bad.sum())} of {len(series)} entries are not)",
            where=f"column {series.name!r}",
            hint=advice,
        )
    return _to_numpy(values)


def _to_numpy(series: pl.Series) -> NDArray[np.float64]:
    return np.array(series.fill_null(float("nan")).to_numpy(), dtype=np.float64)


# Spellings of units: enough to tell g/cc from kg/m3, not a unit system.


# Each line: the canonical spelling, then other spellings met in logs and tables.
_SPELLINGS = """
g/cm3 g/cc gm/cc g/c3 gm/cm3 g/ml gcm-3 g.cm-3
kg/m3 k/m3 kgm-3 kg.m-3
gapi api gapi-units apiunits
us/ft us/f usec/ft musec/ft
us/m usec/m musec/m
m3/m3 v/v frac fraction ft3/ft3 dec decimal 1
% pu percent p.u. pct
vol% vol.%
wt% wt.%
ohm.m ohmm ohm-m ohm*m ohm
mv millivolt millivolts
v volt volts
b/e barns/e barn/e b/electron barns/electron
m metre metres meter meters mbsf mbsl mcsf
ft feet foot f
cm centimetre centimeter
mm millimetre millimeter
in inch inches
m/s m/sec ms-1
km/s km/sec kms-1
ft/s ft/sec
cps counts/s count/s cts/s
w/(m*k) w/mk w/(mk) w/m/k w/(m.k) wm-1k-1
kpa kn/m2
mpa mn/m2
pa n/m2
gpa
degc c celsius
degf fahrenheit
k kelvin
deg degree degrees
deg/s
si 10-5si
"""
_CANONICAL = {
    spelling: line.split()[0] for line in _SPELLINGS.split("\n") for spelling in line.split()
}
_UNITLESS = {"", "-", "_", "none", "unitless", "dimensionless", "n/a"}
_REPLACED = str.maketrans(
    {"³": "3", "²": "2", "µ": "u", "μ": "u", "Ω": "ohm", "·": ".", "°": "deg"}
)
_HEADER = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*(?:\([^()]*\))?[^()\[\]]*)[)\]]$")


def _plain(unit: str) -> str:
    text = unit.strip().translate(_REPLACED).casefold()
    return re.sub(r"\s+|\^|\*\*", "", text)


def canonical_unit(unit: str | None) -> str | None:
    """Return the canonical spelling of a known unit, or None for an unknown or absent one.

    >>> canonical_unit("G/C3"), canonical_unit("g/cm^3"), canonical_unit("GRA")
    ('g/cm3', 'g/cm3', None)
    """
    return None if unit is None else _CANONICAL.get(_plain(unit))


def units_agree(declared: str | None, found: str | None) -> bool:
    """Return whether two spellings can mean the same unit.

    Only two units that are both known can disagree: an unknown or missing one is
    no evidence of a mistake.
    """
    first, second = canonical_unit(declared), canonical_unit(found)
    return first is None or second is None or first == second


def split_header(header: str) -> tuple[str, str | None]:
    """Split ``name (unit)`` or ``name [unit]``; the unit is None when there is none.

    >>> split_header("Thermal conductivity mean (W/(m*K))")
    ('Thermal conductivity mean', 'W/(m*K)')
    """
    match = _HEADER.match(header.strip())
    if match is None:
        return header.strip(), None
    unit = match["unit"].strip()
    return match["name"].strip(), None if unit.casefold() in _UNITLESS else unit
