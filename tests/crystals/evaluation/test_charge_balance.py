from itertools import product

import numpy as np
import pytest
from crystal_sets import cubic, random_compositions
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals import Crystals
from variolite.crystals.elements import compositions, symbols_of
from variolite.crystals.evaluation.validity import (
    ChemicalRules,
    charge_balance,
    is_balanced,
    smact_rules,
)
from variolite.crystals.files.textbook import textbook_crystals


def test_results_are_those_of_smact():
    from pymatgen.core import Composition
    from smact.screening import smact_validity

    crystals = Crystals.concatenate([textbook_crystals(), random_compositions(400, seed=3)])
    found = charge_balance(crystals)
    for place, counts in enumerate(compositions(crystals, reduced=True)):
        elements = np.flatnonzero(counts)
        spelled = dict(zip(symbols_of(elements).tolist(), counts[elements].tolist(), strict=True))
        assert found.balanced[place] == smact_validity(Composition(spelled)), spelled
    assert 0.05 < found.balanced[78:].mean() < 0.95
    assert found.source.startswith("SMACT 4")


def test_elements_that_smact_does_not_know_are_not_judged():
    salts = [cubic(4.0, [z, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]) for z in (11, 61, 18)]
    found = charge_balance(Crystals.of([*salts, cubic(4.0, [18], [[0, 0, 0]])]))
    # An element by itself passes without being asked, and promethium has no electronegativity.
    assert found.evaluated.tolist() == [True, False, False, True]
    assert found.balanced.tolist() == [True, False, False, True]
    assert found.unknown == ("Ar", "Pm")


@st.composite
def rules_and_formula(draw):
    count = draw(st.integers(2, 5))
    states = {
        z: tuple(draw(st.sets(st.integers(-4, 7), min_size=1, max_size=5)))
        for z in range(1, count + 1)
    }
    scale = {z: draw(st.sampled_from([0.9, 1.5, 1.5001, 2.5])) for z in states}
    counts = [draw(st.integers(1, 6)) for _ in states]
    return ChemicalRules("drawn", states, scale, frozenset()), list(states), counts


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
    assert is_balanced(elements, counts, rules) == slow


def test_many_elements_take_no_time():
    rules = smact_rules()
    many = sorted(rules.states, key=lambda z: -len(rules.states[z]) if rules.knows(z) else 0)[:12]
    assert np.prod([float(len(rules.states[z])) for z in many]) > 1e9
    assert isinstance(is_balanced(many, list(range(1, 13)), rules), bool)


def test_smact_absent_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    from variolite.errors import DataError

    monkeypatch.setitem(__import__("sys").modules, "smact", None)
    with pytest.raises(DataError, match=r"needs SMACT 4. pip install 'variolite\[crystals\]'"):
        smact_rules.__wrapped__()
