"""A table and what a run says of it become wells to draw; nothing moves to another row."""

import numpy as np
import polars as pl
import pytest

from variolite.corelogs.striplog.wells import Wells
from variolite.errors import DataError
from variolite.recipe import load_recipe
from variolite.records import FittedSchema, Table

ROWS = 60
CODES = {"65000": "Shale", "30000": "Sandstone", "70000": "Limestone"}


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "WELL": ["b 2"] * 30 + ["A-1"] * 30,
            # The second well upside down.
            "DEPTH_MD": [*np.arange(30) * 0.5, *(20 - np.arange(30) * 0.5)],
            "FORMATION": ["Top"] * 20 + [""] * 10 + [None] * 10 + ["Low"] * 20,
            "GR": np.where(np.arange(ROWS) == 3, -999.25, rng.uniform(20, 120, ROWS)),
            "RHOB": rng.uniform(2, 2.6, ROWS),
            "CALI": rng.uniform(8, 9, ROWS),
            "TENS": rng.uniform(0, 9, ROWS),
            "FORCE_2020_LITHOFACIES_LITHOLOGY": rng.choice(np.array(list(CODES)), ROWS),
        }
    )


def wells_of(frame, found=None, units=None):
    schema = load_recipe("corelogs/default").table.bind(frame.columns)
    fitted = FittedSchema.fit(schema, frame)
    # The model dropped some rows.
    kept = frame.with_columns(pl.when(pl.int_range(pl.len()) % 7 != 5).then(pl.col("GR", "RHOB")))
    records = fitted.apply(kept)
    assert 0 < len(records) < ROWS
    found = found(records.row) if found else {}
    table = Table(frame, units or {})
    return Wells(table, fitted.schema, records, fitted.numeric_names, found, "x"), records


def test_rows_keep_what_is_theirs(frame):
    def found(rows):
        return {
            "cluster": pl.Series(rows % 3),
            "class": pl.Series([list(CODES.values())[row % 3] for row in rows]),
            "class_probability": pl.Series(rows / ROWS),
        }

    wells, records = wells_of(frame, found, {"DEPTH_MD": "ft"})
    assert wells.names == ["b 2", "A-1"]
    assert wells.undrawn == ["TENS"]
    for name in wells.names:
        log = wells.log(name, -np.inf, np.inf)
        own = frame.with_row_index().filter(WELL=name).sort("DEPTH_MD")
        index = own["index"].to_numpy()
        assert (np.diff(log.depth) > 0).all()
        assert log.unit == "ft"
        assert {curve.name for curve in log.curves} == {"GR", "RHOB", "CALI"}
        for curve in log.curves:
            expected = own[curve.name].to_numpy().copy()
            expected[(expected == -999.25)] = np.nan
            np.testing.assert_array_equal(curve.values, expected)
        lithology, predicted, cluster = log.strips
        assert [s.title for s in log.strips] == ["lithology", "class", "cluster"]
        codes = own["FORCE_2020_LITHOFACIES_LITHOLOGY"].to_list()
        named = [lithology.classes.names[code] for code in lithology.classes.codes]
        assert named == [CODES[code] for code in codes]
        assert lithology.classes.names == predicted.classes.names
        known = np.isin(index, records.row)
        for row, there, code, number, doubt in zip(
            index, known, predicted.classes.codes, cluster.classes.codes, log.doubt, strict=True
        ):
            assert (code >= 0) == (number >= 0) == there
            if there:
                assert predicted.classes.names[code] == list(CODES.values())[row % 3]
                assert cluster.classes.names[number] == f"C{row % 3}"
                assert doubt == pytest.approx(1 - row / ROWS)
    assert wells.log("b 2", 2, 4).depth.tolist() == [2, 2.5, 3, 3.5, 4]


def test_wells_and_depths_are_chosen(frame):
    wells, _ = wells_of(frame)
    assert wells.chosen(["a1", "B-2"], -np.inf, np.inf) == ["A-1", "b 2"]
    # Only one of them goes down to there.
    assert wells.chosen([], 18, 30) == ["A-1"]
    with pytest.raises(DataError, match="rows from 0 to 20 m"):
        wells.chosen([], 30, 40)
    with pytest.raises(DataError, match="Did you mean 'A-1'"):
        wells.chosen(["A-11"], 0, 1)


def test_without_depth_or_well(frame):
    with pytest.raises(DataError, match="needs a depth"):
        wells_of(frame.drop("DEPTH_MD"))
    with pytest.raises(DataError, match="no row has a depth"):
        wells_of(frame.with_columns(DEPTH_MD=pl.lit(None, dtype=pl.Float64)))
    odd = pl.when(pl.int_range(pl.len()) < 28).then("DEPTH_MD").otherwise(pl.lit(-999.25))
    far = odd.replace({20.0: float("inf")})
    log = wells_of(frame.with_columns(far))[0].log("b 2", -np.inf, np.inf)
    assert (log.depth.min(), log.depth.max(), len(log.depth)) == (0.0, 13.5, 28)
    bare = frame.drop("FORMATION", "FORCE_2020_LITHOFACIES_LITHOLOGY")
    log = wells_of(bare)[0].log("A-1", -np.inf, np.inf)
    assert (log.strips, log.formations, log.doubt) == ((), None, None)
