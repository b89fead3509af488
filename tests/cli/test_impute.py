"""``impute``: observed values as they are, gaps with intervals, in the table's own units."""

import numpy as np
import polars as pl
import pytest
from calling import TINY

from variolite.records import read_table, units_of


@pytest.fixture
def gaps(example):
    """The table of the example, in which hole after hole lacks its density, and no row its colour.

    Natural gamma is in units that the recipe does not know, under another name.
    """
    frame = example.frame.drop("green").rename({"bulk_density": "RHOB (kg/m3)"})
    lacking = pl.col("hole") == frame["hole"].unique().sort()[0]
    return frame.with_columns(
        pl.when(~lacking).then(pl.col("RHOB (kg/m3)") * 1000.0).alias("RHOB (kg/m3)")
    )


def written(program, example, frame, out, *options):
    data = out.with_name("in.csv")
    frame.write_csv(data)
    return program.works("impute", example.run, *options, data=data, out=out)


def test_every_input_is_filled_and_what_was_observed_stays(example, gaps, program, tmp_path):
    out = tmp_path / "o.parquet"
    answer = written(program, example, gaps, out, "--samples", 2)
    assert answer.out == f"{out}\n"
    table = pl.read_parquet(out)
    parts = ("", "imputed:", "low:", "high:", "sample_1:", "sample_2:")
    density = [f"{part}RHOB (kg/m3)" for part in parts]
    start = table.columns.index(density[0])
    assert table.columns[start : start + 6] == density
    assert table.columns[:3] == ["row", "hole", "depth"]
    assert [n for n in table.columns if n.endswith("green")] == [f"{p}green" for p in parts[1:]]
    given, imputed, low, high, *samples = (table[name].to_numpy() for name in density)
    seen = ~np.isnan(given)
    assert 0 < seen.sum() < len(seen)
    for values in (imputed, low, high, *samples):
        np.testing.assert_array_equal(values[seen], given[seen])
    assert (low[~seen] < imputed[~seen]).all()
    assert (imputed[~seen] < high[~seen]).all()
    # In the unit of the table, with a spread between samples.
    assert 1000.0 < imputed[~seen].mean() < 3000.0
    assert samples[0][~seen].std() > 0.0
    assert table.filter(pl.col("imputed:green").is_null()).is_empty()
    lines = answer.err.splitlines()
    assert f"RHOB (kg/m3): {(~seen).sum():,} values imputed" in " ".join(lines)
    assert "the table lacks it: in 0-255" in " ".join(lines)
    assert "hidden from 1 validation group, R² was" in " ".join(lines)
    few = "calibrated on 0 to 1 validation groups, too few to hold at 90 %: that takes 9"
    assert few in " ".join(lines)


def test_a_higher_level_is_wider_and_seeds_change_samples_alone(example, gaps, program, tmp_path):
    name = "RHOB (kg/m3)"
    found = {}
    for level, seed in ((0.5, 0), (0.9, 0), (0.9, 1)):
        out = tmp_path / f"{level}-{seed}.parquet"
        options = ("--level", level, "--seed", seed, "--samples", 1)
        written(program, example, gaps, out, *options)
        found[level, seed] = pl.read_parquet(out).filter(pl.col(name).is_nan())
    width = {k: (t[f"high:{name}"] - t[f"low:{name}"]).to_numpy() for k, t in found.items()}
    assert (width[0.5, 0] < width[0.9, 0]).all()
    np.testing.assert_array_equal(width[0.9, 0], width[0.9, 1])
    assert not found[0.9, 0][f"sample_1:{name}"].equals(found[0.9, 1][f"sample_1:{name}"])


def test_rows_with_one_input_are_filled_too(example, gaps, program, tmp_path):
    inputs = ("red", "blue", "natural_gamma")
    first = pl.int_range(pl.len()) == 0
    bare = gaps.with_columns(
        pl.when(~first).then(pl.col(inputs)), pl.lit(None).alias("RHOB (kg/m3)")
    )
    out = tmp_path / "o.csv"
    written(program, example, bare.head(40), out)
    assert pl.read_csv(out)["row"][0] == 0


def test_las_has_the_new_curves(example, gaps, program, tmp_path):
    hole = gaps["hole"].unique().sort()[0]
    out = tmp_path / "o.las"
    written(program, example, gaps.filter(hole=hole), out)
    found = read_table(out)
    assert {"imputed_red", "low_red", "high_green"} <= set(found.columns)
    assert found["imputed_green"].is_finite().all()
    # Of the table, and of training where the table lacks the input.
    units = units_of(out)
    assert (units["low_RHOB"], units["high_green"]) == ("kg/m3", "0-255")


@pytest.mark.parametrize("level", ["0", "1", "90", "-1"])
def test_levels_are_probabilities(example, program, tmp_path, level):
    out = tmp_path / "o.csv"
    options = ("impute", example.run, f"--level={level}")
    line = program.fails(*options, data=example.data, out=out)
    assert "--level" in line
    assert "such as 0.9" in line
    assert not out.exists()


def test_seeds_and_samples_have_a_limit(example, program, tmp_path):
    command = ("impute", example.run, "--data", example.data, "--out", tmp_path / "o.csv")
    answer = program(*command, "--samples=1", "--seed=99999999999999999999")
    assert (answer.code, "Traceback" in answer.err) == (2, False)
    assert "'--seed'" in answer.last
    line = program.fails(*command, "--samples=1000000000")
    assert "making 1,000,000,000 samples takes about" in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_errors_says_so(copied, program, tmp_path):
    (copied.run / "model" / "errors.json").unlink()
    given = {"data": copied.data, "out": tmp_path / "o.csv"}
    line = program.fails("impute", copied.run, **given)
    assert "errors.json: this file of the run is missing" in line
    (copied.run / "manifest.json").unlink()  # as in runs of earlier versions
    answer = program.works("impute", copied.run, **given)
    assert "no errors on new groups" in answer.err


def test_damaged_errors_are_one_line(copied, program, tmp_path):
    path, out = copied.run / "model" / "errors.json", tmp_path / "o.csv"
    path.write_bytes(path.read_bytes()[:200])
    assert "errors.json" in program.fails("impute", copied.run, data=copied.data, out=out)
    assert not out.exists()


def test_fit_says_that_few_holes_give_no_intervals_to_rely_on(example, program, tmp_path):
    options = ("fit", "corelogs/default", *TINY)
    answer = program.works(*options, data=example.data, out=tmp_path / "run")
    # The hole has no colours.
    line = "calibrated on 0 to 1 validation groups, too few to hold at 90 %: that takes 9"
    assert line in " ".join(answer.err.split())
