from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from crystal_sets import TEXTBOOK, broken, cubic, random_compositions, rewritten
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals import Crystals
from variolite.crystals.elements import compositions, symbols_of
from variolite.crystals.evaluation import distance_validity, minimum_distances, validity
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.geometry.periodic import has_cell, shortest_distances
from variolite.errors import DataError

KNOWN = minimum_distances(TEXTBOOK)


def test_shortest_distances_are_those_of_pymatgen():
    for distance, crystal in zip(shortest_distances(TEXTBOOK), TEXTBOOK, strict=True):
        *_, lengths = to_pymatgen(crystal).get_neighbor_list(distance + 0.5)
        assert distance == pytest.approx(lengths.min(), abs=1e-9)


def test_an_atom_may_be_too_close_to_another_or_to_its_own_image():
    def pair(apart):
        return Crystals.of([cubic(4.0, [11, 17], [[0, 0, 0.01], [0, 0, 0.01 - apart / 4.0]])])

    assert distance_validity(pair(0.51)).all()
    assert not distance_validity(pair(0.49)).any()
    # Across the border of the cell, too.
    assert shortest_distances(pair(3.7)) == pytest.approx(0.3)
    single = Crystals.of([cubic(0.6, [1], [[0, 0, 0]]), cubic(0.49, [1], [[0, 0, 0]])])
    assert distance_validity(single).tolist() == [True, False]


def test_what_has_no_cell_is_invalid_and_never_an_error():
    crystals, sound = broken()
    assert has_cell(crystals).tolist() == sound.tolist()
    assert distance_validity(crystals).tolist() == sound.tolist()
    assert np.isnan(shortest_distances(crystals)).tolist() == (~sound).tolist()
    assert shortest_distances(crystals.take(slice(0, 0))).shape == (0,)
    strange = cubic(4.0, [118], [[0, 0, 0]])
    assert np.isnan(KNOWN.closeness(Crystals.of([*crystals.take(~sound), strange]))).all()
    with pytest.raises(DataError, match="have a cell"):
        minimum_distances(crystals)


def test_charge_balance_is_that_of_smact():
    from pymatgen.core import Composition
    from smact.screening import smact_validity

    crystals = Crystals.concatenate([TEXTBOOK, random_compositions(400, seed=3)])
    found = validity.charge_balance(crystals)
    for place, counts in enumerate(compositions(crystals, reduced=True)):
        elements = np.flatnonzero(counts)
        spelled = dict(zip(symbols_of(elements).tolist(), counts[elements].tolist(), strict=True))
        assert found.balanced[place] == smact_validity(Composition(spelled)), spelled
    assert 0.05 < found.balanced[78:].mean() < 0.95
    assert found.source.startswith("SMACT 4")


def test_elements_that_smact_does_not_know_are_not_evaluated():
    salts = [cubic(4.0, [z, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]) for z in (11, 61, 18)]
    found = validity.charge_balance(Crystals.of([*salts, cubic(4.0, [18], [[0, 0, 0]])]))
    # An element by itself passes without being asked, and promethium has no electronegativity.
    assert found.evaluated.tolist() == [True, False, False, True]
    assert found.balanced.tolist() == [True, False, False, True]
    assert found.unknown == ("Ar", "Pm")


@st.composite
def rules_and_formula(draw):
    count = draw(st.integers(2, 5))
    charges = st.sets(st.integers(-4, 7), min_size=1, max_size=5)
    states = {z: tuple(draw(charges)) for z in range(1, count + 1)}
    scale = {z: draw(st.sampled_from([0.9, 1.5, 1.5001, 2.5])) for z in states}
    counts = [draw(st.integers(1, 6)) for _ in states]
    return validity.ChemicalRules("drawn", states, scale, frozenset()), list(states), counts


@given(rules_and_formula())
def test_no_combination_is_missed_and_none_invented(drawn):
    rules, elements, counts = drawn
    slow = any(
        sum(q * n for q, n in zip(charges, counts, strict=True)) == 0
        and all(
            rules.electronegativities[a] < rules.electronegativities[b]
            for a, qa in zip(elements, charges, strict=True)
            for b, qb in zip(elements, charges, strict=True)
            if qa > 0 > qb
        )
        for charges in product(*(rules.states[z] for z in elements))
    )
    assert validity.is_balanced(elements, counts, rules) == slow


def test_many_elements_take_no_time():
    rules = validity.smact_rules()
    many = sorted(rules.states, key=lambda z: -len(rules.states[z]) if rules.knows(z) else 0)[:12]
    assert np.prod([float(len(rules.states[z])) for z in many]) > 1e9
    assert isinstance(validity.is_balanced(many, list(range(1, 13)), rules), bool)


def test_smact_absent_is_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "smact", None)
    with pytest.raises(DataError, match=r"needs SMACT 4. Run pip install 'variolite\[crystals\]'"):
        validity.smact_rules.__wrapped__()


def test_minimum_distances_are_those_of_pymatgen():
    found: dict[tuple[int, int], float] = {}
    for crystal in TEXTBOOK:
        radius = 2.0 * float(np.cbrt(abs(np.linalg.det(crystal.lattice))))
        centres, points, _, lengths = to_pymatgen(crystal).get_neighbor_list(radius)
        for a, b, length in zip(centres, points, lengths, strict=True):
            pair = (int(crystal.species[a]), int(crystal.species[b]))
            found[pair] = min(found.get(pair, np.inf), length)
    assert len(found) > 50
    for pair, length in found.items():
        place = tuple(np.searchsorted(KNOWN.elements, pair))
        assert KNOWN.distances[place] == pytest.approx(length, abs=1e-6)
    np.testing.assert_array_equal(KNOWN.distances, KNOWN.distances.T)
    assert (KNOWN.closeness(TEXTBOOK) >= 1.0 - 1e-9).all()


def test_elements_never_seen_together_come_as_close_as_their_radii():
    salt = cubic(4.0, [3, 9], [[0, 0, 0], [0.5, 0, 0]])
    found = minimum_distances(Crystals.of([salt, cubic(3.0, [29], [[0] * 3])]))
    assert found.elements.tolist() == [3, 9, 29]
    expected = [[4.0, 2.0, 2.5], [2.0, 4.0, 2.5], [2.5, 2.5, 3.0]]
    np.testing.assert_allclose(found.distances, expected)
    squeezed = Crystals.of([replace(salt, lattice=3.0 * np.eye(3))])
    assert found.closeness(squeezed) == pytest.approx([0.75])


@given(st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000), st.floats(0.7, 1.3))
def test_distances_scale_with_the_cell_and_nothing_else(place, seed, scale):
    crystal = TEXTBOOK[place]
    other = rewritten(crystal, seed, cells=1 + seed % 3)
    scaled = Crystals.of([replace(other, lattice=scale * other.lattice)])
    plain = Crystals.of([crystal])
    for measured in (KNOWN.closeness, shortest_distances):
        assert measured(scaled) == pytest.approx(scale * measured(plain), rel=1e-6)
