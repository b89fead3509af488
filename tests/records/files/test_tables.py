"""Reading tables: formats agree, and delimited text is read strictly."""

import csv
import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.records import DataWarning, load_table, read_table, units_of, write_table

FRAME = pl.DataFrame(
    {
        "well": ["A", "A", "B", None],
        "depth": [1.0, 2.5, None, 4.0],
        "count": [3, 1, 4, 1],
        "note": ["plain", 'with "marks", and comma', "two\nlines", None],
    }
)


def table(folder, content, name="t.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / name)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "feather", "arrow"])
def test_every_format_gives_the_table_back(tmp_path, ending):
    path = tmp_path / f"Table.{ending.upper()}"
    write_table(FRAME, path)
    assert read_table(path).equals(FRAME)
    assert read_table(str(path), columns=["count", "well"]).columns == ["count", "well"]
    with pytest.raises(DataError, match=r"no column 'Depth'. Did you mean 'depth'"):
        read_table(path, columns=["Depth"])


# Delimited text.


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found(tmp_path, separator):
    text = '"x, y; z"' if separator in ",;" else "x, y; z"
    found = table(tmp_path, "a,b,c\n1,{},2.5\n".replace(",", separator).format(text))
    assert found.columns == ["a", "b", "c"]
    assert found.row(0) == (1, "x, y; z", 2.5)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("\ufeffa,b\nö,1\n", "utf-8"),
        ("a,b\r\nö,1\r\n", "utf-8"),
        ("a,b\rö,1\r", "utf-8"),
        ("a,b\nö,1", "utf-8"),
        ("a,b\n\nö,1\n\n\n", "utf-8"),
        ("\ufeffa,b\nö,1\n", "utf-16-le"),
        (" a , b\nö,1\n", "utf-8"),
    ],
)
def test_encodings_and_line_endings(tmp_path, text, encoding):
    assert table(tmp_path, text.encode(encoding)).to_dict(as_series=False) == {"a": ["ö"], "b": [1]}


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_of_a_large_file_the_first_whole_rows_may_be_read(tmp_path, name):
    text = "a,b\n" + "".join(f'{i},"one\nµ {i}"\n' for i in range(100))
    content = text.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for most in range(200, 220):
        with pytest.warns(DataWarning, match="only its first [23][0-9] lines are read"):
            frame = load_table(path, most_bytes=most).frame
        ends = [len(text[: text.index(f'"\n{i},')].encode()) + 2 for i in range(1, 30)]
        assert frame["a"].to_list() == list(range(sum(end <= most for end in ends)))
        assert frame["b"][-1] == f"one\nµ {frame.height - 1}"
    assert load_table(path, most_bytes=len(content)).frame.height == 100


