"""Clustering algorithms behind the protocol, the silhouette, and the choice of k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import HDBSCAN
from sklearn.cluster import KMeans as ScikitKMeans
from sklearn.metrics import pairwise_distances, silhouette_samples

from variolite.errors import DataError, ModelFileError
from variolite.scoring.algorithms import (
    CLUSTERERS,
    DensityClusters,
    KMeans,
    clusterer,
    fitted_from_arrays,
    fitted_to_arrays,
    needs_k,
)
from variolite.scoring.selection import choose_k, distances, silhouette_values, stability

ARGUMENTS = {"kmeans": 3, "gmm": 3, "hdbscan": None}


def blobs(n=300, k=3, d=2, seed=0, spread=12.0):
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(k) / k
    centres = np.zeros((k, d))
    centres[:, 0], centres[:, 1] = spread * np.cos(angle), spread * np.sin(angle)
    member = np.arange(n) % k
    return centres[member] + rng.normal(size=(n, d)), member


def same_partition(a, b):
    pairs = {(int(i), int(j)) for i, j in zip(a, b, strict=True)}
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("name", CLUSTERERS)
def test_every_algorithm_finds_blobs_in_new_rows(name):
    x, _ = blobs()
    new, member = blobs(seed=1)
    fitted = clusterer(name, ARGUMENTS[name]).fit(x, seed=0)
    assert fitted.n_clusters == 3
    predicted = fitted.predict(new)
    assert predicted.dtype == np.int64
    assert same_partition(predicted[predicted >= 0], member[predicted >= 0])
    assert (predicted < 0).mean() < 0.1


@pytest.mark.parametrize("name", CLUSTERERS)
def test_arrays_and_back(name):
    x, _ = blobs()
    fitted = clusterer(name, ARGUMENTS[name]).fit(x, seed=0)
    arrays = fitted_to_arrays(fitted)
    again = fitted_from_arrays(name, arrays)
    assert {key: type(value) for key, value in vars(again).items()} == {
        key: type(value) for key, value in vars(fitted).items()
    }
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    with pytest.raises(ModelFileError, match="is absent"):
        fitted_from_arrays(name, {})
    misshapen = {key: value.reshape(-1)[:1] for key, value in arrays.items()}
    with pytest.raises(ModelFileError, match="do not fit one another"):
        fitted_from_arrays(name, misshapen)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_same_seed_same_clusters_and_wrong_width(name):
    x, _ = blobs(spread=1.0)
    first, second = (clusterer(name, ARGUMENTS[name]).fit(x, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.predict(x), second.predict(x))
    with pytest.raises(DataError, match="has 1 features"):
        first.predict(x[:, :1])
    with pytest.raises(DataError, match="NaN or infinite"):
        clusterer(name, ARGUMENTS[name]).fit(np.where(x > 100, 0, np.nan * x))


def test_kmeans_predicts_as_scikit_learn_and_keeps_its_digits_far_from_zero():
    x, _ = blobs(n=500, k=6, spread=2.0)
    ours = clusterer("kmeans", 6, n_init=3).fit(x, seed=0)
    theirs = ScikitKMeans(6, n_init=3, random_state=0).fit(x)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.inertia == pytest.approx(theirs.inertia_)
    far = KMeans(ours.centres + 2.0**30, 0.0)
    np.testing.assert_array_equal(far.predict(x + 2.0**30), ours.predict(x))
    centres = KMeans(np.array([[0.0], [1.0]]), 0.0)
    assert centres.predict([[0.4], [0.6], [9.0]]).tolist() == [0, 1, 1]


def test_fewer_distinct_rows_than_clusters():
    fitted = clusterer("kmeans", 4).fit(np.repeat([[0.0], [1.0]], 5, axis=0))
    assert len(np.unique(fitted.predict([[0.0], [1.0]]))) == 2


def test_hdbscan_labels_its_own_rows_as_scikit_learn():
    x, _ = blobs(n=400)
    rng = np.random.default_rng(0)
    x = np.concatenate([x, rng.uniform(-40, 40, size=(60, 2))])
    fitted = clusterer("hdbscan", min_cluster_size=20, neighbours=1).fit(x)
    labels = HDBSCAN(min_cluster_size=20, copy=True).fit(x).labels_
    np.testing.assert_array_equal(fitted.predict(x), labels)
    assert 0.02 < (labels < 0).mean() < 0.25


def test_the_nearest_row_decides_a_tie():
    rows, labels = np.array([[0.0], [1.0]]), np.array([1, 0])
    fitted = DensityClusters(rows, labels, neighbours=2)
    assert fitted.predict([[0.4], [0.6]]).tolist() == [1, 0]


def test_hdbscan_uses_a_draw_of_many_rows():
    x, member = blobs(n=900)
    fitted = clusterer("hdbscan", max_rows=300).fit(x, seed=2)
    assert len(fitted.rows) == 300
    predicted = fitted.predict(x)
    assert same_partition(predicted[predicted >= 0], member[predicted >= 0])


def test_settings_and_names_are_checked():
    assert needs_k("kmeans")
    assert not needs_k("hdbscan")
    with pytest.raises(DataError, match="Did you mean 'kmeans'"):
        clusterer("kmean", 3)
    with pytest.raises(DataError, match="needs a number of clusters"):
        clusterer("gmm")
    with pytest.raises(DataError, match="finds the number of clusters itself"):
        clusterer("hdbscan", 3)
    with pytest.raises(DataError, match="does not know a setting"):
        clusterer("kmeans", 3, tolerance=1.0)
    with pytest.raises(DataError, match="cannot fit 5 clusters to 2 rows"):
        clusterer("kmeans", 5).fit([[0.0], [1.0]])
    with pytest.raises(DataError, match="at least five rows"):
        clusterer("hdbscan").fit([[0.0], [1.0]])
    with pytest.raises(DataError, match="least cluster size 900"):
        clusterer("hdbscan", min_cluster_size=900).fit(blobs()[0])


@given(st.integers(0, 500), st.integers(2, 5), st.integers(6, 60))
def test_silhouette_equals_scikit_learn(seed, k, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) + 1000.0
    clusters = rng.integers(k, size=n)
    clusters[:2] = [0, 1]
    distance = distances(x)
    np.testing.assert_allclose(distance, pairwise_distances(x), atol=1e-6)
    if len(np.unique(clusters)) < n:
        expected = silhouette_samples(x, clusters)
        np.testing.assert_allclose(silhouette_values(distance, clusters), expected, atol=1e-6)


def test_silhouette_leaves_noise_out_and_is_undefined_for_one_cluster():
    x, member = blobs(n=60)
    noisy = np.where(np.arange(60) < 6, -1, member)
    values = silhouette_values(distances(x), noisy)
    assert np.isnan(values[:6]).all()
    np.testing.assert_allclose(values[6:], silhouette_samples(x[6:], member[6:]), atol=1e-9)
    assert np.isnan(silhouette_values(distances(x), np.zeros(60, dtype=np.int64))).all()


def test_rules_find_the_number_of_blobs():
    x, _ = blobs(n=600, k=4, spread=9.0)
    ks = (2, 3, 4, 5, 7)
    fits = {k: clusterer("gmm", k).fit(x, seed=0) for k in ks}
    assert choose_k("bic", {k: fit.bic(x) for k, fit in fits.items()}) == 4
    distance = distances(x)
    silhouettes = {k: silhouette_values(distance, fit.predict(x)).mean() for k, fit in fits.items()}
    assert choose_k("silhouette", silhouettes) == 4
    values = {k: stability(clusterer("kmeans", k), x, seed=1, repeats=3) for k in (3, 4, 7)}
    assert choose_k("stability", values) == 4
    assert values[4] == pytest.approx(1.0)


def test_stability_keeps_groups_together():
    # Two groups of two lie apart, so the halves can differ: rows at random would agree.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    x = rng.normal(size=(200, 1)) + 30.0 * groups[:, None]
    by_row = stability(clusterer("kmeans", 4), x, seed=0)
    by_group = stability(clusterer("kmeans", 4), x, groups=groups, seed=0)
    assert by_row == pytest.approx(1.0)
    assert by_group < 0.9


def test_choice_of_k_is_kind():
    assert choose_k("silhouette", {2: np.nan, 3: 0.1, 4: 0.1}) == 3
    with pytest.raises(DataError, match="undefined at every k"):
        choose_k("silhouette", {1: np.nan})
    with pytest.raises(DataError, match="Did you mean 'silhouette'"):
        choose_k("silhouete", {2: 0.0})
