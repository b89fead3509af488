import math
import os
import subprocess
import sys
from functools import reduce

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from variolite.corelogs import OUTLIER_RULES, OutlierRule, bin_tables
from variolite.corelogs.accumulation import merge_moments, spread
from variolite.corelogs.binning import label_bins
from variolite.corelogs.simulate import simulate_cores, write_instrument_tables
from variolite.errors import DataError, DataWarning

LABEL = ["lithology", "lithology_purity", "lithology_second"]
VALUES = {
    "GRA": {"Bulk density (GRA)": "bulk_density"},
    "MS": {"Magnetic susceptibility (instr. units)": "magnetic_susceptibility"},
    "NGR": {"NGR total counts (cps)": "natural_gamma"},
    "RGB": {"R": "red", "G": "green", "B": "blue"},
}


def reference_bins(path, code, ranges, spacing):
    """Bins of one table by a slow reading of the rule, indexed by (hole, bin), with its labels."""
    names = list(VALUES[code].values())
    frame = pd.read_csv(path, dtype={"Exp": str, "Site": str, "Hole": str}, low_memory=False)
    frame = frame.rename(columns=VALUES[code])
    frame["hole"] = frame["Exp"] + "-" + frame["Site"] + frame["Hole"]
    frame = frame.dropna(subset=["Depth CSF-A (m)", "Principal", *names])
    for name in names:
        frame = frame[frame[name].between(*ranges.get(name, (-np.inf, np.inf)))]
    frame["bin"] = (frame["Depth CSF-A (m)"] / spacing).round().astype(int)
    rows = {}
    for key, group in frame.groupby(["hole", "bin"]):
        counts = group["Principal"].value_counts()
        ranked = [*sorted(counts.index, key=lambda name: (-counts[name], name)), None]
        purity = counts.max() / counts.sum()
        rows[key] = dict(zip(LABEL, (ranked[0], purity, ranked[1]), strict=True))
        for name in names:
            mean = sum(group[name]) / len(group)
            rows[key] |= {name: mean, f"{name}_count": len(group), f"{name}_sd": group[name].std()}
    return pd.DataFrame.from_dict(rows, orient="index")


def reference_join(tables, how, label_from=0):
    """Join the bins of all tables on (hole, bin), with the label of one of them."""
    first, *others = (table.drop(columns=LABEL) for table in tables)
    joined = reduce(lambda left, right: left.join(right, how=how), others, first)
    return joined.join(tables[label_from][LABEL], how="left").sort_index()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    cores = simulate_cores(4, 25, seed=3, camera_everywhere=True)
    return list(write_instrument_tables(cores, tmp_path_factory.mktemp("simulated")).values())


@pytest.fixture(scope="module")
def references(paths):
    rules = {"plausible": OUTLIER_RULES["plausible"].ranges, "none": {}}
    tables = list(zip(paths, VALUES, strict=True))
    return {
        name: [reference_bins(*table, ranges, 0.2) for table in tables]
        for name, ranges in rules.items()
    }


def assert_same(ours, slow):
    keys = list(zip(ours["hole"], ours["bin"], strict=True))
    assert keys == list(slow.index)
    for name in slow.columns:
        column = ours[name]
        if column.dtype == pl.String:
            assert column.to_list() == [None if pd.isna(v) else v for v in slow[name]]
        else:
            expected = slow[name].astype(float).fillna(0.0 if name.endswith("_count") else np.nan)
            found = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("join", ["inner", "outer"])
@pytest.mark.parametrize("rule", ["plausible", "none"])
def test_bins_equal_a_slow_reference_with_the_label_of_any_instrument(
    paths, references, join, rule
):
    binned = bin_tables(paths, join=join, outliers=rule)
    assert_same(binned.table, reference_join(references[rule], join))
    if (join, rule) == ("inner", "plausible"):
        binned = bin_tables(paths, label_source="NGR")
        assert_same(binned.table, reference_join(references[rule], join, label_from=2))
        assert binned.report.label_source == "NGR"


