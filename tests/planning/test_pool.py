import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.planning import Columns, Target, read_pool

COLUMNS = Columns((Target("uptake"),), costs=("cost",))


def read(frame, columns=COLUMNS):
    return read_pool(frame, columns)


def test_columns_that_are_left_describe_candidates(made_up):
    pool = read(made_up[0])
    assert pool.feature_names == ("pores", "density", "metal Fe", "metal Zn", "metal Cu") or set(
        pool.feature_names
    ) == {"pores", "density", "metal Fe", "metal Zn", "metal Cu"}
    assert pool.measured.sum() == 30
    assert pool.affordable.sum() == 90
    np.testing.assert_array_equal(pool.features[:, 0], made_up[0]["pores"])


def test_a_target_to_minimise_changes_its_sign(made_up):
    larger = read(made_up[0])
    smaller = read(made_up[0], Columns((Target("uptake", minimise=True),), costs=("cost",)))
    np.testing.assert_array_equal(smaller.values, -larger.values)


def test_formulas_and_sets_are_features():
    frame = pl.DataFrame(
        {
            "name": list("abcdefgh"),
            "formula": ["ZnO2", "FeO", "Zn2O", "Fe2O3", "ZnO", "FeO2", "Zn3O", "Fe3O4"],
            "linkers": ["x;y", "x", "y", "x;z", "x;y", "y", "x", "y;z"],
            "uptake": [1.0, 2, 3, 4, 5, None, None, None],
        }
    )
    pool = read(frame, Columns((Target("uptake"),)))
    assert {"formula O", "formula Fe", "formula Zn", "linkers x", "linkers y"} == set(
        pool.feature_names
    )
    shares = pool.features[:, [pool.feature_names.index(f"formula {e}") for e in ("O", "Fe", "Zn")]]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    np.testing.assert_allclose(shares[3], [0.6, 0.4, 0.0])
    np.testing.assert_array_equal(
        pool.features[:, pool.feature_names.index("linkers x")], [1, 1, 0, 1, 1, 0, 1, 0]
    )


def test_the_target_under_another_name_is_no_feature(made_up):
    frame, uptake = made_up
    same = pl.Series(np.exp(uptake))
    pool = read(frame.with_columns(logged=same, uptake_2=pl.Series(uptake + 0.8 * same.std())))
    assert "logged" not in pool.feature_names
    assert "uptake_2" not in pool.feature_names
    assert any("logged, uptake_2" in note for note in pool.notes)
    named = Columns((Target("uptake"),), features=("logged", "pores"))
    assert read(frame.with_columns(logged=same), named).feature_names == ("logged", "pores")


def test_what_is_known_of_few_rows_is_no_feature(made_up):
    frame = made_up[0].with_columns(
        lab=pl.when(pl.col("uptake").is_not_null()).then(pl.col("pores") * 2)
    )
    pool = read(frame)
    assert "lab" not in pool.feature_names
    assert any("lab" in note for note in pool.notes)


def test_gaps_are_filled_and_marked(made_up):
    gaps = pl.Series(np.arange(120) % 5 == 0)
    frame = made_up[0].with_columns(pores=pl.when(~gaps).then("pores"))
    pool = read(frame)
    place = pool.feature_names.index("pores missing")
    np.testing.assert_array_equal(pool.features[:, place], gaps)
    assert np.isfinite(pool.features).all()


def test_costs_are_added_with_their_ends():
    frame = pl.DataFrame(
        {
            "name": list("abc"),
            "size": [1.0, 2.0, 3.0],
            "reagents": [1.0, 2.0, None],
            "reagents_low": [0.5, 1.0, None],
            "reagents_high": [2.0, 5.0, None],
            "time": [10.0, 10.0, 10.0],
            "uptake": [1.0, None, None],
        }
    )
    pool = read(frame, Columns((Target("uptake"),), costs=("reagents", "time")))
    np.testing.assert_array_equal(pool.cost, [11, 12, np.nan])
    np.testing.assert_array_equal(pool.cost_low, [10.5, 11, np.nan])
    np.testing.assert_array_equal(pool.cost_high, [12, 15, np.nan])
    np.testing.assert_array_equal(pool.affordable, [False, True, False])
    assert "1 candidate without a cost: never proposed" in pool.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": pl.lit(-1.0)}, "no row has a cost"),
        ({"cost": pl.lit("5 EUR")}, "no row has a cost"),
        ({"cost": pl.lit(None, dtype=pl.Float64)}, "no row has a cost"),
        ({"name": pl.lit("M1")}, "names 1 candidates in 120 rows, such as M1"),
        ({"name": pl.lit("")}, "names 0 candidates in 120 rows"),
        ({"uptake": pl.lit(float("inf"))}, "120 of 120 values of uptake are not a number, such as"),
        ({"uptake": pl.lit("2,5")}, "such as '2,5' of M000. Write numbers with a decimal point"),
        ({"uptake": pl.lit(value=True)}, "holds Boolean, not numbers"),
        ({"uptake_kind": pl.lit("predicted")}, "uptake of M000 is predicted"),
    ],
)
def test_impossible_pools_are_refused(made_up, change, message):
    with pytest.raises(DataError, match=message):
        read(made_up[0].with_columns(**change))


