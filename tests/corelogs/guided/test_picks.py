"""Labels read in a few wells, laid over the rows of a table."""

import numpy as np
import polars as pl
import pytest

from variolite.corelogs.guided.picks import PICKED, labelled_loader, read_picks
from variolite.errors import DataError
from variolite.recipe import load_recipe

SCHEMA = load_recipe("corelogs/guided").table
WELLS = np.repeat(["15/9-13", "W 02"], 5)
DEPTH = np.tile(np.arange(5) * 0.5 + 100.0, 2)


def _picks(tmp_path, text):
    path = tmp_path / "picks.csv"
    path.write_text(text)
    return read_picks(path, SCHEMA)


def test_intervals_hold_their_top_and_not_their_base(tmp_path):
    text = "Well,Top,Base,Lithology\n15/9-13,100,101,Shale\n15/9-13,101,103,Sandstone\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert found.tolist() == ["Shale"] * 2 + ["Sandstone"] * 3 + [""] * 5
    assert lines == ["5 rows of 1 well labelled by picks.csv: Sandstone (3), Shale (2)"]


def test_tops_alone_reach_to_the_next_and_the_last_to_the_end(tmp_path):
    text = "Well,Top,Formation\nW2,101,Kimberley\nw-2,100,Ash\n15/9-13,100.5,Ash\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    own = ["", *["Ash"] * 4, "Ash", "Ash", *["Kimberley"] * 3]
    assert found.tolist() == own
    assert "tops alone: each reaches to the next in its well, the last to the end" in lines
    surfaces = text.replace("Top,Formation", "MD,Surface")
    assert _picks(tmp_path, surfaces).labels(WELLS, DEPTH, "m")[0].tolist() == own
    # Of two tops at one depth the upper has no thickness; a top without a name ends the one above.
    text += "W2,101.5,Void\nW2,101.5,Nils\nW2,102,\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert found[5:].tolist() == ["Ash", "Ash", "Kimberley", "Nils", ""]
    assert "2 of 6 picks lack a well, a depth of their own or a label" in lines
    with pytest.raises(DataError, match="picks lie from 300 to 400, rows from 100 to 102"):
        _picks(tmp_path, "well,top,name\nW2,300,clay\nW2,400,sand\n").labels(WELLS, DEPTH, "m")


def test_depths_label_the_nearest_row_and_wells_are_known_by_any_spelling(tmp_path):
    text = "WELL,DEPTH_MD,facies\nw-2,100.6,3\n15_9_13,101.9,1\n15_9_13,140,1\nX,1,1\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert np.flatnonzero(found == "3").tolist() == [6]
    assert np.flatnonzero(found == "1").tolist() == [4]
    assert "picks of wells that the table lacks: X" in lines
    assert "1 of 3 picks label no row" in lines[-1]


def test_of_depths_beside_one_row_the_nearest_labels_it(tmp_path):
    text = "well,depth,lithology\nW2,100.6,sand\nW2,100.45,clay\nW2,100.3,silt\nW2,101.5,sand\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert found[5:].tolist() == ["", "clay", "", "sand", ""]
    assert "2 of 4 picks label no row" in lines[-1]
    with pytest.raises(DataError, match="are both picked at 100"):
        _picks(tmp_path, "well,depth,lithology\nW2,100,clay\nW2,100,sand\n").labels(
            WELLS, DEPTH, "m"
        )


def test_labels_that_differ_in_case_and_blanks_are_one(tmp_path):
    text = "well,top,base,lithology\nW2,100,101,Sandy  clay\nW2,101,102,sandy clay\n"
    text += "W2,102,103,sandy clay\nW2,,103,sandy clay\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert set(found[5:].tolist()) == {"sandy clay"}
    assert "Sandy  clay taken for sandy clay" in lines
    assert "1 of 4 picks lack a well, a depth or a label" in lines
    codes = "well,top,base,lithology\nW2,100,101,St\nW2,101,102,ST\n"
    found, _ = _picks(tmp_path, codes).labels(WELLS, DEPTH, "m")
    assert {"St", "ST"} < set(found.tolist())


def test_labels_of_a_column_are_counted_and_spellings_reported():
    label = np.array(["Shale", "SHALE", "Shale", "", "", "", "", "", "Coal", "Coal"])
    frame = pl.DataFrame({"WELL": WELLS, "DEPTH_MD": DEPTH, "GR": DEPTH, "lithology": label})
    said = []
    labelled_loader(SCHEMA, {}, None, said.append)(frame.with_columns(RHOB="GR"))
    assert said[0] == "labels: Shale (2), Coal (2), SHALE (1)"
    assert said[1].startswith("Shale, SHALE are labels of their own")


