"""Scoring a run: the model and every baseline on the same held-out groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError
from variolite.recipe import ConstantBeta, Recipe
from variolite.records import Records, Split, read_table, write_table
from variolite.scoring.agreement import (
    LabelCodes,
    count_tables,
    drop_rare,
    encode_labels,
    majority_map,
)
from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.baselines import SupervisedPlan, evaluate_supervised, pca_whitened, raw
from variolite.scoring.clustering import (
    ClusteringPlan,
    ClusterScores,
    Representation,
    evaluate_clustering,
)
from variolite.scoring.clusters import Clusters, active_dimensions, active_means, load_clusters
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, ScoreKey, compare, hold_out
from variolite.scoring.health import judge_health
from variolite.scoring.reconstruction import evaluate_likelihood, evaluate_reconstruction
from variolite.scoring.scorecard import Scorecard, ScoreRow
from variolite.training import Member, RunFolder, TabularModel, fit_tabular

# Scoring clusters that are there already: those a run keeps, and those of a scored table.


@dataclass(frozen=True)
class Assigned:
    """Rows with the clusters that every member puts them in.

    Attributes
    ----------
    clusters
        Shape (M, n); -1 is noise.
    labels
        Per level, label of every row (n,); "" where missing.
    groups
        Group of every row (n,).
    """

    clusters: IntArray
    labels: Mapping[str, NDArray[np.str_]]
    groups: NDArray[np.str_]


def _scores(test: Assigned, level: str, known: Assigned | None = None) -> ClusterScores | None:
    """Count clusters against labels per group; None without a label.

    The class that a cluster stands for is learned on the known rows, where given.
    """
    labels = test.labels[level]
    every = labels if known is None else np.concatenate([labels, known.labels[level]])
    classes = encode_labels(every).classes
    codes = encode_labels(labels, classes)
    if codes.missing == len(labels):
        return None
    names, group_codes = np.unique(test.groups, return_inverse=True)
    k = 1 + int(max(part.clusters.max() for part in (test, known) if part is not None))

    def count(
        rows: IntArray, label_codes: LabelCodes, groups: IntArray | None, n_groups: int
    ) -> FloatArray:
        tables = [count_tables(row, label_codes, k, groups, n_groups, noise=True) for row in rows]
        return np.stack(tables)

    tables = count(test.clusters, codes, group_codes.astype(np.int64), len(names))
    mapping = None
    if known is not None:
        learned = count(known.clusters, encode_labels(known.labels[level], classes), None, 1)
        if learned.any():
            mapping = np.stack([majority_map(table) for table in learned[:, 0]])
    if not (test.clusters < 0).any():
        tables = tables[:, :, :k]
        mapping = None if mapping is None else mapping[:, :k]
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    kept = tuple(str(names[index]) for index in labelled)
    return ClusterScores(tables[:, labelled], mapping, kept, classes)


def evaluate_stored(
    clusters: Clusters, test: Assigned, known: Assigned | None, split: str
) -> Evaluation:
    """Score the clustering that a run keeps: the one that ``variolite cluster`` applies.

    Parameters
    ----------
    clusters
        As kept in the run.
    test
        Held-out rows.
    known
        Training rows, for the class that a cluster stands for; None where they
        are not at hand.
    split
        What to call the held-out part.
    """
    key = ScoreKey(
        "clustering",
        "vae",
        split,
        algorithm=clusters.algorithm,
        fit="inductive",
        k=clusters.k,
        rule=None if clusters.rule == "fixed" else clusters.rule,
    )
    scored = {level: _scores(test, level, known) for level in test.labels}
    entries = [
        Entry(replace(key, level=level), scores)
        for level, scores in scored.items()
        if scores is not None
    ]
    notes = () if known else ("no training rows were given: there are no baselines and no other k",)
    return Evaluation(tuple(entries), notes)


def compare_runs(first: RunFolder, second: RunFolder) -> Scorecard:
    """Compare the clusters of two scored runs on the groups that both held out.

    Raises
    ------
    RunFolderError
        If one has not been scored, or they share no held-out group or label.
    """
    tables = [_scored_table(run) for run in (first, second)]
    names = [str(run.path) for run in (first, second)]
    shared = sorted(set(tables[0]["group"]) & set(tables[1]["group"]))
    levels = [c for c in tables[0].columns if c.startswith("label:") and c in tables[1].columns]
    if not shared or not levels:
        missing = "held-out group" if not shared else "label level"
        raise RunFolderError(
            f"the runs share no {missing}",
            where=" and ".join(names),
            hint="train both with the same split.seed on the same table, then score both",
        )
    rows: list[ScoreRow] = []
    for level in levels:
        entries = [
            _entry(table.filter(pl.col("group").is_in(shared)), level, name)
            for table, name in zip(tables, names, strict=True)
        ]
        rows += compare(*entries, metrics=("ari", "ami", "v_measure"))
    return Scorecard(tuple(rows))


def _scored_table(run: RunFolder) -> pl.DataFrame:
    run.require_finished()
    if not run.held_out_file.is_file():
        raise RunFolderError(
            "the run has not been scored yet",
            where=str(run.path),
            hint="run `variolite score` first",
        )
    table = read_table(run.held_out_file)
    for name in ("group", "cluster"):
        if name not in table.columns:
            raise RunFolderError(
                f"the column {name} is missing",
                where=str(run.held_out_file),
                hint="run `variolite score` again",
            )
    return table


def _entry(table: pl.DataFrame, level: str, name: str) -> Entry:
    members = [c for c in table.columns if c == "cluster" or c.startswith("cluster:")]
    assigned = table.select(members).to_numpy().T.astype(np.int64)
    rows = Assigned(assigned, {level: table[level].to_numpy()}, table["group"].to_numpy())
    scored = _scores(rows, level)
    if scored is None:
        raise DataError("no held-out row has a label", where=f"{name}, {level}")
    key = ScoreKey("clustering", name, "held-out groups", level=level.partition(":")[2])
    return Entry(key, scored)


Levels = Callable[[Mapping[str, NDArray[np.str_]]], Mapping[str, NDArray[np.str_]]]
"""From the label columns of some rows to their labels at every level."""

SPLIT = "held-out groups"

Tell = Callable[[str], None]


def _silent(text: str) -> None:
    del text


def _as_they_are(labels: Mapping[str, NDArray[np.str_]]) -> Mapping[str, NDArray[np.str_]]:
    return labels


def score_model(
    model: TabularModel,
    recipe: Recipe,
    parts: Mapping[str, Records],
    *,
    levels: Levels = _as_they_are,
    fit: str = "inductive",
    baselines: bool = True,
    plan: ClusteringPlan | None = None,
    split: str = SPLIT,
    tell: Tell = _silent,
) -> Evaluation:
    """Score a model on the test rows, beside the baselines.

    Parameters
    ----------
    model
        Trained; every member counts as a seed.
    recipe
        Its clustering settings apply where no ``plan`` is given.
    parts
        Records ``train``, ``validation`` and ``test``, of disjoint groups.
        Clusterings and baselines see train and validation rows alike.
    levels
        Gives the labels of every level.
    fit
        ``inductive`` or ``transductive``.
    baselines
        Whether to score raw features, whitened principal components, a plain
        autoencoder and a supervised reference too.
    plan
        Algorithms, grid and rules.
    split
        What to call the held-out part.
    tell
        Told what is being done.
    """
    test = parts["test"]
    if not len(test):
        raise DataError(
            "no held-out row is left to score",
            where="data",
            hint="give a table that holds groups outside training and validation",
        )
    known = [part for name, part in parts.items() if name != "test" and len(part)]
    evaluation = _model_alone(model, test, split)
    if not known:
        return evaluation
    held_out = _held_out(known, test, levels, split)
    features = _features(known)
    tell("encoding")
    active = active_dimensions(model, known[0])
    representations: dict[str, Representation] = {
        "vae": (
            np.concatenate([active_means(model, part, active) for part in known], axis=1),
            active_means(model, test, active),
        )
    }
    if baselines:
        representations["raw"] = raw(features, _numeric(test))
        representations["pca_whitened"] = pca_whitened(features, _numeric(test))
        tell("training the plain autoencoder")
        plain = plain_autoencoder(model, recipe, parts)
        # Without a divergence no dimension of it is idle.
        encoded = np.concatenate([plain.encode(part) for part in known], axis=1)
        representations["autoencoder"] = (encoded, plain.encode(test))
        evaluation = evaluation.merge(_reconstruction(plain, test, "autoencoder", split))
    plan = plan or _plan(recipe, fit, len(model.members))
    evaluation = evaluation.merge(
        evaluate_clustering(
            representations,
            held_out,
            plan,
            progress=lambda done, total, text: tell(f"{done}/{total} {text}"),
        )
    )
    if baselines and held_out.test_labels:
        tell("training the supervised reference")
        seeds = SupervisedPlan(seeds=len(model.members))
        evaluation = evaluation.merge(
            evaluate_supervised(features, _numeric(test), held_out, seeds)
        )
    return evaluation


def plain_autoencoder(
    model: TabularModel, recipe: Recipe, parts: Mapping[str, Records]
) -> TabularModel:
    """Train the same network without noise and divergence, squared error alone."""
    network = recipe.model.model_copy(
        update={"variance": "fixed", "sigma2": 1.0, "likelihood": "gaussian"}
    )
    training = recipe.training.model_copy(update={"beta": ConstantBeta(value=1.0)})
    members = [Member(m.seed, 0.0, m.latent) for m in model.members]
    validation = parts.get("validation")
    return fit_tabular(model.schema, parts["train"], validation, network, training, members).model


def score_run(
    run: RunFolder,
    data: Any,
    *,
    train: Any = None,
    mapping: Mapping[str, str] | None = None,
    levels: Levels = _as_they_are,
    fit: str = "inductive",
    baselines: bool = True,
    tell: Tell = _silent,
) -> Scorecard:
    """Score a run and write scorecard.json, health.json and held_out.parquet.

    Parameters
    ----------
    run
        A finished run.
    data
        Table whose groups outside training and validation are scored.
    train
        Table trained on, where ``data`` holds new groups only. Without it the
        clustering kept in the run is scored, and there are no baselines.
    mapping
        Table column by meaning.
    levels, fit, baselines, tell
        As in `score_model`.
    """
    model, recipe, split = run.model(), run.recipe(), run.split()
    tell("reading")
    parts = _parts(model, split, data, mapping, "data")
    if train is not None:
        known = _parts(model, split, train, mapping, "--train")
        parts |= {name: known[name] for name in ("train", "validation")}
    levels = _frequent(levels, parts, recipe.clustering.minimum_label_rows)
    clusters = load_clusters(run)
    evaluation = score_model(
        model, recipe, parts, levels=levels, fit=fit, baselines=baselines, tell=tell
    )
    test = parts["test"]
    training = parts["train"] if len(parts["train"]) else None
    assigned = _assigned(model, clusters, test, levels)
    if fit == "inductive":
        learned = None
        if training is not None:
            learned = _assigned(model, clusters, training, levels)
        kept = evaluate_stored(clusters, assigned, learned, SPLIT)
        # First, as the scorecard is about it.
        evaluation = kept.merge(_without_own_choice(evaluation, clusters))
    tell("bootstrapping over groups")
    card = evaluation.scorecard().merge(_paired(evaluation, recipe))
    card.write(run.scorecard_file)
    run.write_json(run.health_file, latent_health_of(model, test))
    write_table(_held_out_table(model, test, assigned), run.held_out_file)
    return card


def _assigned(
    model: TabularModel,
    clusters: Clusters,
    records: Records,
    levels: Levels,
) -> Assigned:
    latents = model.encode(records)
    rows = np.stack([clusters.predict(x, member) for member, x in enumerate(latents)])
    assert records.group is not None
    return Assigned(rows, levels(records.labels), records.group)


def _frequent(levels: Levels, parts: Mapping[str, Records], minimum: int) -> Levels:
    """Leave out labels that fewer than ``minimum`` rows of all parts together have."""
    if minimum == 0:
        return levels
    by_part = [levels(part.labels) for part in parts.values()]
    rare: dict[str, set[str]] = {}
    for level in by_part[0]:
        every = np.concatenate([part[level] for part in by_part])
        rare[level] = set(every.tolist()) - set(drop_rare(every, minimum).tolist())

    def frequent(labels: Mapping[str, NDArray[np.str_]]) -> Mapping[str, NDArray[np.str_]]:
        return {
            level: np.where(np.isin(values, sorted(rare[level])), "", values)
            for level, values in levels(labels).items()
        }

    return frequent


def _without_own_choice(evaluation: Evaluation, clusters: Clusters) -> Evaluation:
    """Leave out the model's entry at the k of the rule: the kept clustering takes its place.

    Two draws of training rows can make one rule choose two numbers; what is
    scored under the rule has to be what ``variolite cluster`` gives.
    """
    rule = None if clusters.rule == "fixed" else clusters.rule
    kept = tuple(
        entry
        for entry in evaluation.entries
        if not (
            entry.key.task == "clustering"
            and entry.key.method == "vae"
            and entry.key.algorithm == clusters.algorithm
            and entry.key.rule == rule
            and entry.key.level is not None
        )
    )
    return Evaluation(kept, evaluation.notes)


def latent_health_of(model: TabularModel, records: Records, member: int = 0) -> dict[str, Any]:
    """Judge the latent space of one member on some rows; the content of health.json."""
    alone = model.only(member)
    mean, log_variance = alone.posterior(records)
    noise = alone.noise()
    names = model.schema.numeric_names
    named = None if noise is None else dict(zip(names, noise[0].tolist(), strict=True))
    return judge_health(mean[0], log_variance[0], records.raw, names, noise=named).to_dict()


def _parts(
    model: TabularModel, split: Split, data: Any, mapping: Mapping[str, str] | None, where: str
) -> dict[str, Records]:
    records = model.records(data, mapping)
    if records.group is None:
        raise DataError("the table has no group column", where=where, hint="bind it with --map")
    return {name: records.take(rows) for name, rows in split.rows(records.group).items()}


def _numeric(records: Records) -> NDArray[np.float64]:
    return records.numeric.astype(np.float64)


def _features(known: list[Records]) -> NDArray[np.float64]:
    return np.concatenate([_numeric(part) for part in known])


def _held_out(known: list[Records], test: Records, levels: Levels, split: str) -> HeldOut:
    """Lay known and test rows end to end, and fix the rows to score on."""
    every = [*known, test]
    groups = np.concatenate([part.group for part in every if part.group is not None])
    by_part = [levels(part.labels) for part in every]
    labels = {name: np.concatenate([part[name] for part in by_part]) for name in by_part[0]}
    first = len(groups) - len(test)
    return hold_out(
        groups,
        labels,
        train_rows=np.arange(first),
        test_rows=np.arange(first, len(groups)),
        split=split,
    )


def _plan(recipe: Recipe, fit: str, seeds: int) -> ClusteringPlan:
    spec = recipe.clustering
    return ClusteringPlan(
        algorithms=(spec.algorithm,),
        ks=spec.k,
        rules=(spec.rule, "oracle"),
        fit=fit,
        seeds=seeds,
    )


def _model_alone(model: TabularModel, test: Records, split: str) -> Evaluation:
    assert test.group is not None
    bound = evaluate_likelihood(
        model.evidence(test), test.group, metric="evidence_lower_bound", split=split
    )
    return bound.merge(_reconstruction(model, test, "vae", split))


def _reconstruction(model: TabularModel, test: Records, method: str, split: str) -> Evaluation:
    names = model.schema.numeric_names
    assert test.group is not None
    if not names:
        return Evaluation(())
    return evaluate_reconstruction(
        test.raw,
        model.reconstruct(test),
        test.group,
        names,
        units=model.schema.units,
        method=method,
        split=split,
    )


def _paired(evaluation: Evaluation, recipe: Recipe) -> Scorecard:
    """Compare the model with every baseline, each at the k that the rule chose for it."""
    rule = recipe.clustering.rule
    rows: list[ScoreRow] = []
    chosen = [e for e in evaluation.entries if e.key.task == "clustering" and e.key.level]
    ours = [e for e in chosen if e.key.method == "vae" and e.key.rule in (rule, None)]
    for entry in ours:
        others = [e for e in chosen if e.key.method != "vae" and _comparable(entry, e)]
        for other in others:
            rows += compare(entry, other, metrics=("ari", "ami"))
    return Scorecard(tuple(rows))


def _comparable(ours: Entry, other: Entry) -> bool:
    same_level = ours.key.level == other.key.level
    reference = other.key.algorithm == "gradient_boosting"
    same_choice = (ours.key.algorithm, ours.key.rule) == (other.key.algorithm, other.key.rule)
    return same_level and (reference or same_choice)


def _held_out_table(
    model: TabularModel,
    test: Records,
    assigned: Assigned,
) -> pl.DataFrame:
    """Collect what the report draws: values, reconstruction, labels, clusters and latents."""
    alone = model.only(0)
    decoded = alone.reconstruct(test)[0] if model.schema.numeric_names else None
    columns: dict[str, Any] = {"group": test.group}
    if test.order is not None:
        columns["order"] = test.order
    for i, name in enumerate(model.schema.numeric_names):
        columns[name] = test.raw[:, i]
        if decoded is not None:
            columns[f"recon:{name}"] = decoded[:, i]
    columns |= {f"label:{level}": values for level, values in assigned.labels.items()}
    columns["cluster"] = assigned.clusters[0]
    columns |= {f"cluster:{m}": row for m, row in enumerate(assigned.clusters) if m > 0}
    means = alone.encode(test)[0]
    columns |= {f"z{i}": means[:, i] for i in range(means.shape[1])}
    columns["log_likelihood"] = alone.evidence(test)[0]
    return pl.DataFrame(columns)
