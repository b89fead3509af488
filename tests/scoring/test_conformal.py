import itertools

import numpy as np
import pytest

from variolite.scoring.conformal import (
    folds_by_group,
    groups_needed,
    half_widths,
    half_widths_of_groups,
    predict_left_out,
)


def test_folds_share_no_group_and_are_about_equal():
    fold = folds_by_group(np.repeat(np.arange(100).astype(str), 3), 5, seed=0)
    assert (fold.reshape(100, 3) == fold[::3, None]).all()
    assert np.bincount(fold).min() >= 50
    assert len(set(folds_by_group(["a", "b", "a"], 5, seed=0))) == 2


@pytest.mark.parametrize("sizes", [(1, 29), (2, 1), (3, 25, 2), (1, 1, 40), (5, 5)])
def test_groups_of_any_size_leave_rows_to_learn_from(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for folds, seed in itertools.product(range(2, 9), range(6)):
        assert len(set(folds_by_group(groups, folds, seed))) > 1


def test_rows_are_predicted_by_those_of_other_folds():
    values, fold = np.arange(6.0), np.array([0, 2, 0, 2, 3, 3])
    mean, count = predict_left_out(fold, lambda known, left: (values[known].mean(), left.sum()))
    np.testing.assert_allclose(mean, [3.25, 2.75, 3.25, 2.75, 1.5, 1.5])
    assert (count == 2).all()


@pytest.mark.parametrize("rows", [9, 19, 99])
def test_new_errors_are_below_the_widths_as_often_as_asked(rows):
    random = np.random.default_rng(rows)
    held = [(random.random() <= half_widths(random.random(rows), [0.5, 0.9])) for _ in range(4000)]
    np.testing.assert_allclose(np.mean(held, axis=0), [0.5, 0.9], atol=0.025)


def test_widths_of_a_few_groups_hold_in_others():
    levels, code = (0.5, 0.9), np.repeat(np.arange(4), 50)
    plain, left_out = [], []
    for seed in range(400):
        source = np.random.default_rng(seed)
        scale = np.exp(0.5 * source.normal(size=24))[:, None]
        rows = np.abs(source.normal(size=(24, 1)) + scale * source.normal(size=(24, 50)))
        known, new = rows[:4].ravel(), rows[4:].ravel()
        plain.append(new[:, None] <= half_widths(known, levels))
        left_out.append(new[:, None] <= half_widths_of_groups(known, code, levels))
    held = np.mean(left_out, axis=(0, 1))
    np.testing.assert_allclose(held, levels, atol=0.015)
    assert np.mean(plain, axis=(0, 1))[1] < 0.885


def test_widths_of_one_group_are_those_of_its_rows():
    errors = np.random.default_rng(0).random(99)
    levels = [0.1, 0.5, 0.9]
    found = half_widths_of_groups(errors, np.zeros(99), levels)
    np.testing.assert_array_equal(found, half_widths(errors, levels))


@pytest.mark.parametrize(("level", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_with_fewer_groups_than_needed_not_even_the_largest_error_is_a_bound(level, needed):
    assert groups_needed(level) == needed
    # Rows of a group err alike: one error for each, and one of a new group.
    errors = np.random.default_rng(needed).random((6000, 21))
    held = {
        groups: np.mean([row[-1] <= half_widths(row[:groups], level) for row in errors])
        for groups in (needed - 1, needed)
        if groups
    }
    assert held[needed] == pytest.approx(level, abs=0.015)
    if needed > 1:
        assert held[needed - 1] == pytest.approx(1 - 1 / needed, abs=0.015)


def test_the_highest_level_takes_999_groups():
    assert groups_needed(0.999) == 999
