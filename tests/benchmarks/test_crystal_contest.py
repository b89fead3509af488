"""The contest compares what it says: equal sizes, paired intervals, honest tables."""

import itertools
import json
import math

import numpy as np
import pytest
from benchmarks.crystals import contest, throughput
from benchmarks.crystals.contest_page import write_contest
from benchmarks.crystals.one_run import Run, carry_out
from benchmarks.crystals.opponents import OPPONENTS, SIZES, TRIALS, Trial, contestant
from benchmarks.crystals.paired import compare, interval, mean_of, median_of

from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.textbook import textbook_crystals

TRIAL = Trial(1e-3, "none", 8)


@pytest.mark.parametrize("size", ["0.86M", "6.5M"])
def test_all_opponents_have_the_same_size(size):
    train = textbook_crystals()
    counts = {
        name: contestant("mp_20", opponent, SIZES[size], train, 0, 8).parameters
        for name, opponent in OPPONENTS.items()
    }
    for name, count in counts.items():
        assert abs(count / counts["source"] - 1.0) < 0.05, name
    assert counts["ours"] <= counts["source"]


def test_weighted_medians_are_those_of_the_drawn_values():
    generator = np.random.default_rng(0)
    values = np.append(generator.normal(size=30), [np.inf, np.inf])
    weights = generator.integers(0, 4, size=(20, 32)).astype(float)
    found = median_of(values, weights)
    for row, expected in zip(weights, found, strict=True):
        drawn = np.sort(np.repeat(values, row.astype(int)))
        assert expected == drawn[(len(drawn) - 1) // 2]
    np.testing.assert_allclose(
        mean_of(values[:30], weights[:, :30]),
        [np.average(values[:30], weights=row[:30]) for row in weights],
    )


def test_intervals_are_paired_and_draw_formulas():
    generator = np.random.default_rng(1)
    hard = generator.normal(size=400)
    formulas = [str(i) for i in range(400)]
    first, second = [hard + 0.1], [hard + generator.normal(scale=0.01, size=400)]
    paired = compare(first, second, formulas, mean_of)
    assert paired.low < 0.1 < paired.high
    assert paired.settled
    assert paired.high - paired.low < 0.01
    alone = interval(first, formulas, mean_of)
    # The standard error of a mean of 400, times 2 * 1.96.
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * hard.std() / 20, rel=0.1)
    assert not compare(first, first, formulas, mean_of).settled
    # Crystals of one formula are drawn together.
    values = [np.repeat([0.0, 1.0], 50)]
    assert interval(values, formulas[:100], mean_of).low > 0.3
    together = interval(values, ["A"] * 50 + ["B"] * 50, mean_of)
    assert (together.low, together.high) == (0.0, 1.0)


def test_rates_follow_their_schedule():
    cosine = Trial(1.0, "cosine", 8)
    rates = [cosine.at(share) for share in np.linspace(0.05, 1.0, 50)]
    assert (rates[0], rates[-1]) == pytest.approx((1.0, 0.01))
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert 0.0 < cosine.at(0.0) < cosine.at(0.01) < cosine.at(0.05)
    assert Trial(0.5, "none", 8).at(0.9) == 0.5
    assert len({trial.name for trial in TRIALS}) == len(TRIALS)


def test_tuning_never_opens_the_test_crystals(textbook):
    tuning = textbook.for_tuning()
    assert len(tuning.train) + len(tuning.test) == len(textbook.train)
    assert not set(tuning.train.names) & set(tuning.test.names)
    assert set(tuning.test.names) <= set(textbook.train.names)
    seen = np.isin(reduced_formulas(textbook.test), reduced_formulas(textbook.train))
    np.testing.assert_array_equal(textbook.unseen_formulas, ~seen)


def test_a_whole_contest_from_runs_to_the_table(textbook, tmp_path):
    runs = tmp_path / "runs"
    said = []
    for run in (
        Run("mp_20", "source", "0.86M", 0, 0.05, TRIAL, tuning=True),
        *(Run("mp_20", name, "0.86M", 0, 0.05, TRIAL) for name in ("ours", "source")),
        Run("mp_20", "random_coordinates", "0.86M", 0, 0.0),
    ):
        carry_out(run, runs, tmp_path, said.append)
    assert contest.tuned(runs, "perov_5", "source", "0.86M") == TRIAL
    assert contest.tuned(runs, "mp_20", "ours", "0.86M") == OPPONENTS["ours"].trial
    assert len(said) == 1 + 2 * 4
    result = json.loads((runs / "mp_20-ours-0.86M-0.05s-s0.json").read_text())
    assert [at["share"] for at in result["curve"]] == [0.125, 0.25, 0.5, 1.0]
    assert result["curve"][-1]["seconds"] >= 0.05
    assert {len(v) for v in result["crystals"].values()} == {len(textbook.test)}
    strange = ~np.isin(textbook.test.species, np.unique(textbook.train.species))
    lost = np.bincount(textbook.test.owner, strange) > 0
    assert lost.any()
    # What holds an element that was never seen is a failure, not a gap.
    errors = np.array([math.inf if v is None else v for v in result["crystals"]["periodic"]])
    np.testing.assert_array_equal(np.isinf(errors), lost)
    write_contest(runs, tmp_path)
    page = (tmp_path / "crystal_contest.md").read_text()
    for words in ("## Textbook, 0.86M, 0.05 CPU-s", "| difference |", "## Trials"):
        assert words in page
    figures = json.loads((tmp_path / "crystal_contest.json").read_text())["figures"]
    verdicts = {f["verdict"] for f in figures if f["minus"] == "source"}
    assert set() < verdicts <= {"win", "loss", "tie"}
    with pytest.raises(SystemExit, match="no finished run"):
        write_contest(tmp_path / "nothing", tmp_path)


def test_throughput_takes_turns_on_the_same_crystals(textbook):
    engines = throughput.measure("mp_20", textbook.train, SIZES["0.86M"], 2)
    source, ours, in_float32 = engines
    assert len(source.rates) == len(ours.rates) == len(in_float32.rates) == 2
    orders = [next(engine.entry.batches.epoch(3)).order.tolist() for engine in engines]
    assert orders[0] == orders[1] == orders[2]
    ratio, low, high = throughput.ratio_of(source, ours)
    assert low <= ratio <= high
    assert throughput.padded_share(textbook.train, 60) == pytest.approx(
        1.0 - textbook.train.counts.mean() / textbook.train.counts.max()
    )


def test_runs_have_files_of_their_own(tmp_path):
    names, opponents, numbers = ("mp_20", "perov_5"), ("ours", "source"), ((0, 1), (10.0, 20.0))
    trials = [(TRIALS[0], False), (TRIALS[0], True), (TRIALS[1], True)]
    every = [
        Run(*parts, *trial)
        for *parts, trial in itertools.product(names, opponents, SIZES, *numbers, trials)
    ]
    assert len({run.file(tmp_path) for run in every}) == len(every)
