"""Columns of sets: members coded by frequency, missing by policy, unseen ones counted."""

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError, ModelFileError, SchemaError
from variolite.records import MISSING, FittedSchema, Schema

CELLS = ["Cu;Zn", "Zn", " Zn ;Cu; Zn;;", "Fe", None, "Zn;Fe"]


def schema(**settings):
    columns = {"metals": {"kind": "set", **settings}, "x": {}, "well": {"role": "group"}}
    return Schema(columns=columns)


def table(cells=CELLS, name="metals"):
    n = len(cells)
    cells = pl.Series(name, cells, dtype=pl.String)
    return pl.DataFrame([cells]).with_columns(
        x=pl.Series(np.arange(n, dtype=float) ** 2), well=pl.Series([f"W{i}" for i in range(n)])
    )


def members(fitted, codes, name="metals"):
    """Coded sets as sets of names."""
    return [{fitted.levels[name][c] for c in row if c != MISSING} for row in codes]


def test_members_are_coded_the_most_frequent_first_and_ascending():
    fitted = FittedSchema.fit(schema(missing="mask"), table())
    assert fitted.levels == {"metals": ("Zn", "Cu", "Fe")}  # 4, 2 and 2; ties by the alphabet
    assert fitted.set_names == ("metals",)
    assert fitted.category_names == ()
    records = fitted.apply(table())
    # Blanks, empty members and repeated ones change nothing.
    expected = [[0, 1], [0, -1], [0, 1], [2, -1], [-1, -1], [0, 2]]
    assert records.sets["metals"].tolist() == expected
    assert records.sets["metals"].dtype == np.int64
    assert records.condition.shape == (6, 0)
    assert records.category.shape == (6, 0)
    taken = records.take([5, 0])
    assert taken.sets["metals"].tolist() == [[0, 2], [0, 1]]
    assert records.take(records.row > 3).sets["metals"].tolist() == expected[4:]


def test_rows_without_a_member_follow_the_policy():
    frame = table([*CELLS, "; ;", ""])
    dropped = FittedSchema.fit(schema(), frame)
    records = dropped.apply(frame)
    assert records.row.tolist() == [0, 1, 2, 3, 5]
    assert records.report.dropped == {"metals missing": 3}
    kept = FittedSchema.fit(schema(missing="mask"), frame).apply(frame)
    assert (kept.sets["metals"][[4, 6, 7]] == MISSING).all()
    with pytest.raises(DataError, match="rows lack 'metals', row 5 first"):
        FittedSchema.fit(schema(missing="error"), frame)
    # A table without the column is like one without a value of it.
    absent = FittedSchema.fit(schema(missing="mask"), frame).apply(frame.drop("metals"))
    assert (absent.sets["metals"] == MISSING).all()
    with pytest.raises(SchemaError, match="no column for 'metals'"):
        dropped.apply(frame.drop("metals"))


def test_members_that_training_did_not_hold_are_left_out_and_counted():
    fitted = FittedSchema.fit(schema(missing="mask"), table())
    records = fitted.apply(table(["Zn;Pt", "Pt", "Ir;Pt", "Fe;Cu"]))
    assert members(fitted, records.sets["metals"]) == [{"Zn"}, set(), set(), {"Cu", "Fe"}]
    assert records.report.unseen == {"metals": {"Pt": 3, "Ir": 1}}
    assert "metals: not met in training: 'Pt' (3), 'Ir' (1)" in records.report.lines()
    strict = FittedSchema.fit(schema(), table())
    assert strict.apply(table(["Zn;Pt", "Pt"])).report.dropped == {
        "metals missing or not met in training": 1
    }


def test_the_separator_is_that_of_the_column():
    fitted = FittedSchema.fit(schema(separator=" . ", missing="mask"), table(["C . N;O", "C", "N"]))
    assert fitted.levels["metals"] == ("C", "N", "N;O")
    for bad in ("", "  "):
        with pytest.raises(SchemaError, match="'separator' is the text between"):
            schema(separator=bad)
    with pytest.raises(SchemaError, match="'separator' is the text between"):
        Schema(columns={"x": {"separator": ","}})


@pytest.mark.parametrize("role", ["condition", "label", "group", "id"])
def test_only_inputs_are_sets(role):
    with pytest.raises(SchemaError, match="is not a set"):
        schema(role=role)


@pytest.mark.parametrize("setting", [{"clip": [0, 0.9]}, {"transform": ["log"]}, {"valid": [0, 1]}])
def test_settings_of_numbers_are_refused(setting):
    with pytest.raises(SchemaError, match="is for numeric columns, and this is a set"):
        schema(**setting)


@pytest.mark.parametrize("cells", [["Zn", "Zn", " Zn"], ["Zn", "Zn;", ";Zn;Zn"]])
def test_a_single_member_is_nothing_to_learn(cells):
    with pytest.raises(SchemaError, match="in the training rows, and a set needs two"):
        FittedSchema.fit(schema(), table(cells))


NAMES = st.sampled_from(["Zn", "Cu", "Fe", "Al", "O=CO"])
SETS = st.lists(NAMES, max_size=5)


@given(st.lists(SETS, min_size=3, max_size=12), st.lists(SETS, min_size=1, max_size=6), st.data())
def test_there_and_back(train, other, data):
    """Whatever the order, repetitions and blanks of members: the same sets, from a file too."""
    separator = data.draw(st.sampled_from([";", ",", " . "]))
    blank = data.draw(st.sampled_from(["", " "]))
    counts = Counter(name for row in train for name in set(row))
    if len(counts) < 2:
        return
    spelled = [f"{blank}{separator}{blank}".join(row) for row in train]
    fitted = FittedSchema.fit(schema(missing="mask", separator=separator), table(spelled))
    levels = fitted.levels["metals"]
    assert [counts[level] for level in levels] == sorted(counts.values(), reverse=True)
    assert set(levels) == set(counts)
    again = FittedSchema.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    frame = table([separator.join(row) or None for row in other])
    records = again.apply(frame)
    assert members(again, records.sets["metals"]) == [set(row) & set(levels) for row in other]
    for row in records.sets["metals"].tolist():
        known = [code for code in row if code != MISSING]
        assert row == sorted(known) + [MISSING] * (len(row) - len(known))
    assert records.report.unseen.get("metals", {}) == Counter(
        name for row in other for name in set(row) - set(levels)
    )


def test_a_file_without_the_members_is_damaged():
    content = FittedSchema.fit(schema(), table()).to_dict()
    content["levels"] = {}
    with pytest.raises(ModelFileError, match="lacks the column 'metals'"):
        FittedSchema.from_dict(content)
