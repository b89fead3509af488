"""Property heads: a known law is found, intervals hold, and storing keeps all of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.generation import properties
from variolite.errors import DataError, ModelFileError


@pytest.fixture(scope="module")
def noisy():
    """Crystals of random elements, so that there are enough compositions to leave out."""
    random = np.random.default_rng(3)
    made = []
    for _ in range(300):
        species = random.choice([3, 8, 11, 17, 22], size=random.integers(2, 7)).astype(np.uint8)
        sites = random.random((len(species), 3))
        edge = np.cbrt(12.0 * len(species) + random.random())
        made.append(Crystal(species, sites, edge * np.eye(3)))
    mean = np.array([crystal.species.mean() for crystal in made])
    gap = np.abs(mean - 11.0)
    gap[::7] = np.nan
    energy = 0.3 * mean + random.normal(0.0, 0.2, 300)
    return replace(Crystals.of(made), properties={"energy": energy, "gap": gap})


@pytest.fixture(scope="module")
def head(codec, noisy):
    train = noisy.take(slice(0, 200))
    return properties.fit_property_head(
        codec.encode(train), train, ["energy", "gap"], units={"gap": "eV"}
    )


def test_a_law_is_found_beyond_the_noise(head, codec, noisy):
    test = noisy.take(slice(200, 300))
    found = head.predict(codec.encode(test), test.species, level=0.8)
    energy = test.properties["energy"]
    # The mean absolute value of normal noise is 0.8 of its deviation: 0.16.
    assert np.abs(found.values[:, 0] - energy).mean() < 0.25
    inside = (energy >= found.low[:, 0]) & (energy <= found.high[:, 0])
    assert 0.68 < inside.mean() < 0.95
    wider = head.predict(codec.encode(test), test.species, level=0.95)
    assert (wider.high > found.high).all()
    assert head.about.units == ("1", "eV")
    scores = head.about.scores
    assert scores["energy"].error < 0.5 * scores["energy"].baseline
    assert scores["gap"].crystals == int(np.isfinite(noisy.properties["gap"][:200]).sum())
    # Neither the order of atoms nor the other crystals matter.
    one = noisy.take(np.array([7]))
    turned = Crystals.of([Crystal(one.species[::-1], one.coordinates[::-1], one.lattices[0])])
    together = head.predict(codec.encode(noisy), noisy.species).values[7]
    for alone in (one, turned):
        values = head.predict(codec.encode(alone), alone.species).values[0]
        np.testing.assert_allclose(values, together, atol=1e-4)


def test_it_is_stored_without_rows_and_damage_is_reported(head, codec, noisy):
    tensors, description = properties.head_state(head)
    again = properties.head_from(tensors, json.loads(json.dumps(description)))
    latents = codec.encode(noisy)
    found, expected = (some.predict(latents, noisy.species).high for some in (again, head))
    np.testing.assert_array_equal(found, expected)
    assert again.about == head.about
    assert not any(200 in value.shape for value in tensors.values())
    for name in ("ridges", "errors", "networks/enter", "location"):
        others = {k: v for k, v in tensors.items() if k != name}
        for bad in (others, {**others, name: torch.ones(2)}):
            with pytest.raises(ModelFileError):
                properties.head_from(bad, description)
    with pytest.raises(ModelFileError, match="this version reads"):
        properties.head_from(tensors, {**description, "kind": "other"})


def test_mistakes(head, codec, crystals):
    few = crystals.take(slice(0, 20))
    one = few.take(np.zeros(60, dtype=int))
    rare = np.where(np.arange(80) < 60, 1.0, np.nan)  # values of one composition only
    both = replace(Crystals.concatenate([one, few]), properties={"energy": rare})
    for some, name, message in (
        (few, "energi", "Did you mean energy"),
        (few, "energy", "20 of 20 training crystals have a value"),
        (one, "energy", "the same composition"),
        (both, "energy", "the same composition"),
    ):
        with pytest.raises(DataError, match=message):
            properties.fit_property_head(codec.encode(some), some, [name])
    latents = codec.encode(few)
    with pytest.raises(DataError, match="between 0 and 1"):
        head.predict(latents, few.species, level=1.0)
    with pytest.raises(DataError, match="of another model"):
        head.predict(replace(latents, mean=latents.mean[:, :4], log_variance=None), few.species)


def test_descriptions_by_hand():
    mean = np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 5.0]], dtype=np.float32)
    latents = Latents(mean, None, np.array([0, 2, 3]), np.array(["a", "b"]))
    found = properties.descriptors(latents, np.array([8, 1, 8]), (1, 8))
    assert found.shape == (2, 21)
    np.testing.assert_allclose(found[0, :7], [2, 1, 1, 1, 3, 2, np.log(2)])
    np.testing.assert_allclose(found[1, 7:10], [8.0, 3.44, 15.999])
    np.testing.assert_allclose(found[:, -2:], [[0.5, 0.5], [0.0, 1.0]])


def test_ridges_solve_their_normal_equations():
    random = np.random.default_rng(0)
    rows, fold = random.normal(size=(60, 3)), np.arange(60) % properties.FOLDS
    targets = rows @ random.normal(size=(3, 2)) + random.normal(size=(60, 2))
    targets[::7, 1] = np.nan
    found, left_out = properties.fit_ridges(rows, targets, fold)
    for k in range(properties.FOLDS):
        predicted = rows @ found[k, :3] + found[k, 3]
        np.testing.assert_allclose(left_out[fold == k], predicted[fold == k])
        for place in range(2):
            seen = (fold != k) & np.isfinite(targets[:, place])
            missed = (targets - predicted)[seen, place]
            # Of its normal equations a ridge leaves one penalty times the coefficients.
            left = rows[seen].T @ missed / found[k, :3, place]
            assert np.isclose(left, properties.PENALTIES[:, None], rtol=1e-6).all(axis=1).any()
            assert abs(missed.mean()) < 1e-9
