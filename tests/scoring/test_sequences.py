"""Where sequences and layers begin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from variolite.scoring.sequences import Sequences


def test_groups_gaps_and_missing_depths_begin_sequences():
    groups = np.array(["b", "a", "a", "b", "a", "a", "a", "b"])
    depth = np.array([1.0, 2.0, 1.0, np.nan, 3.0, 9.0, 10.0, 2.0])
    found = Sequences.of(groups, depth)
    assert found.rows.tolist() == [2, 1, 4, 5, 6, 0, 7, 3]
    assert found.start.tolist() == [True, False, False, True, False, True, False, True]
    assert found.group_start.nonzero()[0].tolist() == [0, 5]
    assert found.lengths.tolist() == [3, 2, 2, 1]
    assert found.thinned(2).rows.tolist() == [2, 4, 5, 0, 3]


def test_the_usual_step_is_that_of_the_group():
    # Every 10 cm in one hole, every 5 m in the other: neither is full of gaps.
    groups = np.repeat(["fine", "coarse"], 5)
    depth = np.concatenate([0.1 * np.arange(5), 5.0 * np.arange(5)])
    assert Sequences.of(groups, depth).lengths.tolist() == [5, 5]


def test_without_depths_rows_follow_as_they_come():
    found = Sequences.of(np.array(["b", "a", "b"]))
    assert found.rows.tolist() == [1, 0, 2]
    assert found.lengths.tolist() == [1, 2]


def test_a_layer_begins_where_the_value_changes():
    groups = np.array(["a", "a", "a", "a", "b", "b"])
    depth = np.array([4.0, 3.0, 2.0, 1.0, 1.0, 2.0])
    layer = Sequences.of(groups, depth).boundaries([7, 7, 5, 5, 5, 5])
    assert layer.tolist() == [False, True, False, True, True, False]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=40))
def test_order_of_the_table_does_not_matter(pairs):
    groups, depth = np.array(pairs, float).T
    depth = depth + np.arange(len(depth)) * 1e-6  # ties have no order of their own
    turned = np.random.default_rng(0).permutation(len(depth))
    one, other = Sequences.of(groups, depth), Sequences.of(groups[turned], depth[turned])
    assert (turned[other.rows] == one.rows).all()
    assert (one.lengths == other.lengths).all()
    assert one.lengths.sum() == len(depth)
