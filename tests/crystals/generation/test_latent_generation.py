"""Generation gives exactly what was asked for, or says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_crystals import ToyCodec

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.validity import minimum_distances
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.sampling import REASONS, Sampling, generate, reject_reasons
from variolite.crystals.generation.where import Where
from variolite.errors import DataError

CUBE = 4.0 * np.eye(3)


@pytest.mark.parametrize("number", [1, 37])
def test_exactly_as_many_as_asked_for(prior: LatentPrior, codec: ToyCodec, number: int) -> None:
    made = generate(codec, prior, number, Sampling(seed=0, steps=8))
    assert len(made.crystals) == number
    assert len(set(made.crystals.names)) == number
    assert (reject_reasons(made.crystals, prior) == "").all()
    assert made.attempts >= number + sum(made.rejects.values())
    assert set(made.rejects) <= set(REASONS)
    assert 0.0 < made.valid_share <= 1.0
    again = generate(codec, prior, number, Sampling(seed=0, steps=8))
    np.testing.assert_array_equal(again.crystals.coordinates, made.crystals.coordinates)
    other = generate(codec, prior, number, Sampling(seed=1, steps=8))
    assert other.crystals.coordinates.shape != made.crystals.coordinates.shape or (
        (other.crystals.coordinates != made.crystals.coordinates).any()
    )


def test_conditions_are_met(prior: LatentPrior, codec: ToyCodec) -> None:
    formula = generate(codec, prior, 12, Sampling(where={"composition": "LiTiO3"}, steps=8))
    assert set(reduced_formulas(formula.crystals)) == {"LiTiO3"}
    system = generate(
        codec, prior, 12, Sampling(where={"composition": "Na-Cl", "atoms": 2}, steps=8)
    )
    assert set(system.crystals.counts.tolist()) == {2}
    assert all(set(c.species.tolist()) == {11, 17} for c in system.crystals)
    some = generate(codec, prior, 12, Sampling(where={"composition": "Li-*"}, steps=8))
    assert all(3 in c.species for c in some.crystals)


def test_a_property_moves_what_is_generated(prior: LatentPrior, codec: ToyCodec) -> None:
    shares = []
    for energy in (-0.4, -1.9):
        made = generate(codec, prior, 80, Sampling(where={"energy": energy}, steps=8))
        shares.append(np.mean([11 in c.species for c in made.crystals]))
    assert shares[1] > shares[0] + 0.3


def test_told_species_reach_the_decoder(prior: LatentPrior) -> None:
    told = ToyCodec(species_given=True)
    made = generate(told, prior, 20, Sampling(where={"composition": "NaTiO3"}))
    assert set(reduced_formulas(made.crystals)) == {"NaTiO3"}
    assert "composition" not in made.rejects


def test_space_groups_are_made_exact_and_checked(prior: LatentPrior, codec: ToyCodec) -> None:
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


class Broken(ToyCodec):
    """A decoder that puts all atoms in one place."""

    def decode(self, latents: Latents, *, species: object = None) -> Crystals:
        decoded = super().decode(latents)
        return replace(decoded, coordinates=np.zeros_like(decoded.coordinates))


def test_attempts_are_limited_and_the_reasons_told(prior: LatentPrior) -> None:
    with pytest.raises(DataError) as caught:
        generate(Broken(), prior, 5, Sampling(max_attempts=3))
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
def test_mistakes(
    prior: LatentPrior, codec: ToyCodec, changed: dict[str, Any], message: str
) -> None:
    changed = dict(changed)
    number = changed.pop("number", 3)
    with pytest.raises(DataError, match=message):
        generate(codec, prior, number, Sampling(**changed))


def test_every_reason_is_found(prior: LatentPrior) -> None:
    salt = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    species = np.array([11, 17], np.uint8)
    contacts = minimum_distances(Crystals.of([Crystal(species, salt, CUBE)]))
    found = reject_reasons(
        Crystals.of(
            [
                Crystal(species, salt, CUBE),
                Crystal(species, salt, np.zeros((3, 3))),
                Crystal(species, salt, CUBE * np.nan),
                Crystal(species, salt * 0.1, CUBE),
                Crystal(species, salt * 0.7, CUBE),
                Crystal(species, salt, 3.0 * CUBE),
                Crystal(np.array([11, 11], np.uint8), salt, CUBE),
                Crystal(species, np.array([[0, 0, 0], [0.5, 0.5, 0.3]]), CUBE),
            ]
        ),
        replace(prior, volumes=(20.0, 40.0), contacts=contacts),
        Where(formula={11: 1, 17: 1}, elements=(11, 17), others=False, space_group=221),
    )
    expected = ["", "no_cell", "no_cell", "too_close", "contact", "volume_per_atom"]
    assert found.tolist() == [*expected, "composition", "space_group"]


@pytest.mark.parametrize(
    ("where", "rejected"),
    [
        (Where(elements=(3,)), [False, False]),
        (Where(elements=(3,), others=False), [True, False]),
        (Where(elements=(3, 8), others=False), [False, True]),
        (Where(atoms=3), [True, True]),
    ],
)
def test_wanted_elements_are_checked(
    prior: LatentPrior, where: Where, rejected: list[bool]
) -> None:
    salt = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    both = Crystals.of([Crystal(np.array(s, np.uint8), salt, CUBE) for s in ([3, 8], [3, 3])])
    loose = replace(prior, volumes=(20.0, 40.0), contacts=minimum_distances(both))
    expected = ["composition" if bad else "" for bad in rejected]
    assert reject_reasons(both, loose, where).tolist() == expected
