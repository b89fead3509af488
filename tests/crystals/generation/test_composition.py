"""Compositions: whatever is asked for is met, and what is learned is what was seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystals
from variolite.crystals.generation import composition
from variolite.crystals.generation.composition import (
    fit_compositions,
    sample_compositions,
)
from variolite.crystals.generation.conditions import Conditions, Vocabulary
from variolite.crystals.generation.prior import LatentPrior


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "EPOCHS", 3)
    monkeypatch.setattr(composition, "FEWEST_STEPS", 3)


def asked(counts: list[int], properties: int = 1) -> Conditions:
    sizes = np.array(counts, dtype=np.int64)
    return Conditions(
        sizes,
        np.zeros(sizes.sum(), dtype=np.int64),
        np.zeros(len(sizes), dtype=np.int64),
        np.full((len(sizes), properties), np.nan),
    )


@given(
    st.lists(st.integers(4, 8), min_size=1, max_size=6),
    st.lists(st.sampled_from([3, 8, 11, 17, 22]), max_size=4, unique=True),
    st.booleans(),
    st.integers(0, 5),
)
def test_sizes_and_elements_are_those_asked_for(
    prior: LatentPrior, counts: list[int], elements: list[int], others: bool, seed: int
) -> None:
    known = asked(counts)
    species = sample_compositions(
        prior.compositions,
        known,
        prior.vocabulary,
        elements=tuple(elements),
        others=others or not elements,
        seed=seed,
    )
    assert len(species) == sum(counts)
    for part in np.split(species, np.cumsum(counts)[:-1]):
        found = set(part.tolist())
        assert found >= set(elements)
        assert found <= set(prior.vocabulary.elements)
        if elements and not others:
            assert found == set(elements)
        assert (np.diff(np.flatnonzero(np.diff(part))) != 0).all()  # one element together


def test_what_was_seen_is_drawn(prior: LatentPrior) -> None:
    species = sample_compositions(
        prior.compositions, asked([5] * 300), prior.vocabulary, seed=1
    ).reshape(300, 5)
    perovskites = [sorted(row) in ([3, 8, 8, 8, 22], [8, 8, 8, 11, 22]) for row in species.tolist()]
    assert np.mean(perovskites) > 0.9
    lithium = (species == 3).any(axis=1).mean()
    assert 0.3 < lithium < 0.7


def test_the_same_seed_gives_the_same(short: None, crystals: Crystals) -> None:
    few = Conditions.of(crystals.take(slice(0, 60)), ["energy"])
    vocabulary = Vocabulary.of(few, ["energy"])
    drawn = []
    for _ in range(2):
        network = fit_compositions(few, vocabulary, seed=4)
        drawn.append(sample_compositions(network, asked([5, 8]), vocabulary, seed=7))
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_one_element_is_enough(short: None) -> None:
    known = Conditions(
        np.array([4, 6, 8]), np.full(18, 6), np.zeros(3, dtype=np.int64), np.empty((3, 0))
    )
    vocabulary = Vocabulary.of(known, [])
    network = fit_compositions(known, vocabulary)
    species = sample_compositions(network, asked([3, 8], 0), vocabulary)
    assert species.tolist() == [6] * 11


def test_a_property_changes_the_composition(prior: LatentPrior) -> None:
    shares = []
    for energy in (-0.6, -2.0):  # sodium is lower in energy than lithium
        known = asked([2] * 200)
        told = Conditions(
            known.counts, known.species, known.space_groups, np.full((200, 1), energy)
        )
        drawn = sample_compositions(prior.compositions, told, prior.vocabulary, seed=0)
        shares.append(float((drawn == 11).mean()))
    assert shares[1] > shares[0] + 0.1
