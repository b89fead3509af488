"""Agreement scores against scikit-learn, and what must hold for any tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import hypergeom
from sklearn import metrics

from variolite.scoring import agreement
from variolite.scoring.agreement import count_tables, encode_labels, majority_map, mapped_accuracy

# With scikit-learn's own, and the least value.
SCORES = {
    agreement.adjusted_rand_index: (metrics.adjusted_rand_score, -0.5),
    agreement.adjusted_mutual_information: (metrics.adjusted_mutual_info_score, -1.0),
    agreement.v_measure: (metrics.v_measure_score, 0.0),
    agreement.homogeneity: (metrics.homogeneity_score, 0.0),
    agreement.completeness: (metrics.completeness_score, 0.0),
    agreement.purity: (
        lambda y, c: metrics.cluster.contingency_matrix(y, c).max(axis=0).sum() / len(y),
        0.0,
    ),
}

labellings = st.integers(1, 120).flatmap(
    lambda n: st.tuples(*(hnp.arrays(np.int64, n, elements=st.integers(0, k)) for k in (6, 4)))
)
shapes = hnp.array_shapes(min_dims=2, max_dims=3, max_side=5)
any_tables = hnp.arrays(np.float64, shapes, elements=st.integers(0, 40))


def table_of(clusters, classes):
    return count_tables(clusters, encode_labels(classes), int(clusters.max()) + 1)[0]


@given(labellings)
def test_equal_to_scikit_learn(pair):
    clusters, classes = pair
    table = table_of(clusters, classes)
    for ours, (theirs, _) in SCORES.items():
        assert ours(table) == pytest.approx(theirs(classes, clusters), abs=1e-10)


@pytest.mark.parametrize(("n", "k", "c"), [(60_000, 18, 11), (4_000, 3, 2), (20_000, 40, 30)])
def test_equal_to_scikit_learn_where_the_coarse_sum_is_used(n, k, c):
    rng = np.random.default_rng(n)
    classes = rng.choice(c, size=n, p=rng.dirichlet(np.full(c, 0.5)))
    clusters = np.where(rng.random(n) < 0.4, classes % k, rng.integers(k, size=n))
    ours = float(agreement.adjusted_mutual_information(table_of(clusters, classes)))
    assert ours == pytest.approx(metrics.adjusted_mutual_info_score(classes, clusters), abs=1e-11)


@pytest.mark.parametrize(
    ("n", "a", "b"), [(30, 7, 12), (30, 29, 28), (500, 499, 1), (5000, 900, 3500), (9000, 60, 50)]
)
def test_expected_information_is_the_full_hypergeometric_sum(n, a, b):
    rows, columns = np.array([a, n - a], float), np.array([b, n - b], float)
    slow = 0.0
    for i in rows:
        for j in columns:
            x = np.arange(1, int(min(i, j)) + 1)
            chance = hypergeom(n, int(i), int(j)).pmf(x)
            slow += float((x / n * np.log(n * x / (i * j)) * chance).sum())
    assert float(agreement.expected_mutual_information(rows, columns)) == pytest.approx(
        slow, rel=1e-8
    )


@given(any_tables, st.randoms(use_true_random=False))
def test_names_do_not_matter_and_leading_axes_are_independent(tables, random):
    rows, columns = list(range(tables.shape[-2])), list(range(tables.shape[-1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = tables[..., rows, :][..., columns]
    filled = tables.any(axis=(-2, -1))
    for ours, (_, low) in SCORES.items():
        values = ours(tables)
        np.testing.assert_allclose(ours(shuffled), values, atol=1e-9)
        assert values.shape == filled.shape
        for index in np.ndindex(filled.shape):
            assert values[index] == pytest.approx(ours(tables[index]), abs=1e-13, nan_ok=True)
        assert (np.isnan(values) == ~filled).all()
        assert ((values[filled] >= low - 1e-9) & (values[filled] <= 1.0 + 1e-9)).all()
        assert ours(np.diag([3.0, 1.0, 7.0])) == pytest.approx(1.0, abs=1e-9)
    mirrored = np.swapaxes(tables, -1, -2)
    expected = agreement.completeness(mirrored)
    np.testing.assert_allclose(agreement.homogeneity(tables), expected, atol=1e-12)


@given(labellings)
def test_accuracy_and_f1_are_those_of_the_mapped_prediction(pair):
    clusters, classes = pair
    half, k = len(clusters) // 2, int(clusters.max()) + 1
    codes = encode_labels(classes)
    train, test = np.arange(half + 1), np.arange(half, len(clusters))
    mapping = majority_map(count_tables(clusters[train], codes.take(train), k)[0])
    counts = agreement.confusion(count_tables(clusters[test], codes.take(test), k)[0], mapping)
    predicted, true = mapping[clusters[test]], codes.codes[test]
    assert mapped_accuracy(counts) == pytest.approx(metrics.accuracy_score(true, predicted))
    f1 = metrics.f1_score(true, predicted, average="macro", zero_division=0)
    assert agreement.macro_f1(counts) == pytest.approx(f1)


def test_map_is_learned_from_training_rows_alone():
    train = np.array([[9.0, 1.0], [2.0, 8.0], [0.0, 0.0]])
    test = np.array([[1.0, 9.0], [8.0, 2.0], [3.0, 4.0]])
    mapping = majority_map(train)
    # The cluster that no training row fell into takes the commonest class, the first (11 of 20).
    assert mapping.tolist() == [0, 1, 0]
    assert mapped_accuracy(agreement.confusion(test, mapping)) == pytest.approx((1 + 2 + 3) / 27)
    assert agreement.purity(test) == pytest.approx((9 + 8 + 4) / 27)
    # Predicted as class 1 although no row is: F1 of class 0 is 8/9, of class 1 it is 0.
    table = np.array([[4.0, 0.0], [1.0, 0.0]])
    counts = agreement.confusion(table, np.array([0, 1]))
    assert agreement.macro_f1(counts) == pytest.approx(4 / 9)


def test_missing_labels_are_left_out_and_counted():
    labels = encode_labels(np.array(["clay", "", None, "sand", np.nan, "clay"], dtype=object))
    assert labels.classes == ("clay", "sand")
    assert labels.missing == 3
    table = count_tables(np.array([0, 0, 0, 1, 1, 1]), labels, 2)
    np.testing.assert_array_equal(table, [[[1, 0], [1, 1], [0, 0]]])
    assert encode_labels(np.array([3.0, np.nan, 3.0])).missing == 1


def test_tables_by_group_sum_to_the_whole_and_noise_is_a_cluster():
    rng = np.random.default_rng(0)
    clusters, groups = rng.integers(-1, 4, size=500), rng.integers(6, size=500)
    labels = encode_labels(rng.choice(["a", "b", ""], size=500))
    tables = count_tables(clusters, labels, 4, groups, 6)
    assert tables.shape == (6, 5, 2)
    np.testing.assert_array_equal(tables.sum(axis=0), count_tables(clusters, labels, 4)[0])
    for cluster, row in ((-1, 4), (3, 3)):
        expected = ((clusters == cluster) & (labels.codes == 1) & (groups == 2)).sum()
        assert tables[2, row, 1] == expected
