"""Whether 90 % intervals hold for whole families that a campaign never measures, round by round.

    python -m benchmarks.planning.families --described TABLE        about 15 minutes

A fifth of the rows is held out, in whole families; families of more than a quarter of all rows stay
in the pool. Of it, 30 rows are known at the start, then seven batches of ten are chosen by looking
ahead. Intervals are calibrated on the families measured so far, as by `variolite plan --group`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.frameworks.crafted import TABLE
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.crafted import BATCH, ROUNDS, SCORES, SHARE, START, interval
from benchmarks.planning.tables import COFS, Floats, cofs, crafted
from numpy.typing import NDArray

from variolite.planning.surrogate import Surrogate

HELD_OUT, LARGEST = 0.2, 0.25


def hold_out(families: NDArray[np.str_], random: np.random.Generator) -> NDArray[np.bool_]:
    """Mark the rows (n,) of families drawn at random until they are a fifth of all rows."""
    names, sizes = np.unique(families, return_counts=True)
    held = np.zeros(len(families), dtype=bool)
    for place in random.permutation(np.flatnonzero(sizes <= LARGEST * len(families))):
        if held.mean() >= HELD_OUT:
            break
        held |= families == names[place]
    return held


def coverage(
    x: Floats, y: Floats, noise: Floats, families: NDArray[np.str_], seed: int
) -> tuple[list[float], list[float]]:
    """Return the share of held-out rows inside their intervals by round, and that claimed."""
    random = np.random.default_rng(seed)
    held = hold_out(families, random)
    pool = np.flatnonzero(~held)
    seen = random.permutation(len(pool))[:START]
    sought = round(SHARE * len(pool))
    inside, claimed = [], []
    for number in range(ROUNDS + 1):
        rows, left = pool[seen], np.delete(pool, seen)
        model = Surrogate(seed=number).fit(x[rows], y[rows], noise[rows], families[rows], x[pool])
        found = model.predict(x[held])
        inside.append(float(((y[held] >= found.low) & (y[held] <= found.high)).mean()))
        claimed.append(model.calibration.get(90, np.nan) / 100)
        found = model.predict(x[left])
        later = max(0, (ROUNDS - number - 1) * BATCH)
        covariance = model.covariance(x[left])
        score = SCORES["look-ahead"](found.mean, found.sd, covariance, y[rows], sought, later)
        new = left[np.argsort(-score, kind="stable")[:BATCH]]
        seen = np.r_[seen, np.flatnonzero(np.isin(pool, new))]
    return inside, claimed


def main() -> None:
    """Replay, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--described", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_families")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.families", options), ("numpy", "scipy", "scikit-learn")
    )
    frameworks, others, text = crafted(options.described), cofs(), pl.read_csv(TABLE)
    descriptors = pl.read_csv(COFS / "descriptors" / "cof_descriptors.csv")
    # The first four digits of a COF are year and number of the paper that reports it.
    papers = {row[1:]: row[0][:4] for row in descriptors.rows()}
    of_cofs = np.array([papers[tuple(row)] for row in others.features.tolist()])
    none = np.zeros(len(others.target))
    linkers, metals = (
        text[column].fill_null("none").to_numpy().astype(str)
        for column in ("linker_smiles", "metal")
    )
    framework = frameworks.features, frameworks.target, frameworks.noise
    sets = {
        "CRAFTED, refcode families": (*framework, frameworks.family),
        "CRAFTED, sets of linkers": (*framework, linkers),
        "CRAFTED, metals": (*framework, metals),
        "COFs, papers": (others.features, others.target, none, of_cofs),
    }
    rows, content = [], {}
    for name, data in sets.items():
        found = np.array([coverage(*data, seed) for seed in range(options.seeds)])
        content[name] = {"inside": found[:, 0], "claimed": found[:, 1]}
        cells = ["{:.1%} ({:.1%} to {:.1%})".format(*interval(each)) for each in found[:, 0].T]
        mean = "{:.1%} ({:.1%} to {:.1%})".format(*interval(found[:, 0].mean(axis=1)))
        rows.append([name, mean, f"{np.nanmean(found[:, 1]):.1%}", *cells])
        print(rows[-1], flush=True)
    head = ["families", "all rounds", "claimed", "start", *map(str, range(1, ROUNDS + 1))]
    about = f"{options.seeds} seeds. In brackets: 95 % intervals over seeds."
    lines = [*__doc__.splitlines()[4:7], "", about, "", *table(head, rows)]
    title = "Intervals on families that were never measured"
    write_page(options.out, title, lines, content, made)


if __name__ == "__main__":
    main()
