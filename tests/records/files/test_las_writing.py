"""Tables written as LAS: what lasio and we read back, and a file for every well."""

import lasio
import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning
from variolite.records import Table, read_table, units_of
from variolite.records.files.las_writing import write_las

NAN = float("nan")
FRAME = pl.DataFrame(
    {
        "Well": ["7/1-2 S", "7/1-2 S", "0012", "7/1-2 S", "0012"],
        "MD (ft)": [1000.0, 1000.1, 5.0, 1000.2, 7.0],
        "GR": [1 / 3, None, NAN, 1e-12, 3.0],
        "rock type": ['red "sand"', None, "x", "y\nz", ""],
    }
)
UNITS = {"MD (ft)": "0.1 in", "GR": "gAPI"}
NEW = pl.DataFrame({"row": [0, 3, 4], "cluster": [2, 1, 0], "GR": [0.25, 1e300, -7.0]})


def written(path, frame=FRAME):
    return write_las(Table(frame, UNITS), NEW, path, well="Well", depth="MD (ft)")


def test_a_file_for_every_well_comes_back(tmp_path):
    paths = written(tmp_path / "out.LAS")
    assert paths == [tmp_path / "out" / "7_1-2_S.las", tmp_path / "out" / "0012.las"]
    names = ["MD", "GR", "rock_type", "cluster", "GR_new"]
    frame = read_table(paths[0])
    assert frame.columns == ["WELL", *names]
    assert units_of(paths[0]) == {"MD": "0.1in", "GR": "gAPI"}
    assert frame["WELL"].to_list() == ["7/1-2 S"] * 3
    assert frame["rock_type"].to_list() == ["red sand", None, "y z"]
    numbers = frame.drop("WELL", "rock_type").to_numpy()
    expected = [[1000.0, 1 / 3, 2, 0.25], [1000.1, NAN, NAN, NAN], [1000.2, 1e-12, 1, 1e300]]
    assert np.array_equal(numbers, expected, equal_nan=True)
    # Another program reads the same.
    las = lasio.read(paths[0], mnemonic_case="preserve")
    assert [curve.mnemonic for curve in las.curves] == names
    assert np.array_equal(las["GR_new"], [0.25, NAN, 1e300], equal_nan=True)
    assert (las.well["STRT"].value, las.well["STEP"].value) == (1000.0, 0.1)
    assert las.well["STRT"].unit == "0.1in"
    second = lasio.read(paths[1])
    assert second.well["STOP"].value == 7.0
    assert read_table(paths[1])["WELL"].to_list() == ["0012"] * 2
    with pytest.raises(DataError, match="for 2 wells is there already, and not empty"):
        written(tmp_path / "out.las")


def test_one_well_is_one_file_and_rows_without_depth_are_left_out(tmp_path):
    frame = FRAME.with_columns(Well=pl.lit("A"), GR=pl.lit(1.0))
    holed = frame.with_columns(pl.when(pl.col("MD (ft)") > 6).then("MD (ft)").alias("MD (ft)"))
    with pytest.warns(DataWarning, match="out.las: 1 rows without a depth are left out"):
        assert written(tmp_path / "out.las", holed) == [tmp_path / "out.las"]
    assert read_table(tmp_path / "out.las")["cluster"].fill_nan(None).to_list() == [2, None, 1, 0]
    none = frame.with_columns(pl.lit(None).alias("MD (ft)"))
    with pytest.raises(DataError, match="no row has a depth"):
        written(tmp_path / "none.las", none)
    with pytest.raises(DataError, match="need a depth, and the table has none"):
        write_las(Table(frame, {}), NEW, tmp_path / "none.las", well=None, depth=None)
    table = Table(frame.drop("Well"), {})
    paths = write_las(table, NEW, tmp_path / "B.las", well=None, depth="MD (ft)")
    assert read_table(paths[0])["WELL"][0] == "B"


def test_names_of_wells_make_distinct_and_visible_files(tmp_path):
    frame = FRAME.with_columns(Well=pl.Series(["a/b", "A b", "..", "a\\b", None]))
    names = [path.name for path in written(tmp_path / "out.las", frame)]
    assert names == ["a_b.las", "A_b_.las", "_.las", "a_b__.las", "__.las"]
