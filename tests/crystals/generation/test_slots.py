"""Places keep their size until they are filled, and nobody waits for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.generation.conditions import Where
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.sampling import STUBBORN, Slots


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=25)
def test_every_place_is_filled_once_by_its_first_valid_attempt(
    prior: LatentPrior, number: int, copies: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    slots = Slots(prior, number, Where(), seed)
    got: list[int] = []
    while len(slots.missing):
        tried, known = slots.attempt(copies, most)
        assert 0 < len(tried) <= most
        assert len(known) == len(tried)
        valid = random.random(len(tried)) < 0.4
        filled, chosen = slots.fill(tried, valid)
        assert valid[chosen].all()
        assert (tried[chosen] == filled).all()
        firsts = [np.flatnonzero((tried == place) & valid)[0] for place in filled]
        assert chosen.tolist() == firsts
        got += filled.tolist()
        assert sorted([*got, *slots.missing.tolist()]) == list(range(number))


def test_sizes_are_kept_whatever_is_turned_away(prior: LatentPrior) -> None:
    slots = Slots(prior, 400, Where(), 3)
    wanted = slots.attempt(1, 400)[1].counts
    random = np.random.default_rng(0)
    sizes = np.zeros(400, dtype=np.int64)
    while len(slots.missing):
        tried, known = slots.attempt(1, 400)
        # Large ones come out half as often.
        valid = random.random(len(tried)) < np.where(known.counts > 2, 0.45, 0.9)
        filled, chosen = slots.fill(tried, valid)
        sizes[filled] = known.counts[chosen]
    assert len(set(wanted.tolist())) > 1
    assert (sizes == wanted).mean() > 0.98


def test_what_never_comes_out_is_given_up(prior: LatentPrior) -> None:
    slots = Slots(prior, 1, Where(), 1)
    seen = []
    for _ in range(20 * STUBBORN):
        tried, known = slots.attempt(1, 1)
        seen.append((int(known.counts[0]), tuple(known.species.tolist())))
        slots.fill(tried, np.array([False]))
    assert len(set(seen[:STUBBORN])) == 1
    assert len(set(seen)) > 3
