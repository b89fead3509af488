"""Reading well logs in LAS format: curves become columns, units and gaps are kept."""

import warnings

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records import DataWarning, read_table, units_of


def table(folder, content, name="well.las"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / name)


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


def test_curves_become_columns(tmp_path):
    frame = table(tmp_path, LAS)
    assert frame.columns == ["WELL", "DEPT", "GR", "Rhob", "FACIES"]
    assert frame["WELL"].unique().to_list() == ["7/1-2 S"]
    assert np.array_equal(frame["GR"].to_numpy(), [30.5, np.nan, 40.0], equal_nan=True)
    assert np.array_equal(frame["Rhob"].to_numpy(), [2.1, 2.2, np.nan], equal_nan=True)
    assert units_of(tmp_path / "well.las") == {"DEPT": "m", "GR": "gAPI", "Rhob": "G/C3"}
    # Wrapped lines and another encoding.
    wrapped = LAS.replace("WRAP. NO", "WRAP. YES").replace("gamma", "Gamma°")
    for depth in ("1.0 ", "1.5 ", "2.0 "):
        wrapped = wrapped.replace(f"\n{depth}", f"\n{depth.strip()}\n")
    folded = table(tmp_path, wrapped.encode("latin-1"))
    assert folded.fill_nan(None).equals(frame.fill_nan(None))


HEAD, ROWS = LAS[: LAS.index("1.0 30.5")], LAS[LAS.index("1.0 30.5") :]
NAN = np.nan
COLUMNS = ["DEPT", "GR", "Rhob", "FACIES"]
TABLE = [[1.0, 30.5, 2.1, 1], [1.5, NAN, 2.2, 2], [2.0, 40.0, NAN, 2]]
TABLE_3 = """~Version
VERS. 3.0 :
WRAP. NO :
DLM. COMMA :
~Well
NULL. -999.25 :
WELL. 7/1-2 S : WELL
~Core_Definition
TOP.m : top
~Core_Data | Core_Definition
9.5
~Log_Definition
DEPT.m : depth {F}
GR.gAPI : gamma {F}
Rhob.G/C3 : density {F}
FACIES. : facies {F}
~Log_Data | Log_Definition
1.0, 30.5, 2.1, 1
1.5,, 2.2, 2
2.0, 40.0, -999.25, 2
"""


