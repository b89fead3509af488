import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from variolite.corelogs import (
    bin_tables,
    holes_from_columns,
    instrument_table,
    open_table,
    simulate,
    simulate_cores,
    write_instrument_tables,
)
from variolite.corelogs.simulate import lithologies, numbers
from variolite.corelogs.simulated_sensors import channels_of, parameters
from variolite.errors import DataError

# Mean and standard deviation of 238,506 real bins; 80 holes scatter about them.
MORE = ("MSP", "RSC", "MAD", "PWC", "TCON")
PUBLISHED = {"bulk_density": (1.696, 0.247), "magnetic_susceptibility": (81.2, 256.0)}
PUBLISHED |= {"natural_gamma": (28.36, 19.58)}
PUBLISHED |= {"red": (73.3, 46.3), "green": (71.3, 45.6), "blue": (63.5, 41.5)}


@pytest.fixture(scope="module")
def cores():
    return simulate_cores(80, 60, seed=1)


@pytest.fixture(scope="module")
def binned(cores, tmp_path_factory):
    paths = write_instrument_tables(cores, tmp_path_factory.mktemp("simulated"))
    return bin_tables(list(paths.values())).table


def read(cores, instrument):
    """Hole, lithology and factors of every reading."""
    cell, beds = cores.readings[instrument]["cell"], cores.beds
    bed = cores.cells["bed"][cell]
    return beds["hole"][bed], beds["lithology"][bed], cores.cells["factors"][cell]


def test_equal_seeds_give_equal_cores_and_others_do_not():
    first, again, other = (simulate_cores(3, 20, seed=s) for s in (5, 5, 6))
    for code in first.readings:
        assert_frame_equal(instrument_table(first, code), instrument_table(again, code))
        assert not instrument_table(first, code).equals(instrument_table(other, code))


def test_holes_have_names_and_lengths_and_beds_fill_them(cores):
    holes, beds = cores.holes, cores.beds
    parts = (pl.Series(holes[name]) for name in ("expedition", "site", "letter"))
    assert holes_from_columns(*parts)["hole"].n_unique() == 80
    assert "903T" in holes["expedition"]
    length = holes["bottom"] - holes["top"]
    np.testing.assert_allclose(length.mean(), 60, atol=0.1)
    assert 40 < length.min() < length.max() < 85
    first = np.flatnonzero(np.diff(beds["hole"], prepend=-1))
    last = np.append(first[1:], len(beds["hole"])) - 1
    np.testing.assert_allclose(beds["top"][first], holes["top"])
    np.testing.assert_allclose(beds["bottom"][last], holes["bottom"])
    inner = np.setdiff1d(np.arange(len(beds["hole"])), first)
    np.testing.assert_allclose(beds["top"][inner], beds["bottom"][inner - 1])
    assert (beds["bottom"] > beds["top"]).all()


def test_the_chain_of_beds_keeps_the_shares_and_prefers_neighbours():
    thickness, names = numbers("thickness"), lithologies()["name"].to_list()
    weights = simulate.setting_weights()
    assert sum(w.sum() for w in weights.values()) == pytest.approx(1.0)
    for entry in lithologies().iter_rows(named=True):
        assert sum(filter(None, entry["settings"].values())) == pytest.approx(1.0)
        assert set(entry["neighbours"]) <= set(names)
    for of_setting in weights.values():
        share, follows = simulate._transitions(of_setting)
        step = np.diff(follows, axis=1, prepend=0.0)
        flow = share / thickness
        # Stationary: as many beds of each kind end as begin.
        np.testing.assert_allclose(flow @ step, flow, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(step.sum(axis=1)[share > 0], 1.0, rtol=1e-9)
    step = np.diff(simulate._transitions(weights["fan"])[1], axis=1, prepend=0.0)
    silt, sandy_silt, clay = (names.index(name) for name in ("silt", "sandy silt", "clay"))
    share = weights["fan"] / thickness
    assert step[silt, sandy_silt] / share[sandy_silt] > 2 * step[silt, clay] / share[clay]


def test_the_noise_along_a_hole_is_a_first_order_autoregression():
    noise = simulate._autoregression(np.random.default_rng(0).standard_normal((200_000, 2)), 0.1)
    np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.03)
    for lag in (1, 5, 20):
        found = np.corrcoef(noise[:-lag, 0], noise[lag:, 0])[0, 1]
        assert found == pytest.approx(np.exp(-0.1 * lag), abs=0.03)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05


