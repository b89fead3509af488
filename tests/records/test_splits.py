"""Splits: no group in two parts, every part filled, the same draw for the same seed."""

import itertools
import json
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import SchemaError
from variolite.records import Split, normalised, split_groups

GROUPS = st.lists(st.sampled_from([f"w{i}" for i in range(12)]), min_size=3, max_size=80).filter(
    lambda names: len(set(names)) >= 3
)
FRACTIONS = st.floats(0.05, 0.45)


def check_rows(split, group):
    rows = split.rows(group)
    names = {part: {group[i] for i in indices} for part, indices in rows.items()}
    for first, second in itertools.combinations(names, 2):
        assert not names[first] & names[second]
    together = np.concatenate(list(rows.values()))
    assert np.array_equal(np.sort(together), np.arange(len(group)))
    for part, indices in rows.items():
        assert indices.dtype == np.int64
        assert np.all(np.diff(indices) > 0)
        assert names[part] <= set(getattr(split, part)) or part == "test"


@given(GROUPS, FRACTIONS, FRACTIONS, st.integers(0, 2**31), st.booleans(), st.integers())
def test_no_leak_no_empty_part_and_no_order_of_rows(group, test, validation, seed, stratified, mix):
    labels = [name[-1] for name in group] if stratified else None
    split = split_groups(group, test=test, validation=validation, seed=seed, stratify=labels)
    check_rows(split, group)
    assert all([split.train, split.validation, split.test])
    assert set(split.train + split.validation + split.test) == set(group)
    shuffled = Random(mix).sample(group, len(group))
    assert split_groups(group, seed=seed) == split_groups(shuffled, seed=seed)


def test_sizes_follow_the_number_of_groups():
    for group, test, validation, expected in (
        ([f"w{i}" for i in range(78)], 0.25, 0.15, (46, 12, 20)),
        (["a", "b", "c"], 0.45, 0.45, (1, 1, 1)),
    ):
        split = split_groups(group, test=test, validation=validation)
        assert (len(split.train), len(split.validation), len(split.test)) == expected


def test_every_group_is_equally_likely_to_be_held_out():
    group = [f"w{i}" for i in range(8)]
    drawn = Counter(name for seed in range(800) for name in split_groups(group, seed=seed).test)
    # 200 expected each, sd about 12; five sd either way.
    assert min(drawn.values()) > 140
    assert max(drawn.values()) < 260


def test_stratified_parts_hold_every_label_in_proportion():
    group = np.repeat([f"w{i:02d}" for i in range(40)], 5)
    dominant = np.repeat(["clay"] * 20 + ["sand"] * 12 + ["salt"] * 8, 5)
    noisy = dominant.copy()
    noisy[::5] = "other"
    label_of = dict(zip(group.tolist(), dominant.tolist(), strict=True))
    for seed in range(20):
        split = split_groups(group, test=0.25, validation=0.25, seed=seed, stratify=noisy)
        counts = Counter(label_of[name] for name in split.test)
        for name, expected in (("clay", 5), ("sand", 3), ("salt", 2)):
            assert abs(counts[name] - expected) <= 1


def test_unknown_and_numeric_names_and_json():
    rows = split_groups(np.array([1.0, 2.0, 3.0])).rows([1, 2, 3, 99, None])
    assert sum(map(len, rows.values())) == 5
    assert {3, 4} <= set(rows["test"].tolist())
    split = split_groups(list("abcdef"), seed=3)
    assert Split.from_dict(json.loads(json.dumps(split.to_dict()))) == split


def test_normalised_names_find_every_spelling_and_no_group_is_in_two_parts():
    split = Split(("Well-1", "well 01"), ("W2",), ("W3",), seed=4).normalised()
    assert split == Split(("well1",), ("w2",), ("w3",), seed=4)
    rows = split.rows(["WELL_1", "w02", "W-3", "w4", ""], normalised)
    assert {part: found.tolist() for part, found in rows.items()} == {
        "train": [0], "validation": [1], "test": [2, 3, 4]
    }  # fmt: skip
    with pytest.raises(SchemaError, match="'w1' is both in train and in test, under two") as caught:
        Split(("W1",), (), ("w-1",)).normalised()
    assert "Train again" in caught.value.hint


def test_the_fingerprint_is_of_the_parts():
    split = Split(("a",), ("b",), ("c", "d"), seed=1)
    assert split.fingerprint == Split(("a",), ("b",), ("d", "c"), seed=2).fingerprint
    assert split.fingerprint != Split(("a",), ("b", "d"), ("c",), seed=1).fingerprint


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Split.from_dict({"train": ["a"], "validation": [], "seed": 0}), "'test'"),
        (lambda: Split(("a",), ("a",), ()), "'a' is both in train and in validation"),
        (lambda: Split(("a", "a"), (), ()), "named twice in train"),
        (lambda: Split((), ("a",), ()), "no group is left to train on"),
        (lambda: split_groups(None), "no group column.*role 'group'"),
        (lambda: Split(("a",), (), ()).rows(None), "no group column"),
        (lambda: split_groups(["a", "b", "", ""]), r"2 groups \(a, b\) .* 3 are needed"),
        (lambda: split_groups(list("abc"), test=0), "the test fraction is 0"),
        (lambda: split_groups(list("abc"), validation=1), "the validation fraction is 1"),
        (lambda: split_groups(list("abc"), test=0.6, validation=0.5), "leave no group to train"),
        (lambda: split_groups(list("abc"), stratify=list("ab")), "2 labels .* but 3 rows"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(SchemaError, match=says):
        make()  # type: ignore[operator]
