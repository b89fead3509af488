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
    assert any("1 candidates have no cost" in note for note in pool.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": pl.lit(-1.0)}, "cost of M000 is -1"),
        ({"cost": pl.lit(None, dtype=pl.Float64)}, "no row has a cost"),
        ({"name": pl.lit("M1")}, "1 names occur more than once in column 'name', such as M1"),
        ({"uptake": pl.lit(float("inf"))}, "uptake of M000 is infinite"),
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
    with pytest.raises(DataError, match=r"possible is 0 to 100"):
        read(frame, Columns((Target("uptake (%)"),), costs=("cost",)))
