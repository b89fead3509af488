"""Reading tables: formats agree, LAS files keep units and gaps, refusals are clear."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.records import read_table, units_of, write_table

FRAME = pl.DataFrame(
    {
        "well": ["A", "A", "B", None],
        "depth": [1.0, 2.5, None, 4.0],
        "count": [3, 1, 4, 1],
        "note": ["plain", 'with "marks", and comma', "two\nlines", None],
    }
)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "feather", "arrow"])
def test_every_format_gives_the_table_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"Table.{ending.upper()}"
    write_table(FRAME, path)
    assert read_table(path).equals(FRAME)
    assert read_table(str(path), columns=["count", "well"]).columns == ["count", "well"]


def test_data_frames_and_mappings_agree() -> None:
    arrays = {"a": np.arange(3), "b": np.array(["x", None, "z"], dtype=object), "c": [1, None, 2.5]}
    expected = pl.DataFrame({"a": [0, 1, 2], "b": ["x", None, "z"], "c": [1.0, None, 2.5]})
    assert read_table(arrays).equals(expected)
    assert read_table(pd.DataFrame(arrays)).fill_nan(None).equals(expected)
    assert read_table(expected.lazy()).equals(expected)
    assert read_table(expected) is expected


def test_pandas_column_types() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "text": pd.array(["a", None, "c"], dtype="string"),
            "category": pd.Categorical(["u", "v", None]),
            "flag": [True, False, True],
            "mixed": [1, "397T", None],
            "time": pd.to_datetime(["2020-01-01", "2020-01-02", None]),
        },
        index=[7, 8, 9],
    )
    table = read_table(frame)
    assert table["nullable"].to_list() == [1.0, None, 3.0]
    assert table["text"].to_list() == ["a", None, "c"]
    assert table["category"].to_list() == ["u", "v", None]
    assert table["flag"].to_list() == [True, False, True]
    assert table["mixed"].to_list() == ["1", "397T", None]
    assert table["time"].null_count() == 1


def test_text_columns_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Exp,v\n0397,1\n368,2\n")
    assert read_table(path)["Exp"].to_list() == [397, 368]
    assert read_table(path, text=("Exp", "absent"))["Exp"].to_list() == ["0397", "368"]
    parquet = tmp_path / "t.parquet"
    write_table(pl.DataFrame({"Exp": [397]}), parquet)
    assert read_table(parquet, text=("Exp",))["Exp"].to_list() == ["397"]


def test_units_from_headers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Depth CSF-A (m),GR [gAPI],plain,none (-)\n1,2,3,4\n")
    expected = {"Depth CSF-A (m)": "m", "GR [gAPI]": "gAPI"}
    assert units_of(path) == expected
    assert units_of(read_table(path)) == expected
    parquet = tmp_path / "t.parquet"
    write_table(read_table(path), parquet)
    assert units_of(parquet) == expected


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "wells.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"no such file. Did you mean 'wells.csv'"):
        read_table(tmp_path / "well.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "nowhere" / "x.csv")


def test_unknown_ending_lists_the_known(tmp_path: Path) -> None:
    for name in ("t.xlsx", "t"):
        (tmp_path / name).write_text("a\n1\n")
        with pytest.raises(DataError, match=r"Use one of .*\.parquet"):
            read_table(tmp_path / name)


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "las", "csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02garbage\xff" * 50], ids=["empty", "binary"])
def test_foreign_content_is_one_error(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"t.{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv.gz", "parquet", "feather"])
def test_truncated_files_are_one_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    write_table(pl.DataFrame({"a": np.arange(1000)}), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=path.name):
        read_table(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_header_only_has_no_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    write_table(FRAME.clear(), path)
    with pytest.raises(DataError, match="no rows"):
        read_table(path)


def test_absent_column_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column 'Depth'. Did you mean 'depth'"):
        read_table(FRAME, columns=["Depth"])


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
def test_impossible_sources(source: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_table(source)


def test_importing_loads_neither_torch_nor_pandas_nor_lasio() -> None:
    code = (
        "import sys, variolite.records; "
        "print([m for m in ('torch', 'pandas', 'lasio', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FRAGMENTS = [",", ";", "\t", "\n", "\r\n", '"', "a", "2.5", "é", "-999.25"]
FRAGMENTS += ["\n~Curve\n", "~A", "GR.m : x\n"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join).map(str.encode)


@pytest.mark.filterwarnings("ignore::variolite.records.DataWarning")
@given(
    st.one_of(TEXTS, st.binary(max_size=40)),
    st.sampled_from(["csv", "tsv", "las", "parquet", "feather", "csv.gz"]),
)
def test_any_bytes_give_a_table_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
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


LAS = """~Version
VERS. 2.0 :
WRAP. NO :
~Well
STRT.m 1.0 :
STOP.m 2.0 :
STEP.m 0.5 :
NULL. -999.25 :
WELL. 7/1-2 S : WELL
~Curve
DEPT.m : depth
GR.gAPI : gamma
Rhob.G/C3 : density
FACIES. : facies
~Ascii
1.0 30.5 2.1 1
1.5 -999.25 2.2 2
2.0 40.0 -999.25 2
"""


def las_file(tmp_path: Path, text: str = LAS) -> Path:
    path = tmp_path / "well.las"
    path.write_bytes(text.encode("latin-1"))
    return path


def test_curves_become_columns(tmp_path: Path) -> None:
    frame = read_table(las_file(tmp_path))
    assert frame.columns == ["WELL", "DEPT", "GR", "Rhob", "FACIES"]
    assert frame["WELL"].unique().to_list() == ["7/1-2 S"]
    assert np.array_equal(frame["GR"].to_numpy(), [30.5, np.nan, 40.0], equal_nan=True)
    assert np.array_equal(frame["Rhob"].to_numpy(), [2.1, 2.2, np.nan], equal_nan=True)


def test_units_of_curves(tmp_path: Path) -> None:
    assert units_of(las_file(tmp_path)) == {"DEPT": "m", "GR": "gAPI", "Rhob": "G/C3"}


def test_wrapped_and_foreign_encoding(tmp_path: Path) -> None:
    wrapped = LAS.replace("WRAP. NO", "WRAP. YES").replace("gamma", "Gamma°")
    wrapped = wrapped.replace("1.0 30.5 2.1 1", "1.0\n30.5 2.1 1")
    wrapped = wrapped.replace("1.5 -999.25 2.2 2", "1.5\n-999.25 2.2 2")
    wrapped = wrapped.replace("2.0 40.0 -999.25 2", "2.0\n40.0 -999.25 2")
    plain, folded = read_table(las_file(tmp_path)), read_table(las_file(tmp_path, wrapped))
    assert folded.fill_nan(None).equals(plain.fill_nan(None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("depth,gr\n1,2\n", "not a LAS file"),
        ("~", "cannot be read as LAS"),
        (LAS[: LAS.index("1.0 30.5")], "no rows|cannot be read"),
        (LAS.replace("2.0 40.0 -999.25 2", "2.0 40.0"), "cannot be read as LAS"),
        (
            LAS.replace("-999.25 2.2 2", "-999.25 2.2").replace("40.0 -999.25 2", "40.0 1 2 2"),
            "holds 3",
        ),
        (LAS.replace("1.0 30.5 2.1 1", "1.0 30.5 2.1 1 7"), "a row holds 5|cannot be read"),
        (LAS[: LAS.index("~Curve")] + LAS[LAS.index("~Ascii") :], "no curves are declared"),
    ],
    ids=["csv", "tilde", "no data", "cut short", "ragged", "extra value", "no curves"],
)
def test_broken_files_are_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read_table(las_file(tmp_path, text))
    assert "well.las" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "corelogs/force2020/las"
    frame = read_table(folder / "31_6-8.las")
    assert frame.height == 9727
    assert frame["WELL"][0] == "31/6-8"
    assert units_of(folder / "31_6-8.las")["RHOB"] == "g/cm3"
    low = frame.select(pl.selectors.float().exclude("z_loc").fill_nan(None).min())
    assert (low.to_numpy() > -999).all()
    other = read_table(folder / "32_2-1.las")
    assert {"DTS", "PEF"} <= set(other.columns)
    assert other.height == 6059
