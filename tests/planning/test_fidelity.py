"""A cheap measurement first, where it pays."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.planning import Campaign, Columns, Rules, Target, surrogate
from variolite.planning.fidelity import link

COLUMNS = Columns((Target("real"),), costs=("cost",), cheap="cheap", cheap_costs=("minutes",))


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setattr(surrogate, "_TREES", 4)


def candidates(rows=40, cheap=8, real=0, seed=0, useless=False):
    """A pool whose cheap values are, in another unit, near the real ones, and the truth."""
    random = np.random.default_rng(seed)
    size = random.uniform(2, 12, rows)
    truth = 6 * np.exp(-((size - 7) ** 2) / 6) + 1
    guess = random.permutation(truth) if useless else 20 * truth + random.normal(0, 1, rows)
    guess, truth = pl.Series("cheap", guess), pl.Series("real", truth)
    frame = pl.DataFrame(
        {
            "name": [f"M{i:02d}" for i in range(rows)],
            "size": size,
            "cost": np.full(rows, 50.0),
            "minutes": np.full(rows, 2.0),
        }
    ).with_columns(
        cheap=pl.when(pl.Series(np.arange(rows) < cheap)).then(guess),
        real=pl.when(pl.Series(np.arange(rows) < real)).then(truth),
    )
    return frame, {"cheap": guess, "real": truth}


def entered(frame, truth, proposal):
    """Enter what a batch measured."""
    for column, values in truth.items():
        names = [
            name
            for name, measure in zip(proposal.names, proposal.measures, strict=True)
            if measure == column
        ]
        frame = frame.with_columns(
            pl.when(pl.col("name").is_in(names)).then(values).otherwise(column).alias(column)
        )
    return frame


def test_cheap_ones_come_first_and_then_the_real_one_of_the_best():
    frame, truth = candidates()
    campaign = Campaign(COLUMNS, 1000.0, Rules(batch=3, strategy="ei"))
    orders = []
    for _ in range(6):
        proposal = campaign.propose(frame)
        frame = entered(frame, truth, proposal)
        orders += proposal.measures
        assert proposal.table["cost"].to_list() == [
            2.0 if measure == "cheap" else 50.0 for measure in proposal.measures
        ]
    assert orders[0] == "cheap"
    real = frame.filter(pl.col("real").is_not_null())
    assert 1 <= len(real) < orders.count("cheap")
    assert frame["real"].max() > 0.97 * truth["real"].max()
    assert 1000.0 - campaign.left == 2.0 * orders.count("cheap") + 50.0 * orders.count("real")


def test_a_useless_column_is_hardly_measured():
    frame, truth = candidates(rows=60, cheap=10, real=10, useless=True)
    campaign = Campaign(COLUMNS, 1000.0, Rules(batch=5, strategy="ei"))
    orders = []
    for _ in range(3):
        proposal = campaign.propose(frame)
        frame = entered(frame, truth, proposal)
        orders += proposal.measures
    assert orders.count("cheap") <= 3
    assert orders.count("real") >= 12


def test_pairs_are_made_before_a_column_is_used():
    frame, truth = candidates(cheap=0, real=20)
    campaign = Campaign(COLUMNS, 1000.0)
    proposal = campaign.propose(frame)
    assert set(proposal.measures) == {"cheap"}
    known = frame.filter(pl.col("real").is_not_null())["name"]
    assert set(proposal.names) <= set(known)
    assert any("to see how it goes with real" in note for note in proposal.notes)
    # While the others are being measured, the real ones go on without them.
    assert set(campaign.propose(entered(frame, truth, _Some(proposal, 2))).measures) == {"real"}


def test_orders_of_both_kinds_resume(tmp_path):
    frame, truth = candidates(cheap=20, real=6)
    whole = Campaign(COLUMNS, 1000.0, Rules(batch=6, strategy="ei"))
    first = whole.propose(frame)
    whole.save(tmp_path / "kept.json")
    kept = Campaign(COLUMNS, 1000.0, whole.rules).restore(tmp_path / "kept.json")
    assert kept == whole
    # Only the first comes back: those that wait are not ordered again, by either way.
    frame = entered(frame, truth, _Some(first, 1))
    again = kept.propose(frame)
    assert again.table.equals(whole.propose(frame).table)
    assert not set(again.names) & set(first.names[1:])
    assert [o.measure for o in kept.orders if o.values is not None] == first.measures[:1]
    with pytest.raises(DataError, match="a campaign for cheap, real"):
        Campaign(Columns((Target("real"),)), 9.0).restore(tmp_path / "kept.json")


class _Some:
    def __init__(self, proposal, number):
        self.names, self.measures = proposal.names[:number], proposal.measures[:number]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20_000), st.integers(1, 7))
def test_two_costs_never_exceed_the_budget_by_a_cent(seed, cents, batch):
    random = np.random.default_rng(seed)
    frame, truth = candidates(rows=14, cheap=6, real=int(random.integers(0, 7)), seed=seed)
    frame = frame.with_columns(
        cost=pl.Series(random.integers(0, 5000, 14) / 100),
        minutes=pl.Series(random.integers(0, 900, 14) / 100),
    )
    campaign = Campaign(COLUMNS, cents / 100, Rules(batch=batch, strategy="greedy"))
    for _ in range(3):
        try:
            proposal = campaign.propose(frame)
        except DataError:
            break
        frame = entered(frame, truth, proposal)
    price = {"real": dict(frame.select("name", "cost").rows())}
    price["cheap"] = dict(frame.select("name", "minutes").rows())
    paid = sum(round(100 * price[o.measure][o.name]) for o in campaign.orders)
    assert paid <= cents
    assert Fraction(campaign.left) >= -Fraction(1, 10**6)


@pytest.mark.parametrize("slope", [0.05, 20.0, -3.0])
def test_the_line_is_found_in_any_unit(slope):
    random = np.random.default_rng(0)
    cheap = random.normal(10, 3, 60)
    real = np.where(np.arange(60) < 30, 4 + slope * cheap, np.nan)
    found = link(cheap, real)
    assert found[1] == pytest.approx(slope, rel=0.15)
    assert found[2] < 0.2 * abs(slope) * 3


def test_without_pairs_values_are_of_the_size_of_the_real_ones():
    cheap, real = np.r_[100.0, 140.0, np.nan, np.nan], np.r_[np.nan, np.nan, 5.0, 7.0]
    assert link(cheap, real)[1] == pytest.approx(0.05)
    assert link(cheap, np.full(4, np.nan))[1] == 1.0


def test_chance_is_no_relation():
    random = np.random.default_rng(1)
    slopes = [abs(link(random.normal(5, 1, 12), random.normal(5, 1, 12))[1]) for _ in range(50)]
    assert np.median(slopes) < 0.15


def test_values_are_entered_by_column():
    frame, _ = candidates()
    campaign = Campaign(COLUMNS, 100.0)
    campaign.observe("M30", 3.0, measure="cheap")
    campaign.observe("M30", 0.5)
    pool = campaign.pool(frame)
    assert (pool.cheap.values[30], pool.values[30, 0]) == (3.0, 0.5)
    with pytest.raises(DataError, match="cost is not measured"):
        campaign.observe("M30", 3.0, measure="cost")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cheap_costs": ()}, "needs a column of its own, one of its cost"),
        ({"cheap": None}, "needs a column of its own, one of its cost"),
        ({"cheap": "real"}, "column 'real' is given twice"),
        ({"features": ("cheap",)}, "column 'cheap' is given twice"),
        ({"targets": (Target("real"), Target("size"))}, "and one target"),
    ],
)
def test_wrong_columns_are_one_line(change, message):
    given_ = {"targets": COLUMNS.targets, "costs": ("cost",), "cheap": "cheap"}
    with pytest.raises(DataError, match=message):
        Columns(**(given_ | {"cheap_costs": ("minutes",)} | change))


def test_a_cheap_one_that_costs_more_is_said_and_not_ordered():
    frame, _ = candidates()
    proposal = Campaign(COLUMNS, 1000.0).propose(frame.with_columns(minutes=pl.lit(60.0)))
    assert any("cheap costs more than real, and is not ordered: 40" in n for n in proposal.notes)
    assert set(proposal.measures) == {"real"}