def test_western_text_without_a_known_encoding_is_read_with_a_note(tmp_path):
    text = "hole,DTC (µs/ft),angle (°)\nMüller,80.5,3\n"
    with pytest.warns(DataWarning, match="byte 0xb5 in line 1 .* read as Windows-1252") as said:
        found = table(tmp_path, text.encode("latin-1"))
    assert len(said) == 1
    assert found.to_dict(as_series=False) == {
        "hole": ["Müller"], "DTC (µs/ft)": [80.5], "angle (°)": [3]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Decimal commas, unless they may part thousands.
        ("depth;gamma\n1,5;20\n2,0;30,7\n", {"depth": [1.5, 2.0], "gamma": [20.0, 30.7]}),
        ("a;b\n1,500;x\n2,250;y\n", {"a": [1.5, 2.25], "b": ["x", "y"]}),
        ('a,b\n"1,5",2\n"2,25",3\n', {"a": [1.5, 2.25], "b": [2, 3]}),
        ('a,b\n"1,500",2\n"2,250",3\n', {"a": ["1,500", "2,250"], "b": [2, 3]}),
        # And with text here and there, unless some may be decimal points.
        ("a;b\n1,5;2\n<0,5;2\n2;3\n", {"a": ["1.5", "<0,5", "2"], "b": [2, 2, 3]}),
        ("a;b\n1,5;2\n2.5;3\n2,25;4\n", {"a": ["1,5", "2.5", "2,25"], "b": [2, 3, 4]}),
        ("sep=;\na;b\n1;2\n\x1a", {"a": [1], "b": [2]}),
        # Spellings of a missing value, in numbers and in text.
        ("a,b,c\nNA,***,x\n(null),1.#IND,N/A\n1.5,n/a,None\n2,7,NULL\n",
         {"a": [None, None, 1.5, 2.0], "b": [None, None, None, 7], "c": ["x", None, "None", None]}),
        ("a,b\n-,x\n1,nan\n", {"a": [None, 1], "b": ["x", None]}),
        ("a,b\nNA,1\nNA,2\n", {"a": [None, None], "b": [1, 2]}),
        ("a,b\n1,2\nlow,NA\n", {"a": ["1", "low"], "b": [2, None]}),
        ("value\n1\n\n3\n", {"value": [1, None, 3]}),
        (",a\n0,1\n", {"unnamed_1": [0], "a": [1]}),
        ('a,b\n"one\ntwo, still",1\n"said ""no""",2\n', {"a": ["one\ntwo, still", 'said "no"'],
                                                         "b": [1, 2]}),
        ('a,b\n5" pipe,1\nplain,2\n6" pipe,3\n', {"a": ['5" pipe', "plain", '6" pipe'],
                                                  "b": [1, 2, 3]}),
        ('a,b\n"x","521.86"\n"y","1200.95" \n', {"a": ["x", "y"], "b": [521.86, 1200.95]}),
    ],
)  # fmt: skip
def test_cells(tmp_path, text, expected):
    assert table(tmp_path, text).to_dict(as_series=False) == expected


def test_types_are_inferred_over_the_whole_file_and_text_stays_text(tmp_path):
    rows = "".join(f"{i},{i}\n" for i in range(20_000))
    found = table(tmp_path, f"exp,v\n{rows}397T,1.5\n")
    assert found.dtypes == [pl.String, pl.Float64]
    assert found["exp"][-1] == "397T"
    assert table(tmp_path, "Exp,v\n397,1\n368,2\n")["Exp"].to_list() == [397, 368]
    path = tmp_path / "t.csv"
    assert read_table(path, text=("Exp", "absent"))["Exp"].to_list() == ["397", "368"]
    write_table(pl.DataFrame({"Exp": [397]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", text=("Exp",))["Exp"].to_list() == ["397"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 fields, the header has 2"),
        ("# mine\na,b\n1,2\n", "Remove lines of comments"),
        ("a,b\n1,2\n# note\n3,4\n", "Remove lines of comments"),
        ('a,b\n"x\ny",2\n1,2,3\n', "line 4 has 3 fields"),
        (b"a,b\nfine,1\nM\x81ller,2\n", "byte 0x81 in line 3 is not UTF-8"),
        ("\n\n  \n", "empty"),
        (b"PK\x03\x04whatever", "zip archive or Excel"),
        (b"a,b\n\x00\x00,1\n", "binary"),
        (b"PAR1\x15\x04", "Parquet"),
    ],
)
def test_what_is_wrong_is_said_once_and_where(tmp_path, content, says):
    with pytest.raises(DataError, match=says) as caught:
        table(tmp_path, content)
    assert "t.csv" in str(caught.value)


@pytest.mark.parametrize("more", ["", "x ,1,NA\n", '"a" ,2,3\n'])
def test_whole_numbers_with_leading_zeros_are_names(tmp_path, more):
    found = table(tmp_path, f"well,code,n\n0012,0,7\n12,10,8\n{more}")
    assert found["well"].to_list()[:2] == ["0012", "12"]
    assert found["code"].to_list()[:2] == [0, 10]
    assert found["n"].to_list()[:2] == [7, 8]


