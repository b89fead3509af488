"""Samples of several instruments, paired one to one with the nearest."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs import bin_tables, instrument_table, simulate_cores, write_instrument_tables
from variolite.corelogs.binning import pair_nearest
from variolite.errors import DataError


def brute_force(first, other, reach):
    """Go through all pairs of (hole, bin), the closest first, and take those still free."""
    every = [
        (abs(b - a), b - a, hole, a, b)
        for hole, a in first
        for there, b in other
        if there == hole and abs(b - a) <= reach
    ]
    taken, pairs = set(), set()
    for _, _, hole, a, b in sorted(every):
        if not taken & {("first", hole, a), ("other", hole, b)}:
            taken |= {("first", hole, a), ("other", hole, b)}
            pairs.add((hole, a, b))
    return pairs


def frame(keys):
    return pl.DataFrame(sorted(keys), schema={"hole": pl.String, "bin": pl.Int32}, orient="row")


KEYS = st.sets(st.tuples(st.sampled_from("AB"), st.integers(-20, 20)), max_size=25)


@given(first=KEYS, other=KEYS, reach=st.integers(0, 6))
def test_pairs_are_those_of_a_search_through_all(first, other, reach):
    found = pair_nearest(frame(first), frame(other), reach)
    assert set(found.rows()) == brute_force(first, other, reach)
    assert not found.select("hole", "bin").is_duplicated().any()
    assert not found.select("hole", "other").is_duplicated().any()


@pytest.fixture(scope="module")
def cores():
    return simulate_cores(5, 60, seed=4, more=("MAD", "PWC", "TCON"))


@pytest.fixture(scope="module")
def tables(cores, tmp_path_factory):
    paths = write_instrument_tables(cores, tmp_path_factory.mktemp("samples"))
    return {code: paths[code] for code in ("MAD", "PWC", "TCON")}


def bins_of(path, tolerance=None):
    alone = bin_tables([path], spacing=0.01).table
    return {(row["hole"], row["bin"]): row for row in alone.to_dicts()}


@pytest.mark.parametrize("tolerance", [None, 0.12])
def test_samples_of_three_instruments_meet_once_each(tables, tolerance):
    options = {} if tolerance is None else {"tolerance": tolerance}
    paired = bin_tables([*tables.values()], join="nearest", **options)
    reach = round((tolerance or 0.05) / 0.01)
    mad, pwc, tcon = (bins_of(path) for path in tables.values())
    one = {(hole, a): b for hole, a, b in brute_force(mad, pwc, reach)}
    two = {(hole, a): b for hole, a, b in brute_force(one, tcon, reach)}
    rows = {(row["hole"], row["bin"]): row for row in paired.table.to_dicts()}
    assert rows.keys() == two.keys()
    assert len(rows) > (10 if tolerance is None else 40)
    for (hole, a), row in rows.items():
        assert row["porosity"] == mad[hole, a]["porosity"]
        assert row["lithology"] == mad[hole, a]["lithology"]
        assert row["p_wave_velocity"] == pwc[hole, one[hole, a]]["p_wave_velocity"]
        assert row["thermal_conductivity"] == tcon[hole, two[hole, a]]["thermal_conductivity"]
    first, second = paired.report.joins
    assert (first.left, first.right, first.matched) == (len(mad), len(pwc), len(one))
    assert (second.left, second.right, second.matched) == (len(one), len(tcon), len(two))
    left = f"{len(mad) - len(one)} before and {len(pwc) - len(one)} of it left"
    line = f"+ PWC: {len(one)} paired within {tolerance or 0.05:g} m, {left}"
    assert line in paired.report.lines()


def test_the_label_may_be_that_of_a_later_instrument(tables, tmp_path):
    bare = tmp_path / "MAD.csv"
    pl.read_csv(tables["MAD"], infer_schema=False).drop("Principal").write_csv(bare)
    paired = bin_tables([bare, tables["PWC"]], join="nearest").table
    pwc = bins_of(tables["PWC"])
    pairs = brute_force(bins_of(bare), pwc, 5)
    labels = {(hole, a): pwc[hole, b]["lithology"] for hole, a, b in pairs}
    found = dict(zip(paired.select("hole", "bin").rows(), paired["lithology"], strict=True))
    assert found == labels


def test_repeated_samples_are_averaged_and_do_not_multiply(tables, tmp_path):
    again = pl.read_csv(tables["PWC"], infer_schema=False)
    more = again.with_columns(
        pl.col("P-wave velocity x (m/s)").cast(pl.Float64) + 10, pl.col("Test No.") + "1"
    )
    double = tmp_path / "PWC.csv"
    pl.concat([again, more.cast(pl.String)]).write_csv(double)
    once, twice = (
        bin_tables([tables["MAD"], path], join="nearest").table for path in (tables["PWC"], double)
    )
    assert once.select("hole", "bin").equals(twice.select("hole", "bin"))
    np.testing.assert_allclose(twice["p_wave_velocity"], once["p_wave_velocity"] + 5)
    assert (twice["p_wave_velocity_count"] == 2 * once["p_wave_velocity_count"]).all()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"join": "inner", "tolerance": 0.1}, "is for join='nearest'"),
        ({"join": "nearest", "tolerance": 0.001}, "0.001 m with bins of 0.01 m"),
        ({"join": "nearest", "tolerance": 5.0}, "5.0 m with bins"),
    ],
)
def test_tolerances_that_make_no_sense_are_refused(tables, options, what):
    with pytest.raises(DataError, match=what):
        bin_tables([*tables.values()], **options)


def test_samples_know_the_factors(cores):
    """Recompute what the samples should read from porosity and grain density alone."""
    mad = instrument_table(cores, "MAD")
    porosity, grain, water, bulk = (
        mad[name].fill_null(np.nan).to_numpy()
        for name in (
            *("Porosity (vol%)", "Grain density (g/cm^3)"),
            *("Moisture wet (wt%)", "Bulk density (g/cm^3)"),
        )
    )
    good = (porosity > 0) & np.isfinite(porosity)
    mixed = porosity / 100 * 1.024 + (1 - porosity / 100) * grain
    assert np.abs(bulk - mixed)[good].max() < 0.25
    assert np.median(np.abs(bulk - mixed)[good]) < 0.04
    assert np.median(np.abs(water - porosity * 1.024 / mixed)[good]) < 1.5
