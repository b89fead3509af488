import json

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, ShortfallError
from variolite.planning import Campaign, Columns, Rules, Target
from variolite.planning.campaign import Order
from variolite.planning.page import campaign_page

COLUMNS = Columns((Target("uptake"),), costs=("cost",))


def returned(frame, uptake, names):
    """Enter the true values of some candidates."""
    truth = pl.Series(uptake)
    return frame.with_columns(
        uptake=pl.when(pl.col("name").is_in(names)).then(truth).otherwise("uptake")
    )


def test_a_campaign_spends_no_more_than_its_budget_and_finds_the_best(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 1500.0, Rules(batch=8))
    while True:
        try:
            proposal = campaign.propose(frame)
        except DataError as error:
            assert "cheapest" in str(error)  # noqa: PT017
            break
        assert proposal.cost <= campaign.budget
        frame = returned(frame, uptake, proposal.names)
    assert 0 <= campaign.left < 90
    known = frame["uptake"].drop_nulls()
    assert known.max() == pytest.approx(uptake.max())
    paid = frame.filter(pl.col("name").is_in([o.name for o in campaign.orders]))["cost"].sum()
    assert campaign.spent == pytest.approx(paid)


def test_half_of_a_batch_comes_back(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 2000.0)
    first = campaign.propose(frame)
    frame = returned(frame, uptake, first.names[:5])
    second = campaign.propose(frame)
    assert campaign.round == 2
    assert not set(second.names) & set(first.names)
    assert [o.name for o in campaign.pending if o.round == 1] == first.names[5:]
    assert campaign.spent == pytest.approx(sum(first.costs[:5]))
    assert campaign.committed == pytest.approx(sum(first.costs[5:]) + second.cost)


def test_the_same_command_twice_orders_once(made_up):
    campaign = Campaign(COLUMNS, 2000.0, Rules(fixed_cost=7.0))
    first = campaign.propose(made_up[0])
    left = campaign.left
    again = campaign.propose(made_up[0])
    assert again.names == first.names
    assert campaign.left == pytest.approx(left)
    assert len(campaign.orders) == len(first.names)
    assert campaign.fixed == [7.0]


def test_a_saved_campaign_continues(made_up, tmp_path):
    frame, uptake = made_up
    kept, whole = (Campaign(COLUMNS, 2000.0) for _ in range(2))
    first = whole.propose(frame)
    kept.propose(frame)
    kept.save(tmp_path / "kept.json")
    frame = returned(frame, uptake, first.names)
    again = Campaign(COLUMNS, 2000.0).restore(tmp_path / "kept.json")
    assert again.propose(frame).table.equals(whole.propose(frame).table)
    assert again == whole


ORDER = {"name": "M040", "round": 1, "cost": 5.0, "values": None, "withdrawn": False}


@pytest.mark.parametrize(
    "change",
    [
        {"orders": [1]},
        {"orders": [ORDER | {"cost": -5.0}]},
        {"orders": [ORDER | {"cost": float("nan")}]},
        {"orders": [ORDER | {"round": 2}]},
        {"orders": [ORDER | {"values": [1.0, 2.0]}]},
        {"orders": [ORDER, ORDER]},
        {"fixed": ["much"]},
        {"results": {"M040": ["high"]}},
        {"targets": None},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    path = tmp_path / "kept.json"
    campaign = Campaign(COLUMNS, 2000.0, orders=[Order("M041", 1, 5.0)], fixed=[0.0])
    campaign.save(path)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | change))
    with pytest.raises(DataError, match="changed after it was written"):
        Campaign(COLUMNS, 10.0).restore(path)
    del whole["checksum"]
    path.write_text(json.dumps(whole))
    assert Campaign(COLUMNS, 2000.0).restore(path) == campaign
    for text in (json.dumps(whole | change), path.read_text()[:-20], "", "{}", "[" * 9999):
        path.write_text(text)
        with pytest.raises(DataError, match="no campaign of Variolite"):
            Campaign(COLUMNS, 10.0).restore(path)


