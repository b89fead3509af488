"""Single metrics of crystals beside pymatgen and the Materials Project."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from variolite.crystals import Crystals
from variolite.crystals.elements import SYMBOLS, reduced_formulas
from variolite.crystals.evaluation import (
    Hull,
    Matcher,
    references_from,
)
from variolite.crystals.evaluation.fingerprints import element_fractions
from variolite.crystals.evaluation.novelty import in_free_lengths
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.potential.features import energy_function

BY_PYMATGEN = 100
MOST_PAIRS = 1500
TEST_ROWS = 1000


@dataclass(frozen=True)
class Rows:
    """The files."""

    test: Crystals
    reference: Crystals
    mpts: Crystals
    hull: Hull


def matcher_beside_pymatgen(rows: Rows) -> list[str]:
    """All pairs of equal formula: verdicts, and how far apart matching fingerprints are."""
    lines = [
        "| pairs of equal formula | compared | match | verdicts that differ | ours, ms a pair | "
        "pymatgen, ms a pair | distance of matching pairs: median, largest | of others: median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, first in (("MP-20 test_a", rows.test), ("MPTS-52 val", rows.mpts)):
        one, other = same_formula(first, rows.reference)
        ours, cost = timed(lambda a=one, b=other: compared(a, b))
        theirs, their_cost = timed(lambda a=one, b=other: by_structure_matcher(a, b))
        apart = np.abs(in_free_lengths(one) - in_free_lengths(other)).max(axis=1)
        same = theirs
        lines.append(
            f"| {name} with train_head and val | {len(one):,} | {int(same.sum())} | "
            f"{int((ours != theirs).sum())} | {1e3 * cost / len(one):.1f} | "
            f"{1e3 * their_cost / len(one):.1f} | {np.median(apart[same]):.3f}, "
            f"{apart[same].max():.3f} | {np.median(apart[~same]):.3f} |"
        )
    return lines


def same_formula(first: Crystals, second: Crystals) -> tuple[Crystals, Crystals]:
    places: dict[str, list[int]] = {}
    for place, formula in enumerate(reduced_formulas(second).tolist()):
        places.setdefault(formula, []).append(place)
    pairs = [
        (place, other)
        for place, formula in enumerate(reduced_formulas(first).tolist())
        for other in places.get(formula, [])
    ]
    chosen = np.array(pairs)[np.random.default_rng(0).permutation(len(pairs))[:MOST_PAIRS]]
    return first.take(chosen[:, 0]), second.take(chosen[:, 1])


def compared(first: Crystals, second: Crystals) -> np.ndarray:
    matcher = Matcher()
    return matcher.compare(matcher.prepare(first), matcher.prepare(second)) == 1


def by_structure_matcher(first: Crystals, second: Crystals) -> np.ndarray:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = zip(first, second, strict=True)
        return np.array([matcher.fit(to_pymatgen(x), to_pymatgen(y)) for x, y in pairs])


def hull_beside_others(rows: Rows) -> list[str]:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    hull, test = rows.hull, rows.test
    x = element_fractions(test)
    energy = test.properties["formation_energy_per_atom"]
    listed = test.properties["e_above_hull"]
    found, cost = timed(lambda: hull.above(x, energy, test.names))
    error = found.above - listed
    clipped = np.maximum(found.above, 0.0) - listed

    def mixture(shares: np.ndarray) -> Composition:
        return Composition({SYMBOLS[z]: float(shares[z]) for z in np.flatnonzero(shares)})

    some = np.random.default_rng(1).permutation(len(test))[:BY_PYMATGEN]

    def by_pymatgen() -> np.ndarray:
        values = []
        for place in some:
            near = ~(hull.fractions[:, x[place] == 0] > 0).any(axis=1)
            near &= hull.names != test.names[place]
            entries = [
                PDEntry(mixture(hull.fractions[i]), hull.energies[i]) for i in np.flatnonzero(near)
            ]
            entries += [PDEntry(Composition(SYMBOLS[z]), 0.0) for z in np.flatnonzero(x[place])]
            asked = PDEntry(mixture(x[place]), energy[place])
            values.append(PhaseDiagram(entries).get_e_above_hull(asked, allow_negative=True))
        return np.array(values)

    theirs, their_cost = timed(by_pymatgen)
    differ = float(np.abs(theirs - found.above[some]).max())
    return [
        f"Formation energies and e_above_hull of the Materials Project, all {len(test):,} rows of "
        f"test_a, of which {(found.removed > 0).mean():.1%} are in the hull of {len(hull):,} "
        "phases and are taken out of it one by one:",
        "",
        "| quantity | value |",
        "|---|---|",
        f"| ours minus listed: mean, mean absolute, largest | {error.mean():.4f}, "
        f"{np.abs(error).mean():.4f}, {np.abs(error).max():.3f} eV/atom |",
        f"| the same, ours raised to 0 where below | {clipped.mean():.4f}, "
        f"{np.abs(clipped).mean():.4f}, {np.abs(clipped).max():.3f} eV/atom |",
        f"| stable (at most 0): ours, listed | {(found.above <= 0).mean():.3f}, "
        f"{(listed <= 0).mean():.3f} |",
        f"| largest difference from pymatgen's PhaseDiagram on {BY_PYMATGEN} | {differ:.1e} "
        "eV/atom |",
        f"| ours, PhaseDiagram | {1e3 * cost / len(test):.2f}, "
        f"{1e3 * their_cost / BY_PYMATGEN:.1f} ms a crystal |",
        "",
        "The listed values are never negative; ours are where a phase lies below the hull of the "
        "others, and a hull of phases with at most 20 atoms is sparser than the one listed.",
    ]


def formation_beside_listed(rows: Rows, folder: Path) -> list[str]:
    energies = energy_function(folder=folder)
    references = references_from(rows.reference, energies)
    order = np.random.default_rng(0).permutation(len(rows.test))
    some = rows.test.take(order[:TEST_ROWS])
    x = element_fractions(some)
    found = references.formation_energies(x, energies(some))
    error = np.abs(found - some.properties["formation_energy_per_atom"])
    above = rows.hull.above(x, found, some.names).above
    gap = np.maximum(above, 0.0) - some.properties["e_above_hull"]
    known = np.isfinite(error)
    return [
        f"CHGNet 0.3.0, element references fitted on {references.n_crystals:,} reference crystals: "
        f"formation energies of {int(known.sum()):,} test rows are off by "
        f"{error[known].mean():.4f} eV/atom in the mean, {np.median(error[known]):.4f} in the "
        f"median (cross-validation from the reference alone: {references.test_mae:.4f}, "
        f"{references.test_median:.4f}); energies above the hull, raised to 0 where below, by "
        f"{np.nanmean(np.abs(gap)):.4f} and {np.nanmedian(np.abs(gap)):.4f}. CHGNet was trained on "
        "relaxations of the Materials Project, hence largely on these compounds; for others its "
        "error is larger.",
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began
