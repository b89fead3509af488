"""`variolite plan`: batches, campaigns and replays on made-up pools."""

import json
import re

import numpy as np
import polars as pl
import pytest

from variolite.planning import Columns, Target, read_pool
from variolite.training import RunFolder


def pool_of(rows=90, measured=25):
    random = np.random.default_rng(1)
    pores = random.uniform(2, 12, rows)
    uptake = 6 * np.exp(-((pores - 7) ** 2) / 6) + random.normal(0, 0.1, rows)
    frame = pl.DataFrame(
        {
            "name": [f"M{i:03d}" for i in range(rows)],
            "pores": pores,
            "void": random.uniform(0.1, 0.9, rows),
            "cost": random.uniform(10, 90, rows).round(2),
        }
    )
    return frame, pl.Series("uptake", uptake), np.arange(rows) < measured


@pytest.fixture
def pool(tmp_path):
    frame, uptake, known = pool_of()
    path = tmp_path / "pool.csv"
    frame.with_columns(uptake=pl.when(pl.Series(known)).then(uptake)).write_csv(path)
    return path


@pytest.fixture
def new_pool(pool):
    """A pool with too few values for a surrogate: its batches are quick."""
    few = pl.int_range(pl.len()) < 3
    pl.read_csv(pool).with_columns(uptake=pl.when(few).then("uptake")).write_csv(pool)
    return pool


def plan(pool, out, **options):
    asked = ("plan", "--pool", pool, "--target", "uptake", "--cost", "cost", "--out", out)
    return (*asked, *(part for key, value in options.items() for part in (f"--{key}", value)))


