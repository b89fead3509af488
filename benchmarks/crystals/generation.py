"""Samples of the shipped models, scored against the rows they were trained on.

    python -m benchmarks.crystals.generation
    python -m benchmarks.crystals.generation --number 40 --relax 8 --timed 0    a trial

Draws structures from the prior of each model with its default settings and scores them:
validity, uniqueness, novelty, distributions, and for Materials Project compositions the
stability by CHGNet energies on the offline hull. There the first ``--relax`` samples are also
relaxed and evaluated again, beside as many real crystals of the test part. Contacts and symmetry
are given by size, also of what is drawn before anything is rejected or made symmetric, for
``--drawn`` test compositions and as many of the model's own. The time for ``--timed`` samples is
taken apart. Writes ``benchmarks/results/crystal_generation.md`` and
``.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.crystals.clock import Clock
from benchmarks.crystals.relaxed_samples import Evaluation, relaxed_figures, relaxed_lines
from benchmarks.crystals.sets import FOLDER, SETS, ContestSet
from benchmarks.crystals.tables import values_of_rows
from benchmarks.machine import load
from benchmarks.pages import RESULTS, command, origin, plain, provenance, table, write_page

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import COVALENT_RADII
from variolite.crystals.evaluation import (
    distance_validity,
    read_hull,
    references_from,
    score_generation,
)
from variolite.crystals.evaluation.validity import MinimumDistances
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.conditions import Conditions
from variolite.crystals.generation.sampling import CONTACT_MARGIN, Sampling
from variolite.crystals.geometry.periodic import has_cell, shortest_distances
from variolite.crystals.potential.features import energy_function
from variolite.crystals.potential.relaxation import RelaxationLimits
from variolite.scoring import format_value
from variolite.shipped import shipped_run
from variolite.training import RunFolder

MODELS: Mapping[str, str | None] = {"mp_20": "hull/mp20_hull.parquet", "perov_5": None}
"""Model to the table of known phases that its compositions can be evaluated on."""

SIZES = ((1, 3), (4, 5), (6, 8), (9, 12), (13, 20))

SHARES = (1.0, 1.5, 2.0)
"""Distances in Angstrom of which the share of structures with nothing closer is given."""


def main() -> None:
    """Parse, sample, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--number", type=int, default=1000, help="samples scored")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timed", type=int, default=10_000, help="samples timed; 0 for none")
    parser.add_argument("--drawn", type=int, default=300, help="drawn without any rejection")
    parser.add_argument("--relax", type=int, default=200, help="samples relaxed; 0 for none")
    parser.add_argument("--relax-force", type=float, default=0.05, help="eV per Angstrom")
    parser.add_argument("--relax-steps", type=int, default=500, help="at most")
    parser.add_argument("--workers", type=int, default=2, help="processes that relax")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    target = arguments.results / "crystal_generation"
    stored = target.with_suffix(".json")
    known = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    # What was measured by other commands stays, with the command that made it.
    models = {k: m for k, m in known.get("models", {}).items() if "command" in m}
    for name in arguments.models:
        models[name] = {
            **provenance(command("benchmarks.crystals.generation", arguments)),
            **_measure(name, arguments),
        }
    content = plain({"models": {name: models[name] for name in MODELS if name in models}})
    write_page(target, "Samples of the shipped models", _page(content), content)


