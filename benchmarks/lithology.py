"""Score every borehole recipe and every baseline on real wells.

    python -m benchmarks.lithology kgs --data panoma_wells.csv
    python -m benchmarks.lithology force --data wells.parquet

Protocol, the same for all methods: transforms, projections, networks and
clusterings are fitted on training wells and applied to held-out wells; labels
are looked at by the scores alone. KGS leaves one well out at a time; FORCE takes
four random splits with a quarter of the wells held out. Three seeds. Writes
``benchmarks/results/lithology_kgs.json``, ``.md`` and the same for force.

Rows that lack a log are left out, so that all recipes are scored on the same rows.
With ``--gaps`` they stay in, for the default recipe and the baselines alone, which
are then scored on all rows and on complete rows and rows with gaps apart; writes
``lithology_force_gaps``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from benchmarks.lithology_splits import Penalty, penalised
from benchmarks.lithology_table import write_results
from benchmarks.pages import RESULTS, command, provenance
from numpy.typing import NDArray

from variolite.corelogs import LevelChooser, label_levels
from variolite.recipe import load_recipe
from variolite.records import Records, Split, read_table, split_groups
from variolite.scoring.baselines import unsupervised_baselines
from variolite.scoring.clustering import (
    ClusteringPlan,
    Representation,
    draw,
    evaluate_clustering,
)
from variolite.scoring.evaluation import Evaluation, hold_out
from variolite.scoring.kept_clusters import active_dimensions, active_means
from variolite.scoring.supervised import CLASSIFIERS, evaluate_supervised
from variolite.scoring.tabular_run import logs_of, plain_autoencoder
from variolite.training import TabularModel, fit_tabular, members_for
from variolite.training.run import Prepared, prepare

RECIPES = ("v1", "v2", "v2_1", "v2_5", "v2_6", "v2_6_6", "default")
SEEDS = 3
PENALTY_CODES = (
    "30000",
    "65030",
    "65000",
    "80000",
    "74000",
    "70000",
    "70032",
    "88000",
    "86000",
    "99000",
    "90000",
    "93000",
)


@dataclass(frozen=True)
class Wells:
    """A data set and how it is cut.

    Attributes
    ----------
    well, logs
        Columns; rows that lack one of the logs are left out.
    unused
        Logs of the vocabulary that too many wells lack.
    kmeans, gmm
        Numbers of clusters.
    title
        For the table.
    """

    well: str
    logs: tuple[str, ...]
    unused: tuple[str, ...]
    kmeans: tuple[int, ...]
    gmm: tuple[int, ...]
    title: str

    def splits(self, groups: NDArray[np.str_]) -> tuple[Split, ...]:
        """Leave one well out where there are few, else four random quarters."""
        names = np.unique(groups).tolist()
        if len(names) < 12:
            # The group that validates follows the test group in a seeded circle.
            circle = np.random.default_rng(0).permutation(names).tolist()
            turns = [circle[i:] + circle[:i] for i in map(circle.index, names)]
            return tuple(Split(tuple(rest), (second,), (first,)) for first, second, *rest in turns)
        return tuple(split_groups(groups, test=0.25, validation=0.1, seed=i) for i in range(4))


WELLS = {
    "kgs": Wells(
        "Well Name",
        ("GR", "ILD", "DeltaPHI", "PHIND", "PE"),
        (),
        (6, 9, 15),
        (6, 9),
        "KGS Panoma, leave one well out",
    ),
    "force": Wells(
        "WELL",
        ("GR", "RHOB", "NPHI", "DTC", "RDEP"),
        ("PEF",),
        (4, 6, 11, 18),
        (4, 11),
        "FORCE 2020, four splits with a quarter of the wells held out",
    ),
}


def load(wells: Wells, path: Path, *, gaps: bool = False) -> pl.DataFrame:
    """Read the rows that all recipes can use, so that all are scored on the same."""
    frame = read_table(path).drop(wells.unused)
    if not gaps:
        frame = frame.filter(pl.all_horizontal(pl.col(log).is_finite() for log in wells.logs))
    recipe = load_recipe("corelogs/default" if gaps else "corelogs/v2_1")
    groups = frame[wells.well].to_numpy()
    everything = prepare(recipe, frame, split=wells.splits(groups)[0])
    return frame[everything.records.row]


def score_split(
    index: int, name: str, path: Path, train_rows: int, recipes: tuple[str, ...], *, gaps: bool
) -> tuple[Evaluation, list[str]]:
    """Score all methods on one split."""
    wells = WELLS[name]
    frame = load(wells, path, gaps=gaps)
    split = wells.splits(frame[wells.well].to_numpy())[index]
    prepared = {
        recipe: prepare(load_recipe(f"corelogs/{recipe}"), frame, split=split) for recipe in recipes
    }
    base = prepared["default"]
    known, test = _known(base), base.part("test")
    assert base.records.group is not None
    rows = split.rows(base.records.group)
    held_out = hold_out(
        base.records.group,
        LevelChooser(level for level in label_levels() if level.startswith(name))(
            base.records.labels
        ),
        train_rows=np.r_[rows["train"], rows["validation"]],
        test_rows=rows["test"],
        split=wells.title,
        complete=base.records.observed.all(axis=1),
    )
    logs = logs_of(known), logs_of(test)
    validation = np.arange(len(known)) >= len(rows["train"])
    every_k = tuple(dict.fromkeys(wells.kmeans + wells.gmm))
    representations, notes = unsupervised_baselines(
        logs[0].values,
        logs[1].values,
        held_out,
        ClusteringPlan(algorithms=("kmeans",), ks=every_k),
        validation,
    )
    if "v2" in prepared:
        plain = prepared["v2"]
        representations["raw_standardised"] = Representation(
            _known(plain).numeric, plain.part("test").numeric
        )
    log = [f"split {index}, {note}" for note in notes]
    for recipe in recipes:
        began = time.process_time()
        latents, note = _train(prepared[recipe], recipe, train_rows, representations)
        representations[recipe] = latents
        log.append(f"split {index}, {recipe}: {note}, {time.process_time() - began:.0f} CPU-s")
        print(log[-1], file=sys.stderr, flush=True)
    evaluations = [
        evaluate_clustering(
            representations,
            held_out,
            ClusteringPlan(algorithms=(algorithm,), ks=ks, rules=rules, seeds=SEEDS),
            every_part=True,
        )
        for algorithm, ks, rules in (
            ("kmeans", wells.kmeans, ("silhouette", "oracle")),
            ("gmm", wells.gmm, ("bic", "oracle")),
        )
    ]
    # Each classifier by itself, and the one that validation wells chose.
    references = [
        evaluate_supervised(*logs, held_out, methods=(method,), validation=validation)
        for method in CLASSIFIERS
    ]
    best = evaluate_supervised(*logs, held_out, validation=validation)
    chosen = [replace(e, key=replace(e.key, algorithm="chosen")) for e in best.entries]
    log += [f"split {index}, {note}" for note in best.notes]
    print(f"split {index}: scored", file=sys.stderr, flush=True)
    merged = evaluations[0].merge(evaluations[1], *references, Evaluation(tuple(chosen)))
    return penalised(merged, _penalties(path)), log


def _penalties(path: Path) -> dict[str, Penalty]:
    """Read the contest's penalty matrix where it lies beside the FORCE wells."""
    file = path.parent / "penalty_matrix.npy"
    if not file.is_file():
        return {}
    level = label_levels()["force_lithology"]
    classes = tuple(str(level.group_of(code)) for code in PENALTY_CODES)
    return {level.name: Penalty(classes, np.load(file, allow_pickle=False))}