def test_the_published_rule_for_bins_drops_bins_and_not_readings(paths, references):
    binned = bin_tables(paths, outliers="lily_v2")
    slow = reference_join(references["none"], "inner")
    in_range = slow["bulk_density"].between(0.3, 4.0)
    colours = slow[["red", "green", "blue"]].apply(pd.Series.between, args=(0, 255))
    kept = slow[in_range & colours.all(axis=1)]
    assert_same(binned.table, kept)
    assert binned.report.outlier_bins == len(slow) - len(kept)


def test_order_of_files_and_a_table_in_parts_change_nothing(paths, tmp_path):
    gra, ms, ngr, rgb = paths
    table = pl.read_csv(ms, infer_schema=False)
    parts = [tmp_path / "first.csv", tmp_path / "second.parquet"]
    table[::2].write_csv(parts[0])
    # The same holes in another format: parquet with numbers, whole names for the hole.
    second = table[1::2].with_columns(
        pl.col("Depth CSF-A (m)", "Magnetic susceptibility (instr. units)").cast(pl.Float64),
        pl.concat_str("Exp", pl.lit("_"), "Site", pl.lit("_"), "Hole").alias("Borehole_ID"),
    )
    second.drop("Exp", "Site", "Hole").write_parquet(parts[1])
    mixed = bin_tables([rgb, *parts, ngr, gra])
    assert_frame_equal(bin_tables(paths).table, mixed.table, rel_tol=1e-9, abs_tol=1e-9)
    assert [t.instrument for t in mixed.report.tables] == ["GRA", "MS", "MS", "NGR", "RGB"]


def test_every_row_is_accounted_for_as_the_tables_are_read(paths):
    seen, loose = [], bin_tables(paths)
    strict = bin_tables(paths, min_purity=0.9, progress=lambda *args: seen.append(args))
    report = strict.report
    for counts, path in zip(report.tables, paths, strict=True):
        frame = pd.read_csv(path, low_memory=False)
        left_out = counts.missing_depth + counts.missing_label + counts.missing_value
        assert counts.rows == len(frame) == left_out + counts.out_of_range + counts.used
        assert counts.missing_label == frame["Principal"].isna().sum() > 0
    assert report.tables[0].missing_value > 0
    assert report.tables[0].out_of_range > 0
    text = "\n".join(report.lines())
    for part in (f"{report.bins:,} bins of 0.2 m", "without lithology", "not pure enough"):
        assert part in text
    # A label that is not pure enough is withdrawn, but the bin stays.
    assert len(strict.table) == len(loose.table)
    lost = (loose.table["lithology_purity"] < 0.9).sum()
    assert report.impure_bins == report.unlabelled_bins == lost > 0
    assert strict.table["lithology"].null_count() == lost
    done, total, names = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert (done[0], done[-1]) == (0, total[-1]) == (0, sum(path.stat().st_size for path in paths))
    assert list(names[:-1]) == [path.name for path in paths]


PLACE = "Exp,Site,Hole,Depth CSF-A (m),"
SUSCEPTIBILITY = "Magnetic susceptibility (instr. units),Principal"


def reading(depth, value=1.5, label="clay", hole="A"):
    return f"318,U1355,{hole},{depth},{value},{label}\n"


def write(path, *rows, header=PLACE + "Bulk density (GRA),Principal"):
    path.write_text(header + "\n" + "".join(rows), encoding="utf-8")
    return path


def binned_rows(folder, *rows, values="Bulk density (GRA)", **options):
    path = write(folder / "table.csv", *rows, header=f"{PLACE}{values},Principal")
    return bin_tables([path], **options)


def joined(folder, gra, ms, **options):
    density = write(folder / "gra.csv", *map(reading, gra))
    lines = (f"318,{site},A,{depth},9,clay\n" for site, depth in ms)
    other = write(folder / "ms.csv", *lines, header=PLACE + SUSCEPTIBILITY)
    return bin_tables([density, other], **options)


