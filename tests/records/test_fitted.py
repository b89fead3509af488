"""Fitted schemas: learned on training rows alone, faithful there and back, honest about loss."""

from __future__ import annotations

import json
import math
import time

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


def table(rows: int = 60, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
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
    )


def changed(frame: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, strict=False))


def test_shapes_types_and_names() -> None:
    fitted = FittedSchema.fit(SCHEMA, table())
    records = fitted.apply(table())
    assert fitted.numeric_names == ("density", "gamma")
    assert fitted.category_names == ("rock",)
    assert fitted.category_levels == {"rock": ("clay", "salt", "sand")}
    assert fitted.condition_names == ("water", "ship=Chikyu", "ship=JR")
    assert list(records.labels) == ["facies"]
    assert fitted.units == {"density": "g/cm3", "gamma": ""}
    assert len(records) == 60
    assert (records.numeric.dtype, records.numeric.shape) == (np.float32, (60, 2))
    assert (records.observed.dtype, records.raw.dtype) == (np.bool_, np.float64)
    assert (records.category.dtype, records.category.shape) == (np.int64, (60, 1))
    assert (records.condition.dtype, records.condition.shape) == (np.float32, (60, 3))
    assert records.labels["facies"].tolist()[:1] == [str(int(table()["facies"][0]))]
    assert records.group is not None
    assert records.group.tolist() == table()["well"].to_list()
    assert records.order is not None
    assert records.order.tolist() == table()["depth"].to_list()
    assert records.ids is None
    assert fitted.schema.left_out == ("sample",)
    assert records.report.ignored == ("other",)


def test_values_against_a_row_by_row_reference() -> None:
    frame = table(200)
    fitted = FittedSchema.fit(SCHEMA, frame)
    records = fitted.apply(frame)
    density, gamma = frame["RHOB"].to_list(), frame["GR"].to_list()
    low, high = np.quantile(gamma, [0.05, 0.95])
    logged = [math.log1p(min(max(g, low), high)) for g in gamma]
    for values, column, derivative in (
        (density, 0, lambda _: 1.0),
        (logged, 1, lambda row: 1 / (1 + min(max(gamma[row], low), high))),
    ):
        mean = math.fsum(values) / len(values)
        sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        for row in range(0, 200, 7):
            assert records.numeric[row, column] == pytest.approx(
                (values[row] - mean) / sd, abs=1e-5
            )
            expected = math.log(derivative(row) / sd)
            assert records.log_det[row, column] == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(records.raw, np.column_stack([density, gamma]))
    assert records.report.clipped == {"gamma": 20}
    levels = fitted.category_levels["rock"]
    assert [levels[code] for code in records.category[:, 0]] == frame["rock"].to_list()
    assert np.array_equal(records.condition[:, 2], (frame["ship"] == "JR").to_numpy())


def test_there_and_back() -> None:
    frame = table()
    fitted = FittedSchema.fit(SCHEMA, frame)
    records = fitted.apply(frame)
    back = fitted.inverse(fitted.forward(records.raw))
    clipped = np.clip(frame["GR"].to_numpy(), *np.quantile(frame["GR"].to_numpy(), [0.05, 0.95]))
    assert np.allclose(back[:, 0], frame["RHOB"].to_numpy(), rtol=1e-12)
    assert np.allclose(back[:, 1], clipped, rtol=1e-12)
    assert np.array_equal(fitted.log_det(records.raw), records.log_det)
    stacked = np.stack([records.numeric, records.numeric])
    assert np.allclose(fitted.inverse(stacked)[1], back, rtol=1e-5)
    with pytest.raises(DataError, match="last axis must have length 2"):
        fitted.inverse(np.zeros((3, 5)))


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_other_rows_change_nothing(seed: int, value: float) -> None:
    """Whatever the rows outside the training part hold, the same is learned."""
    rng = np.random.default_rng(seed)
    frame = table()
    rows = np.sort(rng.choice(60, 40, replace=False))
    others = np.setdiff1d(np.arange(60), rows)
    spoiled = frame
    for name in ("RHOB", "GR", "water"):
        values = frame[name].to_numpy().copy()
        values[others] = rng.choice([value, np.nan, np.inf, -999.25], others.size)
        spoiled = spoiled.with_columns(pl.Series(name, values))
    rocks = np.array(frame["rock"].to_list(), dtype=object)
    rocks[others] = "granite"
    spoiled = spoiled.with_columns(rock=pl.Series(rocks.tolist()))
    first = FittedSchema.fit(SCHEMA, frame, rows)
    assert FittedSchema.fit(SCHEMA, spoiled, rows) == first
    mask = np.zeros(60, dtype=bool)
    mask[rows] = True
    assert FittedSchema.fit(SCHEMA, frame, mask) == first
    assert first.rows_fitted == 40
    assert FittedSchema.fit(SCHEMA, frame.filter(pl.Series(mask))) == first


