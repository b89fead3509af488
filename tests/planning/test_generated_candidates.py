"""Generated candidates beside real ones, and results that come in tables of their own."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning
from variolite.planning import Campaign, Columns, Rules, Target, read_pool, with_results

COLUMNS = Columns((Target("uptake"),))
CAMPAIGN = {"shares": {("origin", "generated"): (0.5, 1.0)}, "batch": 4, "strategy": "greedy"}


@pytest.fixture
def real(made_up):
    """Real frameworks, 12 of 40 measured; a column of them that no generated one has."""
    return made_up[0].slice(18, 40).drop("cost").with_columns(paper=pl.col("density") * 2)


@pytest.fixture
def made():
    """What `generate` and `assemble` leave: two are alike, and one was not built."""
    return pl.DataFrame(
        {
            "name": [f"G{i}" for i in range(6)],
            "pores": [7.0, 7.0, 3.0, 9.0, 5.0, None],
            "density": [0.5, 0.5, 1.0, 1.5, 0.7, None],
            "metal": ["Zn", "Zn", "Fe", "Fe", "Zn", "Zn"],
            "built": [True] * 5 + [False],
            "uptake_requested": [6.0] * 6,
            "uptake_predicted": [9.0, 9.0, 1.0, 2.0, 3.0, None],
            "uptake_low": [8.0, 8.0, 0.0, 1.0, 2.0, None],
            "void_predicted": [0.6, 0.6, 0.5, 0.4, 0.7, None],
            "void_low": [0.5, 0.5, 0.4, 0.3, 0.6, None],
        }
    )


def both(real, made):
    return pl.concat([real, made], how="diagonal")


def test_predictions_and_requests_are_neither_values_nor_features(real, made):
    pool = read_pool(both(real, made), COLUMNS)
    assert len(pool) == 45
    assert np.isnan(pool.values[-5:]).all()
    assert not {n for n in pool.feature_names if n.split()[0] not in ("pores", "density", "metal")}
    assert "left out, as not built: 1 candidate" in pool.notes
    # Of the same framework drawn twice, one can be proposed.
    assert pool.affordable[-5:].tolist() == [True, False, True, True, True]


def test_one_of_the_same_is_known_when_the_other_is(real, made):
    known = made.with_columns(uptake=pl.when(pl.col("name") == "G1").then(5.0))
    pool = read_pool(both(real, known), COLUMNS)
    assert pool.affordable[-5:].tolist() == [False, False, True, True, True]


def test_a_pool_of_requests_alone_has_nothing_measured(made):
    pool = read_pool(made, COLUMNS)
    assert not pool.measured.any()
    assert pool.feature_names[:2] == ("pores", "density")


def test_simulated_results_are_values_with_their_noise(real, made, tmp_path):
    simulated = {"uptake_simulated": [5.5, None, 3.0], "uptake_simulated_error": [0.2, None, 0.1]}
    pl.DataFrame({"name": ["G0", "G2", "M018"], **simulated}).write_csv(tmp_path / "first.csv")
    frame = both(real, made).with_columns(uptake_sd=pl.when(pl.col("uptake") > 0).then(0.4))
    pool = read_pool(with_results(frame, [tmp_path / "*.csv"], COLUMNS), COLUMNS)
    assert pool.values[-5, 0] == 5.5
    assert pool.noise[-5, 0] == pytest.approx(0.2)
    assert np.isnan(pool.values[-3, 0])
    # What was measured stays.
    assert pool.values[0, 0] == frame["uptake"][0]
    assert pool.noise[0, 0] == pytest.approx(0.4)
    assert pool.frame["uptake_kind"].to_list()[-5:] == ["simulated", *[None] * 4]
    assert "simulated: 1 value of uptake" in pool.notes


def test_a_campaign_goes_round(real, made):
    campaign = Campaign(COLUMNS, 8, Rules(**CAMPAIGN))
    batch = campaign.propose(both(real, made)).table
    first = [n for n in batch["name"] if n.startswith("G")]
    assert len(first) >= 2
    assert batch["why"].str.contains("generated").to_list() == [n in first for n in batch["name"]]
    results = pl.DataFrame({"name": first, "uptake_simulated": [4.0] * len(first)})
    second = campaign.propose(with_results(both(real, made), results, COLUMNS)).names
    assert campaign.spent == len(first)
    assert not set(first) & set(second)


def test_results_that_are_none_are_refused(real):
    for results, message in (
        ({"name": ["M020"], "uptake_predicted": [1.0]}, "this is no table of results"),
        ({"uptake": [1.0]}, "this is no table of results"),
    ):
        with pytest.raises(DataError, match=message):
            with_results(real, results, COLUMNS)
    predicted = {"name": ["M057"], "uptake": [1.0], "uptake_kind": ["predicted"]}
    with pytest.raises(DataError, match="uptake of M057 is predicted"):
        read_pool(with_results(real, predicted, COLUMNS), COLUMNS)
    with pytest.warns(DataWarning, match="results of 1 are left out.*: X"):
        with_results(real, {"name": ["X", "M057"], "uptake": [1.0, 2.0]}, COLUMNS)


def test_results_that_are_no_numbers_or_differ_are_said(real):
    measured = real.filter(pl.col("uptake").is_not_null())["name"][0]
    opened = real.filter(pl.col("uptake").is_null())["name"][0]
    results = {"name": [measured], "uptake": [99.0]}
    with pytest.warns(DataWarning, match=f"stays where results differ: {measured}"):
        read_pool(with_results(real, results, COLUMNS), COLUMNS)
    pool = read_pool(with_results(real, {"name": [opened], "uptake": [True]}, COLUMNS), COLUMNS)
    assert pool.names[pool.aside].tolist() == [opened]
