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
    assert lines == ["5 rows of 1 wells labelled by picks.csv"]


def test_depths_label_the_nearest_row_and_wells_are_known_by_any_spelling(tmp_path):
    text = "WELL,DEPTH_MD,facies\nw-2,100.6,3\n15_9_13,101.9,1\n15_9_13,140,1\nX,1,1\n"
    found, lines = _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    assert np.flatnonzero(found == "3").tolist() == [6]
    assert np.flatnonzero(found == "1").tolist() == [4]
    assert "picks of wells that the table lacks: x" in lines
    assert "1 picks label no row" in lines


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
    ],
)
def test_unusable_picks_are_refused(tmp_path, text, what):
    with pytest.raises(DataError, match=what):
        _picks(tmp_path, text)


def test_picks_that_disagree_or_miss_are_refused(tmp_path):
    text = "well,top,base,lithology\nW2,100,102,clay\nW2,101,103,sand\n"
    with pytest.raises(DataError, match="sand and clay are both picked at 101"):
        _picks(tmp_path, text).labels(WELLS, DEPTH, "m")
    with pytest.raises(DataError, match="no row of the table lies at a pick"):
        _picks(tmp_path, "well,top,base,lithology\nQ,1,2,clay\n").labels(WELLS, DEPTH, "m")


def test_a_table_gains_the_picks_as_a_column(tmp_path):
    picks = _picks(tmp_path, "well,top,base,lithology\nW2,100,101,clay\nW2,101,102,sand\n")
    frame = pl.DataFrame({"WELL": WELLS, "DEPTH_MD": DEPTH, "GR": DEPTH, "RHOB": DEPTH})
    said = []
    table = labelled_loader(SCHEMA, {}, picks, said.append)(frame)
    assert table.frame[PICKED].to_list() == [""] * 5 + ["clay"] * 2 + ["sand"] * 2 + [""]
    assert said == ["4 rows of 1 wells labelled by picks.csv"]
    with pytest.raises(DataError, match="placed by well and depth"):
        labelled_loader(SCHEMA, {}, picks, said.append)(frame.drop("DEPTH_MD"))
