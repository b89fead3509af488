import numpy as np
import pytest
from crystal_sets import random_compositions

from variolite.crystals import Crystals
from variolite.crystals.evaluation.stability import (
    ENOUGH,
    choose_references,
    element_fractions,
    fit_references,
)
from variolite.errors import DataError

MANY = random_compositions(900, seed=1)
RNG = np.random.default_rng(5)
TRUE = RNG.normal(-4.0, 2.0, size=119)
FORMATION = RNG.normal(-0.5, 0.5, size=len(MANY))


def potential(crystals: Crystals, noise: float) -> np.ndarray:
    exact = FORMATION + element_fractions(crystals) @ TRUE
    return exact + np.random.default_rng(2).normal(size=len(crystals)) * noise


def test_references_are_found_again():
    found = fit_references(MANY, potential(MANY, 0.0), FORMATION)
    np.testing.assert_allclose(found.references[1:95], TRUE[1:95], atol=1e-5)
    assert np.isnan(found.references[95:]).all()
    assert found.test_mae < 1e-5
    assert (found.n_crystals, found.n_test) == (900, 900)


def test_gross_errors_do_not_bend_the_rest():
    energies = potential(MANY, 0.02)
    spoiled = energies.copy()
    spoiled[RNG.random(len(MANY)) < 0.05] += 4.0
    x = element_fractions(MANY)
    clean = fit_references(MANY, energies, FORMATION).formation_energies(x, energies)
    robust = fit_references(MANY, spoiled, FORMATION).formation_energies(x, energies)
    assert np.abs(robust - clean).mean() < 0.01
    assert np.abs(clean - FORMATION).mean() == pytest.approx(0.016, abs=0.004)


def test_error_is_that_of_compositions_left_out():
    found = fit_references(MANY, potential(MANY, 0.05), FORMATION)
    # 94 references from 720 crystals: somewhat more than the mean absolute noise.
    assert 0.05 * np.sqrt(2 / np.pi) < found.test_mae < 0.06
    assert found.test_median < found.test_mae
    repeated = Crystals.concatenate([MANY.take(slice(0, 40))] * 8)
    # Were the same composition on both sides, 40 crystals would foretell themselves.
    e = np.tile(potential(MANY, 0.5)[:40], 8)
    assert not fit_references(repeated, e, np.tile(FORMATION[:40], 8)).test_mae < 0.3


def test_elements_seen_too_rarely_have_no_reference():
    x = element_fractions(MANY)
    often = (x > 0).sum(axis=0)
    few = MANY.take(slice(0, 60))
    found = fit_references(few, potential(MANY, 0.0)[:60], FORMATION[:60])
    known = np.isfinite(found.references)
    assert 0 < known.sum() < (often > 0).sum()
    assert ((element_fractions(few) > 0).sum(axis=0)[known] >= ENOUGH).all()
    values = found.formation_energies(x, potential(MANY, 0.0))
    assert np.isnan(values).tolist() == (x[:, ~known] > 0).any(axis=1).tolist()
    assert 0 < len(found.missing(x)) == (often[~known] > 0).sum()


def test_a_draw_has_enough_of_every_element():
    chosen = choose_references(MANY, 100, seed=4)
    present = element_fractions(MANY) > 0
    enough = np.minimum(present.sum(axis=0), 2 * ENOUGH)
    assert (present[chosen].sum(axis=0) >= enough).all()
    assert len(np.unique(chosen)) == len(chosen) < 400
    assert np.array_equal(chosen, choose_references(MANY, 100, seed=4))
    assert len(choose_references(MANY, 5000)) == len(MANY)


def test_too_few_crystals_are_refused():
    two = MANY.take(slice(0, 2))
    with pytest.raises(DataError, match="2 crystals of known formation energy are too few"):
        fit_references(two, np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="0 crystals"):
        fit_references(MANY, np.full(900, np.nan), FORMATION)