def test_a_bin_is_centred_on_its_index_and_ties_go_to_the_even_bin(tmp_path):
    depths = [0.0, 0.0999, 0.1, 0.1001, 0.29, 0.3, 0.5, 0.7, -0.1, -0.3001]
    rows = (reading(d, 1.0 + i) for i, d in enumerate(depths))
    table = binned_rows(tmp_path, *rows, outliers="none").table
    expected = np.unique(np.round(np.array(depths) / 0.2))
    assert table["bin"].to_list() == expected.astype(int).tolist()
    np.testing.assert_allclose(table["depth"], expected * 0.2)
    # 0.1 / 0.2 is a half and goes to bin 0; 0.3 / 0.2 and 0.7 / 0.2 are just below a half.
    assert table["bulk_density_count"].to_list() == [1, 4, 3, 1, 1]


def test_bins_are_those_of_true_division(tmp_path):
    depths = np.arange(0, 20_000) / 100
    table = binned_rows(tmp_path, *map(reading, depths)).table
    index, count = np.unique(np.round(depths / 0.2).astype(int), return_counts=True)
    assert table["bin"].to_list() == index.tolist()
    assert table["bulk_density_count"].to_list() == count.tolist()
    assert (np.round(depths * (1 / 0.2)) != np.round(depths / 0.2)).any(), "the test has no teeth"


SPACINGS = st.sampled_from([0.05, 0.1, 0.2, 0.25, 1.0])


@given(st.lists(st.floats(0, 500), min_size=1, max_size=40, unique=True), SPACINGS)
def test_every_reading_lies_in_its_bin(tmp_path_factory, depths, spacing):
    folder = tmp_path_factory.mktemp("bins")
    table = binned_rows(folder, *map(reading, depths), spacing=spacing).table
    assert table["bulk_density_count"].sum() == len(depths)
    off = np.abs(np.array(depths)[:, None] - table["depth"].to_numpy()).min(axis=1)
    assert off.max() <= spacing / 2 * (1 + 1e-9)


def test_gaps_and_spreads_stay_visible(tmp_path):
    # Bins 0 1 2, a gap of three bins, 6 7; then another hole.
    rows = [reading(d) for d in (0.0, 0.2, 0.4, 1.2, 1.4, 1.41)] + [reading(3.0, hole="B")]
    table = binned_rows(tmp_path, *rows).table
    assert table["bin"].to_list() == [0, 1, 2, 6, 7, 15]
    gaps = table["gap_above"].to_list()
    assert gaps[0] is gaps[5] is None
    np.testing.assert_allclose(gaps[1:5], [0.0, 0.0, 0.6, 0.0])
    np.testing.assert_allclose(table["gap_distance"], [0.1, 0.3, 0.1, 0.1, 0.1, 0.1])
    # That of a single reading is missing; a constant has none.
    assert table["bulk_density_count"].to_list() == [1, 1, 1, 1, 2, 1]
    assert table["bulk_density_sd"].to_list() == [None, None, None, None, 0.0, None]


def test_purity_second_label_and_ties():
    label = ["sand", "clay", "sand", "sand", "clay", "clay", None]
    counts = pl.DataFrame({"hole": "A", "bin": [0, 0, 0, 1, 1, 2, 2], "label": label})
    counts = counts.with_columns(used=pl.Series([2, 3, 2, 1, 1, 4, 6]))
    table = label_bins(counts, min_purity=0.55).sort("bin")
    assert table["lithology"].to_list() == ["sand", None, "clay"]
    np.testing.assert_allclose(table["lithology_purity"], [4 / 7, 0.5, 1.0])
    assert table["lithology_second"].to_list() == ["clay", "sand", None]
    assert table["impure"].to_list() == [False, True, False]
    assert label_bins(counts).sort("bin")["lithology"].to_list() == ["sand", "clay", "clay"]