def test_json_round_trip_without_training_rows() -> None:
    frame = table(500)
    schema = Schema.from_dict(
        {
            **SCHEMA.to_dict(),
            "columns": {
                **SCHEMA.to_dict()["columns"],
                "gamma": {"aliases": ["GR"], "transform": ["quantile"]},
            },
        }
    )
    fitted = FittedSchema.fit(schema, frame)
    text = json.dumps(fitted.to_dict())
    again = FittedSchema.from_dict(json.loads(text))
    assert again == fitted
    first, second = fitted.apply(frame), again.apply(frame)
    assert np.array_equal(first.numeric, second.numeric)
    stored = {float(token) for token in text.replace(",", " ").replace("]", " ").split()
              if token.replace(".", "").replace("-", "").isdigit()}  # fmt: skip
    for name in ("RHOB", "GR", "water"):
        assert not stored & set(frame[name].to_list())


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"format": 99}, "format 99.*Update"),
        ({"format": None}, "format None"),
        ({"schema": {"columns": {}}}, "damaged"),
        ({"numeric": {}}, "lacks the column 'density'"),
        ({"levels": {}}, "lacks the column 'rock'"),
        ({"numeric": {"density": {}}}, "damaged"),
        ({"rows_fitted": "many"}, "damaged"),
    ],
)
def test_damaged_json_is_refused(damage: dict[str, object], says: str) -> None:
    data = FittedSchema.fit(SCHEMA, table()).to_dict() | damage
    with pytest.raises(ModelFileError, match=says):
        FittedSchema.from_dict(data)


def test_missing_values_follow_the_policy() -> None:
    frame = changed(table(), "RHOB", 0, None)
    frame = changed(frame, "RHOB", 1, -999.25)
    frame = changed(frame, "RHOB", 2, 9.0)
    frame = changed(frame, "RHOB", 3, math.inf)
    frame = changed(frame, "GR", 4, None)
    frame = changed(frame, "water", 5, None)
    frame = changed(frame, "well", 6, None)
    frame = changed(frame, "facies", 7, None)
    frame = changed(frame, "rock", 8, None)
    frame = changed(frame, "depth", 9, None)
    records = FittedSchema.fit(SCHEMA, frame).apply(frame)
    report = records.report
    assert report.dropped == {"gamma missing": 1, "water missing": 1, "well missing": 1}
    assert report.rows_read - report.rows_kept == 3
    assert report.missing == {
        "density": 1, "gamma": 1, "rock": 1, "water": 1, "facies": 1, "well": 1, "depth": 1
    }  # fmt: skip
    assert report.sentinels == {"density": 1}
    assert report.out_of_range == {"density": 2}
    assert records.row.tolist() == [0, 1, 2, 3, 7, 8, 9, *range(10, 60)]
    assert not records.observed[:4, 0].any()
    assert np.isnan(records.raw[:4, 0]).all()
    assert (records.numeric[:4, 0] == 0).all()
    assert (records.log_det[:4, 0] == 0).all()
    assert records.observed[4:].all()
    assert records.labels["facies"][4] == ""
    assert records.category[5, 0] == MISSING
    assert records.order is not None
    assert np.isnan(records.order[6])
    assert "density: 1 entries hold a sentinel" in str(report)
    json.dumps(report.to_dict())
    assert usable_rows(SCHEMA, frame).tolist() == records.row.tolist()


def test_rows_with_too_few_inputs_are_dropped() -> None:
    schema = Schema.from_dict({"columns": {"a": {"missing": "mask"}, "b": {"missing": "mask"}}})
    frame = pl.DataFrame({"a": [1.0, None, 3.0, None], "b": [1.0, 2.0, None, None]})
    assert FittedSchema.fit(schema, frame).apply(frame).row.tolist() == [0, 1, 2]
    strict = schema.model_copy(update={"minimum_inputs": 2})
    fitted = FittedSchema.fit(schema, frame)
    both = FittedSchema(strict, fitted.numeric, fitted.levels, 3).apply(frame)
    assert both.row.tolist() == [0]
    assert both.report.dropped == {"fewer than 2 inputs observed": 3}


