"""Many files as one table: by what columns mean, in one unit, and without the files that fail."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records import DataWarning, FittedSchema, Schema, load_table, read_table, units_of

SCHEMA = Schema.from_yaml(
    """
columns:
  gamma: {unit: gAPI, aliases: [GR, GRC], missing: mask}
  sonic: {unit: us/ft, aliases: [DT], missing: mask, optional: true}
  hole: {role: group, aliases: [WELL, Bore]}
"""
)


def las(well, dt="DT.US/F : x", scale=1.0):
    rows = "".join(f"{i}.0 {30 + i}.0 {(80 + i) * scale}\n" for i in range(4))
    return (
        "~Version\nVERS. 2.0 : x\nWRAP. NO : x\n~Well\nNULL. -999.25 : x\n"
        f"WELL. {well} : x\n~Curve\nDEPT.M : x\nGR.GAPI : x\n{dt}\n~A\n{rows}"
    )


@pytest.fixture
def wells(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.las").write_text(las("A"))
    (tmp_path / "b.LAS").write_text(las("B", "DT.US/M : x", 1 / 0.3048))
    (tmp_path / "sub" / "c.csv").write_text("GRC,DEPT,note\n31,1,x\n-999.25,2,y\n")
    (tmp_path / ".hidden.csv").write_text("broken")
    (tmp_path / "readme.txt").write_text("no table")
    return tmp_path


@pytest.mark.filterwarnings("ignore::variolite.errors.DataWarning")
def test_folders_patterns_and_lists_are_one_table(wells):
    whole = read_table(wells)
    assert whole["WELL"].to_list() == ["A"] * 4 + ["B"] * 4 + ["c"] * 2
    # Without a schema only equal headers go together.
    assert whole.columns == ["WELL", "DEPT", "GR", "DT", "GRC", "note"]
    named = [wells / "a.las", wells / "b.LAS", wells / "sub" / "c.csv", wells / "a.las"]
    for source in (named, [wells / "*.[lL][aA][sS]", wells / "sub"], str(wells / "**" / "?.*")):
        assert read_table(source).equals(whole)
    for source in (wells / "*.xyz", [wells / "*.xyz", wells / "a.las"]):
        with pytest.raises(DataError, match="no table is found there"):
            read_table(source)
    with pytest.raises(DataError, match="no file is given"):
        read_table([])


def test_meanings_go_together_in_one_unit(wells):
    with pytest.warns(DataWarning) as said:
        frame, units, files = load_table(wells, text=["WELL"], schema=SCHEMA)
    said = [str(w.message) for w in said]
    assert any("b.LAS: DT is converted from US/M to US/F" in line for line in said)
    assert any("1 files name no" in line and "c.csv" in line for line in said)
    assert "DT is missing in 1 of 3 files" in said
    assert frame.columns == ["WELL", "DEPT", "GR", "DT", "note"]
    names = [*["a.las"] * 4, *["b.LAS"] * 4, *["sub/c.csv"] * 2]
    assert files.to_list() == [str(wells / name) for name in names]
    assert frame["GR"].to_list() == [30, 31, 32, 33] * 2 + [31, -999.25]
    assert (units["DT"], units["GR"], units["DEPT"]) == ("US/F", "GAPI", "M")
    records = FittedSchema.fit(SCHEMA, load_quietly(wells)).apply(load_quietly(wells))
    sonic = [80.0, 81, 82, 83]
    np.testing.assert_allclose(records.raw[:, 1], [*sonic, *sonic, np.nan], rtol=1e-12)
    np.testing.assert_allclose(records.raw[:, 0], [30, 31, 32, 33] * 2 + [31])
    assert records.group.tolist() == ["A"] * 4 + ["B"] * 4 + ["c"]


@pytest.mark.filterwarnings("ignore::variolite.errors.DataWarning")
def load_quietly(source, **options):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_table(source, schema=SCHEMA, **options)


def test_a_mapping_and_wells_called_by_files(wells):
    (wells / "d.csv").write_text("My Gamma,Bore\n5,D\n")
    (wells / "e.csv").write_text("My Gamma\n6\n")
    mapping = {"gamma": "My Gamma", "hole": "Bore"}
    frame = load_quietly([wells / "d.csv", wells / "e.csv"], mapping=mapping).frame
    assert frame.to_dict(as_series=False) == {"Bore": ["D", "e"], "My Gamma": [5, 6]}
    assert load_quietly([wells / "e.csv", wells / "d.csv"], mapping=mapping).frame.columns == [
        "Bore",
        "My Gamma",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("WELL,GR\nX,abc\n", "'abc' in row 1 is not a number"),
        ("WELL,GR\nX\n", "fields"),
        ("WELL,GR (us/ft)\nX,1\n", "is in us/ft, in the files before it in GAPI"),
        ("WELL,other\nX,1\n", "holds none of the input columns"),
        ("WELL,GR,gr,Gr\nX,1,2,3\n", None),
        ("", "empty"),
        ("WELL,GRC,grc \nX,1,2\n", None),
    ],
)
def test_a_bad_file_is_left_out_by_name(wells, content, says):
    bad = wells / "z.csv"
    bad.write_text(content)
    with pytest.warns(DataWarning) as said:
        frame = load_table([wells / "a.las", bad], schema=SCHEMA).frame
    lines = [str(w.message) for w in said]
    if says is None:
        assert frame["WELL"].to_list() == ["A"] * 4 + ["X"]
        return
    assert any(str(bad) in line and says in line and "left out" in line for line in lines), lines
    assert "1 of 2 files are left out" in lines
    assert frame["WELL"].to_list() == ["A"] * 4


def test_nothing_but_bad_files_is_refused(wells):
    for name in ("x.csv", "y.csv"):
        (wells / name).write_text("GR\nabc\n")
    with pytest.raises(DataError, match=r"x.csv.*'abc' in row 1 .*none of 2 files can be used"):
        load_table([wells / "x.csv", wells / "y.csv"], schema=SCHEMA)


def test_one_file_is_read_as_it_is(wells):
    assert read_table([wells / "a.las"]).equals(read_table(wells / "a.las"))
    assert units_of([wells / "a.las"]) == units_of(wells / "a.las")
    assert read_table(pl.DataFrame({"GR": [1]})).columns == ["GR"]
