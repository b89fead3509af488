"""Scoring clusters that are there already: those a run keeps, and those of a scored table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError
from variolite.records import read_table
from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.cluster_scores import ClusterScores
from variolite.scoring.clusters import Clusters
from variolite.scoring.contingency import LabelCodes, count_tables, encode_labels
from variolite.scoring.evaluation import Entry, Evaluation, ScoreKey, compare
from variolite.scoring.mapping import majority_map
from variolite.scoring.scorecard import Scorecard, ScoreRow
from variolite.training import RunFolder

__all__ = ["Assigned", "compare_runs", "evaluate_stored"]


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
            mend="train both with the same split.seed on the same table, then score both",
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
            mend="run `variolite score` first",
        )
    table = read_table(run.held_out_file)
    for name in ("group", "cluster"):
        if name not in table.columns:
            raise RunFolderError(
                f"the column {name} is missing",
                where=str(run.held_out_file),
                mend="run `variolite score` again",
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
