"""Corrections of wells and what surrounds a row, against slow references."""

import numpy as np
import pytest

from variolite.corelogs.guided.views import CORRECTIONS, TREND, Wells
from variolite.records.context import running


def _wells(seed, n=60, d=2, order=True):
    rng = np.random.default_rng(seed)
    groups = rng.choice(["a", "b", "c"], n)
    depth = rng.permutation(n) * 0.5 if order else None
    values, shifts = rng.normal(size=(2, n, d))
    return values, shifts, groups, depth


def test_context_is_what_surrounds_a_row_within_its_well():
    values, shifts, groups, depth = _wells(1, n=300)
    wells = Wells.of(values, shifts, groups, depth)
    found = wells.context(wells.values)
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        rows = rows[np.argsort(depth[rows])]
        for i in (0, 3, len(rows) // 2, len(rows) - 1):
            windows = [values[rows[max(0, i - w // 2) : i + w // 2 + 1]] for w in (5, 21, 81)]
            logs = [np.log(w.std(0) + 0.05) for w in windows]
            means = [w.mean(0) for w in windows]
            expected = np.concatenate([means[1] - means[2], means[2], *logs])
            place = int(np.flatnonzero(wells.place == rows[i])[0])
            np.testing.assert_allclose(found[place], expected, atol=1e-4)


def test_corrections_take_out_shares_of_median_trend_and_shift():
    values, shifts, groups, depth = _wells(3)
    wells = Wells.of(values, shifts, groups, depth)
    medians = np.array([np.median(values[groups == g], axis=0) for g in groups])
    found = wells.corrected()
    trend = running(wells.values, wells.groups, (TREND,))[0][0]
    for (a, b, c), corrected in zip(CORRECTIONS, found, strict=True):
        whole = a * medians[wells.place] + b * trend + c * shifts[wells.place]
        np.testing.assert_allclose(corrected, values[wells.place] - whole, atol=1e-5)
    # What moves a whole well goes by half with the first correction.
    moved = Wells.of(values + 4.0 * (groups == "b")[:, None], shifts, groups, depth)
    step = moved.corrected()[0] - found[0]
    np.testing.assert_allclose(step, 2.0 * (wells.groups == "b")[:, None] * np.ones(2), atol=1e-12)


def test_without_shifts_the_only_view_is_the_logs():
    values, _, groups, depth = _wells(2)
    wells = Wells.of(values, None, groups, depth)
    ((found, context),) = wells.views
    np.testing.assert_array_equal(found, values[wells.place])
    np.testing.assert_array_equal(context, wells.context(wells.values))


def test_without_an_order_there_is_no_context():
    wells = Wells.of(*_wells(0, order=False))
    assert wells.context(wells.values).shape == (60, 0)
    np.testing.assert_array_equal(np.sort(wells.groups), wells.groups)


@pytest.mark.parametrize("depth", [np.full(4, np.nan), np.array([1.0, np.nan, 0.0, 1.0])])
def test_rows_without_a_depth_are_kept(depth):
    wells = Wells.of(np.ones((4, 1)), np.zeros((4, 1)), np.array(["a", "b", "a", "a"]), depth)
    assert sorted(wells.place.tolist()) == [0, 1, 2, 3]
    assert np.isfinite(wells.context(wells.values)).all()
