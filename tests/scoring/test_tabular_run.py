"""A run is scored on held-out groups, and what is scored is what the run applies."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from variolite.errors import DataError, DataWarning, RecipeError, RunFolderError, SchemaError
from variolite.recipe import recipe_from_dict
from variolite.records import read_table
from variolite.scoring import kept_clusters
from variolite.scoring.kept_clusters import fit_clusters, load_clusters
from variolite.scoring.tabular_run import compare_runs, latent_health_of, score_run
from variolite.training import RunFolder
from variolite.training.run import train_run
from variolite.training.run_folder import read_run

ROWS, HOLES = 60, 8


def _table(seed=0):
    """Three rocks that four logs tell apart, in beds."""
    rng = np.random.default_rng(seed)
    rock = rng.integers(0, 3, (HOLES, ROWS // 10)).repeat(10, axis=1).ravel()
    centres = np.array([[0, 0, 0, 0], [4, 4, 0, 0], [0, 0, 4, 4]])
    logs = centres[rock] + rng.normal(size=(len(rock), 4))
    frame = pl.DataFrame(logs, schema=list("abcd"))
    return frame.with_columns(
        hole=np.repeat([f"H{i}" for i in range(HOLES)], ROWS),
        depth=np.tile(np.arange(ROWS) * 0.2, HOLES),
        rock=np.array(["clay", "sand", "basalt"])[rock],
    )


def _train(folder, data=None, *, seeds=1, columns=None, prior=False, **clustering):
    roles = {"hole": {"role": "group"}, "depth": {"role": "order"}, "rock": {"role": "label"}}
    training = {"epochs": 40, "learning_rate": 0.02, "patience": None, "batch_size": 32}
    content = {
        "columns": {**{name: {} for name in "abcd"}, **roles, **(columns or {})},
        "model": {"latent": 3, "encoder": [8], "decoder": []},
        "training": training | {"beta": {"kind": "linear", "epochs": 3}},
        "clustering": {"algorithm": "kmeans", "k": [2, 3, 4], "rule": "silhouette"} | clustering,
    }
    if prior:
        content["model"] |= {"prior": "mixture", "components": 3}
        content["training"] |= {"pretraining": {"epochs": 20}}
    recipe = recipe_from_dict(content, where="test")
    return train_run(recipe, _table() if data is None else data, folder, seeds=seeds)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run, prepared = _train(tmp_path_factory.mktemp("run") / "run", seeds=2)
    fit_clusters(run, prepared.part("train"))
    return run


def test_the_scorecard_holds_the_model_and_every_baseline(run):
    card = score_run(run, _table())
    clusterings = [row for row in card.rows if row.task == "clustering" and row.metric == "ari"]
    methods = {"vae", "raw", "pca_whitened", "autoencoder", "supervised"}
    assert {row.method for row in clusterings} == methods
    assert all(row.n_groups == len(run.split().test) for row in clusterings)
    rules = {row.rule for row in clusterings if row.method == "vae"}
    assert rules == {"fixed", "silhouette", "oracle"}
    assert card.select(task="paired", metric="ari")
    assert card.select(task="likelihood", metric="evidence_lower_bound")
    assert {row.feature for row in card.select(task="reconstruction")} == set("abcd")
    assert json.loads(run.health_file.read_text())["latent"] == 3
    # Well separated rocks are found: the test would notice shuffled rows or labels.
    assert next(r.mean for r in clusterings if r.method == "vae" and r.rule == "silhouette") > 0.6


def test_scored_clusters_are_those_that_the_run_applies(run):
    card = score_run(run, _table(), baselines=False)
    table = read_table(run.held_out_file)
    clusters = load_clusters(run)
    (row,) = card.select(method="vae", rule="silhouette", metric="ari", level="rock")
    assert row.k == clusters.k
    rock = table["label:rock"].to_numpy()
    by_member = [adjusted_rand_score(rock, table[name]) for name in ("cluster", "cluster:1")]
    assert row.mean == pytest.approx(np.mean(by_member), abs=1e-9)
    model, split = run.model(), run.split()
    parts = (_table().filter(pl.col("hole").is_in(part)) for part in (split.test, split.train))
    test, train = map(model.schema.apply, parts)
    active = kept_clusters.active_dimensions(model, train)
    along = kept_clusters.along_depth(test)
    again = clusters.predict(kept_clusters.active_means(model, test, active)[0], along)
    assert again.tolist() == table["cluster"].to_list()
    # A few new rows get the clusters that all of them got.
    new = _table().filter(pl.col("hole").is_in(split.test))
    score_run(run, new.head(12), baselines=False)
    assert read_table(run.held_out_file)["cluster"].to_list() == again.tolist()[:12]


def test_new_holes_are_scored_with_and_without_the_training_table(run):
    new = _table(seed=1).with_columns(pl.col("hole").str.replace("H", "N"))
    alone = score_run(run, new)
    assert {row.method for row in alone.rows if row.task == "clustering"} == {"vae"}
    assert any("no training rows" in note for note in alone.notes)
    beside = score_run(run, new, train=_table())
    assert "pca_whitened" in {row.method for row in beside.rows}
    wanted = {"method": "vae", "rule": "silhouette", "metric": "ari", "level": "rock"}
    (first,), (second,) = alone.select(**wanted), beside.select(**wanted)
    assert first.mean == pytest.approx(second.mean)
    assert first.n_groups == HOLES
    with pytest.raises(DataError, match="--train: the table has no group column"):
        score_run(run, new, train=_table().drop("hole"))
    with pytest.raises(DataError, match="no held-out row"):
        score_run(run, _table().filter(pl.col("hole").is_in(run.split().train)))


def test_rows_with_gaps_are_scored_apart_and_the_kept_clusters_say_so(tmp_path):
    rng = np.random.default_rng(5)
    lacking = pl.Series(rng.random(HOLES * ROWS) < 0.5)
    table = _table().with_columns(
        a=pl.when(lacking).then(None).otherwise(pl.col("a")), b=10.0 ** pl.col("b")
    )
    columns = {"a": {"missing": "mask"}, "b": {"transform": ["log10", "standardise"]}}
    run, prepared = _train(tmp_path / "run", table, seeds=2, columns=columns)
    fit_clusters(run, prepared.part("train"))
    card = score_run(run, table)
    found = read_table(run.held_out_file)
    whole = found["a"].is_finite().to_numpy()
    rock = found["label:rock"].to_numpy()
    chosen = {"method": "vae", "clusters": "kept", "metric": "ari"}
    for rows, mask in (("all", whole | ~whole), ("complete", whole), ("with gaps", ~whole)):
        (row,) = card.select(rows=rows, **chosen)
        by_member = [
            adjusted_rand_score(rock[mask], found[name].to_numpy()[mask])
            for name in ("cluster", "cluster:1")
        ]
        assert row.mean == pytest.approx(np.mean(by_member), abs=1e-9)
        pairs = card.select(task="paired", rows=rows, metric="ari")
        assert {row.method.split()[-1] for row in pairs} == {
            "raw",
            "pca_whitened",
            "autoencoder",
            "supervised",
        }
    refitted = card.select(task="clustering", method="vae", rule="fixed", metric="ari")
    assert {row.clusters for row in refitted} == {"refitted"}
    (note,) = [note for note in card.notes if note.startswith("kept: ")]
    assert "fitted on training groups alone" in note
    units = {row.unit for row in card.select(feature="b", metric="r2")}
    assert units == {"log10"}
    assert any("gaps of raw and pca_whitened are filled by regression" in n for n in card.notes)


def test_two_runs_are_compared_hole_by_hole(run, tmp_path):
    other, prepared = _train(tmp_path / "other", seeds=2, k=[2])
    fit_clusters(other, prepared.part("train"))
    with pytest.raises(RunFolderError, match="not been scored"):
        compare_runs(run, other)
    for each in (run, other):
        score_run(each, _table(), baselines=False)
    (difference,) = compare_runs(run, other).select(metric="ari")
    assert difference.mean > 0.1  # three clusters serve three rocks better than two do
    assert difference.low <= difference.mean <= difference.high
    (none,) = compare_runs(run, run).select(metric="ari")
    assert none.mean == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [
        ("gmm", "bic"),
        ("kmeans", "stability"),
        ("hdbscan", "silhouette"),
        ("hmm", "silhouette"),
    ],
)
def test_other_clusterings_are_kept_and_come_back(tmp_path, algorithm, rule):
    run, prepared = _train(tmp_path / "run", algorithm=algorithm, rule=rule)
    fitted = fit_clusters(run, prepared.part("train"))
    test = prepared.part("test")
    latents, along = run.model().encode(test)[0], kept_clusters.along_depth(test)
    again = load_clusters(run)
    assert (again.algorithm, again.k, again.rule) == (fitted.algorithm, fitted.k, fitted.rule)
    found = again.predict(latents, along)
    np.testing.assert_array_equal(found, fitted.predict(latents, along))
    probability = again.probability(latents, found, along)
    assert algorithm == "hdbscan" or (probability > 0.9 / again.k).mean() > 0.9
    assert len(np.unique(found)) > 1


def test_the_components_of_a_prior_are_clusters_and_are_scored(tmp_path):
    run, prepared = _train(tmp_path / "run", prior=True, algorithm="prior", rule="bic")
    fitted = fit_clusters(run, prepared.part("train"))
    assert (fitted.k, fitted.rule) == (3, "fixed")
    rows = prepared.part("test")
    latents, along = run.model().encode(rows)[0], kept_clusters.along_depth(rows)
    again = load_clusters(run).predict(latents, along)
    np.testing.assert_array_equal(again, fitted.predict(latents, along))
    card = score_run(run, _table())
    kept = card.select(
        task="clustering", method="vae", algorithm="prior", metric="ari", level="rock"
    )
    assert kept[0].mean > 0.6
    # Baselines have no prior: they are clustered by a mixture with as many components.
    paired = {(row.method, row.k) for row in card.select(task="paired", metric="ari")}
    assert {("vae vs pca_whitened", 3), ("vae vs supervised", None)} <= paired


def test_health_names_the_inputs_of_a_latent_and_a_transductive_score_says_so(run):
    card = score_run(run, _table(), fit="transductive", baselines=False)
    assert {row.fit for row in card.select(task="clustering", level="rock")} == {"transductive"}
    model = run.model()
    health = latent_health_of(model, model.schema.apply(_table()))
    followed = [d.correlation.values() for d in health.dimensions if d.active]
    assert max(abs(value) for values in followed for value in values) > 0.7
    assert set(health.noise) == set("abcd")


def test_too_few_rows_for_any_k_are_refused_and_names_are_text(tmp_path):
    table = _table().with_columns(pl.col("hole").replace({"H0": "007", "H1": "1"}))
    path = tmp_path / "logs.csv"
    table.write_csv(path)
    run, prepared = _train(tmp_path / "run", path, k=[100_000])
    names = {*prepared.split.train, *prepared.split.validation, *prepared.split.test}
    assert {"007", "1"} < names
    assert len(names) == HOLES
    with pytest.raises(RecipeError, match="too few for 100,000 clusters"):
        fit_clusters(run, prepared.part("train"))


def test_a_group_under_another_spelling_is_no_held_out_group(run, tmp_path):
    respelt = _table().with_columns(pl.col("hole").replace({"H0": "h-0", "H1": "H 01"}))
    # Rows of one hole alternate between two spellings.
    odd = (pl.int_range(pl.len()) % 2 == 1) & (pl.col("hole") == "H2")
    mixed = respelt.with_columns(hole=pl.when(odd).then(pl.lit("h2")).otherwise("hole"))
    plain = score_run(run, _table(), baselines=False)
    with pytest.warns(DataWarning, match="one group under several spellings: 'H2' and 'h2'"):
        again = score_run(run, mixed, baselines=False)
    assert again.rows == plain.rows
    # The training groups of the model decide, whatever a table is called or holds.
    known = {*run.split().train, *run.split().validation}
    trained = _table().filter(pl.col("hole").is_in(known))
    with pytest.raises(DataError, match="no held-out row is left"):
        score_run(run, trained.with_columns(pl.col("hole").str.to_lowercase()))


def test_a_split_that_was_changed_is_refused(run, tmp_path):
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    split = run.split()
    moved = replace(split, train=split.train[1:], test=(*split.test, split.train[0]))
    copy.write_json(copy.split_file, moved.to_dict())
    for use in (lambda: score_run(copy, _table()), lambda: read_run(copy)):
        with pytest.raises(RunFolderError, match=r"split\.json: the split is not the one"):
            use()


def test_a_label_or_group_that_is_a_measurement_is_refused(run, tmp_path):
    with pytest.raises(SchemaError, match="column 'rock': holds decimal numbers"):
        score_run(run, _table().with_columns(rock=pl.col("a")))
    with pytest.raises(SchemaError, match="column 'hole': holds decimal numbers"):
        _train(tmp_path / "no", _table().with_columns(hole=pl.col("b")))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("minimum", "rare"), [(HOLES + 1, ""), (HOLES, "tuff")])
def test_labels_with_few_rows_are_left_out_of_the_scores(tmp_path, minimum, rare):
    first = pl.int_range(pl.len()) % ROWS == 0  # one row in every hole
    table = _table().with_columns(rock=pl.when(first).then(pl.lit("tuff")).otherwise("rock"))
    run, prepared = _train(tmp_path / "run", table, minimum_label_rows=minimum)
    fit_clusters(run, prepared.part("train"))
    score_run(run, table, baselines=False)
    found = set(read_table(run.held_out_file)["label:rock"])
    assert found == {rare, "clay", "sand", "basalt"}
