"""Score clusters along depth: shifts of wells, latents and the hidden Markov model, one by one.

    python -m benchmarks.lithology_clusters force --data wells.parquet
    python -m benchmarks.lithology_clusters kgs --data panoma_wells.csv

Everything is fitted on training wells and applied to held-out wells, as a user would: one run for
each of three seeds, which move the shift, the network and the clusterings, and each run chooses k
from 4 to 8 by the silhouette of k-means, without labels. FORCE takes four random splits with a
quarter of the wells held out, KGS leaves one well out at a time. Rows that lack a log are left
out; with ``--gaps`` they stay in and are scored apart, for some of the methods. Gaps of logs are
then filled by regression on the other logs, once shifts are taken out.

Boundaries are changes of the described lithology between neighbouring rows; one is found where
clusters change within half a metre, and a change of clusters is false where no described one is
as near. Writes ``lithology_clusters_force.json`` and ``.md`` into ``benchmarks/results``, and for
kgs and gaps likewise.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.lithology import WELLS, load
from benchmarks.lithology_splits import evaluate_splits
from benchmarks.lithology_table import values_of_card
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from variolite.recipe import Recipe, load_recipe
from variolite.records import Records, Split
from variolite.scoring.algorithms import fit_kmeans
from variolite.scoring.baselines import fill_gaps
from variolite.scoring.clustering import (
    MAX_TRAIN_ROWS,
    SILHOUETTE_ROWS,
    distances,
    draw,
    score_clusters,
    silhouette_values,
)
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, compare, hold_out
from variolite.scoring.hmm import Whitening, fit_hmm
from variolite.scoring.intervals import FloatArray, GroupSums, IntArray
from variolite.scoring.kept_clusters import active_dimensions, active_means
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow
from variolite.scoring.sequences import Sequences
from variolite.scoring.tabular_run import logs_of
from variolite.training import fit_tabular, members_for
from variolite.training.group_shift import GroupShift
from variolite.training.run import prepare

SEEDS = 3
KS = (4, 5, 6, 7, 8)  # for the rule
SHOWN = (4, 6)  # beside what the rule chose
TRAIN_ROWS = 40_000  # for the networks
NEAR = 0.5  # metres within which a boundary counts as found
AGAINST = (("whitened", "kmeans"), ("drift", "hmm"))
TITLES = {
    "whitened": "whitened logs",
    "latents": "VAE latents, no shift",
    "shift": "logs less a constant shift, whitened",
    "drift": "logs less a drifting shift, whitened",
    "drift_latents": "VAE latents of the same",
}
WITH_GAPS = ("whitened", "drift", "drift_latents")
METRICS = ("ari", "ami", "accuracy")

Features = Callable[[int], tuple[FloatArray, FloatArray]]
"""From a seed to features of all training rows and of all test rows."""


def splits(groups: NDArray[np.str_]) -> tuple[Split, ...]:
    """Leave one well out where there are few, else four quarters; a tenth validates."""
    names = np.unique(groups)
    if len(names) < 12:
        parts = [(names[names != one], np.array([one])) for one in names]
    else:
        shuffled = GroupShuffleSplit(4, test_size=0.25, random_state=0).split(groups, groups=groups)
        parts = [(np.unique(groups[train]), np.unique(groups[test])) for train, test in shuffled]
    found = []
    for i, (train, test) in enumerate(parts):
        order = np.random.default_rng(i).permutation(train)
        first = max(1, len(order) // 10)
        found.append(Split(tuple(order[first:]), tuple(order[:first]), tuple(test)))
    return tuple(found)


def score_split(index: int, name: str, path: Path, *, gaps: bool) -> tuple[Evaluation, list[str]]:
    """Score all methods on one split."""
    wells = WELLS[name]
    frame = load(wells, path, gaps=gaps)
    split = splits(frame[wells.well].to_numpy())[index]
    recipe = load_recipe("corelogs/default", ["model.shift=none", "model.drift=null"])
    prepared = prepare(recipe, frame, split=split)
    train, validation, test = map(prepared.part, ("train", "validation", "test"))
    known = prepared.records.take(
        np.isin(prepared.records.group, [*split.train, *split.validation])
    )
    drifting = load_recipe("corelogs/default")
    rows = prepared.records
    assert rows.group is not None
    held = np.isin(rows.group, split.test)
    held_out = hold_out(
        rows.group,
        {"lithology": next(iter(rows.labels.values()))},
        train_rows=np.flatnonzero(~held),
        test_rows=np.flatnonzero(held),
        complete=rows.observed.all(axis=1),
        order=rows.order,
        max_test_rows=None,
    )

    def latents(recipe: Recipe, seed: int) -> tuple[FloatArray, FloatArray]:
        spec = recipe.training.model_copy(update={"seed": seed})
        few = train.take(draw(np.random.default_rng(0), len(train), TRAIN_ROWS))
        members = members_for(spec, recipe.model)
        model = fit_tabular(prepared.schema, few, validation, recipe.model, spec, members).model
        active = active_dimensions(model, known)
        return active_means(model, known, active)[0], active_means(model, test, active)[0]

    def plain(_: int, shift: GroupShift | None = None) -> tuple[FloatArray, FloatArray]:
        parts = [known, test] if shift is None else [shift.removed(known), shift.removed(test)]
        first, second = (logs_of(part).values for part in parts)
        return fill_gaps(first, second)

    def logs(drift: float | None, seed: int) -> tuple[FloatArray, FloatArray]:
        return plain(seed, GroupShift.fit(known, drift=drift, seed=seed))

    features: dict[str, Features] = {
        "whitened": plain,
        "latents": partial(latents, recipe),
        "shift": partial(logs, None),
        "drift": partial(logs, 300.0),
        "drift_latents": partial(latents, drifting),
    }
    entries: list[Entry] = []
    notes: list[str] = []
    for method in WITH_GAPS if gaps else features:
        make = features[method]
        began = time.process_time()
        found, chosen = _clusters(make, held_out)
        for (algorithm, k, rule), runs in found.items():
            entries += _entries(
                ScoreKey("clustering", method, "", algorithm, "inductive", k=k, rule=rule),
                [run[1] for run in runs], [run[0] for run in runs], held_out, test,
            )  # fmt: skip
        seconds = time.process_time() - began
        notes.append(f"split {index}, {method}: k by seed {chosen}, {seconds:.0f} CPU-s")
        print(notes[-1], file=sys.stderr, flush=True)
    return Evaluation(tuple(entries)), notes


Runs = Mapping[tuple[str, int | None, str], list[tuple[tuple[IntArray, IntArray], IntArray]]]


def _clusters(make: Features, held_out: HeldOut) -> tuple[Runs, list[int]]:
    """Cluster by both algorithms with every k, each seed by itself; and what each chose.

    A run holds the clusters of some training rows with their positions, then of all test rows.
    """
    found = defaultdict(list)
    chosen = []
    for seed in range(SEEDS):
        known, test = make(seed)
        generator = np.random.default_rng([seed, 3])
        drawn = draw(generator, len(known), MAX_TRAIN_ROWS)
        sample = draw(generator, len(drawn), SILHOUETTE_ROWS)
        whitening = Whitening.of(known[drawn])
        white, apart = whitening(known[drawn]), whitening(test)
        distance = distances(white[sample])
        starts = {k: fit_kmeans(white, k, seed) for k in KS}
        silhouettes = {
            k: silhouette_values(distance, start.predict(white[sample])).mean()
            for k, start in starts.items()
        }
        best = max(silhouettes, key=lambda k: silhouettes[k])
        chosen.append(best)
        for k in dict.fromkeys((*SHOWN, best)):
            start = starts[k]
            model = fit_hmm(known, whitening, start.centres, held_out.train_along)
            path = model.predict(known, held_out.train_along)[drawn]
            both = {
                "kmeans": ((drawn, start.predict(white)), start.predict(apart)),
                "hmm": ((drawn, path), model.predict(test, held_out.along)),
            }
            for algorithm, run in both.items():
                if k in SHOWN:
                    found[algorithm, k, "fixed"].append(run)
                if k == best:
                    found[algorithm, None, "silhouette"].append(run)
    return found, chosen


def _entries(
    key: ScoreKey,
    clusters: list[IntArray],
    known: list[tuple[IntArray, IntArray]],
    held_out: HeldOut,
    test: Records,
) -> list[Entry]:
    along = boundaries(clusters, next(iter(test.labels.values())), held_out, test)
    entries = [Entry(replace(key, level="boundaries"), along)]
    for part in held_out.parts:
        scored = score_clusters(clusters, held_out, "lithology", known, part=part)
        assert scored is not None
        entries.append(Entry(replace(key, level="lithology", rows=part), scored))
    return entries


def boundaries(
    clusters: list[IntArray], labels: NDArray[np.str_], held_out: HeldOut, test: Records
) -> GroupSums:
    """Count boundaries that clusters of test rows, [n] per seed, share with described ones."""
    along: Sequences = held_out.along
    rows, depth = along.rows, np.asarray(test.order)[along.rows]
    upper, lower = rows[:-1], rows[1:]
    joined = ~along.start[1:]
    well = held_out.group_codes[upper]
    # One axis for all wells, far apart.
    place = 0.5 * (depth[1:] + depth[:-1]) + 1e6 * well
    both = joined & (labels[upper] != "") & (labels[lower] != "")
    described = np.flatnonzero(both & (labels[upper] != labels[lower]))
    sums: dict[str, list[FloatArray]] = defaultdict(list)
    n = len(held_out.groups)
    metres = np.bincount(well[both], np.diff(depth)[both], n)
    for own in clusters:
        changes = np.flatnonzero(both & (own[upper] != own[lower]))
        near = _near(place[described], place[changes])
        wrong = 1.0 - _near(place[changes], place[described])
        sums["found"].append(np.bincount(well[described], near, n))
        sums["described"].append(np.bincount(well[described], minlength=n).astype(float))
        sums["false"].append(np.bincount(well[changes], wrong, n))
        sums["changes"].append(np.bincount(well[changes], minlength=n).astype(float))
        sums["metres"].append(metres)
    every = {name: np.stack(values) for name, values in sums.items()}
    return GroupSums(every, FORMULAS, held_out.groups)


def _share_found(sums: Mapping[str, FloatArray]) -> FloatArray:
    return sums["found"] / sums["described"]


def _false(sums: Mapping[str, FloatArray]) -> FloatArray:
    return 100.0 * sums["false"] / sums["metres"]


def _changes(sums: Mapping[str, FloatArray]) -> FloatArray:
    return 100.0 * sums["changes"] / sums["metres"]


FORMULAS = {
    "found": _share_found,
    "false_per_100_m": _false,
    "changes_per_100_m": _changes,
}


def _near(places: FloatArray, others: FloatArray) -> NDArray[np.float64]:
    """Whether another place lies within `NEAR` of each; 1 or 0."""
    padded = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(padded, places)
    apart = np.minimum(padded[after] - places, places - padded[after - 1])
    return (apart <= NEAR + 1e-6).astype(float)


def main() -> None:
    """Parse, score all splits in two processes, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=WELLS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--gaps", action="store_true", help="keep rows that lack a log")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    options = vars(arguments) | {"name": None, "data": arguments.data.name}
    module = f"benchmarks.lithology_clusters {arguments.name}"
    made = provenance(command(module, argparse.Namespace(**options)), ("scikit-learn", "numpy"))
    wells = WELLS[arguments.name]
    gaps = arguments.gaps
    frame = load(wells, arguments.data, gaps=gaps)
    count = len(splits(frame[wells.well].to_numpy()))
    work = partial(score_split, name=arguments.name, path=arguments.data, gaps=gaps)
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(work, range(count)))
    _write(arguments, wells.title, done, made, f"{frame.height:,} rows, {count} splits")


