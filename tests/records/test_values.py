"""Cells: numbers whatever their type, one spelling for every name and every unit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError, SchemaError
from variolite.records.values import (
    as_text,
    canonical_unit,
    numeric_values,
    split_header,
    text_values,
    units_agree,
)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([1.5, None, float("nan"), -2.0]),
        pl.Series([1.5, None, None, -2.0], dtype=pl.Float32),
        pl.Series(["1.5", "", " ", "-2"]),
        pl.Series([" 1.5 ", None, "NaN", "-2e0"]),
        pl.Series(["1.5", None, None, "-2"], dtype=pl.Categorical),
    ],
)
def test_missing_is_nan(series: pl.Series) -> None:
    found = numeric_values(series)
    assert found.dtype == np.float64
    assert np.array_equal(found, [1.5, np.nan, np.nan, -2.0], equal_nan=True)


def test_integers_flags_and_nothing() -> None:
    assert numeric_values(pl.Series([1, None])).tolist()[0] == 1.0
    assert numeric_values(pl.Series([True, False])).tolist() == [1.0, 0.0]
    assert np.isnan(numeric_values(pl.Series([None, None]))).all()


def test_the_answer_is_a_copy() -> None:
    series = pl.Series([1.0, 2.0])
    numeric_values(series)[0] = 9.0
    assert series[0] == 1.0


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1.2", "n/a", "x"], r"column 'gr': 'n/a' in row 2 is not a number \(2 of 3 entries"),
        (["1.2", "1,2"], "'1,2' in row 2.*decimal point"),
        (["1,000.5"], "'1,000.5' in row 1"),
    ],
)
def test_text_that_is_no_number_is_named(values: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        numeric_values(pl.Series("gr", values))


def test_other_types_are_no_numbers() -> None:
    dates = pl.Series("when", ["2020-01-01"]).str.to_date()
    with pytest.raises(DataError, match="column 'when': holds Date"):
        numeric_values(dates)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([3, None, 12]), ["3", "", "12"]),
        (pl.Series([3.0, float("nan"), None, -2.0, 0.5]), ["3", "", "", "-2", "0.5"]),
        (pl.Series([3.0, 0.1], dtype=pl.Float32), ["3", "0.1"]),
        (pl.Series([" a ", "b", None, ""]), ["a", "b", "", ""]),
        (pl.Series(["x", "y", "x"], dtype=pl.Categorical), ["x", "y", "x"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([None, None]), ["", ""]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_columns(values: pl.Series, expected: list[str]) -> None:
    found = text_values(values)
    assert found.dtype.kind == "U"
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (np.array([1, 2]), ["1", "2"]),
        (np.array([1.0, np.nan]), ["1", ""]),
        (np.array(["x", None, np.nan], dtype=object), ["x", "", ""]),
        (np.array([3, "x", 4.0, None], dtype=object), ["3", "x", "4", ""]),
        (np.array(["a"], dtype=np.dtypes.StringDType()), ["a"]),
        (pl.Series([1.0]), ["1"]),
    ],
)
def test_arrays(values: object, expected: list[str]) -> None:
    assert as_text(values).tolist() == expected


def test_what_is_not_plain_is_refused() -> None:
    with pytest.raises(SchemaError, match="not plain values"):
        text_values(pl.Series("a", [[1], [2]]))
    with pytest.raises(SchemaError, match="one dimension"):
        as_text(np.zeros((2, 2)))


NAMES = st.text(st.characters(exclude_characters="\0"), max_size=4)


@given(st.lists(st.one_of(st.none(), NAMES), max_size=30))
def test_every_name_is_kept(names: list[str | None]) -> None:
    expected = [pl.Series([name or ""]).str.strip_chars()[0] for name in names]
    assert text_values(pl.Series("n", names, dtype=pl.String)).tolist() == expected


@pytest.mark.parametrize(
    "spellings",
    [
        ("g/cm3", "g/cc", "G/C3", "g/cm^3", "g/cm³", "G/CC"),
        ("gAPI", "API", "GAPI"),
        ("us/ft", "US/F", "µs/ft", "μs/ft"),
        ("m3/m3", "V/V", "v/v", "m³/m³", "frac"),
        ("ohm.m", "OHMM", "ohm m", "Ω·m", "Ohm-m"),
        ("W/(m*K)", "W/(m·K)"),
        ("kPa", "kN/m^2"),
        ("m", "mbsf", "meters"),
    ],
)
def test_spellings_agree(spellings: tuple[str, ...]) -> None:
    assert len({canonical_unit(unit) for unit in spellings}) == 1
    assert canonical_unit(spellings[0]) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [("g/cm3", "kg/m3"), ("m", "ft"), ("us/ft", "us/m"), ("m3/m3", "%"), ("m/s", "km/s")],
)
def test_different_units_disagree(first: str, second: str) -> None:
    assert not units_agree(first, second)
    assert not units_agree(second, first)


def test_unknown_units_are_no_evidence() -> None:
    assert units_agree("g/cm3", None)
    assert units_agree("g/cm3", "GRA")
    assert units_agree(None, "m")
    assert units_agree("furlong", "m")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Depth CSF-A (m)", ("Depth CSF-A", "m")),
        ("Thermal conductivity mean (W/(m*K))", ("Thermal conductivity mean", "W/(m*K)")),
        ("GR [gAPI]", ("GR", "gAPI")),
        ("GR", ("GR", None)),
        ("ratio (-)", ("ratio", None)),
        ("(m)", ("(m)", None)),
        ("a (b) c", ("a (b) c", None)),
    ],
)
def test_headers(header: str, expected: tuple[str, str | None]) -> None:
    assert split_header(header) == expected
