"""Names as text: one spelling whatever type the table gave them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import SchemaError
from variolite.records.values import as_text, text_values


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