def _measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    home = shipped_run(name)
    assert home is not None, f"the model {name} is not in the package"
    model = RunFolder(home).model()
    parts = SETS[name](arguments.data)
    number, seed = arguments.number, arguments.seed
    # The first draw of a process pays for what is loaded late.
    model.sample(8, Sampling(seed=seed))
    clock = Clock()
    made = model.sample(number, Sampling(seed=seed), log=_say)
    seconds = clock.processor
    timed = _timed(model, arguments.timed, seed) if arguments.timed else None
    drawn = _drawn(model, parts.test, arguments.drawn, seed)
    table, relaxed = MODELS[name], None
    with TemporaryDirectory() as cache:
        energies, hull = None, None
        if table is not None:
            energies = energy_function(folder=Path(cache), log=_say)
            hull = read_hull(arguments.data / table)
        scores = score_generation(
            made.crystals, parts.train, test=parts.test, energies=energies, hull=hull, log=_say
        )
        if energies is not None and hull is not None and arguments.relax:
            known = parts.train.take(distance_validity(parts.train))
            limits = RelaxationLimits(
                force=arguments.relax_force, steps=arguments.relax_steps, seconds=None
            )
            references = references_from(known, energies)
            given = Evaluation(energies, references, hull, known, limits, arguments.workers, _say)
            relaxed = _relaxed(made.crystals, parts, arguments.relax, given)
    return {
        "number": number,
        "seed": seed,
        "seconds": seconds,
        "timed": timed,
        "attempts": made.attempts,
        "rejects": dict(made.rejects),
        "apart": {str(s): _apart(made.crystals, s) for s in SHARES},
        "geometry": {
            "test rows": geometry(parts.test),
            "samples": geometry(made.crystals),
            **drawn,
        },
        "apart_test": {str(s): _apart(parts.test, s) for s in SHARES},
        "rows": values_of_rows(scores.rows("samples", name)),
        "notes": list(scores.notes),
        "relaxed": relaxed,
    }


def _timed(model: CrystalModel, number: int, seed: int) -> dict[str, Any]:
    """Time of exactly this number of valid structures, decoded and checked, not written."""
    before, clock = load(), Clock()
    made = model.sample(number, Sampling(seed=seed), log=_say)
    return {
        "number": number,
        "attempts": made.attempts,
        "processor": clock.processor,
        "wall": clock.wall,
        "threads": torch.get_num_threads(),
        "load": before,
    }


def geometry(crystals: Crystals) -> dict[str, float]:
    """Shares of structures with a contact below 0.75 of the covalent radii, and without symmetry.

    The first by numbers of atoms, too, NaN where there are none.
    """
    elements = np.unique(crystals.species).astype(np.int64)
    sums = COVALENT_RADII[elements][:, None] + COVALENT_RADII[elements]
    bad = ~(MinimumDistances(elements, sums).closeness(crystals) >= CONTACT_MARGIN)
    found = {"bad contacts": float(bad.mean())}
    for low, high in SIZES:
        here = (crystals.counts >= low) & (crystals.counts <= high)
        share = float(bad[here].mean()) if here.any() else np.nan
        found[f"of {low} to {high} atoms"] = share
    sound = has_cell(crystals)
    for precision in (0.1, 0.3):
        groups, _ = space_groups(crystals.take(sound), symprec=precision)
        without = int((groups <= 1).sum()) + int((~sound).sum())
        found[f"P1 at {precision} Å"] = without / len(crystals)
    return found


def _drawn(model: CrystalModel, test: Crystals, number: int, seed: int) -> dict[str, Any]:
    """Geometry of what is drawn before anything is rejected or made symmetric."""
    prior = model.prior
    assert prior is not None
    rows = test.take(np.random.default_rng(seed).permutation(len(test))[:number])
    unknown = np.full((len(rows), len(prior.vocabulary.properties)), np.nan)
    real = replace(Conditions.of(rows), properties=unknown)
    hidden = replace(real, space_groups=np.zeros_like(real.space_groups))
    cases: dict[str, tuple[Conditions, dict[str, Any]]] = {
        "drawn, own compositions": (prior.propose(number, seed=seed), {}),
        "drawn, test compositions and their space groups": (real, {}),
        "the same, space groups drawn": (prior.with_groups(hidden, seed=seed), {}),
        "the same, space groups unknown: no prototypes": (hidden, {}),
        "test compositions, 3 steps": (real, {"steps": 3}),
        "test compositions, 20 steps": (real, {"steps": 20}),
        "test compositions, temperature 1": (real, {"temperature": 1.0}),
    }
    found = {}
    for title, (conditions, settings) in cases.items():
        usual = Sampling()
        chosen = {"steps": usual.steps, "temperature": usual.temperature, **settings}
        latents = prior.sample(conditions, seed=seed, **chosen)
        species = conditions.species if model.species_given else None
        found[title] = geometry(model.decode(latents, species=species))
    return found


