"""Fitted schemas: learned on training rows alone, faithful there and back, honest about loss."""

import json
import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError, ModelFileError, SchemaError
from variolite.records import (
    MISSING,
    UNSEEN,
    FittedSchema,
    Schema,
    groups_of,
    split_groups,
    usable_rows,
)
from variolite.records.records import ApplyReport

SCHEMA = Schema.from_yaml(
    """
columns:
  density: {unit: g/cm3, aliases: [RHOB], missing: mask, sentinels: [-999.25], valid: [1, 3.5]}
  gamma: {aliases: [GR], transform: [signed_log, standardise], clip: [0.05, 0.95]}
  rock: {kind: category, missing: mask}
  ship: {role: condition, kind: category}
  water: {role: condition}
  facies: {role: label}
  well: {role: group}
  depth: {role: order}
  sample: {role: id, optional: true}
"""
)


def table(rows=60, **changes):
    """Draw a table; ``changes`` are a row and its value, by column."""
    rng = np.random.default_rng(0)
    columns = {
        "RHOB": rng.uniform(1.5, 2.8, rows),
        "GR": rng.lognormal(3.5, 0.8, rows),
        "rock": rng.choice(["clay", "sand", "salt"], rows),
        "ship": rng.choice(["JR", "Chikyu"], rows),
        "water": rng.uniform(100, 4000, rows),
        "facies": rng.integers(1, 4, rows).astype(float),
        "well": np.repeat([f"W{i}" for i in range(6)], -(-rows // 6))[:rows],
        "depth": np.arange(rows, dtype=float),
        "other": np.zeros(rows),
    }
    for name, (row, value) in changes.items():
        columns[name] = columns[name].tolist()
        columns[name][row] = value
    return pl.DataFrame(columns)


FRAME = table()
FITTED = FittedSchema.fit(SCHEMA, FRAME)


def test_shapes_types_and_names():
    records = FITTED.apply(FRAME)
    assert FITTED.numeric_names == ("density", "gamma")
    assert FITTED.category_names == ("rock",)
    assert FITTED.category_levels == {"rock": ("clay", "salt", "sand")}
    assert FITTED.levels["ship"] == ("Chikyu", "JR")
    assert FITTED.units == {"density": "g/cm3", "gamma": ""}
    assert FITTED.schema.left_out == ("sample",)
    assert len(records) == 60
    assert (records.numeric.dtype, records.numeric.shape) == (np.float32, (60, 2))
    assert (records.observed.dtype, records.raw.dtype) == (np.bool_, np.float64)
    assert (records.category.dtype, records.category.shape) == (np.int64, (60, 1))
    assert (records.condition.dtype, records.condition.shape) == (np.float32, (60, 3))
    assert list(records.labels) == ["facies"]
    assert records.labels["facies"][0] == str(int(FRAME["facies"][0]))
    assert records.group.tolist() == FRAME["well"].to_list()
    assert records.order.tolist() == FRAME["depth"].to_list()
    assert records.ids is None
    assert records.report.ignored == ("other",)


def test_values_against_a_row_by_row_reference_there_and_back():
    frame = table(200)
    fitted = FittedSchema.fit(SCHEMA, frame)
    records = fitted.apply(frame)
    density, gamma = frame["RHOB"].to_list(), frame["GR"].to_list()
    low, high = np.quantile(gamma, [0.05, 0.95])
    clipped = np.clip(gamma, low, high)
    parts = ((density, 0, np.ones(200)), (np.log1p(clipped).tolist(), 1, 1 / (1 + clipped)))
    for values, column, derivative in parts:
        mean = math.fsum(values) / len(values)
        sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        expected = (np.array(values) - mean) / sd
        assert np.allclose(records.numeric[:, column], expected, rtol=0, atol=1e-5)
        assert np.allclose(records.log_det[:, column], np.log(derivative / sd), rtol=0, atol=1e-9)
    assert np.array_equal(records.raw, np.column_stack([density, gamma]))
    assert records.report.clipped == {"gamma": 20}
    levels = fitted.category_levels["rock"]
    assert [levels[code] for code in records.category[:, 0]] == frame["rock"].to_list()
    assert np.array_equal(records.condition[:, 2], (frame["ship"] == "JR").to_numpy())
    exact = np.column_stack([fitted.numeric[n].evaluate(records.raw[:, i])[0]
                             for i, n in enumerate(fitted.numeric_names)])  # fmt: skip
    back = fitted.inverse(exact)
    assert np.allclose(back, np.column_stack([density, clipped]), rtol=1e-12)
    stacked = np.stack([records.numeric, records.numeric])
    assert np.allclose(fitted.inverse(stacked)[1], back, rtol=1e-5)
    with pytest.raises(DataError, match="last axis must have length 2"):
        fitted.inverse(np.zeros((3, 5)))


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_other_rows_change_nothing(seed, value):
    """Whatever the rows outside the training part hold, the same is learned."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(60, 40, replace=False))
    mask = np.isin(np.arange(60), rows)
    columns = FRAME.to_dict()
    for name in ("RHOB", "GR", "water"):
        columns[name] = columns[name].to_numpy().copy()
        columns[name][~mask] = rng.choice([value, np.nan, np.inf, -999.25], 20)
    columns["rock"] = np.where(mask, FRAME["rock"].to_numpy(), "granite").tolist()
    spoiled = pl.DataFrame(columns)
    first = FittedSchema.fit(SCHEMA, FRAME, rows)
    assert FittedSchema.fit(SCHEMA, spoiled, rows) == first
    assert FittedSchema.fit(SCHEMA, FRAME, mask) == first
    assert first.rows_fitted == 40
    assert FittedSchema.fit(SCHEMA, FRAME.filter(pl.Series(mask))) == first


def test_json_round_trip_without_training_rows():
    frame = table(500)
    spec = SCHEMA.to_dict()
    spec["columns"]["gamma"] = {"aliases": ["GR"], "transform": ["quantile"]}
    fitted = FittedSchema.fit(Schema.from_dict(spec), frame)
    text = json.dumps(fitted.to_dict())
    again = FittedSchema.from_dict(json.loads(text))
    assert again == fitted
    assert np.array_equal(fitted.apply(frame).numeric, again.apply(frame).numeric)
    stored = {float(number) for number in re.findall(r"(?<![\w.])-?\d+\.?\d*(?![\w.])", text)}
    assert len(stored) > 100
    for name in ("RHOB", "GR", "water"):
        assert not stored & set(frame[name].to_list())


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"format": 99}, "format 99.*Update"),
        ({"format": None}, "format None"),
        ({"schema": {"columns": {}}}, "damaged"),
        ({"schema": None}, "damaged"),
        ({"numeric": {}}, "lacks the column 'density'"),
        ({"levels": {}}, "lacks the column 'rock'"),
        ({"numeric": {"density": {}}}, "damaged.*density"),
        ({"numeric": {"density": {"chain": {"steps": []}, "clip": [1]}}}, "damaged.*clip"),
        ({"numeric": {"density": {"chain": {"steps": [{"kind": "exec"}]}}}}, "damaged.*exec"),
        ({"rows_fitted": "many"}, "damaged"),
    ],
)
def test_damaged_json_is_refused(damage, says):
    with pytest.raises(ModelFileError, match=says):
        FittedSchema.from_dict(FITTED.to_dict() | damage)


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64])
def test_missing_values_follow_the_policy(kind):
    frame = table(GR=(4, None), water=(5, None), well=(6, None), facies=(7, None), rock=(8, None),
                  depth=(9, None))  # fmt: skip
    frame[20, "depth"] = math.inf  # nothing else would look at it
    frame = frame.with_columns(pl.col("depth").cast(kind))
    density = [None, -999.25, 9.0, math.inf, *frame["RHOB"][4:]]
    frame = frame.with_columns(RHOB=pl.Series(density))
    records = FittedSchema.fit(SCHEMA, frame).apply(frame)
    report = records.report
    assert report.dropped == {"gamma missing": 1, "water missing": 1, "well missing": 1}
    assert report.rows_read - report.rows_kept == 3
    assert report.missing == {
        "density": 1, "gamma": 1, "rock": 1, "water": 1, "facies": 1, "well": 1, "depth": 1
    }  # fmt: skip
    assert report.sentinels == {"density": 1}
    assert report.out_of_range == {"density": 2, "depth": 1}
    assert np.isfinite(records.order).sum() == len(records) - 2
    assert records.row.tolist() == [0, 1, 2, 3, 7, 8, 9, *range(10, 60)]
    assert not records.observed[:4, 0].any()
    assert np.isnan(records.raw[:4, 0]).all()
    assert not np.any([records.numeric[:4, 0], records.log_det[:4, 0]])
    assert records.observed[4:].all()
    assert records.labels["facies"][4] == ""
    assert records.category[5, 0] == MISSING
    assert np.isnan(records.order[6])
    assert "density: 1 read as missing, being a sentinel" in report.lines()
    assert usable_rows(SCHEMA.bind(frame.columns), frame).tolist() == records.row.tolist()


def test_counts_of_one_kind_are_one_sentence():
    report = ApplyReport(
        rows_read=9,
        rows_kept=9,
        missing={"a": 1},
        clipped={f"c{i}": i for i in range(1, 11)},
        ignored=tuple(f"x{i}" for i in range(9)),
    )
    listed = "c10 10, c9 9, c8 8, c7 7, c6 6, c5 5, c4 4, c3 3, and 2 more"
    assert report.lines()[1:] == [
        "a: 1 missing",
        f"clipped to the training quantiles: {listed}",
        "columns not used: x0, x1, x2, x3, x4, x5, x6, x7, and 1 more",
    ]


def test_rows_with_too_few_inputs_are_dropped():
    schema = Schema.from_dict({"columns": {"a": {"missing": "mask"}, "b": {"missing": "mask"}}})
    frame = pl.DataFrame({"a": [1.0, None, 3.0, None], "b": [1.0, 2.0, None, None]})
    fitted = FittedSchema.fit(schema, frame)
    assert fitted.apply(frame).row.tolist() == [0, 1, 2]
    strict = schema.model_copy(update={"minimum_inputs": 2})
    both = FittedSchema(strict, fitted.numeric, fitted.levels, 3).apply(frame)
    assert both.row.tolist() == [0]
    assert both.report.dropped == {"fewer than 2 inputs observed": 3}


def test_what_training_did_not_hold_is_named_and_not_observed():
    records = FITTED.apply(table(rock=(3, "granite"), ship=(5, "Glomar")))
    assert records.category[3, 0] == UNSEEN
    assert records.report.unseen == {"rock": {"granite": 1}, "ship": {"Glomar": 1}}
    assert records.report.dropped == {"ship missing or not met in training": 1}
    assert "rock: not met in training: 'granite' (1)" in records.report.lines()
    # Values that are impossible for the transform.
    schema = Schema.from_yaml("columns: {a: {transform: log, missing: mask}, b: {}}")
    fitted = FittedSchema.fit(schema, {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    records = fitted.apply({"a": [1.0, -2.0, 0.0], "b": [1.0, 2.0, 1e300]})
    assert records.observed.tolist() == [[True, True], [False, True]]
    assert records.report.outside_domain == {"a": 2, "b": 1}
    assert np.isfinite(records.numeric).all()
    assert np.isfinite(records.log_det).all()


def test_new_tables_may_name_and_lack_columns():
    plain = FITTED.apply(FRAME)
    renamed = FRAME.rename({"RHOB": "Density (g/cc)", "GR": "gamma"})
    assert np.array_equal(FITTED.apply(renamed).numeric, plain.numeric)
    mapped = FRAME.rename({"GR": "SGR"})
    assert np.array_equal(FITTED.apply(mapped, mapping={"gamma": "SGR"}).numeric, plain.numeric)
    bare = FITTED.apply(FRAME.select("GR", "ship", "water"))
    assert bare.group is None
    assert bare.order is None
    assert bare.labels == {}
    assert not bare.observed[:, 0].any()
    assert np.array_equal(bare.numeric[:, 1], plain.numeric[:, 1])
    assert (bare.category == MISSING).all()
    assert bare.report.absent == ("density", "rock", "facies", "well", "depth")
    with pytest.raises(SchemaError, match=r"'gama' is not a column of the schema.*'gamma'"):
        FITTED.apply(FRAME, mapping={"gama": "GR"})
    for name, lost in (("gamma", "GR"), ("ship", "ship")):
        with pytest.raises(SchemaError, match=f"no column for '{name}'"):
            FITTED.apply(FRAME.drop(lost))
    # An optional input that was there in training is needed unless it is masked.
    schema = Schema.from_yaml("columns: {a: {}, b: {optional: true}}")
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, 3.0]})
    with pytest.raises(SchemaError, match=r"'b', which every row needs.*missing: mask"):
        FittedSchema.fit(schema, frame).apply(frame.select("a"))


def test_bounds_and_rounding_are_learned_when_asked():
    schema = Schema.from_yaml(
        "columns: {a: {learn_bounds: true, learn_rounding: true}, b: {}, c: {learn_rounding: true}}"
    )
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 3, 50).round(2).astype(np.float32)
    frame = {"a": a, "b": rng.normal(size=50), "c": rng.integers(0, 255, 50)}
    fitted = FittedSchema.fit(schema, frame)
    assert [fitted.numeric[name].decimals for name in "abc"] == [2, None, 0]
    wild = fitted.inverse(rng.normal(0, 5, (200, 3)))
    assert (wild[:, 0].min(), wild[:, 0].max()) == (a.min(), a.max())
    inside = (wild[:, 0] > a.min()) & (wild[:, 0] < a.max())
    assert np.allclose(wild[inside, 0] * 100, np.round(wild[inside, 0] * 100), atol=1e-9)
    assert np.array_equal(wild[:, 2], np.round(wild[:, 2]))
    assert np.abs(wild[:, 1]).max() > 5


@pytest.mark.parametrize(
    ("values", "settings", "says"),
    [
        ([None] * 4, {"missing": "mask"}, "column 'a': has no value in the training rows"),
        ([2.0] * 4, {}, "column 'a': is 2 in every training row.*Leave it out"),
        ([1.0, 2.0, 3.0, math.inf], {}, "column 'a': holds 1 infinite.*'valid"),
        ([1.0, 2.0, 0.0, 3.0], {"transform": "log"}, "column 'a': .*signed_log"),
        ([0.1, 0.2, 1.0, 0.3], {"transform": "logit"}, "column 'a': .*strictly between"),
        ([0, 0, 0, 9.0], {"clip": [0.0, 0.5]}, "column 'a': is 0 .*once clipped"),
        ([None] * 4, {}, r"no training row is left \(meaning missing: 4\).*mask"),
        ([1.0, None, 2.0, 3.0], {"missing": "error"}, "1 rows lack 'meaning', row 2 first"),
        (["1", "2", "n/a", "3"], {}, "column 'a': 'n/a' in row 3 is not a number"),
        (["x"] * 4, {"kind": "category"}, "column 'a': has 1 level"),
        ([-999.25] * 4, {"sentinels": [-999.25], "missing": "mask"}, "has no value"),
    ],
)
def test_what_cannot_be_learned_from_is_named(values, settings, says):
    schema = Schema.from_dict({"columns": {"meaning": {"source": "a", **settings}, "b": {}}})
    frame = pl.DataFrame({"a": pl.Series(values, strict=False), "b": [1.0, 2.0, 3.0, 4.0]})
    with pytest.raises((SchemaError, DataError), match=says):
        FittedSchema.fit(schema, frame)


def test_row_numbers_are_checked():
    short = np.ones(3, dtype=bool)
    wrong = (([60], "between 0 and 59"), (short, "mask has shape"), ([], "no training row"))
    for rows, says in wrong:
        with pytest.raises(DataError, match=says):
            FittedSchema.fit(SCHEMA, FRAME, rows)


def test_units_are_converted_to_the_declared_ones():
    expected = FITTED.apply(FRAME)
    # The sentinel of the table is -999.25 in any unit.
    thousandfold = pl.when(pl.col("RHOB") == -999.25).then(-999.25).otherwise(pl.col("RHOB") * 1000)
    in_kg = FRAME.with_columns(thousandfold.alias("RHOB (kg/m3)")).drop("RHOB")
    for frame, units in ((in_kg, None), (in_kg.rename({"RHOB (kg/m3)": "RHOB"}), {"RHOB": "K/M3"})):
        fitted = FittedSchema.fit(SCHEMA, frame, units=units)
        for schema in (FITTED, fitted):
            records = schema.apply(frame, units=units)
            np.testing.assert_allclose(records.raw, expected.raw, rtol=1e-12)
            np.testing.assert_allclose(records.numeric, expected.numeric, rtol=1e-4, atol=1e-5)
        assert records.report.sentinels == expected.report.sentinels
        found = units["RHOB"] if units else "kg/m3"
        assert f"density: converted from {found} to g/cm3" in records.report.lines()
    assert FITTED.apply(FRAME, units={"RHOB": "gm/cc"}).report.converted == {}
    for frame, units in ((FRAME.rename({"RHOB": "RHOB [us/ft]"}), None), (FRAME, {"RHOB": "%"})):
        with pytest.raises(
            SchemaError, match=r"'density' is declared in g/cm3, but .* in (us/ft|%)"
        ):
            FITTED.apply(frame, units=units)
    # A column that declares no unit takes that of the training table.
    assert FittedSchema.fit(SCHEMA, FRAME, units={"GR": "gAPI"}).units["gamma"] == "gAPI"


def test_single_precision_is_met():
    # Sentinels and limits are met in single precision.
    spec = "columns: {a: {missing: mask, sentinels: -999.9, valid: [0.1, 5]}, b: {}}"
    frame = {"a": np.array([-999.9, 0.1, 2.0, 3.0], dtype=np.float32), "b": [1, 2, 3, 4]}
    report = FittedSchema.fit(Schema.from_yaml(spec), frame).apply(frame).report
    assert report.sentinels == {"a": 1}
    assert report.out_of_range == {}


def test_splits_and_fitting_go_together():
    frame = table(GR=(0, None))
    group = groups_of(SCHEMA.bind(frame.columns), frame)
    split = split_groups(group, seed=1)
    rows = split.rows(group)
    records = FittedSchema.fit(SCHEMA, frame, rows["train"]).apply(frame)
    parts = split.rows(records.group)
    assert sum(map(len, parts.values())) == len(records) == 59
    assert set(records.take(parts["train"]).row) <= set(rows["train"])
    with pytest.raises(SchemaError, match="no column has the role 'group'"):
        groups_of(Schema.from_yaml("columns: {a: {}}"), frame)
