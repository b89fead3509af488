"""Our evaluation of CHGNet beside that of its own package: features, forces, relaxation.

    python -m benchmarks.crystals.potential --data FOLDER                    about 5 minutes
    python -m benchmarks.crystals.potential --data FOLDER --crystals 20      a sample

FOLDER holds mp_20 and mpts_52. The same crystals, weights and one thread for both; times are
processor seconds, which a busy machine lengthens somewhat. Relaxations start from crystals
whose atoms are shaken by .1 Angstrom and whose cells are strained by 3 %, with cells free and
forces below .05 eV per Angstrom. With ``--workers`` the features are also computed in worker
processes, in seconds by the clock: that needs an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.speed.machine import describe, load

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.potential.features import foundation_features
from variolite.crystals.potential.potential import Potential, load_potential
from variolite.crystals.potential.relaxation import RelaxationLimits, relax
from variolite.records import write_text_atomic

RESULTS = Path(__file__).resolve().parents[1] / "results"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "crystals"
SETS = {"MP-20": "mp_20/biternary_val", "MPTS-52": "mpts_52/val"}
LIMITS = RelaxationLimits(force=0.05, steps=300, seconds=None)
GIGAPASCAL = 160.21766208


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--crystals", type=int, default=200, help="of each set")
    parser.add_argument("--relaxed", type=int, default=16, help="of each set")
    parser.add_argument("--workers", type=int, default=0, help="also measure this many processes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # The package warns of the escape sequences of one of its own dependencies.
    warnings.simplefilter("ignore")
    potential = load_potential("chgnet")
    figures: list[dict[str, Any]] = []
    for name, file in SETS.items():
        whole = load_crystals(arguments.data / f"{file}.csv.gz")
        places = np.linspace(0, len(whole) - 1, arguments.crystals).astype(int)
        chosen = whole.take(places)
        figures.append(_measured(name, chosen, arguments.relaxed, potential))
        print(figures[-1], file=sys.stderr)
        if arguments.workers and name == "MP-20":
            figures[-1] |= _in_workers(whole, arguments.workers)
    arguments.results.mkdir(parents=True, exist_ok=True)
    write_text_atomic(
        arguments.results / "crystal_potential.json", json.dumps(figures, indent=1) + "\n"
    )
    write_text_atomic(
        arguments.results / "crystal_potential.md", _page(figures, arguments.crystals) + "\n"
    )


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def _measured(name: str, crystals: Crystals, relaxed: int, potential: Potential) -> dict[str, Any]:
    from chgnet.model import CHGNet, StructOptimizer

    model = CHGNet.load(use_device="cpu", verbose=False)
    structures = [to_pymatgen(crystal) for crystal in crystals]

    def package(task: str) -> list[dict[str, Any]]:
        # One by one: larger batches take the package longer for every crystal.
        return [
            model.predict_structure(structure, task=task, return_atom_feas=task == "e")
            for structure in structures
        ]

    def features() -> list[dict[str, Any]]:
        with torch.no_grad():
            return package("e")

    potential.predict(crystals.take(slice(0, 5)))
    ours, found = _seconds(lambda: potential.predict(crystals))
    theirs, expected = _seconds(features)
    our_forces, forces = _seconds(lambda: potential.forces(crystals))
    their_forces, expected_forces = _seconds(lambda: package("efs"))

    shaken = _shaken(crystals.take(slice(0, relaxed)))
    our_relaxation, settled = _seconds(lambda: relax(shaken, potential, limits=LIMITS))
    optimiser = StructOptimizer(model=model, use_device="cpu")
    their_relaxation, results = _seconds(
        lambda: [
            optimiser.relax(to_pymatgen(c), fmax=LIMITS.force, steps=LIMITS.steps, verbose=False)
            for c in shaken
        ]
    )
    ends = [r["trajectory"].energies[-1] / len(c) for r, c in zip(results, shaken, strict=True)]
    count, atoms = len(crystals), len(crystals.species) / len(crystals)
    return {
        "set": name,
        "crystals": count,
        "atoms": atoms,
        "features_ms": 1e3 * ours / count,
        "package_features_ms": 1e3 * theirs / count,
        "forces_ms": 1e3 * our_forces / count,
        "package_forces_ms": 1e3 * their_forces / count,
        "relaxed": len(shaken),
        "relaxation_s": our_relaxation / len(shaken),
        "package_relaxation_s": their_relaxation / len(shaken),
        "relaxation_steps": float(settled.steps.mean()),
        "package_relaxation_steps": float(np.mean([len(r["trajectory"]) for r in results])),
        "converged": float(settled.converged.mean()),
        "greatest_difference": {
            "energy_ev_per_atom": _greatest(found.energies, [e["e"] for e in expected]),
            "feature": _greatest(found.features, np.concatenate([e["atom_fea"] for e in expected])),
            "force_ev_per_angstrom": _greatest(
                forces.forces, np.concatenate([e["f"] for e in expected_forces])
            ),
            "stress_gpa": _greatest(
                GIGAPASCAL * forces.stresses, np.stack([e["s"] for e in expected_forces])
            ),
            "relaxed_energy_ev_per_atom": _greatest(settled.energies, ends),
        },
        "failures": found.failures,
    }


def _shaken(crystals: Crystals) -> Crystals:
    source = np.random.default_rng(0)
    strain = source.normal(scale=0.03, size=(len(crystals), 3, 3))
    lattices = crystals.lattices @ (np.eye(3) + strain)
    steps = source.normal(scale=0.1, size=crystals.coordinates.shape)
    inverse = np.linalg.inv(lattices)[crystals.owner]
    moved = crystals.coordinates + np.einsum("ni,nij->nj", steps, inverse)
    return replace(crystals, coordinates=moved, lattices=lattices)


def _greatest(ours: Any, theirs: Any) -> float:
    return float(np.nanmax(np.abs(np.asarray(ours) - np.asarray(theirs))))


def _in_workers(crystals: Crystals, workers: int) -> dict[str, Any]:
    """Seconds by the clock for the whole set in one process and in several."""
    seconds = {}
    for number in (1, workers):
        began = time.monotonic()
        foundation_features(crystals, workers=number, log=lambda text: print(text, end="\r"))
        seconds[str(number)] = time.monotonic() - began
    return {"clock_crystals": len(crystals), "clock_seconds": seconds, "load_before": load()}


def _page(figures: list[dict[str, Any]], crystals: int) -> str:
    lines = [
        "# CHGNet: our evaluation beside its package",
        "",
        f"Written by `python -m benchmarks.crystals.potential --crystals {crystals}`; more digits "
        "in `crystal_potential.json`. One thread, processor time for each crystal, graphs "
        "included. Differences are the greatest of all crystals.",
        "",
        f"Machine: {describe()}.",
        "",
        "| set | atoms | features | package | forces and stress | package | relaxation (steps) "
        "| package (steps) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f['set']} | {f['atoms']:.1f} | {f['features_ms']:.1f} ms | "
        f"{f['package_features_ms']:.1f} ms | {f['forces_ms']:.1f} ms | "
        f"{f['package_forces_ms']:.1f} ms | {f['relaxation_s']:.2f} s "
        f"({f['relaxation_steps']:.0f}) | {f['package_relaxation_s']:.2f} s "
        f"({f['package_relaxation_steps']:.0f}) |"
        for f in figures
    ]
    lines += [
        "",
        "| set | energy, eV/atom | features | forces, eV/Å | stress, GPa | relaxed energy, eV/atom "
        "| converged |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in figures:
        d = f["greatest_difference"]
        lines.append(
            f"| {f['set']} | {d['energy_ev_per_atom']:.1e} | {d['feature']:.1e} | "
            f"{d['force_ev_per_angstrom']:.1e} | {d['stress_gpa']:.1e} | "
            f"{d['relaxed_energy_ev_per_atom']:.1e} | {100 * f['converged']:.0f} % of "
            f"{f['relaxed']} |"
        )
    for f in figures:
        if "clock_seconds" in f:
            times = ", ".join(f"{n}: {s:.0f} s" for n, s in f["clock_seconds"].items())
            lines += ["", f"Features of {f['clock_crystals']:,} crystals by processes: {times}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
