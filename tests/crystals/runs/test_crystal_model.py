"""Encoding, decoding and reconstructing whole crystals, given in any way."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from drawn_crystals import ALL, drawn_crystals, drawn_sets, model_for, wrapped_difference
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.invariance import Transformation
from variolite.errors import DataError

SPECIES = np.array([3, 8, 11, 14, 17, 26, 38, 82], np.uint8)
SITES = np.linspace(0, 0.9, 24).reshape(8, 3)
ELEMENTS = Crystals.of([Crystal(SPECIES, SITES, 9.0 * np.eye(3))])
Draw = Callable[[Crystals, int], Transformation]


@pytest.fixture(scope="module")
def model():
    return model_for(ELEMENTS)


@pytest.fixture(scope="module")
def told():
    return model_for(ELEMENTS, given=("species",))


@pytest.mark.parametrize("draw", ALL)
@settings(max_examples=10)
@given(crystals=drawn_sets(), seed=st.integers(0, 100))
def test_a_reconstruction_comes_in_the_setting_that_was_given(model, draw, crystals, seed):
    # One to three atoms have symmetries of their own, which may exchange errors of atoms.
    crystals = crystals.take(crystals.counts > 3)
    change = draw(crystals, seed)
    first = change.apply(model.reconstruct(crystals))
    second = model.reconstruct(change.apply(crystals))
    np.testing.assert_array_equal(first.species, second.species)
    np.testing.assert_allclose(first.lattices, second.lattices, atol=1e-3)
    assert np.abs(wrapped_difference(first.coordinates, second.coordinates)).max(initial=0) < 1e-3


def test_everything_stays_in_its_order_and_nothing_is_changed(model):
    crystals = drawn_crystals(2, 30, 8)
    arrays = (crystals.species, crystals.coordinates, crystals.lattices)
    kept = [array.copy() for array in arrays]
    latents = model.encode(crystals)
    found = model.reconstruct(crystals)
    for now, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(now, before)
    for made in (latents, found):
        np.testing.assert_array_equal(made.offsets, crystals.offsets)
        np.testing.assert_array_equal(made.names, crystals.names)
    assert latents.mean.shape == (len(crystals.species), 6)
    assert latents.log_variance is not None
    for place in (0, 7, 29):
        alone = model.encode(crystals.take([place])).mean
        np.testing.assert_allclose(alone, latents.mean[crystals.atoms_of([place])], atol=1e-5)
    pooled = [latents.mean[crystals.atoms_of([i])].mean(axis=0) for i in range(30)]
    np.testing.assert_allclose(latents.pooled, pooled, atol=1e-6)
    backwards = model.reconstruct(crystals.take(np.arange(30)[::-1]))
    np.testing.assert_allclose(backwards.lattices[::-1], found.lattices, atol=1e-4)


def test_decoded_cells_stand_upright_and_hold_a_volume(model):
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 30, 200))])
    draws = (5.0 * random.normal(size=(offsets[-1], 6))).astype(np.float32)
    latents = Latents(draws, None, offsets, np.array([f"draw {i}" for i in range(200)]))
    found = model.decode(latents)
    assert (np.linalg.det(found.lattices) > 0.0).all()
    assert (np.triu(found.lattices, 1) == 0.0).all()
    assert ((found.coordinates >= 0.0) & (found.coordinates <= 1.0)).all()
    assert set(found.species) <= set(model.elements)
    np.testing.assert_array_equal(found.names, latents.names)
    backwards = np.arange(200)[::-1]
    counts = np.concatenate([[0], np.cumsum(np.diff(offsets)[backwards])])
    turned = Latents(draws[found.atoms_of(backwards)], None, counts, latents.names[backwards])
    np.testing.assert_allclose(model.decode(turned).lattices[::-1], found.lattices, rtol=1e-4)


def test_an_element_that_was_never_seen_is_named(model):
    crystals = drawn_crystals(2, 5, 8)
    species = crystals.species.copy()
    species[crystals.offsets[3]] = 92
    strange = replace(crystals, species=species)
    message = "(?s)2-3: the model was not trained on U.*Leave such structures out"
    for use in (model.encode, model.reconstruct):
        with pytest.raises(DataError, match=message):
            use(strange)
    unnamed = replace(strange, names=np.array([""] * 5))
    with pytest.raises(DataError, match="crystal 3: the model was not trained on U"):
        model.encode(unnamed)
    assert 92 not in model.elements


def test_one_atom_five_hundred_atoms_and_none(model):
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3)[:500] / 8
    large = Crystal(random.choice([8, 14], 500).astype(np.uint8), grid, 20.0 * np.eye(3), "large")
    small = Crystal(np.array([26], np.uint8), np.array([[5.3, -1.0, 0.2]]), 2.0 * np.eye(3), "one")
    both = Crystals.of([large, small])
    latents = model.encode(both)
    assert np.isfinite(latents.mean).all()
    found = model.reconstruct(both)
    assert found.counts.tolist() == [500, 1]
    assert np.isfinite(found.lattices).all()
    assert np.isfinite(found.coordinates).all()
    np.testing.assert_allclose(model.encode(both.take([1])).mean, latents.mean[500:], atol=1e-5)
    nothing = both.take(slice(0, 0))
    assert len(model.encode(nothing)) == 0
    assert len(model.reconstruct(nothing)) == 0


def test_elements_are_given_where_the_model_is_told_them_and_nowhere_else(model, told):
    crystals = drawn_crystals(2, 10, 6)
    latents = told.encode(crystals)
    np.testing.assert_array_equal(told.reconstruct(crystals).species, crystals.species)
    found = told.decode(latents, species=crystals.species)
    np.testing.assert_array_equal(found.species, crystals.species)
    other = np.full_like(crystals.species, 82)
    changed = told.decode(latents, species=other)
    np.testing.assert_array_equal(changed.species, other)
    assert np.abs(changed.lattices - found.lattices).max() > 1e-3
    with pytest.raises(DataError, match="give species"):
        told.decode(latents)
    with pytest.raises(DataError, match="species cannot be given"):
        model.decode(model.encode(crystals), species=crystals.species)
    # What does not fit is refused.
    with pytest.raises(DataError, match="the model was not trained on U"):
        told.decode(latents, species=np.full_like(crystals.species, 92))
    with pytest.raises(DataError, match="elements"):
        told.decode(latents, species=crystals.species[:-1])
    other = model_for(ELEMENTS, latent=5).encode(drawn_crystals(0))
    with pytest.raises(DataError, match="the latents have 5 dimensions, the model has 6"):
        model.decode(other)
    for offsets, names in ([0, 2], ["a"]), ([0, 3], ["a", "b"]):
        with pytest.raises(DataError, match="do not fit each other"):
            Latents(np.zeros((3, 2), np.float32), None, np.array(offsets), np.array(names))
