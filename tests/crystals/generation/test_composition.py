"""Sizes and compositions: counted by hand, asked for and met, learned as they were seen."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from variolite.crystals.generation import composition
from variolite.crystals.generation.composition import BACK_OFF
from variolite.crystals.generation.conditions import Conditions, Vocabulary
from variolite.crystals.generation.where import Where
from variolite.errors import DataError

SIZES, GROUPS = np.array([2, 2, 2, 4, 4, 6]), np.array([1, 1, 225, 225, 225, 0])
VALUES = np.array([1.0, 2.0, np.nan, 5.0, 6.0, 9.0])[:, None]
MODEL = composition.fit_atom_counts(Conditions(SIZES, np.ones(20, dtype=np.int64), GROUPS, VALUES))
BY_HAND = np.array([0, 0, 3, 0, 2, 0, 1]) + composition.PSEUDO_CRYSTALS / 6
BY_HAND[0] = 0.0
BY_HAND /= BY_HAND.sum()


def test_a_space_group_backs_off_and_a_property_follows_the_rule_of_bayes():
    np.testing.assert_allclose(MODEL.probabilities(Where()), BY_HAND)
    expected = np.array([0, 0, 1, 0, 2, 0, 0]) + BACK_OFF * BY_HAND
    found = MODEL.probabilities(Where(space_group=225))
    np.testing.assert_allclose(found, expected / expected.sum())
    np.testing.assert_allclose(MODEL.probabilities(Where(space_group=7)), BY_HAND)
    mean, deviation = MODEL.means[0], MODEL.deviations[0]
    overall = np.mean([1.0, 2.0, 5.0, 6.0, 9.0])
    assert mean[2] == pytest.approx((3.0 + BACK_OFF * overall) / (2 + BACK_OFF))
    assert mean[5] == pytest.approx(overall)
    expected = BY_HAND * np.exp(-0.5 * ((5.5 - mean) / deviation) ** 2) / deviation
    found = MODEL.probabilities(Where(properties=np.array([5.5])))
    np.testing.assert_allclose(found, expected / expected.sum())
    assert np.isfinite(MODEL.probabilities(Where(properties=np.array([1e6])))).all()


@given(st.integers(1, 6), st.integers(1, 6))
def test_multiples_and_least_numbers(multiple, least):
    allowed = [n for n in range(1, 7) if n % multiple == 0 and n >= least]
    assume(allowed)
    where = Where(formula={1: multiple}, elements=tuple(range(least)))
    chances = MODEL.probabilities(where)
    assert np.flatnonzero(chances).tolist() == allowed
    assert chances.sum() == pytest.approx(1.0)
    with pytest.raises(DataError, match="no crystal of at most 6 atoms"):
        MODEL.probabilities(Where(formula={1: 7}))


def known(counts, species=0, value=np.nan, properties=1):
    sizes = np.array(counts, dtype=np.int64)
    values = np.full((len(sizes), properties), value)
    return Conditions(sizes, np.full(sizes.sum(), species), np.zeros_like(sizes), values)


def drawn(prior, asked, where, seed=0):
    return composition.sample_compositions(
        prior.compositions, asked, prior.vocabulary, where, seed=seed
    )


@given(
    st.lists(st.integers(4, 8), min_size=1, max_size=6),
    st.lists(st.sampled_from([3, 8, 11, 17, 22]), max_size=4, unique=True),
    st.booleans(),
    st.integers(0, 5),
)
def test_sizes_and_elements_are_those_asked_for(prior, counts, elements, others, seed):
    where = Where(elements=tuple(elements), others=others or not elements)
    species = drawn(prior, known(counts), where, seed)
    assert len(species) == sum(counts)
    for part in np.split(species, np.cumsum(counts)[:-1]):
        found = set(part.tolist())
        assert set(elements) <= found <= set(prior.vocabulary.elements)
        assert where.others or found == set(elements)
        assert np.count_nonzero(np.diff(part)) == len(found) - 1  # one element together


def test_what_was_seen_is_drawn_and_a_property_changes_it(prior):
    species = drawn(prior, known([5] * 300), Where(), 1).reshape(300, 5)
    perovskites = [sorted(row) in ([3, 8, 8, 8, 22], [8, 8, 8, 11, 22]) for row in species.tolist()]
    assert np.mean(perovskites) > 0.9
    assert 0.3 < (species == 3).any(axis=1).mean() < 0.7
    # Sodium is lower in energy than lithium.
    energies = (known([2] * 200, value=energy) for energy in (-0.6, -2.0))
    high, low = ((drawn(prior, asked, Where()) == 11).mean() for asked in energies)
    assert low > high + 0.1


def test_a_seed_repeats_and_one_element_is_enough(crystals, monkeypatch):
    monkeypatch.setattr(composition, "EPOCHS", 3)
    monkeypatch.setattr(composition, "FEWEST_STEPS", 3)
    few = Conditions.of(crystals.take(slice(0, 60)), ["energy"])
    vocabulary = Vocabulary.of(few, ["energy"])
    networks = [
        composition.fit_compositions(few, vocabulary, seed=4).parameters() for _ in range(2)
    ]
    assert all(bool((a == b).all()) for a, b in zip(*networks, strict=True))
    carbon = known([4, 6, 8], species=6, properties=0)
    vocabulary = Vocabulary.of(carbon, [])
    network = composition.fit_compositions(carbon, vocabulary)
    alone = composition.sample_compositions(
        network, known([3, 8], properties=0), vocabulary, Where()
    )
    assert alone.tolist() == [6] * 11
