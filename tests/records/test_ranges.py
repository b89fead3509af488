"""Logs in another unit than they seem: refused or named, without false alarms."""

import warnings

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning
from variolite.records import FittedSchema, Schema, read_table, split_groups

SCHEMA = Schema.from_yaml(
    """
columns:
  sonic: {unit: us/ft, valid: [20, 400], missing: mask}
  density: {unit: g/cm3, valid: [0.3, 5], missing: mask}
  porosity: {unit: v/v, missing: mask}
  resistivity: {unit: ohm.m, transform: [log, standardise], missing: mask}
  gamma: {missing: mask}
  well: {role: group}
"""
)
N, WELLS = 60, 6


def table(**changes):
    rng = np.random.default_rng(0)
    size = N * WELLS
    frame = pl.DataFrame(
        {
            "sonic": rng.normal(85, 10, size),
            "density": rng.normal(2.35, 0.1, size),
            "porosity": rng.uniform(0.1, 0.35, size),
            "resistivity": rng.lognormal(1.2, 1.0, size),
            "gamma": rng.normal(70, 20, size),
            "well": np.repeat([f"W{i}" for i in range(WELLS)], N),
        }
    )
    return frame.with_columns(**changes)


FITTED = FittedSchema.fit(SCHEMA, table())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sonic": pl.col("sonic") / 0.3048}, "'sonic'.*100%.*us/ft, and look like us/m"),
        # Out of the valid range as well.
        ({"density": pl.col("density") * 1000}, "'density'.* look like kg/m3"),
        ({"porosity": pl.col("porosity") * 100}, "'porosity'.* look like %"),
        ({"resistivity": pl.col("resistivity").log10()}, "'resistivity'.* look like logarithms"),
        (
            {"gamma": pl.col("gamma") * 10},
            r"'gamma'.* are outside the training range, [^,]*\. Conv",
        ),
    ],
)
def test_most_values_out_of_the_training_range_are_refused(change, says):
    one = table(**change).filter(pl.col("well") == "W0")
    with pytest.raises(DataError, match=says):
        FITTED.apply(one, accept_range=False)
    assert len(FITTED.apply(one)) == N


def test_one_well_of_many_is_found_where_a_unit_explains_it():
    first = pl.col("well") == "W1"
    sonic = pl.when(first).then(pl.col("sonic") / 0.3048).otherwise("sonic")
    with pytest.raises(DataError, match=r"'sonic'.* of W1 .*look like us/m"):
        FITTED.apply(table(sonic=sonic), accept_range=False)
    some = pl.col("well").is_in(["W1", "W4"])
    for frame in (table(sonic=pl.when(some).then(pl.col("sonic") / 0.3048).otherwise("sonic")),):
        with pytest.raises(DataError, match=r"'sonic'.* of W1, W4 .*look like us/m"):
            FITTED.apply(frame, accept_range=False)
    # Without an explanation a well may be as it is, as may all wells that differ a little.
    gamma = pl.when(first).then(pl.col("gamma") * 10).otherwise("gamma")
    assert len(FITTED.apply(table(gamma=gamma), accept_range=False)) == N * WELLS
    assert len(FITTED.apply(table(gamma=pl.col("gamma") + 60), accept_range=False)) == N * WELLS
    assert len(FITTED.apply(table().head(9), accept_range=False)) == 9
    # An older model knows no range.
    old = FITTED.to_dict()
    for fit in old["numeric"].values():
        del fit["usual"]
    shifted = table(gamma=pl.col("gamma") * 10)
    assert len(FittedSchema.from_dict(old).apply(shifted, accept_range=False)) == N * WELLS


def test_training_on_another_unit_names_it():
    with pytest.raises(DataError, match=r"'density'.* outside the valid range, .* like kg/m3"):
        FittedSchema.fit(SCHEMA, table(density=pl.col("density") * 1000))


@pytest.mark.parametrize(
    ("column", "factor", "unit"), [("sonic", 1 / 0.3048, "us/m"), ("porosity", 100, "%")]
)
def test_wells_unlike_the_others_by_a_factor_are_named(column, factor, unit):
    some = pl.col("well").is_in(["W1", "W4"])
    changed = pl.when(some).then(pl.col(column) * factor).otherwise(column)
    says = f"'{column}': the medians of 2 of 6 groups .* as between {unit} and .*: W1, W4"
    with pytest.warns(DataWarning, match=says):
        FittedSchema.fit(SCHEMA, table(**{column: changed}))
    # No unit explains that wells differ twofold, or that every well is another.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        double = pl.when(some).then(pl.col(column) * 2).otherwise(column)
        FittedSchema.fit(SCHEMA, table(**{column: double}))
        each = pl.Series(np.repeat(np.linspace(1, factor, WELLS), N))
        FittedSchema.fit(SCHEMA, table(gamma=pl.col("gamma") * each))


@pytest.mark.parametrize(
    ("path", "group", "columns"),
    [
        ("force2020/wells.parquet", "WELL",
         {"GR": "gAPI", "RHOB": "g/cm3", "NPHI": "m3/m3", "DTC": "us/ft", "RDEP": "ohm.m",
          "PEF": "b/e"}),
        ("kgs_panoma/panoma_wells.csv", "Well Name",
         {"GR": "gAPI", "ILD": "ohm.m", "DeltaPHI": "%", "PHIND": "%", "PE": "b/e"}),
    ],
)  # fmt: skip
def test_real_wells_give_no_alarm(shared_data, path, group, columns):
    frame = read_table(shared_data / "corelogs" / path)
    spec = {name: {"unit": unit, "missing": "mask"} for name, unit in columns.items()}
    schema = Schema.from_dict({"columns": {**spec, group: {"role": "group"}}})
    names = frame[group].to_numpy().astype(str)
    for seed in range(2):
        rows = split_groups(names, test=0.3, validation=0.15, seed=seed).rows(names)
        fitted = FittedSchema.fit(schema, frame, rows["train"])
        assert len(fitted.apply(frame[rows["test"]], accept_range=False)) > 0
