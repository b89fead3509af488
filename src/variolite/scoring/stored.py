"""Scoring clusters that are there already: those a run keeps, and those of a scored table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError
from variolite.records import Records, read_table
from variolite.scoring.arrays import IntArray
from variolite.scoring.cluster_scores import ClusterScores
from variolite.scoring.clusters import Clusters
from variolite.scoring.contingency import count_tables, encode_labels
from variolite.scoring.evaluation import Entry, Evaluation, ScoreKey, compare
from variolite.scoring.scorecard import Scorecard, ScoreRow
from variolite.training import RunFolder

__all__ = ["compare_runs", "evaluate_stored"]

SPLIT = "held-out groups"


def _scores(
    assigned: IntArray, labels: NDArray[np.str_], groups: NDArray[np.str_]
) -> ClusterScores | None:
    """Count clusters [S, n] against labels [n] per group; None without a label."""
    codes = encode_labels(labels)
    names, group_codes = np.unique(groups, return_inverse=True)
    if codes.missing == len(labels):
        return None
    k = int(assigned.max()) + 1
    tables = np.stack(
        [
            count_tables(row, codes, k, group_codes.astype(np.int64), len(names), noise=True)
            for row in assigned
        ]
    )
    if not (assigned < 0).any():
        tables = tables[:, :, :k]
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    kept = tuple(str(names[index]) for index in labelled)
    return ClusterScores(tables[:, labelled], None, kept, codes.classes)


def evaluate_stored(
    clusters: Clusters,
    assigned: IntArray,
    test: Records,
    labels: Mapping[str, NDArray[np.str_]],
) -> Evaluation:
    """Score the clustering kept in a run, [M, n], where no training row is at hand."""
    assert test.group is not None
    entries = []
    for level, values in labels.items():
        scored = _scores(assigned, values, test.group)
        if scored is None:
            continue
        key = ScoreKey(
            "clustering",
            "vae",
            SPLIT,
            algorithm=clusters.algorithm,
            fit="inductive",
            level=level,
            k=clusters.k,
            rule=clusters.rule,
        )
        entries.append(Entry(key, scored))
    note = "no training rows were given: baselines and other k are not scored"
    return Evaluation(tuple(entries), (note,))


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
    return read_table(run.held_out_file)


def _entry(table: pl.DataFrame, level: str, name: str) -> Entry:
    members = [c for c in table.columns if c == "cluster" or c.startswith("cluster:")]
    assigned = table.select(members).to_numpy().T.astype(np.int64)
    scored = _scores(assigned, table[level].to_numpy(), table["group"].to_numpy())
    if scored is None:
        raise DataError("no held-out row has a label", where=f"{name}, {level}")
    return Entry(ScoreKey("clustering", name, SPLIT, level=level.partition(":")[2]), scored)
