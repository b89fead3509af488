from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.planning.selection import AtMost, Share, choose

MONEY = st.floats(0.01, 1000.0).map(lambda x: round(x, 2))


@given(
    st.lists(st.tuples(st.floats(0.01, 10.0), MONEY), min_size=1, max_size=8),
    MONEY,
    st.integers(1, 5),
)
def test_no_batch_is_better_than_the_best_of_all(candidates, budget, count):
    score, cost = np.array(candidates).T
    taken = choose(score, cost, budget, count)
    cents = np.round(cost * 100).astype(int)
    assert cents[taken].sum() <= round(budget * 100)
    assert len(taken) <= count
    best = max(
        score[list(some)].sum() if some else 0.0
        for size in range(count + 1)
        for some in combinations(range(len(score)), size)
        if cents[list(some)].sum() <= round(budget * 100)
    )
    assert score[taken].sum() >= best * (1 - 2e-3)


@given(st.integers(0, 10_000))
def test_the_budget_is_never_exceeded(seed):
    random = np.random.default_rng(seed)
    number = int(random.integers(1, 60))
    cost = random.choice([random.uniform(0, 9, number), random.integers(0, 9, number) / 10])
    budget = float(random.uniform(0, 30))
    taken = choose(random.random(number), cost, budget, int(random.integers(1, 20)))
    assert cost[taken].sum() <= budget + 1e-9


def test_limits_and_controls_hold():
    random = np.random.default_rng(0)
    score, cost = random.random(60), np.ones(60)
    metal = random.choice(["Zn", "Fe", "Cu", "Al"], 60)
    taken = choose(score, cost, 20, 10, limits=[AtMost(metal, most=2)], required=[3])
    assert max(np.unique(metal[taken], return_counts=True)[1]) == 2
    assert 3 in taken
    assert len(taken) == 8
    share = Share(metal, value="Zn", least=0.7, most=0.85)
    taken = choose(score, cost, 20, 10, limits=[share])
    assert 0.7 <= (metal[taken] == "Zn").mean() <= 0.85
    none = choose(score, cost, 20, 10, limits=[Share(metal, value="Zn", most=0.0)])
    assert "Zn" not in metal[none]
    assert len(none) == 10


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match=r"what is required costs 12\.00"):
        choose(np.ones(3), np.array([12.0, 1.0, 1.0]), 10, 2, required=[0])
    one = AtMost(np.array(["Zn", "Zn", "Fe"]), "at most 1 per metal", most=1)
    with pytest.raises(DataError, match="no batch keeps at most 1 per metal"):
        choose(np.ones(3), np.ones(3), 10, 3, limits=[one], required=[0, 1])


def test_unknown_costs_and_scores_are_not_taken():
    score = np.array([5.0, np.nan, 0.0, 1.0])
    cost = np.array([np.nan, 1.0, 1.0, 1.0])
    assert choose(score, cost, 10, 4).tolist() == [3]


def test_a_batch_is_filled_although_most_scores_are_next_to_nothing():
    score, cost = np.r_[1.0, np.full(29, 1e-9)], np.full(30, 5.0)
    assert len(choose(score, cost, 100.0, 10)) == 10
    assert len(choose(score, cost, 27.0, 10)) == 5
    alike = AtMost(np.repeat(["a", "b", "c"], 10), most=2)
    assert len(choose(score, cost, 100.0, 10, limits=[alike])) == 6


def test_the_best_come_first():
    score = np.array([0.2, 0.9, 0.5])
    assert choose(score, np.ones(3), 3, 3).tolist() == [1, 2, 0]