def test_a_file_of_other_targets_is_refused(tmp_path, made_up):
    path = tmp_path / "kept.json"
    Campaign(Columns((Target("other"),)), 10.0).save(path)
    with pytest.raises(DataError, match="a campaign for other"):
        Campaign(COLUMNS, 10.0).restore(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(DataError, match="newer version"):
        Campaign(COLUMNS, 10.0).restore(path)


def test_a_pool_that_was_edited_is_noticed(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 2000.0)
    names = campaign.propose(frame).names
    frame = returned(frame, uptake, names[:4])
    campaign.propose(frame)
    edited = frame.filter(pl.col("name") != names[4]).with_columns(
        uptake=pl.when(pl.col("name") == names[0]).then(9.9).otherwise("uptake"),
        cost=pl.when(pl.col("name") == names[5]).then(1.0).otherwise("cost"),
    )
    notes = " ".join(campaign.propose(edited).notes)
    assert f"no longer in the pool; their money stays committed: {names[4]}" in notes
    assert f"values changed since the last call: {names[0]}" in notes
    assert f"costs changed: {names[5]}" in notes


def test_an_order_that_is_replaced_is_withdrawn_and_paid_for_if_it_comes_back(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 900.0, Rules(batch=5))
    first = campaign.propose(frame)
    campaign.rules = Rules(batch=5, at_most={"metal": 1})
    second = campaign.propose(frame)
    dropped = sorted({*first.names} - {*second.names})
    (note,) = (note for note in second.notes if "do not measure: " in note)
    assert sorted(note.split("measure: ")[1].split(", ")) == dropped
    assert campaign.committed == pytest.approx(second.cost)
    third = campaign.propose(returned(frame, uptake, [dropped[0], *second.names]))
    assert any(f"came back, and their money is spent: {dropped[0]}" in n for n in third.notes)
    paid = frame.filter(pl.col("name").is_in([dropped[0], *second.names]))["cost"].sum()
    assert campaign.spent == pytest.approx(paid)
    assert campaign.left >= 0


def test_a_straggler_of_an_earlier_round_withdraws_nothing(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 2000.0, Rules(batch=4))
    first = campaign.propose(frame)
    frame = returned(frame, uptake, first.names[:2])
    second = campaign.propose(frame)
    third = campaign.propose(returned(frame, uptake, first.names))
    assert not any(order.withdrawn for order in campaign.orders)
    assert {o.name for o in campaign.pending} == {*second.names, *third.names}
    assert campaign.round == 3


def test_a_value_that_is_gone_is_not_paid_for_again(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 3000.0)
    first = campaign.propose(frame)
    campaign.propose(returned(frame, uptake, first.names))
    again = campaign.propose(returned(frame, uptake, first.names[1:]))
    assert f"not ordered again: {first.names[0]}" in " ".join(again.notes)
    names = [order.name for order in campaign.orders]
    assert len(names) == len({*names})


def test_values_without_an_order_are_named(made_up):
    frame, uptake = made_up
    campaign = Campaign(COLUMNS, 3000.0)
    first = campaign.propose(frame)
    other = next(n for n in frame["name"][30:].to_list() if n not in first.names)
    notes = campaign.propose(returned(frame, uptake, [other])).notes
    assert (
        f"measured without an order, so that the budget does not hold their cost: {other}" in notes
    )
    assert {o.name for o in campaign.pending} >= {*first.names}


def test_a_proposal_that_fails_changes_nothing(made_up):
    campaign = Campaign(COLUMNS, 900.0)
    campaign.propose(made_up[0])
    before = (list(campaign.orders), list(campaign.fixed), campaign.left)
    campaign.rules = Rules(controls=("nobody",))
    with pytest.raises(DataError, match="'nobody' is not in the pool"):
        campaign.propose(made_up[0])
    assert (campaign.orders, campaign.fixed, campaign.left) == before


def test_a_campaign_of_another_pool_is_refused(made_up):
    campaign = Campaign(COLUMNS, 900.0)
    campaign.propose(made_up[0])
    with pytest.raises(DataError, match="no candidate that was ordered is in the pool"):
        campaign.propose(made_up[0].with_columns(name="X" + pl.col("name")))


def test_only_observations_are_entered(made_up):
    campaign = Campaign(COLUMNS, 2000.0)
    with pytest.raises(DataError, match="a predicted value of M100 is no observation"):
        campaign.observe("M100", 3.0, kind="predicted")
    with pytest.raises(DataError, match="Give a number for each of uptake"):
        campaign.observe("M100", float("nan"))
    campaign.observe("M100", 99.0, kind="simulated")
    assert campaign.pool(made_up[0]).values[100, 0] == 99.0
    campaign.observe("X", 1.0)
    with pytest.raises(DataError, match="X is not in the pool"):
        campaign.propose(made_up[0])


def test_a_pool_that_is_exhausted_is_an_end(made_up):
    frame, uptake = made_up
    with pytest.raises(ShortfallError, match="every candidate"):
        Campaign(COLUMNS, 9.0).propose(frame.with_columns(uptake=pl.Series(uptake)))


def test_a_budget_below_the_cheapest_is_refused(made_up):
    cheapest = made_up[0][30:]["cost"].min()
    with pytest.raises(DataError, match=f"the cheapest candidate costs {cheapest:.2f}"):
        Campaign(COLUMNS, cheapest - 0.01).propose(made_up[0])


@pytest.mark.parametrize("values", [None, 3.0])
def test_without_anything_to_learn_from_a_batch_is_spread(made_up, values):
    frame = made_up[0].with_columns(
        uptake=pl.when(pl.col("uptake").is_not_null()).then(pl.lit(values, dtype=pl.Float64))
    )
    campaign = Campaign(Columns((Target("uptake"),), costs=("cost",)), 800.0)
    proposal = campaign.propose(frame)
    assert proposal.gain is None
    assert proposal.cost <= 800.0
    chosen = frame.filter(pl.col("name").is_in(proposal.names))
    assert chosen["pores"].std() > 0.8 * frame["pores"].std()


def test_worth_says_when_to_stop(made_up):
    frame, _ = made_up
    campaigns = [
        Campaign(Columns((Target("uptake", worth=worth),), costs=("cost",)), 900.0)
        for worth in (0.001, 1e6)
    ]
    dear, cheap = (campaign.propose(frame) for campaign in campaigns)
    assert dear.verdict.startswith("Stop")
    assert dear.names == []
    assert set(dear.rest["why_not"]) == {"brings less than it costs"}
    assert "Nothing is ordered.</p>" in campaign_page(campaigns[0], dear, "batch")
    assert dear.best == frame["uptake"].max()
    assert cheap.verdict.startswith("Continue")


def test_rules_hold(made_up):
    frame, _ = made_up
    rules = Rules(
        batch=6, batch_budget=200.0, at_most={"metal": 3}, controls=("M099",), fixed_cost=5.0
    )
    proposal = Campaign(COLUMNS, 1000.0, rules).propose(frame)
    chosen = frame.filter(pl.col("name").is_in(proposal.names))
    assert proposal.cost <= 200.0
    assert chosen["metal"].value_counts()["count"].max() <= 3
    assert proposal.table.filter(pl.col("name") == "M099")["why"].to_list() == ["control"]


def test_two_targets_are_weighed(made_up):
    frame = made_up[0].with_columns(
        purity=pl.when(pl.col("uptake").is_not_null()).then(10 - pl.col("pores"))
    )
    columns = Columns((Target("uptake"), Target("purity")), costs=("cost",))
    table = Campaign(columns, 500.0).propose(frame).table
    assert {"uptake_predicted", "purity_predicted"} <= set(table.columns)


def test_a_million_cells_are_screened_in_parts(made_up, monkeypatch):
    from variolite.planning import next_batch

    monkeypatch.setattr(next_batch, "_CHUNK", 13)
    monkeypatch.setattr(next_batch, "_SCREENED", 40)
    found = Campaign(COLUMNS, 500.0).propose(made_up[0])
    assert len(found.names) == 10
    assert any("of 90 candidates by upper bound" in note for note in found.notes)


def test_intervals_of_a_target_to_minimise_are_in_its_own_sign(made_up):
    frame = made_up[0].with_columns(loss=-pl.col("uptake")).drop("uptake")
    columns = Columns((Target("loss", minimise=True),), costs=("cost",))
    table = Campaign(columns, 500.0).propose(frame).table
    assert (table["loss_low"] <= table["loss_predicted"]).all()
    assert (table["loss_predicted"] <= table["loss_high"]).all()
    assert table["loss_predicted"].mean() < np.nanmean(frame["loss"].to_numpy())