def test_unseen_levels_are_named_and_not_observed() -> None:
    fitted = FittedSchema.fit(SCHEMA, table())
    frame = changed(changed(table(), "rock", 3, "granite"), "ship", 5, "Glomar")
    records = fitted.apply(frame)
    assert records.category[3, 0] == UNSEEN
    assert records.report.unseen == {"rock": {"granite": 1}, "ship": {"Glomar": 1}}
    assert records.report.dropped == {"ship missing": 1}
    assert "rock: not met in training: 'granite' (1)" in str(records.report)


def test_values_impossible_for_the_transform_count_as_missing() -> None:
    schema = Schema.from_yaml("columns: {a: {transform: log, missing: mask}, b: {}}")
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    fitted = FittedSchema.fit(schema, frame)
    records = fitted.apply(pl.DataFrame({"a": [1.0, -2.0, 0.0], "b": [1.0, 2.0, 1e300]}))
    assert records.observed.tolist() == [[True, True], [False, True]]
    assert records.report.outside_domain == {"a": 2, "b": 1}
    assert np.isfinite(records.numeric).all()
    assert np.isfinite(records.log_det).all()


def test_new_tables_may_name_and_lack_columns() -> None:
    fitted = FittedSchema.fit(SCHEMA, table())
    plain = fitted.apply(table())
    renamed = table().rename({"RHOB": "Density (g/cc)", "GR": "gamma"})
    assert np.array_equal(fitted.apply(renamed).numeric, plain.numeric)
    mapped = table().rename({"GR": "SGR"})
    assert np.array_equal(fitted.apply(mapped, mapping={"gamma": "SGR"}).numeric, plain.numeric)
    bare = fitted.apply(table().select("GR", "ship", "water"))
    assert bare.group is None
    assert bare.order is None
    assert bare.labels == {}
    assert not bare.observed[:, 0].any()
    assert np.array_equal(bare.numeric[:, 1], plain.numeric[:, 1])
    assert (bare.category == MISSING).all()
    assert bare.report.absent == ("density", "rock", "facies", "well", "depth")
    with pytest.raises(SchemaError, match=r"'gama' is not a column of the schema.*'gamma'"):
        fitted.apply(table(), mapping={"gama": "GR"})
    with pytest.raises(SchemaError, match="no column for 'gamma'"):
        fitted.apply(table().drop("GR"))
    with pytest.raises(SchemaError, match="no column for 'ship'"):
        fitted.apply(table().drop("ship"))


def test_an_optional_input_seen_in_training_is_needed_unless_masked() -> None:
    schema = Schema.from_yaml("columns: {a: {}, b: {optional: true}}")
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, 3.0]})
    with pytest.raises(SchemaError, match=r"'b', which every row needs.*missing: mask"):
        FittedSchema.fit(schema, frame).apply(frame.select("a"))


def test_bounds_and_rounding_are_learned_when_asked() -> None:
    schema = Schema.from_yaml(
        "columns: {a: {learn_bounds: true, learn_rounding: true}, b: {}, c: {learn_rounding: true}}"
    )
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "a": rng.uniform(1, 3, 50).round(2).astype(np.float32),
            "b": rng.normal(size=50),
            "c": rng.integers(0, 255, 50),
        }
    )
    fitted = FittedSchema.fit(schema, frame)
    assert [fitted.numeric[name].decimals for name in "abc"] == [2, None, 0]
    wild = fitted.inverse(rng.normal(0, 5, (200, 3)))
    low, high = float(frame["a"].min()), float(frame["a"].max())  # type: ignore[arg-type]
    assert wild[:, 0].min() == low
    assert wild[:, 0].max() == high
    inside = (wild[:, 0] > low) & (wild[:, 0] < high)
    assert np.allclose(wild[inside, 0] * 100, np.round(wild[inside, 0] * 100), atol=1e-9)
    assert np.array_equal(wild[:, 2], np.round(wild[:, 2]))
    assert np.abs(wild[:, 1]).max() > 5


