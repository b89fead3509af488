"""Scoring a run on tables: the model and every baseline on the same test groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError
from variolite.recipe import ConstantBeta, Recipe
from variolite.records import (
    Records,
    Split,
    normalised,
    one_spelling,
    read_table,
    require_names,
    warn_of_look_alikes,
    write_table,
)
from variolite.scoring.baselines import fill_gaps, unsupervised_baselines
from variolite.scoring.clustering import (
    ClusteringPlan,
    Representation,
    evaluate_clustering,
    score_clusters,
)
from variolite.scoring.evaluation import (
    Entry,
    Evaluation,
    HeldOut,
    compare,
    evaluate_likelihood,
    evaluate_reconstruction,
    hold_out,
)
from variolite.scoring.health import Health, evaluate_health
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.kept_clusters import (
    Clusters,
    active_dimensions,
    active_means,
    along_depth,
    load_clusters,
)
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow
from variolite.scoring.supervised import Logs, evaluate_supervised
from variolite.training import Member, RunFolder, TabularModel, fit_tabular

Labels = Mapping[str, NDArray[np.str_]]
"""Labels of some rows (n,) by column, or by level; "" where missing."""

Levels = Callable[[Labels], Labels]
"""From the label columns of some rows to their labels at every level."""

Extra = Callable[[Records, HeldOut, Levels], Evaluation]
"""From the test rows, those of them that are scored and their levels to more entries."""

SPLIT = "held-out groups"

_COMPARED = {"prior": "gmm", "hmm": "kmeans"}
"""What baselines are clustered with in the place of an algorithm: simple ones stay simple."""

Log = Callable[[str], None]


def score_run(
    run: RunFolder,
    data: Any,
    *,
    train: Any = None,
    mapping: Mapping[str, str] | None = None,
    levels: Levels = lambda labels: labels,
    extra: Extra | None = None,
    fit: str = "inductive",
    baselines: bool = True,
    rows: str | None = None,
    null: Sequence[str] = (),
    accept_range: bool = False,
    log: Log = lambda _: None,
) -> Scorecard:
    """Score a finished run and write scorecard.json, health.json and held_out.parquet.

    Groups of the table ``data`` outside training and validation are scored. Where it holds new
    groups only, ``train`` is the table trained on; without it the clustering kept in the run is
    scored, and there are no baselines. Baselines are raw features, whitened principal components, a
    plain autoencoder, logs less the shifts of the model, and a supervised reference. ``levels``
    gives the labels of every level, ``extra`` more entries, which are compared with that reference.
    ``rows`` and ``null`` are as in `TabularModel.reading`, ``accept_range`` as in its `records`.
    ``log`` is called with what is being done.
    """
    model, recipe, split = run.model().reading(rows=rows, null=null), run.recipe(), run.split()
    log("reading")
    records = partial(model.records, mapping=mapping, accept_range=accept_range)
    parts = _parts(model, split, records(data), "data")
    if train is not None:
        known = _parts(model, split, records(train), "--train")
        parts |= {name: known[name] for name in ("train", "validation")}
    levels = _frequent(levels, parts, recipe.clustering.minimum_label_rows)
    clusters = load_clusters(run)
    training, test = parts["train"], parts["test"]
    if not len(test):
        hint = "give a table that holds groups outside training and validation"
        raise DataError("no held-out row is left to score", where="data", hint=hint)
    held_out = _held_out([training, parts["validation"]], test, levels)
    evaluation = _score_model(model, recipe, parts, held_out, fit, baselines, log)
    assigned = clusters.predict_all(model.encode(test), held_out.along)
    if fit == "inductive":
        known_clusters = (
            clusters.predict_all(model.encode(training), along_depth(training))
            if len(training)
            else ()
        )
        evaluation = _with_kept(evaluation, clusters, held_out, assigned, known_clusters)
    more = Evaluation() if extra is None else extra(test, held_out, levels)
    evaluation = evaluation.merge(more)
    log("bootstrapping over groups")
    card = evaluation.scorecard().merge(_paired(evaluation, recipe.clustering.rule, more))
    card.write(run.scorecard_file)
    run.write_json(run.health_file, latent_health_of(model, test).to_dict())
    write_table(_held_out_table(model, test, levels(test.labels), assigned), run.held_out_file)
    run.seal_score()
    return card


def _score_model(
    model: TabularModel,
    recipe: Recipe,
    parts: Mapping[str, Records],
    held_out: HeldOut,
    fit: str,
    baselines: bool,
    log: Log,
) -> Evaluation:
    """Score a model on the test rows, beside the baselines; every member counts as a seed.

    Clusterings and baselines see training and validation rows alike.
    """
    test = parts["test"]
    known = [part for name, part in parts.items() if name != "test" and len(part)]
    bound = model.evidence(test)
    evaluation = evaluate_likelihood(
        bound, _groups(test), metric="evidence_lower_bound", split=SPLIT
    ).merge(_reconstruction(model, test, "vae"))
    if not known:
        note = "no training rows were given: there are no baselines and no other k"
        return evaluation.merge(Evaluation(notes=(note,)))
    log("encoding")
    active = active_dimensions(model, known[0])

    def represent(encode: Callable[[Records], FloatArray]) -> Representation:
        return Representation(np.concatenate([*map(encode, known)], axis=1), encode(test))

    representations = {"vae": represent(lambda part: active_means(model, part, active))}
    spec = recipe.clustering
    plan = ClusteringPlan(
        algorithms=(_COMPARED.get(spec.algorithm, spec.algorithm),),
        ks=spec.k,
        rules=(spec.rule, "oracle"),
        fit=fit,
        seeds=len(model.members),
    )
    # What is as the model, but for one thing, is clustered along depth as well.
    along = {"vae"} if spec.algorithm == "hmm" else set[str]()
    logs = logs_of(*known), logs_of(test)
    validation = np.arange(len(logs[0].values)) >= len(parts["train"])
    if baselines:
        log("filling gaps of the baselines")
        simple, notes = unsupervised_baselines(
            logs[0].values, logs[1].values, held_out, plan, validation
        )
        representations |= simple
        evaluation = evaluation.merge(Evaluation(notes=tuple(notes)))
        log("training the plain autoencoder")
        plain = plain_autoencoder(model, recipe, parts)
        # Without a KL term no dimension of it is idle.
        representations["autoencoder"] = represent(plain.encode)
        evaluation = evaluation.merge(_reconstruction(plain, test, "autoencoder"))
        if along or model.shift is not None:
            log("taking the logs as the network sees them")
            seen = [model.prepared(part) for part in (*known, test)]
            filled = fill_gaps(logs_of(*seen[:-1]).values, logs_of(seen[-1]).values)
            representations["no_network"] = Representation(*filled)
        along = along and {"vae", "autoencoder", "no_network"}
    for names, algorithms in (
        (representations.keys() - along, plan.algorithms),
        (representations.keys() & along, (spec.algorithm,)),
    ):
        some = {name: of for name, of in representations.items() if name in names}
        own_plan = replace(plan, algorithms=algorithms)
        if some:
            evaluation = evaluation.merge(evaluate_clustering(some, held_out, own_plan, log=log))
    if not test.labels:
        note = "the table has no column of labels, so nothing is compared with them"
        evaluation = evaluation.merge(Evaluation(notes=(note,)))
    if baselines and held_out.test_labels:
        log("training the supervised reference")
        # One seed: the draw of training rows moves it far less than the choice of groups.
        reference = evaluate_supervised(*logs, held_out, validation=validation)
        evaluation = evaluation.merge(reference)
    return evaluation


def plain_autoencoder(
    model: TabularModel, recipe: Recipe, parts: Mapping[str, Records]
) -> TabularModel:
    """Train the same network without noise and KL, squared error alone."""
    network = recipe.model.model_copy(
        update={"variance": "fixed", "sigma2": 1.0, "likelihood": "gaussian", "prior": "standard"}
    )
    plain = dict.fromkeys(("masking", "pretraining", "contrastive", "guidance"))
    training = recipe.training.model_copy(update=plain | {"beta": ConstantBeta(value=1.0)})
    members = [Member(m.seed, 0.0, m.latent) for m in model.members]
    validation = parts.get("validation")
    return fit_tabular(model.schema, parts["train"], validation, network, training, members).model


def latent_health_of(model: TabularModel, records: Records) -> Health:
    """Evaluate the latent space of the first member on some rows."""
    alone = model.only(0)
    mean, log_variance = alone.posterior(records)
    noise = alone.noise()
    names = model.schema.numeric_names
    named = None if noise is None else dict(zip(names, noise[0].tolist(), strict=True))
    centre, variance = alone.prior_moments()
    return evaluate_health(
        mean[0], log_variance[0], records.raw, names, noise=named, prior=(centre[0], variance[0])
    )


# The rows, their labels and what is scored without clusters.


def _parts(model: TabularModel, split: Split, records: Records, where: str) -> dict[str, Records]:
    if records.group is None:
        raise DataError("the table has no group column", where=where, hint="bind it with --map")
    for label in model.schema.schema.labels:
        if label.name in records.labels:
            require_names(label, records.labels[label.name])
    known = model.groups or split.normalised()
    before = (*split.train, *split.validation)
    records = replace(records, group=one_spelling(records.group, records.order))
    warn_of_look_alikes(pl.Series(records.group).unique().sort(), before)
    rows = known.rows(records.group, normalised)
    return {name: records.take(places) for name, places in rows.items()}


def _groups(records: Records) -> NDArray[np.str_]:
    assert records.group is not None  # _parts has checked
    return records.group


def logs_of(*parts: Records) -> Logs:
    """Return transformed numeric inputs of parts end to end, as baselines get them."""
    numeric = [np.where(part.observed, part.numeric, np.nan).astype(np.float64) for part in parts]
    groups = np.concatenate([_groups(part) for part in parts])
    return Logs(np.concatenate(numeric), groups, _order(parts))


def _order(parts: Sequence[Records]) -> FloatArray | None:
    """Depths of parts end to end; None where one has none."""
    found = [part.order for part in parts if part.order is not None]
    return np.concatenate(found) if len(found) == len(parts) else None


def _by_level(parts: Sequence[Records], levels: Levels) -> dict[str, NDArray[np.str_]]:
    """Labels of several parts end to end, by level."""
    by_part = [levels(part.labels) for part in parts]
    return {name: np.concatenate([part[name] for part in by_part]) for name in by_part[0]}


def _frequent(levels: Levels, parts: Mapping[str, Records], minimum: int) -> Levels:
    """Leave out labels that fewer than ``minimum`` rows of all parts together have."""
    if minimum == 0:
        return levels
    kept: dict[str, NDArray[np.str_]] = {}
    for level, every in _by_level(list(parts.values()), levels).items():
        names, counts = np.unique(every, return_counts=True)
        kept[level] = names[counts >= minimum]
    return lambda labels: {
        level: np.where(np.isin(values, kept[level]), values, "")
        for level, values in levels(labels).items()
    }


def _held_out(known: Sequence[Records], test: Records, levels: Levels) -> HeldOut:
    """Lay known and test rows end to end, and fix the rows to score on."""
    every = [*known, test]
    groups = np.concatenate([_groups(part) for part in every])
    first = len(groups) - len(test)  # test rows come last
    return hold_out(
        groups,
        _by_level(every, levels),
        train_rows=np.arange(first),
        test_rows=np.arange(first, len(groups)),
        split=SPLIT,
        complete=np.concatenate([part.observed.all(axis=1) for part in every]),
        order=_order(every),
    )


def _reconstruction(model: TabularModel, test: Records, method: str) -> Evaluation:
    names = model.schema.numeric_names
    if not names:
        return Evaluation()
    numeric = model.schema.numeric
    scales = {name: scale for name in names if (scale := numeric[name].logarithm()) is not None}
    return evaluate_reconstruction(
        test.raw,
        model.reconstruct(test),
        _groups(test),
        names,
        units=model.schema.units,
        scales=scales,
        method=method,
        split=SPLIT,
    )


def _held_out_table(
    model: TabularModel, test: Records, labels: Labels, clusters: Sequence[IntArray]
) -> pl.DataFrame:
    """Collect what the report draws: values, reconstruction, labels, clusters and latents."""
    alone = model.only(0)
    names = model.schema.numeric_names
    decoded = alone.reconstruct(test)[0] if names else test.raw
    columns: dict[str, Any] = {"group": test.group}
    if test.order is not None:
        columns["order"] = test.order
    for i, name in enumerate(names):
        columns |= {name: test.raw[:, i], f"recon:{name}": decoded[:, i]}
    columns |= {f"label:{level}": values for level, values in labels.items()}
    columns |= {f"cluster:{m}" if m else "cluster": row for m, row in enumerate(clusters)}
    columns |= {f"z{i}": mean for i, mean in enumerate(alone.encode(test)[0].T)}
    columns["log_likelihood"] = alone.evidence(test)[0]
    return pl.DataFrame(columns)


# The clustering that the run keeps, and comparisons.


def _with_kept(
    evaluation: Evaluation,
    clusters: Clusters,
    held_out: HeldOut,
    assigned: Sequence[IntArray],
    known: Sequence[IntArray],
) -> Evaluation:
    """Put the clustering that the run keeps in the place of the model's entry under its rule.

    Two draws of training rows can make one rule choose two numbers; what is scored under the
    rule has to be what ``variolite cluster`` gives.
    """
    key = ScoreKey("clustering", "vae", held_out.split, clusters.algorithm, "inductive")
    key = replace(key, k=clusters.k, rule=None if clusters.rule == "fixed" else clusters.rule)
    rows = np.arange(len(known[0])) if known else np.arange(0)
    learned = [(rows, own) for own in known]
    scored = [some[held_out.kept] for some in assigned]
    kept = [
        Entry(replace(key, level=level, rows=part, clusters="kept"), found)
        for level in held_out.test_labels
        for part in held_out.parts
        if (found := score_clusters(scored, held_out, level, learned, part=part))
    ]
    notes = [_kept_note(kept[0])] if kept else []
    others = [
        entry
        for entry in evaluation.entries
        if entry.key.level is None
        or replace(entry.key, k=key.k, level=None, rows=None, clusters=None) != key
    ]
    # First, as the scorecard is about it.
    return Evaluation((*kept, *others), (*evaluation.notes, *notes))


def _kept_note(entry: Entry) -> str:
    listed = ", ".join(f"{ari:.3f}" for ari in entry.whole("ari"))
    return (
        "kept: the clusters that `variolite cluster` gives, fitted on training groups alone; their "
        f"ARI with {entry.key.level} by member: {listed}. Other rows of the VAE are clusters "
        "refitted on training and validation groups; a row is the mean over members"
    )


def _paired(evaluation: Evaluation, rule: str, more: Evaluation) -> Scorecard:
    """Compare the model with every baseline on the same rows, ``more`` with the supervised one.

    Each at the k that the rule chose for it; where that differs, at the same k as well.
    """
    rows: list[ScoreRow] = []
    entries = [e for e in evaluation.entries if e.key.task == "clustering" and e.key.level]
    for ours, other in product(more.entries, entries):
        same = (other.key.level, other.key.rows) == (ours.key.level, ours.key.rows)
        if other.key.method == "supervised" and same:
            rows += compare(ours, other, metrics=("accuracy", "ari", "ami"))
    for ours in entries:
        if ours.key.method != "vae" or ours.key.rule not in (rule, None):
            continue
        own = ours.key
        others = [
            entry
            for entry in entries
            if (entry.key.level, entry.key.rows) == (own.level, own.rows)
            and (
                entry.key.algorithm in (own.algorithm, _COMPARED.get(own.algorithm or ""))
                or entry.key.method == "supervised"
            )
        ]
        ruled = {e.key.method: e.key.k for e in others if e.key.rule == own.rule}
        for other in others:
            key = other.key
            at_same_k = (key.rule, key.k) == ("fixed", own.k) and ruled.get(key.method) != own.k
            if key.method != "vae" and (key.rule in (own.rule, None) or at_same_k):
                rows += compare(ours, other, metrics=("ari", "ami"))
    return Scorecard(tuple(rows))


def compare_runs(first: RunFolder, second: RunFolder) -> Scorecard:
    """Compare the clusters of two scored runs on the test groups that both have.

    Raises RunFolderError if one has not been scored, or they share no test group or label.
    """
    tables = [_scored_table(run) for run in (first, second)]
    names = [str(run.path) for run in (first, second)]
    shared = sorted(set(tables[0]["group"]) & set(tables[1]["group"]))
    levels = [c for c in tables[0].columns if c.startswith("label:") and c in tables[1].columns]
    if not shared or not levels:
        missing = "held-out group" if not shared else "label level"
        hint = "train both with the same split.seed on the same table, then score both"
        raise RunFolderError(f"the runs share no {missing}", where=" and ".join(names), hint=hint)
    rows: list[ScoreRow] = []
    for level in levels:
        entries = [
            _stored_entry(table.filter(pl.col("group").is_in(shared)), level, name)
            for table, name in zip(tables, names, strict=True)
        ]
        rows += compare(*entries, metrics=("ari", "ami", "v_measure"))
    return Scorecard(tuple(rows))


def _scored_table(run: RunFolder) -> pl.DataFrame:
    run.require_finished()
    if not run.held_out_file.is_file():
        hint = "run `variolite score` first"
        raise RunFolderError("the run has not been scored yet", where=str(run.path), hint=hint)
    table = read_table(run.whole(run.held_out_file))
    for name in ("group", "cluster"):
        if name not in table.columns:
            where, hint = str(run.held_out_file), "run `variolite score` again"
            raise RunFolderError(f"the column {name} is missing", where=where, hint=hint)
    return table


def _stored_entry(table: pl.DataFrame, level: str, name: str) -> Entry:
    held_out = hold_out(
        table["group"].to_numpy(),
        {level: table[level].to_numpy()},
        train_rows=(),
        test_rows=np.arange(table.height),
        max_test_rows=None,
    )
    members = [c for c in table.columns if c == "cluster" or c.startswith("cluster:")]
    clusters = [table[member].to_numpy().astype(np.int64) for member in members]
    scored = score_clusters(clusters, held_out, level)
    if scored is None:
        raise DataError("no held-out row has a label", where=f"{name}, {level}")
    return Entry(ScoreKey("clustering", name, SPLIT, level=level.partition(":")[2]), scored)
