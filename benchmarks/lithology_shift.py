"""Is what moves a whole well its tools, or its rocks? What `model.shift=auto` decides, and whether
it is right.

    python -m benchmarks.lithology_shift --force wells.parquet --kgs panoma_wells.csv --work FOLDER

The rule takes the shift out where rows have more structure without it (`GroupShift.clarity`). It
looks at training wells alone, and no labels. Held-out wells are then clustered by k-means on
whitened logs, as they are and less their shifts, with every k from 4 to 8, and agreement with the
described lithology tells which would have been right. Beside whole wells, every FORCE well is cut
to one stretch drawn at random, so that wells meet different rocks, and few wells are drawn; the
SIMULATED cores differ in number and length. Writes ``benchmarks/results/lithology_shift.json``
and ``.md``.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from benchmarks.lithology import WELLS, load
from benchmarks.lithology_clusters import splits
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from variolite.corelogs import bin_tables, simulate_cores, write_instrument_tables
from variolite.recipe import load_recipe
from variolite.records import Records, write_table
from variolite.scoring.algorithms import fit_kmeans
from variolite.scoring.baselines import fill_gaps
from variolite.scoring.clustering import draw
from variolite.scoring.hmm import Whitening
from variolite.scoring.tabular_run import logs_of
from variolite.training.group_shift import GroupShift
from variolite.training.run import prepare

KS = (4, 5, 6, 7, 8)
SEEDS = 3
ROWS = 20_000  # that k-means is fitted to
STRETCHES = (60, 150, 300, 600)  # m
FEW = (3, 5, 8, 20)  # wells
CORES = ((40, 60, 3), (40, 50, 1), (12, 120, 2), (20, 100, 7), (40, 200, 4), (20, 500, 5))
"""Holes, metres and seed of the SIMULATED cores."""


def simulated(work: Path, holes: int, metres: int, seed: int) -> pl.DataFrame:
    """Return the joined instrument tables of SIMULATED cores, colours of all holes."""
    path = work / f"cores_{holes}_{metres}_{seed}.parquet"
    if not path.is_file():
        cores = simulate_cores(holes, metres, seed=seed, camera_everywhere=True)
        tables = write_instrument_tables(cores, work / path.stem)
        write_table(bin_tables([*tables.values()], spacing=0.2, join="inner").table, path)
    return pl.read_parquet(path)


def stretches(records: Records, metres: float, seed: int) -> Records:
    """Keep one stretch of every well, at a depth drawn at random."""
    assert records.group is not None
    assert records.order is not None
    generator = np.random.default_rng(seed)
    kept = np.zeros(len(records), bool)
    for well in np.unique(records.group):
        own = records.group == well
        low, high = records.order[own].min(), records.order[own].max()
        top = generator.uniform(low, max(low, high - metres))
        kept |= own & (records.order >= top) & (records.order <= top + metres)
    return records.take(kept)


def few_wells(records: Records, number: int, seed: int) -> Records:
    """Keep wells drawn at random."""
    assert records.group is not None
    drawn = np.random.default_rng(seed).permutation(np.unique(records.group))[:number]
    return records.take(np.isin(records.group, drawn))


def cuts(name: str, known: Records, test: Records) -> Iterator[tuple[str, Records, Records]]:
    """Yield training and held-out rows of every cut of a data set."""
    yield "whole", known, test
    if name == "force":
        for metres in STRETCHES:
            yield f"{metres} m", stretches(known, metres, 1), stretches(test, metres, 2)
        for number in FEW:
            yield f"{number} wells", few_wells(known, number, 1), test


def agreement(known: Records, test: Records, seed: int) -> tuple[float, float]:
    """ARI and AMI of held-out rows, mean over k."""
    first, second = fill_gaps(logs_of(known).values, logs_of(test).values)
    drawn = draw(np.random.default_rng(seed), len(first), ROWS)
    whitening = Whitening.of(first[drawn])
    labels = next(iter(test.labels.values()))
    seen = labels != ""
    found = []
    for k in KS:
        clusters = fit_kmeans(whitening(first[drawn]), k, seed).predict(whitening(second[seen]))
        pair = labels[seen], clusters
        found.append((adjusted_rand_score(*pair), adjusted_mutual_info_score(*pair)))
    ari, ami = np.mean(found, axis=0)
    return float(ari), float(ami)


def score(job: tuple[str, str, pl.DataFrame, str, int]) -> list[tuple[str, list[list[float]]]]:
    """Score all cuts on one split: per seed clarity, then ARI and AMI without and with shift."""
    name, title, frame, well, index = job
    split = splits(frame[well].to_numpy())[index]
    recipe = load_recipe("corelogs/default")
    prepared = prepare(recipe, frame, split=split)
    known = prepared.records.take(
        np.isin(prepared.records.group, [*split.train, *split.validation])
    )
    found = []
    for cut, train, test in cuts(name, known, prepared.part("test")):
        runs = []
        for seed in range(SEEDS):
            shift = GroupShift.fit(train, drift=recipe.model.drift, seed=seed)
            assert shift is not None
            before = agreement(train, test, seed)
            after = agreement(shift.removed(train), shift.removed(test), seed)
            runs.append([shift.clarity(train, seed=seed), *before, *after])
        found.append((f"{title}, {cut}", runs))
    return found


def main() -> None:
    """Parse, score all data sets in two processes, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", type=Path, required=True)
    parser.add_argument("--kgs", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for simulated cores")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    shown = {"force": arguments.force.name, "kgs": arguments.kgs.name, "work": "FOLDER"}
    options = argparse.Namespace(**vars(arguments) | shown)
    made = provenance(command("benchmarks.lithology_shift", options), ("scikit-learn", "numpy"))
    jobs = []
    for name, title in (("force", "FORCE"), ("kgs", "KGS Panoma")):
        wells = WELLS[name]
        frame = load(wells, getattr(arguments, name), gaps=False)
        count = len(splits(frame[wells.well].to_numpy()))
        jobs += [(name, title, frame, wells.well, index) for index in range(count)]
    for holes, metres, seed in CORES:
        frame = simulated(arguments.work, holes, metres, seed)
        title = f"SIMULATED, {holes} holes of {metres} m"
        count = len(splits(frame["hole"].to_numpy()))
        jobs += [("simulated", title, frame, "hole", index) for index in range(count)]
    found = defaultdict(list)
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        for scored in pool.map(score, jobs):
            for cut, runs in scored:
                found[cut.removesuffix(", whole")] += runs
    _write({cut: np.array(runs) for cut, runs in found.items()}, arguments.results, made)


def _write(found: dict[str, np.ndarray], results: Path, made: dict[str, object]) -> None:
    lines, values = [], {}
    for cut, runs in found.items():
        clarity, plain, shifted = runs[:, 0], runs[:, 1:3], runs[:, 3:5]
        taken = (clarity > 0.0)[:, None]
        ruled = np.where(taken, shifted, plain)
        values[cut] = {
            "runs": len(runs),
            "clarity": clarity.tolist(),
            "taken_out": float(taken.mean()),
            "plain_ari_ami": plain.mean(0).tolist(),
            "shifted_ari_ami": shifted.mean(0).tolist(),
            "auto_ari_ami": ruled.mean(0).tolist(),
        }
        means = ["{:.3f} / {:.3f}".format(*part.mean(0)) for part in (plain, shifted, ruled)]
        spread = f"{np.median(clarity):+.2f} ({clarity.min():+.2f} to {clarity.max():+.2f})"
        lines.append([cut, str(len(runs)), spread, f"{taken.mean():.0%}", *means])
    every = np.array(
        [
            v[n]
            for v in values.values()
            for n in ("plain_ari_ami", "shifted_ari_ami", "auto_ari_ami")
        ]
    )
    means = ["{:.3f} / {:.3f}".format(*part) for part in every.reshape(-1, 3, 2).mean(0)]
    lines.append(["mean over the lines above", "", "", "", *means])
    text = [
        "Held-out wells, k-means on whitened logs, mean over k 4 to 8 and over splits (FORCE and "
        f"SIMULATED 4, KGS 7) and {SEEDS} seeds: ARI / AMI against described lithology. Structure "
        "is the median over splits and seeds of what rows gain by losing their drifting shifts, "
        "in nats a row, with its range; `model.shift=auto` takes shifts out where it is above 0.",
        "",
        *table(
            ["rows", "runs", "structure gained", "taken out", "as they are", "less shifts", "auto"],
            lines,
        ),
    ]  # fmt: skip
    title = "Tools or rocks: when a shift of wells is taken out"
    write_page(results / "lithology_shift", title, text, values, made)


if __name__ == "__main__":
    main()
