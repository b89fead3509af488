"""scikit-learn's own checks, and the company an estimator keeps there."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.cluster import KMeans
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from variolite import TabularVAE

QUICK = {"latent": 2, "epochs": 3, "warm_up": 1, "patience": None}
# transform is tested for the same property below.
NOISY = "score_samples is a Monte Carlo bound whose noise follows a row's position"
CHECKS = "check_methods_sample_order_invariance", "check_methods_subset_invariance"
EXPECTED = dict.fromkeys(CHECKS, NOISY)


@parametrize_with_checks([TabularVAE(**QUICK)], expected_failed_checks=lambda estimator: EXPECTED)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_rows_are_judged_alone_and_must_be_finite(table):
    vae = TabularVAE(**QUICK).fit(table[:300])
    together = vae.transform(table)
    order = np.random.default_rng(0).permutation(len(table))
    np.testing.assert_allclose(vae.transform(table[order]), together[order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(vae.transform(table[7:8]), together[7:8], rtol=0, atol=1e-5)
    broken = table[:5].copy()
    broken[2, 1] = np.inf
    for use in (vae.transform, TabularVAE(**QUICK).fit):
        with pytest.raises(ValueError, match="infinity"):
            use(broken)


def test_pipelines_and_cross_validation_by_group(table):
    groups = np.arange(len(table)) % 10
    pipeline = make_pipeline(StandardScaler(), TabularVAE(**QUICK), KMeans(3, n_init=1))
    clusters = pipeline.fit(table, tabularvae__groups=groups).predict(table)
    assert set(clusters) == {0, 1, 2}
    again = KMeans(3, n_init=1, random_state=0).fit(pipeline[:-1].transform(table))
    assert again.cluster_centers_.shape == (3, 2)
    settings = {"groups": groups, "cv": GroupKFold(3), "error_score": "raise"}
    scores = cross_val_score(TabularVAE(**QUICK), table, **settings)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_frames_are_taken_by_position_with_their_names(table):
    frame = pd.DataFrame(table, columns=list("abcd"), index=np.arange(len(table)) + 100)
    vae = TabularVAE(**QUICK).set_output(transform="pandas")
    latents = vae.fit_transform(frame)
    assert list(latents.columns) == ["z0", "z1"]
    assert latents.index.equals(frame.index)
    np.testing.assert_array_equal(latents.to_numpy(), vae.set_output().transform(frame))
    polars = pl.DataFrame(table, schema=list("abcd"))
    vae = TabularVAE(**QUICK).fit(polars)
    assert list(vae.feature_names_in_) == list("abcd")
    expected = TabularVAE(**QUICK).fit(table).transform(table)
    np.testing.assert_array_equal(vae.transform(polars), expected)
    with pytest.raises(ValueError, match="order"):
        vae.transform(polars.select("b", "a", "c", "d"))
