"""Generation gives exactly what was asked for."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.validity import minimum_distances
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.sampling import (
    KEPT_ATTEMPTS,
    KEPT_SIZES,
    NEAR_SYMMETRY,
    REASONS,
    Proposals,
    Sampling,
    _checked,
    generate,
    reject_reasons,
)
from variolite.crystals.generation.where import Where
from variolite.errors import DataError, DataWarning

CUBE = 4.0 * np.eye(3)
SALT = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])


def test_exactly_as_many_as_asked_for(prior, codec):
    made, again, other, one = (
        generate(codec.decode, prior, number, Sampling(seed=seed, steps=8))
        for number, seed in ((37, 0), (37, 0), (37, 1), (1, 0))
    )
    assert len(made.crystals) == len(set(made.crystals.names)) == 37
    assert len(one.crystals) == 1
    assert (reject_reasons(made.crystals, prior) == "").all()
    assert made.attempts >= 37 + sum(made.rejects.values())
    assert set(made.rejects) <= set(REASONS)
    assert 0.0 < made.valid_share <= 1.0
    np.testing.assert_array_equal(again.crystals.coordinates, made.crystals.coordinates)
    assert not np.array_equal(other.crystals.coordinates, made.crystals.coordinates)


def test_conditions_are_met(prior, codec):
    def made(number=12, **where):
        return generate(codec.decode, prior, number, Sampling(where=where, steps=8)).crystals

    assert set(reduced_formulas(made(composition="LiTiO3"))) == {"LiTiO3"}
    system = made(composition="Na-Cl", atoms=2)
    assert set(system.counts.tolist()) == {2}
    assert all(set(c.species.tolist()) == {11, 17} for c in system)
    assert all(3 in c.species for c in made(composition="Li-*"))
    high, low = (np.mean([11 in c.species for c in made(80, energy=e)]) for e in (-0.4, -1.9))
    assert low > high + 0.3
    # A decoder that is given the elements gets those proposed.
    sampling = Sampling(where={"composition": "NaTiO3"})
    given_species = generate(replace(codec, species_given=True).decode, prior, 20, sampling)
    assert set(reduced_formulas(given_species.crystals)) == {"NaTiO3"}
    assert "composition" not in given_species.rejects


def test_space_groups_are_made_exact_and_checked(prior, codec):
    # Rock salt in a cell of two atoms is, in this toy world, caesium chloride: group 221.
    # The condition goes by the number in the column, which the toy world calls 225.
    def blurred(latents, species=None):
        made = codec.decode(latents, species=species)
        off = np.random.default_rng(0).normal(0.0, 0.01, made.coordinates.shape)
        return replace(made, coordinates=made.coordinates + off)

    ways = (
        Sampling(where={"atoms": 2}, steps=8, symmetrise=precision) for precision in (0.0, None)
    )
    pairs = (generate(blurred, prior, 8, way).crystals for way in ways)
    plain, exact = (np.mean(space_groups(two, symprec=1e-3)[0] == 221) for two in pairs)
    assert exact > plain + 0.2
    where = {"atoms": 2, "space_group": 221, "composition": "Li-O"}
    asked = generate(codec.decode, prior, 5, Sampling(where=where, steps=8, max_attempts=100))
    assert (space_groups(asked.crystals, symprec=0.1)[0] == 221).all()


def test_without_spglib_symmetry_is_left_out_unless_it_is_asked_for(prior, codec, monkeypatch):
    monkeypatch.setitem(sys.modules, "spglib", None)
    with pytest.warns(DataWarning, match="spglib is not installed: symmetry is neither") as notes:
        made = generate(codec.decode, prior, 5, Sampling(steps=4))
    assert len(notes) == 1
    plain = generate(codec.decode, prior, 5, Sampling(steps=4, symmetrise=0.0))
    np.testing.assert_array_equal(made.crystals.coordinates, plain.crystals.coordinates)
    for asked in (Sampling(symmetrise=0.3), Sampling(where={"space_group": 221})):
        with pytest.raises(DataError, match="spglib is not installed"):
            generate(codec.decode, prior, 5, asked)


def test_limits_and_mistakes_are_reported(prior, codec):
    found = "only 0 of 5 crystals were found in 1015 attempts"
    with pytest.raises(
        DataError, match=f"(?s){found}.*two atoms closer than 0.5 Angstrom.*--tries"
    ):
        generate(replace(codec, broken=True).decode, prior, 5, Sampling(max_attempts=3))
    with pytest.raises(DataError, match="the number of crystals is 0"):
        generate(codec.decode, prior, 0)
    for name, value, message in (
        ("steps", 0, "the number of steps is 0"),
        ("temperature", -1.0, "the temperature is -1"),
        ("seed", -1, "the seed is -1"),
        ("guidance", float("nan"), "the guidance is nan"),
    ):
        with pytest.raises(DataError, match=message):
            Sampling(**{name: value})


def salt(*species, sites=SALT, cell=CUBE):
    return Crystal(np.array(species, np.uint8), sites, cell)


def test_every_reason_is_found(prior):
    def reasons(made, known, where):
        contacts = minimum_distances(Crystals.of(made[:known]))
        loose = replace(prior, volumes=(20.0, 40.0), contacts=contacts)
        return reject_reasons(Crystals.of(made), loose, where).tolist()

    made = {
        "": salt(11, 17),
        "no_cell": salt(11, 17, cell=np.zeros((3, 3))),
        "too_close": salt(11, 17, sites=SALT * 0.1),
        "contact": salt(11, 17, sites=SALT * 0.7),
        "volume_per_atom": salt(11, 17, cell=3.0 * CUBE),
        "composition": salt(11, 11),
        "space_group": salt(11, 17, sites=SALT * [1.0, 1.0, 0.6]),
    }
    where = Where(formula={11: 1, 17: 1}, elements=(11, 17), others=False, space_group=221)
    assert reasons([*made.values()], 1, where) == [*made]
    assert reasons([salt(3, 8), salt(3, 8, cell=CUBE * np.nan)], 1, Where()) == ["", "no_cell"]
    for where, expected in (
        (Where(elements=(3,)), ["", ""]),
        (Where(elements=(3,), others=False), ["composition", ""]),
        (Where(elements=(3, 8), others=False), ["", "composition"]),
        (Where(atoms=3), ["composition", "composition"]),
    ):
        assert reasons([salt(3, 8), salt(3, 3)], 2, where) == expected


def test_radii_and_symmetry_count(prior):
    # Sodium and its images may come as near as 0.75 (1.66 + 1.66) = 2.49 Angstrom.
    tight, wide, tiny = (salt(11, 17, cell=edge * np.eye(3)) for edge in (2.45, 2.55, 1.5))
    loose = replace(prior, volumes=(1.0, 200.0), contacts=minimum_distances(Crystals.of([tiny])))
    assert reject_reasons(Crystals.of([tight, wide]), loose).tolist() == ["contact", ""]
    # No symmetry is a reason against a crystal, unless that is what was drawn.
    odd = salt(11, 17, 8, sites=np.array([[0, 0, 0], [0.5, 0.41, 0.3], [0.13, 0.72, 0.8]]))
    odd = replace(odd, lattice=np.array([[5.0, 0, 0], [1.1, 6.0, 0], [0.7, 1.6, 7.0]]))
    near = salt(11, 17, sites=SALT + np.array([[0, 0, 0], [0.01, 0, 0.02]]))
    made = Crystals.of([odd, odd, near, near])
    groups = np.array([225, 1, 225, 1])
    exact, reasons = _checked(made, loose, Where(), groups, NEAR_SYMMETRY)
    assert reasons.tolist() == ["symmetry", "", "", ""]
    assert space_groups(exact, symprec=1e-3)[0].tolist() == [1, 1, 221, 221]
    raw, none = _checked(made, loose, Where(), groups, 0.0)
    assert none.tolist() == [""] * 4
    np.testing.assert_array_equal(raw.coordinates, made.coordinates)


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=25)
def test_every_place_is_filled_once_by_its_first_valid_attempt(prior, number, copies, most, seed):
    random = np.random.default_rng(seed)
    proposals = Proposals(prior.propose, number, seed)
    got: list[int] = []
    while len(proposals.missing):
        tried, conditions = proposals.attempt(copies, most)
        assert 0 < len(tried) == len(conditions) <= most
        valid = random.random(len(tried)) < 0.4
        filled, chosen = proposals.fill(tried, valid)
        firsts = [np.flatnonzero((tried == place) & valid)[0] for place in filled]
        assert chosen.tolist() == firsts
        got += filled.tolist()
        assert sorted([*got, *proposals.missing.tolist()]) == list(range(number))


def test_sizes_are_kept_for_long(prior):
    proposals = Proposals(prior.propose, 400, 3)
    wanted = proposals.attempt(1, 400)[1].counts
    random, sizes = np.random.default_rng(0), np.zeros(400, dtype=np.int64)
    while len(proposals.missing):
        tried, conditions = proposals.attempt(1, 400)
        # Large ones come out half as often.
        valid = random.random(len(tried)) < np.where(conditions.counts > 2, 0.45, 0.9)
        filled, chosen = proposals.fill(tried, valid)
        sizes[filled] = conditions.counts[chosen]
    assert len(set(wanted.tolist())) > 1
    np.testing.assert_array_equal(sizes, wanted)
    never, seen = Proposals(prior.propose, 1, 1), []
    for _ in range(20 * KEPT_ATTEMPTS):
        tried, conditions = never.attempt(1, 1)
        seen.append(tuple(conditions.species.tolist()))
        never.fill(tried, np.array([False]))
    assert len(set(seen[:KEPT_ATTEMPTS])) == 1
    of_one_size = KEPT_SIZES * KEPT_ATTEMPTS
    assert len(set(seen[:of_one_size])) > 1
    assert len({len(species) for species in seen[:of_one_size]}) == 1
    assert len({len(species) for species in seen}) > 1