def test_of_several_columns_of_one_name_the_first_keeps_it(tmp_path):
    with pytest.warns(DataWarning, match=r"t.csv: the column name 'a' occurs again; .* 'a:[23]'"):
        found = table(tmp_path, "a,b, a,a\n1,2,3,4\n")
    assert found.to_dict(as_series=False) == {"a": [1], "b": [2], "a:2": [3], "a:3": [4]}


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_row_of_units_below_the_header(tmp_path, ending):
    rows = [["WELL", "DEPT", "GR"], ["", "m", "[gAPI]"], ["0012", 1.5, 30], ["0012", 2, "NA"]]
    path = write_rows(tmp_path / f"t.{ending}", rows)
    assert read_table(path, text=["WELL"]).to_dict(as_series=False) == {
        "WELL": ["0012", "0012"], "DEPT": [1.5, 2.0], "GR": [30, None]
    }  # fmt: skip
    assert units_of(path) == {"DEPT": "m", "GR": "gAPI"}
    # Rows of text, numbers and names are none.
    for second in (["W", "m", "x"], ["m", "ft", 1], ["m", "f", "c"]):
        path = write_rows(tmp_path / f"u.{ending}", [["a", "b", "c"], second, ["f", "m", "c"]])
        assert units_of(path) == {}
        assert read_table(path).height == 2


def write_rows(path, rows):
    """Write CSV, or the least that is an Excel workbook."""
    if path.suffix == ".csv":
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        return path
    cell = '<c r="{}{}" t="{}">{}</c>'
    lines = ""
    for i, row in enumerate(rows, start=1):
        lines += f'<row r="{i}">'
        for letter, value in zip("ABCDEF", row, strict=False):
            text = isinstance(value, str)
            inner = f"<is><t>{value}</t></is>" if text else f"<v>{value}</v>"
            lines += cell.format(letter, i, "inlineStr" if text else "n", inner)
        lines += "</row>"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    with zipfile.ZipFile(path, "w") as book:
        for name, content in {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Override PartName="/xl/workbook.xml" ContentType="{types}.sheet.main+xml"/>'
            f'<Override PartName="/xl/s.xml" ContentType="{types}.worksheet+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{office}/worksheet" Target="s.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="logs" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/s.xml": f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
        }.items():
            book.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return path


CELL = st.text(st.sampled_from('ab1., \n"é'), max_size=6)


