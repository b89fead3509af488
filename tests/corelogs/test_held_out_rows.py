"""Clusters stand beside the labels they match, and no row changes its class on the way."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import contingency_matrix

from variolite.corelogs.held_out_rows import code_clusters, code_labels, contingency
from variolite.corelogs.striplog.patterns import colours_of
from variolite.report.style import CATEGORIES, OTHER, PAPER


def test_labels_are_sorted_by_size_and_missing_ones_have_no_class():
    classes = code_labels(np.array(["clay", "", "sand", "sand", "basalt", "sand", "clay"]))
    assert classes.names == ("sand", "clay", "basalt")
    assert classes.colours == tuple(colours_of(classes.names))
    assert classes.codes.tolist() == [1, -1, 0, 0, 2, 0, 1]
    assert classes.counts().tolist() == [3, 2, 1]
    assert classes.colour(-1) == PAPER


def test_rare_labels_are_pooled_only_beyond_the_palette():
    room = len(CATEGORIES)
    names = np.array([f"l{i:02d}" for i in range(room + 5) for _ in range(40 - i)])
    classes = code_labels(names)
    assert len(classes) == room
    assert classes.names[-1] == "other (6 labels)"
    assert classes.colours[-1] == OTHER
    assert len(set(classes.colours)) == room
    assert classes.counts().sum() == len(names)
    assert (classes.codes == room - 1).sum() == sum(40 - i for i in range(room - 1, room + 5))
    for count, most in ((room + 5, len(names)), (room, room)):
        every = code_labels(names[np.isin(names, np.unique(names)[:count])], room=most)
        assert every.names == tuple(f"l{i:02d}" for i in range(count))


pairs = st.tuples(st.integers(-1, 5), st.sampled_from(["", "a", "b", "c", "d"]))


@given(st.lists(pairs, min_size=1, max_size=60))
def test_clusters_are_paired_with_labels_as_well_as_can_be(rows):
    numbers = np.array([number for number, _ in rows], dtype=np.int64)
    labels = code_labels(np.array([label for _, label in rows]))
    clusters = code_clusters(numbers, labels)
    for name, code in zip(clusters.names, range(len(clusters)), strict=True):
        assert np.array_equal(clusters.codes == code, numbers == int(name[1:]))
    assert ((clusters.codes == -1) == (numbers < 0)).all()
    if not len(labels) or not len(clusters):
        return
    table = contingency(clusters, labels)
    both = (clusters.codes >= 0) & (labels.codes >= 0)
    if both.any():
        expected = contingency_matrix(clusters.codes[both], labels.codes[both])
        assert np.array_equal(table[table.any(axis=1)][:, table.any(axis=0)], expected)
    assert table.sum() == both.sum()
    paired = sum(
        table[cluster, labels.colours.index(colour)]
        for cluster, colour in enumerate(clusters.colours)
        if colour in labels.colours
    )
    small, large = sorted(table.shape)
    wide = table if table.shape[0] == small else table.T
    orders = permutations(range(large), small)
    assert paired == max(wide[range(small), order].sum() for order in orders)
    assert len(set(clusters.colours)) == len(clusters)


def test_clusters_alone_have_their_own_colours():
    clusters = code_clusters(np.array([7, 3, 3, -1]), None)
    assert clusters.names == ("C3", "C7")
    assert clusters.colours == CATEGORIES[:2]
    assert clusters.codes.tolist() == [1, 0, 0, -1]
    many = code_clusters(np.arange(60), None)
    assert many.colours[len(CATEGORIES) :] == (OTHER,) * (60 - len(CATEGORIES))
