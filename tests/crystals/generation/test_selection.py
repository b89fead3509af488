"""Compositions are chosen by one head and evaluated by another that never saw theirs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from variolite.crystals.elements import reduced_formulas
from variolite.crystals.generation import properties, selection
from variolite.crystals.generation.sampling import Sampling, generate
from variolite.crystals.generation.selection import DRAWS, fit_selection
from variolite.crystals.generation.where import parse_where
from variolite.errors import DataError


@pytest.fixture(scope="module")
def fitted(codec, crystals):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(properties, "EPOCHS", 20)
        return fit_selection(codec.encode(crystals), crystals, ("energy",), units={"energy": "eV"})


@pytest.fixture
def asked(prior):
    return lambda **where: parse_where(where, prior.vocabulary)


def test_the_heads_share_no_composition(codec, crystals, monkeypatch):
    given = []

    def fit(latents, some, names, *, units, seed):
        given.append((latents, some, names, seed))
        return f"head {len(given)}"

    monkeypatch.setattr(selection, "fit_property_head", fit)
    thin = np.where(np.arange(len(crystals)) < 10, 1.0, np.nan)
    some = replace(crystals, properties={**crystals.properties, "thin": thin})
    found = fit_selection(codec.encode(some), some, ("energy", "thin"))
    assert (found.chooser, found.independent) == ("head 1", "head 2")
    (nothing, first, names, seed), (latents, second, _, other) = given
    assert nothing is None
    assert names == ["energy"]
    assert seed != other
    one, two = (set(reduced_formulas(part)) for part in (first, second))
    assert not one & two
    assert one | two == set(reduced_formulas(crystals))
    np.testing.assert_array_equal(latents.mean, codec.encode(second).mean)
    assert fit_selection(codec.encode(some), some, ("thin",)) is None


def test_the_nearest_of_the_draws_is_kept(prior, fitted, asked):
    where = asked(energy=-1.2)
    drawn = prior.propose(5 * DRAWS, where, seed=3)
    kept = fitted.propose(prior, 5, where, seed=3)
    rows = properties.composition_descriptors(
        drawn.offsets, drawn.species, fitted.chooser.about.elements
    )
    predicted = fitted.chooser.predict_rows(rows).values[:, 0]
    for place in range(5):
        some = np.arange(place * DRAWS, (place + 1) * DRAWS)
        best = drawn.take(some[[np.abs(predicted[some] + 1.2).argmin()]])
        np.testing.assert_array_equal(kept.take(np.array([place])).species, best.species)
    # Nothing is chosen without a property, or where the composition is given.
    for other in (asked(), asked(energy=-1.0, composition="LiTiO3")):
        plain = prior.propose(5, other, seed=3)
        np.testing.assert_array_equal(
            fitted.propose(prior, 5, other, seed=3).species, plain.species
        )


def test_what_is_proposed_obeys(prior, fitted, asked):
    values, kinds = (-1.4, -1.1, -0.8, -0.4), {2: 0.0, 8: 0.5, 5: 1.0}
    found = []
    for propose in (partial(fitted.propose, prior), prior.propose):
        energies = []
        for value in values:
            drawn = propose(40, asked(energy=value), seed=1)
            # The law of the toy world, but for the volume and for sizes that it does not have.
            for place in range(40):
                one = drawn.take(np.array([place]))
                cation = 11 if 11 in one.species else 3
                energies.append(-0.1 * cation - kinds.get(len(one.species), 0.5))
        found.append(spearmanr(np.repeat(values, 40), energies)[0])
    assert found[0] > 0.7
    assert found[0] > found[1]


def test_what_came_out_in_words_and_numbers(prior, codec, crystals, fitted, asked):
    latents = codec.encode(crystals)
    values, (line,) = fitted.evaluate(prior, asked(energy=-1.5), latents, crystals)
    predicted = fitted.independent.predict(latents, crystals.species)
    np.testing.assert_array_equal(values["energy"], predicted.values[:, 0])
    inside = ((predicted.low <= -1.5) & (predicted.high >= -1.5)).mean()
    score = fitted.independent.about.scores["energy"]
    assert line.startswith("energy: -1.5 eV was asked for; an independent regression")
    assert f"predicts {np.median(values['energy']):.3g} eV in the median" in line
    assert f"for {inside:.0%} what was asked for lies in its 90% interval" in line
    assert f"mean error is {score.error:.2g} eV" in line
    assert fitted.evaluate(prior, asked(atoms=2), latents, crystals) == ({}, [])
    # A regression that is no better than a guess says nothing of the result.
    about = fitted.independent.about
    useless = replace(about, scores={"energy": replace(score, baseline=score.error)})
    blind = replace(fitted, independent=replace(fitted.independent, about=useless))
    _, (line,) = blind.evaluate(prior, asked(energy=-1.5), latents, crystals)
    assert "whether these crystals have it is not known" in line


def test_what_no_training_crystal_has_is_refused(prior, codec, crystals, fitted):
    energy = crystals.properties["energy"]
    least, low, high, most = fitted.range_of("energy")
    assert (least, most) == (energy.min(), energy.max())
    assert least < low < high < most
    for value in (least - 0.1, most + 0.1):
        with pytest.raises(DataError, match="outside the training crystals, which have"):
            generate(codec.decode, prior, 2, Sampling({"energy": value}), selection=fitted)


def test_a_head_refuses_the_descriptors_of_another(fitted):
    rows = np.zeros((2, len(fitted.chooser.arrays.location)))
    with pytest.raises(DataError, match="are not the"):
        fitted.independent.predict_rows(rows)