@given(st.integers(2, 4), st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=8))
def test_records_are_judged_as_the_csv_module_judges_them(tmp_path_factory, width, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([list("abcd"[:width]), *rows])
    path = tmp_path_factory.getbasetemp() / "records.csv"
    path.write_text(text.getvalue(), newline="")
    records = [r for r in csv.reader(io.StringIO(text.getvalue(), newline="")) if r][1:]
    if records and all(len(record) == width for record in records):
        assert read_table(path, text="abcd").shape == (len(records), width)
    else:
        with pytest.raises(DataError, match=r"fields, the header has|no rows"):
            read_table(path, text="abcd")


def test_an_open_quotation_mark_is_noticed(tmp_path, shared_data):
    with pytest.warns(DataWarning, match="row 2 of column 'note' holds 2 lines"):
        table(tmp_path, 'a,b,note\n1,2,x\n1,2,"y\n3,4,z\n5,6,z"\n')
    # The file as published has one in expedition 375.
    with pytest.warns(DataWarning, match="'Vane rotation rate .* holds 125 lines"):
        found = read_table(shared_data / "corelogs/lily/AVS_DataLITH.csv", text=("Exp",))
    assert found.shape == (2486, 31)
    assert found["Exp"].dtype == pl.String
    assert found["Water Depth (mbsl)"].dtype == pl.Float64


# Data in memory.


def test_data_frames_and_mappings_agree():
    arrays = {"a": np.arange(3), "b": np.array(["x", None, "z"], dtype=object), "c": [1, None, 2.5]}
    expected = pl.DataFrame({"a": [0, 1, 2], "b": ["x", None, "z"], "c": [1.0, None, 2.5]})
    for source in (arrays, pd.DataFrame(arrays), expected.lazy()):
        assert read_table(source).fill_nan(None).equals(expected)
    assert read_table(expected) is expected
    typed = {
        "nullable": pd.array([1, None, 3], dtype="Int64"),
        "text": pd.array(["a", None, "c"], dtype="string"),
        "category": pd.Categorical(["u", "v", None]),
        "flag": [True, False, True],
        "mixed": [1, "397T", None],
        "time": pd.to_datetime(["2020-01-01", "2020-01-02", None]),
    }
    found = read_table(pd.DataFrame(typed, index=[7, 8, 9]))
    assert found["time"].null_count() == 1
    assert found.drop("time").rows() == [
        (1.0, "a", "u", True, "1"), (None, None, "v", False, "397T"), (3.0, "c", None, True, None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (3, "cannot be made from int"),
        ({"a": [1, 2], "b": [1]}, "differ in length"),
        ({"a": np.ones((2, 2))}, "has 2 dimensions"),
        ({}, "no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'"),
    ],
)
def test_impossible_sources(source, says):
    with pytest.raises(DataError, match=says):
        read_table(source)


# Files that are not what they seem.


def test_missing_and_unknown_files(tmp_path):
    (tmp_path / "wells.csv").write_text("a\n1\n")
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("well.csv", r"no such file. Did you mean 'wells.csv'"),
        ("empty", "no table is found there"),
        ("*.las", "no table is found there"),
        ("nowhere/x.csv", "no such file"),
    ):
        with pytest.raises(DataError, match=says):
            read_table(tmp_path / name)
    for name in ("t.pdf", "t"):
        with pytest.raises(DataError, match=r"Use one of .*\.parquet"):
            table(tmp_path, "a\n1\n", name)


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "las", "csv.gz"])
def test_foreign_and_truncated_content_is_one_error(tmp_path, ending):
    contents = [b"", b"\x00\x01\x02garbage\xff" * 50]
    if ending not in ("csv", "las"):
        write_table(pl.DataFrame({"a": np.arange(1000)}), tmp_path / f"t.{ending}")
        whole = (tmp_path / f"t.{ending}").read_bytes()
        contents.append(whole[: len(whole) // 2])
    for content in contents:
        with pytest.raises(DataError, match=f"t.{ending}") as caught:
            table(tmp_path, content, f"t.{ending}")
        assert "\n" not in str(caught.value)
    if ending != "las":
        write_table(FRAME.clear(), tmp_path / f"t.{ending}")
        with pytest.raises(DataError, match="no rows"):
            read_table(tmp_path / f"t.{ending}")


FRAGMENTS = [",", ";", "\t", "\n", "\r\n", '"', "a", "2.5", "é", "-999.25"]
FRAGMENTS += ["\n~Curve\n", "~A", "GR.m : x\n"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join).map(str.encode)


@pytest.mark.filterwarnings("ignore::variolite.records.DataWarning")
@given(
    st.one_of(TEXTS, st.binary(max_size=40)),
    st.sampled_from(["csv", "tsv", "las", "parquet", "feather", "csv.gz"]),
)
def test_any_bytes_give_a_table_or_one_clear_error(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{ending}"
    path.write_bytes(content)
    for read in (read_table, units_of):
        message = ""
        try:
            read(path)
        except DataError as error:
            message = str(error)
        assert "\n" not in message
        assert not message or path.name in message


def test_importing_loads_neither_torch_nor_pandas_nor_lasio():
    code = (
        "import sys; from variolite.records import *; "
        "print([m for m in ('torch', 'pandas', 'lasio', 'scipy', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# Units.


def test_units_from_headers(tmp_path):
    frame = table(tmp_path, "Depth CSF-A (m),GR [gAPI],plain,none (-)\n1,2,3,4\n")
    write_table(frame, tmp_path / "t.parquet")
    for source in (tmp_path / "t.csv", frame, tmp_path / "t.parquet"):
        assert units_of(source) == {"Depth CSF-A (m)": "m", "GR [gAPI]": "gAPI"}


def test_a_panic_of_polars_on_a_damaged_file_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panics(_: object) -> pl.LazyFrame:
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(pl, "scan_parquet", panics)
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read as \.parquet .* damaged"):
        read_table(tmp_path / "t.parquet")