@pytest.mark.parametrize(
    "header",
    ["UWI,From,To,Facies", "Borehole,Depth top [m],Depth base [m],Rock type", "W,x,Top MD,Base MD"],
)
def test_usual_headers_are_known(tmp_path, header):
    row = "W2,100,101,clay" if header.startswith(("U", "B")) else "W2,clay,100,101"
    header = header.replace("W,x,", "Well,Litho,")
    found, _ = _picks(tmp_path, f"{header}\n{row}\n").labels(WELLS, DEPTH, "m")
    assert (found == "clay").sum() == 2


def test_units_of_the_header_count(tmp_path):
    text = "well,top (ft),base (ft),lithology\nW2,328.0,330.0,clay\n"
    found, _ = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    # 328 to 330 ft are 99.97 to 100.58 m
    assert np.flatnonzero(found == "clay").tolist() == [5, 6]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("well,lithology\nA,clay\n", "no column for depth"),
        ("well,top,base\nA,1,2\n", "no column for label"),
        ("well,top,base,lithology\nA,3,2,clay\n", "above the top in row 1"),
        ("well,top,base,lithology\nA,,2,clay\n", "no row has a well"),
        ('well,top,base,lithology\nA,"1,000.5","1,001.5",clay\nA,1,2,clay\n', "picks.csv.*'top'"),
    ],
)
def test_unusable_picks_are_refused(tmp_path, text, what):
    with pytest.raises(DataError, match=what):
        _picks(tmp_path, text)


def test_picks_that_disagree_or_miss_are_refused(tmp_path):
    text = "well,top,base,lithology\nW2,100,102,clay\nW2,101,103,sand\n"
    with pytest.raises(DataError, match="sand and clay are both picked at 101"):
        _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    with pytest.raises(DataError, match="picks lie from 300 to 301, rows from 100 to 102"):
        _picks(tmp_path, "well,top,base,lithology\nW2,300,301,clay\n").labels(WELLS, DEPTH, "m")
    with pytest.raises(DataError, match="no row of the table lies at a pick"):
        _picks(tmp_path, "well,top,base,lithology\nQ,1,2,clay\n").labels(WELLS, DEPTH, "m")


def test_depths_in_feet_without_a_unit_are_refused(tmp_path):
    # Of 1000 to 4000 m in feet, the uppermost would lie within the logs in metres.
    depth, tops = np.arange(1000.0, 4000.0), range(3300, 13000, 100)
    wells, rows = np.repeat("A", len(depth)), [f"A,{top},{top + 50},clay\n" for top in tops]
    text = "well,top,base,lithology\n" + "".join(rows)
    with pytest.raises(DataError, match="fit the logs in ft, but not in m") as caught:
        _picks(tmp_path, text).labels(wells, depth, "m")
    assert "top (ft)" in str(caught.value)
    found, _ = _picks(tmp_path, text.replace("top,", "top (ft),")).labels(wells, depth, "m")
    assert (found != "").sum() > 1400
    _picks(tmp_path, text.replace("top,", "top (m),")).labels(wells, depth, "m")


def test_labels_of_one_class_are_refused(tmp_path):
    frame = pl.DataFrame({"WELL": WELLS, "DEPTH_MD": DEPTH, "GR": DEPTH, "RHOB": DEPTH})
    picks = _picks(tmp_path, "well,top,base,lithology\nW2,100,101,clay\n")
    load = labelled_loader(SCHEMA, {}, picks, print)
    with pytest.raises(DataError, match=r"picks.csv: all labels are 'clay'"):
        load(frame)


def test_a_table_gains_the_picks_as_a_column(tmp_path):
    picks = _picks(tmp_path, "well,top,base,lithology\nW2,100,101,clay\nW2,101,102,sand\n")
    frame = pl.DataFrame({"WELL": WELLS, "DEPTH_MD": DEPTH, "GR": DEPTH, "RHOB": DEPTH})
    said = []
    table = labelled_loader(SCHEMA, {}, picks, said.append)(frame)
    assert table.frame[PICKED].to_list() == [""] * 5 + ["clay"] * 2 + ["sand"] * 2 + [""]
    assert said == ["4 rows of 1 well labelled by picks.csv: clay (2), sand (2)"]
    with pytest.raises(DataError, match="placed by well and depth"):
        labelled_loader(SCHEMA, {}, picks, said.append)(frame.drop("DEPTH_MD"))
