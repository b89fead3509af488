"""Reconstruction of held-out test parts by the packaged recipes, beside baselines.

    python -m benchmarks.crystals.reconstruction
    python -m benchmarks.crystals.reconstruction --table

Every data set is trained with its recipe (``split.test=0``: the test part is a file of its
own, opened once), one run folder each under ``--runs``; a finished or broken-off run is
taken up. ``--table`` writes ``benchmarks/results/crystal_reconstruction.md`` and ``.json``
from what has been scored.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.crystals.sets import FOLDER, SETS, ContestSet
from benchmarks.pages import RESULTS, provenance, table, write_page

from variolite.crystals.crystals import Crystals
from variolite.crystals.matching import (
    fixed_template,
    nearest_template,
    random_coordinates,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.recipe import load_crystal_recipe
from variolite.crystals.run import train_crystal_run
from variolite.crystals.score_run import reconstruct_or_fail
from variolite.progress import ConsoleProgress
from variolite.records import write_text_atomic
from variolite.training import RunFolder
from variolite.training.run_folder import read_object

RUNS = Path(__file__).resolve().parents[2] / "runs" / "reconstruction"

RECIPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "perov_5": ("crystals/perov_5", ()),
    "carbon_htl": ("crystals/carbon_24", ()),
    "carbon_lth": ("crystals/carbon_24", ("training.epochs=150",)),
    "mp_20": ("crystals/mp_20/vae_dng", ()),
    "mpts_52": ("crystals/mpts_52", ()),
}
"""Data set to recipe and what is set beside it."""

RANDOM = "random coordinates"

SHOWN = (
    ("match_rate_cdvae_rms_unreduced", "CDVAE match, %", 100.0, 1),
    ("rmse_cdvae_unreduced", "RMSE", 1.0, 4),
    ("rmse_corrected_cdvae_unreduced", "corrected RMSE", 1.0, 4),
    ("match_rate_cdvae_rms_primitive", "CDVAE match, primitive, %", 100.0, 1),
    ("match_rate_default_rms_unreduced", "default match, %", 100.0, 1),
    ("match_rate_strict_rms_unreduced", "strict match, %", 100.0, 1),
    ("periodic_error_median", "median error, Å", 1.0, 3),
    ("periodic_error_p95", "95 % of atoms within, Å", 1.0, 3),
    ("length_error", "lengths, %", 1.0, 2),
    ("angle_error", "angles, °", 1.0, 2),
    ("volume_error", "volume, %", 1.0, 2),
    ("type_accuracy", "types right, %", 100.0, 2),
    ("space_group_kept_symprec_0.1", "space group kept (.1 Å), %", 100.0, 1),
)
"""Metric, heading, factor, digits."""


def main() -> None:
    """Parse, train what is missing, score, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="write the table and end")
    arguments = parser.parse_args()
    if not arguments.table:
        for name in arguments.sets:
            _score(name, arguments.data, arguments.runs)
    _write(arguments.runs, arguments.results)


def _score(name: str, data: Path, runs: Path) -> None:
    target = runs / f"{name}.json"
    if target.is_file():
        return
    parts = SETS[name](data)
    model_name, changes = RECIPES[name]
    recipe = load_crystal_recipe(model_name, ["split.test=0", "prior.kind=none", *changes])
    run = RunFolder(runs / name)
    if not run.finished:
        began = time.process_time()
        train_crystal_run(recipe, parts.train, run.path, name=name, progress=ConsoleProgress())
        run.write_json(run.path / "cpu_seconds.json", time.process_time() - began)
    model = run.model()
    found, failures = reconstruct_or_fail(model, parts.test)
    content: dict[str, Any] = {
        "title": parts.title,
        "recipe": model_name,
        "set": [*changes],
        "train": len(parts.train),
        "epochs": recipe.training.epochs,
        "parameters": sum(p.numel() for p in model.module.parameters()),
        "failures": failures,
        "environment": read_object(run.environment_file),
        "scores": {},
    }
    for title, chosen in _tests(parts):
        test = parts.test.take(chosen)
        content["scores"][title] = {
            "crystals": len(test),
            "variolite": scored_rows(test, found.take(chosen), ()),
            **(_baselines(test, parts.train) if title == "all" else {}),
        }
    write_text_atomic(target, json.dumps(content, indent=1) + "\n")