@pytest.mark.parametrize(
    ("column", "values", "settings", "says"),
    [
        ("a", [None] * 4, {"missing": "mask"}, "column 'a': has no value in the training rows"),
        ("a", [2.0] * 4, {}, "column 'a': is 2 in every training row.*Leave it out"),
        ("a", [1.0, 2.0, 3.0, math.inf], {}, "column 'a': holds 1 infinite.*'valid"),
        ("a", [1.0, 2.0, 0.0, 3.0], {"transform": "log"}, "column 'a': .*signed_log"),
        ("a", [0.1, 0.2, 1.0, 0.3], {"transform": "logit"}, "column 'a': .*strictly between"),
        ("a", [0, 0, 0, 9.0], {"clip": [0.0, 0.5]}, "column 'a': is 0 .*once clipped"),
        ("a", [None] * 4, {}, r"no training row is left \(a missing: 4\).*mask"),
        ("a", [1.0, None, 2.0, 3.0], {"missing": "error"}, "1 rows lack 'a', row 2 first"),
        ("a", ["1", "2", "n/a", "3"], {}, "column 'a': 'n/a' in row 3 is not a number"),
        ("a", ["x"] * 4, {"kind": "category"}, "column 'a': has 1 level"),
        ("a", [-999.25] * 4, {"sentinels": [-999.25], "missing": "mask"}, "has no value"),
    ],
)
def test_what_cannot_be_learned_from_is_named(
    column: str, values: list[object], settings: dict[str, object], says: str
) -> None:
    schema = Schema.from_dict({"columns": {"meaning": {"source": column, **settings}, "b": {}}})
    frame = pl.DataFrame({column: pl.Series(values, strict=False), "b": [1.0, 2.0, 3.0, 4.0]})
    expected = says.replace("(a missing", "(meaning missing").replace("lack 'a'", "lack 'meaning'")
    with pytest.raises((SchemaError, DataError), match=expected):
        FittedSchema.fit(schema, frame)


def test_row_numbers_are_checked() -> None:
    with pytest.raises(DataError, match="between 0 and 59"):
        FittedSchema.fit(SCHEMA, table(), [60])
    with pytest.raises(DataError, match="mask has shape"):
        FittedSchema.fit(SCHEMA, table(), np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="no training row is left"):
        FittedSchema.fit(SCHEMA, table(), [])


def test_units_are_compared() -> None:
    wrong = table().rename({"RHOB": "RHOB (kg/m3)"})
    with pytest.raises(SchemaError, match=r"'density' is declared in g/cm3, but .* in kg/m3"):
        FittedSchema.fit(SCHEMA, wrong)
    fitted = FittedSchema.fit(SCHEMA, table().rename({"RHOB": "RHOB [G/CC]"}))
    with pytest.raises(SchemaError, match="in kg/m3"):
        fitted.apply(wrong)
    with pytest.raises(SchemaError, match="in k/m3"):
        fitted.apply(table(), units={"RHOB": "k/m3"})
    fitted.apply(table(), units={"RHOB": "gm/cc"})


def test_single_precision_sentinels_and_limits_are_met() -> None:
    schema = Schema.from_yaml(
        "columns: {a: {missing: mask, sentinels: -999.9, valid: [0.1, 5]}, b: {}}"
    )
    a = np.array([-999.9, 0.1, 2.0, 3.0], dtype=np.float32)
    records = FittedSchema.fit(schema, {"a": a, "b": [1, 2, 3, 4]}).apply(
        {"a": a, "b": [1, 2, 3, 4]}
    )
    assert records.report.sentinels == {"a": 1}
    assert records.report.out_of_range == {}


def test_splits_and_fitting_go_together() -> None:
    frame = changed(table(), "GR", 0, None)
    group = groups_of(SCHEMA, frame)
    rows = split_groups(group, seed=1).rows(group)
    fitted = FittedSchema.fit(SCHEMA, frame, rows["train"])
    records = fitted.apply(frame)
    parts = split_groups(group, seed=1).rows(records.group)
    assert sum(map(len, parts.values())) == len(records) == 59
    train = records.take(parts["train"])
    assert set(train.row) <= set(rows["train"])
    with pytest.raises(SchemaError, match="no column has the role 'group'"):
        groups_of(Schema.from_yaml("columns: {a: {}}"), frame)
    with pytest.raises(SchemaError, match="no column for 'well'"):
        groups_of(SCHEMA, frame.drop("well"))


def test_a_million_rows_take_well_under_a_second_per_column() -> None:
    """A fifth of that here: 200,000 rows, ten columns, in processor time."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{i}": rng.gamma(2.0, 1.0, 200_000) for i in range(10)})
    for transform in ("standardise", "signed_log", {"quantile": {"knots": 500}}):
        columns = {name: {"transform": [transform, "standardise"]} for name in frame.columns}
        start = time.process_time()
        fitted = FittedSchema.fit(Schema.from_dict({"columns": columns}), frame)
        fitted.inverse(fitted.apply(frame).numeric)
        assert time.process_time() - start < 2.0
