"""Our evaluation of CHGNet beside that of its own package: features, forces, relaxation.

    python -m benchmarks.crystals.potential --data FOLDER    about 10 minutes
    python -m benchmarks.crystals.potential --crystals 6 --relaxed 2 --repeats 2    a trial

FOLDER holds mp_20 and mpts_52. Crystals, weights and one thread are the same for both. The
package makes its graphs by its compiled converter and gets the batch size that suits it best of
three. Relaxations start from crystals whose atoms are shaken by .1 Angstrom and whose cells are
strained by 3 %, with cells free, until forces are below .05 eV per Angstrom; the package relaxes
by FIRE of ASE, its default, and by BFGS, which needs fewer steps.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.side_by_side import DATA, Timed, in_turn, parsed, publish, tabulated, times
from chgnet.model import CHGNet, StructOptimizer

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.potential import Potential, RelaxationLimits, load_potential, relax

SETS = {"MP-20": ("mp_20/biternary_val", 1), "MPTS-52": ("mpts_52/val", 2)}
"""Name to the file, and by what the number of crystals to relax is divided."""

LIMITS = RelaxationLimits(force=0.05, steps=300, seconds=None)
BATCHES = (1, 4, 16)
WAYS = {"ours": "ours (FIRE 2.0)", "FIRE": "package, FIRE", "BFGS": "package, BFGS"}
GIGAPASCAL = 160.21766208


def evaluated(crystals: Crystals, potential: Potential, model: Any, repeats: int) -> list[Any]:
    """Features, then forces with stresses: times of both and their greatest differences."""
    structures = [to_pymatgen(crystal) for crystal in crystals]

    def package(task: str, batch: int) -> list[dict[str, Any]]:
        options = {"task": task, "return_atom_feas": task == "e", "batch_size": batch}
        # Where no gradients are wanted, the package would keep what they need nevertheless.
        with torch.set_grad_enabled(task != "e"):
            return model.predict_structure(structures, **options)

    rows = []
    for task, ours in (("e", potential.predict), ("efs", potential.forces)):
        sizes = in_turn({str(size): partial(package, task, size) for size in BATCHES}, 1)
        best = min(BATCHES, key=lambda size: sizes.median(str(size)))
        ways = {"ours": partial(ours, crystals), "package": partial(package, task, best)}
        timed = in_turn(ways, repeats)
        found, expected = timed.found["ours"], timed.found["package"]
        joined = {key: [row[key] for row in expected] for key in expected[0]}
        pairs = {"energy, eV/atom": (found.energies, joined["e"])}
        if task == "e":
            pairs["features"] = (found.features, np.concatenate(joined["atom_fea"]))
        else:
            pairs["forces, eV/Å"] = (found.forces, np.concatenate(joined["f"]))
            pairs["stress, GPa"] = (GIGAPASCAL * found.stresses, np.stack(joined["s"]))
        rows.append(
            {
                "what": "energy, atom features" if task == "e" else "energy, forces, stress",
                "crystals": len(crystals),
                "atoms": len(crystals.species) / len(crystals),
                "batch": best,
                "ms": {way: 1e3 * timed.median(way) / len(crystals) for way in ways},
                "ratio": timed.ratio("package"),
                "greatest_difference": {
                    name: float(np.abs(np.asarray(one) - np.asarray(other)).max())
                    for name, (one, other) in pairs.items()
                },
            }
        )
    return rows


def relaxed(crystals: Crystals, potential: Potential, model: Any, blocks: int) -> list[Any]:
    """Relaxation of shaken crystals, one block of them after the other by every way."""

    def ours(part: Crystals) -> list[tuple[float, int]]:
        settled = relax(part, potential, limits=LIMITS)
        return list(zip(settled.energies.tolist(), settled.steps.tolist(), strict=True))

    def package(part: Crystals, optimiser: str) -> list[tuple[float, int]]:
        with redirect_stdout(StringIO()):
            relaxing = StructOptimizer(model=model, use_device="cpu", optimizer_class=optimiser)
        options = {"fmax": LIMITS.force, "steps": LIMITS.steps, "assign_magmoms": False}
        found = []
        for crystal in part:
            path = relaxing.relax(to_pymatgen(crystal), verbose=False, **options)["trajectory"]
            # The last place is recorded twice.
            found.append((path.energies[-1] / len(crystal), len(path) - 1))
        return found

    turns = []
    for chosen in np.array_split(np.arange(len(crystals)), blocks):
        part = shaken(crystals.take(chosen))
        ways = {"ours": partial(ours, part)}
        ways |= {name: partial(package, part, name) for name in WAYS if name != "ours"}
        turns.append(in_turn(ways, 1, warm=False))
        print(turns[-1].seconds, file=sys.stderr, flush=True)
    whole = Timed({w: np.concatenate([t.seconds[w] for t in turns]) for w in WAYS}, {})
    results = {way: np.concatenate([turn.found[way] for turn in turns]) for way in WAYS}
    rows = []
    for way, title in WAYS.items():
        spent, (energies, steps) = float(whole.seconds[way].sum()), results[way].T
        above = energies - results["ours"][:, 0]
        rows.append(
            {
                "way": title,
                "crystals": len(crystals),
                "seconds": spent / len(crystals),
                "evaluations": float(steps.mean()),
                "ms_an_evaluation": 1e3 * spent / float(steps.sum()),
                "converged": int((steps < LIMITS.steps).sum()),
                "ratio": None if way == "ours" else whole.ratio(way),
                "energy_above_ours": np.sort(above).tolist(),
            }
        )
    return rows


def shaken(crystals: Crystals) -> Crystals:
    """Move every atom and strain every cell at random."""
    source = np.random.default_rng(0)
    strain = source.normal(scale=0.03, size=(len(crystals), 3, 3))
    lattices = crystals.lattices @ (np.eye(3) + strain)
    steps = source.normal(scale=0.1, size=crystals.coordinates.shape)
    inverse = np.linalg.inv(lattices)[crystals.owner]
    moved = crystals.coordinates + np.einsum("ni,nij->nj", steps, inverse)
    return replace(crystals, coordinates=moved, lattices=lattices)


def main() -> None:
    """Measure and write the page."""
    arguments = parsed(__doc__, DATA / "crystals", crystals=24, relaxed=6, blocks=3, repeats=5)
    torch.set_num_threads(1)
    # The package warns of the escape sequences of one of its own dependencies.
    warnings.simplefilter("ignore")
    potential, model = load_potential("chgnet"), CHGNet.load(use_device="cpu", verbose=False)
    assert model.graph_converter.algorithm == "fast", "the package lacks its compiled converter"
    evaluations, relaxations = [], []
    for name, (file, part) in SETS.items():
        whole = load_crystals(arguments.data / f"{file}.csv.gz")

        def spread(number: int, whole: Crystals = whole) -> Crystals:
            return whole.take(np.linspace(0, len(whole) - 1, number).astype(int))

        found = evaluated(spread(arguments.crystals), potential, model, arguments.repeats)
        evaluations += [{"set": name, **row} for row in found]
        print(found, file=sys.stderr, flush=True)
        number = arguments.blocks * max(arguments.relaxed // part, 1)
        found = relaxed(spread(number), potential, model, arguments.blocks)
        relaxations += [{"set": name, **row} for row in found]
        print(found, file=sys.stderr, flush=True)
    figures = {"evaluations": evaluations, "relaxations": relaxations}
    title, packages = "CHGNet: our evaluation beside its package", ("chgnet", "ase", "torch")
    path = "crystals.potential:crystal_potential"
    publish(path, arguments, packages, title, figures, lines_of(**figures))


def lines_of(evaluations: list[Any], relaxations: list[Any]) -> list[str]:
    """The tables as Markdown."""
    return [
        "Graphs are made within the times on both sides, by the package with its compiled "
        f"converter. The package gets the batch size of {BATCHES} that suits it best. "
        "Differences are the greatest of all crystals.",
        "",
        *tabulated(
            evaluations,
            {
                "set": lambda r: r["set"],
                "crystals": lambda r: str(r["crystals"]),
                "atoms": lambda r: f"{r['atoms']:.1f}",
                "what": lambda r: r["what"],
                "ours, ms a crystal": lambda r: f"{r['ms']['ours']:.1f}",
                "package, ms (batch)": lambda r: f"{r['ms']['package']:.1f} ({r['batch']})",
                "times faster": lambda r: times(r["ratio"]),
                "greatest difference": lambda r: "; ".join(
                    f"{name}: {value:.0e}" for name, value in r["greatest_difference"].items()
                ),
            },
        ),
        "",
        "## Relaxation",
        "",
        f"Shaken crystals until no force is above {LIMITS.force} eV/Å, cells free, at most "
        f"{LIMITS.steps} evaluations of the forces. Ratios block by block of crystals. The "
        "package relaxes one crystal after the other, ours a block together.",
        "",
        *tabulated(
            relaxations,
            {
                "set": lambda r: r["set"],
                "by": lambda r: r["way"],
                "s a crystal": lambda r: f"{r['seconds']:.2f}",
                "evaluations": lambda r: f"{r['evaluations']:.0f}",
                "ms an evaluation": lambda r: f"{r['ms_an_evaluation']:.1f}",
                "converged": lambda r: f"{r['converged']} of {r['crystals']}",
                "times that ours is faster": lambda r: times(r["ratio"]) if r["ratio"] else "",
                "final energy above ours, meV/atom: median (least, greatest)": lambda r: (
                    "{:.1f} ({:.1f}, {:.1f})".format(
                        *(1e3 * f(r["energy_above_ours"]) for f in (np.median, np.min, np.max))
                    )
                    if r["ratio"]
                    else ""
                ),
            },
        ),
    ]


if __name__ == "__main__":
    main()
