"""Baseline representations: fitted on training rows alone, equal to scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from variolite.errors import DataError
from variolite.scoring.baselines import pca_whitened, raw


def rows(n=200, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5.0


@pytest.mark.parametrize("n_components", [None, 1, 3])
def test_whitening_equals_scikit_learn_up_to_signs(n_components):
    train, test = rows(), rows(seed=1)
    ours = pca_whitened(train, test, n_components)
    model = PCA(n_components, whiten=True).fit(train)
    for mine, theirs in zip(ours, (model.transform(train), model.transform(test)), strict=True):
        np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-8)
    np.testing.assert_allclose(np.cov(ours[0].T), np.eye(ours[0].shape[1]), atol=1e-10)


def test_signs_and_numbers_do_not_depend_on_row_order():
    train = rows()
    first, second = pca_whitened(train, train)[1], pca_whitened(train[::-1], train)[1]
    np.testing.assert_allclose(first, second, atol=1e-10)


def test_directions_without_variance_are_left_out():
    train = rows(d=2)
    doubled = np.c_[train, train[:, 0], np.full(len(train), 3.3)]
    assert [part.shape[1] for part in pca_whitened(doubled, doubled)] == [2, 2]
    with pytest.raises(DataError, match="no feature varies"):
        pca_whitened(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(DataError, match="n_components=9 must be between"):
        pca_whitened(train, train, 9)
    with pytest.raises(DataError, match="X has 1 features"):
        pca_whitened(train, train[:, :1])


def test_raw_features_are_standardised_by_the_training_rows():
    train, test = rows(), rows(seed=1)
    train[:, 2] = 0.1
    test[:, 2] = 0.1
    first, second = raw(train, test)
    scaler = StandardScaler().fit(train[:, [0, 1, 3]])
    np.testing.assert_allclose(first[:, [0, 1, 3]], scaler.transform(train[:, [0, 1, 3]]))
    np.testing.assert_allclose(second[:, [0, 1, 3]], scaler.transform(test[:, [0, 1, 3]]))
    np.testing.assert_allclose(np.r_[first[:, 2], second[:, 2]], 0.0, atol=1e-12)
    with pytest.raises(DataError, match="test rows 3"):
        raw(train, test[:, :3])
