import numpy as np
import pytest
from crystal_sets import random_compositions

from variolite.crystals import Crystals
from variolite.crystals.evaluation.fingerprints import element_fractions
from variolite.crystals.evaluation.stability import ENOUGH, choose_references, fit_references
from variolite.errors import DataError

MANY = random_compositions(900, seed=1)
FRACTIONS = element_fractions(MANY)
RNG = np.random.default_rng(5)
TRUE = RNG.normal(-4.0, 2.0, size=119)
FORMATION = RNG.normal(-0.5, 0.5, size=len(MANY))
EXACT = FORMATION + FRACTIONS @ TRUE
NOISE = np.random.default_rng(2).normal(size=len(MANY))


def test_references_are_found_again_unless_there_are_too_few_crystals():
    found = fit_references(MANY, EXACT, FORMATION)
    np.testing.assert_allclose(found.references[1:95], TRUE[1:95], atol=1e-5)
    assert np.isnan(found.references[95:]).all()
    assert found.test_mae < 1e-5
    assert (found.n_crystals, found.n_test) == (900, 900)
    with pytest.raises(DataError, match="2 crystals of known formation energy are too few"):
        fit_references(MANY.take(slice(0, 2)), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="0 crystals"):
        fit_references(MANY, np.full(900, np.nan), FORMATION)


def test_gross_errors_do_not_bend_the_rest():
    energies = EXACT + 0.02 * NOISE
    spoiled = np.where(RNG.random(len(MANY)) < 0.05, energies + 4.0, energies)
    clean, robust = (
        fit_references(MANY, fitted, FORMATION).formation_energies(FRACTIONS, energies)
        for fitted in (energies, spoiled)
    )
    assert np.abs(robust - clean).mean() < 0.01
    assert np.abs(clean - FORMATION).mean() == pytest.approx(0.016, abs=0.004)


def test_error_is_that_of_compositions_left_out():
    found = fit_references(MANY, EXACT + 0.05 * NOISE, FORMATION)
    # 94 references from 720 crystals: somewhat more than the mean absolute noise.
    assert 0.05 * np.sqrt(2 / np.pi) < found.test_mae < 0.06
    assert found.test_median < found.test_mae
    repeated = Crystals.concatenate([MANY.take(slice(0, 40))] * 8)
    # Were the same composition on both sides, 40 crystals would foretell themselves.
    energies = np.tile((EXACT + 0.5 * NOISE)[:40], 8)
    assert not fit_references(repeated, energies, np.tile(FORMATION[:40], 8)).test_mae < 0.3


def test_elements_seen_too_rarely_have_no_reference():
    present = (FRACTIONS > 0).any(axis=0)
    found = fit_references(MANY.take(slice(0, 60)), EXACT[:60], FORMATION[:60])
    known = np.isfinite(found.references)
    assert 0 < known.sum() < present.sum()
    assert ((FRACTIONS[:60] > 0).sum(axis=0)[known] >= ENOUGH).all()
    values = found.formation_energies(FRACTIONS, EXACT)
    assert np.isnan(values).tolist() == (FRACTIONS[:, ~known] > 0).any(axis=1).tolist()
    assert 0 < len(found.missing(FRACTIONS)) == present[~known].sum()


def test_a_draw_has_enough_of_every_element():
    chosen = choose_references(MANY, 100, seed=4)
    enough = np.minimum((FRACTIONS > 0).sum(axis=0), 2 * ENOUGH)
    assert ((FRACTIONS[chosen] > 0).sum(axis=0) >= enough).all()
    assert len(np.unique(chosen)) == len(chosen) < 400
    assert np.array_equal(chosen, choose_references(MANY, 100, seed=4))
    assert len(choose_references(MANY, 5000)) == len(MANY)
