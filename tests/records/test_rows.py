"""Rows: a condition of the user and the state of the hole choose them, and nothing else is run."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning, SchemaError
from variolite.records import FittedSchema, Schema, rows_where, usable_rows

FRAME = pl.DataFrame(
    {
        "GR": [10.0, 20.0, float("nan"), 40.0, None, 60.0],
        "Bad Hole": [0, 1, 0, None, 0, 0],
        "WELL": ["A", "A", "B", "B", "C", None],
        "CALI": [8.5, 8.6, 12.0, 8.5, None, 8.4],
        "BS": [8.5] * 6,
        "DRHO": [0.01, -0.3, 0.0, 0.1, 0.9, None],
    }
)
SCHEMA = Schema.from_yaml("columns: {gamma: {aliases: [GR], missing: mask}, well: {role: group}}")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('"Bad Hole" == 0', [0, 2, 4, 5]),
        ('"bad hole" = 0 AND gr > 5', [0, 5]),
        ("WELL in ('A', 'C')", [0, 1, 4]),
        ("not WELL = 'A'", [2, 3, 4]),
        ("GR > 15", [1, 3, 5]),
        ("GR is null", [2, 4]),
        ("CALI - BS <= 0.1 and abs(DRHO) < 0.2", [0, 3]),
        ("GR between 10 and 20 or WELL like 'B%'", [0, 1, 2, 3]),
    ],
)
def test_conditions(condition, expected):
    assert np.flatnonzero(rows_where(condition, FRAME)).tolist() == expected


def test_meanings_are_names_too():
    schema = SCHEMA.bind(FRAME.columns)
    assert rows_where("gamma < 15", FRAME, schema).sum() == 1
    with pytest.raises(SchemaError, match="no column 'gamma'"):
        rows_where("gamma < 15", FRAME)
    with pytest.raises(SchemaError, match=r"no column 'CALL'. Did you mean 'CALI'"):
        rows_where("CALL < 15", FRAME, schema)


def test_nothing_is_read_or_run(tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("GR\n10\n")
    for condition in (
        f"GR in (select GR from read_csv('{secret}'))",
        f"GR in (\nSELECT\nGR FROM read_csv('{secret}'))",
        f"exists(from read_csv('{secret}'))",
        "GR in (table x)",
        "GR > 1; drop table x",
        "__import__('os').system('true')",
        "GR",
        "GR + 1",
        "sum(GR)",
        "1 = 1",
        "",
        "GR = 'text'",
        "GR ==",
        "(" * 900 + "GR" + ")" * 900,
        "GR = 1 or " * 400 + "GR = 2",
    ):
        with pytest.raises(DataError, match=r"^rows"):
            rows_where(condition, FRAME)


def test_a_schema_chooses_rows_and_counts_the_others():
    schema = SCHEMA.model_copy(update={"rows": '"Bad Hole" = 0'})
    assert Schema.from_yaml(schema.to_yaml()) == schema
    frame = FRAME.with_columns(GR=pl.Series([10.0, 20, 30, 40, 50, 60]), WELL=pl.lit("A"))
    fitted = FittedSchema.fit(schema, frame)
    assert fitted.rows_fitted == 4
    assert fitted.numeric["gamma"].inverse(np.zeros(1)) == pytest.approx(np.mean([10, 30, 50, 60]))
    records = FittedSchema.from_dict(fitted.to_dict()).apply(frame)
    assert records.row.tolist() == [0, 2, 4, 5]
    assert records.report.dropped == {'not "Bad Hole" = 0': 2}
    assert usable_rows(schema.bind(frame.columns), frame).tolist() == [0, 2, 4, 5]
    without = frame.drop("Bad Hole")
    with pytest.raises(SchemaError, match="no column 'Bad Hole'"):
        FittedSchema.fit(schema, without)
    with pytest.warns(DataWarning, match="no column 'Bad Hole'.*All rows are used"):
        assert len(fitted.apply(without)) == 6
    with pytest.raises(DataError, match="no row is left"):
        FittedSchema.fit(schema.model_copy(update={"rows": "GR > 99"}), frame)


@pytest.mark.filterwarnings("ignore:.*is taken as:variolite.errors.DataWarning")
def test_bad_holes_are_left_out():
    schema = Schema.from_yaml(
        "bad_hole: {oversize: 1, density_correction: 0.2}\n"
        "columns: {gamma: {aliases: [GR]}, well: {role: group}}"
    )
    frame = FRAME.with_columns(GR=pl.Series([10.0, 20, 30, 40, 50, 60]), WELL=pl.lit("A"))
    # Unknown is not bad; rows 2 (caliper), 1 and 4 (correction) are.
    fitted = FittedSchema.fit(schema, frame)
    records = fitted.apply(frame)
    assert records.row.tolist() == [0, 3, 5]
    assert records.report.dropped == {"bad hole": 3}
    in_mm = frame.with_columns(pl.col("CALI", "BS") * 25.4)
    records = fitted.apply(in_mm, units={"CALI": "mm", "BS": "mm"})
    assert records.row.tolist() == [0, 3, 5]
    with pytest.raises(SchemaError, match="no column for 'bit_size'"):
        FittedSchema.fit(schema, frame.drop("BS"))
    with pytest.raises(SchemaError, match="greater than 0"):
        Schema.from_yaml("bad_hole: {oversize: -1}\ncolumns: {a: {}}")
