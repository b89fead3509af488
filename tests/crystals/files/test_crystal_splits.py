"""Splits: no group in two parts, shares about as asked, thresholds, prototypes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files import split_by_number, split_crystals, textbook_crystals
from variolite.crystals.files.groups import draw_split, groups_by, prototypes, space_groups
from variolite.errors import DataError


@given(
    st.lists(st.integers(1, 60), min_size=3, max_size=40),
    st.floats(0.02, 0.48),
    st.floats(0.02, 0.48),
    st.integers(0, 2**16),
)
def test_no_group_in_two_parts_and_shares_as_asked(sizes, test, validation, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(np.str_)
    split = draw_split(groups, test=test, validation=validation, seed=seed)
    rows = split.rows(groups)
    together = np.sort(np.concatenate(list(rows.values())))
    np.testing.assert_array_equal(together, np.arange(len(groups)))
    names = [set(groups[places].tolist()) for places in rows.values()]
    assert all(names)
    assert sum(map(len, names)) == len(sizes)
    shares = (1 - test - validation, validation, test)
    for places, share in zip(rows.values(), shares, strict=True):
        # What two parts miss by one group each, the third may miss by both.
        assert abs(len(places) - share * len(groups)) <= 2 * max(sizes)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    assert draw_split(groups[shuffled], test=test, validation=validation, seed=seed) == split


@pytest.mark.parametrize("by", ["formula", "system", "prototype", "random", "space_group"])
def test_every_way_of_grouping(by):
    crystals = textbook_crystals()
    rows = split_crystals(crystals, by, test=0.2, validation=0.2, seed=1)
    assert list(rows) == ["train", "validation", "test"]
    assert sum(map(len, rows.values())) == 78
    groups = groups_by(crystals, by)
    assert not set(groups[rows["train"]]) & set(groups[rows["test"]])
    if by == "formula":
        formulas = reduced_formulas(crystals)
        assert not set(formulas[rows["train"]]) & set(formulas[rows["validation"]])


def test_many_small_groups_give_the_shares_exactly_and_impossible_ones_are_refused():
    groups = np.repeat(np.arange(1000), 3).astype(np.str_)
    one, other = (draw_split(groups, test=0.1, validation=0.2, seed=seed) for seed in (3, 4))
    assert list(map(len, one.rows(groups).values())) == [2100, 600, 300]
    assert one.test != other.test
    # The draw of a seed stays the same from version to version.
    rows = split_crystals(textbook_crystals(), test=0.2, validation=0.1)
    assert list(map(len, rows.values())) == [55, 8, 15]
    with pytest.raises(DataError, match=r"Did you mean 'formula'"):
        split_crystals(textbook_crystals(), "formulas")
    with pytest.raises(DataError, match=r"shares of 0.6 for test"):
        split_crystals(textbook_crystals(), test=0.6, validation=0.5)
    with pytest.raises(DataError, match=r"2 groups cannot be split"):
        draw_split(np.array(["a", "b", "b"]))


def test_prototypes_do_not_depend_on_the_cell():
    one, two = (prototypes(textbook_crystals(conventional=c)) for c in (False, True))
    np.testing.assert_array_equal(one, two)
    labels = dict(zip(textbook_crystals().names.tolist(), one.tolist(), strict=True))
    assert labels["SrTiO3 (perovskite)"] == labels["CsPbBr3 (perovskite)"] == "ABC3 221 5"
    assert labels["NaCl (rock salt)"] == labels["MgO (rock salt)"] == "AB 225 2"
    assert labels["NaCl (rock salt)"] != labels["CsCl (CsCl)"]


def test_structures_without_symmetry_are_not_lost():
    """Coordinates that are no numbers, and atoms at one place."""
    crystals = textbook_crystals()
    crystals = crystals.take(np.flatnonzero(crystals.counts == 2)[:3])
    coordinates = crystals.coordinates.copy()
    coordinates[0] = np.nan
    coordinates[3] = coordinates[2]
    told: list[str] = []
    groups, sizes = space_groups(replace(crystals, coordinates=coordinates), log=told.append)
    assert groups.tolist() == [0, 0, crystals.properties["space_group"][2]]
    assert sizes.tolist() == [2, 2, 2]
    assert told == ["symmetry of 3 of 3"]


def test_split_by_year():
    years = {"year": np.array([1997.0, 1998, 1999, 2000, 2001, np.nan])}
    crystals = replace(textbook_crystals().take(slice(0, 6)), properties=years)
    rows = split_by_number(crystals, "year", validation_from=1999, test_from=2001)
    found = {part: places.tolist() for part, places in rows.items()}
    assert found == {"train": [0, 1], "validation": [2, 3], "test": [4]}
    for column, first, second, message in (
        ("decade", 1, 2, r"no property 'decade' of numbers. There are year"),
        ("year", 1990, 2000, "no structure has year below 1990"),
        ("year", 2001, 2000, "validation begins after test"),
    ):
        with pytest.raises(DataError, match=message):
            split_by_number(crystals, column, validation_from=first, test_from=second)