def test_predictions_are_no_target(made_up):
    frame = made_up[0].rename({"uptake": "uptake_predicted"})
    with pytest.raises(DataError, match="not measurements"):
        read(frame, Columns((Target("uptake_predicted"),)))


def test_values_that_their_unit_forbids_are_refused(made_up):
    frame = made_up[0].rename({"uptake": "uptake (%)"})
    frame = frame.with_columns(pl.col("uptake (%)") * 100)
    with pytest.raises(DataError, match=r"are not a number from 0 to 100 %"):
        read(frame, Columns((Target("uptake (%)"),), costs=("cost",)))


def with_cell(frame, column, row, cell):
    """Write text into a cell, as it would stand in a file."""
    cells = frame[column].cast(pl.String).to_list()
    cells[row] = cell
    return frame.with_columns(pl.Series(column, cells))


@pytest.mark.parametrize(
    "cell",
    [
        "<0.5",
        "n.d.",
        "pending",
        "12,5",
        "3 mol/kg",
        "1 000",
        "0x10",
        "5(1)",
        "true",
        "inf",
        "1e300",
    ],
)
@pytest.mark.parametrize("row", [3, 99])
def test_a_target_that_is_no_number_sets_its_row_aside(made_up, row, cell):
    pool = read(with_cell(made_up[0], "uptake", row, cell))
    assert np.flatnonzero(pool.aside).tolist() == [row]
    assert not pool.measured[row]
    assert not pool.affordable[row]
    assert pool.measured.sum() == (29 if row < 30 else 30)
    (note,) = (note for note in pool.notes if note.startswith("set aside, as uptake"))
    assert f"M{row:03d} ('{cell}')" in note


def test_words_for_a_missing_value_are_no_values(made_up):
    pool = read(with_cell(with_cell(made_up[0], "uptake", 40, "-"), "uptake", 3, "-999.25"))
    assert not pool.aside.any()
    assert pool.affordable[[3, 40]].all()
    assert "read as missing: 1 times -999.25 in uptake" in pool.notes


def test_a_value_beyond_its_unit_sets_its_row_aside(made_up):
    frame = made_up[0].rename({"uptake": "x (%)"}).with_columns(pl.col("x (%)").abs())
    pool = read(with_cell(frame, "x (%)", 3, "101"), Columns((Target("x (%)"),), costs=("cost",)))
    assert np.flatnonzero(pool.aside).tolist() == [3]
    assert any("x (%) is not a number from 0 to 100 %: M003 ('101')" in n for n in pool.notes)


@pytest.mark.parametrize("cell", ["free", "-5", "12,5", "inf", "5 EUR"])
def test_a_cost_that_is_no_number_is_unknown(made_up, cell):
    pool = read(with_cell(made_up[0], "cost", 99, cell))
    assert np.flatnonzero(np.isnan(pool.cost_high)).tolist() == [99]
    assert not pool.affordable[99]
    assert any(
        f"cost unknown, as it is no number from 0 on: M099 ('{cell}')" in note
        for note in pool.notes
    )


def test_ends_of_costs_in_the_wrong_order_are_said_and_the_highest_counts(made_up):
    frame = made_up[0].with_columns(cost_low=pl.col("cost") + 5, cost_high=pl.col("cost") - 5)
    pool = read(frame)
    np.testing.assert_allclose(pool.cost_high, frame["cost_low"])
    np.testing.assert_allclose(pool.cost_low, frame["cost_high"])
    assert any("as they are out of order" in note for note in pool.notes)


def test_a_few_cells_of_text_leave_a_column_one_of_numbers(made_up):
    pool = read(with_cell(made_up[0], "pores", 5, "ca. 5"))
    assert "pores" in pool.feature_names
    assert pool.features[5, pool.feature_names.index("pores missing")] == 1
    assert "read as missing, as not a number: pores of M005 ('ca. 5')" in pool.notes
    half = made_up[0].with_columns(pores=pl.Series(["wide", "7"] * 60))
    assert {"pores wide", "pores 7"} & set(read(half).feature_names)


def test_rows_without_a_name_or_with_the_same_one_cost_no_others(made_up):
    frame = made_up[0]
    frame = pl.concat([frame, frame[4:5], frame[5:6].with_columns(cost=1.0)])
    pool = read(with_cell(frame, "name", 7, " "))
    assert len(pool) == 119
    assert pool.names[np.flatnonzero(pool.aside)].tolist() == ["M005"]
    notes = " ".join(pool.notes)
    assert "left out, having no name: row 8" in notes
    assert "counted once: M004" in notes
    assert "as their rows differ: M005" in notes


@pytest.mark.parametrize(
    "roles",
    [
        {"costs": ("cost", "cost")},
        {"costs": ("uptake",)},
        {"name": "uptake"},
        {"features": ("uptake", "pores")},
        {"group": "uptake"},
        {"targets": (Target("uptake"), Target("uptake", minimise=True))},
        {"features": ("uptake",), "costs": ("cost",)},
    ],
)
def test_a_column_has_one_meaning(roles):
    with pytest.raises(DataError, match="is given twice"):
        Columns(**{"targets": (Target("uptake"),)} | roles)


@pytest.mark.parametrize("worth", [0.0, -3.0, float("nan"), float("inf")])
def test_a_worth_is_positive(worth):
    with pytest.raises(DataError, match="greater than 0"):
        Target("uptake", worth=worth)