def _write(
    arguments: argparse.Namespace,
    title: str,
    done: list[tuple[Evaluation, list[str]]],
    made: dict[str, Any],
    facts: str,
) -> None:
    # Intervals are of what the rule chose alone.
    by_rule = [
        Evaluation(tuple(entry for entry in evaluation.entries if entry.key.rule != "fixed"))
        for evaluation, _ in done
    ]
    pooled, card = evaluate_splits(by_rule, name=title)
    fixed: dict[tuple[str, str | None, int | None, str | None], list[Entry]] = defaultdict(list)
    for entry in (entry for evaluation, _ in done for entry in evaluation.entries):
        key = entry.key
        if key.rule == "fixed" and key.level == "lithology":
            fixed[key.method, key.algorithm, key.k, key.rows].append(entry)
    methods = dict.fromkeys(entry.key.method for entry in pooled.entries)
    parts = dict.fromkeys(e.key.rows for e in pooled.entries if e.key.level == "lithology")
    every = [(method, algorithm) for method in methods for algorithm in ("kmeans", "hmm")]
    names = {
        (method, algorithm): f"{TITLES[method]}, {'k-means' if algorithm == 'kmeans' else 'HMM'}"
        for method, algorithm in every
    }
    text = [
        f"{facts}, {SEEDS} seeds, networks on at most {TRAIN_ROWS:,} rows. ± is the standard "
        "deviation over seeds of the mean over splits; each seed is a run of its own. Differences "
        "have a 95 % interval from resampling wells and seeds, with k by rule on both sides.",
        "",
    ]
    paired: list[ScoreRow] = []
    for part in parts:
        lines, differences = [], []
        for one in every:

            def find(which: tuple[str, str], part: str | None = part) -> Entry:
                return pooled.find(
                    method=which[0], algorithm=which[1], level="lithology", rows=part
                )

            own = {metric: find(one).whole(metric) for metric in METRICS}
            cells = [f"{own[m].mean():.3f} ± {own[m].std(ddof=1):.3f}" for m in METRICS[:2]]
            cells.append(f"{own['accuracy'].mean():.3f}")
            for k in SHOWN:
                every_split = fixed[(*one, k, part)]
                ari, ami = (
                    np.mean([entry.whole(metric).mean() for entry in every_split])
                    for metric in METRICS[:2]
                )
                cells.append(f"{ari:.3f} ({ami:.3f})")
            lines.append([names[one], *cells])
            cells = []
            for other in AGAINST:
                rows = () if one == other else compare(
                    find(one), find(other), metrics=("ari", "ami")
                )  # fmt: skip
                title_of = f"{' '.join(one)} vs {' '.join(other)}"
                paired += [replace(row, method=title_of) for row in rows]
                cells += [
                    next(
                        (
                            f"{row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
                            for row in rows
                            if row.metric == metric
                        ),
                        "-",
                    )
                    for metric in ("ari", "ami")
                ]
            differences.append([names[one], *cells])
        heads = [f"k {k}: ARI (AMI)" for k in SHOWN]
        text += [
            *([f"## {part[0].upper()}{part[1:]} rows", ""] if part and len(parts) > 1 else []),
            *table(["method", "ARI, k by rule", "AMI", "accuracy", *heads], lines),
            "",
            *table(
                ["method", "ARI less whitened k-means", "AMI", "ARI less drift and HMM", "AMI"],
                differences,
            ),
            "",
        ]
    lines = []
    for one in every:
        at = pooled.find(method=one[0], algorithm=one[1], level="boundaries")
        found, wrong, changes = (at.whole(name).mean() for name in FORMULAS)
        lines.append([names[one], f"{found:.2f}", f"{wrong:.1f}", f"{changes:.1f}"])
    text += [
        f"Boundaries with k by rule: share of described ones with a change of clusters within "
        f"{NEAR:g} m, changes of clusters without a described one as near, and all changes.",
        "",
        *table(["method", "found", "false / 100 m", "changes / 100 m"], lines),
        "",
        *(f"- {line}" for _, notes in done for line in notes),
    ]
    name = f"lithology_clusters_{arguments.name}{'_gaps' if arguments.gaps else ''}"
    shown = (*METRICS, *FORMULAS)
    kept = tuple(row for row in card.rows if row.metric.removesuffix("_sd") in shown)
    values = values_of_card(Scorecard(kept).merge(Scorecard(tuple(paired))))
    write_page(arguments.results / name, f"Clusters along depth: {title}", text, values, made)


if __name__ == "__main__":
    main()