def test_a_footprint_averages_under_a_gaussian_within_its_own_hole(cores, monkeypatch):
    # Without errors, a reading is what the footprint makes of the channels.
    monkeypatch.setattr(simulate, "disturb", lambda rng, code, exact, errors: exact)
    monkeypatch.setattr(simulate, "spoil", lambda *args: None)
    first = cores.cells["hole"] == 0
    spike = np.zeros(len(first))
    spike[np.flatnonzero(first)[1000]] = 1.0
    for truth in (np.where(first, 1.0, 0.0), spike):
        monkeypatch.setattr(simulate, "channels_of", lambda *_, truth=truth: truth[:, None])
        read = simulate._read_cores(None, "MS", cores.holes, cores.cores, cores.cells)
        found, cell = read["magnetic_susceptibility"], read["cell"]
        if truth is spike:
            normal = np.exp(-0.5 * ((cell - 1000) / 4.0) ** 2) / (4.0 * np.sqrt(2 * np.pi))
            np.testing.assert_allclose(found, normal, atol=1e-4)
        else:
            np.testing.assert_allclose(found, truth[cell], atol=1e-12)


def test_channels_follow_from_the_factors():
    # Half pores, no magnetite: the density of water and rock in equal parts.
    quiet = np.array([[0.0, -3.0, np.log(40.0), 0.0]])
    np.testing.assert_allclose(channels_of(quiet, "GRA"), 0.5 * 1.024 + 0.5 * 2.68, atol=1e-6)
    np.testing.assert_allclose(channels_of(quiet, "NGR"), 0.8 + 0.5 * 40.0)
    assert channels_of(quiet, "MS")[0, 0] == pytest.approx(-1.5, abs=1e-3)
    np.testing.assert_allclose(channels_of(quiet, "RGB")[0, 1], 255 * 0.5**1.75)
    denser = quiet - [[1.0, 0, 0, 0]]
    for code in ("GRA", "NGR"):
        assert channels_of(denser, code)[0, 0] > channels_of(quiet, code)[0, 0]


def test_the_factors_explain_the_readings(cores, binned):
    parts = (pl.Series(cores.holes[name]) for name in ("expedition", "site", "letter"))
    names = holes_from_columns(*parts)["hole"]
    for code, name, channel, least in (
        ("GRA", "bulk_density", 0, 0.95),
        ("NGR", "natural_gamma", 0, 0.95),
        ("RGB", "green", 1, 0.85),
    ):
        hole, _, factors = read(cores, code)
        index = np.round(cores.readings[code]["depth"] / 0.2).astype(np.int32)
        columns = {str(i): factor for i, factor in enumerate(factors.T)}
        truth = pl.DataFrame({"hole": names[hole], "bin": index, **columns})
        joined = binned.join(truth.group_by("hole", "bin").mean(), on=["hole", "bin"])
        assert len(joined) > 0.999 * len(binned)
        exact = channels_of(joined.select(*"0123").to_numpy(), code)[:, channel]
        found = joined[name].to_numpy().clip(0.1)
        assert np.corrcoef(np.log(exact), np.log(found))[0, 1] > least
    hole, kind, _ = read(cores, "GRA")
    # Described and true lithology agree in most bins; a bin's is its commonest, as described.
    index = np.round(cores.readings["GRA"]["depth"] / 0.2).astype(np.int32)
    rows = {"hole": names[hole], "bin": index, "true": lithologies()["name"][kind]}
    true = pl.DataFrame(rows).group_by("hole", "bin").agg(pl.col("true").mode().sort().first())
    joined = binned.join(true, on=["hole", "bin"])
    assert 0.85 < (joined["lithology"] == joined["true"]).mean() < 0.97
    ooze = kind == lithologies()["name"].to_list().index("nannofossil ooze")
    depth, density = (cores.readings["GRA"][name] for name in ("depth", "bulk_density"))
    ooze &= (density > 1.0) & (density < 3.0)
    # Sediment is denser with depth.
    assert density[ooze & (depth > 120)].mean() > density[ooze & (depth < 40)].mean() + 0.03
    assert set(hole) == set(range(80))


def test_marginal_spread_is_near_the_published_one(binned):
    for name, (mean, sd) in PUBLISHED.items():
        assert binned[name].mean() == pytest.approx(mean, abs=0.4 * sd), name
        assert binned[name].std() == pytest.approx(sd, rel=0.4), name
    susceptibility = binned["magnetic_susceptibility"].to_numpy()
    assert 4 < np.median(susceptibility) < 25  # published 10.96: far below the mean, heavy tail
    assert susceptibility.min() < 0
    # The colours are nearly collinear, and the rest is not.
    values = binned.select(*PUBLISHED).to_numpy()
    r = np.corrcoef(values.T)
    assert r[3:, 3:].min() > 0.98
    assert np.abs(r[:3, :3] - np.eye(3)).max() < 0.7
    scaled = np.column_stack([values[:, 0], np.log1p(np.abs(values[:, 1:]))])
    share = np.linalg.eigvalsh(np.corrcoef(scaled.T))[::-1].cumsum() / 6
    assert share[3] > 0.97  # four directions hold nearly all
    assert share[1] < 0.9  # two do not


