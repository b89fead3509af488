"""Name all wells from the labels of a few: learning curve and suggested wells.

    python -m benchmarks.lithology_labels force --data wells.parquet
    python -m benchmarks.lithology_labels simulated --data FOLDER

FORCE 2020, or SIMULATED cores that differ in rock, which are made in the folder. Four splits of
a quarter of the wells; of the others, n are labelled (several random draws, or
those that `corelogs suggest-well` chooses), and the logs of all are seen. Complete rows of five
logs. Beside `corelogs/guided`: the same without its autoencoder; boosting with context ("fair");
and logistic regression on whitened logs less half of the well's median ("base"), all on the same
rows, every labelled well with the same weight; on cores, where nothing is to be taken out, these
two see the logs as they are, too. Writes ``results/lithology_labels`` or
``results/lithology_labels_simulated``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.lithology import WELLS, load
from benchmarks.lithology_shift import simulated
from benchmarks.lithology_splits import SplitScores
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.model_selection import GroupShuffleSplit

from variolite.corelogs import LevelChooser, label_levels
from variolite.corelogs.guided.classifier import FEW_WEIGHTS, fit_classifier
from variolite.corelogs.guided.features import FeatureExtractor, WellFeatures
from variolite.corelogs.guided.suggest import distances, suggest
from variolite.corelogs.guided.views import Wells
from variolite.recipe import load_recipe
from variolite.records import Records, Split
from variolite.scoring.agreement import calibration_error
from variolite.scoring.clustering import score_clusters
from variolite.scoring.evaluation import Entry, compare, hold_out
from variolite.scoring.intervals import FloatArray, ScoredGroups, intervals_of
from variolite.scoring.scorecard import ScoreKey
from variolite.scoring.supervised import CLASSIFIERS, Logs, less_half_median, with_context
from variolite.training.group_shift import GroupShift, fit_shift
from variolite.training.run import prepare

SIZES = (3, 5, 10, 0)  # labelled wells, 0 for all
TEST_ROWS = 40_000
ROWS_PER_WELL = 2_000
METRICS = ("accuracy", "ari", "ami")
CORES = (40, 60, 3)  # holes, metres and seed of the SIMULATED cores
FACTS = {
    "force": "78 wells of FORCE 2020, complete rows of GR, RHOB, NPHI, DTC and RDEP, "
    "11 lithologies",
    "simulated": f"{CORES[0]} SIMULATED cores of {CORES[1]} m in bins of 20 cm, density, "
    "susceptibility, natural gamma and colour",
}
NAMES = {
    "guided": "corelogs/guided",
    "without": "without the autoencoder",
    "boosting_with_context": "fair boosting",
    "logistic_regression": "base",
    "boosting_as_is": "boosting, logs as they are",
    "logistic_as_is": "logistic regression, logs as they are",
}
CLASSIFIER = {
    "logistic_as_is": "logistic_regression",
    "boosting_as_is": "boosting_with_context",
}
# Weights of logistic regression, clusters and trees alone: for many labelled wells, and for few.
WITHOUT = ((0.3, 0.3, 0.4, 0.0), (0.4, 0.4, 0.2, 0.0))
Found = dict[tuple[str, int, str], Entry]


def labelled_wells(
    kind: str, size: int, draw: int, split: int, wells: Wells, names: NDArray[np.str_]
) -> list[str]:
    """Return the wells that have labels in one draw."""
    if size == 0:
        return list(names.tolist())
    if kind == "suggested":
        listed, distance = distances(wells, seed=draw)
        return [found.well for found in suggest(listed.tolist(), distance, size)[1]]
    chosen = np.random.default_rng([split, size, draw]).choice(len(names), size, replace=False)
    return list(names[chosen].tolist())


def score_split(
    index: int, data: str, path: Path, draws: int
) -> tuple[Found, dict[str, list[float]]]:
    """Score all methods and numbers of labelled wells on one split."""
    wells = WELLS["force"]
    cores = data == "simulated"
    frame = simulated(path, *CORES) if cores else load(wells, path)
    group = frame["hole" if cores else wells.well].to_numpy().astype(str)
    turns = GroupShuffleSplit(4, test_size=0.25, random_state=0).split(frame, groups=group)
    train, test = list(turns)[index]
    known = sorted(set(group[train].tolist()))
    split = Split(tuple(known), (), tuple(sorted(set(group[test].tolist()))))
    recipe = load_recipe("corelogs/guided")
    prepared = prepare(recipe, frame, split=split)
    parts = {name: prepared.part(name) for name in ("train", "test")}
    shift = fit_shift(parts["train"], recipe.model, 0, print)
    logs = {name: _wells(part, shift) for name, part in parts.items()}
    records = prepared.records
    assert records.group is not None
    rows = prepared.split.rows(records.group)
    labels = next(iter(records.labels.values()))
    if not cores:
        chooser = LevelChooser(level for level in label_levels() if level.startswith("force"))
        labels = chooser(records.labels)["force_lithology"]
    held_out = hold_out(
        records.group,
        {"lithology": labels},
        train_rows=rows["train"],
        test_rows=rows["test"],
        max_test_rows=TEST_ROWS,
    )
    classes = held_out.test_labels["lithology"].classes
    code = {name: i for i, name in enumerate(classes)}
    truth = held_out.test_labels["lithology"].codes
    inputs = {
        "logistic_regression": [less_half_median(_logs(part)) for part in parts.values()],
        "boosting_with_context": [with_context(_logs(part)) for part in parts.values()],
    }
    if cores:
        as_is = [_logs(part) for part in parts.values()]
        inputs["logistic_as_is"] = [own.values for own in as_is]
        inputs["boosting_as_is"] = [with_context(_doubled(own)) for own in as_is]
    own = labels[rows["train"]]
    features = WellFeatures(logs["train"], FeatureExtractor.fit(logs["train"], index))
    # Wells are sorted by depth; the rows that are scored, where they stand then.
    scored_rows = np.argsort(logs["test"].place)[held_out.kept]
    described = WellFeatures(logs["test"], features.extractor).rows(scored_rows)
    names = np.array(known)
    predicted: dict[tuple[str, int, str], list[NDArray[np.int64]]] = {}
    errors: dict[str, list[float]] = {}
    for kind, size in [("random", size) for size in SIZES] + [("suggested", 3), ("suggested", 5)]:
        for draw in range(draws if size else 1):
            began = time.monotonic()
            chosen = labelled_wells(kind, size, draw, index, logs["train"], names)
            marked = np.isin(records.group[rows["train"]], chosen)
            classifier = fit_classifier(
                features, np.where(marked, own, ""), seed=draw, estimate=False
            )
            logarithms = classifier.log_probabilities(described)
            few = classifier.weights == FEW_WEIGHTS
            for name, weights in (("guided", classifier.weights), ("without", WITHOUT[few])):
                joint = np.sum([w * p for w, p in zip(weights, logarithms, strict=True)], axis=0)
                probability = softmax(joint, axis=1)
                codes = np.array([code[n] for n in classifier.classes])[probability.argmax(1)]
                error = calibration_error(codes == truth, probability.max(1))
                errors.setdefault(f"{kind} {size} {name}", []).append(error)
                predicted.setdefault((kind, size, name), []).append(codes)
                if name == "guided":
                    note = f"accuracy {np.mean(codes == truth):.3f}, calibration error {error:.3f}"
            drawn = _equal_rows(parts["train"], chosen, draw)
            for name, (x, scored) in inputs.items() if kind == "random" else ():
                y = np.array([code[label] for label in own[drawn]])
                classify = CLASSIFIERS[CLASSIFIER.get(name, name)]
                found = classify(x[drawn], y, scored[held_out.kept], draw)
                predicted.setdefault((kind, size, name), []).append(found)
            note = f"split {index}, {kind} {size}, draw {draw}: {note}"
            print(f"{note}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    entries = {}
    for key, every in predicted.items():
        scores = score_clusters(every, held_out, "lithology")
        assert scores is not None
        mapping = np.tile(np.arange(scores.tables.shape[2]), (len(every), 1))
        entries[key] = Entry(
            ScoreKey("clustering", key[2], f"split {index}", level="lithology"),
            type(scores)(scores.tables, mapping, scores.groups, scores.classes),
        )
    return entries, errors


def _wells(part: Records, shift: GroupShift | None) -> Wells:
    assert part.group is not None
    shifts = None if shift is None else shift.shifts(part).astype(np.float64)
    return Wells.of(part.numeric.astype(np.float64), shifts, part.group, part.order)


def _logs(part: Records) -> Logs:
    assert part.group is not None
    return Logs(part.numeric.astype(np.float64), part.group, part.order)


def _doubled(logs: Logs) -> Logs:
    """Add the median of each well: less half of the new one, the logs are as they are."""
    return replace(logs, values=logs.values + 2.0 * (logs.values - less_half_median(logs)))


def _equal_rows(part: Records, chosen: list[str], draw: int) -> NDArray[np.int64]:
    """Draw the same number of rows of every labelled well, which is the same weight."""
    rng = np.random.default_rng([draw, 9])
    rows = [np.flatnonzero(part.group == name) for name in chosen]
    most = min(ROWS_PER_WELL, *(len(own) for own in rows))
    return np.concatenate([rng.choice(own, most, replace=False) for own in rows])


def main() -> None:
    """Score all splits in two processes, pool them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=FACTS)
    parser.add_argument("--data", type=Path, required=True, help="wells, or a folder for cores")
    parser.add_argument("--draws", type=int, default=8, help="of labelled wells, on every split")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    name, cores = arguments.name, arguments.name == "simulated"
    options = vars(arguments) | {"name": None, "data": "FOLDER" if cores else arguments.data.name}
    line = command(f"benchmarks.lithology_labels {name}", argparse.Namespace(**options))
    made = provenance(line, ("scikit-learn", "numpy"))
    if cores:
        simulated(arguments.data, *CORES)
    began = time.monotonic()
    work = partial(score_split, data=name, path=arguments.data, draws=arguments.draws)
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(work, range(4)))
    pooled = {
        key: Entry(
            ScoreKey("clustering", key[2], "four splits", level="lithology"),
            MeanOverDraws(SplitScores(tuple(entries[key].scored for entries, _ in done))),
        )
        for key in done[0][0]
    }
    errors = {key: [float(np.mean(found[key])) for _, found in done] for key in done[0][1]}
    write(name, pooled, errors, made, arguments.draws, (time.monotonic() - began) / 60)


