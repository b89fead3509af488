"""Latents of a run as features of candidates: campaigns replayed on CRAFTED.

    variolite fit frameworks/default --data DESCRIBED --set columns.co2_uptake=null --out RUN
    python -m benchmarks.planning.latents --described DESCRIBED --run RUN        about 10 minutes

The run has seen the columns of frameworks, but no uptake. Replays are those of
`benchmarks.planning.crafted`, each with the default surrogate and look-ahead.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.frameworks.crafted import TABLE
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.crafted import SCORES, _text, replay
from benchmarks.planning.tables import crafted

from variolite.planning.features import latents_of

DESCRIBED = "columns"


def main() -> None:
    """Replay campaigns with each set of features and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--described", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_latents")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.latents", options), ("numpy", "scikit-learn", "torch")
    )
    data = crafted(options.described)
    names = pl.read_csv(TABLE).select(name="Name")
    rows = pl.read_parquet(options.described).drop("co2_uptake", "psa_min_purity_recovery")
    rows = names.join(rows, on="name", how="left", maintain_order="left")
    latents = latents_of(options.run, rows)
    absent = int(np.isnan(latents).any(axis=1).sum())
    latents = np.where(np.isnan(latents), np.nanmedian(latents, axis=0), latents)
    sets = {
        DESCRIBED: data.features,
        "latents": latents,
        "both": np.column_stack([data.features, latents]),
    }
    recalls = {}
    for name, features in sets.items():
        runs = []
        for seed in range(options.seeds):
            given = replace(data, features=features)
            runs.append(
                replay(given, data.target, data.noise, seed, "default", SCORES["look-ahead"])
            )
        recalls[name] = np.array([run["recall"] for run in runs])
        print(f"{name}: area {recalls[name].mean():.3f}", flush=True)
    areas = {name: each.mean(axis=1) for name, each in recalls.items()}
    shown = [
        [
            name,
            str(sets[name].shape[1]),
            _text(each[:, -1]),
            _text(areas[name]),
            " ".join(f"{v:.2f}" for v in each.mean(axis=0)),
        ]
        for name, each in recalls.items()
    ]
    differ = [
        [name, _text(areas[name] - areas[DESCRIBED], 3, "+"), _text(each[:, -1] - end, 3, "+")]
        for name, each in recalls.items()
        if name != DESCRIBED and (end := recalls[DESCRIBED][:, -1]) is not None
    ]
    lines = [
        f"{len(latents)} frameworks, {options.seeds} seeds: 30 drawn at random, then seven batches "
        "of ten. Recall is that of the best twentieth, area its mean over the rounds; in brackets "
        "95 % intervals over seeds. Latents are those of `frameworks/default` trained on the "
        f"columns of the same frameworks without uptakes; {absent} frameworks have none, and get "
        "the median.",
        "",
        *table(["features", "number", "recall", "area", "recall by round"], shown),
        "",
        f"Less that of {DESCRIBED}, on the same seeds:",
        "",
        *table(["features", "area", "recall"], differ),
    ]
    content = {"recall": recalls, "without_latents": absent}
    write_page(options.out, "Latents of a run as features in planning", lines, content, made)


if __name__ == "__main__":
    main()
