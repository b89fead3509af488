"""What the page claims follows from the scores, and nothing more is claimed."""

from dataclasses import replace

import pytest

from variolite.corelogs.held_out_rows import held_out_of
from variolite.corelogs.report.corelogs_page import comparable_rows, headline, main_setup, verdict
from variolite.scoring.scorecard import Scorecard, ScoreRow
from variolite.training import RunFolder
from variolite.training.run_folder import Clustering, read_run

ROW = ScoreRow(
    task="clustering",
    method="vae",
    algorithm="kmeans",
    fit="inductive",
    split="held-out groups",
    level="lithology",
    k=12,
    rule="stability",
    metric="ari",
    feature=None,
    unit=None,
    mean=0.30,
    low=0.25,
    high=0.35,
    n_groups=9,
    seeds=3,
)
PCA = replace(ROW, method="pca_whitened", k=9, mean=0.26, low=0.2, high=0.3)
RAW = replace(ROW, method="raw", mean=0.2, low=0.15, high=0.24)
PAIRED = replace(ROW, task="paired", method="vae vs pca_whitened", k=None)


@pytest.fixture(scope="module")
def held_out(whole_run):
    found = held_out_of(
        read_run(RunFolder(whole_run)), Scorecard.read(whole_run / "scorecard.json")
    )
    assert found is not None
    return found


def said(*rows):
    card = Scorecard(rows)
    setup = main_setup(card, None)
    assert setup is not None
    return verdict(card, setup)


@pytest.mark.parametrize(
    ("low", "high", "wording"),
    [
        (0.01, 0.07, "the VAE is clearly better"),
        (-0.02, 0.07, "not a clear difference"),
        (0.0, 0.07, "not a clear difference"),
        (-0.09, -0.01, "the VAE is clearly worse"),
    ],
)
def test_verdict_follows_the_paired_interval(low, high, wording):
    text = said(ROW, PCA, RAW, replace(PAIRED, mean=(low + high) / 2, low=low, high=high))
    assert wording in text
    assert "In ARI the best baseline is whitened PCA with 0.260" in text


def test_a_difference_is_clear_only_if_the_test_agrees():
    above = replace(PAIRED, mean=0.04, low=0.01, high=0.07)
    p_value = replace(PAIRED, metric="ari_p", low=float("nan"), high=float("nan"))
    assert "clearly better" in said(ROW, PCA, above, replace(p_value, mean=0.01))
    doubtful = said(ROW, PCA, above, replace(p_value, mean=0.125))
    assert "above zero, but with p = 0.12 over 9 groups not clear" in doubtful
    assert "clearly" not in doubtful


def test_the_best_baseline_is_the_rival_whatever_its_order():
    better_raw = replace(RAW, mean=0.29, low=0.2, high=0.36)
    assert "is raw inputs with" in said(ROW, PCA, better_raw)
    assert "is raw inputs with" in said(ROW, better_raw, PCA)


def test_without_a_paired_difference_nothing_is_called_clear():
    far = said(ROW, replace(PCA, mean=0.1, low=0.05, high=0.15))
    assert "do not overlap" in far
    assert "clearly" not in far
    near = said(ROW, PCA)
    assert "the intervals overlap" in near
    of_another = replace(PAIRED, level="group", mean=0.1, low=0.05, high=0.2)
    assert "clearly" not in said(ROW, PCA, of_another)
    of_raw = replace(PAIRED, method="vae vs raw", mean=0.1, low=0.05, high=0.2)
    assert "clearly" not in said(ROW, PCA, of_raw)


def test_without_baselines_the_question_stays_open():
    assert "open whether the VAE helps" in said(ROW)


def test_oracle_and_transductive_rows_are_the_last_choice():
    oracle = replace(ROW, rule="oracle", k=4)
    seen = replace(ROW, fit="transductive")
    setup = main_setup(Scorecard((oracle, seen, ROW)), None)
    assert setup is not None
    assert (setup.rule, setup.fit) == ("stability", "inductive")
    only = main_setup(Scorecard((oracle,)), None)
    assert only is not None
    assert only.rule == "oracle"
    assert "upper bound" in headline(Scorecard((oracle,)), None, only)[1]


def test_recipe_and_clusters_decide_between_rules(held_out):
    silhouette = replace(ROW, rule="silhouette", k=4)
    fixed = replace(ROW, rule="fixed", k=12)
    card = Scorecard((fixed, silhouette, ROW))
    asked = {"clustering": {"algorithm": "kmeans", "rule": "silhouette"}}
    by_recipe = main_setup(card, held_out, asked)
    assert by_recipe is not None
    assert by_recipe.rule == "silhouette"
    by_clusters = main_setup(card, held_out)
    assert by_clusters is not None
    assert (by_clusters.rule, by_clusters.k) == ("stability", 12)


def test_rows_are_comparable_only_under_the_same_set_up():
    fixed = replace(ROW, rule="fixed", k=9)
    strangers = (
        replace(PCA, fit="transductive"),
        replace(PCA, level="group"),
        replace(PCA, split="another"),
        replace(PCA, algorithm="gmm"),
        replace(PCA, rule="oracle"),
    )
    supervised = replace(ROW, method="supervised", algorithm="gradient_boosting", rule=None, k=None)
    card = Scorecard((ROW, PCA, fixed, *strangers, supervised))
    setup = main_setup(card, None)
    assert setup is not None
    assert comparable_rows(card, setup) == [ROW, PCA, supervised]
    wider = comparable_rows(card, setup, any_algorithm=True)
    assert wider == [ROW, PCA, strangers[3], supervised]


def test_three_sentences_name_rows_clusters_and_scores(held_out):
    card = Scorecard((ROW, replace(ROW, metric="ami", mean=0.4, low=0.3, high=0.5), PCA))
    sentences = headline(card, held_out, main_setup(card, held_out))
    assert len(sentences) == 3
    assert "found 12 clusters in 4,200 held-out rows of 4 holes" in sentences[0]
    assert "0.300 (0.250 to 0.350)" in sentences[1]
    assert "0.40 (0.30 to 0.50)" in sentences[1]
    assert all(sentence.endswith(".") for sentence in sentences)


def test_scores_of_another_clustering_than_the_kept_one_are_told(held_out):
    card = Scorecard((ROW, PCA))
    setup = main_setup(card, held_out)
    same = headline(card, held_out, setup, Clustering("kmeans", 12))
    assert "found 12 clusters" in same[0]
    other = headline(card, held_out, setup, Clustering("kmeans", 15))
    assert "drawn below, are 15 of k-means" in other[0]
    assert "k = 12" in other[0]
    density = replace(ROW, algorithm="hdbscan", rule=None, k=None)
    card = Scorecard((density,))
    kept = Clustering("hdbscan", 12)
    assert "found 12 clusters" in headline(card, held_out, main_setup(card, held_out), kept)[0]


def test_nothing_is_claimed_of_a_run_without_scores():
    assert "not been scored" in headline(None, None, None)[0]
    assert "nothing is claimed" in headline(Scorecard(()), None, None)[0]
