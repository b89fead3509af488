"""Records: cells become numbers and names, rows are taken together, shapes are checked."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite import records
from variolite.errors import DataError, SchemaError
from variolite.records import Records, as_text
from variolite.records.records import numeric_values, text_values


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
def test_numbers_of_any_type(series):
    found = numeric_values(series)
    assert found.dtype == np.float64
    assert np.array_equal(found, [1.5, np.nan, np.nan, -2.0], equal_nan=True)
    found[0] = 9.0
    assert str(series[0]).strip() == "1.5", "what comes out is a copy"
    assert numeric_values(pl.Series([1, None]))[0] == 1.0
    with pytest.raises(DataError, match="holds Boolean, not numbers"):
        numeric_values(pl.Series("GR", [True, False]))
    assert np.isnan(numeric_values(pl.Series([None, None]))).all()


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (pl.Series("gr", ["1.2", "n/a", "x"]), r"'gr': 'n/a' in row 2 is not a number \(2 of 3 en"),
        (pl.Series("gr", ["1.2", "1,2"]), "'1,2' in row 2.*decimal point"),
        (pl.Series("gr", ["1,000.5"]), "'1,000.5' in row 1"),
        (pl.Series("when", ["2020-01-01"]).str.to_date(), "column 'when': holds Date"),
    ],
)
def test_what_is_no_number_is_named(series, says):
    with pytest.raises(DataError, match=says):
        numeric_values(series)
    with pytest.raises(SchemaError, match="not plain values"):
        text_values(pl.Series("a", [[1], [2]]))
    with pytest.raises(SchemaError, match="one dimension"):
        as_text(np.zeros((2, 2)))


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
        (["a", "b"], ["a", "b"]),
        (np.array([1, 2]), ["1", "2"]),
        (np.array([1.0, np.nan]), ["1", ""]),
        (np.array(["x", None, np.nan], dtype=object), ["x", "", ""]),
        (np.array([3, "x", 4.0, None], dtype=object), ["3", "x", "4", ""]),
        (np.array(["a"], dtype=np.dtypes.StringDType()), ["a"]),
    ],
)
def test_names_of_any_type(values, expected):
    found = as_text(values)
    assert found.dtype.kind == "U"
    assert found.tolist() == expected


# All of Unicode but lone surrogates, which text in a file or in polars cannot hold.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)


@given(st.lists(st.one_of(st.none(), NAMES), max_size=30))
def test_every_name_is_kept(names):
    expected = [pl.Series([name or ""]).str.strip_chars()[0] for name in names]
    assert text_values(pl.Series("n", names, dtype=pl.String)).tolist() == expected


GRID = np.arange(10.0).reshape(5, 2)
RECORDS = Records(
    numeric=GRID.astype(np.float32),
    observed=np.ones((5, 2), dtype=bool),
    raw=GRID,
    log_det=np.zeros((5, 2)),
    category=np.zeros((5, 0), dtype=np.int64),
    condition=np.zeros((5, 0), dtype=np.float32),
    row=np.arange(5),
    group=np.array(list("aabbc")),
    labels={"facies": np.array(list("vwxyz"))},
)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [([3, 1, 1], [3, 1, 1]), (np.array([False, True, False, True, False]), [1, 3]), ([], [])],
)
def test_take(chosen, expected):
    picked = RECORDS.take(chosen)  # type: ignore[arg-type]
    assert picked.row.tolist() == expected
    assert picked.numeric[:, 0].tolist() == [2.0 * i for i in expected]
    assert picked.group.tolist() == ["aabbc"[i] for i in expected]
    assert picked.labels["facies"].tolist() == ["vwxyz"[i] for i in expected]
    assert picked.order is None
    assert len(picked) == len(expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observed": np.ones((5, 1), dtype=bool)}, "observed has shape"),
        ({"category": np.zeros((4, 1), dtype=np.int64)}, "category has 4 rows, not 5"),
        ({"group": np.array(["a"])}, "group has 1 rows"),
        ({"labels": {"x": np.array(["a"])}}, "label 'x' has 1 rows"),
    ],
)
def test_shapes_are_checked(change, says):
    with pytest.raises(DataError, match=says):
        replace(RECORDS, **change)  # type: ignore[arg-type]


def test_what_is_public_has_a_docstring():
    public = [getattr(records, name) for name in records.__all__]
    assert all(thing.__doc__ for thing in public if callable(thing))
