"""Data, methods and scores of the variants: one method on one split at a time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from benchmarks.lithology import SEEDS, WELLS, Wells, latents_of, load
from benchmarks.lithology_variants_table import BASELINES
from numpy.typing import NDArray

from variolite.corelogs import (
    FACTORS,
    LevelChooser,
    bin_tables,
    holes_from_columns,
    label_levels,
    simulate_cores,
    write_instrument_tables,
)
from variolite.errors import DataError
from variolite.recipe import Recipe, load_recipe, packaged_recipes, recipe_from_dict
from variolite.records import Records, Split, write_table
from variolite.scoring import Evaluation
from variolite.scoring.baselines import pca_whitened, raw
from variolite.scoring.clustering import (
    ClusteringPlan,
    Representation,
    draw,
    evaluate_clustering,
    score_clusters,
)
from variolite.scoring.evaluation import (
    Entry,
    HeldOut,
    evaluate_likelihood,
    evaluate_reconstruction,
    hold_out,
)
from variolite.scoring.kept_clusters import prior_clusters
from variolite.scoring.scorecard import ScoreKey
from variolite.scoring.supervised import evaluate_supervised
from variolite.scoring.tabular_run import logs_of, plain_autoencoder
from variolite.training import TabularModel, fit_tabular, members_for
from variolite.training.run import prepare

SETTINGS = {
    "v2_6, 4 latents": ("v2_6", "model.latent=4"),
    "v2_6, 16 latents": ("v2_6", "model.latent=16"),
    "v2_5, noise .08": ("v2_5", "model.sigma2=0.08"),
    # The source's stop watched a loss that rose with beta, and ended every run 15 epochs after it
    # began: at beta .16 of .5, which is .32 of 1.
    "v2_6, beta to .32": ("v2_6", "training.beta.end=0.32"),
    "default, no shift": ("default", "model.shift=none", "model.drift=null"),
}
"""Recipes with one setting changed."""

TRACKS = ("GRA", "MS", "NGR", "RGB", "RSC", "MSP")
SAMPLES = ("GRA", "MS", "NGR", "RGB", "MAD", "PWC", "TCON")
COLOURS = ("bulk_density", "magnetic_susceptibility", "natural_gamma", "red", "green", "blue")
POINTS = ("lightness", "reflectance_a", "reflectance_b", "point_magnetic_susceptibility")
SAMPLED = ("porosity", "grain_density", "p_wave_velocity", "thermal_conductivity")
HOLDING_OUT = "four splits with a quarter of the holes held out"
DATA = {
    "force": WELLS["force"],
    "kgs": WELLS["kgs"],
    "simulated": Wells(
        *("hole", COLOURS + POINTS, (), (), ()), f"SIMULATED cores in 20 cm bins, {HOLDING_OUT}"
    ),
    "samples": Wells(
        *("hole", COLOURS + SAMPLED, (), (), ()),
        f"SIMULATED samples paired with the nearest readings, {HOLDING_OUT}",
    ),
}
KS = {"force": (4, 11), "kgs": (6, 9), "simulated": (8, 15), "samples": (8, 15)}
"""Two fixed numbers of clusters, k-means and mixtures alike."""


STRETCH, CLUSTERED_ROWS = 20, 8_000


def simulated_table(name: str, path: Path) -> Path:
    """Write the joined instrument tables of SIMULATED cores, with the true factors by bin."""
    if path.is_file():
        return path
    samples = name == "samples"
    holes, metres, spacing = (80, 100.0, 0.01) if samples else (40, 60.0, 0.2)
    codes = SAMPLES if samples else TRACKS
    cores = simulate_cores(holes, metres, seed=3, camera_everywhere=True, more=codes)
    tables = write_instrument_tables(cores, path.parent / f"{name}_instruments")
    joined = bin_tables(
        [tables[code] for code in codes],
        spacing=spacing,
        join="nearest" if samples else "inner",
        tolerance=0.1 if samples else None,
    )
    print(*joined.report.lines(), sep="\n", file=sys.stderr)
    parts = (pl.Series(cores.holes[part]) for part in ("expedition", "site", "letter"))
    hole = holes_from_columns(*parts)["hole"].gather(cores.cells["hole"])
    factors = dict(zip((f"true_{name}" for name in FACTORS), cores.cells["factors"].T, strict=True))
    bins = np.rint(cores.cells["depth"] / spacing).astype(np.int32)
    truth = pl.DataFrame({"hole": hole, "bin": bins, **factors}).group_by("hole", "bin").mean()
    write_table(joined.table.join(truth, on=["hole", "bin"]), path)
    return path


@lru_cache(maxsize=2)
def frame_of(data: str, path: Path) -> pl.DataFrame:
    """Read the rows of a data set that lack no log."""
    return load(DATA[data], path)


def _rows(
    split: Split, base: Records, train_rows: int, test_rows: int
) -> dict[str, NDArray[np.int64]]:
    """Draw the rows of every part that all methods train on, validate with and are scored on."""
    assert base.group is not None
    most = {"train": train_rows, "validation": train_rows // 4, "test": test_rows}
    return {
        part: _stretches(base, rows, most[part]) for part, rows in split.rows(base.group).items()
    }


def _stretches(records: Records, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Draw stretches of 20 rows that lie side by side, so that depth context has neighbours."""
    if len(rows) <= most:
        return rows
    assert records.group is not None
    assert records.order is not None
    in_order = rows[np.lexsort((records.order[rows], records.group[rows]))]
    stretch = np.arange(len(rows)) // STRETCH
    drawn = np.random.default_rng(0).permutation(stretch[-1] + 1)[: most // STRETCH]
    return np.sort(in_order[np.isin(stretch, drawn)])


def score_method(
    data: str, path: Path, index: int, method: str, content: str, train_rows: int, test_rows: int
) -> tuple[Evaluation, dict[str, Any]]:
    """Score one method on one split; ``content`` is its recipe as JSON."""
    wells, frame = DATA[data], frame_of(data, path)
    split = wells.splits(frame[wells.well].to_numpy())[index]
    recipe = recipe_from_dict(json.loads(content), method)
    prepared = prepare(recipe, frame, split=split)
    records = prepared.records
    if len(records) < frame.height:
        raise DataError(f"leaves out {frame.height - len(records)} rows of {data}", where=method)
    rows = _rows(split, records, train_rows, test_rows)
    training, validation, test = (records.take(rows[part]) for part in rows)
    recipe = lengthened(recipe, max(1, round(train_rows / len(training))))
    known = records.take(np.r_[rows["train"], rows["validation"]])
    assert records.group is not None
    levels = LevelChooser(level for level in label_levels() if level.startswith(data))
    held_out = hold_out(
        records.group,
        levels(records.labels),
        train_rows=np.r_[rows["train"], rows["validation"]],
        test_rows=rows["test"],
        split=wells.title,
        max_test_rows=None,
    )
    facts: dict[str, Any] = {"columns": prepared.schema.numeric_names}
    logs = logs_of(known), logs_of(test)
    if method == "supervised":
        # Rows by themselves: stretches are shorter than the context of the other classifier.
        return evaluate_supervised(*logs, held_out, methods=("gradient_boosting",)), facts
    others = Evaluation()
    if method == "raw":
        latents = Representation(*raw(logs[0].values, logs[1].values))
    elif method == "pca_whitened":
        latents = Representation(*pca_whitened(logs[0].values, logs[1].values))
    else:
        began = time.process_time()
        members = members_for(recipe.training, recipe.model, seeds=SEEDS)
        fitted = fit_tabular(
            prepared.schema, training, validation, recipe.model, recipe.training, members
        )
        model = fitted.model
        facts |= {"seconds": time.process_time() - began, "epochs": fitted.best_epochs}
        if method == "autoencoder":
            model = plain_autoencoder(model, recipe, {"train": training, "validation": validation})
            latents = Representation(model.encode(known), model.encode(test))
        else:
            latents = latents_of(model, training, known, test)
            facts["active"] = fitted.history[-1].active_units
            others = evaluate_likelihood(
                model.evidence(test), held_out_groups(held_out), metric="evidence", method=method
            )
            if recipe.clustering.algorithm == "prior":
                others = others.merge(_components(method, model, test, held_out))
    facts["latents"] = np.asarray(latents.train).shape[-1]
    fitted_on = draw(np.random.default_rng(1), len(known), CLUSTERED_ROWS)
    latents = latents._replace(fitted_on=fitted_on)
    if "true_porosity" in frame.columns:
        others = others.merge(_recovery(method, latents, frame, records, rows, held_out))
    return others.merge(_clusterings(data, method, latents, held_out, recipe)), facts


def lengthened(recipe: Recipe, times: int) -> Recipe:
    """Train as many times as many epochs: as many steps on a small table as on a large one."""

    def longer(spec: Any, *names: str) -> Any:
        changes = {name: times * value for name in names if (value := getattr(spec, name, None))}
        return spec and spec.model_copy(update=changes)

    training = longer(recipe.training, "epochs", "patience")
    parts = {"beta": "epochs", "plateau": "patience", "pretraining": "epochs"}
    changes = {part: longer(getattr(training, part), name) for part, name in parts.items()}
    training = training.model_copy(update=changes)
    return recipe.model_copy(update={"training": training})


def held_out_groups(held_out: HeldOut) -> NDArray[np.str_]:
    """Return the group of every scored row."""
    return np.array(held_out.groups)[held_out.group_codes]


def _clusterings(
    data: str, method: str, latents: Representation, held_out: HeldOut, recipe: Recipe
) -> Evaluation:
    """Cluster with two fixed k, and with the k that the recipe's rule chooses without labels."""
    spec, ks = recipe.clustering, KS[data]
    plan = ClusteringPlan(algorithms=("kmeans", "gmm"), ks=ks, rules=(), seeds=SEEDS)
    fixed = evaluate_clustering({method: latents}, held_out, plan)
    if spec.algorithm == "prior":
        return fixed
    # Sequences are for whole wells, of which these rows are pieces.
    own = "kmeans" if spec.algorithm == "hmm" else spec.algorithm
    plan = ClusteringPlan(algorithms=(own,), ks=spec.k, rules=(spec.rule,), seeds=SEEDS)
    ruled = evaluate_clustering({method: latents}, held_out, plan)
    chosen = tuple(entry for entry in ruled.entries if entry.key.rule == spec.rule)
    return fixed.merge(Evaluation(chosen, ruled.notes))


def _components(method: str, model: TabularModel, test: Records, held_out: HeldOut) -> Evaluation:
    """Score the components of the prior as clusters."""
    clusters = prior_clusters(model)
    found = clusters.predict_all(model.encode(test), held_out.along)
    key = ScoreKey("clustering", method, held_out.split, "prior", "inductive")
    entries = [
        Entry(replace(key, level=level, k=clusters.k, rule="fixed"), scored)
        for level in held_out.test_labels
        if (scored := score_clusters(found, held_out, level)) is not None
    ]
    return Evaluation(tuple(entries))


def _recovery(
    method: str,
    latents: Representation,
    frame: pl.DataFrame,
    records: Records,
    rows: Mapping[str, NDArray[np.int64]],
    held_out: HeldOut,
) -> Evaluation:
    """Score how well a linear map of the latents gives the true factors in held-out holes."""
    from sklearn.linear_model import LinearRegression

    names = [f"true_{name}" for name in FACTORS]
    truth = frame[records.row].select(names).to_numpy()
    known = truth[np.r_[rows["train"], rows["validation"]]]
    parts = [np.asarray(part, np.float64) for part in (latents.train, latents.test)]
    train, test = (part[None] if part.ndim == 2 else part for part in parts)
    guessed = [
        LinearRegression().fit(a, known).predict(b) for a, b in zip(train, test, strict=True)
    ]
    found = evaluate_reconstruction(
        truth[rows["test"]], np.stack(guessed), held_out_groups(held_out), names, method=method
    )
    kept = (replace(e, scored=e.scored.only("r2")) for e in found.entries)
    return Evaluation(tuple(kept), found.notes)


def recipe_of(method: str) -> Recipe:
    """Return the recipe of a method; of a baseline one that has the same logs."""
    name, *overrides = SETTINGS.get(method, (method,))
    name = {"autoencoder": "v2_6"}.get(name, "v2_1" if name in BASELINES else name)
    return load_recipe(f"corelogs/{name}", overrides)


SAMPLED_METHODS = ("v2_1", "v2_6", "v2_6_7", "v2_7_mad", "mad_legacy")


def methods(data: str) -> tuple[str, ...]:
    """Name the baselines, the recipes that the data have sensors for, and settings changed."""
    names = (name.partition("/") for name in packaged_recipes())
    # Guided runs learn from other things as well, and have a page of their own.
    recipes = [name for field, _, name in names if field == "corelogs" and name != "guided"]
    if data == "samples":
        return (*BASELINES, *(name for name in recipes if name in SAMPLED_METHODS))
    lacking = {"v2_7_mad"} | ({"mad_legacy"} if data == "simulated" else {"v2_6_1"})
    recipes = [name for name in recipes if name not in lacking]
    return (*BASELINES, *recipes, *SETTINGS)
