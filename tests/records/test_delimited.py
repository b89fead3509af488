"""Delimited text: quoting, separators and encodings are read, anything else is named."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.records import DataWarning, read_table
from variolite.records.delimited import read_delimited


def table(tmp_path: Path, content: bytes | str, name: str = "t.csv") -> pl.DataFrame:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found(tmp_path: Path, separator: str) -> None:
    text = separator.join(["a", "b", "c"]) + "\n" + separator.join(["1", "x, y; z", "2.5"]) + "\n"
    if separator in ",;":
        text = text.replace("x, y; z", '"x, y; z"')
    found = table(tmp_path, text)
    assert found.columns == ["a", "b", "c"]
    assert found.row(0) == (1, "x, y; z", 2.5)


def test_decimal_commas_between_semicolons_stay_whole(tmp_path: Path) -> None:
    found = table(tmp_path, "depth;gamma\n1,5;20,1\n2,0;30,7\n")
    assert found["depth"].to_list() == ["1,5", "2,0"]


def test_one_column(tmp_path: Path) -> None:
    assert table(tmp_path, "value\n1\n\n3\n")["value"].to_list() == [1, None, 3]


@pytest.mark.parametrize(
    "encoded",
    [
        "\ufeffa,b\nö,1\n".encode(),
        "a,b\r\nö,1\r\n".encode(),
        "a,b\rö,1\r".encode(),
        "a,b\nö,1".encode(),
        "a,b\n\nö,1\n\n\n".encode(),
        "\ufeffa,b\nö,1\n".encode("utf-16-le"),
        " a , b\nö,1\n".encode(),
    ],
    ids=["bom", "crlf", "cr", "no last line feed", "blank lines", "utf-16", "blanks in header"],
)
def test_encodings_and_line_endings(tmp_path: Path, encoded: bytes) -> None:
    assert table(tmp_path, encoded).to_dict(as_series=False) == {"a": ["ö"], "b": [1]}


def test_quoted_line_breaks_and_marks(tmp_path: Path) -> None:
    found = table(tmp_path, 'a,b\n"line one\nline two, still",1\n"said ""no""",2\n')
    assert found["a"].to_list() == ["line one\nline two, still", 'said "no"']


def test_marks_inside_unquoted_text(tmp_path: Path) -> None:
    found = table(tmp_path, 'a,b\n5" pipe,1\nplain,2\n6" pipe,3\n')
    assert found["a"].to_list() == ['5" pipe', "plain", '6" pipe']


def test_blank_after_closing_mark(tmp_path: Path) -> None:
    found = table(tmp_path, 'name,depth\n"x","521.86"\n"y","1200.95" \n')
    assert found.to_dict(as_series=False) == {"name": ["x", "y"], "depth": [521.86, 1200.95]}


def test_types_are_inferred_over_the_whole_file(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}\n" for i in range(20_000))
    found = table(tmp_path, f"exp,v\n{rows}397T,1.5\n")
    assert found["exp"].dtype == pl.String
    assert found["exp"][-1] == "397T"
    assert found["v"].dtype == pl.Float64


def test_unnamed_columns_get_a_name(tmp_path: Path) -> None:
    assert table(tmp_path, ",a\n0,1\n").columns == ["unnamed_1", "a"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 fields, the header has 2"),
        ('a,b\n"x\ny",2\n1,2,3\n', "line 4 has 3 fields"),
        ("a,b,a\n1,2,3\n", r"'a' occurs 2 times \(columns 1, 3\)"),
        ("a, a\n1,2\n", "'a' occurs 2 times"),
        (b"a,b\nfine,1\nM\xfcller,2\n", "byte 0xfc in line 3 is not UTF-8"),
        ("\n\n  \n", "empty"),
        (b"PK\x03\x04whatever", "zip archive or Excel"),
        (b"a,b\n\x00\x00,1\n", "binary"),
        (b"PAR1\x15\x04", "Parquet"),
    ],
)
def test_what_is_wrong_is_said_once_and_where(
    tmp_path: Path, content: bytes | str, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        table(tmp_path, content)
    assert "t.csv" in str(caught.value)


CELL = st.text(st.sampled_from('ab1., \n"é'), max_size=6)


@given(
    st.integers(2, 4),
    st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=8),
)
def test_records_are_judged_as_the_csv_module_judges_them(
    tmp_path_factory: pytest.TempPathFactory, width: int, rows: list[list[str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([list("abcd"[:width]), *rows])
    path = tmp_path_factory.getbasetemp() / "records.csv"
    path.write_text(text.getvalue(), newline="")
    records = [r for r in csv.reader(io.StringIO(text.getvalue(), newline="")) if r][1:]
    if all(len(record) == width for record in records):
        assert read_delimited(path, "abcd").shape == (len(records), width)
    else:
        with pytest.raises(DataError, match="fields, the header has"):
            read_delimited(path, "abcd")


def test_real_instrument_table(shared_data: Path) -> None:
    # The file as published has an open quotation mark in expedition 375.
    with pytest.warns(DataWarning, match="'Vane rotation rate .* holds 125 lines"):
        found = read_table(shared_data / "corelogs/lily/AVS_DataLITH.csv", text=("Exp",))
    assert found.shape == (2486, 31)
    assert found["Exp"].dtype == pl.String
    assert found["Water Depth (mbsl)"].dtype == pl.Float64


def test_an_open_quotation_mark_is_noticed(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="row 2 of column 'note' holds 2 lines"):
        table(tmp_path, 'a,b,note\n1,2,x\n1,2,"y\n3,4,z\n5,6,z"\n')
