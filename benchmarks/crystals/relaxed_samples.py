"""Structures before and after relaxation by a potential: how far atoms move, what is stable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmarks.crystals.clock import Clock
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import (
    ElementReferences,
    Energies,
    Hull,
    Matcher,
    distance_validity,
    evaluate_stability,
    find_novelty,
)
from variolite.crystals.evaluation.metrics import Requested, formula_interval, weighted_median
from variolite.crystals.evaluation.score import stability_rows
from variolite.crystals.matching import periodic_errors
from variolite.crystals.potential.relaxation import Relaxation, RelaxationLimits, relax
from variolite.scoring import Interval, ScoreRow, format_value

Floats = NDArray[np.float64]
Figures = dict[str, list[float]]

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "converged": ("converged", "share"),
    "rmsd_mean": ("RMSD to relaxed, mean", "Å"),
    "rmsd_median": ("RMSD to relaxed, median", "Å"),
    "e_above_hull_mean": ("energy above hull, mean", "eV/atom"),
    "e_above_hull_median": ("energy above hull, median", "eV/atom"),
    "stable": ("stable", "share"),
    "metastable": ("at most 0.1 eV/atom above hull", "share"),
    "sun": ("S.U.N.", "share"),
    "msun": ("metastable S.U.N.", "share"),
}
"""Name of a figure to what the table calls it, and its unit."""


@dataclass(frozen=True)
class Evaluation:
    """What structures are evaluated with.

    Attributes
    ----------
    energies, references, hull
        A potential, its zero for every element, and the known phases.
    known
        Crystals that a new one must not be among.
    limits
        When a relaxation stops.
    workers
        Processes that relax.
    log
        Called with the progress.
    """

    energies: Energies
    references: ElementReferences
    hull: Hull
    known: Crystals
    limits: RelaxationLimits
    workers: int
    log: Callable[[str], None]


def relaxed_figures(crystals: Crystals, given: Evaluation) -> dict[str, Any]:
    """Evaluate structures as they are and after relaxation.

    Returns
    -------
    dict
        ``before`` and ``after``: figures with their intervals over formulas; the number of
        structures, those without an energy, those that were found in the hull and taken
        out of it, mean steps, and seconds of the relaxation.
    """
    formulas = reduced_formulas(crystals)
    before, _ = _evaluated(crystals, given)
    clock = Clock()
    found = relax(crystals, "chgnet", limits=given.limits, workers=given.workers, log=given.log)
    processor, wall = clock.processor, clock.wall
    after, removed = _evaluated(found.crystals, given)
    moved = displacements(crystals, found)
    some = np.isfinite(moved)
    after["converged"] = _mean(found.converged.astype(np.float64), formulas, (0.0, 1.0))
    after["rmsd_mean"] = _mean(moved[some], formulas[some], (0.0, np.inf))
    after["rmsd_median"] = _figures(
        formula_interval(formulas[some], weighted_median(moved[some]), bounds=(0.0, np.inf))
    )
    return {
        "crystals": len(crystals),
        "before": before,
        "after": after,
        "without_energy": int((~some).sum()),
        "removed": removed,
        "steps": float(found.steps.mean()),
        "processor_seconds": processor,
        "wall_seconds": wall,
    }


def displacements(before: Crystals, relaxation: Relaxation) -> Floats:
    """Root mean square distance of the atoms of each structure to the relaxed one, (B,).

    In Angstrom, in the mean of both cells, to the nearest image, after the best
    translation; atoms correspond by their place in the list. NaN without an energy.
    """
    after = relaxation.crystals
    mean = replace(after, lattices=0.5 * (before.lattices + after.lattices))
    errors = periodic_errors(mean, before)
    squares = np.add.reduceat(errors.distances**2, errors.offsets[:-1]) / before.counts
    return np.where(np.isfinite(relaxation.energies), np.sqrt(squares), np.nan)


def _evaluated(crystals: Crystals, given: Evaluation) -> tuple[Figures, int]:
    valid = distance_validity(crystals)
    kept = crystals.take(valid)
    novelty = find_novelty(kept, given.known, Matcher(), log=given.log)
    stability = evaluate_stability(
        kept, given.energies, given.references, given.hull, log=given.log
    )
    requested = Requested(reduced_formulas(crystals))
    rows = stability_rows(requested, valid, novelty, stability.above)
    figures = {row.metric: _figures(row) for row in rows}
    known = np.isfinite(stability.above)
    figures["e_above_hull_mean"] = _mean(stability.above[known], requested.formulas[valid][known])
    return figures, stability.removed


def _mean(
    values: Floats, formulas: NDArray[np.str_], bounds: tuple[float, float] = (-np.inf, np.inf)
) -> list[float]:
    return _figures(formula_interval(formulas, lambda w: w @ values, bounds=bounds))


def _figures(found: Interval | ScoreRow) -> list[float]:
    return [found.mean, found.low, found.high]


def relaxed_lines(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page about samples and test rows before and after relaxation."""
    limits, sets = found["limits"], found["sets"]
    number = sets["samples"]["crystals"]
    heads = [f"{title}, {when}" for title in sets for when in ("as they are", "relaxed")]
    lines = [
        "### After relaxation",
        "",
        f"The first {number:,} samples, and {sets['test rows']['crystals']:,} rows of the test "
        "part, evenly spread: what real crystals score in the same pipeline. Atoms and cell are "
        f"relaxed by CHGNet until no force is above {limits['force']:g} eV/Å, for at most "
        f"{limits['steps']} steps.",
        "",
        f"| quantity | unit | {' | '.join(heads)} |",
        f"|{'---|' * (2 + len(heads))}",
    ]
    for name, (title, unit) in QUANTITIES.items():
        values = [one[when].get(name) for one in sets.values() for when in ("before", "after")]
        cells = ["" if value is None else _shown(value) for value in values]
        lines.append(f"| {title} | {unit} | {' | '.join(cells)} |")
    inside = ", ".join(f"{one['removed']} of the {title}" for title, one in sets.items())
    lost = ", ".join(f"{one['without_energy']} {title}" for title, one in sets.items())
    per_structure = [one["processor_seconds"] / one["crystals"] for one in sets.values()]
    times = " | ".join(f" | {seconds:.2f}" for seconds in per_structure)
    steps = " | ".join(f" | {one['steps']:.0f}" for one in sets.values())
    return [
        *lines,
        f"| processor time for each | s | {times} |",
        f"| steps, mean | 1 | {steps} |",
        "",
        "- RMSD: root mean square distance of the atoms of a structure to their places in the "
        "relaxed one, as far as it came, in the mean of both cells, to the nearest image, after "
        "the best translation; mean and median over structures. MatterGen's figure is by "
        "StructureMatcher, which may also exchange atoms of one element.",
        "- Energies above the hull are CHGNet's, with references of the elements as above, on the "
        "hull of known phases; the structure itself is taken out of the hull before it is "
        f"evaluated ({inside} were in it). So a known stable phase lies below the hull of the "
        "others. Papers use DFT energies.",
        "- Stable: at most 0 eV/atom above the hull. S.U.N.: stable, unique among the structures "
        "of the column and not among the training rows; shares of all structures, those not valid "
        "or not evaluated counting as failed. MatterGen calls stable, and counts as S.U.N., what "
        "is at most 0.1 eV/atom above the hull: here metastable S.U.N.",
        "- Processor time is that of the relaxation in "
        f"{found['workers']} processes, their start included.",
        f"- Without an energy: {lost}.",
        "",
    ]


def _shown(value: list[float | None]) -> str:
    return format_value(*(np.nan if one is None else one for one in value))
