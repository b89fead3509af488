"""Beds and gaps keep what a reader of the log must see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.report import strip_log

DEPTH = np.array([0.0, 0.2, 0.4, 0.6, 5.0, 5.2, 5.4])


def test_gap_is_where_the_step_is_much_longer_than_usual():
    assert strip_log.usual_step(DEPTH) == pytest.approx(0.2)
    assert strip_log.gaps(DEPTH).tolist() == [3]
    assert strip_log.gaps(np.array([1.0])).tolist() == []
    assert strip_log.gaps(np.array([1.0, 1.0, 1.0])).tolist() == []


def test_rows_meet_half_way_and_stop_at_gaps():
    tops, bases = strip_log.row_edges(DEPTH)
    assert tops == pytest.approx([-0.1, 0.1, 0.3, 0.5, 4.9, 5.1, 5.3])
    assert bases == pytest.approx([0.1, 0.3, 0.5, 0.7, 5.1, 5.3, 5.5])


def test_beds_end_at_changes_and_at_gaps():
    tops, bases, codes = strip_log.beds_of(DEPTH, np.array([1, 1, 2, 2, 2, -1, -1]))
    assert codes.tolist() == [1, 2, 2, -1]
    assert tops == pytest.approx([-0.1, 0.3, 4.9, 5.1])
    assert bases == pytest.approx([0.3, 0.7, 5.1, 5.5])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80))
def test_beds_say_the_same_as_the_rows(codes):
    depth = np.arange(len(codes)) * 0.5
    tops, bases, found = strip_log.beds_of(depth, np.array(codes))
    for place, code in zip(depth, codes, strict=True):
        inside = (tops <= place) & (place < bases) if len(codes) > 1 else [True]
        assert found[inside].tolist() == [code]
    assert (found[1:] != found[:-1]).all()


def test_coarse_beds_take_the_majority():
    depth = np.arange(100) * 0.1
    codes = np.repeat([0, 1], 50)
    codes[::10] = 2
    tops, _, found = strip_log.beds_of(depth, codes, resolution=1.0)
    assert found.tolist() == [0, 1]
    assert tops[1] == pytest.approx(5.0, abs=0.6)


def test_detail_shows_the_most_changes_and_avoids_gaps():
    depth = np.arange(1000) * 0.2
    codes = np.zeros(1000, dtype=np.int64)
    codes[620:640], codes[640:660], codes[660:680] = 1, 2, 3
    window = strip_log.liveliest_window(depth, codes, 100)
    assert window.stop - window.start == 100
    assert set(codes[window]) == {0, 1, 2, 3}
    # Beds on both sides of a gap: 6 changes on one, 5 and the gap otherwise.
    codes[800:810], codes[820:830], codes[840:850] = 1, 2, 3
    broken = np.where(np.arange(1000) < 660, depth, depth + 40)
    assert strip_log.liveliest_window(broken, codes, 100).start > 750