def _tests(parts: ContestSet) -> list[tuple[str, np.ndarray]]:
    everything = np.ones(len(parts.test), dtype=bool)
    unseen = parts.unseen_formulas
    if unseen.all() or not unseen.any():
        return [("all", everything)]
    return [("all", everything), ("formulas unseen in training", unseen)]


def _baselines(test: Crystals, train: Crystals) -> dict[str, Any]:
    types = ("species",)
    return {
        RANDOM: scored_rows(test, random_coordinates(test), ("species", "lattice")),
        "fixed template": scored_rows(test, fixed_template(test, train), types),
        "nearest template": scored_rows(test, nearest_template(test, train), types),
    }


def scored_rows(test: Crystals, found: Crystals, given: tuple[str, ...]) -> dict[str, Any]:
    """Every metric of a reconstruction with its interval: mean, low, high."""
    workers = os.cpu_count() or 1
    scores = score_reconstruction(test, found, given=given, workers=workers, log=_say)
    rows = reconstruction_rows([scores], method="", split="")
    return {row.metric.split("_given_")[0]: [row.mean, row.low, row.high] for row in rows}


def _write(runs: Path, results: Path) -> None:
    found = {
        name: json.loads((runs / f"{name}.json").read_text(encoding="utf-8"))
        for name in RECIPES
        if (runs / f"{name}.json").is_file()
    }
    if not found:
        sys.exit("nothing has been scored yet")
    made = provenance("python -m benchmarks.crystals.reconstruction")
    title = "Reconstruction of held-out crystals"
    write_page(results / "crystal_reconstruction", title, _page(found), {"sets": found}, made)


def _page(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "One run and one seed per data set, the posterior mean decoded, everything decoded from "
        "the latents unless said otherwise; intervals (95 %) are a bootstrap over formulas.",
        "",
        "Match: `get_rms_dist` of pymatgen's StructureMatcher with `primitive_cell=False`; "
        "CDVAE tolerance is stol .5, ltol .3, angle 10°; strict is stol .1, ltol .05, angle 3°, "
        "not scaled. The papers match with `primitive_cell=True`, which a column shows. RMSE is "
        "in units of (V/n)^(1/3) over matched crystals; corrected counts failures at stol. "
        "Errors in Å are to the nearest image after the best translation.",
        "",
    ]
    for name, content in found.items():
        rows = []
        for title, scores in content["scores"].items():
            for method, values in scores.items():
                if method == "crystals":
                    continue
                label = method if title == "all" else f"{method}, {title}"
                if method != "variolite":
                    label += f" (given species{' and cell' if method == RANDOM else ''})"
                cells = [formatted(values[m], factor, digits) for m, _, factor, digits in SHOWN]
                rows.append([label, str(scores["crystals"]), *cells])
        changes = f" with {', '.join(content['set'])}" if content["set"] else ""
        lines += [
            f"## {content['title']}",
            "",
            f"Recipe `{content['recipe']}`{changes}, {content['train']:,} training crystals, "
            f"{content['epochs']} epochs, {content['parameters']:,} weights, "
            f"{content['environment'].get('seconds'):.0f} s of wall time on a busy machine; "
            f"{content['failures']} test crystals hold an element unseen in training and count "
            f"as failures. Data set `{name}`.",
            "",
            *table(["", "crystals", *(head for _, head, _, _ in SHOWN)], rows),
            "",
        ]
    return lines


def formatted(value: list[float | None], factor: float, digits: int) -> str:
    """A value times a factor with its interval, for a table."""
    mean, low, high = value
    if mean is None or not np.isfinite(mean):
        return "-"
    text = f"{factor * mean:.{digits}f}"
    if low is None or high is None or not np.isfinite(low) or not np.isfinite(high):
        return text
    return f"{text} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