def test_readings_without_description_may_stay(tmp_path):
    rows = reading(1.0, 1.5), reading(1.0, 1.7, ""), reading(2.0, 1.6, "")
    dropped, kept = (binned_rows(tmp_path, *rows, unlabelled=x) for x in ("drop", "keep"))
    assert dropped.table["bulk_density"].to_list() == [1.5]
    assert dropped.report.tables[0].missing_label == 2
    np.testing.assert_allclose(kept.table["bulk_density"], [1.6, 1.6])
    assert kept.table["lithology"].to_list() == ["clay", None]
    assert kept.report.unlabelled_bins == 1


def test_a_rule_of_ones_own_applies(tmp_path):
    rows = reading(1.0, 1.5), reading(1.0, 1.9), reading(2.0, 5.0)
    rule = OutlierRule("mine", {"bulk_density": (1.0, 1.6)})
    binned = binned_rows(tmp_path, *rows, outliers=rule)
    assert binned.table["bulk_density"].to_list() == [1.5]
    assert (binned.report.tables[0].out_of_range, binned.report.outliers) == (2, "mine")


def test_a_pixel_with_one_bad_channel_is_bad_in_all_and_samples_are_not(tmp_path):
    rows = [f"318,U1355,A,1.0,{c},clay\n" for c in ("10,20,30", "50,,70", "50,300,70")]
    binned = binned_rows(tmp_path, *rows, values="R,G,B")
    assert binned.table.select("red", "green", "blue").row(0) == (10.0, 20.0, 30.0)
    counts = binned.report.tables[0]
    assert (counts.missing_value, counts.out_of_range, counts.used) == (1, 1, 1)
    rows = [f"318,U1355,A,1.0,{values},clay\n" for values in ("60,,30", "-130,2.7,40")]
    headers = "Porosity (vol%),Grain density (g/cm^3),Moisture wet (wt%)"
    table = binned_rows(tmp_path, *rows, values=headers).table
    assert table.select("porosity", "grain_density", "water_content").row(0) == (60.0, 2.7, 35.0)
    assert table.select("^.*_count$").row(0) == (1, 1, 2)


def test_the_first_velocity_that_is_not_missing_is_taken(tmp_path):
    headers = (f"P-wave velocity {axis} (m/s)" for axis in ("x", "y", "z", "unknown"))
    values = ("1600,1700,,", ",1700,1800,", "1600,,,1500", ",,,")
    rows = (f"318,U1355,A,{i + 1}.0,{value},clay\n" for i, value in enumerate(values))
    binned = binned_rows(tmp_path, *rows, values=",".join(headers))
    assert binned.table["p_wave_velocity"].to_list() == [1600.0, 1700.0, 1500.0]
    assert binned.report.tables[0].missing_value == 1


def test_holes_written_in_other_ways_join_and_are_one_within_a_table(tmp_path):
    rows = "318_U1355_A,1.05,12,clay\n318-U1355A,1.0,14,clay\n318-U1355-A,1.0,19,clay\n"
    header = "Borehole_ID,Depth CSF-A (m)," + SUSCEPTIBILITY
    ms = write(tmp_path / "ms.csv", rows, header=header)
    binned = bin_tables([write(tmp_path / "gra.csv", reading(1.0)), ms])
    assert binned.report.joins[0].rate == 1.0
    assert binned.table.height == 1
    values = binned.table.select("^magnetic_susceptibility.*$").row(0)
    assert values == pytest.approx((15.0, 3, np.std([12, 14, 19], ddof=1)))


def test_an_outer_join_has_nulls_and_can_take_labels_from_all(tmp_path):
    ms = [("U1355", 2.0), ("U1355", 3.0)]
    first = joined(tmp_path, [1.0, 2.0], ms, join="outer").table
    every = joined(tmp_path, [1.0, 2.0], ms, join="outer", label_source="all").table
    assert every["lithology"].to_list() == ["clay", "clay", "clay"]
    names = ["lithology", "bulk_density", "bulk_density_count", "magnetic_susceptibility_count"]
    expected = [("clay", 1.5, 1, 0), ("clay", 1.5, 1, 1), (None, None, 0, 1)]
    assert first.select(names).rows() == expected
    assert first["site"].to_list() == ["U1355"] * 3


