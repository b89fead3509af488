from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from variolite.corelogs import (
    FACTORS,
    SimulatedCores,
    bin_tables,
    holes_from_text,
    instrument_table,
    simulate_cores,
    write_instrument_tables,
)
from variolite.corelogs.simulated_cores import (
    _autoregression,
    _blur,
    _transitions,
    channels_of,
    lithologies,
    numbers,
    setting_weights,
)
from variolite.errors import DataError

# Mean and standard deviation of 238,506 real bins; 80 holes scatter about them.
PUBLISHED = {
    "bulk_density": (1.696, 0.247),
    "magnetic_susceptibility": (81.2, 256.0),
    "natural_gamma": (28.36, 19.58),
    "red": (73.3, 46.3),
    "green": (71.3, 45.6),
    "blue": (63.5, 41.5),
}


@pytest.fixture(scope="module")
def cores() -> SimulatedCores:
    return simulate_cores(80, 60, seed=1)


@pytest.fixture(scope="module")
def binned(cores: SimulatedCores, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    paths = write_instrument_tables(cores, tmp_path_factory.mktemp("simulated"))
    return bin_tables(list(paths.values())).table


def test_equal_seeds_give_equal_cores_and_others_do_not() -> None:
    first, again, other = (simulate_cores(3, 20, seed=s) for s in (5, 5, 6))
    for code in first.readings:
        assert_frame_equal(first.reading_table(code), again.reading_table(code))
        assert not first.reading_table(code).equals(other.reading_table(code))


def test_names_are_those_of_holes_and_one_expedition_is_no_number(cores: SimulatedCores) -> None:
    names = cores.holes["name"]
    assert len(set(names)) == 80
    assert holes_from_text(pl.Series(names))["hole"].to_list() == names.tolist()
    assert "903T" in cores.holes["expedition"]


def test_holes_have_the_length_asked_for(cores: SimulatedCores) -> None:
    length = cores.holes["bottom"] - cores.holes["top"]
    np.testing.assert_allclose(length.mean(), 60, atol=0.1)
    assert length.min() > 40
    assert length.max() < 85


def test_beds_fill_their_hole_without_gap(cores: SimulatedCores) -> None:
    beds = cores.bed_table()
    for name, top, bottom in zip(
        cores.holes["name"], cores.holes["top"], cores.holes["bottom"], strict=True
    ):
        own = beds.filter(pl.col("hole") == name)
        np.testing.assert_allclose(own["top"][0], top)
        np.testing.assert_allclose(own["bottom"][-1], bottom)
        np.testing.assert_allclose(own["top"][1:], own["bottom"][:-1])
        assert (own["bottom"] > own["top"]).all()


def test_the_chain_of_beds_keeps_the_shares_and_prefers_neighbours() -> None:
    thickness, names = numbers("thickness"), lithologies()["name"].to_list()
    for weights in setting_weights().values():
        share, follows = _transitions(weights)
        step = np.diff(follows, axis=1, prepend=0.0)
        flow = share / thickness
        # Stationary: as many beds of each kind end as begin.
        np.testing.assert_allclose(flow @ step, flow, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(step.sum(axis=1)[share > 0], 1.0, rtol=1e-9)
    _, follows = _transitions(setting_weights()["fan"])
    step = np.diff(follows, axis=1, prepend=0.0)
    silt, sandy_silt, clay = names.index("silt"), names.index("sandy silt"), names.index("clay")
    share = setting_weights()["fan"] / thickness
    assert step[silt, sandy_silt] / share[sandy_silt] > 2 * step[silt, clay] / share[clay]


def test_settings_share_out_all_core() -> None:
    weights = setting_weights()
    assert sum(w.sum() for w in weights.values()) == pytest.approx(1.0)
    for entry in lithologies().iter_rows(named=True):
        assert sum(filter(None, entry["settings"].values())) == pytest.approx(1.0)
        assert set(entry["neighbours"]) <= set(lithologies()["name"])


def test_the_noise_along_a_hole_is_a_first_order_autoregression() -> None:
    noise = _autoregression(np.random.default_rng(0).standard_normal((200_000, 2)), 0.1)
    np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.03)
    for lag in (1, 5, 20):
        found = np.corrcoef(noise[:-lag, 0], noise[lag:, 0])[0, 1]
        assert found == pytest.approx(np.exp(-0.1 * lag), abs=0.03)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05


def test_a_footprint_averages_within_its_own_hole(cores: SimulatedCores) -> None:
    step = np.where(cores.cells["hole"] == 0, 1.0, 0.0)[:, None]
    blurred = _blur(step, cores.cells, 4.0)
    np.testing.assert_allclose(blurred, step, atol=1e-12)
    spike = np.zeros_like(step)
    spike[1000] = 1.0
    blurred = _blur(spike, cores.cells, 4.0)
    np.testing.assert_allclose(blurred.sum(), 1.0)
    spread = np.sqrt((blurred[:, 0] * (np.arange(len(spike)) - 1000) ** 2).sum())
    assert spread == pytest.approx(4.0, rel=0.01)


def test_channels_follow_from_the_factors() -> None:
    # Half pores, no magnetite: the density of water and rock in equal parts.
    quiet = np.array([[0.0, -3.0, np.log(40.0), 0.0]])
    np.testing.assert_allclose(channels_of(quiet, "GRA"), 0.5 * 1.024 + 0.5 * 2.68, atol=1e-6)
    np.testing.assert_allclose(channels_of(quiet, "NGR"), 0.8 + 0.5 * 40.0)
    assert channels_of(quiet, "MS")[0, 0] == pytest.approx(-1.5, abs=1e-3)
    np.testing.assert_allclose(channels_of(quiet, "RGB")[0, 1], 255 * 0.5**1.75)
    denser = quiet - [[1.0, 0, 0, 0]]
    for code in ("GRA", "NGR"):
        assert channels_of(denser, code)[0, 0] > channels_of(quiet, code)[0, 0]


def test_marginal_spread_is_near_the_published_one(binned: pl.DataFrame) -> None:
    for name, (mean, sd) in PUBLISHED.items():
        assert binned[name].mean() == pytest.approx(mean, abs=0.4 * sd), name
        assert binned[name].std() == pytest.approx(sd, rel=0.4), name
    median = binned["magnetic_susceptibility"].median()
    assert isinstance(median, float)
    assert 4 < median < 25  # published 10.96: far below the mean, heavy tail
    assert binned["magnetic_susceptibility"].min() < 0  # type: ignore[operator]


def test_colours_are_nearly_collinear_and_the_rest_is_not(binned: pl.DataFrame) -> None:
    values = binned.select(*PUBLISHED).to_numpy()
    r = np.corrcoef(values.T)
    assert r[3:, 3:].min() > 0.98
    assert np.abs(r[:3, :3] - np.eye(3)).max() < 0.7
    scaled = np.column_stack([values[:, 0], np.log1p(np.abs(values[:, 1:]))])
    scaled = (scaled - scaled.mean(0)) / scaled.std(0)
    share = np.linalg.eigvalsh(np.cov(scaled.T))[::-1].cumsum() / 6
    assert share[3] > 0.97  # four directions hold nearly all
    assert share[1] < 0.9  # two do not


def test_labels_are_long_tailed_and_confused(cores: SimulatedCores, binned: pl.DataFrame) -> None:
    counts = binned["lithology"].value_counts(sort=True)["count"]
    assert counts[0] / counts.sum() > 0.1
    assert counts[-1] / counts.sum() < 0.002
    assert len(counts) > 30
    beds = cores.bed_table()
    confused = beds.filter(pl.col("lithology") != pl.col("described"))
    assert 0.03 < len(confused) / len(beds) < 0.1
    neighbours = dict(lithologies().select("name", "neighbours").iter_rows())
    assert all(row["described"] in neighbours[row["lithology"]] for row in confused.to_dicts())


def test_the_camera_is_missing_in_whole_holes_of_some_lithologies(cores: SimulatedCores) -> None:
    holes = cores.hole_table()
    assert 0.25 < 1 - holes["camera"].mean() < 0.55  # type: ignore[operator]
    seen = set(cores.reading_table("RGB")["hole"])
    assert seen == set(holes.filter("camera")["hole"])
    assert set(cores.reading_table("GRA")["hole"]) == set(holes["hole"])
    beds = cores.bed_table().join(holes.select("hole", "camera"), on="hole")
    thickness = pl.col("bottom") - pl.col("top")
    seen_share = beds.group_by("lithology").agg(
        (thickness * pl.col("camera")).sum() / thickness.sum(), thickness.sum().alias("metres")
    )
    rate = dict(zip(lithologies()["name"], 1 - numbers("no_camera"), strict=True))
    common = seen_share.sort("metres", descending=True).head(15)
    expected = [rate[name] for name in common["lithology"]]
    assert np.corrcoef(expected, common["bottom"])[0, 1] > 0.3
    assert simulate_cores(4, 10, camera_everywhere=True).holes["camera"].all()
    assert any(simulate_cores(1, 10, seed=s).holes["camera"].all() for s in range(3))


def test_readings_stand_at_the_spacing_of_their_instrument(cores: SimulatedCores) -> None:
    spacing = {"GRA": 0.025, "MS": 0.025, "NGR": 0.1, "RGB": 0.005}
    for code, step in spacing.items():
        table = cores.reading_table(code)
        steps = table["depth"].diff().drop_nulls()
        assert steps.median() == pytest.approx(step, abs=1e-6)


def test_cores_leave_gaps_that_the_bins_show(cores: SimulatedCores, binned: pl.DataFrame) -> None:
    filled = binned.group_by("hole").agg(
        pl.len() / (pl.col("bin").max() - pl.col("bin").min() + 1)
    )["len"]
    assert 0.55 < filled.mean() < 0.95  # type: ignore[operator]
    assert (binned["gap_above"] > 0.5).any()


def test_the_truth_of_bins_explains_the_readings(
    cores: SimulatedCores, binned: pl.DataFrame
) -> None:
    truth = cores.bin_truth()
    assert truth.select("hole", "bin").is_unique().all()
    joined = binned.join(truth, on=["hole", "bin"])
    assert len(joined) > 0.999 * len(binned)
    agree = (joined["lithology"] == joined["true_lithology"]).mean()
    assert isinstance(agree, float)
    assert 0.85 < agree < 0.97
    factors = joined.select(f"factor_{name}" for name in FACTORS).to_numpy()
    exact = channels_of(factors, "GRA")[:, 0]
    assert np.corrcoef(exact, joined["bulk_density"])[0, 1] > 0.95
    gamma = channels_of(factors, "NGR")[:, 0]
    assert np.corrcoef(np.log(gamma), np.log(joined["natural_gamma"].clip(0.1)))[0, 1] > 0.95
    grey = channels_of(factors, "RGB")[:, 1]
    assert np.corrcoef(np.log(grey), np.log(joined["green"]))[0, 1] > 0.85


def test_sediment_is_denser_with_depth(cores: SimulatedCores) -> None:
    table = cores.reading_table("GRA").filter(pl.col("lithology") == "nannofossil ooze")
    table = table.filter(pl.col("bulk_density").is_between(1.0, 3.0))
    shallow, deep = (
        table.filter(part)["bulk_density"].to_numpy().mean()
        for part in (pl.col("depth") < 40, pl.col("depth") > 120)
    )
    assert deep > shallow + 0.03


def test_tables_have_the_published_columns_and_say_that_they_are_simulated(
    tmp_path: Path,
) -> None:
    cores = simulate_cores(2, 15, seed=2, camera_everywhere=True)
    paths = write_instrument_tables(cores, tmp_path / "new" / "folder")
    assert [path.name for path in paths.values()] == [
        f"{code}_DataLITH.csv" for code in ("GRA", "MS", "NGR", "RGB")
    ]
    assert "SIMULATED" in (tmp_path / "new" / "folder" / "README.txt").read_text()
    for code, path in paths.items():
        table = pl.read_csv(path, infer_schema=False)
        assert 29 <= table.width <= 33
        assert table.columns[:10] == [
            "Exp", "Site", "Hole", "Core", "Type", "Sect", "A/W", "Offset (cm)",
            "Depth CSF-A (m)", "Depth CSF-B (m)",
        ]  # fmt: skip
        assert table.columns[-1] == "Water Depth (mbsl)"
        assert (table["Result comments"] == "SIMULATED").all()
        assert path.read_text().count("\n") > len(table) + 1, "no comment has a line break"
        assert len(table) == len(instrument_table(cores, code))


def test_columns_are_those_of_a_real_table(shared_data: Path) -> None:
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        real = set(next(csv.reader(stream)))
    ours = set(instrument_table(simulate_cores(1, 5), "GRA").columns)
    own = {name for name in real if "(kN" in name or "(deg" in name or "Penetration" in name}
    assert real - own - ours == {"Comments"}


@pytest.mark.parametrize(
    ("options", "what"),
    [({"holes": 0}, "0 holes"), ({"metres": 0.2}, "holes of 0.2 m"), ({"metres": 1e6}, "holes of")],
)
def test_sizes_that_make_no_sense_are_refused(options, what: str) -> None:
    with pytest.raises(DataError, match=what):
        simulate_cores(**options)


def test_an_instrument_that_is_not_simulated_is_refused(cores: SimulatedCores) -> None:
    with pytest.raises(DataError, match="not simulated"):
        cores.reading_table("PWC")
