"""Numbers: whatever type they come in; the first value that is none is named."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records.values import numeric_values


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


def test_other_types_are_refused() -> None:
    dates = pl.Series("when", ["2020-01-01"]).str.to_date()
    with pytest.raises(DataError, match="column 'when': holds Date"):
        numeric_values(dates)