@pytest.mark.parametrize("join", ["inner", "outer", "nearest"])
def test_a_join_that_matches_nothing_is_an_error_and_a_poor_match_may_be_allowed(tmp_path, join):
    for site, depth, reason in (("U1356", 1.0, "no hole is common"), ("U1355", 90.0, "depths")):
        with pytest.raises(DataError, match=reason):
            joined(tmp_path, [1.0], [(site, depth)], join=join)
    gra = [float(i) for i in range(300)]
    ms = [("U1355", 5.0), *(("U1355", 1000.0 + i) for i in range(299))]
    with pytest.raises(DataError, match=r"1 of 300 bins match \(0.33%\)"):
        joined(tmp_path, gra, ms, join=join)
    bins = {"inner": 1, "outer": 599, "nearest": 1}[join]
    assert len(joined(tmp_path, gra, ms, min_match=0.0, join=join).table) == bins


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"spacing": 0.0}, "a bin of 0"),
        ({"spacing": math.inf}, "a bin of inf"),
        ({"spacing": 9e-5}, r"a bin of 9e-05 m. Give a width from 0.0001 to 1000 m"),
        ({"spacing": 1001.0}, "a bin of 1001 m"),
        ({"join": "left"}, "join: unknown choice 'left'"),
        ({"unlabelled": "maybe"}, "unlabelled: unknown choice"),
        ({"min_purity": 2.0}, "a purity"),
        ({"label_source": "XYZ"}, "not among the tables"),
        ({"outliers": "plausable"}, "Did you mean 'plausible'"),
        ({"outliers": OutlierRule("bad", {"bulk_density": (2.0, 1.0)})}, "is empty"),
        ({"paths": []}, "no tables"),
        ({"paths": ["gra.csv", "./gra.csv"]}, "given twice"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, what):
    path = write(tmp_path / "gra.csv", reading(1.0))
    with pytest.raises(DataError, match=what):
        bin_tables(**{"paths": [path]} | options)


def test_a_real_table_is_binned(shared_data):
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    binned = bin_tables([path])
    counts = binned.report.tables[0]
    assert (counts.instrument, counts.rows, counts.holes) == ("AVS", 2486, 92)
    frame = pd.read_csv(path, dtype={"Exp": str})
    key = [frame["Exp"], frame["Site"], frame["Hole"]]
    index = (frame["Depth CSF-A (m)"] / 0.2).round().astype(int)
    means = frame["Vane shear strength (kN/m^2)"].groupby([*key, index]).mean()
    assert len(means) == len(binned.table)
    np.testing.assert_allclose(means.to_numpy(), binned.table["shear_strength"].to_numpy())


values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8)
MOMENTS = ["hole", "bin", "x", "x_count", "x_m2"]


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from([0.0, 1e6]))
def test_merged_parts_have_the_moments_of_the_whole(parts, offset):
    shifted = [np.array(part) + offset for part in parts]
    moments = [("A", 7, p.mean(), len(p), ((p - p.mean()) ** 2).sum()) for p in shifted]
    merged = merge_moments(pl.DataFrame(moments, schema=MOMENTS, orient="row"))
    whole = np.concatenate(shifted)
    assert merged["x_count"].to_list() == [len(whole)]
    np.testing.assert_allclose(merged["x"][0], whole.mean(), rtol=1e-12, atol=1e-9)
    found = merged.select(spread("x")).item()
    spread_of_whole = pytest.approx(whole.std(ddof=min(1, len(whole) - 1)), rel=1e-6, abs=1e-6)
    assert found == (None if len(whole) == 1 else spread_of_whole)


