"""How like real crystals a set of samples is as a whole: coverage and distributions.

Every number stands beside the one that real crystals get: as many of them, drawn from the
reference, as there are samples. Finite sets differ by chance, and the draw shows by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation.coverage import (
    QUANTILE,
    CutOffs,
    Fingerprints,
    calibrate,
    coverage,
    fingerprints_of,
)
from variolite.crystals.evaluation.distributions import compare_distributions, traits_of
from variolite.crystals.evaluation.measures import Measure, resampled
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.formula import reduced_formulas
from variolite.errors import DataError
from variolite.scoring import Bootstrap

__all__ = ["Likeness", "judge_likeness"]

MOST = 2000
"""Crystals of a set at most whose distributions and coverage are compared."""


@dataclass(frozen=True)
class Likeness:
    """What was found.

    Attributes
    ----------
    samples, baseline
        Quantities of the samples, and of the draw from the reference.
    notes
        What they rest on.
    """

    samples: tuple[Measure, ...]
    baseline: tuple[Measure, ...]
    notes: tuple[str, ...]


def judge_likeness(
    samples: Crystals,
    reference: Crystals,
    test: Crystals | None,
    *,
    invalid: int = 0,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Likeness:
    """Compare samples with real crystals; all of them have to be valid by distance.

    Parameters
    ----------
    samples, reference, test
        The structures; without a test set half of the reference, by formula, is put aside.
    invalid
        Samples that are not valid, which lie near no real crystal.
    bootstrap
        How to resample.
    seed
        Seed of every draw.
    workers
        Processes that look for symmetry.
    tell
        Is told what is being done.
    """
    rng = np.random.default_rng(seed)
    notes = []
    if test is None:
        aside, by = _put_aside(reference, rng)
        training, test = reference.take(~aside), reference.take(aside)
        notes.append(
            f"no test set was given: coverage and distributions are against {len(test)} crystals "
            f"of the reference, put aside {by}"
        )
    else:
        training = reference
    tell("fingerprints")
    test = _at_most(test, MOST, rng)
    known = fingerprints_of(training)
    real = fingerprints_of(test)
    cutoffs = calibrate(real, known, seed=seed)
    drawn = np.sort(rng.permutation(len(training))[: max(len(samples) + invalid, 1)])
    notes.append(
        f"coverage: near means an average minimum distance (k = {known.structure.shape[1]}) within "
        f"{cutoffs.structure:.3f} Angstrom and a composition within {cutoffs.composition:.2f} "
        f"places on the line of elements, the {QUANTILE:.0%} quantiles of the distances from "
        "test crystals to the nearest reference crystals; not comparable with published COV"
    )
    if len(samples) + invalid > len(drawn):
        notes.append(
            f"the draw from the reference has {len(drawn)} crystals, fewer than there are samples: "
            "its recall is too low to compare with"
        )
    wanted = reduced_formulas(test)
    kept = _at_most(samples, MOST, rng)
    tell("space groups")
    sets = [test, kept, _at_most(training.take(drawn), MOST, rng)]
    # All at once, so that worker processes start once.
    joined = traits_of(Crystals.concatenate(sets), workers=workers, tell=tell)
    ends = np.cumsum([0, *map(len, sets)])
    target, own, base = (joined.take(np.arange(start, stop)) for start, stop in pairwise(ends))
    tell("coverage")
    mine = fingerprints_of(samples)
    return Likeness(
        samples=(
            *_coverage(mine, reduced_formulas(samples), real, wanted, cutoffs, invalid, bootstrap),
            *compare_distributions(own, target, bootstrap=bootstrap),
        ),
        baseline=(
            *_coverage(
                known.take(drawn),
                reduced_formulas(training.take(drawn)),
                real,
                wanted,
                cutoffs,
                0,
                bootstrap,
            ),
            *compare_distributions(base, target, bootstrap=bootstrap),
        ),
        notes=tuple(notes),
    )


def _coverage(
    samples: Fingerprints,
    formulas: NDArray[np.str_],
    real: Fingerprints,
    real_formulas: NDArray[np.str_],
    cutoffs: CutOffs,
    invalid: int,
    bootstrap: Bootstrap | None,
) -> tuple[Measure, Measure]:
    found = coverage(samples, real, cutoffs)
    precise = np.append(found.precise, np.zeros(invalid, dtype=bool)).astype(np.float64)
    recalled = found.recalled.astype(np.float64)
    groups = np.append(formulas, [f"invalid {place}" for place in range(invalid)])
    return (
        resampled(
            "coverage_recall",
            "share",
            "Share of the test crystals that have a sample near them in structure and composition "
            "(interval over their formulas); it grows with the number of samples",
            real_formulas,
            lambda weights: weights @ recalled,
            bootstrap=bootstrap,
            bounds=(0.0, 1.0),
        ),
        resampled(
            "coverage_precision",
            "share",
            "Share of all samples that have a test crystal near them in structure and composition",
            groups,
            lambda weights: weights @ precise,
            bootstrap=bootstrap,
            bounds=(0.0, 1.0),
        ),
    )


def _put_aside(crystals: Crystals, rng: np.random.Generator) -> tuple[NDArray[np.bool_], str]:
    """Choose half of the crystals, by formula where there are several."""
    _, group = np.unique(reduced_formulas(crystals), return_inverse=True)
    by = "by formula"
    if group.max() == 0:
        group, by = np.arange(len(crystals)), "at random"
    if len(group) < 2:
        raise DataError(
            "one structure cannot be split into halves to compare with",
            where="reference",
            mend="Give a larger reference, or a test set",
        )
    chosen = rng.permutation(int(group.max()) + 1) % 2 == 1
    return np.asarray(chosen[group]), by


def _at_most(crystals: Crystals, most: int, rng: np.random.Generator) -> Crystals:
    if len(crystals) <= most:
        return crystals
    return crystals.take(np.sort(rng.permutation(len(crystals))[:most]))