def _known(prepared: Prepared) -> Records:
    """Training rows, then validation rows."""
    assert prepared.records.group is not None
    rows = prepared.split.rows(prepared.records.group)
    return prepared.records.take(np.r_[rows["train"], rows["validation"]])


def _train(
    prepared: Prepared, name: str, train_rows: int, representations: dict[str, Representation]
) -> tuple[Representation, str]:
    """Train one recipe with all seeds at once; the default brings the plain autoencoder too."""
    recipe = load_recipe(f"corelogs/{name}")
    training = prepared.part("train")
    training = training.take(draw(np.random.default_rng(0), len(training), train_rows))
    validation, test, known = prepared.part("validation"), prepared.part("test"), _known(prepared)
    members = members_for(recipe.training, recipe.model, seeds=SEEDS)
    fitted = fit_tabular(
        prepared.schema, training, validation, recipe.model, recipe.training, members
    )
    if name == "default":
        parts = {"train": training, "validation": validation}
        plain = plain_autoencoder(fitted.model, recipe, parts)
        representations["autoencoder"] = Representation(plain.encode(known), plain.encode(test))
    note = (
        f"{len(fitted.history)} epochs, active {fitted.history[-1].active_units}, "
        f"best monitored {np.round(fitted.best, 3).tolist()}"
    )
    return latents_of(fitted.model, training, known, test), note


def latents_of(
    model: TabularModel, training: Records, known: Records, test: Records
) -> Representation:
    """Active latents of the rows that clusterings are fitted on, and of those scored."""
    active = active_dimensions(model, training)
    return Representation(*(active_means(model, part, active) for part in (known, test)))


def main() -> None:
    """Parse, score all splits in two processes, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=WELLS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train-rows", type=int, default=40_000, help="for the networks")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--gaps", action="store_true", help="keep rows that lack a log")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # The data set stands first, without an option; its file by its name alone.
    options = vars(arguments) | {"name": None, "data": arguments.data.name}
    module = f"benchmarks.lithology {arguments.name}"
    made = provenance(command(module, argparse.Namespace(**options)), ("scikit-learn", "numpy"))
    wells = WELLS[arguments.name]
    recipes = ("default",) if arguments.gaps else tuple(arguments.recipes)
    frame = load(wells, arguments.data, gaps=arguments.gaps)
    count = len(wells.splits(frame[wells.well].to_numpy()))
    work = partial(
        score_split,
        name=arguments.name,
        path=arguments.data,
        train_rows=arguments.train_rows,
        recipes=recipes,
        gaps=arguments.gaps,
    )
    began = time.monotonic()
    # A forked child of a process that has used polars would wait for ever.
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(work, range(count)))
    write_results(
        arguments.results / f"lithology_{arguments.name}{'_gaps' if arguments.gaps else ''}",
        wells.title,
        [evaluation for evaluation, _ in done],
        [line for _, lines in done for line in lines],
        made,
        facts=f"{frame.height:,} rows, {count} splits, {SEEDS} seeds, networks on at most "
        f"{arguments.train_rows:,} rows, {(time.monotonic() - began) / 60:.0f} min",
    )


if __name__ == "__main__":
    main()
