"""Beds and gaps keep what a reader of the log must see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.striplog import beds

DEPTH = np.array([0.0, 0.2, 0.4, 0.6, 5.0, 5.2, 5.4])


def test_gap_is_where_the_step_is_much_longer_than_usual():
    assert beds.usual_step(DEPTH) == pytest.approx(0.2)
    assert beds.gaps(DEPTH).tolist() == [3]
    assert beds.gaps(np.array([1.0])).tolist() == []
    assert beds.gaps(np.array([1.0, 1.0, 1.0])).tolist() == []


def test_rows_meet_half_way_and_stop_at_gaps():
    tops, bases = beds.row_edges(DEPTH)
    assert tops == pytest.approx([-0.1, 0.1, 0.3, 0.5, 4.9, 5.1, 5.3])
    assert bases == pytest.approx([0.1, 0.3, 0.5, 0.7, 5.1, 5.3, 5.5])


def test_beds_end_at_changes_and_at_gaps():
    tops, bases, codes = beds.beds_of(DEPTH, np.array([1, 1, 2, 2, 2, -1, -1]))
    assert codes.tolist() == [1, 2, 2, -1]
    assert tops == pytest.approx([-0.1, 0.3, 4.9, 5.1])
    assert bases == pytest.approx([0.3, 0.7, 5.1, 5.5])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80))
def test_beds_say_the_same_as_the_rows(codes):
    depth = np.arange(len(codes)) * 0.5
    tops, bases, found = beds.beds_of(depth, np.array(codes))
    for place, code in zip(depth, codes, strict=True):
        inside = (tops <= place) & (place < bases) if len(codes) > 1 else [True]
        assert found[inside].tolist() == [code]
    assert (found[1:] != found[:-1]).all()


def test_coarse_beds_take_the_majority():
    depth = np.arange(100) * 0.1
    codes = np.repeat([0, 1], 50)
    codes[::10] = 2
    tops, _, found = beds.beds_of(depth, codes, resolution=1.0)
    assert found.tolist() == [0, 1]
    assert tops[1] == pytest.approx(5.0, abs=0.6)


def test_detail_shows_the_most_changes_and_avoids_gaps():
    depth = np.arange(1000) * 0.2
    codes = np.zeros(1000, dtype=np.int64)
    codes[620:640], codes[640:660], codes[660:680] = 1, 2, 3
    window = beds.liveliest_window(depth, codes, 100)
    assert window.stop - window.start == 100
    assert set(codes[window]) == {0, 1, 2, 3}
    # Beds on both sides of a gap: 6 changes on one, 5 and the gap otherwise.
    codes[800:810], codes[820:830], codes[840:850] = 1, 2, 3
    broken = np.where(np.arange(1000) < 660, depth, depth + 40)
    assert beds.liveliest_window(broken, codes, 100).start > 750


@given(
    st.lists(st.one_of(st.floats(-5, 5), st.just(float("nan"))), min_size=2, max_size=400),
    st.floats(0.5, 20),
)
def test_thinned_lines_look_the_same(values, resolution):
    depth, values = np.arange(len(values)) * 0.1, np.array(values)
    kept_depth, kept = beds.thinned(depth, values, resolution)
    assert len(kept) <= len(values)
    finite = np.isfinite(values)
    # In every interval the same extent, and the same rows at the ends of each part.
    interval, kept_interval = np.floor(depth / resolution), np.floor(kept_depth / resolution)
    for number in np.unique(interval[finite]):
        own, thin = values[finite & (interval == number)], kept[kept_interval == number]
        assert np.nanmin(thin) == own.min()
        assert np.nanmax(thin) == own.max()
    assert np.isfinite(kept).any() == finite.any()
    ends = finite & ~np.roll(finite, 1)
    ends[0] = finite[0]
    assert np.isin(depth[ends], kept_depth[np.isfinite(kept)]).all()


def test_lines_break_at_gaps():
    depth, values = beds.thinned(DEPTH, DEPTH * 2, 0.0)
    assert np.isnan(values).tolist() == [False] * 4 + [True] + [False] * 3
    assert np.isnan(depth[4])


def test_means_pass_over_missing_rows():
    depth = np.arange(8) * 0.5
    values = np.array([1, 3, np.nan, 5, np.nan, np.nan, 7, 9.0])
    at, mean = beds.means(depth, values, 1.0)
    assert at.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert np.array_equal(mean, [2, 5, np.nan, 8], equal_nan=True)
    assert beds.means(depth, values, 0.1)[1] is values
    both = beds.means(depth, np.column_stack([values, values]), 1.0)[1]
    assert np.array_equal(both[:, 1], mean, equal_nan=True)