def write(
    data: str,
    pooled: Found,
    errors: dict[str, list[float]],
    made: dict[str, object],
    draws: int,
    minutes: float,
) -> None:
    """Write scores, and paired differences of the guided model to every other."""
    values, rows, pairs = [], [], []
    for (kind, size, name), entry in pooled.items():
        found = intervals_of(entry.scored)
        cells = [f"{found[m].mean:.3f} [{found[m].low:.3f}, {found[m].high:.3f}]" for m in METRICS]
        error = errors.get(f"{kind} {size} {name}", [])
        cells.append(f"{np.mean(error):.3f} ± {np.std(error, ddof=1):.3f}" if error else "-")
        rows.append([_title(kind, size), NAMES[name], *cells])
        record = {m: [found[m].mean, found[m].low, found[m].high] for m in METRICS}
        values.append({"wells": kind, "n": size, "method": name, **record, "ece": error})
        if name == "guided":
            others = [key for key in pooled if key[1] == size and key != (kind, size, name)]
            pairs += [
                _pair(pooled, (kind, size, name), other)
                for other in others
                if kind == "suggested" or other[0] == "random"
                if (other[2] == "guided") or other[0] == kind
            ]
    lines = [
        f"{FACTS[data]}; four splits of a quarter of the wells, "
        f"{draws} draws of labelled wells on each, "
        f"{TEST_ROWS:,} held-out rows a split. Mean over splits and draws, and a 95 % interval "
        "from resampling the held-out wells. ECE: expected calibration error in 15 "
        f"bins, mean over draws, ± standard deviation over splits. {minutes:.0f} min.",
        "",
        *table(["labelled wells", "method", "accuracy", "ARI", "AMI", "ECE"], rows),
        "",
        "## Paired differences on the same rows and draws",
        "",
        *table(["labelled wells", "comparison", "accuracy", "ARI", "AMI"], pairs),
    ]
    write_page(
        RESULTS / f"lithology_labels{'' if data == 'force' else '_simulated'}",
        f"All wells from the labels of a few{'' if data == 'force' else ': SIMULATED cores'}",
        lines,
        {"rows": values, "pairs": pairs},
        made,
    )


@dataclass(frozen=True)
class MeanOverDraws:
    """Scores averaged over draws of labelled wells: two methods share each draw."""

    scored: ScoredGroups

    @property
    def groups(self) -> tuple[str, ...]:
        return self.scored.groups

    @property
    def n_seeds(self) -> int:
        return 1

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.scored.metrics

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, 1] for weights [B, G] of the groups."""
        found = self.scored.values(weights, metrics)
        return {name: own.mean(axis=1, keepdims=True) for name, own in found.items()}


def _title(kind: str, size: int) -> str:
    return f"{size} {kind}" if size else "all"


def _pair(pooled: Found, ours: tuple[str, int, str], other: tuple[str, int, str]) -> list[str]:
    rows = {row.metric: row for row in compare(pooled[ours], pooled[other], metrics=METRICS)}
    cells = [f"{rows[m].mean:+.3f} [{rows[m].low:+.3f}, {rows[m].high:+.3f}]" for m in METRICS]
    against = NAMES[other[2]] + ("" if ours[0] == other[0] else f", {_title(*other[:2])}")
    return [_title(*ours[:2]), f"{NAMES[ours[2]]} less {against}", *cells]


if __name__ == "__main__":
    main()
