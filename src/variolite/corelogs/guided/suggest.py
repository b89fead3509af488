"""Which wells to label next: those that stand for the most others.

Wells are alike when their rows fall into the same clusters of rock with the same frequency. The
medoids of k clusters of wells stand for the whole field. On 78 wells, three such medoids were
worth five random wells; the wells that a model is least sure of were worse than random ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variolite.arguments import parse_mapping
from variolite.corelogs.guided.features import FIT_ROWS
from variolite.corelogs.guided.picks import PICKED, read_picks, with_picks
from variolite.corelogs.guided.run import labels_of, load_classifier, wells_of
from variolite.corelogs.guided.views import Wells
from variolite.errors import DataError, counted
from variolite.fields import Paths
from variolite.progress import Progress
from variolite.scoring.baselines import pca_whitened
from variolite.scoring.clustering import draw
from variolite.scoring.gmm import lloyd
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.training import RunFolder

CLUSTERS = 20
_SHOWN = 6  # names of wells in one line


@dataclass(frozen=True)
class Suggestion:
    """A well to label, the wells that it stands for, and the mean distance afterwards.

    The distance is that of a well to the nearest labelled one, 0 for the same rocks in the same
    shares and 1 for none in common.
    """

    well: str
    stands_for: tuple[str, ...]
    distance: float


@dataclass(frozen=True)
class Suggestions:
    """Wells to label next, with what is known of the wells labelled so far.

    ``before`` and each suggestion's distance are mean distances of a well to the nearest labelled
    one; ``accuracy`` is what to expect by number of labelled wells, where that can be estimated.
    """

    labelled: tuple[str, ...]
    before: float
    wells: tuple[Suggestion, ...]
    accuracy: dict[int, float]

    def lines(self) -> list[str]:
        """Lay out as text, a line for each well."""
        lines = [f"labelled so far: {counted(len(self.labelled), 'well')}"]
        if self.labelled:
            lines[0] += f"; mean distance of a well to the nearest of them {self.before:.2f}"
        for place, found in enumerate(self.wells, start=1):
            others = [*found.stands_for[:_SHOWN]]
            more = len(found.stands_for) - len(others)
            stands = f"stands for {', '.join(others)}" if others else "like no other"
            stands += f" and {more} more" if more else ""
            lines.append(
                f"{place}. {found.well}: {stands}; mean distance then {found.distance:.2f}"
            )
        count = len(self.labelled)
        lines += [
            f"accuracy to expect in other wells with {n} labelled: {value:.0%}"
            + (" (now, extrapolated from fewer)" if n == count else " (extrapolated)")
            for n, value in self.accuracy.items()
        ]
        return lines

    def to_json(self) -> str:
        before = None if math.isnan(self.before) else self.before
        return json.dumps(asdict(self) | {"before": before}, indent=1)


def suggestions(
    run: Path,
    data: Paths,
    count: int,
    labels: Path | None,
    mapping: Sequence[str],
    progress: Progress,
) -> Suggestions:
    """Suggest ``count`` wells of a table for a run on tables of wells."""
    folder = RunFolder(run)
    folder.require_finished()
    if folder.field.kind != "tabular":
        what = f"this is a run on {folder.field.subject}"
        raise DataError(what, where=str(run), hint="give a run on tables of wells")
    model = folder.model()
    bound = parse_mapping(mapping, model.schema.schema.columns)
    table = model.table(data, bound)
    if labels is not None:
        schema = folder.recipe().table
        table = with_picks(table, schema, bound, read_picks(labels, schema), progress.note)
    records = model.records(table, bound)
    if records.group is None:
        what = "the table has no column of wells"
        raise DataError(what, where="--data", hint="bind it with --map hole=COLUMN")
    marked = labels_of(records) != ""
    if labels is not None:
        marked = (table.frame[PICKED] != "").to_numpy()[records.row]
    known = set(np.unique(records.group[marked]).tolist())
    with progress.stage("comparing wells"):
        names, distance = distances(wells_of(model, records, None))
        before, found = suggest(names.tolist(), distance, count, known)
    accuracy: dict[int, float] = {}
    classifier = load_classifier(folder)
    if classifier is not None and known:
        sizes = (len(known), len(known) + count)
        expected = {size: classifier.left_out.expected(size) for size in sizes}
        accuracy = {size: value for size, value in expected.items() if not math.isnan(value)}
    return Suggestions(tuple(sorted(known)), before, tuple(found), accuracy)


def distances(wells: Wells, seed: int = 0) -> tuple[NDArray[np.str_], FloatArray]:
    """Return the names of wells, sorted, and the Hellinger distance of each pair, [w, w]."""
    values = wells.values - 0.5 * wells.medians()
    rows = draw(np.random.default_rng([seed, 14]), len(values), FIT_ROWS)
    some, every = pca_whitened(values[rows], values)
    k = min(CLUSTERS, len(np.unique(some, axis=0)))
    cluster = lloyd(some, k, seed, 2).predict(every)
    names, well = np.unique(wells.groups, return_inverse=True)
    counts = np.zeros((len(names), k))
    np.add.at(counts, (well, cluster), 1.0)
    root = np.sqrt(counts / counts.sum(1, keepdims=True))
    # Half the squared difference of roots is one less their product.
    return names, np.sqrt(np.maximum(1.0 - root @ root.T, 0.0))


def suggest(
    names: Sequence[str], distance: FloatArray, count: int, labelled: Collection[str] = ()
) -> tuple[float, list[Suggestion]]:
    """Choose ``count`` wells beside the labelled ones; also return the mean distance before.

    That is NaN where none is labelled. DataError if fewer wells than ``count`` are left.
    """
    known = [i for i, name in enumerate(names) if name in labelled]
    left = len(names) - len(known)
    if not left:
        hint = "give wells without labels too"
        raise DataError(f"all wells ({len(names)}) have labels already", where="--data", hint=hint)
    if count > left:
        what = f"only {counted(left, 'well')} without labels left, and {count} wanted"
        raise DataError(what, where="-n", hint="ask for fewer")
    chosen = _medoids(distance, known, count)
    before = float(distance[:, known].min(1).mean()) if known else float("nan")
    every = [*known, *chosen]
    nearest = np.array(every)[distance[:, every].argmin(1)]
    found = []
    for i, well in enumerate(chosen):
        so_far = distance[:, [*known, *chosen[: i + 1]]].min(1).mean()
        others = [names[j] for j in np.flatnonzero(nearest == well).tolist() if j != well]
        found.append(Suggestion(names[well], tuple(others), float(so_far)))
    return before, found


def _medoids(distance: FloatArray, known: Sequence[int], count: int) -> list[int]:
    """Choose wells that make the summed distance to the nearest of all chosen ones least.

    Greedy, then improved by exchanges (Kaufman and Rousseeuw 1990) while one helps; the first is
    the most useful by itself.
    """
    n = len(distance)
    near = distance[:, list(known)].min(1) if known else np.full(n, np.inf)
    chosen: list[int] = []

    def best(near: FloatArray, taken: Collection[int]) -> tuple[int, float]:
        sums = np.minimum(distance, near[:, None]).sum(0)
        sums[[*taken]] = np.inf
        return int(sums.argmin()), float(sums.min())

    for _ in range(count):
        well, total = best(near, [*known, *chosen])
        chosen.append(well)
        near = np.minimum(near, distance[:, well])
    improved = count > 1
    while improved:
        improved = False
        for place in range(count):
            others = [*known, *(w for i, w in enumerate(chosen) if i != place)]
            well, found = best(distance[:, others].min(1), others)
            if found < total - 1e-12:
                chosen[place], total, improved = well, found, True
    return _in_order(distance, known, chosen)


def _in_order(distance: FloatArray, known: Sequence[int], chosen: Sequence[int]) -> list[int]:
    """Order chosen wells so that each lowers the distances most, given those before it."""
    near = distance[:, list(known)].min(1) if known else np.full(len(distance), np.inf)
    left, found = list(chosen), list[int]()
    while left:
        sums: IntArray | FloatArray = np.minimum(distance[:, left], near[:, None]).sum(0)
        found.append(left.pop(int(sums.argmin())))
        near = np.minimum(near, distance[:, found[-1]])
    return found
