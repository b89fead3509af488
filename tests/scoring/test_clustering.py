"""The evaluator as a whole: against a plain loop with scikit-learn, and on blobs."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from synthetic_wells import PLAN, QUICK, wells, without
from variolite.errors import DataError
from variolite.scoring import clustering
from variolite.scoring.algorithms import fit_clustering, fit_kmeans
from variolite.scoring.clustering import distances, evaluate_clustering, silhouette_values
from variolite.scoring.evaluation import compare, hold_out, sample_by_group
from variolite.scoring.hmm import Whitening
from variolite.scoring.sequences import Sequences

TEST = [f"well {i}" for i in range(4)]
ONES = np.ones((1, 4))


def case(names=TEST, most=60_000, **options):
    """Wells with some held out: features, rock types, held-out rows, training and test rows."""
    x, group, kind = wells(**options)
    held, train, test = without(names, group, {"kind": kind}, max_test_rows=most)
    return x, kind, held, train, test


def evaluate(x, held, train, test, **options):
    return evaluate_clustering({"raw": (x[train], x[test])}, held, replace(PLAN, **options))


def test_equal_to_a_plain_loop_with_scikit_learn():
    x, kind, held, train, test = case(spread=2.0)
    card = evaluate(x, held, train, test).scorecard(QUICK)
    expected = []
    for seed in range(2):
        fitted = fit_kmeans(x[train], 3, seed)
        on_train, on_test = fitted.predict(x[train]), fitted.predict(x[test])
        majority = [Counter(sorted(kind[train][on_train == c])).most_common(1) for c in range(3)]
        predicted = np.array([majority[c][0][0] for c in on_test])
        scores = {
            "ari": metrics.adjusted_rand_score(kind[test], on_test),
            "ami": metrics.adjusted_mutual_info_score(kind[test], on_test),
            "v_measure": metrics.v_measure_score(kind[test], on_test),
            "accuracy": metrics.accuracy_score(kind[test], predicted),
            "macro_f1": metrics.f1_score(kind[test], predicted, average="macro"),
            "silhouette": metrics.silhouette_score(x[test], on_test),
        }
        expected.append(scores)
    for metric in expected[0]:
        row = card.select(k=3, metric=metric)[0]
        assert row.mean == pytest.approx(np.mean([seed[metric] for seed in expected]), abs=1e-9)
        assert row.low <= row.mean <= row.high
        assert (row.rule, row.fit, row.n_groups, row.seeds) == ("fixed", "inductive", 4, 2)


def test_rules_choose_among_the_grid_and_the_oracle_is_never_worse():
    x, _, held, train, test = case()
    rules = ("bic", "silhouette", "stability", "oracle")
    both = {"algorithms": ("kmeans", "gmm"), "ks": (2, 3, 6)}
    evaluation = evaluate(x, held, train, test, rules=rules, **both)
    found = {(e.key.algorithm, e.key.rule): e.key.k for e in evaluation.entries if e.key.level}
    assert found["gmm", "bic"] == 3
    assert ("kmeans", "bic") not in found
    fixed = evaluation.scorecard(QUICK).select(rule="fixed", metric="ari")
    for algorithm in ("kmeans", "gmm"):
        assert found[algorithm, "silhouette"] == found[algorithm, "stability"] == 3
        ari = {row.k: row.mean for row in fixed if row.algorithm == algorithm}
        assert found[algorithm, "oracle"] == max(ari, key=ari.__getitem__)


def test_members_are_clustered_once_each():
    x, _, held, train, test = case()
    members = np.stack([x, 2.0 * x, x + 1.0])
    seen = []
    parts = {"vae": (members[:, train], members[:, test])}
    evaluation = evaluate_clustering(parts, held, PLAN, log=seen.append)
    assert evaluation.find(level="kind", k=3).scored.n_seeds == 3
    assert len(seen) == 6
    assert seen[-1] == "6/6 vae, kmeans k 3"


def test_transductive_fit_uses_the_scored_rows_and_says_so():
    x, _, held, train, test = case()
    # Features that are constant in training, so that only the scored rows can be clustered.
    x[train] = np.arange(len(train))[:, None] * 1e-6
    for fit, low, high in (("inductive", -1.0, 0.5), ("transductive", 0.9, 1.0)):
        entry = evaluate(x, held, train, test, fit=fit).find(level="kind", k=3)
        assert entry.key.fit == fit
        assert low < entry.scored.values(ONES, ["ari"])["ari"].mean() <= high


def test_hdbscan_needs_no_k_and_reports_its_noise():
    x, _, held, train, test = case(rows=80)
    x[::9] = np.random.default_rng(0).uniform(-30, 30, size=x[::9].shape)
    rules = ("silhouette", "oracle")
    evaluation = evaluate(x, held, train, test, algorithms=("hdbscan",), rules=rules)
    assert {entry.key.rule for entry in evaluation.entries} == {None}
    assert 0.02 < evaluation.scorecard(QUICK).select(metric="noise")[0].mean < 0.5
    assert any(note.endswith("clusters that hdbscan found: 3, 3") for note in evaluation.notes)
    tables = evaluation.find(level="kind").scored.tables
    assert (tables.shape[2], tables.sum()) == (4, 2 * len(test))


def test_seeds_with_different_numbers_of_clusters_share_one_row_for_noise():
    _, _, held, train, test = case()
    codes, train_codes = (part["kind"].codes for part in (held.test_labels, held.train_labels))
    # The first seed finds two clusters, the second three; noise is one class of each.
    seeds = [(2, 2), (3, 0)]
    clusters = [np.where(codes == noise, -1, codes % k) for k, noise in seeds]
    rows = np.arange(len(train))
    known = [(rows, np.where(train_codes == noise, -1, train_codes % k)) for k, noise in seeds]
    scores = clustering.score_clusters(clusters, held, "kind", known)
    assert scores.tables.shape == (2, 4, 4, 3)
    assert scores.tables.sum() == 2 * len(test)
    assert scores.mapping[:, -1].tolist() == [2, 0]
    for seed, (_, noise) in enumerate(seeds):
        in_noise = scores.tables[seed, :, -1].sum(axis=0)
        assert in_noise.sum() == in_noise[noise] == (codes == noise).sum()


def test_levels_with_gaps_are_kind():
    x, group, kind = wells()
    held_out, gaps = np.isin(group, TEST), np.arange(len(kind)) % 3 == 0
    some = np.where(gaps | (group == "well 0"), "", kind)
    levels = {
        "some": some,
        "none": np.full(len(kind), ""),
        "one": np.full(len(kind), "rock"),
        "train": np.where(held_out, "", kind),
        "test": np.where(held_out, kind, ""),
    }
    held, train, test = without(TEST, group, levels)
    evaluation = evaluate(x, held, train, test)
    assert evaluation.find(level="some", k=3).scored.groups == ("well 1", "well 2", "well 3")
    assert not [e for e in evaluation.entries if e.key.level in ("none", "train")]
    assert "accuracy" not in evaluation.find(level="test", k=3).scored.metrics
    missing = int((some[test] == "").sum())
    assert {
        "none: no scored row has a label, so nothing is compared with it",
        "one: all scored rows are 'rock'; agreement scores are meaningless",
        "test: no training row has a label, so accuracy and F1 are left out",
        f"some: {missing:,} rows without a label left out (test)",
    } <= set(evaluation.notes)
    with pytest.raises(DataError, match="4 entries fit"):
        evaluation.find(k=3)


def test_no_labels_at_all_leave_the_silhouette_and_one_group_no_interval():
    x, group, _ = wells()
    held, train, test = without(TEST, group, {})
    card = evaluate(x, held, train, test, rules=("silhouette",)).scorecard(QUICK)
    assert {row.metric for row in card.rows} == {"silhouette"}
    assert len(card.select(rule="silhouette")) == 1
    x, _, held, train, test = case(["well 0"])
    row = evaluate(x, held, train, test).scorecard(QUICK).select(metric="ari", k=3)[0]
    assert row.mean > 0.5
    assert np.isnan([row.low, row.high]).all()


def test_many_test_rows_are_drawn_within_groups():
    codes = np.repeat([0, 1, 2], [700, 200, 100])
    kept = sample_by_group(codes, 100, seed=0)
    assert np.bincount(codes[kept]).tolist() == [70, 20, 10]
    assert (np.diff(kept) > 0).all()
    assert not np.array_equal(kept, sample_by_group(codes, 100, seed=1))
    x, _, held, train, test = case(most=80)
    assert np.bincount(held.group_codes).tolist() == [20, 20, 20, 20]
    evaluation = evaluate(x, held, train, test)
    assert evaluation.find(level="kind", k=3).scored.tables[0].sum() == 80
    assert "test: 80 of 160 rows scored, drawn within every group" in evaluation.notes


def test_comparison_finds_the_better_representation():
    seven = [f"well {i}" for i in range(7)]
    x, _, held, train, test = case(seven, n_wells=12, spread=4.0)
    noisy = x + np.random.default_rng(1).normal(size=x.shape) * 6.0
    pairs = {"vae": (x[train], x[test]), "raw": (noisy[train], noisy[test])}
    evaluation = evaluate_clustering(pairs, held, PLAN)
    first, second = (evaluation.find(method=m, level="kind", k=3) for m in ("vae", "raw"))
    rows = {row.metric: row for row in compare(first, second, metrics=["ari"], bootstrap=QUICK)}
    ari = rows["ari"]
    assert (ari.task, ari.method, ari.level, ari.k) == ("paired", "vae vs raw", "kind", 3)
    assert ari.low > 0.2
    assert rows["ari_p"].mean < 0.05
    assert rows["ari_wins"].mean == 1.0
    same = {row.metric: row.mean for row in compare(first, first, bootstrap=QUICK)}
    assert (same["ari"], same["ari_p"]) == (0.0, 1.0)
    x, _, held, train, test = case()
    with pytest.raises(DataError, match="not scored on the same rows"):
        compare(first, evaluate(x, held, train, test).find(level="kind", k=3))


def test_what_cannot_be_scored_is_refused():
    x, _, held, train, test = case()
    with pytest.raises(DataError, match="cannot fit 500 clusters to 160 rows"):
        evaluate(x, held, train, test, ks=(500,))
    x[test] = np.where(x[test] > 0, x[test], np.nan)
    with pytest.raises(DataError, match=r"raw, test rows: .*NaN or infinite"):
        evaluate(x, held, train, test)
    shared, nothing = "1 groups are in training and test alike: a", "test rows: there is no row"
    for train, test, words in (([0, 2], [1, 3], shared), ([0, 1], [], nothing)):
        with pytest.raises(DataError, match=words):
            hold_out(np.array(["a", "a", "b", "c"]), {}, train_rows=train, test_rows=test)


def blobs(n=600, k=4, spread=9.0):
    angle = 2 * np.pi * np.arange(n) / k
    return spread * np.c_[np.cos(angle), np.sin(angle)] + np.random.default_rng(0).normal(
        size=(n, 2)
    )


@given(st.integers(0, 500), st.integers(2, 5), st.integers(6, 60))
def test_silhouette_equals_scikit_learn(seed, k, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) + 1000.0
    clusters = rng.integers(k, size=n)
    clusters[:2] = [0, 1]
    distance = distances(x)
    np.testing.assert_allclose(distance, metrics.pairwise_distances(x), atol=1e-6)
    if len(np.unique(clusters)) < n:
        expected = metrics.silhouette_samples(x, clusters)
        np.testing.assert_allclose(silhouette_values(distance, clusters), expected, atol=1e-6)


def test_silhouette_leaves_noise_out_and_is_undefined_for_one_cluster():
    x, member = blobs(n=60), np.arange(60) % 4
    values = silhouette_values(distances(x), np.where(np.arange(60) < 6, -1, member))
    assert np.isnan(values[:6]).all()
    expected = metrics.silhouette_samples(x[6:], member[6:])
    np.testing.assert_allclose(values[6:], expected, atol=1e-9)
    assert np.isnan(silhouette_values(distances(x), np.zeros(60, dtype=np.int64))).all()
    # What a diverged model encodes is refused before anything is fitted to it.
    with pytest.raises(DataError, match="NaN or infinite"):
        distances(np.full((3, 2), np.nan))


def test_rules_find_the_number_of_blobs():
    x = blobs()
    distance = distances(x)

    def fit(k):
        fitted = fit_clustering("gmm", x, k)
        silhouette = silhouette_values(distance, fitted.predict(x)).mean()
        return clustering.Fit(fitted, {"bic": fitted.bic(x), "silhouette": silhouette})

    fits = {k: [fit(k)] for k in (2, 3, 4, 5, 7)}
    choose_k = clustering.choose_k
    assert choose_k("bic", fits) == choose_k("silhouette", fits) == 4
    values = {k: clustering.stability("kmeans", k, x, seed=1, repeats=3) for k in (3, 4, 7)}
    assert max(values, key=values.__getitem__) == 4
    assert values[4] == pytest.approx(1.0)
    given_ = {2: [np.nan, 1.0], 3: [0.0, 0.2], 4: [0.1, 0.1]}
    fits = {k: [clustering.Fit(None, {"silhouette": v}) for v in vs] for k, vs in given_.items()}
    assert choose_k("silhouette", fits) == 3
    assert choose_k("silhouette", {2: fits[2]}) is None


def test_a_hidden_markov_model_is_chosen_by_its_start_and_fitted_when_asked_for(monkeypatch):
    x = blobs() * [1.0, 40.0]
    along = Sequences.of(np.zeros(len(x)))
    rows = clustering.FitRows(x, None, np.arange(len(x)), 0, x, along)
    rules = ("silhouette", "stability")
    asked = []
    real = clustering.fit_hmm
    monkeypatch.setattr(clustering, "fit_hmm", lambda *a: asked.append(len(a[2])) or real(*a))
    plan = replace(PLAN, algorithms=("hmm",), ks=(3, 4), rules=rules)
    fits = {k: fit for _, k, fit in clustering.fit_grid(rows, plan)}
    white = replace(rows, x=Whitening.of(x)(x))
    starts = clustering.fit_grid(white, replace(plan, algorithms=("kmeans",)))
    assert {k: fit.criteria for k, fit in fits.items()} == {k: f.criteria for _, k, f in starts}
    assert not asked
    assert fits[4].fitted.n_clusters == fits[4].fitted.n_clusters == 4
    assert asked == [4]


def test_stability_keeps_groups_together():
    # Two groups of two lie apart, so the halves can differ: rows at random would agree.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    x = rng.normal(size=(200, 1)) + 30.0 * groups[:, None]
    assert clustering.stability("kmeans", 4, x) == pytest.approx(1.0)
    assert clustering.stability("kmeans", 4, x, groups) < 0.9


def test_evaluations_can_be_handed_between_processes():
    x, _, held, train, test = case()
    evaluation = evaluate(x, held, train, test)
    again = pickle.loads(pickle.dumps(evaluation))
    assert again.scorecard(QUICK) == evaluation.scorecard(QUICK)
    assert "silhouette" in {row.metric for row in again.scorecard(QUICK).rows}
