"""The evaluator as a whole: against a plain loop with scikit-learn, and on blobs."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics
from sklearn.ensemble import HistGradientBoostingClassifier

from variolite.errors import DataError
from variolite.scoring.algorithms import clusterer
from variolite.scoring.baselines import SupervisedPlan, evaluate_supervised
from variolite.scoring.clustering import (
    ClusteringPlan,
    evaluate_clustering,
    score_clusters,
)
from variolite.scoring.evaluation import (
    compare,
    hold_out,
    sample_by_group,
)
from variolite.scoring.intervals import Bootstrap

QUICK = Bootstrap(resamples=100)
PLAN = ClusteringPlan(
    algorithms=("kmeans",), ks=(2, 3), rules=(), seeds=2, settings={"kmeans": {"n_init": 2}}
)


def wells(n_wells=8, rows=40, seed=0, spread=5.0):
    """Wells with three rock types in shares that differ by well."""
    rng = np.random.default_rng(seed)
    group = np.repeat([f"well {i}" for i in range(n_wells)], rows)
    kind = np.concatenate(
        [rng.choice(3, rows, p=rng.dirichlet(np.ones(3) * 2)) for _ in range(n_wells)]
    )
    x = spread * np.eye(3)[kind] + rng.normal(size=(len(kind), 3))
    return x, group, np.array(["clay", "sand", "chalk"])[kind]


def split_of(group, labels, n_test=4, **options):
    names = np.unique(group)
    test = np.flatnonzero(np.isin(group, names[:n_test]))
    train = np.flatnonzero(~np.isin(group, names[:n_test]))
    return hold_out(group, labels, train_rows=train, test_rows=test, **options), train, test


def test_equal_to_a_plain_loop_with_scikit_learn():
    x, group, kind = wells(spread=2.0)
    held, train, test = split_of(group, {"kind": kind})
    evaluation = evaluate_clustering({"raw": (x[train], x[test])}, held, PLAN)
    card = evaluation.scorecard(QUICK)
    expected = []
    for seed in range(2):
        fitted = clusterer("kmeans", 3, n_init=2).fit(x[train], seed=seed)
        on_train, on_test = fitted.predict(x[train]), fitted.predict(x[test])
        mapping = {
            c: max(sorted(set(kind)), key=lambda name: (kind[train][on_train == c] == name).sum())
            for c in range(3)
        }
        predicted = np.array([mapping[c] for c in on_test])
        expected.append(
            {
                "ari": metrics.adjusted_rand_score(kind[test], on_test),
                "ami": metrics.adjusted_mutual_info_score(kind[test], on_test),
                "v_measure": metrics.v_measure_score(kind[test], on_test),
                "accuracy": metrics.accuracy_score(kind[test], predicted),
                "macro_f1": metrics.f1_score(kind[test], predicted, average="macro"),
                "silhouette": metrics.silhouette_score(x[test], on_test),
            }
        )
    for metric in expected[0]:
        row = card.select(k=3, metric=metric)[0]
        assert row.mean == pytest.approx(np.mean([seed[metric] for seed in expected]), abs=1e-9)
        assert row.low <= row.mean <= row.high
        assert (row.rule, row.fit, row.n_groups, row.seeds) == ("fixed", "inductive", 4, 2)


def test_rules_choose_among_the_grid_and_the_oracle_is_never_worse():
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind})
    plan = replace(
        PLAN,
        algorithms=("kmeans", "gmm"),
        ks=(2, 3, 6),
        rules=("bic", "silhouette", "stability", "oracle"),
    )
    evaluation = evaluate_clustering({"raw": (x[train], x[test])}, held, plan)
    found = {(e.key.algorithm, e.key.rule): e.key.k for e in evaluation.entries if e.key.level}
    assert found["gmm", "bic"] == 3
    assert ("kmeans", "bic") not in found
    for algorithm in ("kmeans", "gmm"):
        assert found[algorithm, "silhouette"] == found[algorithm, "stability"] == 3
        ari = {
            row.k: row.mean
            for row in evaluation.scorecard(QUICK).select(
                algorithm=algorithm, rule="fixed", metric="ari"
            )
        }
        assert found[algorithm, "oracle"] == max(ari, key=ari.__getitem__)


def test_members_are_clustered_once_each():
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind})
    members = np.stack([x, 2.0 * x, x + 1.0])
    seen = []
    evaluation = evaluate_clustering(
        {"vae": (members[:, train], members[:, test])},
        held,
        PLAN,
        progress=lambda done, total, what: seen.append((done, total, what)),
    )
    assert evaluation.find(level="kind", k=3).scored.n_seeds == 3
    assert seen[-1] == (6, 6, "vae, kmeans k 3")


def test_transductive_fit_uses_the_scored_rows_and_says_so():
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind})
    # Features that are constant in training, so that only the scored rows can be clustered.
    blind = np.zeros((len(train), 3)) + np.arange(len(train))[:, None] * 1e-6
    features = {"raw": (blind, x[test])}
    inductive = evaluate_clustering(features, held, PLAN).find(level="kind", k=3)
    transductive = evaluate_clustering(features, held, replace(PLAN, fit="transductive"))
    entry = transductive.find(level="kind", k=3)
    ones = np.ones((1, 4))
    assert entry.key.fit == "transductive"
    assert entry.scored.values(ones, ["ari"])["ari"].mean() > 0.9
    assert inductive.scored.values(ones, ["ari"])["ari"].mean() < 0.5


def test_hdbscan_needs_no_k_and_reports_its_noise():
    x, group, kind = wells(rows=80)
    rng = np.random.default_rng(0)
    x[::9] = rng.uniform(-30, 30, size=x[::9].shape)
    held, train, test = split_of(group, {"kind": kind})
    plan = replace(PLAN, algorithms=("hdbscan",), rules=("silhouette", "oracle"))
    evaluation = evaluate_clustering({"raw": (x[train], x[test])}, held, plan)
    assert {entry.key.rule for entry in evaluation.entries} == {None}
    noise = evaluation.scorecard(QUICK).select(metric="noise")[0]
    assert 0.02 < noise.mean < 0.5
    assert any("hdbscan found 3" in note for note in evaluation.notes)
    tables = evaluation.find(level="kind").scored.tables
    assert tables.shape[2] == 4
    assert tables.sum() == 2 * len(test)


def test_seeds_with_different_numbers_of_clusters_share_one_row_for_noise():
    _, group, kind = wells()
    held, _, test = split_of(group, {"kind": kind})
    codes = held.test_labels["kind"].codes
    # The first seed finds two clusters, the second three; noise is one class of each.
    clusters = [
        np.where(codes == noise_class, -1, codes % k) for k, noise_class in [(2, 2), (3, 0)]
    ]
    train_codes = held.train_labels["kind"].codes
    rows = np.arange(held.n_train)
    known = [
        (rows, np.where(train_codes == noise_class, -1, train_codes % k))
        for k, noise_class in [(2, 2), (3, 0)]
    ]
    scores = score_clusters(clusters, held, "kind", known)
    assert scores is not None
    assert scores.tables.shape == (2, 4, 4, 3)
    assert scores.tables.sum() == 2 * len(test)
    assert scores.mapping is not None
    assert scores.mapping[:, -1].tolist() == [2, 0]
    for seed, noise_class in enumerate([2, 0]):
        in_noise = scores.tables[seed, :, -1].sum(axis=0)
        assert in_noise[noise_class] == (codes == noise_class).sum()
        assert in_noise.sum() == in_noise[noise_class]


def test_levels_with_gaps_are_kind():
    x, group, kind = wells()
    some = kind.copy()
    some[group == "well 0"] = ""
    some[::3] = ""
    train_only = np.where(np.isin(group, ["well 0", "well 1", "well 2", "well 3"]), "", kind)
    test_only = np.where(train_only == "", kind, "")
    levels = {
        "some": some,
        "none": np.full(len(kind), ""),
        "one": np.full(len(kind), "rock"),
        "train": train_only,
        "test": test_only,
    }
    held, train, test = split_of(group, levels)
    evaluation = evaluate_clustering({"raw": (x[train], x[test])}, held, PLAN)
    assert evaluation.find(level="some", k=3).scored.groups == ("well 1", "well 2", "well 3")
    assert not [e for e in evaluation.entries if e.key.level in ("none", "train")]
    assert "accuracy" not in evaluation.find(level="test", k=3).scored.metrics
    notes = "; ".join(evaluation.notes)
    assert "none: no scored row has a label" in notes
    assert "one: all scored rows are 'rock'" in notes
    assert "test: no training row has a label, so accuracy and F1 are left out" in notes
    missing = int((some[test] == "").sum())
    assert f"some: {missing:,} rows without a label are left out (test)" in notes


def test_no_labels_at_all_leaves_the_silhouette():
    x, group, _ = wells()
    held, train, test = split_of(group, {})
    plan = replace(PLAN, rules=("silhouette",))
    card = evaluate_clustering({"raw": (x[train], x[test])}, held, plan).scorecard(QUICK)
    assert {row.metric for row in card.rows} == {"silhouette"}
    assert len(card.select(rule="silhouette")) == 1


def test_one_held_out_group_has_no_interval():
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind}, n_test=1)
    card = evaluate_clustering({"raw": (x[train], x[test])}, held, PLAN).scorecard(QUICK)
    row = card.select(metric="ari", k=3)[0]
    assert row.mean > 0.5
    assert np.isnan([row.low, row.high]).all()


def test_many_test_rows_are_drawn_within_groups():
    codes = np.repeat([0, 1, 2], [700, 200, 100])
    kept = sample_by_group(codes, 100, seed=0)
    assert np.bincount(codes[kept]).tolist() == [70, 20, 10]
    assert (np.diff(kept) > 0).all()
    assert not np.array_equal(kept, sample_by_group(codes, 100, seed=1))
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind}, max_test_rows=80)
    assert np.bincount(held.group_codes).tolist() == [20, 20, 20, 20]
    evaluation = evaluate_clustering({"raw": (x[train], x[test])}, held, PLAN)
    assert evaluation.find(level="kind", k=3).scored.tables[0].sum() == 80
    assert "test: 80 of 160 rows scored, drawn within every group" in evaluation.notes


def test_a_feature_for_every_class_is_predicted_perfectly():
    _, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind})
    features = np.eye(3)[np.unique(kind, return_inverse=True)[1]]
    plan = SupervisedPlan(iterations=30)
    card = evaluate_supervised(features[train], features[test], held, plan).scorecard(QUICK)
    assert card.select(metric="accuracy")[0].mean == pytest.approx(1.0)
    assert card.select(metric="ari")[0].method == "supervised"


def test_supervised_reference_is_plain_boosting_on_the_training_groups():
    x, group, kind = wells(spread=1.5)
    held, train, test = split_of(group, {"kind": kind})
    plan = SupervisedPlan(iterations=15)
    evaluation = evaluate_supervised(x[train], x[test], held, plan)
    model = HistGradientBoostingClassifier(
        max_iter=15,
        learning_rate=0.05,
        l2_regularization=10.0,
        max_leaf_nodes=15,
        early_stopping=False,
        random_state=0,
    )
    predicted = model.fit(x[train], kind[train]).predict(x[test])
    rows = {row.metric: row.mean for row in evaluation.scorecard(QUICK).rows}
    assert rows["accuracy"] == pytest.approx(metrics.accuracy_score(kind[test], predicted))
    assert rows["ari"] == pytest.approx(metrics.adjusted_rand_score(kind[test], predicted))


def test_supervised_reference_with_one_class_or_no_labels():
    x, group, kind = wells()
    one = np.where(np.isin(group, ["well 0", "well 1"]), kind, "clay")
    held, train, test = split_of(group, {"one": one, "none": np.full(len(kind), "")})
    evaluation = evaluate_supervised(x[train], x[test], held)
    accuracy = evaluation.scorecard(QUICK).select(metric="accuracy")[0].mean
    assert accuracy == pytest.approx((one[test] == "clay").mean())
    assert evaluation.notes == ("none: labels are missing, so there is no supervised reference",)


def test_comparison_finds_the_better_representation():
    x, group, kind = wells(n_wells=12, spread=4.0)
    noise = np.random.default_rng(1).normal(size=x.shape) * 6.0
    held, train, test = split_of(group, {"kind": kind}, n_test=7)
    evaluation = evaluate_clustering(
        {"vae": (x[train], x[test]), "raw": ((x + noise)[train], (x + noise)[test])}, held, PLAN
    )
    first = evaluation.find(method="vae", level="kind", k=3)
    second = evaluation.find(method="raw", level="kind", k=3)
    rows = {row.metric: row for row in compare(first, second, metrics=["ari"], bootstrap=QUICK)}
    assert rows["ari"].low > 0.2
    assert rows["ari"].method == "vae vs raw"
    assert (rows["ari"].task, rows["ari"].level, rows["ari"].k) == ("paired", "kind", 3)
    assert rows["ari_p"].mean < 0.05
    assert rows["ari_wins"].mean == 1.0
    same = {row.metric: row.mean for row in compare(first, first, bootstrap=QUICK)}
    assert same["ari"] == 0.0
    assert same["ari_p"] == 1.0
    other, train, test = split_of(group, {"kind": kind}, n_test=3)
    third = evaluate_clustering({"raw": (x[train], x[test])}, other, PLAN).find(level="kind", k=3)
    with pytest.raises(DataError, match="not scored on the same groups"):
        compare(first, third)


def test_mistakes_are_said_plainly():
    x, group, kind = wells()
    held, train, test = split_of(group, {"kind": kind})
    good = (x[train], x[test])
    with pytest.raises(DataError, match="NaN or infinite"):
        evaluate_clustering({"raw": (x[train], np.where(x[test] > 0, x[test], np.nan))}, held, PLAN)
    with pytest.raises(DataError, match="has 159 training and 160 test rows"):
        evaluate_clustering({"raw": (x[train][1:], x[test])}, held, PLAN)
    with pytest.raises(DataError, match="same members and features"):
        evaluate_clustering({"raw": (x[train], x[test][:, :2])}, held, PLAN)
    with pytest.raises(DataError, match="cannot fit 500 clusters to 160 rows"):
        evaluate_clustering({"raw": good}, held, replace(PLAN, ks=(500,)))
    with pytest.raises(DataError, match="no representation"):
        evaluate_clustering({}, held, PLAN)
    with pytest.raises(DataError, match="Did you mean 'silhouette'"):
        ClusteringPlan(rules=("silhouete",))
    with pytest.raises(DataError, match="Choose inductive or transductive"):
        ClusteringPlan(fit="both")
    with pytest.raises(DataError, match="at least one number of clusters"):
        ClusteringPlan(ks=())
    with pytest.raises(DataError, match="2 entries fit"):
        evaluate_clustering({"raw": good}, held, PLAN).find(level="kind")
    with pytest.raises(DataError, match="there is no score 'arj' here"):
        compare(
            *[evaluate_clustering({"raw": good}, held, PLAN).find(level="kind", k=3)] * 2,
            metrics=["arj"],
        )


def test_splits_that_leak_or_are_empty_are_refused():
    group = np.array(["a", "a", "b", "c"])
    with pytest.raises(DataError, match="1 groups are in training and test alike: a"):
        hold_out(group, {}, train_rows=[0, 2], test_rows=[1, 3])
    with pytest.raises(DataError, match="test rows: there is no row"):
        hold_out(group, {}, train_rows=[0, 1], test_rows=[])
    with pytest.raises(DataError, match="holds rows 0 to 4 of a table of 4"):
        hold_out(group, {}, train_rows=[0, 4], test_rows=[3])
    with pytest.raises(DataError, match="has 2 labels for 4 rows"):
        hold_out(group, {"kind": ["x", "y"]}, train_rows=[0], test_rows=[3])
