"""Of several draws the one of lowest energy is kept, and nothing that it must not be."""

from types import SimpleNamespace

import numpy as np
import pytest

from variolite.crystals.elements import compositions
from variolite.crystals.generation import best_of
from variolite.crystals.generation.best_of import lowest_of
from variolite.crystals.generation.sampling import Sampling, generate, reject_reasons

SAMPLING = Sampling(steps=4, symmetrise=0.05)


@pytest.fixture(scope="module")
def model(prior, codec):
    return SimpleNamespace(prior=prior, decode=codec.decode, species_given=False)


@pytest.fixture(scope="module")
def made(model):
    return generate(model.decode, model.prior, 24, SAMPLING).crystals


def per_atom(crystals):
    return crystals.volumes / crystals.counts


def test_energies_fall_and_compositions_stay(model, made, monkeypatch):
    asked, steps = [], []

    def energies(crystals):
        asked.append(len(crystals))
        return per_atom(crystals)

    monkeypatch.setattr(best_of, "AT_ONCE", 64)
    found = lowest_of(model, made, 8, energies, SAMPLING, log=steps.append)
    np.testing.assert_allclose(per_atom(found.crystals), found.energies)
    assert (found.energies <= found.first).all()
    assert ((found.draw == 0) == (found.energies == found.first)).all()
    assert (found.draw > 0).mean() > 0.5
    np.testing.assert_array_equal(compositions(found.crystals), compositions(made))
    assert found.crystals.names.tolist() == made.names.tolist()
    assert (reject_reasons(found.crystals, model.prior) == "").all()
    assert len(asked) == 3
    assert 24 <= sum(asked) <= 24 * 8
    assert "24 of 24" in steps[-1]


def test_further_draws_only_lower_the_energy_and_the_seed_decides(model, made):
    few, more, again = (lowest_of(model, made, n, per_atom, SAMPLING) for n in (2, 6, 2))
    assert more.energies.mean() < few.energies.mean() < few.first.mean()
    np.testing.assert_array_equal(few.energies, again.energies)


def test_without_an_energy_the_first_draw_stays(model, made):
    found = lowest_of(model, made, 3, lambda some: np.full(len(some), np.nan), SAMPLING)
    np.testing.assert_array_equal(found.crystals.coordinates, made.coordinates)
    np.testing.assert_array_equal(found.crystals.lattices, made.lattices)
    assert np.isnan(found.energies).all()
