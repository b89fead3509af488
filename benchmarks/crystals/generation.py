"""Samples of the shipped models, scored against the rows they were trained on.

    python -m benchmarks.crystals.generation

Draws 1,000 structures from the prior of each model with its default settings, measures the
processor time, and scores them: validity, uniqueness, novelty, distributions, and for
Materials Project compositions the stability by CHGNet energies on the offline hull. Nothing
is relaxed. Writes ``benchmarks/results/crystal_generation.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.crystals.sets import FOLDER, SETS
from benchmarks.speed.machine import describe, load

from variolite.crystals.evaluation import read_hull, score_generation
from variolite.crystals.evaluation.validity import shortest_distances
from variolite.crystals.foundation import Source, energy_function
from variolite.crystals.runs import load_run, shipped_run
from variolite.crystals.structures import Crystals
from variolite.records import write_text_atomic
from variolite.scoring import format_value
from variolite.training import RunFolder

RESULTS = Path(__file__).resolve().parents[1] / "results"
MODELS: Mapping[str, str | None] = {"mp_20": "hull/mp20_hull.parquet", "perov_5": None}
"""Model to the table of known phases that its compositions can be judged on."""

SHARES = (1.0, 1.5, 2.0)
"""Distances in Angstrom of which the share of structures with nothing closer is told."""


def main() -> None:
    """Parse, sample, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    target = arguments.results / "crystal_generation.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    models = dict(known.get("models", {}))
    for name in arguments.models:
        models[name] = _measure(name, arguments.number, arguments.seed, arguments.data)
    content = {
        "command": "python -m benchmarks.crystals.generation",
        "machine": describe(),
        "load": load(),
        "models": models,
    }
    write_text_atomic(target, json.dumps(content, indent=1) + "\n")
    page = arguments.results / "crystal_generation.md"
    write_text_atomic(page, "\n".join(_page(content)) + "\n")
    print(page)


def _measure(name: str, number: int, seed: int, data: Path) -> dict[str, Any]:
    home = shipped_run(name)
    assert home is not None, f"the model {name} is not in the package"
    model = load_run(RunFolder(home))
    parts = SETS[name](data)
    began = time.process_time()
    made = model.sample(number, seed=seed, tell=_say)
    seconds = time.process_time() - began
    table = MODELS[name]
    energies, hull = None, None
    if table is not None:
        energies = energy_function(Source("chgnet"), workers=1, tell=_say)
        hull = read_hull(data / table)
    scores = score_generation(
        made.crystals, parts.train, test=parts.test, energies=energies, hull=hull, tell=_say
    )
    return {
        "number": number,
        "seed": seed,
        "seconds": seconds,
        "attempts": made.attempts,
        "rejects": dict(made.rejects),
        "apart": {str(s): _apart(made.crystals, s) for s in SHARES},
        "apart_test": {str(s): _apart(parts.test, s) for s in SHARES},
        "rows": [asdict(row) for row in scores.rows("samples", name)],
        "notes": list(scores.notes),
    }


def _apart(crystals: Crystals, distance: float) -> float:
    return float((shortest_distances(crystals) > distance).mean())


def _page(content: Mapping[str, Any]) -> list[str]:
    lines = [
        "# Samples of the shipped models",
        "",
        f"`{content['command']}`, by `benchmarks/crystals/generation.py`. Default settings of "
        "`variolite generate` (guidance 1, temperature 1); nothing is relaxed. "
        "Intervals (95 %) are a bootstrap over formulas. A reference draw is as many structures "
        "drawn from the training rows: what a perfect model would reach.",
        "",
        f"Machine: {content['machine']}; load {content['load']:.1f} while measuring.",
        "",
    ]
    for name, found in content["models"].items():
        turned_away = ", ".join(f"{n} {code}" for code, n in found["rejects"].items()) or "none"
        lines += [
            f"## {name}",
            "",
            f"{found['number']:,} structures, seed {found['seed']}, out of {found['attempts']:,} "
            f"attempts (turned away: {turned_away}), in {found['seconds']:.1f} s of processor "
            f"time: {1e4 * found['seconds'] / found['number']:.0f} s for 10,000.",
            "",
            "Share of structures with no two atoms closer than, samples (test structures): "
            + ", ".join(
                f"{s} Å {100 * found['apart'][s]:.1f} % ({100 * found['apart_test'][s]:.1f} %)"
                for s in found["apart"]
            )
            + ".",
            "",
        ]
        lines += _table(found["rows"])
        lines += ["", *(f"- {note}" for note in found["notes"]), ""]
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [f"| quantity | unit | {' | '.join(methods)} |", f"|{'---|' * (2 + len(methods))}"]
    for metric in dict.fromkeys(row["metric"] for row in rows):
        here = {row["method"]: row for row in rows if row["metric"] == metric}
        unit = next(iter(here.values()))["unit"] or ""
        cells = [_cell(here[m]) if m in here else "" for m in methods]
        lines.append(f"| {metric} | {unit} | {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, Any]) -> str:
    mean, low, high = (np.nan if row[k] is None else row[k] for k in ("mean", "low", "high"))
    return f"{mean:.0f}" if row["unit"] == "count" else format_value(mean, low, high)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