def _geometry_table(found: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    columns = [*next(iter(found.values()))]
    rows = [
        [title, *(f"{row[name]:.3f}" if row[name] is not None else "" for name in columns)]
        for title, row in found.items()
    ]
    return [
        "Shares with two atoms closer than 0.75 of the sum of their covalent radii (Cordero et al. "
        "2008), of all and by number of atoms, and without symmetry by spglib. Samples are as "
        "`generate` gives them; what is drawn is neither rejected nor made symmetric.",
        "",
        *table(["structures", *columns], rows),
        "",
    ]


def _relaxed(made: Crystals, parts: ContestSet, number: int, given: Evaluation) -> dict[str, Any]:
    number = min(number, len(made))
    rows = np.linspace(0, len(parts.test) - 1, min(number, len(parts.test))).astype(int)
    sets = {"samples": made.take(np.arange(number)), "test rows": parts.test.take(rows)}
    return {
        "limits": {"force": given.limits.force, "steps": given.limits.steps},
        "workers": given.workers,
        "sets": {title: relaxed_figures(crystals, given) for title, crystals in sets.items()},
    }


def _apart(crystals: Crystals, distance: float) -> float:
    return float((shortest_distances(crystals) > distance).mean())


def _page(content: Mapping[str, Any]) -> list[str]:
    lines = [
        "Default settings of `variolite generate`; nothing is relaxed unless the table says so. "
        "Intervals (95 %) are a bootstrap over formulas. A reference draw is as many structures "
        "drawn from the training rows: what a perfect model would reach.",
        "",
    ]
    for name, found in content["models"].items():
        rejected = ", ".join(f"{n} {code}" for code, n in found["rejects"].items()) or "none"
        lines += [
            f"## {name}",
            "",
            origin(found),
            "",
            f"{found['number']:,} structures, seed {found['seed']}, out of {found['attempts']:,} "
            f"attempts (rejected: {rejected}), in {found['seconds']:.1f} s of processor "
            f"time.{_time(found['timed'])}",
            "",
            "Share of structures with no two atoms closer than, samples (test structures): "
            + ", ".join(
                f"{s} Å {100 * found['apart'][s]:.1f} % ({100 * found['apart_test'][s]:.1f} %)"
                for s in found["apart"]
            )
            + ".",
            "",
        ]
        if "geometry" in found:  # earlier results are without
            lines += _geometry_table(found["geometry"])
        lines += _table(found["rows"])
        lines += ["", *(f"- {note}" for note in found["notes"]), ""]
        if found["relaxed"] is not None:
            lines += relaxed_lines(found["relaxed"])
    return lines


def _time(timed: Mapping[str, Any] | None) -> str:
    if timed is None:
        return ""
    return (
        f" {timed['number']:,} structures, out of {timed['attempts']:,} attempts: "
        f"{timed['processor']:.0f} s of processor time, {timed['wall']:.0f} s by the clock, on "
        f"{timed['threads']} thread{'s' if timed['threads'] > 1 else ''} of the machine at load "
        f"{timed['load'] or 0.0:.1f}."
    )


def _table(rows: list[dict[str, Any]]) -> list[str]:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        here = {row["method"]: row for row in rows if row["metric"] == metric}
        unit = next(iter(here.values()))["unit"] or ""
        lines.append([metric, unit, *(_cell(here[m]) if m in here else "" for m in methods)])
    return table(["quantity", "unit", *methods], lines)


def _cell(row: dict[str, Any]) -> str:
    mean, low, high = (np.nan if row[k] is None else row[k] for k in ("mean", "low", "high"))
    return f"{mean:.0f}" if row["unit"] == "count" else format_value(mean, low, high)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