def test_labels_are_long_tailed_and_confused(cores, binned):
    counts = binned["lithology"].value_counts(sort=True)["count"]
    assert counts[0] / counts.sum() > 0.1
    assert counts[-1] / counts.sum() < 0.002
    assert len(counts) > 30
    names = lithologies()["name"].to_list()
    pairs = np.column_stack([cores.beds["lithology"], cores.beds["described"]])
    confused = pairs[pairs[:, 0] != pairs[:, 1]]
    assert 0.03 < len(confused) / len(pairs) < 0.1
    neighbours = lithologies()["neighbours"].to_list()
    assert all(names[described] in neighbours[true] for true, described in confused)


def test_the_camera_is_missing_in_whole_holes_of_some_lithologies(cores):
    camera, beds = cores.holes["camera"], cores.beds
    assert 0.25 < 1 - camera.mean() < 0.55
    assert set(read(cores, "RGB")[0]) == set(np.flatnonzero(camera))
    thickness = beds["bottom"] - beds["top"]
    metres = np.bincount(beds["lithology"], thickness, len(lithologies()))
    seen = np.bincount(beds["lithology"], thickness * camera[beds["hole"]], len(lithologies()))
    common = np.argsort(metres)[-15:]
    expected = 1 - numbers("no_camera")[common]
    assert np.corrcoef(expected, seen[common] / metres[common])[0, 1] > 0.3
    assert simulate_cores(4, 10, camera_everywhere=True).holes["camera"].all()
    assert any(simulate_cores(1, 10, seed=s).holes["camera"].all() for s in range(3))


def test_readings_stand_at_their_spacing_and_cores_leave_gaps(cores, binned):
    for code, step in {"GRA": 0.025, "MS": 0.025, "NGR": 0.1, "RGB": 0.005}.items():
        steps = np.diff(cores.readings[code]["depth"])
        assert np.median(steps) == pytest.approx(step, abs=1e-6)
    extent = pl.col("bin").max() - pl.col("bin").min() + 1
    filled = binned.group_by("hole").agg(pl.len() / extent)["len"].to_numpy()
    assert 0.55 < filled.mean() < 0.95
    assert (binned["gap_above"] > 0.5).any()


def test_tables_have_the_published_columns_and_say_that_they_are_simulated(tmp_path):
    cores = simulate_cores(2, 15, seed=2, camera_everywhere=True)
    folder = tmp_path / "new" / "folder"
    paths = write_instrument_tables(cores, folder)
    assert "SIMULATED" in (folder / "README.txt").read_text()
    for code in ("GRA", "MS", "NGR", "RGB"):
        path = folder / f"{code}_DataLITH.csv"
        assert paths[code] == path
        table = pl.read_csv(path, infer_schema=False)
        assert 29 <= table.width <= 33
        first = "Exp|Site|Hole|Core|Type|Sect|A/W|Offset (cm)|Depth CSF-A (m)|Depth CSF-B (m)"
        assert table.columns[:10] == first.split("|")
        assert table.columns[-1] == "Water Depth (mbsl)"
        assert (table["Result comments"] == "SIMULATED").all()
        assert path.read_text().count("\n") > len(table) + 1, "no comment has a line break"
        assert len(table) == len(instrument_table(cores, code))


def test_columns_are_those_of_a_real_table(shared_data):
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    real = set(path.read_text("utf-8").splitlines()[0].replace('"', "").split(","))
    ours = set(instrument_table(simulate_cores(1, 5), "GRA").columns)
    own = {name for name in real if "(kN" in name or "(deg" in name or "Penetration" in name}
    assert real - own - ours == {"Comments"}


def test_more_instruments_read_the_same_cores(tmp_path):
    few, many = simulate_cores(3, 40, seed=5), simulate_cores(3, 40, seed=5, more=MORE)
    for code in few.readings:
        assert_frame_equal(instrument_table(few, code), instrument_table(many, code))
    paths = write_instrument_tables(many, tmp_path)
    assert [open_table(paths[code]).instrument.code for code in MORE] == list(MORE)
    for code in MORE:
        exact = channels_of(many.cells["factors"][many.readings[code]["cell"]], code)
        entry = parameters()["instruments"][code]
        for name, truth, noise in zip(entry["channels"], exact.T, entry["noise"], strict=True):
            found = many.readings[code][name]
            # What is read differs from the truth by calibration and noise, and little by footprint.
            spread = noise[0] + (noise[1] + entry["gain"]) * np.abs(truth)
            error = np.abs(found - truth) / spread
            assert 0.2 < np.nanmedian(error) < 1.5, name
    # Samples are scattered about their places, one and a half metres apart.
    steps = np.diff(many.readings["MAD"]["depth"])
    assert np.median(steps) == pytest.approx(1.5, abs=0.05)
    assert np.std(steps[(steps > 1) & (steps < 2)]) > 0.05


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(DataError, match="0 holes"):
        simulate_cores(holes=0)
    for metres in (0.2, 1e6):
        with pytest.raises(DataError, match=f"holes of {metres} m"):
            simulate_cores(metres=metres)
    with pytest.raises(DataError, match="'CARB' is not simulated"):
        simulate_cores(more=("CARB",))
