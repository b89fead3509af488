"""Places keep their size until they are filled, and nobody waits for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.sampling import KEPT_ATTEMPTS, Proposals
from variolite.crystals.generation.where import Where


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=25)
def test_every_place_is_filled_once_by_its_first_valid_attempt(
    prior: LatentPrior, number: int, copies: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    proposals = Proposals(prior, number, Where(), seed)
    got: list[int] = []
    while len(proposals.missing):
        tried, conditions = proposals.attempt(copies, most)
        assert 0 < len(tried) <= most
        assert len(conditions) == len(tried)
        valid = random.random(len(tried)) < 0.4
        filled, chosen = proposals.fill(tried, valid)
        assert valid[chosen].all()
        assert (tried[chosen] == filled).all()
        firsts = [np.flatnonzero((tried == place) & valid)[0] for place in filled]
        assert chosen.tolist() == firsts
        got += filled.tolist()
        assert sorted([*got, *proposals.missing.tolist()]) == list(range(number))


def test_sizes_are_kept_whatever_is_rejected(prior: LatentPrior) -> None:
    proposals = Proposals(prior, 400, Where(), 3)
    wanted = proposals.attempt(1, 400)[1].counts
    random = np.random.default_rng(0)
    sizes = np.zeros(400, dtype=np.int64)
    while len(proposals.missing):
        tried, conditions = proposals.attempt(1, 400)
        # Large ones come out half as often.
        valid = random.random(len(tried)) < np.where(conditions.counts > 2, 0.45, 0.9)
        filled, chosen = proposals.fill(tried, valid)
        sizes[filled] = conditions.counts[chosen]
    assert len(set(wanted.tolist())) > 1
    assert (sizes == wanted).mean() > 0.98


def test_what_never_comes_out_is_given_up(prior: LatentPrior) -> None:
    proposals = Proposals(prior, 1, Where(), 1)
    seen = []
    for _ in range(20 * KEPT_ATTEMPTS):
        tried, conditions = proposals.attempt(1, 1)
        seen.append((int(conditions.counts[0]), tuple(conditions.species.tolist())))
        proposals.fill(tried, np.array([False]))
    assert len(set(seen[:KEPT_ATTEMPTS])) == 1
    assert len(set(seen)) > 3