def test_constants_far_from_zero_and_absent_channels_merge():
    absent = (0, None, 0, None)
    rows = [("A", *absent), ("A", 0, 2.0, 4, 8.0), ("B", *absent), ("B", *absent)]
    rows += [("C", 0, 1e7, 5, 0.0), ("C", 0, 1e7, 9, 0.0)]
    partial = pl.DataFrame(rows, schema=MOMENTS, orient="row")
    merged = merge_moments(partial).sort("hole").with_columns(spread("x"))
    assert merged["x"].to_list() == [2.0, None, 1e7]
    assert merged["x_count"].to_list() == [4, 0, 14]
    assert merged["x_sd"].to_list() == [pytest.approx(np.sqrt(8 / 3)), None, 0.0]


def test_what_is_in_several_batches_is_summed_up_as_a_whole(paths, monkeypatch):
    whole = bin_tables(paths).table
    monkeypatch.setattr("variolite.corelogs.accumulation._BATCH", 7)
    assert_frame_equal(bin_tables(paths).table, whole, rel_tol=1e-12)


def test_a_mark_beyond_all_numbers_is_no_reading(tmp_path):
    rows = reading(1.0, 1.5), reading(1.0, 1e30), reading(1.0, "inf"), reading(1.0, -9999)
    counts = binned_rows(tmp_path, *rows, outliers="none").report.tables[0]
    assert (counts.missing_value, counts.used) == (2, 2)


def test_repeated_rows_count_once_and_repeated_measurements_do_not(tmp_path):
    header = f"{PLACE}Bulk density (GRA),Principal,Test No."
    rows = ["318,U1355,A,1.0,1.5,clay,1\n", "318,U1355,A,1.05,1.9,clay,2\n"]
    # Of the same depth and value, but another measurement; and one that is left out.
    again, lacking = "318,U1355,A,1.0,1.5,clay,3\n", "318,U1355,A,1.05,,clay,4\n"
    path = write(
        tmp_path / "gra.csv", *rows, again, *rows, rows[0], lacking, lacking, header=header
    )
    binned = bin_tables([path])
    counts = binned.report.tables[0]
    assert (counts.rows, counts.repeated, counts.missing_value, counts.used) == (8, 4, 1, 3)
    found = binned.table.select("bulk_density", "bulk_density_count").row(0)
    assert found == pytest.approx((4.9 / 3, 3))
    assert "repeated rows, counted once: 4" in "\n".join(binned.report.lines())
    parquet = tmp_path / "gra.parquet"
    pl.read_csv(path).write_parquet(parquet)
    assert_frame_equal(bin_tables([parquet]).table, binned.table)
    # Text among the numbers is read in another way.
    path.write_text(path.read_text() + "318,U1355,A,9.0,<1,clay,5\n" * 2)
    lenient = bin_tables([path])
    assert (lenient.report.tables[0].repeated, lenient.report.tables[0].unreadable) == (5, 1)
    assert_frame_equal(lenient.table, binned.table)


def test_a_table_given_under_two_names_counts_once(tmp_path):
    rows = [reading(d / 4, 1.5 + d / 100) for d in range(40)]
    whole = write(tmp_path / "whole.csv", *rows)
    copy = write(tmp_path / "copy.csv", *rows[20:])
    with pytest.warns(DataWarning, match="whole.csv, copy.csv: 20 of their bins are the same"):
        both = bin_tables([whole, copy])
    assert_frame_equal(both.table, bin_tables([whole]).table)


def test_the_bytes_are_the_same_whatever_the_threads(paths, tmp_path):
    code = (
        "import sys; from variolite.corelogs import bin_tables; from variolite.records import "
        "write_table; *given, out = sys.argv[1:]; write_table(bin_tables(given).table, out)"
    )
    for ending in ("parquet", "csv"):
        written = set()
        for threads, order in ((1, 1), (2, -1), (7, 1)):
            out = tmp_path / f"{threads}.{ending}"
            command = [sys.executable, "-c", code, *map(str, paths[::order]), str(out)]
            environment = os.environ | {"POLARS_MAX_THREADS": str(threads)}
            subprocess.run(command, check=True, env=environment)
            written.add(out.read_bytes())
        assert len(written) == 1
