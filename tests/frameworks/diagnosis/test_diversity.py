"""Numbers of states, distances and chances, against simulation and closed forms."""

import numpy as np
import pytest

from variolite.frameworks.diagnosis import diversity

COUNTS = np.array([40, 25, 10, 3, 1, 1])


def test_distinct_states_of_independent_draws():
    p = diversity.shares(COUNTS)
    rng = np.random.default_rng(0)
    drawn = (rng.multinomial(12, p, size=20_000) > 0).sum(axis=1)
    assert diversity.expected_distinct(p, 12) == pytest.approx(drawn.mean(), abs=0.02)
    # The six metal classes of the published models.
    source = diversity.shares([523, 67, 42, 31, 21, 3])
    assert diversity.expected_distinct(source, 50) == pytest.approx(4.8, abs=0.15)
    assert diversity.expected_distinct(source, 1000) == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize("n", [1, 7, 30, 79, 80, 200])
def test_chance_of_being_among_some_of_the_rows(n):
    found = diversity.chance_of_being_seen(COUNTS, n)
    rng = np.random.default_rng(1)
    drawn = rng.multivariate_hypergeometric(COUNTS, min(n, COUNTS.sum()), size=20_000)
    np.testing.assert_allclose(found, (drawn > 0).mean(axis=0), atol=0.015)


def test_chance_of_members_of_which_rows_have_several():
    # 10 rows, 4 of which hold the member: 1 - C(6, 3) / C(10, 3).
    assert diversity.chance_of_being_seen([4, 10, 0], 3, 10) == pytest.approx([5 / 6, 1, 0])


def test_effective_numbers():
    assert diversity.effective_number([0.25] * 4) == pytest.approx(4.0)
    found = diversity.effective_number([0.9, 0.1, 0.0])
    assert found == pytest.approx(np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1)))
    rarefied = diversity.rarefied_number(COUNTS, 20, np.random.default_rng(0))
    full = diversity.effective_number(diversity.shares(COUNTS))
    assert rarefied < full
    assert diversity.rarefied_number(COUNTS, 80, np.random.default_rng(0)) == full


def test_head_and_tail():
    assert diversity.head_of(COUNTS).tolist() == [0, 1]
    assert diversity.tail_of(COUNTS).tolist() == [4, 5]
    assert diversity.head_of(np.array([1, 9])).tolist() == [1]


def test_total_variation():
    assert diversity.total_variation([1.0, 0.0], [0.0, 1.0]) == 1.0
    assert diversity.total_variation([0.5, 0.5], [[0.5, 0.5], [0.8, 0.2]]) == pytest.approx(
        [0, 0.3]
    )
