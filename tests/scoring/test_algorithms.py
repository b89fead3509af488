"""Clustering algorithms by name: on blobs, beside scikit-learn, and as arrays."""

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.cluster import KMeans as ScikitKMeans

from variolite.errors import DataError, ModelFileError
from variolite.scoring import algorithms
from variolite.scoring.algorithms import DensityClusters, KMeans, fit_hdbscan, fit_kmeans

ARGUMENTS = {"kmeans": 3, "gmm": 3, "hdbscan": None}


def blobs(n=300, k=3, seed=0, spread=12.0):
    member = np.arange(n) % k
    angle = 2 * np.pi * member / k
    centres = spread * np.c_[np.cos(angle), np.sin(angle)]
    return centres + np.random.default_rng(seed).normal(size=(n, 2)), member


def same_partition(a, b):
    pairs = {(int(i), int(j)) for i, j in zip(a, b, strict=True)}
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_algorithm_finds_blobs_in_new_rows_and_comes_back_from_arrays(name):
    x, _ = blobs()
    new, member = blobs(seed=1)
    fitted = algorithms.fit_clustering(name, x, ARGUMENTS[name], seed=3)
    assert fitted.n_clusters == 3
    predicted = fitted.predict(new)
    assert predicted.dtype == np.int64
    assert same_partition(predicted[predicted >= 0], member[predicted >= 0])
    assert (predicted < 0).mean() < 0.1
    same = algorithms.fit_clustering(name, x, ARGUMENTS[name], seed=3)
    np.testing.assert_array_equal(same.predict(new), predicted)
    arrays = algorithms.fitted_to_arrays(fitted)
    again = algorithms.fitted_from_arrays(name, arrays)
    types = [{key: type(value) for key, value in vars(of).items()} for of in (fitted, again)]
    assert types[0] == types[1]
    np.testing.assert_array_equal(again.predict(new), predicted)
    misshapen = {key: value.reshape(-1)[:1] for key, value in arrays.items()}
    for damaged, words in (({}, "is absent"), (misshapen, "do not fit one another")):
        with pytest.raises(ModelFileError, match=words):
            algorithms.fitted_from_arrays(name, damaged)
    with pytest.raises(DataError, match="NaN or infinite"):
        algorithms.fit_clustering(name, np.nan * x, ARGUMENTS[name])


def test_kmeans_predicts_as_scikit_learn_and_keeps_its_digits_far_from_zero():
    x, _ = blobs(n=500, k=6, spread=2.0)
    ours = fit_kmeans(x, 6, n_init=3)
    theirs = ScikitKMeans(6, n_init=3, random_state=0).fit(x)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.inertia == pytest.approx(theirs.inertia_)
    far = KMeans(ours.centres + 2.0**30, 0.0)
    np.testing.assert_array_equal(far.predict(x + 2.0**30), ours.predict(x))
    centres = KMeans(np.array([[0.0], [1.0]]), 0.0)
    assert centres.predict([[0.4], [0.6], [9.0]]).tolist() == [0, 1, 1]


def test_fewer_rows_than_clusters():
    fitted = fit_kmeans(np.repeat([[0.0], [1.0]], 5, axis=0), 4)
    assert len(np.unique(fitted.predict([[0.0], [1.0]]))) == 2
    with pytest.raises(DataError, match="cannot fit 5 clusters to 2 rows"):
        fit_kmeans([[0.0], [1.0]], 5)
    with pytest.raises(DataError, match="at least five rows"):
        fit_hdbscan([[0.0], [1.0]])


def test_hdbscan_is_scikit_learns_and_uses_a_draw_of_many_rows(monkeypatch):
    x, member = blobs(n=900)
    x = np.concatenate([x, np.random.default_rng(0).uniform(-40, 40, size=(100, 2))])
    labels = HDBSCAN(min_cluster_size=10, copy=True).fit(x).labels_
    fitted = fit_hdbscan(x)
    np.testing.assert_array_equal(fitted.labels, labels)
    np.testing.assert_array_equal(DensityClusters(x, labels, 1).predict(x), labels)
    assert 0.02 < (labels < 0).mean() < 0.25
    monkeypatch.setattr(algorithms, "_MOST_ROWS", 300)
    fitted = fit_hdbscan(x[:900], seed=2)
    assert len(fitted.rows) == 300
    predicted = fitted.predict(x[:900])
    assert same_partition(predicted[predicted >= 0], member[predicted >= 0])
    # Between a cluster and noise that are equally common, the nearest row decides.
    tied = DensityClusters(np.array([[0.0], [1.0]]), np.array([1, 0]), neighbours=2)
    assert tied.predict([[0.4], [0.6]]).tolist() == [1, 0]