def test_a_batch_its_campaign_and_its_page(program, pool, tmp_path):
    out = tmp_path / "batch.csv"
    answer = program.works(*plan(pool, out, budget=500))
    batch = pl.read_csv(out)
    assert batch["cost"].sum() <= 500
    assert {"uptake_predicted", "uptake_low", "uptake_high", "why"} <= set(batch.columns)
    assert "Of 500.00, 0.00 are spent" in answer.out
    assert "The next batch" in (tmp_path / "batch.html").read_text()
    # Half of it comes back, and the same command continues.
    frame, uptake, known = pool_of()
    known |= frame["name"].is_in(batch["name"][: len(batch) // 2].to_list()).to_numpy()
    frame.with_columns(uptake=pl.when(pl.Series(known)).then(uptake)).write_csv(pool)
    program.works(*plan(pool, out, budget=1000))
    second = pl.read_csv(out)
    assert not set(second["name"]) & set(batch["name"])
    kept = json.loads((tmp_path / "batch.campaign.json").read_text())
    assert sum(order["cost"] for order in kept["orders"]) <= 1000
    assert {order["round"] for order in kept["orders"]} == {1, 2}


def test_json_holds_the_batch_and_the_money(program, pool):
    answer = program.works(
        *("plan", "--pool", pool, "--target", "uptake", "--budget", 5, "--batch", 5, "--json")
    )
    found = json.loads(answer.out)
    assert len(found["batch"]) == 5
    assert found["committed"] == 5
    assert found["left"] == 0


def test_a_cheap_measurement_is_ordered_and_entered_in_its_column(program, tmp_path, monkeypatch):
    monkeypatch.setattr("variolite.planning.surrogate._TREES", 4)
    frame, uptake, _ = pool_of(rows=40)
    known = pl.Series(np.arange(40) < 8)
    cheap = pl.Series("henry", 3 * uptake + 1)
    frame = frame.with_columns(
        henry=pl.when(known).then(cheap), uptake=pl.lit(None, dtype=pl.Float64), minutes=pl.lit(1.0)
    )
    pool, out = tmp_path / "pool.csv", tmp_path / "batch.csv"
    frame.write_csv(pool)
    asked = plan(pool, out, budget=500, batch=4, cheap="henry", **{"cheap-cost": "minutes"})
    answer = program.works(*asked)
    batch = pl.read_csv(out)
    assert "henry" in batch["measure"].to_list()
    assert {"henry_predicted", "uptake_predicted", "measure"} <= set(batch.columns)
    assert "henry" in (tmp_path / "batch.html").read_text()
    assert "measured cheaply first" in answer.out
    ordered = frame["name"].is_in(batch.filter(pl.col("measure") == "henry")["name"].to_list())
    frame.with_columns(henry=pl.when(known | ordered).then(cheap)).write_csv(pool)
    program.works(*asked)
    kept = json.loads((tmp_path / "batch.campaign.json").read_text())["orders"]
    came = {o["name"] for o in kept if o["measure"] == "henry" and o["round"] == 1 and o["values"]}
    assert came == set(frame.filter(ordered)["name"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 500, "cheap": "void"}, "Give --cheap and --cheap-cost together"),
        ({"budget": 500, "cheap": "uptake", "cheap-cost": "cost"}, "'uptake' is given twice"),
        ({"budget": 500, "cheap": "vod", "cheap-cost": "cost"}, "there is no column 'vod'"),
        ({"budget": 0}, "a budget of 0"),
        ({"budget": 5}, "the cheapest candidate costs"),
        ({"budget": -5}, "budget"),
        ({"budget": 1e18}, "up to 1e+12"),
        ({"budget": 500, "fixed-cost": 499}, "round 1 has 1.00 after its fixed cost of 499.00"),
        ({"budget": 500, "worth": 0}, "greater than 0"),
        ({"budget": 500, "seed": 2**32}, "from 0 to 4294967295"),
        ({"budget": 500, "control": "M9999"}, "'M9999' is not in the pool"),
        ({"budget": 500, "strategy": ""}, "there is no strategy ''"),
        ({"budget": 500, "at-most": "metal"}, "Write metals=3"),
        ({"budget": 500, "at-most": "void=²"}, "Write metals=3"),
        ({"budget": 500, "at-most": "metal=3"}, "there is no column 'metal'"),
        ({"budget": 500, "share": "void=1"}, "is no share"),
        ({"budget": 500, "strategy": "gredy"}, "Did you mean greedy?"),
        ({"budget": 500, "ignore": "por"}, "there is no column 'por'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(program, pool, tmp_path, options, message):
    out = tmp_path / "batch.csv"
    assert message in program.fails(*plan(pool, out, **options))
    assert [path.name for path in tmp_path.iterdir()] == ["pool.csv"]


@pytest.mark.parametrize(
    ("twice", "message"),
    [
        (("--at-most", "void=1", "--at-most", "void=2"), "void has a limit of 1 already"),
        (("--share", "void=1:0-1", "--share", "void=1:1-1"), "void 1 has a share already"),
        (("--cost", "cost"), "column 'cost' is given twice"),
        (("--target", "uptake=min"), "column 'uptake' is given twice"),
        (("--share", "void=none:0.5-1"), "no batch keeps 50% to 100% of void none"),
    ],
)
def test_options_that_contradict_one_another_are_refused(program, pool, tmp_path, twice, message):
    assert message in program.fails(*plan(pool, tmp_path / "batch.csv", budget=500), *twice)
    assert [path.name for path in tmp_path.iterdir()] == ["pool.csv"]


def test_a_campaign_that_another_process_has_is_left_alone(program, new_pool, tmp_path):
    from variolite.atomic import alone

    out = tmp_path / "batch.csv"
    with alone(tmp_path / "batch.campaign.json") as free:
        assert free
        assert "another process is planning it" in program.fails(*plan(new_pool, out, budget=500))
    program.works(*plan(new_pool, out, budget=500))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"pool.csv", "batch.csv", "batch.html", "batch.campaign.json"}


def test_results_entered_in_the_batch_are_not_overwritten(program, new_pool, tmp_path):
    out = tmp_path / "batch.csv"
    program.works(*plan(new_pool, out, budget=500))
    entered = pl.read_csv(out).with_columns(uptake=pl.lit(3.0))
    entered.write_csv(out)
    assert "Enter results in the pool" in program.fails(*plan(new_pool, out, budget=500))
    assert pl.read_csv(out).equals(entered)


@pytest.mark.parametrize("failing", ["write_table", "write_text_atomic"])
def test_a_plan_that_is_cut_off_resumes_to_the_same_bytes(
    program, new_pool, tmp_path, monkeypatch, failing
):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    program.works(*plan(new_pool, whole, budget=500))

    def stop(path, *_):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(f"variolite.records.{failing}", stop)
        program.fails(*plan(new_pool, cut, budget=500))
    program.works(*plan(new_pool, cut, budget=500))
    for ending in (".csv", ".campaign.json"):
        assert (tmp_path / f"cut{ending}").read_bytes() == (
            tmp_path / f"whole{ending}"
        ).read_bytes()
    pages = [(tmp_path / f"{name}.html").read_text() for name in ("cut", "whole")]
    assert pages[0].replace("cut", "whole") == pages[1]


def test_a_finished_pool_ends_with_fewer_than_asked(program, tmp_path):
    frame, uptake, _ = pool_of()
    frame.with_columns(uptake).write_csv(tmp_path / "pool.csv")
    answer = program(*plan(tmp_path / "pool.csv", tmp_path / "out.csv", budget=500))
    assert answer.code == 3
    assert "every candidate with a known cost is measured or pending" in answer.last


def test_a_replay_names_the_default_and_its_baselines(program, tmp_path):
    frame, uptake, _ = pool_of()
    frame.with_columns(uptake).write_csv(tmp_path / "pool.csv")
    out = tmp_path / "page.html"
    answer = program.works(
        *("plan", "backtest", "--pool", tmp_path / "pool.csv", "--target", "uptake"),
        *("--cost", "cost", "--budget", "600", "--seeds", "2", "--start", "10", "--json"),
        *("--strategy", "exploration", "--workers", "1", "--out", out),
    )
    found = json.loads(answer.out)
    assert {found["default"], "random", "greedy", "exploration"} == set(found["strategies"])
    for entry in found["strategies"].values():
        assert 0 <= entry["recall_top5_low"] <= entry["recall_top5"] <= entry["recall_top5_high"]
        assert 0 < entry["spent"] <= 600
        assert entry["best_found"] <= uptake.max()
    assert "Found for the money" in out.read_text()


def test_costs_from_minutes(program, tmp_path):
    frame, _, known = pool_of()
    minutes = pl.when(pl.Series(known)).then(pl.col("pores") ** 2)
    frame.with_columns(minutes=minutes).write_csv(tmp_path / "pool.csv")
    out = tmp_path / "priced.csv"
    program.works(
        *("plan", "costs", "--pool", tmp_path / "pool.csv", "--minutes", "minutes", "--out", out),
        *("--size", "pores", "--rate", "0.5"),
    )
    priced = pl.read_csv(out)
    np.testing.assert_allclose(priced["validation_cost"], 0.5 * frame["pores"] ** 2, rtol=1e-6)
    assert "Nothing" not in program.fails(
        "plan", "costs", "--pool", out, "--out", tmp_path / "x.csv"
    )


def test_latents_of_a_run_are_features_that_do_not_know_the_target(example, tmp_path):
    model = RunFolder(example.run).model()
    frame = example.frame.head(60).with_row_index("id").with_columns(pl.col("id").cast(pl.String))
    target = model.schema.numeric_names[0]
    latents = []
    for known in (20, 40):
        given = frame.with_columns(pl.when(pl.int_range(pl.len()) < known).then(pl.col(target)))
        pool = read_pool(given, Columns((Target(target),), run=example.run))
        places = [i for i, n in enumerate(pool.feature_names) if re.fullmatch(r"latent \d+", n)]
        latents.append(pool.features[:, places])
    np.testing.assert_array_equal(*latents)
    records = model.records(frame.drop(target))
    expected = model.encode(records)[0]
    np.testing.assert_allclose(latents[0][records.row], expected, rtol=1e-6)


def test_runs_whose_latents_a_pool_cannot_have_are_refused(made, example, program, pool):
    asked = ("plan", "--pool", pool, "--target", "uptake", "--budget", 5, "--latents")
    assert "its latents are those of structures" in program.fails(*asked, made.run)
    assert "The target is hidden from it" in program.fails(*asked, example.run)


def test_a_name_that_is_too_long_is_said(program, pool, tmp_path):
    out = tmp_path / f"{'x' * 300}.csv"
    assert "Give a shorter name" in program.fails(*plan(pool, out, budget=500))


@pytest.mark.parametrize("budget", ["nan", "1e18", "-5"])
def test_a_replay_refuses_an_impossible_budget_before_it_begins(program, pool, budget):
    asked = ("plan", "backtest", "--pool", pool, "--target", "uptake", "--budget", budget)
    assert "Give the money for the whole campaign" in program.fails(*asked)
