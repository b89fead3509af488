"""Generation gives exactly what was asked for; crystals near a symmetry find it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.validity import minimum_distances
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.sampling import (
    KEPT_ATTEMPTS,
    REASONS,
    Proposals,
    Sampling,
    generate,
    reject_reasons,
)
from variolite.crystals.generation.symmetry import symmetrised
from variolite.crystals.generation.where import Where
from variolite.errors import DataError

CUBE = 4.0 * np.eye(3)
SALT = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize("number", [1, 37])
def test_exactly_as_many_as_asked_for(prior: LatentPrior, codec: Any, number: int) -> None:
    made, again, other = (
        generate(codec, prior, number, Sampling(seed=seed, steps=8)) for seed in (0, 0, 1)
    )
    assert len(made.crystals) == number
    assert len(set(made.crystals.names)) == number
    assert (reject_reasons(made.crystals, prior) == "").all()
    assert made.attempts >= number + sum(made.rejects.values())
    assert set(made.rejects) <= set(REASONS)
    assert 0.0 < made.valid_share <= 1.0
    np.testing.assert_array_equal(again.crystals.coordinates, made.crystals.coordinates)
    assert not np.array_equal(other.crystals.coordinates, made.crystals.coordinates)


def test_conditions_are_met(prior: LatentPrior, codec: Any) -> None:
    def made(number: int = 12, **where: Any) -> Crystals:
        return generate(codec, prior, number, Sampling(where=where, steps=8)).crystals

    assert set(reduced_formulas(made(composition="LiTiO3"))) == {"LiTiO3"}
    system = made(composition="Na-Cl", atoms=2)
    assert set(system.counts.tolist()) == {2}
    assert all(set(c.species.tolist()) == {11, 17} for c in system)
    assert all(3 in c.species for c in made(composition="Li-*"))
    high, low = (
        np.mean([11 in c.species for c in made(number=80, energy=energy)])
        for energy in (-0.4, -1.9)
    )
    assert low > high + 0.3
    # A decoder that is given the elements gets those proposed.
    sampling = Sampling(where={"composition": "NaTiO3"})
    given_species = generate(replace(codec, species_given=True), prior, 20, sampling)
    assert set(reduced_formulas(given_species.crystals)) == {"NaTiO3"}
    assert "composition" not in given_species.rejects


def test_space_groups_are_made_exact_and_checked(prior: LatentPrior, codec: Any) -> None:
    # Rock salt in a cell of two atoms is, in this toy world, caesium chloride: group 221.
    # The condition goes by the number in the column, which the toy world calls 225.
    shares = []
    for precision in (None, 0.4):
        two = generate(codec, prior, 8, Sampling(where={"atoms": 2}, steps=8, symmetrise=precision))
        found, _ = space_groups(two.crystals, symprec=1e-3)
        shares.append(np.mean(found == 221))
    assert shares[1] > shares[0] + 0.2
    where = {"atoms": 2, "space_group": 221, "composition": "Li-O"}
    asked = generate(codec, prior, 5, Sampling(where=where, steps=8, max_attempts=100))
    assert (space_groups(asked.crystals, symprec=0.1)[0] == 221).all()


def test_attempts_are_limited_and_the_reasons_reported(prior: LatentPrior, codec: Any) -> None:
    with pytest.raises(DataError) as caught:
        generate(replace(codec, broken=True), prior, 5, Sampling(max_attempts=3))
    text = str(caught.value)
    assert "only 0 of 5 crystals were found in 215 attempts" in text
    assert "two atoms closer than 0.5 Angstrom" in text
    assert "--tries" in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"number": 0}, "the number of crystals is 0"),
        ({"steps": 0}, "the number of steps is 0"),
        ({"temperature": -1.0}, "the temperature is -1"),
        ({"seed": -1}, "the seed is -1"),
        ({"guidance": float("nan")}, "the guidance is nan"),
        ({"where": {"hardness": 1}}, "not fitted with 'hardness'"),
        ({"where": {"composition": "SrTiO3"}}, "no training crystal has Sr"),
    ],
)
def test_mistakes(prior: LatentPrior, codec: Any, changed: dict[str, Any], message: str) -> None:
    settings = {"number": 3, **changed}
    with pytest.raises(DataError, match=message):
        generate(codec, prior, settings.pop("number"), Sampling(**settings))


def test_every_reason_is_found(prior: LatentPrior) -> None:
    species = np.array([11, 17], np.uint8)
    salt = Crystal(species, SALT, CUBE)
    found = reject_reasons(
        Crystals.of(
            [
                salt,
                Crystal(species, SALT, np.zeros((3, 3))),
                Crystal(species, SALT, CUBE * np.nan),
                Crystal(species, SALT * 0.1, CUBE),
                Crystal(species, SALT * 0.7, CUBE),
                Crystal(species, SALT, 3.0 * CUBE),
                Crystal(np.array([11, 11], np.uint8), SALT, CUBE),
                Crystal(species, np.array([[0, 0, 0], [0.5, 0.5, 0.3]]), CUBE),
            ]
        ),
        replace(prior, volumes=(20.0, 40.0), contacts=minimum_distances(Crystals.of([salt]))),
        Where(formula={11: 1, 17: 1}, elements=(11, 17), others=False, space_group=221),
    )
    expected = ["", "no_cell", "no_cell", "too_close", "contact", "volume_per_atom"]
    assert found.tolist() == [*expected, "composition", "space_group"]


def test_wanted_elements_are_checked(prior: LatentPrior) -> None:
    both = Crystals.of([Crystal(np.array(s, np.uint8), SALT, CUBE) for s in ([3, 8], [3, 3])])
    loose = replace(prior, volumes=(20.0, 40.0), contacts=minimum_distances(both))
    for where, rejected in (
        (Where(elements=(3,)), [False, False]),
        (Where(elements=(3,), others=False), [True, False]),
        (Where(elements=(3, 8), others=False), [False, True]),
        (Where(atoms=3), [True, True]),
    ):
        expected = ["composition" if bad else "" for bad in rejected]
        assert reject_reasons(both, loose, where).tolist() == expected


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


def test_sizes_are_kept_until_a_place_is_given_up(prior: LatentPrior) -> None:
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
    never, seen = Proposals(prior, 1, Where(), 1), []
    for _ in range(20 * KEPT_ATTEMPTS):
        tried, conditions = never.attempt(1, 1)
        seen.append((int(conditions.counts[0]), tuple(conditions.species.tolist())))
        never.fill(tried, np.array([False]))
    assert len(set(seen[:KEPT_ATTEMPTS])) == 1
    assert len(set(seen)) > 3


def disturbed(crystals: Crystals, size: float) -> Crystals:
    """Move atoms by ``size`` Angstrom and strain cells by as many per cent, in a turned cell."""
    random = np.random.default_rng(0)
    change = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]], dtype=float)
    made = []
    for crystal in crystals:
        strain = np.eye(3) + random.normal(0.0, size / 100.0, (3, 3))
        moved = random.normal(0.0, size, crystal.coordinates.shape)
        coordinates = crystal.coordinates + moved @ np.linalg.inv(crystal.lattice)
        turned = ((coordinates + random.random(3)) @ np.linalg.inv(change)) % 1.0
        made.append(Crystal(crystal.species, turned, change @ crystal.lattice @ strain))
    return Crystals.of(made)


@pytest.mark.parametrize("conventional", [False, True])
def test_textbook_crystals_find_back(conventional: bool) -> None:
    crystals = textbook_crystals(conventional=conventional)
    crystals = crystals.take(crystals.counts <= 16)
    off = disturbed(crystals, 0.01)
    assert (space_groups(off, symprec=1e-3)[0] <= 2).mean() > 0.7
    found = symmetrised(off, 0.15)
    back, expected = (space_groups(some, symprec=1e-3)[0] for some in (found, crystals))
    assert (back == expected).all()
    np.testing.assert_array_equal(found.species, off.species)
    np.testing.assert_allclose(found.volumes, off.volumes, rtol=2e-3)
    apart = found.coordinates - off.coordinates
    apart -= np.rint(apart)
    # Where the crystal as a whole lies has no meaning: its mean displacement is taken off.
    mean = np.add.reduceat(apart, off.offsets[:-1]) / off.counts[:, None]
    apart -= mean[off.owner]
    moved = np.linalg.norm(np.einsum("ni,nij->nj", apart, off.lattices[off.owner]), axis=1)
    assert moved.max() < 0.06


def test_exact_crystals_and_those_without_symmetry_stay() -> None:
    crystals = textbook_crystals()
    found = symmetrised(crystals, 0.01)
    apart = found.coordinates - crystals.coordinates
    np.testing.assert_allclose(apart - np.rint(apart), 0.0, atol=1e-6)
    after, before = (c.lattices @ c.lattices.transpose(0, 2, 1) for c in (found, crystals))
    np.testing.assert_allclose(after, before, atol=1e-6)
    random = np.random.default_rng(1)
    sites, cell = random.random((3, 3)), random.random((3, 3)) + 4 * np.eye(3)
    odd = Crystals.of([Crystal(np.array([3, 8, 9], np.uint8), sites, cell)])
    np.testing.assert_array_equal(symmetrised(odd, 0.01).coordinates, odd.coordinates)
    assert len(symmetrised(crystals.take(slice(0, 0)), 0.1)) == 0
    with pytest.raises(DataError, match="not positive"):
        symmetrised(crystals, 0.0)