def read_quietly(folder, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return table(folder, text)


def read_with(folder, text, says):
    with pytest.warns(DataWarning, match=says) as caught:
        frame = table(folder, text)
    assert len(caught) == 1
    return frame


@pytest.mark.parametrize(
    "text",
    [
        LAS.replace("\n", "\r\n"),
        LAS.replace("\n", "\r"),
        LAS + "\x1a",
        LAS + "\0\0\0",
        LAS + "\0" * (4 + len(LAS) % 2),
        LAS.encode("utf-16"),
        LAS.encode("utf-16-be"),
        LAS.encode("utf-16-le"),
        HEAD + ROWS.replace(" ", "\t"),
        HEAD + ROWS.replace(" ", ","),
        HEAD + ROWS.replace(" ", ", "),
        HEAD + ROWS.replace(" ", ";").replace(".", ","),
        HEAD + ROWS.replace(".", ","),
        LAS.replace("30.5", "30,5"),
        LAS.replace("30.5", "3.05D+01"),
        LAS.replace("1.5 -999.25", "# a remark\n\n1.5 -999.2500"),
        LAS.replace("1.5 -999.25", "1.5 -999.3"),
        LAS.replace("40.0 -999.25", "40.0-999.25"),
        *(LAS.replace("1.5 -999.25", f"1.5 {word}") for word in ("NA", "(null)", "n/a", "****")),
        *(LAS.replace("1.5 -999.25", f"1.5 {word}") for word in ("1.#IND", "-1.#IND00", "NULL")),
        LAS.replace("~Ascii", "~A DEPT GR Rhob FACIES"),
        LAS.replace("~Ascii", "~   DEPT GR Rhob FACIES"),
        LAS.replace("~Curve", "~Curve\n----------------"),
        LAS.replace("~Curve", "~Parameter\nno parameter at all\n~Curve"),
        TABLE_3,
        TABLE_3.replace("~Log_Data | Log_Definition", "~Log_Data[1]"),
    ],
)
def test_one_table_however_it_is_written(tmp_path, text):
    frame = read_quietly(tmp_path, text)
    assert frame.columns == ["WELL", *COLUMNS]
    assert np.array_equal(frame.drop("WELL").to_numpy(), TABLE, equal_nan=True)
    assert frame["WELL"].to_list() == ["7/1-2 S"] * 3


def test_tabs_delimit_text_and_empty_cells(tmp_path):
    text = TABLE_3.replace("COMMA", "TAB").replace("1.5,, 2.2, 2", "1.5\t\tred sand\t2")
    text = text.replace(", ", "\t").replace("2.1", "grey shale").replace("40.0\t-999.25", "40.0\t")
    frame = read_quietly(tmp_path, text)
    assert frame["Rhob"].to_list() == ["grey shale", "red sand", None]
    assert np.array_equal(frame["GR"].to_numpy(), [30.5, NAN, 40.0], equal_nan=True)
    quoted = read_quietly(tmp_path, LAS.replace("2.1 1", "2.1 'grey shale'"))
    assert quoted["FACIES"].to_list() == ["grey shale", "2", "2"]


def test_depths_equal_to_null_are_depths_where_they_follow_one_another(tmp_path):
    text = LAS.replace("-999.25", "1.5")
    assert read_quietly(tmp_path, text)["DEPT"].to_list() == [1.0, 1.5, 2.0]
    assert np.isnan(read_quietly(tmp_path, LAS.replace("1.5 -", "-999.25 -"))["DEPT"][1])


def test_the_unit_of_the_index_may_stand_at_its_start(tmp_path):
    def unit(text):
        read_quietly(tmp_path, text)
        return units_of(tmp_path / "well.las").get("DEPT")

    bare = LAS.replace("DEPT.m", "DEPT.")
    assert unit(bare) == "m"
    assert unit(bare.replace("STRT.m", "STRT.").replace("STOP.m", "STOP.ft")) == "ft"
    assert unit(LAS.replace("STRT.m", "STRT.ft")) == "m"
    assert unit(LAS.replace("DEPT.m", "DEPT..1IN")) == ".1IN"
    assert unit(LAS.replace("DEPT.m", "DEPT.0.1 IN")) == "0.1in"


def test_names_of_wells_are_text(tmp_path):
    def well(*entries):
        return LAS.replace("WELL. 7/1-2 S : WELL", "\n".join(entries))

    assert read_quietly(tmp_path, well("WELL. 0012 : well"))["WELL"][0] == "0012"
    old = well("WELL. WELL : 0012").replace("VERS. 2.0", "VERS. 1.2")
    for text in (old, old.replace("VERS. 1.2", "VERS. 1,2")):
        assert read_quietly(tmp_path, text)["WELL"][0] == "0012"
    assert read_quietly(tmp_path, LAS.replace("VERS. 2.0", "VERS. ***"))["WELL"][0] == "7/1-2 S"
    frame = read_with(tmp_path, well("WELL. : well", "UWI. 00123 : id"), "its UWI 00123 is taken")
    assert frame["WELL"][0] == "00123"
    assert "WELL" not in read_quietly(tmp_path, well()).columns


def test_of_curves_with_one_name_the_first_keeps_it(tmp_path):
    text = LAS.replace("Rhob.G/C3", "GR.gAPI")
    frame = read_with(tmp_path, text, "column name 'GR' occurs again; the later one is 'GR:2'")
    assert frame.columns == ["WELL", "DEPT", "GR", "GR:2", "FACIES"]
    assert frame["GR"][0] == 30.5
    assert frame["GR:2"][0] == 2.1


def test_several_data_sections_are_one_table_or_refused(tmp_path):
    text = LAS.replace("2.0 40.0", "~A second run\n2.0 40.0")
    frame = read_with(tmp_path, text, r"the 2 data sections \(lines 15, 18\) are read as one")
    assert np.array_equal(frame.drop("WELL").to_numpy(), TABLE, equal_nan=True)
    with pytest.raises(DataError, match="section in line 19 starts at 1 again, and the one above"):
        table(tmp_path, f"{LAS}~A\n{ROWS}")
    with pytest.raises(DataError, match="holds 2 files: another begins in line 19"):
        table(tmp_path, LAS + LAS)
    other = "~Curve\nDEPT.m :\nGR.gAPI :\n~A\n3 4\n"
    with pytest.raises(DataError, match=r"2 tables of different curves \(lines 15, 22\)"):
        table(tmp_path, LAS + other)
    wider = "~A DEPT GR Rhob FACIES SP\n3 4 5 6 7\n4 4 5 6 7\n"
    with (
        pytest.warns(DataWarning, match="named as in line 19"),
        pytest.raises(DataError, match=r"2 tables of different curves \(lines 15, 19\)"),
    ):
        table(tmp_path, LAS + wider)


def test_data_of_another_name_are_read_where_there_are_no_logs(tmp_path):
    text = TABLE_3[: TABLE_3.index("~Core")] + TABLE_3[TABLE_3.index("~Log") :]
    text = text.replace("Log_", "Drilling_")
    frame = read_with(tmp_path, text, r"no section ~Log_Data; ~Drilling_Data .* \(line 13\)")
    assert np.array_equal(frame.drop("WELL").to_numpy(), TABLE, equal_nan=True)


def test_rows_wider_or_narrower_than_declared(tmp_path):
    less = LAS.replace("FACIES. : facies\n", "")
    names = "~A DEPT GR Rhob FACIES"
    frame = read_with(
        tmp_path, less.replace("~Ascii", names), "named as in line 14: DEPT, GR, Rhob, FACIES"
    )
    assert frame["FACIES"].to_list() == [1, 2, 2]
    with pytest.raises(DataError, match=r"holds 4 values \(from line 15\), so which is which"):
        table(tmp_path, less)
    more = LAS.replace("GR.gAPI : gamma", "SP.mV :\nGR.gAPI : gamma")
    frame = read_with(tmp_path, more, "without values are FACIES")
    assert frame["SP"][0] == 30.5
    # The line ~A says that it is another one which has none.
    frame = read_with(tmp_path, more.replace("~Ascii", names), "named as in line 16")
    assert np.array_equal(frame[COLUMNS].to_numpy(), TABLE, equal_nan=True)
    assert np.isnan(frame["SP"].to_numpy()).all()
    bare = f"{names}\n{ROWS}"
    frame = read_with(tmp_path, bare, "0 curves are declared.* named as in line 1: DEPT")
    assert np.array_equal(frame.to_numpy()[:, 0], [1.0, 1.5, 2.0])


def test_slips_are_missing_and_said(tmp_path):
    rows = "".join(f"{2.5 + 0.5 * i} 30.0 2.2 3\n" for i in range(40))
    frame = read_with(
        tmp_path, f"{LAS}{rows}2x.5 1 2 3\n", "not numbers, so missing: '2x.5' in DEPT, line 59"
    )
    assert np.isnan(frame["DEPT"][-1])
    assert frame["FACIES"][-1] == 3
    text = LAS.replace("2.1 1", "2.1001101.5")
    frame = read_with(tmp_path, text, "values in line 16 run into one another and are missing")
    assert np.array_equal(frame.row(0)[1:], [1.0, 30.5, NAN, NAN], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("depth,gr\n1,2\n", "not a LAS file"),
        ("~", "no section ~A with data"),
        (HEAD, "~Ascii in line 15 holds no rows"),
        (LAS.replace("~Ascii\n", ""), "no section ~A .* start in line 15. Put a line '~A' above"),
        (LAS.replace("40.0 -999.25 2", "40.0"), "line 18 holds 2 values, and 4 curves"),
        (LAS.replace("30.5 2.1 1", "30.5 2.1 1 7"), "line 16 holds 5 values, and 4 curves"),
        (LAS.replace("NO", "YES").replace("30.5 2.1 1", "30.5 2.1"), "line 17 holds 7 values"),
        (LAS.replace("NO", "YES") + "2.5 30\n", "line 19 holds 2 values, and 4 curves"),
        (
            LAS[: LAS.index("~Curve")] + LAS[LAS.index("~Ascii") :],
            "0 curves are declared, but every row holds 4 values",
        ),
    ],
)
def test_broken_files_are_one_clear_error(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as caught:
        table(tmp_path, text)
    assert "well.las" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_files(shared_data):
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
